//! A session is ended, once and for good.

use std::sync::Arc;

use countersign::{
    domain::{RevokeReason, Session, SessionId, SessionState},
    store::{RotateOutcome, Store},
};

use crate::{
    crowd::{CROWD, Instances},
    database::{assert_unchanged, contents},
    fixture::{Bench, new_address},
    support::TestStore,
};

on_both_stores!(
    a_revoked_session_keeps_its_reason_and_time,
    the_first_reason_wins_and_revoking_again_answers_and_changes_nothing_new,
    of_many_that_revoke_at_once_all_get_the_same_reason_and_time,
    revoking_what_never_was_answers_none,
    a_pending_session_can_be_revoked,
    an_expired_session_can_be_revoked,
    a_revoked_session_never_refreshes_again,
);

const REASONS: [RevokeReason; 4] = [
    RevokeReason::RevokedByClient,
    RevokeReason::RevokedByUser,
    RevokeReason::TokenRevoked,
    RevokeReason::AccountSessionsRevoked,
];

async fn revoke(bench: &Bench<'_>, id: SessionId, reason: RevokeReason) -> Session {
    bench.store.revoke_session(id, reason).await.unwrap().unwrap()
}

async fn a_revoked_session_keeps_its_reason_and_time(test: &TestStore) {
    let bench = Bench::on(test).await;
    for reason in REASONS {
        let session = bench.sign_in(&new_address()).await.session;
        let before = bench.store.now().await.unwrap();
        let revoked = revoke(&bench, session.id, reason).await;
        let after = bench.store.now().await.unwrap();
        assert_eq!(revoked.state, SessionState::Revoked);
        let revocation = revoked.revocation.unwrap();
        assert_eq!(revocation.reason, reason);
        assert!((before..=after).contains(&revocation.time), "not on the database's clock");
        assert_eq!(revoked.update_time, revocation.time);
        assert_eq!(revoked.sign_in, session.sign_in);
        assert_eq!(bench.session(session.id).await, revoked);
    }
}

async fn the_first_reason_wins_and_revoking_again_answers_and_changes_nothing_new(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = bench.sign_in(&new_address()).await.session;
    let first = revoke(&bench, session.id, RevokeReason::RevokedByUser).await;
    let before = contents(test).await;
    for reason in REASONS {
        assert_eq!(revoke(&bench, session.id, reason).await, first);
    }
    assert_unchanged(test, &before, "nothing to do").await;
}

async fn of_many_that_revoke_at_once_all_get_the_same_reason_and_time(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.sign_in(&new_address()).await.session.id;
    let reasons = REASONS.into_iter().cycle().take(CROWD);
    let revoke = |store: Arc<dyn Store>, reason| async move {
        store.revoke_session(id, reason).await.unwrap().unwrap()
    };
    let answers = Instances::on(test).await.at_once(reasons, revoke).await;
    let revoked = bench.session(id).await;
    assert_eq!(revoked.state, SessionState::Revoked);
    assert!(answers.iter().all(|answer| *answer == revoked), "{answers:?}");
}

async fn revoking_what_never_was_answers_none(test: &TestStore) {
    let bench = Bench::on(test).await;
    bench.sign_in(&new_address()).await;
    let before = contents(test).await;
    let reason = RevokeReason::RevokedByClient;
    assert!(bench.store.revoke_session(SessionId::generate(), reason).await.unwrap().is_none());
    assert_unchanged(test, &before, "nothing to do").await;
}

async fn a_pending_session_can_be_revoked(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, other) = (bench.pending(&new_address()).await, bench.pending(&new_address()).await);
    let revoked = revoke(&bench, session.id, RevokeReason::RevokedByClient).await;
    assert_eq!((revoked.state, revoked.sign_in), (SessionState::Revoked, None));
    assert_eq!(bench.session(other.id).await, other);
}

async fn an_expired_session_can_be_revoked(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = bench.pending(&new_address()).await;
    test.age("sessions", session.id.uuid(), 86_400).await;
    assert_eq!(bench.state(session.id).await, SessionState::Expired);
    let revoked = revoke(&bench, session.id, RevokeReason::RevokedByClient).await;
    assert_eq!(revoked.state, SessionState::Revoked);
    assert_eq!(bench.session(session.id).await, revoked);
}

async fn a_revoked_session_never_refreshes_again(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.sign_in(&new_address()).await.session.id;
    assert_is!(bench.rotate(id, 1).await, RotateOutcome::Rotated(_));
    revoke(&bench, id, RevokeReason::TokenRevoked).await;
    let before = contents(test).await;
    for generation in [1, 2, 3] {
        assert_is!(bench.rotate(id, generation).await, RotateOutcome::Revoked);
    }
    assert_unchanged(test, &before, "nothing to do").await;
}
