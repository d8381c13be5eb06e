//! Sessions: made, read back, listed.

use std::time::Duration;

use countersign::{
    domain::{Address, RevokeReason, SessionId, SessionState},
    store::{CleanupTarget, NewSession, SessionQuery},
    token::random,
};

use crate::{
    database::{after, holds, set},
    fixture::{Bench, new_address, new_session},
    support::TestStore,
};

on_both_stores!(
    a_new_session_is_pending_with_its_deadline_on_the_clock_of_the_database,
    a_session_is_found_by_its_id_and_by_the_hash_of_its_token,
    a_session_that_never_was_is_none,
    a_pending_session_whose_deadline_has_passed_is_expired_wherever_it_is_read,
    a_signed_in_session_whose_idle_deadline_has_passed_is_expired,
    sessions_are_listed_page_by_page_newest_first,
    a_list_holds_only_what_is_the_clients_own,
    a_session_whose_token_has_no_mac_is_noticed_as_long_as_its_row_is_there,
);

async fn a_new_session_is_pending_with_its_deadline_on_the_clock_of_the_database(test: &TestStore) {
    let bench = Bench::on(test).await;
    let new = NewSession {
        pending_ttl: Duration::from_millis(61_234),
        ..new_session(&bench.client, &new_address())
    };
    let before = bench.store.now().await.unwrap();
    let made = bench.store.create_session(new.clone()).await.unwrap();
    let later = bench.store.now().await.unwrap();
    assert_eq!((made.id, made.client_id), (new.id, new.client_id));
    assert_eq!((&made.signing, &made.deposit), (&new.signing, &new.deposit));
    assert_eq!(made.state, SessionState::Pending);
    assert_eq!((&made.sign_in, &made.revocation), (&None, &None));
    assert!((before..=later).contains(&made.create_time), "not on the database's clock");
    assert_eq!(made.update_time, made.create_time);
    assert_eq!(made.expire_time, made.create_time + new.pending_ttl);
    let deadline = after(test, "create_time", new.pending_ttl);
    assert!(holds(test, "sessions", new.id.uuid(), &format!("latest_expire_time = {deadline}")).await);
}

async fn a_session_is_found_by_its_id_and_by_the_hash_of_its_token(test: &TestStore) {
    let bench = Bench::on(test).await;
    bench.pending(&new_address()).await;
    let new = new_session(&bench.client, &new_address());
    let made = bench.store.create_session(new.clone()).await.unwrap();
    assert_eq!(bench.store.session(made.id).await.unwrap().unwrap(), made);
    assert_eq!(bench.store.session_by_token(new.token_hash).await.unwrap().unwrap(), made);
}

async fn a_session_that_never_was_is_none(test: &TestStore) {
    let bench = Bench::on(test).await;
    // One without a token, which no hash may find.
    bench.sign_in(&new_address()).await;
    assert!(bench.store.session(SessionId::generate()).await.unwrap().is_none());
    assert!(bench.store.session_by_token(random::bytes()).await.unwrap().is_none());
    assert!(bench.store.session_by_token([0; 32]).await.unwrap().is_none());
}

async fn a_pending_session_whose_deadline_has_passed_is_expired_wherever_it_is_read(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let new = new_session(&bench.client, &address);
    bench.store.create_session(new.clone()).await.unwrap();
    let ttl = i64::try_from(new.pending_ttl.as_secs()).unwrap();
    test.age("sessions", new.id.uuid(), ttl - 60).await;
    assert_eq!(bench.state(new.id).await, SessionState::Pending);
    test.age("sessions", new.id.uuid(), 60).await;
    assert_eq!(bench.state(new.id).await, SessionState::Expired);
    let by_token = bench.store.session_by_token(new.token_hash).await.unwrap().unwrap();
    assert_eq!(by_token.state, SessionState::Expired);
    let query = SessionQuery::Address(address);
    let listed = bench.store.list_sessions(bench.client.id, query, None, 10).await.unwrap();
    assert_eq!(listed[0].state, SessionState::Expired);
}

async fn a_signed_in_session_whose_idle_deadline_has_passed_is_expired(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = bench.sign_in(&new_address()).await.session;
    let ttl = i64::try_from(bench.client.policy.refresh_token_ttl.as_secs()).unwrap();
    test.age("sessions", session.id.uuid(), ttl - 60).await;
    assert_eq!(bench.state(session.id).await, SessionState::Active);
    test.age("sessions", session.id.uuid(), 60).await;
    assert_eq!(bench.state(session.id).await, SessionState::Expired);
}

async fn sessions_are_listed_page_by_page_newest_first(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(bench.sign_in(&address).await.session.id);
    }
    ids.sort();
    ids.reverse();
    let account_id = bench.session(ids[0]).await.sign_in.unwrap().account_id;
    for query in [SessionQuery::Address(address), SessionQuery::Account(account_id)] {
        let mut listed = Vec::new();
        for size in [3, 3, 1] {
            let page = page(&bench, query.clone(), listed.last().copied(), 3).await;
            assert_eq!(page.len(), size, "{query:?}");
            listed.extend(page);
        }
        assert_eq!(listed, ids, "{query:?}");
        assert!(page(&bench, query, ids.last().copied(), 3).await.is_empty());
    }
}

async fn a_list_holds_only_what_is_the_clients_own(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (address, stranger) = (new_address(), new_address());
    let neighbour = bench.client_in(&bench.client.realm).await;
    let own = bench.sign_in(&address).await;
    let pending = bench.pending(&address).await;
    bench.sign_in_at(&neighbour, &address).await;
    bench.sign_in(&stranger).await;
    let by_address = page(&bench, SessionQuery::Address(address), None, 10).await;
    assert_eq!(by_address, [pending.id, own.session.id]);
    let by_account = page(&bench, SessionQuery::Account(own.account.id), None, 10).await;
    assert_eq!(by_account, [own.session.id]);
    let nobody = Address::from_canonical("0x' OR '1'='1".to_owned());
    assert!(page(&bench, SessionQuery::Address(nobody), None, 10).await.is_empty());
}

async fn a_session_whose_token_has_no_mac_is_noticed_as_long_as_its_row_is_there(test: &TestStore) {
    let bench = Bench::on(test).await;
    let noticed = async || bench.store.has_unmarked_tokens().await.unwrap();
    assert!(!noticed().await);
    let session = bench.pending(&new_address()).await;
    // One without a token has no token without a MAC.
    bench.sign_in(&new_address()).await;
    assert!(!noticed().await);
    // As an earlier version leaves it.
    set(test, "sessions", session.id.uuid(), "token_fingerprint = NULL").await;
    assert!(noticed().await);
    bench.store.revoke_session(session.id, RevokeReason::RevokedByClient).await.unwrap();
    assert!(noticed().await);
    test.age("sessions", session.id.uuid(), 7_200).await;
    let hour = Duration::from_hours(1);
    assert_eq!(bench.store.remove_expired(CleanupTarget::Sessions, hour, 10).await.unwrap(), 1);
    assert!(!noticed().await);
}

async fn page(
    bench: &Bench<'_>,
    query: SessionQuery,
    before: Option<SessionId>,
    limit: u32,
) -> Vec<SessionId> {
    let listed = bench.store.list_sessions(bench.client.id, query, before, limit).await.unwrap();
    listed.iter().map(|session| session.id).collect()
}
