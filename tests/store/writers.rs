//! Instances that all write at once.

use std::sync::Arc;

use countersign::store::Store;

use crate::{
    crowd::{CROWD, Instances},
    fixture::{Bench, new_address, new_session},
    support::TestStore,
};

on_both_stores!(two_instances_that_write_all_the_time_keep_nobody_out);

/// How often each caller writes; a crowd of them makes 448 sessions.
const EACH: usize = 7;

async fn two_instances_that_write_all_the_time_keep_nobody_out(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (client, address) = (bench.client.clone(), new_address());
    let write = |store: Arc<dyn Store>, _| {
        let (client, address) = (client.clone(), address.clone());
        async move {
            for _ in 0..EACH {
                let new = new_session(&client, &address);
                // Neither busy nor contended: a writer waits for its turn.
                let made = store.create_session(new.clone()).await.unwrap();
                assert_eq!(store.session(new.id).await.unwrap().unwrap(), made, "not there at once");
            }
        }
    };
    Instances::on(test).await.at_once(0..CROWD, write).await;
    assert_eq!(test.count("sessions", "TRUE").await, i64::try_from(CROWD * EACH).unwrap());
}
