//! What another transaction did to a row while a call waited for it.

use std::{future::Future, sync::Arc, time::Duration};

use countersign::{
    domain::{RevokeReason, Session, SessionState},
    store::{ChallengeKey, RedeemOutcome, RotateOutcome, SessionQuery, Store},
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::{Lock, assert_unchanged, contents, in_millis, literal},
    fixture::{
        Bench, new_address, redeem, replayed, retry_while_locked, rotate, rotated, rotation, scope, signed_in,
    },
    support::TestStore,
};

on_both_stores!(
    a_challenge_redeemed_meanwhile_is_used_and_only_then,
    a_session_revoked_meanwhile_is_not_signed_in,
    a_session_signed_in_meanwhile_is_not_signed_in_again,
    a_session_revoked_meanwhile_is_not_refreshed_and_only_then,
    a_token_that_was_rotated_meanwhile_is_replayed,
    a_token_that_stepped_twice_meanwhile_is_stolen,
    a_session_revoked_meanwhile_keeps_its_first_reason,
    a_session_that_stepped_meanwhile_is_revoked_as_it_then_is,
    what_waited_counts_from_the_moment_it_got_its_lock,
    reading_waits_for_nobody,
);

/// What a call answers that waited while another transaction changed the row and committed, or took it
/// back.
async fn meanwhile<F>(
    test: &TestStore,
    (table, id): (&str, Uuid),
    change: &str,
    commit: bool,
    call: F,
) -> F::Output
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let mut lock = Lock::on_id(test, table, id).await;
    let waiting = tokio::spawn(call);
    lock.until_awaited().await;
    lock.execute(&format!("UPDATE {table} SET {change} WHERE id = {}", literal(test, id))).await;
    if commit {
        lock.commit().await
    } else {
        lock.rollback().await
    }
    waiting.await.unwrap()
}

/// Ends a session by the user.
fn revoked(test: &TestStore) -> String {
    let now = in_millis(test, 0);
    format!("revoke_time = {now}, update_time = {now}, revoke_reason = 'REVOKED_BY_USER'")
}

/// Steps a session's token on.
fn stepped(test: &TestStore, by: u32) -> String {
    let now = in_millis(test, 0);
    format!("refresh_generation = refresh_generation + {by}, refresh_step_time = {now}, update_time = {now}")
}

async fn a_challenge_redeemed_meanwhile_is_used_and_only_then(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let redeemed = format!("redeem_time = {}", in_millis(test, 0));
    let row = ("challenges", challenge.id.uuid());
    let call = || redeem(bench.store.clone(), bench.redemption(&challenge));
    let outcome = meanwhile(test, row, &redeemed, true, call()).await;
    assert_is!(outcome, RedeemOutcome::AlreadyUsed);
    assert_eq!(test.count("sessions", "TRUE").await, 0);
    test.execute("UPDATE challenges SET redeem_time = NULL").await;
    let outcome = meanwhile(test, row, &redeemed, false, call()).await;
    assert_is!(outcome, RedeemOutcome::SignedIn(_));
}

async fn a_session_revoked_meanwhile_is_not_signed_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = bench.pending(&new_address()).await;
    let challenge = bench.bound_challenge(&session).await;
    let row = ("sessions", session.id.uuid());
    let call = redeem(bench.store.clone(), bench.redemption(&challenge));
    let outcome = meanwhile(test, row, &revoked(test), true, call).await;
    assert_is!(outcome, RedeemOutcome::SessionRevoked);
    assert_eq!(bench.session(session.id).await.sign_in, None);
    assert_eq!(test.count("challenges", "redeem_time IS NOT NULL").await, 0);
}

async fn a_session_signed_in_meanwhile_is_not_signed_in_again(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let (waiting, model) = (bench.pending(&address).await, bench.sign_in(&address).await.session);
    let challenge = bench.bound_challenge(&waiting).await;
    let columns = "account_id, wallet_address, wallet_network, wallet_kind, authenticate_time,
                   hard_expire_time, refresh_generation, refresh_fingerprint, refresh_step_time,
                   access_expire_time";
    let model = literal(test, model.id.uuid());
    let signed_in = format!("({columns}) = (SELECT {columns} FROM sessions WHERE id = {model})");
    let call = redeem(bench.store.clone(), bench.redemption(&challenge));
    let row = ("sessions", waiting.id.uuid());
    let outcome = meanwhile(test, row, &signed_in, true, call).await;
    assert_is!(outcome, RedeemOutcome::SessionAlreadyActive);
    let found = bench.find(ChallengeKey::Id(challenge.id)).await;
    assert_eq!(found[0].state, countersign::store::ChallengeState::Live);
}

/// A session that has just been signed in.
async fn session(bench: &Bench<'_>) -> Session {
    bench.sign_in(&new_address()).await.session
}

async fn a_session_revoked_meanwhile_is_not_refreshed_and_only_then(test: &TestStore) {
    let bench = Bench::on(test).await;
    for commit in [true, false] {
        let id = session(&bench).await.id;
        let call = rotate(bench.store.clone(), rotation(id, 1));
        let outcome = meanwhile(test, ("sessions", id.uuid()), &revoked(test), commit, call).await;
        let generation = bench.session(id).await.sign_in.unwrap().generation;
        assert_is!(
            (outcome, commit, generation),
            (RotateOutcome::Revoked, true, 1) | (RotateOutcome::Rotated(_), false, 2)
        );
    }
}

