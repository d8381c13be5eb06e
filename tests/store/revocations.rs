//! What has been revoked is read as far as a live access token could contradict it, and never too late.

use std::time::Duration;

use countersign::{
    domain::{Policy, RevokeReason, SessionId},
    store::{NewClient, Revocations, RevokeScope, RevokedSession, TokenAudience},
};
use time::OffsetDateTime;

use crate::{
    database::{Lock, in_millis, literal, set},
    fixture::{Bench, new_address, new_client},
    support::TestStore,
};

on_both_stores!(
    every_way_to_end_a_session_is_read,
    what_no_live_token_can_contradict_is_not_read,
    only_what_was_asked_for_is_read,
    clients_are_read_while_they_are_not_served,
    a_revoked_key_is_read,
    an_audience_is_read_though_its_client_is_deleted,
    an_audience_has_changed_lately_while_a_token_may_have_the_one_before,
);

async fn read(bench: &Bench<'_>, since: Option<OffsetDateTime>) -> Revocations {
    bench.store.revocations(since).await.unwrap()
}

async fn ids(bench: &Bench<'_>, since: Option<OffsetDateTime>) -> Vec<SessionId> {
    read(bench, since).await.sessions.into_iter().map(|session| session.id).collect()
}

async fn every_way_to_end_a_session_is_read(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (by_hand, reused, of_account) = (
        bench.sign_in(&new_address()).await,
        bench.sign_in(&new_address()).await,
        bench.sign_in(&new_address()).await,
    );
    assert!(read(&bench, None).await.sessions.is_empty());
    bench.store.revoke_session(by_hand.session.id, RevokeReason::RevokedByUser).await.unwrap();
    for generation in [1, 2] {
        bench.rotate(reused.session.id, generation).await;
    }
    bench.rotate(reused.session.id, 1).await;
    bench.store.revoke_account_sessions(of_account.account.id, RevokeScope::Account).await.unwrap();

    let Revocations { as_of, sessions, .. } = read(&bench, None).await;
    let told: Vec<_> = sessions.iter().map(|session| (session.id, session.reason)).collect();
    let expected = [
        (by_hand.session.id, RevokeReason::RevokedByUser),
        (reused.session.id, RevokeReason::RefreshTokenReused),
        (of_account.session.id, RevokeReason::AccountSessionsRevoked),
    ];
    assert_eq!(told, expected);
    for RevokedSession { id, client_id, account_id, revoke_time, access_expire_time, .. } in sessions {
        let session = bench.session(id).await;
        assert_eq!(client_id, session.client_id);
        assert_eq!(account_id, session.sign_in.unwrap().account_id);
        assert_eq!(revoke_time, session.revocation.unwrap().time);
        assert!(revoke_time <= as_of && access_expire_time > as_of);
    }
}

async fn what_no_live_token_can_contradict_is_not_read(test: &TestStore) {
    let bench = Bench::on(test).await;
    let pending = bench.pending(&new_address()).await;
    bench.store.revoke_session(pending.id, RevokeReason::RevokedByClient).await.unwrap();
    let session = bench.sign_in(&new_address()).await.session;
    bench.store.revoke_session(session.id, RevokeReason::RevokedByUser).await.unwrap();
    // Access tokens live for half an hour here, and a checker's clock may be a minute behind.
    test.age("sessions", session.id.uuid(), 30 * 60 + 30).await;
    assert_eq!(ids(&bench, None).await, [session.id]);
    test.age("sessions", session.id.uuid(), 31).await;
    assert!(ids(&bench, None).await.is_empty());
}

async fn only_what_was_asked_for_is_read(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (early, late) =
        (bench.sign_in(&new_address()).await.session, bench.sign_in(&new_address()).await.session);
    for session in [early.id, late.id] {
        bench.store.revoke_session(session, RevokeReason::RevokedByUser).await.unwrap();
    }
    test.age("sessions", early.id.uuid(), 60).await;
    let time = bench.session(late.id).await.revocation.unwrap().time;
    assert_eq!(ids(&bench, Some(time)).await, [late.id]);
    assert_eq!(ids(&bench, Some(time - Duration::from_secs(61))).await, [early.id, late.id]);
    assert!(ids(&bench, Some(time + Duration::from_secs(1))).await.is_empty());
}

