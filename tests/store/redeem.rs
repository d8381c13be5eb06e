//! A challenge is redeemed: account, wallet and session.

use std::time::Duration;

use countersign::{
    domain::{Account, ChainAddress, Network, SessionState},
    store::{ChallengeScope, NewChallenge, Redemption, SessionQuery},
};

use crate::{
    database::{after, holds},
    fixture::{Bench, new_address, new_session, redeem, redemption, signed_in, signer_of},
    support::TestStore,
};

on_both_stores!(
    a_first_sign_in_makes_an_account_and_a_session,
    the_next_sign_in_of_the_wallet_finds_its_account,
    a_client_of_the_same_realm_finds_the_same_account,
    a_client_of_another_realm_has_an_account_of_its_own,
    a_plain_key_is_the_same_wallet_on_every_evm_chain,
    another_wallet_has_another_account,
    a_bound_challenge_activates_its_session,
    a_device_redeems_what_is_bound_to_its_session,
    every_deadline_counts_from_the_sign_in,
    no_deadline_lies_past_the_hard_end,
);

async fn a_first_sign_in_makes_an_account_and_a_session(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let wanted = bench.redemption(&challenge);
    let before = bench.store.now().await.unwrap();
    let signed_in = signed_in(redeem(bench.store.clone(), wanted.clone()).await);
    let later = bench.store.now().await.unwrap();
    assert!((before..=later).contains(&signed_in.now), "not on the database's clock");
    let account = Account { id: wanted.new_account_id, create_time: signed_in.now, created: true };
    assert_eq!(signed_in.account, account);
    let session = signed_in.session;
    assert_eq!((session.id, session.client_id), (wanted.new_session_id, bench.client.id));
    assert_eq!((session.state, &session.revocation), (SessionState::Active, &None));
    assert_eq!((session.create_time, session.update_time), (signed_in.now, signed_in.now));
    let signer = signer_of(&challenge);
    assert_eq!((&session.signing, &session.deposit), (&signer, &signer));
    let sign_in = session.sign_in.clone().unwrap();
    assert_eq!((sign_in.account_id, &sign_in.wallet), (account.id, &wanted.verification.wallet));
    assert_eq!((sign_in.authenticate_time, sign_in.generation), (signed_in.now, 1));
    assert_eq!(bench.session(session.id).await, session);
    let query = SessionQuery::Account(account.id);
    assert_eq!(bench.store.list_sessions(bench.client.id, query, None, 10).await.unwrap(), [session]);
    for table in ["accounts", "wallets", "sessions"] {
        assert_eq!(test.count(table, "TRUE").await, 1, "{table}");
    }
}

async fn the_next_sign_in_of_the_wallet_finds_its_account(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let first = bench.sign_in(&address).await;
    let second = bench.sign_in(&address).await;
    assert_eq!(second.account, Account { created: false, ..first.account });
    assert_ne!(second.session.id, first.session.id);
    assert_eq!(bench.session(first.session.id).await, first.session, "the first session goes on");
    assert_eq!((test.count("accounts", "TRUE").await, test.count("wallets", "TRUE").await), (1, 1));
    assert_eq!(test.count("wallets", "last_sign_in_time >= create_time").await, 1);
}

async fn a_client_of_the_same_realm_finds_the_same_account(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (address, neighbour) = (new_address(), bench.client_in(&bench.client.realm).await);
    let here = bench.sign_in(&address).await;
    let there = bench.sign_in_at(&neighbour, &address).await;
    assert_eq!(there.account, Account { created: false, ..here.account });
    assert_eq!(there.session.client_id, neighbour.id);
}

async fn a_client_of_another_realm_has_an_account_of_its_own(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (address, stranger) = (new_address(), bench.client_in("another realm").await);
    let here = bench.sign_in(&address).await;
    let there = bench.sign_in_at(&stranger, &address).await;
    assert!(there.account.created);
    assert_ne!(there.account.id, here.account.id);
    assert_eq!(test.count("wallets", "TRUE").await, 2);
}

async fn a_plain_key_is_the_same_wallet_on_every_evm_chain(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    let on_ethereum = bench.sign_in(&address).await;
    let network = Network::parse("", "eip155:42161").unwrap();
    let signer = Some(ChainAddress { address: address.clone(), network });
    let new = NewChallenge { signer, ..bench.new_challenge(&bench.client, &address).await };
    let challenge = bench.store.issue_challenge(new).await.unwrap();
    let elsewhere = signed_in(bench.redeem(&challenge).await);
    assert_eq!(elsewhere.account, Account { created: false, ..on_ethereum.account });
    assert_eq!(elsewhere.session.sign_in.unwrap().wallet.network, signer_of(&challenge).network);
}

