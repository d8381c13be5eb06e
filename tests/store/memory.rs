//! SQLite in memory: the same promises, with a single connection.

use std::{collections::HashSet, sync::Arc};

use countersign::{
    domain::{RevokeReason, RootKeyId, SessionState},
    store::{Location, RedeemOutcome, RotateOutcome, Rotation, SchemaState, Store, open},
};

use crate::{
    crowd::{CROWD, at_once},
    fixture::{Bench, new_address, new_client, next_token, redeem, rotate, rotated, rotation, signed_in},
    support::TestStore,
};

/// A bench in memory; what a test sees of a database from outside is an empty file.
async fn in_memory(outside: &TestStore) -> Bench<'_> {
    let store: Arc<dyn Store> = open("sqlite::memory:").await.unwrap();
    assert_eq!((store.backend(), store.location()), ("sqlite", Location::Memory));
    assert_is!(store.schema().await.unwrap(), SchemaState::Behind(_));
    store.migrate().await.unwrap();
    assert_eq!(store.schema().await.unwrap(), SchemaState::Current);
    let client = store.create_client(new_client("a realm")).await.unwrap();
    Bench { test: outside, store, client }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_sign_in_works_in_memory() {
    let outside = TestStore::sqlite().await;
    let bench = in_memory(&outside).await;
    let session = bench.pending(&new_address()).await;
    let challenge = bench.bound_challenge(&session).await;
    let signed_in = signed_in(bench.redeem(&challenge).await);
    assert_eq!((signed_in.session.id, signed_in.account.created), (session.id, true));
    assert_is!(bench.redeem(&challenge).await, RedeemOutcome::AlreadyUsed);
    assert_eq!(rotated(bench.rotate(session.id, 1).await).generation, 2);
    bench.store.revoke_session(session.id, RevokeReason::RevokedByUser).await.unwrap();
    assert_is!(bench.rotate(session.id, 2).await, RotateOutcome::Revoked);
    assert_eq!(bench.state(session.id).await, SessionState::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_in_memory_one_signs_in_and_one_steps() {
    let outside = TestStore::sqlite().await;
    let bench = in_memory(&outside).await;
    let challenge = bench.challenge(&new_address()).await;
    let redeems = (0..CROWD).map(|_| redeem(bench.store.clone(), bench.redemption(&challenge)));
    let outcomes = at_once(redeems.collect()).await;
    let (won, lost): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|outcome| matches!(outcome, RedeemOutcome::SignedIn(_)));
    assert!(lost.iter().all(|outcome| matches!(outcome, RedeemOutcome::AlreadyUsed)), "{lost:?}");
    let [won] = <[RedeemOutcome; 1]>::try_from(won).unwrap();
    let id = signed_in(won).session.id;
    // Each one would derive the next token from a key of its own.
    let keys = (0..CROWD).map(|key| RootKeyId([u8::try_from(key).unwrap(); 8]));
    let presented = keys.map(|root_key_id| Rotation { root_key_id, ..rotation(id, 1) });
    let rotations = presented.map(|rotation| rotate(bench.store.clone(), rotation));
    let outcomes = at_once(rotations.collect()).await;
    let stepped = outcomes.iter().filter(|outcome| matches!(outcome, RotateOutcome::Rotated(_))).count();
    assert_eq!(stepped, 1);
    let next: HashSet<_> = outcomes.iter().map(next_token).collect();
    assert_eq!(next.len(), 1, "a fork: {next:?}");
    assert_eq!(bench.session(id).await.sign_in.unwrap().generation, 2);
}

#[tokio::test]
async fn two_stores_in_memory_share_nothing() {
    let outside = TestStore::sqlite().await;
    let (one, other) = (in_memory(&outside).await, in_memory(&outside).await);
    assert!(other.store.client(one.client.id).await.unwrap().is_none());
    assert!(one.store.client(other.client.id).await.unwrap().is_none());
}
