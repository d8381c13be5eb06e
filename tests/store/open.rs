//! URLs that name no store, or none that can be reached.

use countersign::store::{OpenError, Store, open};

use crate::support::TestStore;

/// The refusal; the store itself shows nothing of what it is.
async fn refused(url: &str) -> OpenError {
    match open(url).await.map(|store: std::sync::Arc<dyn Store>| store.backend()) {
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
    let error = refused("postgres://user:s3cret-word@local host:port/db").await;
    assert_is!(&error, OpenError::MalformedUrl(_));
    assert!(!format!("{error} {error:?}").contains("s3cret-word"), "{error:?}");
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
