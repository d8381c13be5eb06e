//! Clients: made, read back, listed.

use std::time::Duration;

use countersign::{
    domain::{
        ChallengeFormat, ClientId, NetworkRule, Policy, RateLimit, Role, TextTemplate, TypedDataDomain,
    },
    store::NewClient,
};

use crate::{
    database::{literal, set},
    fixture::{Bench, new_client},
    support::TestStore,
};

on_both_stores!(
    a_client_reads_back_as_it_was_made,
    a_new_client_has_changed_when_it_was_made,
    a_policy_keeps_every_field_that_is_not_at_its_default,
    a_client_that_never_was_is_none,
    a_deleted_client_is_none_and_in_no_list,
    a_revoked_secret_opens_nothing,
    clients_are_listed_page_by_page_in_the_order_of_their_ids,
);

async fn a_client_reads_back_as_it_was_made(test: &TestStore) {
    let bench = Bench::on(test).await;
    let new = new_client("a realm");
    let before = bench.store.now().await.unwrap();
    let made = bench.store.create_client(new.clone()).await.unwrap();
    let after = bench.store.now().await.unwrap();
    assert_eq!((made.id, &made.realm, &made.policy), (new.id, &new.realm, &new.policy));
    assert!((before..=after).contains(&made.create_time), "not on the database's clock");
    let record = bench.store.client(new.id).await.unwrap().unwrap();
    assert_eq!(record.client, made);
    let [secret] = &record.secrets[..] else { panic!("{record:?}") };
    assert_eq!((secret.hash, secret.last_used_time), (new.secret_hash, None));
    assert!((before..=after).contains(&secret.create_time), "not on the database's clock");
    assert_eq!(bench.store.client_secrets(new.id).await.unwrap(), record.secrets);
}

async fn a_new_client_has_changed_when_it_was_made(test: &TestStore) {
    let bench = Bench::on(test).await;
    // Two looks at one clock seldom differ: once in some twenty times, by a microsecond.
    for _ in 0..150 {
        let made = bench.client_in("a realm").await;
        assert_eq!(made.update_time, made.create_time);
    }
}

async fn a_policy_keeps_every_field_that_is_not_at_its_default(test: &TestStore) {
    let bench = Bench::on(test).await;
    let new = NewClient { policy: unusual_policy(), ..new_client("a realm") };
    let made = bench.store.create_client(new.clone()).await.unwrap();
    assert_eq!(made.policy, new.policy);
    let record = bench.store.client(new.id).await.unwrap().unwrap();
    assert_eq!(record.client.policy, new.policy);
    let listed = bench.store.list_clients(Some(bench.client.id), 1).await.unwrap();
    assert_eq!(listed[0].policy, new.policy);
}

/// Written out, so that a new field has to be added here.
fn unusual_policy() -> Policy {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
    let rule = |text| NetworkRule::parse("networks", text).unwrap();
    Policy {
        name: r#"Robert'); DROP TABLE clients; -- "Ü" \ {nonce} 🦀"#.to_owned(),
        roles: vec![Role::Admin, Role::Introspect, Role::SignIn],
        introspect_audiences: texts(&["https://api.example", "null"]),
        formats: vec![
            ChallengeFormat::Nonce,
            ChallengeFormat::Text,
            ChallengeFormat::Siwx,
            ChallengeFormat::TypedData,
        ],
        networks: vec![rule("EVM"), rule("POLYGON"), rule("SOLANA")],
        domains: texts(&["shop.example", "shop.example:8443"]),
        uris: texts(&["https://shop.example/a,b"]),
        statements: texts(&["I accept \"the\" terms"]),
        resources: texts(&["ipfs://x/"]),
        nonce_messages: texts(&["Sign\nin: ", " "]),
        typed_data_domain: Some(TypedDataDomain::parse("a \"name\"", "1", 137, &"ab".repeat(20)).unwrap()),
        contract_wallets: true,
        text_template: TextTemplate::parse("Hi\n{app} 'at' {origin}: {nonce} \\u0041").unwrap(),
        app: "The \"App\"".to_owned(),
        origin: "https://shop.example".to_owned(),
        audience: texts(&["one", "two, with a comma"]),
        signing_alg: countersign::domain::SigningAlgorithm::Rs256,
        scope: "read write".to_owned(),
        challenge_ttl: Duration::from_millis(30_001),
        pending_session_ttl: Duration::from_millis(30_002),
        access_token_ttl: Duration::from_millis(60_003),
        refresh_token_ttl: Duration::from_millis(60_004),
        session_max_ttl: Duration::from_hours(24 * 3_660),
        refresh_grace: Duration::from_millis(5),
        refresh_requires_client: true,
        reauth_window: Duration::from_millis(60_006),
        max_wallets: 100,
        rate_limit: RateLimit {
            per_client: 1,
            per_session: 0,
            per_address: 10_000_000,
            per_client_refresh: 9_999_999,
        },
        disabled: true,
    }
}

async fn a_client_that_never_was_is_none(test: &TestStore) {
    let bench = Bench::on(test).await;
    assert!(bench.store.client(ClientId::generate()).await.unwrap().is_none());
    assert!(bench.store.client_secrets(ClientId::generate()).await.unwrap().is_empty());
}

async fn a_deleted_client_is_none_and_in_no_list(test: &TestStore) {
    let bench = Bench::on(test).await;
    let deleted = bench.client_in("a realm").await;
    set(test, "clients", deleted.id.uuid(), "delete_time = create_time").await;
    assert!(bench.store.client(deleted.id).await.unwrap().is_none());
    assert_eq!(bench.store.list_clients(None, 10).await.unwrap(), [bench.client]);
}

async fn a_revoked_secret_opens_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let neighbour = new_client("a realm");
    bench.store.create_client(neighbour.clone()).await.unwrap();
    let own = format!("client_id = {}", literal(test, bench.client.id.uuid()));
    test.execute(&format!("UPDATE client_secrets SET revoke_time = create_time WHERE {own}")).await;
    let record = bench.store.client(bench.client.id).await.unwrap().unwrap();
    assert_eq!(record.client, bench.client);
    assert!(record.secrets.is_empty());
    assert!(bench.store.client_secrets(bench.client.id).await.unwrap().is_empty());
    let secrets = bench.store.client_secrets(neighbour.id).await.unwrap();
    assert_eq!(secrets[0].hash, neighbour.secret_hash);
}

async fn clients_are_listed_page_by_page_in_the_order_of_their_ids(test: &TestStore) {
    let bench = Bench::on(test).await;
    let mut ids = vec![bench.client.id];
    // Out of their order, so that the order of the rows is not that of the ids.
    let mut news: Vec<_> = (0..6).map(|_| new_client("a realm")).collect();
    news.reverse();
    for new in news {
        ids.push(bench.store.create_client(new).await.unwrap().id);
    }
    ids.sort();
    let mut listed = Vec::new();
    for size in [3, 3, 1] {
        let page = bench.store.list_clients(listed.last().copied(), 3).await.unwrap();
        assert_eq!(page.len(), size);
        listed.extend(page.iter().map(|client| client.id));
    }
    assert_eq!(listed, ids);
    assert!(bench.store.list_clients(ids.last().copied(), 3).await.unwrap().is_empty());
}