async fn a_token_that_was_rotated_meanwhile_is_replayed(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await.id;
    let call = rotate(bench.store.clone(), rotation(id, 1));
    let outcome = meanwhile(test, ("sessions", id.uuid()), &stepped(test, 1), true, call).await;
    assert_eq!(replayed(outcome).generation, 2);
    assert_eq!(bench.session(id).await.sign_in.unwrap().generation, 2);
}

async fn a_token_that_stepped_twice_meanwhile_is_stolen(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = session(&bench).await.id;
    let call = rotate(bench.store.clone(), rotation(id, 1));
    let outcome = meanwhile(test, ("sessions", id.uuid()), &stepped(test, 2), true, call).await;
    assert_is!(outcome, RotateOutcome::Reused(..));
    let reason = bench.session(id).await.revocation.unwrap().reason;
    assert_eq!(reason, RevokeReason::RefreshTokenReused);
}

async fn revoke(store: Arc<dyn Store>, session: Session) -> Session {
    retry_while_locked(|| store.revoke_session(session.id, RevokeReason::RevokedByClient)).await.unwrap()
}

async fn a_session_revoked_meanwhile_keeps_its_first_reason(test: &TestStore) {
    let bench = Bench::on(test).await;
    for commit in [true, false] {
        let session = session(&bench).await;
        let row = ("sessions", session.id.uuid());
        let call = revoke(bench.store.clone(), session);
        let answer = meanwhile(test, row, &revoked(test), commit, call).await;
        let first = if commit { RevokeReason::RevokedByUser } else { RevokeReason::RevokedByClient };
        assert_eq!((answer.state, answer.revocation.unwrap().reason), (SessionState::Revoked, first));
        assert_eq!(bench.session(answer.id).await, answer);
    }
}

async fn a_session_that_stepped_meanwhile_is_revoked_as_it_then_is(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = session(&bench).await;
    let row = ("sessions", session.id.uuid());
    let answer = meanwhile(test, row, &stepped(test, 1), true, revoke(bench.store.clone(), session)).await;
    assert_eq!(answer.state, SessionState::Revoked);
    assert_eq!(answer.sign_in.as_ref().unwrap().generation, 2, "the step was undone");
    assert_eq!(bench.session(answer.id).await, answer);
}

/// When somebody let go of a row, and what a call answers that waited for it.
async fn behind<F>(bench: &Bench<'_>, (table, id): (&str, Uuid), call: F) -> (OffsetDateTime, F::Output)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let mut lock = Lock::on_id(bench.test, table, id).await;
    let waiting = tokio::spawn(call);
    lock.until_awaited().await;
    let released = bench.store.now().await.unwrap();
    lock.rollback().await;
    (released, waiting.await.unwrap())
}

async fn what_waited_counts_from_the_moment_it_got_its_lock(test: &TestStore) {
    let bench = Bench::on(test).await;
    let pending = bench.pending(&new_address()).await;
    let row = ("sessions", pending.id.uuid());
    let challenge = bench.bound_challenge(&pending).await;
    let call = redeem(bench.store.clone(), bench.redemption(&challenge));
    let (released, outcome) = behind(&bench, row, call).await;
    assert!(signed_in(outcome).now >= released, "the session's lock");
    let unbound = bench.challenge(&new_address()).await;
    let call = redeem(bench.store.clone(), bench.redemption(&unbound));
    let (released, outcome) = behind(&bench, ("challenges", unbound.id.uuid()), call).await;
    assert!(signed_in(outcome).now >= released, "the challenge's lock");
    let call = rotate(bench.store.clone(), rotation(pending.id, 1));
    let (released, outcome) = behind(&bench, row, call).await;
    assert!(rotated(outcome).session.update_time >= released, "the refresh");
    let (released, session) = behind(&bench, row, revoke(bench.store.clone(), pending)).await;
    assert!(session.revocation.unwrap().time >= released, "the revoke");
}

async fn reading_waits_for_nobody(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let session = rotated(bench.rotate(bench.sign_in(&address).await.session.id, 1).await).session;
    let challenge = bench.challenge(&address).await;
    let before = contents(test).await;
    let mut lock = Lock::on_id(test, "sessions", session.id.uuid()).await;
    let id = literal(test, challenge.id.uuid());
    lock.execute(&format!("UPDATE challenges SET expire_time = create_time WHERE id = {id}")).await;
    let reads = async {
        assert_eq!(bench.session(session.id).await, session);
        let by_address = SessionQuery::Address(address.clone());
        assert_eq!(bench.store.list_sessions(bench.client.id, by_address, None, 9).await.unwrap(), [session]);
        assert_eq!(bench.store.client(bench.client.id).await.unwrap().unwrap().client, bench.client);
        let key = ChallengeKey::Address(address);
        let found = bench.store.find_challenges(scope(&bench.client), key, None).await.unwrap();
        assert_eq!(found[0].challenge, challenge);
        bench.store.now().await.unwrap();
    };
    tokio::time::timeout(Duration::from_mins(1), reads).await.expect("a read waited for a lock");
    lock.rollback().await;
    assert_unchanged(test, &before, "nothing to do").await;
}