async fn another_wallet_has_another_account(test: &TestStore) {
    let bench = Bench::on(test).await;
    let one = bench.sign_in(&new_address()).await;
    let other = bench.sign_in(&new_address()).await;
    assert!(other.account.created);
    assert_ne!(one.account.id, other.account.id);
}

async fn a_bound_challenge_activates_its_session(test: &TestStore) {
    let bench = Bench::on(test).await;
    let new = new_session(&bench.client, &new_address());
    let pending = bench.store.create_session(new.clone()).await.unwrap();
    let challenge = bench.bound_challenge(&pending).await;
    let wanted = bench.redemption(&challenge);
    let signed_in = signed_in(redeem(bench.store.clone(), wanted.clone()).await);
    let active = signed_in.session;
    assert_eq!((active.id, active.state), (pending.id, SessionState::Active));
    assert_eq!((&active.signing, &active.deposit), (&pending.signing, &pending.deposit));
    assert_eq!((active.create_time, active.update_time), (pending.create_time, signed_in.now));
    assert_eq!(active.sign_in.as_ref().unwrap().account_id, wanted.new_account_id);
    assert_eq!(bench.store.session_by_token(new.token_hash).await.unwrap().unwrap(), active);
    assert_eq!(test.count("sessions", "TRUE").await, 1, "none was made beside it");
}

async fn a_device_redeems_what_is_bound_to_its_session(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = bench.pending(&new_address()).await;
    let challenge = bench.bound_challenge(&session).await;
    let scope = ChallengeScope { client_id: bench.client.id, session_id: Some(session.id) };
    let wanted = Redemption { scope, ..bench.redemption(&challenge) };
    assert_eq!(signed_in(redeem(bench.store.clone(), wanted).await).session.id, session.id);
}

/// Signs in, by a challenge that is bound to a session and by one that is not.
async fn both_ways(bench: &Bench<'_>, change: impl Fn(Redemption) -> Redemption) -> [uuid::Uuid; 2] {
    let address = new_address();
    let bound = bench.bound_challenge(&bench.pending(&address).await).await;
    let unbound = bench.challenge(&address).await;
    let mut sessions = Vec::new();
    for challenge in [bound, unbound] {
        let wanted = change(redemption(&bench.client, &challenge));
        let session = signed_in(redeem(bench.store.clone(), wanted).await).session;
        assert_eq!(bench.session(session.id).await, session);
        sessions.push(session.id.uuid());
    }
    sessions.try_into().unwrap()
}

async fn every_deadline_counts_from_the_sign_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let minutes = |minutes| after(test, "authenticate_time", Duration::from_mins(minutes));
    let sessions = both_ways(&bench, |redemption| Redemption {
        access_token_ttl: Duration::from_mins(7),
        refresh_token_ttl: Duration::from_mins(50),
        session_max_ttl: Duration::from_mins(9_000),
        ..redemption
    });
    for id in sessions.await {
        for (column, expected) in [
            ("access_expire_time", minutes(7)),
            ("expire_time", minutes(50)),
            ("hard_expire_time", minutes(9_000)),
            ("refresh_step_time", minutes(0)),
        ] {
            assert!(holds(test, "sessions", id, &format!("{column} = {expected}")).await, "{column}");
        }
        let within = "latest_expire_time BETWEEN expire_time AND hard_expire_time";
        assert!(holds(test, "sessions", id, within).await, "clean-up would come too early");
    }
}

async fn no_deadline_lies_past_the_hard_end(test: &TestStore) {
    let bench = Bench::on(test).await;
    let sessions = both_ways(&bench, |redemption| Redemption {
        access_token_ttl: Duration::from_hours(3),
        refresh_token_ttl: Duration::from_hours(2),
        session_max_ttl: Duration::from_hours(1),
        ..redemption
    });
    let hard_end = after(test, "authenticate_time", Duration::from_hours(1));
    for id in sessions.await {
        for column in ["access_expire_time", "expire_time", "hard_expire_time", "latest_expire_time"] {
            assert!(holds(test, "sessions", id, &format!("{column} = {hard_end}")).await, "{column}");
        }
    }
}
