//! What cannot be redeemed changes nothing.

use countersign::{
    domain::{Challenge, ChallengeId, RevokeReason, Session, SessionId},
    store::{ChallengeKey, ChallengeScope, ChallengeState, RedeemOutcome, Redemption},
};

use crate::{
    database::{assert_unchanged, contents, holds, literal, set, set_policy},
    fixture::{Bench, new_address, redeem, redemption, scope},
    support::TestStore,
};

on_both_stores!(
    a_redeemed_challenge_is_used,
    a_used_challenge_is_used_even_after_its_deadline,
    a_challenge_past_its_deadline_is_expired,
    a_challenge_that_never_was_is_not_found,
    another_clients_challenge_is_not_found,
    a_device_finds_no_challenge_but_its_sessions_own,
    a_challenge_of_another_purpose_is_not_found,
    the_second_challenge_of_a_session_is_not_spent_on_it,
    a_revoked_session_is_not_signed_in,
    an_expired_session_is_not_signed_in,
    a_session_that_is_gone_is_not_signed_in,
    a_session_waits_for_its_own_address_alone,
    a_disabled_client_signs_nobody_in_until_it_is_enabled,
    a_deleted_client_signs_nobody_in,
);

/// Redeems, and sees that nothing has changed.
async fn refused(bench: &Bench<'_>, redemption: Redemption) -> RedeemOutcome {
    let before = contents(bench.test).await;
    let outcome = redeem(bench.store.clone(), redemption).await;
    assert_unchanged(bench.test, &before, &format!("{outcome:?}")).await;
    outcome
}

/// A PENDING session and a challenge that is bound to it.
async fn bound(bench: &Bench<'_>) -> (Session, Challenge) {
    let session = bench.pending(&new_address()).await;
    let challenge = bench.bound_challenge(&session).await;
    (session, challenge)
}

async fn a_redeemed_challenge_is_used(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, bound) = bound(&bench).await;
    let unbound = bench.challenge(&session.signing.address).await;
    for challenge in [bound, unbound] {
        assert_is!(bench.redeem(&challenge).await, RedeemOutcome::SignedIn(_));
        for _ in 0..2 {
            assert_is!(refused(&bench, bench.redemption(&challenge)).await, RedeemOutcome::AlreadyUsed);
        }
    }
}

async fn a_used_challenge_is_used_even_after_its_deadline(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    bench.redeem(&challenge).await;
    test.age("challenges", challenge.id.uuid(), 3_600).await;
    assert_is!(refused(&bench, bench.redemption(&challenge)).await, RedeemOutcome::AlreadyUsed);
}

async fn a_challenge_past_its_deadline_is_expired(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, bound) = bound(&bench).await;
    let unbound = bench.challenge(&session.signing.address).await;
    for challenge in [bound, unbound] {
        // Two minutes it lives.
        test.age("challenges", challenge.id.uuid(), 120).await;
        assert_is!(refused(&bench, bench.redemption(&challenge)).await, RedeemOutcome::Expired);
    }
}

async fn a_challenge_that_never_was_is_not_found(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let unknown = Redemption { challenge_id: ChallengeId::generate(), ..bench.redemption(&challenge) };
    assert_is!(refused(&bench, unknown).await, RedeemOutcome::NotFound);
}

async fn another_clients_challenge_is_not_found(test: &TestStore) {
    let bench = Bench::on(test).await;
    let neighbour = bench.client_in(&bench.client.realm).await;
    let challenge = bench.challenge(&new_address()).await;
    let stolen = Redemption { scope: scope(&neighbour), ..bench.redemption(&challenge) };
    assert_is!(refused(&bench, stolen.clone()).await, RedeemOutcome::NotFound);
    bench.redeem(&challenge).await;
    assert_is!(refused(&bench, stolen).await, RedeemOutcome::NotFound);
}

