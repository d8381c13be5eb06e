//! The store as a whole: its schema, its clock, its end.

use std::{sync::Arc, time::Duration};

use countersign::store::{Location, SchemaState, Store, StoreError, open};

use crate::{
    crowd::at_once,
    database::{assert_unchanged, contents},
    fixture::{Bench, new_address, new_client},
    support::{TestStore, until_awaited},
};
use sqlx::Executor as _;

on_both_stores!(
    an_empty_database_is_behind_until_it_is_migrated,
    migrating_again_does_nothing,
    migrations_at_once_all_succeed_and_have_run_once,
    of_migrations_at_once_only_those_that_ran_are_told,
    what_a_newer_version_has_migrated_is_current,
    the_clock_is_that_of_the_database,
    a_trial_write_changes_nothing,
    a_call_that_changes_nothing_is_no_failure_of_the_store,
    a_closed_store_answers_that_it_is_unavailable,
    a_store_tells_its_backend_and_where_it_lives,
);

/// How many migrations an empty database needs.
async fn missing(store: &Arc<dyn Store>) -> usize {
    match store.schema().await.unwrap() {
        SchemaState::Behind(missing) => missing.len(),
        SchemaState::Current => panic!("an empty database is no current one"),
    }
}

async fn an_empty_database_is_behind_until_it_is_migrated(test: &TestStore) {
    let store = open(&test.url).await.unwrap();
    let missing = missing(&store).await;
    assert!(missing > 0);
    assert_eq!(store.migrate().await.unwrap(), missing);
    assert_eq!(store.schema().await.unwrap(), SchemaState::Current);
    let elsewhere = open(&test.url).await.unwrap();
    assert_eq!(elsewhere.schema().await.unwrap(), SchemaState::Current);
}

async fn migrating_again_does_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    bench.sign_in(&new_address()).await;
    let before = contents(test).await;
    assert_eq!(bench.store.migrate().await.unwrap(), 0);
    assert_eq!(bench.store.schema().await.unwrap(), SchemaState::Current);
    assert_unchanged(test, &before, "nothing to do").await;
}

/// Eight instances start at once: how many migrations there are, and how many each one says it ran.
async fn migrate_at_once(test: &TestStore) -> (usize, Vec<usize>) {
    let mut stores = Vec::new();
    for _ in 0..8 {
        stores.push(open(&test.url).await.unwrap());
    }
    let missing = missing(&stores[0]).await;
    let migrate = |store: Arc<dyn Store>| async move {
        let ran = store.migrate().await.unwrap();
        assert_eq!(store.schema().await.unwrap(), SchemaState::Current);
        ran
    };
    (missing, at_once(stores.into_iter().map(migrate).collect()).await)
}

async fn migrations_at_once_all_succeed_and_have_run_once(test: &TestStore) {
    let (missing, ran) = migrate_at_once(test).await;
    assert_eq!(ran.len(), 8);
    let applied = i64::try_from(missing).unwrap();
    assert_eq!(test.count("_sqlx_migrations", "success").await, applied);
    Bench::on(test).await.sign_in(&new_address()).await;
}

async fn of_migrations_at_once_only_those_that_ran_are_told(test: &TestStore) {
    let (missing, ran) = migrate_at_once(test).await;
    assert_eq!(ran.iter().sum::<usize>(), missing, "{ran:?}");
}

async fn what_a_newer_version_has_migrated_is_current(test: &TestStore) {
    let bench = Bench::on(test).await;
    let checksum = if test.is_postgres() { r"'\x00'" } else { "x'00'" };
    test.execute(&format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of a newer version', TRUE, {checksum}, 1)"
    ))
    .await;
    test.execute("ALTER TABLE sessions ADD COLUMN of_a_newer_version text").await;
    test.execute("ALTER TABLE challenges ADD COLUMN of_a_newer_version text").await;
    let elsewhere = open(&test.url).await.unwrap();
    for store in [&bench.store, &elsewhere] {
        assert_eq!(store.schema().await.unwrap(), SchemaState::Current);
        assert_eq!(store.migrate().await.unwrap(), 0);
    }
    bench.sign_in(&new_address()).await;
}

