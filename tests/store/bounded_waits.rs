//! Whoever holds a row for long holds up nobody else, and what was refused does not happen later.

use std::sync::Arc;

use countersign::store::{RedeemOutcome, StoreError};
use sqlx::Connection as _;

use crate::{
    crowd::at_once,
    database::{assert_unchanged, contents, in_millis, set},
    fixture::{Bench, new_address, redeem, rotation},
    support::{TestStore, until_awaited},
};

/// How the one who holds the wallet's row lets go of it.
#[derive(Clone, Copy)]
enum Holder {
    Commits,
    RollsBack,
}

/// A redeem waits for its wallet, and not for its challenge, until the challenge has expired.
async fn expires_behind_its_wallet(statement: &'static str, known: bool, holder: Holder) {
    let test = TestStore::postgres().await;
    let bench = Bench::on(&test).await;
    let address = new_address();
    if known {
        bench.sign_in(&address).await;
    }
    let challenge = bench.challenge(&address).await;
    let mut other = test.postgres_connection().await;
    let mut lock = other.begin().await.unwrap();
    if !known {
        // The account that another first sign-in of this wallet is about to make.
        let account = "INSERT INTO accounts VALUES ('01890a5d-ac96-774b-bcce-b302099a8057', 'shops', now())";
        sqlx::query(account).execute(&mut *lock).await.unwrap();
    }
    sqlx::query(statement).bind(address.as_str()).execute(&mut *lock).await.unwrap();
    set(&test, "challenges", challenge.id.uuid(), &format!("expire_time = {}", in_millis(&test, 1_000)))
        .await;
    let before = contents(&test).await;

    let waiting = tokio::spawn(redeem(Arc::clone(&bench.store), bench.redemption(&challenge)));
    until_awaited(&mut lock).await;
    let passed = "SELECT expire_time <= clock_timestamp() FROM challenges WHERE id = $1";
    let is_past = async || {
        let mut watch = test.postgres_connection().await;
        let query = sqlx::query_scalar::<_, bool>(passed).bind(challenge.id.uuid());
        query.fetch_one(&mut watch).await.unwrap()
    };
    while !is_past().await {
        tokio::task::yield_now().await;
    }
    match holder {
        Holder::Commits => lock.commit().await.unwrap(),
        Holder::RollsBack => lock.rollback().await.unwrap(),
    }
    let outcome = waiting.await.unwrap();
    assert!(matches!(outcome, RedeemOutcome::Expired), "{outcome:?}");
    if matches!(holder, Holder::RollsBack) {
        assert_unchanged(&test, &before, "what came too late").await;
    }
    assert_eq!(test.count("challenges", "redeem_time IS NOT NULL").await, i64::from(known));
}

const LOCK_THE_WALLET: &str = "SELECT 1 FROM wallets WHERE address = $1 FOR UPDATE";
const MAKE_THE_WALLET: &str = "INSERT INTO wallets (realm, scope, address, account_id, kind, create_time)
    VALUES ('shops', 'eip155', $1, '01890a5d-ac96-774b-bcce-b302099a8057', 'eoa', now())";

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_expires_while_its_redeem_waits_for_a_wallet_that_was_only_locked() {
    expires_behind_its_wallet(LOCK_THE_WALLET, true, Holder::RollsBack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_expires_while_its_redeem_waits_for_a_first_sign_in_that_is_taken_back() {
    expires_behind_its_wallet(MAKE_THE_WALLET, false, Holder::RollsBack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_expires_while_its_redeem_waits_for_a_first_sign_in_that_commits() {
    expires_behind_its_wallet(MAKE_THE_WALLET, false, Holder::Commits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_held_for_long_refuses_its_callers_serves_bystanders_and_changes_nothing_later() {
    let test = TestStore::postgres().await;
    let bench = Bench::on(&test).await;
    let session = bench.sign_in(&new_address()).await.session;
    let mut other = test.postgres_connection().await;
    let mut lock = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE")
        .bind(session.id.uuid())
        .execute(&mut *lock)
        .await
        .unwrap();
    let before = contents(&test).await;
    let store = &bench.store;
    let callers = (0..20).map(|_| {
        let store = Arc::clone(store);
        async move { store.rotate_refresh_token(rotation(session.id, 1)).await }
    });
    let bystander = async {
        until_awaited(&mut lock).await;
        bench.sign_in(&new_address()).await
    };
    let (outcomes, _) = tokio::join!(at_once(callers.collect()), bystander);
    for outcome in outcomes {
        let refused = matches!(outcome, Err(StoreError::Locked | StoreError::Unavailable(_)));
        assert!(refused, "{outcome:?}");
    }
    lock.rollback().await.unwrap();
    assert_eq!(bench.session(session.id).await, session);
    assert_ne!(contents(&test).await, before, "the bystander signed in");
}
