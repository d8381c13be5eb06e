//! Refresh tokens that are stolen, forged, or too late.

use std::time::Duration;

use countersign::{
    domain::{RevokeReason, SessionId, SessionState},
    store::{RotateOutcome, Rotation},
};

use crate::{
    database::{assert_unchanged, contents, set, set_policy},
    fixture::{Bench, new_address, replayed, rotate, rotated, rotation},
    support::TestStore,
};

on_both_stores!(
    after_the_grace_a_spent_token_revokes_its_session_and_that_stays,
    a_token_two_generations_back_revokes_its_session_at_once,
    the_first_token_revokes_its_session_however_far_that_has_come,
    a_generation_that_is_yet_to_come_is_unknown,
    the_generation_before_the_first_is_unknown,
    a_session_that_never_was_is_unknown,
    a_pending_session_has_no_token,
    another_clients_credentials_make_a_token_unknown,
    a_policy_can_demand_the_clients_credentials,
    past_the_idle_deadline_every_token_is_expired,
    past_the_hard_end_every_token_is_expired,
    a_stolen_token_revokes_nothing_that_has_expired,
    a_disabled_client_refreshes_nothing_until_it_is_enabled,
    a_deleted_client_refreshes_nothing,
);

/// A session that has just been signed in.
async fn session(bench: &Bench<'_>) -> SessionId {
    bench.sign_in(&new_address()).await.session.id
}

fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs()).unwrap()
}

/// Presents a token, and sees that nothing has changed.
async fn refused(bench: &Bench<'_>, rotation: Rotation) -> RotateOutcome {
    let before = contents(bench.test).await;
    let outcome = rotate(bench.store.clone(), rotation).await;
    assert_unchanged(bench.test, &before, &format!("{outcome:?}")).await;
    outcome
}

/// The session was revoked because of a stolen token, and no token of it is taken any more.
async fn assert_revoked_for_good(bench: &Bench<'_>, id: SessionId) {
    let revoked = bench.session(id).await;
    assert_eq!(revoked.state, SessionState::Revoked);
    assert_eq!(revoked.revocation.unwrap().reason, RevokeReason::RefreshTokenReused);
    assert_eq!(revoked.update_time, revoked.revocation.unwrap().time);
    let current = revoked.sign_in.as_ref().unwrap().generation;
    for generation in 1..=current + 1 {
        assert_is!(refused(bench, rotation(id, generation)).await, RotateOutcome::Revoked);
    }
    let by_client = bench.store.revoke_session(id, RevokeReason::RevokedByClient).await.unwrap();
    assert_eq!(by_client.unwrap(), revoked);
}

async fn after_the_grace_a_spent_token_revokes_its_session_and_that_stays(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (id, other) = (session(&bench).await, session(&bench).await);
    // Ten minutes, so that no machine is too slow for what comes within them.
    set_policy(test, bench.client.id, "refresh_grace_ms", "600000").await;
    rotated(bench.rotate(id, 1).await);
    test.age("sessions", id.uuid(), 500).await;
    replayed(bench.rotate(id, 1).await);
    test.age("sessions", id.uuid(), 101).await;
    assert_is!(
        bench.rotate(id, 1).await,
        RotateOutcome::Reused(session, client) if *session == id && *client == bench.client.id
    );
    assert_revoked_for_good(&bench, id).await;
    assert_eq!(bench.state(other).await, SessionState::Active);
}

async fn a_token_two_generations_back_revokes_its_session_at_once(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    rotated(bench.rotate(id, 1).await);
    rotated(bench.rotate(id, 2).await);
    assert_is!(bench.rotate(id, 1).await, RotateOutcome::Reused(..));
    assert_revoked_for_good(&bench, id).await;
}

async fn the_first_token_revokes_its_session_however_far_that_has_come(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    set(test, "sessions", id.uuid(), "refresh_generation = 2147483646").await;
    assert_is!(bench.rotate(id, 1).await, RotateOutcome::Reused(..));
    assert_eq!(bench.state(id).await, SessionState::Revoked);
}

