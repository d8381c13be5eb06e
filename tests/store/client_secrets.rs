//! Client secrets: two live ones at most, one of which replaces the other.

use countersign::{
    domain::{ClientId, SecretId},
    store::{AddSecretOutcome, ClientStore, Store},
    token::random,
};

use crate::{
    crowd::{CROWD, Instances},
    database::{assert_unchanged, contents, in_millis, set},
    fixture::Bench,
    support::TestStore,
};

on_both_stores!(
    a_second_secret_stands_beside_the_first,
    a_third_secret_is_refused_until_one_is_revoked,
    of_many_secrets_added_at_once_one_finds_room,
    nobody_gets_a_secret_for_a_client_that_is_not_there,
    a_revoked_secret_stays_revoked_and_its_neighbour_live,
    a_secret_is_revoked_by_its_own_client_only,
    a_use_is_noted_once_in_half_a_minute,
);

async fn add(bench: &Bench<'_>) -> (SecretId, AddSecretOutcome) {
    let id = SecretId::generate();
    (id, bench.store.add_client_secret(bench.client.id, id, random::bytes()).await.unwrap())
}

async fn live(bench: &Bench<'_>) -> Vec<SecretId> {
    bench.store.client_secrets(bench.client.id).await.unwrap().iter().map(|secret| secret.id).collect()
}

async fn a_second_secret_stands_beside_the_first(test: &TestStore) {
    let bench = Bench::on(test).await;
    let first = bench.store.client_secrets(bench.client.id).await.unwrap().remove(0);
    let (second, hash) = (SecretId::generate(), random::bytes());
    let before = bench.store.now().await.unwrap();
    let outcome = bench.store.add_client_secret(bench.client.id, second, hash).await.unwrap();
    let after = bench.store.now().await.unwrap();
    assert_eq!(outcome, AddSecretOutcome::Added);
    let secrets = bench.store.client(bench.client.id).await.unwrap().unwrap().secrets;
    assert_eq!(secrets[0], first);
    assert_eq!((secrets[1].id, secrets[1].hash, secrets[1].last_used_time), (second, hash, None));
    assert!((before..=after).contains(&secrets[1].create_time), "not on the database's clock");
}

async fn a_third_secret_is_refused_until_one_is_revoked(test: &TestStore) {
    let bench = Bench::on(test).await;
    let first = live(&bench).await[0];
    let (second, _) = add(&bench).await;
    let before = contents(test).await;
    assert_eq!(add(&bench).await.1, AddSecretOutcome::LimitReached);
    assert_unchanged(test, &before, "two are live").await;
    assert!(bench.store.revoke_client_secret(bench.client.id, first).await.unwrap());
    let (third, outcome) = add(&bench).await;
    assert_eq!(outcome, AddSecretOutcome::Added);
    assert_eq!(live(&bench).await, [second, third]);
    assert_eq!(add(&bench).await.1, AddSecretOutcome::LimitReached);
}

async fn of_many_secrets_added_at_once_one_finds_room(test: &TestStore) {
    let bench = Bench::on(test).await;
    let client = bench.client.id;
    let instances = Instances::on(test).await;
    let outcomes = instances
        .at_once(0..CROWD, |store, _| async move {
            store.add_client_secret(client, SecretId::generate(), random::bytes()).await.unwrap()
        })
        .await;
    let added = outcomes.iter().filter(|outcome| **outcome == AddSecretOutcome::Added).count();
    let refused = outcomes.iter().filter(|outcome| **outcome == AddSecretOutcome::LimitReached).count();
    assert_eq!((added, refused), (1, CROWD - 1));
    assert_eq!(live(&bench).await.len(), 2);
}

async fn nobody_gets_a_secret_for_a_client_that_is_not_there(test: &TestStore) {
    let bench = Bench::on(test).await;
    let nobody = bench.store.add_client_secret(ClientId::generate(), SecretId::generate(), [0; 32]);
    assert_eq!(nobody.await.unwrap(), AddSecretOutcome::Unknown);
    bench.store.delete_client(bench.client.id).await.unwrap();
    let before = contents(test).await;
    assert_eq!(add(&bench).await.1, AddSecretOutcome::Unknown);
    assert_unchanged(test, &before, "deleted").await;
}

async fn a_revoked_secret_stays_revoked_and_its_neighbour_live(test: &TestStore) {
    let bench = Bench::on(test).await;
    let first = live(&bench).await[0];
    let (second, _) = add(&bench).await;
    assert!(bench.store.revoke_client_secret(bench.client.id, first).await.unwrap());
    assert_eq!(live(&bench).await, [second]);
    let before = contents(test).await;
    assert!(bench.store.revoke_client_secret(bench.client.id, first).await.unwrap());
    assert_unchanged(test, &before, "revoked before").await;
    assert!(bench.store.revoke_client_secret(bench.client.id, second).await.unwrap());
    assert!(live(&bench).await.is_empty());
}

async fn a_secret_is_revoked_by_its_own_client_only(test: &TestStore) {
    let bench = Bench::on(test).await;
    let other = bench.client_in("a realm").await;
    let secret = live(&bench).await[0];
    let before = contents(test).await;
    assert!(!bench.store.revoke_client_secret(other.id, secret).await.unwrap());
    assert!(!bench.store.revoke_client_secret(bench.client.id, SecretId::generate()).await.unwrap());
    assert_unchanged(test, &before, "not its own").await;
}

async fn a_use_is_noted_once_in_half_a_minute(test: &TestStore) {
    let bench = Bench::on(test).await;
    let secret = live(&bench).await[0];
    let (unused, _) = add(&bench).await;
    let noted = async |store: &dyn Store| {
        ClientStore::client_secrets_used(store, &[secret]).await.unwrap();
        let secrets = store.client_secrets(bench.client.id).await.unwrap();
        assert_eq!((secrets[1].id, secrets[1].last_used_time), (unused, None));
        secrets[0].last_used_time.unwrap()
    };
    let before = bench.store.now().await.unwrap();
    let first = noted(bench.store.as_ref()).await;
    assert!((before..=bench.store.now().await.unwrap()).contains(&first), "not on the database's clock");
    assert_eq!(noted(bench.store.as_ref()).await, first);
    let long_ago = format!("last_used_time = {}", in_millis(test, -31_000));
    set(test, "client_secrets", secret.uuid(), &long_ago).await;
    assert!(noted(bench.store.as_ref()).await >= first);
    bench.store.client_secrets_used(&[]).await.unwrap();
}
