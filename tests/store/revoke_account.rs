//! Every session of an account is ended.

use countersign::{
    domain::{AccountId, RevokeReason, SessionId, SessionState},
    store::{RevokeScope, SignedIn},
};

use crate::{
    database::{assert_unchanged, contents},
    fixture::{Bench, new_address},
    support::TestStore,
};

on_both_stores!(
    a_client_ends_its_own_sessions_of_the_account_and_no_other,
    the_user_ends_the_sessions_at_every_client,
    an_account_of_another_realm_or_of_none_is_none_and_nothing_changes,
    sessions_that_were_revoked_before_keep_their_reason_and_are_not_counted,
    sessions_that_have_ended_by_time_are_not_counted_as_live,
    a_pending_session_for_the_same_address_goes_on,
);

fn by_client(bench: &Bench<'_>) -> RevokeScope {
    RevokeScope::Client { client_id: bench.client.id, realm: bench.client.realm.clone() }
}

async fn revoke(bench: &Bench<'_>, account: AccountId, scope: RevokeScope) -> Option<u32> {
    bench.store.revoke_account_sessions(account, scope).await.unwrap()
}

/// One wallet, signed in twice at the client and once at another one of the realm.
async fn three_sign_ins(bench: &Bench<'_>) -> ([SignedIn; 2], SignedIn) {
    let (address, neighbour) = (new_address(), bench.client_in(&bench.client.realm).await);
    let own = [bench.sign_in(&address).await, bench.sign_in(&address).await];
    let there = bench.sign_in_at(&neighbour, &address).await;
    assert_eq!(own[0].account.id, there.account.id);
    (own, there)
}

async fn reason(bench: &Bench<'_>, id: SessionId) -> Option<RevokeReason> {
    bench.session(id).await.revocation.map(|revocation| revocation.reason)
}

async fn a_client_ends_its_own_sessions_of_the_account_and_no_other(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (own, there) = three_sign_ins(&bench).await;
    let stranger = bench.sign_in(&new_address()).await;
    assert_eq!(revoke(&bench, own[0].account.id, by_client(&bench)).await, Some(2));
    for session in own {
        assert_eq!(bench.state(session.session.id).await, SessionState::Revoked);
        let reason = reason(&bench, session.session.id).await;
        assert_eq!(reason, Some(RevokeReason::AccountSessionsRevoked));
    }
    for untouched in [there.session, stranger.session] {
        assert_eq!(bench.session(untouched.id).await, untouched);
    }
}

async fn the_user_ends_the_sessions_at_every_client(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (own, there) = three_sign_ins(&bench).await;
    let stranger = bench.sign_in(&new_address()).await;
    assert_eq!(revoke(&bench, there.account.id, RevokeScope::Account).await, Some(3));
    for id in [own[0].session.id, own[1].session.id, there.session.id] {
        assert_eq!(reason(&bench, id).await, Some(RevokeReason::AccountSessionsRevoked));
    }
    assert_eq!(bench.session(stranger.session.id).await, stranger.session);
}

async fn an_account_of_another_realm_or_of_none_is_none_and_nothing_changes(test: &TestStore) {
    let bench = Bench::on(test).await;
    let account = bench.sign_in(&new_address()).await.account.id;
    let stranger = bench.client_in("another realm").await;
    let before = contents(test).await;
    let scope = RevokeScope::Client { client_id: stranger.id, realm: stranger.realm };
    assert_eq!(revoke(&bench, account, scope).await, None);
    assert_eq!(revoke(&bench, AccountId::generate(), by_client(&bench)).await, None);
    assert_eq!(revoke(&bench, AccountId::generate(), RevokeScope::Account).await, None);
    assert_unchanged(test, &before, "nothing to do").await;
}

async fn sessions_that_were_revoked_before_keep_their_reason_and_are_not_counted(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (own, _) = three_sign_ins(&bench).await;
    let by_user = RevokeReason::RevokedByUser;
    let first = bench.store.revoke_session(own[0].session.id, by_user).await.unwrap().unwrap();
    assert_eq!(revoke(&bench, own[0].account.id, by_client(&bench)).await, Some(1));
    assert_eq!(bench.session(first.id).await, first);
    let before = contents(test).await;
    assert_eq!(revoke(&bench, own[0].account.id, by_client(&bench)).await, Some(0));
    assert_unchanged(test, &before, "nothing to do").await;
}

async fn sessions_that_have_ended_by_time_are_not_counted_as_live(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let policy = &bench.client.policy;
    let seconds = |ttl: std::time::Duration| i64::try_from(ttl.as_secs()).unwrap();
    let (idle, over) = (bench.sign_in(&address).await.session, bench.sign_in(&address).await.session);
    let live = bench.sign_in(&address).await;
    test.age("sessions", idle.id.uuid(), seconds(policy.refresh_token_ttl)).await;
    test.age("sessions", over.id.uuid(), seconds(policy.session_max_ttl)).await;
    for ended in [idle.id, over.id] {
        assert_eq!(bench.state(ended).await, SessionState::Expired);
    }
    assert_eq!(revoke(&bench, live.account.id, RevokeScope::Account).await, Some(1));
    assert_eq!(bench.state(live.session.id).await, SessionState::Revoked);
}

async fn a_pending_session_for_the_same_address_goes_on(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let pending = bench.pending(&address).await;
    let account = bench.sign_in(&address).await.account.id;
    assert_eq!(revoke(&bench, account, RevokeScope::Account).await, Some(1));
    assert_eq!(bench.session(pending.id).await, pending);
}