async fn a_generation_that_is_yet_to_come_is_unknown(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    let before = contents(test).await;
    for generation in [2, 3, 1_000, i32::MAX.cast_unsigned(), 1 << 31, u32::MAX] {
        // Often enough that PostgreSQL has planned the statement for any value.
        for _ in 0..7 {
            let outcome = bench.rotate(id, generation).await;
            assert!(matches!(outcome, RotateOutcome::Unknown), "generation {generation}: {outcome:?}");
        }
    }
    assert_unchanged(test, &before, "generations that are yet to come").await;
    rotated(bench.rotate(id, 1).await);
}

async fn the_generation_before_the_first_is_unknown(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    assert_is!(refused(&bench, rotation(id, 0)).await, RotateOutcome::Unknown);
    rotated(bench.rotate(id, 1).await);
    assert_is!(refused(&bench, rotation(id, 0)).await, RotateOutcome::Unknown);
}

async fn a_session_that_never_was_is_unknown(test: &TestStore) {
    let bench = Bench::on(test).await;
    session(&bench).await;
    assert_is!(refused(&bench, rotation(SessionId::generate(), 1)).await, RotateOutcome::Unknown);
}

async fn a_pending_session_has_no_token(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.pending(&new_address()).await.id;
    for generation in [0, 1, 2] {
        assert_is!(refused(&bench, rotation(id, generation)).await, RotateOutcome::Unknown);
    }
}

async fn another_clients_credentials_make_a_token_unknown(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    let neighbour = bench.client_in(&bench.client.realm).await;
    let by_neighbour = |generation| Rotation { client_id: Some(neighbour.id), ..rotation(id, generation) };
    assert_is!(refused(&bench, by_neighbour(1)).await, RotateOutcome::Unknown);
    rotated(bench.rotate(id, 1).await);
    rotated(bench.rotate(id, 2).await);
    for generation in 1..=4 {
        assert_is!(refused(&bench, by_neighbour(generation)).await, RotateOutcome::Unknown);
    }
}

async fn a_policy_can_demand_the_clients_credentials(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    rotated(bench.rotate(id, 1).await);
    rotated(bench.rotate(id, 2).await);
    set_policy(test, bench.client.id, "refresh_requires_client", "true").await;
    for generation in 1..=4 {
        assert_is!(refused(&bench, rotation(id, generation)).await, RotateOutcome::ClientRequired);
    }
    let with_client = Rotation { client_id: Some(bench.client.id), ..rotation(id, 3) };
    rotated(rotate(bench.store.clone(), with_client).await);
}

async fn past_the_idle_deadline_every_token_is_expired(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    rotated(bench.rotate(id, 1).await);
    rotated(bench.rotate(id, 2).await);
    test.age("sessions", id.uuid(), seconds(bench.client.policy.refresh_token_ttl)).await;
    for generation in 1..=4 {
        assert_is!(refused(&bench, rotation(id, generation)).await, RotateOutcome::Expired);
    }
}

async fn past_the_hard_end_every_token_is_expired(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    rotated(bench.rotate(id, 1).await);
    // The hard end alone, whatever the idle deadline says.
    set(test, "sessions", id.uuid(), "hard_expire_time = create_time").await;
    for generation in 1..=3 {
        assert_is!(refused(&bench, rotation(id, generation)).await, RotateOutcome::Expired);
    }
}

async fn a_stolen_token_revokes_nothing_that_has_expired(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    rotated(bench.rotate(id, 1).await);
    test.age("sessions", id.uuid(), seconds(bench.client.policy.session_max_ttl)).await;
    assert_is!(refused(&bench, rotation(id, 1)).await, RotateOutcome::Expired);
    assert_eq!(bench.state(id).await, SessionState::Expired);
}

async fn a_disabled_client_refreshes_nothing_until_it_is_enabled(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    rotated(bench.rotate(id, 1).await);
    rotated(bench.rotate(id, 2).await);
    set_policy(test, bench.client.id, "disabled", "true").await;
    for generation in 1..=4 {
        assert_is!(refused(&bench, rotation(id, generation)).await, RotateOutcome::ClientDisabled);
    }
    set_policy(test, bench.client.id, "disabled", "false").await;
    rotated(bench.rotate(id, 3).await);
}

async fn a_deleted_client_refreshes_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await;
    set(test, "clients", bench.client.id.uuid(), "delete_time = create_time").await;
    assert_is!(refused(&bench, rotation(id, 1)).await, RotateOutcome::ClientDisabled);
}
