//! Callers that go away in the middle of a call.

use countersign::{
    domain::Challenge,
    store::{RedeemOutcome, RotateOutcome},
};

use crate::{
    crowd::at_once,
    database::{Lock, holds},
    fixture::{Bench, new_address, redeem, rotate, rotation},
    support::TestStore,
};

on_both_stores!(
    a_redeem_whose_caller_went_away_happened_wholly_or_not_at_all,
    a_refresh_whose_caller_went_away_happened_wholly_or_not_at_all,
    after_more_callers_went_away_than_there_are_connections_the_store_goes_on,
);

/// Nothing that nobody waits for any more is still under way. SQLite's one writer does that before it
/// does anything else.
async fn settled(test: &TestStore, lock: Lock) {
    lock.rollback().await;
    if test.is_postgres() {
        let mut watch = Lock::Postgres(test.postgres_connection().await);
        let idle = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                    AND state <> 'idle' AND pid <> pg_backend_pid())";
        watch.until(idle).await;
    }
}

/// The store does whole sign-ins, many at once.
async fn goes_on(bench: &Bench<'_>) {
    let mut redeems = Vec::new();
    for _ in 0..40 {
        let challenge = bench.challenge(&new_address()).await;
        redeems.push(redeem(bench.store.clone(), bench.redemption(&challenge)));
    }
    for outcome in at_once(redeems).await {
        assert_is!(outcome, RedeemOutcome::SignedIn(_));
    }
}

/// A challenge is redeemed and has its account, wallet and session, or is not and has none.
async fn wholly(bench: &Bench<'_>, challenge: &Challenge) -> bool {
    let redeemed = holds(bench.test, "challenges", challenge.id.uuid(), "redeem_time IS NOT NULL").await;
    for table in ["accounts", "wallets", "sessions"] {
        assert_eq!(bench.test.count(table, "TRUE").await, i64::from(redeemed), "{table}");
    }
    redeemed
}

async fn a_redeem_whose_caller_went_away_happened_wholly_or_not_at_all(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let mut lock = Lock::on_id(test, "challenges", challenge.id.uuid()).await;
    let call = tokio::spawn(redeem(bench.store.clone(), bench.redemption(&challenge)));
    lock.until_awaited().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    settled(test, lock).await;
    let redeemed = wholly(&bench, &challenge).await;
    let again = bench.redeem(&challenge).await;
    assert_is!((again, redeemed), (RedeemOutcome::AlreadyUsed, true) | (RedeemOutcome::SignedIn(_), false));
    goes_on(&bench).await;
}

async fn a_refresh_whose_caller_went_away_happened_wholly_or_not_at_all(test: &TestStore) {
    let bench = Bench::on(test).await;
    let id = bench.sign_in(&new_address()).await.session.id;
    let mut lock = Lock::on_id(test, "sessions", id.uuid()).await;
    let call = tokio::spawn(rotate(bench.store.clone(), rotation(id, 1)));
    lock.until_awaited().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    settled(test, lock).await;
    let generation = bench.session(id).await.sign_in.unwrap().generation;
    let again = bench.rotate(id, 1).await;
    assert_is!((again, generation), (RotateOutcome::Replayed(_), 2) | (RotateOutcome::Rotated(_), 1));
    goes_on(&bench).await;
}

async fn after_more_callers_went_away_than_there_are_connections_the_store_goes_on(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let mut lock = Lock::on_id(test, "challenges", challenge.id.uuid()).await;
    let calls: Vec<_> =
        (0..40).map(|_| tokio::spawn(redeem(bench.store.clone(), bench.redemption(&challenge)))).collect();
    lock.until_awaited().await;
    for call in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    settled(test, lock).await;
    wholly(&bench, &challenge).await;
    goes_on(&bench).await;
}
