//! Whoever holds a row for long holds up nobody else, and what was refused does not happen later.

use std::sync::Arc;

use countersign::store::StoreError;

use crate::{
    crowd::at_once,
    database::{Lock, contents},
    fixture::{Bench, new_address, rotation},
    support::TestStore,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_held_for_long_refuses_its_callers_serves_bystanders_and_changes_nothing_later() {
    let test = TestStore::postgres().await;
    let bench = Bench::on(&test).await;
    let session = bench.sign_in(&new_address()).await.session;
    let mut lock = Lock::on_id(&test, "sessions", session.id.uuid()).await;
    let before = contents(&test).await;
    let store = &bench.store;
    let callers = (0..20).map(|_| {
        let store = Arc::clone(store);
        async move { store.rotate_refresh_token(rotation(session.id, 1)).await }
    });
    let bystander = async {
        lock.until_awaited().await;
        bench.sign_in(&new_address()).await
    };
    let (outcomes, _) = tokio::join!(at_once(callers.collect()), bystander);
    for outcome in outcomes {
        let refused = matches!(outcome, Err(StoreError::Locked | StoreError::Unavailable(_)));
        assert!(refused, "{outcome:?}");
    }
    lock.rollback().await;
    assert_eq!(bench.session(session.id).await, session);
    assert_ne!(contents(&test).await, before, "the bystander signed in");
}