async fn the_clock_is_that_of_the_database(test: &TestStore) {
    let store = open(&test.url).await.unwrap();
    let earlier = store.now().await.unwrap();
    let later = store.now().await.unwrap();
    assert!(earlier <= later);
    // The tests' own clock runs on the same machine, or near it.
    let here = time::OffsetDateTime::from(std::fs::metadata(&test.folder).unwrap().modified().unwrap());
    assert!((later - here).abs() < time::Duration::hours(1), "{here} here, {later} there");
}

async fn a_trial_write_changes_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let before = contents(test).await;
    bench.store.try_to_write().await.unwrap();
    assert_unchanged(test, &before, "a trial").await;
}

async fn a_call_that_changes_nothing_is_no_failure_of_the_store(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    bench.redeem(&challenge).await;
    let failed = async || tokio::time::timeout(Duration::ZERO, bench.store.call_failed()).await.is_ok();
    assert!(!failed().await);
    bench.redeem(&challenge).await;
    assert!(!failed().await);
    bench.store.close().await;
    bench.store.create_client(new_client("a realm")).await.unwrap_err();
    assert!(failed().await, "a failure is noted");
}

async fn a_closed_store_answers_that_it_is_unavailable(test: &TestStore) {
    let bench = Bench::on(test).await;
    bench.store.close().await;
    assert_is!(bench.store.now().await, Err(StoreError::Unavailable(_)));
    assert_is!(bench.store.try_to_write().await, Err(StoreError::Unavailable(_)));
    assert_is!(bench.store.schema().await, Err(StoreError::Unavailable(_)));
    let refused = bench.store.create_client(new_client("a realm")).await;
    assert_is!(refused, Err(StoreError::Unavailable(_)));
    // What was kept is there for the next one.
    let again = open(&test.url).await.unwrap();
    assert_eq!(again.list_clients(None, 10).await.unwrap(), [bench.client]);
}

async fn a_store_tells_its_backend_and_where_it_lives(test: &TestStore) {
    let store = open(&test.url).await.unwrap();
    let (backend, location) = match test.url.strip_prefix("sqlite:") {
        Some(file) => ("sqlite", Location::File(file.into())),
        None => ("postgres", Location::Server),
    };
    assert_eq!((store.backend(), store.location()), (backend, location));
}

/// The schema as the first migration alone leaves it.
async fn on_the_first_migration(test: &TestStore) {
    let first = "0001_initial.sql";
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    std::fs::copy(folder.join(first), test.folder.path().join(first)).unwrap();
    let migrator = sqlx::migrate::Migrator::new(test.folder.path()).await.unwrap();
    migrator.run_direct(None, &mut test.postgres_connection().await, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_waits_for_a_reader_lets_other_readers_through() {
    let test = TestStore::postgres().await;
    on_the_first_migration(&test).await;
    let mut reader = test.postgres_connection().await;
    reader.execute("BEGIN").await.unwrap();
    reader.execute("SELECT count(*) FROM client_secrets").await.unwrap();
    let store = open(&test.url).await.unwrap();
    let migration = tokio::spawn(async move { store.migrate().await });
    until_awaited(&mut reader).await;
    // Behind a migration that went on waiting, this would wait as long as the reader reads.
    test.count("client_secrets", "TRUE").await;
    assert!(!migration.is_finished());
    reader.execute("COMMIT").await.unwrap();
    assert!(migration.await.unwrap().unwrap() > 0);
    assert_eq!(test.count("client_secrets", "slot = 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_outlasts_the_roles_statement_timeout() {
    let test = TestStore::postgres().await;
    let url = url::Url::parse(&test.url).unwrap();
    let database = url.path().trim_start_matches('/');
    test.execute(&format!("ALTER DATABASE {database} SET statement_timeout = '200ms'")).await;
    let mut other = test.postgres_connection().await;
    other.execute("BEGIN; SELECT pg_advisory_xact_lock(7165074649429406323)").await.unwrap();
    let store = open(&test.url).await.unwrap();
    let migration = tokio::spawn(async move { store.migrate().await });
    until_awaited(&mut other).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    other.execute("ROLLBACK").await.unwrap();
    assert!(migration.await.unwrap().unwrap() > 0);
}
