//! Signing keys and canaries.

use std::{collections::HashSet, sync::Arc};

use countersign::{
    domain::{RootKeyId, Sealed, SigningAlgorithm},
    store::{Canary, NewSigningKey, SigningKeyState, Store},
    token::random,
};

use crate::{crowd::Instances, fixture::Bench, support::TestStore};

on_both_stores!(
    a_signing_key_reads_back_as_it_was_added,
    a_second_key_for_the_same_place_is_not_added,
    of_many_keys_for_one_place_at_once_one_is_added,
    a_key_that_retires_is_published_until_it_is_removed,
    a_revoked_key_is_published_no_more_and_leaves_its_place,
    a_key_of_an_algorithm_that_is_not_known_here_is_not_published,
    canaries_read_back_and_may_be_added_again,
    of_many_canaries_of_one_root_key_at_once_one_is_kept,
);

const ES256: SigningAlgorithm = SigningAlgorithm::Es256;

fn new_key(algorithm: SigningAlgorithm) -> NewSigningKey {
    NewSigningKey { kid: format!("kid {}", hex::encode(random::bytes::<16>())), algorithm, sealed: sealed() }
}

const PLACES: [bool; 2] = [true, false];

fn state(active: bool) -> SigningKeyState {
    if active { SigningKeyState::Active } else { SigningKeyState::Prepared }
}

/// Bytes of every value.
fn sealed() -> Sealed {
    Sealed { root_key_id: RootKeyId(random::bytes()), bytes: (0..=255).chain(random::bytes::<8>()).collect() }
}

async fn a_signing_key_reads_back_as_it_was_added(test: &TestStore) {
    let bench = Bench::on(test).await;
    assert!(bench.store.signing_keys().await.unwrap().is_empty());
    for algorithm in SigningAlgorithm::ALL {
        for active in PLACES {
            let new = new_key(algorithm);
            assert!(bench.store.add_signing_key(new.clone(), active).await.unwrap());
            let keys = bench.store.signing_keys().await.unwrap();
            let found = keys.iter().find(|key| key.kid == new.kid).unwrap();
            assert_eq!(
                (&found.sealed, found.state, found.algorithm),
                (&new.sealed, state(active), algorithm)
            );
            assert_eq!(found.activate_time.is_some(), active);
        }
    }
    assert_eq!(bench.store.signing_keys().await.unwrap().len(), 6);
}

async fn a_second_key_for_the_same_place_is_not_added(test: &TestStore) {
    let bench = Bench::on(test).await;
    for active in PLACES {
        assert!(bench.store.add_signing_key(new_key(ES256), active).await.unwrap());
        assert!(!bench.store.add_signing_key(new_key(ES256), active).await.unwrap());
    }
    assert_eq!(bench.store.signing_keys().await.unwrap().len(), 2);
}

async fn of_many_keys_for_one_place_at_once_one_is_added(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    for (round, active) in PLACES.into_iter().enumerate() {
        let news: Vec<_> = (0..10).map(|_| new_key(ES256)).collect();
        let add = move |store: Arc<dyn Store>, new| async move {
            store.add_signing_key(new, active).await.unwrap()
        };
        let added = instances.at_once(news.clone(), add).await;
        assert_eq!(added.iter().filter(|added| **added).count(), 1, "{added:?}");
        let winner = &news[added.iter().position(|added| *added).unwrap()];
        let keys = bench.store.signing_keys().await.unwrap();
        assert_eq!(keys.len(), round + 1);
        let held = keys.iter().find(|key| key.state == state(active)).unwrap();
        assert_eq!((&held.kid, &held.sealed), (&winner.kid, &winner.sealed));
    }
}

async fn a_key_that_retires_is_published_until_it_is_removed(test: &TestStore) {
    let bench = Bench::on(test).await;
    assert!(bench.store.add_signing_key(new_key(ES256), true).await.unwrap());
    let day = if test.is_postgres() { "interval '1 day'" } else { "86400000" };
    test.execute(&format!(
        "UPDATE signing_keys SET retire_time = create_time, remove_time = create_time + {day}"
    ))
    .await;
    let keys = bench.store.signing_keys().await.unwrap();
    assert_eq!(keys.iter().map(|key| key.state).collect::<Vec<_>>(), [SigningKeyState::Retiring]);
    assert!(bench.store.add_signing_key(new_key(ES256), true).await.unwrap(), "its place is free");
    assert_eq!(bench.store.signing_keys().await.unwrap().len(), 2);
    test.execute("UPDATE signing_keys SET remove_time = create_time WHERE retire_time IS NOT NULL").await;
    let keys = bench.store.signing_keys().await.unwrap();
    assert_eq!(keys.iter().map(|key| key.state).collect::<Vec<_>>(), [SigningKeyState::Active]);
}

async fn a_revoked_key_is_published_no_more_and_leaves_its_place(test: &TestStore) {
    let bench = Bench::on(test).await;
    for active in PLACES {
        assert!(bench.store.add_signing_key(new_key(ES256), active).await.unwrap());
    }
    test.execute("UPDATE signing_keys SET revoke_time = create_time").await;
    assert!(bench.store.signing_keys().await.unwrap().is_empty());
    for active in PLACES {
        assert!(bench.store.add_signing_key(new_key(ES256), active).await.unwrap());
    }
}

async fn a_key_of_an_algorithm_that_is_not_known_here_is_not_published(test: &TestStore) {
    let bench = Bench::on(test).await;
    for active in PLACES {
        assert!(bench.store.add_signing_key(new_key(ES256), active).await.unwrap());
    }
    test.execute("UPDATE signing_keys SET algorithm = 'OF_A_NEWER_VERSION'").await;
    assert!(bench.store.signing_keys().await.unwrap().is_empty());
    // It takes nobody's place, either.
    assert!(bench.store.add_signing_key(new_key(ES256), true).await.unwrap());
}

async fn canaries_read_back_and_may_be_added_again(test: &TestStore) {
    let bench = Bench::on(test).await;
    assert!(bench.store.canaries().await.unwrap().is_empty());
    let (one, other) = (sealed(), sealed());
    let twin = Sealed { root_key_id: one.root_key_id, bytes: b"of another start".to_vec() };
    for sealed in [&one, &other, &one, &twin] {
        bench.store.add_canary(Canary { sealed: sealed.clone() }).await.unwrap();
    }
    let kept: Vec<Sealed> =
        bench.store.canaries().await.unwrap().into_iter().map(|canary| canary.sealed).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept.contains(&one) && kept.contains(&other), "{kept:?}");
}

async fn of_many_canaries_of_one_root_key_at_once_one_is_kept(test: &TestStore) {
    let bench = Bench::on(test).await;
    let root_key_id = RootKeyId([7; 8]);
    let news: Vec<_> = (0..10).map(|_| Sealed { root_key_id, ..sealed() }).collect();
    let add =
        |store: Arc<dyn Store>, sealed| async move { store.add_canary(Canary { sealed }).await.unwrap() };
    Instances::on(test).await.at_once(news.clone(), add).await;
    let kept: HashSet<Vec<u8>> =
        bench.store.canaries().await.unwrap().into_iter().map(|canary| canary.sealed.bytes).collect();
    assert_eq!(kept.len(), 1);
    assert!(news.iter().any(|new| kept.contains(&new.bytes)));
}
