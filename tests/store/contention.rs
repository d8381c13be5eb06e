//! Serialisation failures, deadlocks, and locks that are held for long. PostgreSQL alone: SQLite, with one
//! writer at a time, has none of them, and waits for its turn.

use std::time::Duration;

use countersign::store::{LIVE_CHALLENGE_LIMIT, RedeemOutcome, RotateOutcome, StoreError};

use crate::{
    crowd::{Instances, at_once},
    database::{Lock, assert_unchanged, contents, literal},
    fixture::{Bench, new_address, redeem, rotate, rotation},
    support::TestStore,
};

#[tokio::test(flavor = "multi_thread")]
async fn where_transactions_are_serializable_by_default_races_end_as_ever() {
    let test = TestStore::postgres().await;
    let bench = Bench::on(&test).await;
    let url = url::Url::parse(&test.url).unwrap();
    let database = url.path().trim_start_matches('/');
    test.execute(&format!("ALTER DATABASE {database} SET default_transaction_isolation = serializable"))
        .await;
    let instances = Instances::on(&test).await;
    for _ in 0..4 {
        let challenge = bench.challenge(&new_address()).await;
        let redemptions = (0..LIVE_CHALLENGE_LIMIT).map(|_| bench.redemption(&challenge));
        let outcomes = instances.at_once(redemptions, redeem).await;
        let (mut won, mut lost) = (Vec::new(), 0);
        for outcome in outcomes {
            match outcome {
                RedeemOutcome::SignedIn(signed_in) => won.push(signed_in.session.id),
                RedeemOutcome::AlreadyUsed => lost += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((won.len(), lost), (1, LIVE_CHALLENGE_LIMIT - 1));
        let rotations = (0..LIVE_CHALLENGE_LIMIT).map(|_| rotation(won[0], 1));
        let outcomes = instances.at_once(rotations, rotate).await;
        let stepped = outcomes.iter().filter(|outcome| matches!(outcome, RotateOutcome::Rotated(_))).count();
        assert_eq!(stepped, 1, "{outcomes:?}");
        assert_eq!(bench.session(won[0]).await.sign_in.unwrap().generation, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeem_that_is_in_a_deadlock_is_tried_again() {
    let test = TestStore::postgres().await;
    let bench = Bench::on(&test).await;
    // Whose turn to give way it was, a slow machine decides.
    for _ in 0..10 {
        if redeem_gave_way(&test, &bench).await {
            return;
        }
    }
    panic!("a redeem never gave way");
}

/// A redeem holds its challenge and waits for the session; another transaction does the opposite. Who finds the
/// circle after having waited for a second (`deadlock_timeout`) gives way: the redeem, unless the other one came
/// later than that. Then the redeem may have waited for too long meanwhile.
async fn redeem_gave_way(test: &TestStore, bench: &Bench<'_>) -> bool {
    let session = bench.pending(&new_address()).await;
    let challenge = bench.bound_challenge(&session).await;
    let mut lock = Lock::on_id(test, "sessions", session.id.uuid()).await;
    let (store, redemption) = (bench.store.clone(), bench.redemption(&challenge));
    let waiting = tokio::spawn(async move { store.redeem_challenge(redemption).await });
    lock.until_awaited().await;
    let id = literal(test, challenge.id.uuid());
    let locked = lock.try_execute(&format!("SELECT 1 FROM challenges WHERE id = {id} FOR UPDATE")).await;
    lock.rollback().await;
    let redeemed = waiting.await.unwrap();
    let signed_in = redeemed.is_ok();
    assert_is!(redeemed, Ok(RedeemOutcome::SignedIn(_)) | Err(StoreError::Locked));
    if let Err(error) = &locked {
        assert_eq!(error.as_database_error().and_then(|it| it.code()).as_deref(), Some("40P01"), "{error}");
    }
    locked.is_ok() && signed_in
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_for_a_row_is_told_and_others_are_not_held_up() {
    let test = TestStore::postgres().await;
    let bench = Bench::on(&test).await;
    let challenge = bench.challenge(&new_address()).await;
    let other = bench.challenge(&new_address()).await;
    let before = contents(&test).await;
    let lock = Lock::on_id(&test, "challenges", challenge.id.uuid()).await;
    // As many as there are connections.
    let calls = (0..16).map(|_| {
        let (store, redemption) = (bench.store.clone(), bench.redemption(&challenge));
        async move { store.redeem_challenge(redemption).await }
    });
    for answer in at_once(calls.collect()).await {
        assert_is!(answer, Err(StoreError::Locked));
    }
    assert_unchanged(&test, &before, "still locked").await;
    let elsewhere = tokio::time::timeout(Duration::from_mins(1), bench.redeem(&other)).await;
    assert_is!(elsewhere.expect("held up by somebody else's lock"), RedeemOutcome::SignedIn(_));
    lock.rollback().await;
    assert_is!(bench.redeem(&challenge).await, RedeemOutcome::SignedIn(_));
}
