//! Who refreshes at the same moment as others, on two instances.

use std::{collections::HashSet, sync::Arc};

use countersign::{
    domain::{RevokeReason, RootKeyId, SessionId, SessionState},
    store::{RotateOutcome, Rotation, Store},
};

use crate::{
    crowd::{CROWD, Instances},
    fixture::{Bench, new_address, next_token, rotate, rotated, rotation},
    support::TestStore,
};

on_both_stores!(
    of_many_that_present_one_token_at_once_one_rotates_and_the_others_replay,
    many_that_present_a_stolen_token_at_once_revoke_once,
    many_sessions_refresh_at_once_without_minding_each_other,
    a_session_that_was_revoked_while_it_refreshed_never_lives_again,
    an_account_that_was_logged_out_while_it_refreshed_has_no_live_session,
);

async fn of_many_that_present_one_token_at_once_one_rotates_and_the_others_replay(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.sign_in(&new_address()).await.session.id;
    let instances = Instances::on(test).await;
    for generation in 1..=4 {
        // Each one would derive the next token from a key of its own.
        let keys = (0..CROWD).map(|key| RootKeyId([u8::try_from(key).unwrap(); 8]));
        let presented = keys.map(|root_key_id| Rotation { root_key_id, ..rotation(id, generation) });
        let outcomes = instances.at_once(presented, rotate).await;
        let stepped = outcomes.iter().filter(|outcome| matches!(outcome, RotateOutcome::Rotated(_))).count();
        assert_eq!(stepped, 1);
        let next: HashSet<_> = outcomes.iter().map(next_token).collect();
        assert_eq!(next.len(), 1, "a fork: {next:?}");
        assert_eq!(bench.session(id).await.sign_in.unwrap().generation, generation + 1);
        assert_eq!(next.into_iter().next().unwrap().0, generation + 1);
    }
}

async fn many_that_present_a_stolen_token_at_once_revoke_once(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.sign_in(&new_address()).await.session.id;
    rotated(bench.rotate(id, 1).await);
    rotated(bench.rotate(id, 2).await);
    let presented = (0..CROWD).map(|_| rotation(id, 1));
    let outcomes = Instances::on(test).await.at_once(presented, rotate).await;
    let count = |is: fn(&RotateOutcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
    assert_eq!(count(|outcome| matches!(outcome, RotateOutcome::Reused(..))), 1, "{outcomes:?}");
    assert_eq!(count(|outcome| matches!(outcome, RotateOutcome::Revoked)), CROWD - 1);
    assert_eq!(bench.state(id).await, SessionState::Revoked);
}

async fn many_sessions_refresh_at_once_without_minding_each_other(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let mut sessions = Vec::new();
    for _ in 0..CROWD {
        sessions.push(bench.sign_in(&address).await.session.id);
    }
    let presented = sessions.iter().map(|id| rotation(*id, 1));
    let outcomes = Instances::on(test).await.at_once(presented, rotate).await;
    for (outcome, id) in outcomes.into_iter().zip(sessions) {
        let rotated = rotated(outcome);
        assert_eq!((rotated.session.id, rotated.generation), (id, 2));
    }
}

async fn a_session_that_was_revoked_while_it_refreshed_never_lives_again(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    for _ in 0..50 {
        let id = bench.sign_in(&new_address()).await.session.id;
        let revoke = |store: Arc<dyn Store>| async move {
            let revoked = store.revoke_session(id, RevokeReason::RevokedByUser).await.unwrap().unwrap();
            (revoked, store.session(id).await.unwrap().unwrap())
        };
        let refresh = |store| rotate(store, rotation(id, 1));
        let (outcome, (revoked, right_after)) = instances.race(refresh, revoke).await;
        assert_eq!(revoked.state, SessionState::Revoked);
        assert_eq!(right_after, revoked, "something changed after the revoke was answered");
        assert_refreshed_before(&outcome, revoked.revocation.unwrap().time);
        assert_dead(&bench, id).await;
    }
}

/// A refresh came before the revoke, or came to nothing.
fn assert_refreshed_before(outcome: &RotateOutcome, revoke_time: time::OffsetDateTime) {
    match outcome {
        RotateOutcome::Revoked => {}
        RotateOutcome::Rotated(rotated) => assert!(rotated.now <= revoke_time, "refreshed after the revoke"),
        other => panic!("{other:?}"),
    }
}

async fn assert_dead(bench: &Bench<'_>, id: SessionId) {
    assert_eq!(bench.state(id).await, SessionState::Revoked);
    for generation in 1..=2 {
        assert_is!(bench.rotate(id, generation).await, RotateOutcome::Revoked);
    }
}

async fn an_account_that_was_logged_out_while_it_refreshed_has_no_live_session(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    let address = new_address();
    for _ in 0..25 {
        let signed_in = bench.sign_in(&address).await;
        let (id, account) = (signed_in.session.id, signed_in.account.id);
        let log_out = |store: Arc<dyn Store>| async move {
            let scope = countersign::store::RevokeScope::Account;
            store.revoke_account_sessions(account, scope).await.unwrap()
        };
        let (outcome, revoked) = instances.race(|store| rotate(store, rotation(id, 1)), log_out).await;
        assert_eq!(revoked, Some(1));
        assert_refreshed_before(&outcome, bench.session(id).await.revocation.unwrap().time);
        assert_dead(&bench, id).await;
    }
}