async fn a_device_finds_no_challenge_but_its_sessions_own(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, others) = bound(&bench).await;
    let unbound = bench.challenge(&session.signing.address).await;
    let device = bench.pending(&session.signing.address).await;
    for challenge in [others, unbound] {
        for session_id in [device.id, SessionId::generate()] {
            let scope = ChallengeScope { client_id: bench.client.id, session_id: Some(session_id) };
            let foreign = Redemption { scope, ..bench.redemption(&challenge) };
            assert_is!(refused(&bench, foreign).await, RedeemOutcome::NotFound);
        }
    }
}

async fn a_challenge_of_another_purpose_is_not_found(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    set(test, "challenges", challenge.id.uuid(), "purpose = 'LINK_WALLET'").await;
    assert_is!(refused(&bench, bench.redemption(&challenge)).await, RedeemOutcome::NotFound);
}

async fn the_second_challenge_of_a_session_is_not_spent_on_it(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, first) = bound(&bench).await;
    let second = bench.bound_challenge(&session).await;
    assert_is!(bench.redeem(&first).await, RedeemOutcome::SignedIn(_));
    assert_is!(bench.rotate(session.id, 1).await, countersign::store::RotateOutcome::Rotated(_));
    let outcome = refused(&bench, bench.redemption(&second)).await;
    assert_is!(outcome, RedeemOutcome::SessionAlreadyActive);
    assert!(holds(test, "challenges", second.id.uuid(), "redeem_time IS NULL").await);
    assert_eq!(bench.find(ChallengeKey::Id(second.id)).await[0].state, ChallengeState::Live);
    assert_eq!(bench.session(session.id).await.sign_in.unwrap().generation, 2);
}

async fn a_revoked_session_is_not_signed_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, challenge) = bound(&bench).await;
    bench.store.revoke_session(session.id, RevokeReason::RevokedByClient).await.unwrap();
    assert_is!(refused(&bench, bench.redemption(&challenge)).await, RedeemOutcome::SessionRevoked);
}

async fn an_expired_session_is_not_signed_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, challenge) = bound(&bench).await;
    // Ten minutes it may stay PENDING.
    test.age("sessions", session.id.uuid(), 600).await;
    assert_is!(refused(&bench, bench.redemption(&challenge)).await, RedeemOutcome::SessionExpired);
}

async fn a_session_that_is_gone_is_not_signed_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, challenge) = bound(&bench).await;
    test.execute(&format!("DELETE FROM sessions WHERE id = {}", literal(test, session.id.uuid()))).await;
    assert_is!(refused(&bench, bench.redemption(&challenge)).await, RedeemOutcome::SessionExpired);
}

async fn a_session_waits_for_its_own_address_alone(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, challenge) = bound(&bench).await;
    let mut other = bench.redemption(&challenge);
    other.verification.wallet.address = new_address();
    assert_is!(refused(&bench, other).await, RedeemOutcome::SessionMismatch);
    assert_is!(
        bench.redeem(&challenge).await,
        RedeemOutcome::SignedIn(signed_in) if signed_in.session.id == session.id
    );
}

async fn a_disabled_client_signs_nobody_in_until_it_is_enabled(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, bound) = bound(&bench).await;
    let unbound = bench.challenge(&session.signing.address).await;
    set_policy(test, bench.client.id, "disabled", "true").await;
    for challenge in [&bound, &unbound] {
        assert_is!(refused(&bench, bench.redemption(challenge)).await, RedeemOutcome::ClientDisabled);
    }
    set_policy(test, bench.client.id, "disabled", "false").await;
    for challenge in [&bound, &unbound] {
        assert_is!(bench.redeem(challenge).await, RedeemOutcome::SignedIn(_));
    }
}

async fn a_deleted_client_signs_nobody_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let deleted = bench.client_in(&bench.client.realm).await;
    let challenge = bench.challenge_of(&deleted, &new_address()).await;
    set(test, "clients", deleted.id.uuid(), "delete_time = create_time").await;
    let refused = refused(&bench, redemption(&deleted, &challenge)).await;
    assert_is!(refused, RedeemOutcome::ClientDisabled);
}