/// A revocation is seen when it is committed, with the time of its statement: a reader of only what is newer
/// than all that it has read would miss it. On SQLite one connection writes at a time.
#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_what_is_committed_late_is_read_with_its_own_time() {
    let test = &TestStore::postgres().await;
    let bench = Bench::on(test).await;
    let (slow, quick) =
        (bench.sign_in(&new_address()).await.session, bench.sign_in(&new_address()).await.session);
    let mut lock = Lock::on_id(test, "sessions", slow.id.uuid()).await;
    let now = in_millis(test, 0);
    lock.execute(&format!(
        "UPDATE sessions SET revoke_time = {now}, revoke_reason = 'REVOKED_BY_USER' WHERE id = {}",
        literal(test, slow.id.uuid())
    ))
    .await;
    bench.store.revoke_session(quick.id, RevokeReason::RevokedByUser).await.unwrap();
    let before = read(&bench, None).await;
    assert_eq!(before.sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [quick.id]);
    lock.commit().await;
    let after = read(&bench, Some(before.as_of - Duration::from_mins(1))).await;
    assert_eq!(after.sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [slow.id, quick.id]);
    assert!(after.sessions[0].revoke_time < before.as_of);
}

async fn clients_are_read_while_they_are_not_served(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (disabled, deleted) = (bench.client_in("a").await.id, bench.client_in("b").await.id);
    assert!(read(&bench, None).await.clients.is_empty());
    bench.store.set_client_disabled(disabled, true).await.unwrap();
    bench.store.delete_client(deleted).await.unwrap();
    let inactive = |read: Revocations| {
        let mut inactive: Vec<_> =
            read.clients.into_iter().map(|client| (client.id, client.delete_time.is_some())).collect();
        inactive.sort();
        inactive
    };
    let mut expected = vec![(disabled, false), (deleted, true)];
    expected.sort();
    // They are the state of things, however little is asked for.
    let now = bench.store.now().await.unwrap();
    assert_eq!(inactive(read(&bench, Some(now)).await), expected);
    bench.store.set_client_disabled(disabled, false).await.unwrap();
    assert_eq!(inactive(read(&bench, Some(now)).await), [(deleted, true)]);
    // After a day none of its tokens is good.
    set(
        test,
        "clients",
        deleted.uuid(),
        &format!("delete_time = {}", in_millis(test, -25 * 3_600_000 - 1_000)),
    )
    .await;
    assert!(inactive(read(&bench, None).await).is_empty());
}

async fn a_revoked_key_is_read(test: &TestStore) {
    let bench = Bench::on(test).await;
    let bytes = if test.is_postgres() { "'\\x0102030405060708'" } else { "x'0102030405060708'" };
    for (kid, revoked) in [("good", "NULL".to_owned()), ("bad", in_millis(test, 0))] {
        let now = in_millis(test, 0);
        test.execute(&format!(
            "INSERT INTO signing_keys (kid, algorithm, sealed, root_fingerprint, create_time, activate_time, retire_time, revoke_time)
             VALUES ('{kid}', 'ES256', {bytes}, {bytes}, {now}, {now}, {now}, {revoked})"
        ))
        .await;
    }
    let keys = read(&bench, None).await.keys;
    assert_eq!(keys.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), ["bad"]);
    let old = in_millis(test, -25 * 3_600_000 - 1_000);
    test.execute(&format!("UPDATE signing_keys SET revoke_time = {old} WHERE kid = 'bad'")).await;
    assert!(read(&bench, None).await.keys.is_empty());
}

async fn an_audience_is_read_though_its_client_is_deleted(test: &TestStore) {
    let bench = Bench::on(test).await;
    let policy = Policy { audience: vec!["shop".to_owned()], ..new_client("a").policy };
    let named = bench.store.create_client(NewClient { policy, ..new_client("a") }).await.unwrap().id;
    bench.store.delete_client(named).await.unwrap();
    let tokens = async |id| bench.store.tokens_audience(id).await.unwrap();
    let shop = TokenAudience { audience: vec!["shop".to_owned()], changed_lately: false };
    assert_eq!(tokens(named).await, Some(shop));
    let id = bench.client.id;
    assert_eq!(
        tokens(id).await,
        Some(TokenAudience { audience: vec![id.to_string()], changed_lately: false })
    );
    assert_eq!(tokens(countersign::domain::ClientId::generate()).await, None);
}

async fn an_audience_has_changed_lately_while_a_token_may_have_the_one_before(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.client.id;
    let set = async |policy: Policy| {
        let client = bench.store.client(id).await.unwrap().unwrap().client;
        bench.store.update_client(id, client.update_time, &policy).await.unwrap();
        bench.store.tokens_audience(id).await.unwrap().unwrap().changed_lately
    };
    let named = Policy { name: "other".to_owned(), ..bench.client.policy.clone() };
    assert!(!set(named.clone()).await, "another name is no other audience");
    assert!(set(Policy { audience: vec!["shop".to_owned()], ..named }).await);
    let old = in_millis(test, -25 * 3_600_000 - 1_000);
    test.execute(&format!("UPDATE clients SET audience_change_time = {old}")).await;
    assert!(!bench.store.tokens_audience(id).await.unwrap().unwrap().changed_lately);
}
