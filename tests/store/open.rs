//! Opening a store: how many connections it may have, and URLs that name none.

use std::{sync::Arc, time::Duration};

use countersign::store::{OpenError, Store, open, open_with};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::{
    crowd::{CROWD, at_once},
    fixture::Bench,
    support::TestStore,
};

/// The refusal; the store itself shows nothing of what it is.
async fn refused(url: &str) -> OpenError {
    match open(url).await.map(|store: Arc<dyn Store>| store.backend()) {
        Err(error) => error,
        Ok(backend) => panic!("{url} opened a store on {backend}"),
    }
}

#[tokio::test]
async fn a_scheme_of_another_store_is_unknown() {
    for url in ["", "mysql://localhost/db", "countersign.db", "postgresqlx://localhost", "SQLITE:a.db"] {
        assert_is!(refused(url).await, OpenError::UnknownScheme);
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_told_without_its_password() {
    for url in [
        "postgres://user:s3cret-word@local host:port/db",
        "postgres://user:s3cret-word/2@localhost/db",
        "postgres://localhost/db/s3cret-word",
        "postgres://localhost/db?password=s3cret-word",
        "postgres://user:s3cret-word@localhost/db?statement-cache-capacity=0",
    ] {
        let error = refused(url).await;
        assert_is!(&error, OpenError::MalformedUrl(_));
        assert!(!format!("{error} {error:?}").contains("s3cret-word"), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_told_without_the_password() {
    // Port 1 of this machine: nothing listens there.
    let error = refused("postgres://user:s3cret-word@127.0.0.1:1/db").await;
    assert_is!(&error, OpenError::Unreachable { .. });
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("127.0.0.1:1") && !shown.contains("s3cret-word"), "{shown}");
}

#[tokio::test]
async fn a_server_that_refuses_is_told_without_the_password() {
    let test = TestStore::postgres().await;
    let mut url = url::Url::parse(&test.url).unwrap();
    url.set_password(Some("s3cret-word")).unwrap();
    url.set_username("nobody_of_this_name").unwrap();
    let error = refused(url.as_str()).await;
    assert_is!(&error, OpenError::Unreachable { .. });
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("s3cret-word") && !shown.contains("nobody_of_this_name@"), "{shown}");
}

/// PostgreSQL asks for SCRAM if that is how it keeps a role's password, whether its rule says `md5` or `scram-sha-256`.
#[tokio::test]
async fn a_role_logs_in_by_scram() {
    let test = TestStore::postgres().await;
    let mut url = test.direct_url();
    let role = format!("countersign_scram_{}", url.path().rsplit('_').next().unwrap());
    let mut admin = test.postgres_connection().await;
    admin.execute("SET password_encryption = 'scram-sha-256'").await.unwrap();
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 's3cret-word'");
    admin.execute(AssertSqlSafe(create)).await.unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("s3cret-word")).unwrap();
    let opened = open(url.as_str()).await.map(|store| store.backend());
    url.set_password(Some("another-word")).unwrap();
    let error = refused(url.as_str()).await;
    admin.execute(AssertSqlSafe(format!("DROP ROLE {role}"))).await.unwrap();
    opened.unwrap();
    assert!(error.to_string().contains("password authentication failed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_are_opened_than_were_said() {
    let test = TestStore::postgres().await;
    Bench::on(&test).await.store.close().await;
    let store = open_with(&test.url, 3).await.unwrap();
    // Two of them serve no caller: that of the clock, and that of keys and revocations.
    let call = |store: Arc<dyn Store>| async move {
        let (now, revocations) = tokio::join!(store.now(), store.revocations(None));
        assert!(now.is_ok() && revocations.unwrap().sessions.is_empty());
        store.list_clients(None, 1).await.unwrap().len()
    };
    let found = at_once((0..CROWD).map(|_| call(store.clone())).collect()).await;
    assert_eq!(found, [1; CROWD]);
    let connections = "datname = current_database() AND application_name = 'countersign'";
    // What served a connection that was closed goes a moment later; one that is kept stays.
    for _ in 0..200 {
        if test.count("pg_stat_activity", connections).await == 3 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(test.count("pg_stat_activity", connections).await, 3);
}
