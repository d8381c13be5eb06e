//! Who redeems at the same moment as others, on two instances.

use std::sync::Arc;

use countersign::{
    domain::{Account, RevokeReason, SessionState},
    store::{LIVE_CHALLENGE_LIMIT, RedeemOutcome, Store},
};

use crate::{
    crowd::{CROWD, Instances},
    database::holds,
    fixture::{Bench, new_address, redeem, redemption, signed_in},
    support::TestStore,
};

on_both_stores!(
    of_many_that_redeem_one_challenge_at_once_one_signs_in,
    of_many_that_redeem_one_bound_challenge_at_once_one_signs_in,
    of_the_challenges_of_one_session_redeemed_at_once_one_signs_in,
    first_sign_ins_of_one_wallet_at_once_share_one_account,
    first_sign_ins_of_many_wallets_at_once_have_an_account_each,
    a_session_revoked_while_it_is_signed_in_stays_revoked,
);

/// How often a race of a few is run, so that each order of events comes up.
const ROUNDS: usize = 8;

fn count(outcomes: &[RedeemOutcome], is: impl Fn(&RedeemOutcome) -> bool) -> usize {
    outcomes.iter().filter(|outcome| is(outcome)).count()
}

async fn of_many_that_redeem_one_challenge_at_once_one_signs_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    // Each one brings ids of its own for the account and the session.
    let redemptions = (0..CROWD).map(|_| bench.redemption(&challenge));
    let outcomes = Instances::on(test).await.at_once(redemptions, redeem).await;
    assert_eq!(count(&outcomes, |outcome| matches!(outcome, RedeemOutcome::SignedIn(_))), 1);
    assert_eq!(count(&outcomes, |outcome| matches!(outcome, RedeemOutcome::AlreadyUsed)), CROWD - 1);
    for table in ["sessions", "accounts", "wallets"] {
        assert_eq!(test.count(table, "TRUE").await, 1, "{table}");
    }
    let winner = outcomes.into_iter().find(|outcome| matches!(outcome, RedeemOutcome::SignedIn(_)));
    let session = signed_in(winner.unwrap()).session;
    assert_eq!(bench.session(session.id).await, session);
}

async fn of_many_that_redeem_one_bound_challenge_at_once_one_signs_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let session = bench.pending(&new_address()).await;
    let challenge = bench.bound_challenge(&session).await;
    let redemptions = (0..CROWD).map(|_| bench.redemption(&challenge));
    let outcomes = Instances::on(test).await.at_once(redemptions, redeem).await;
    assert_eq!(count(&outcomes, |outcome| matches!(outcome, RedeemOutcome::SignedIn(_))), 1);
    assert_eq!(count(&outcomes, |outcome| matches!(outcome, RedeemOutcome::AlreadyUsed)), CROWD - 1);
    assert_eq!(test.count("sessions", "TRUE").await, 1);
}

async fn of_the_challenges_of_one_session_redeemed_at_once_one_signs_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    for _ in 0..ROUNDS {
        let session = bench.pending(&new_address()).await;
        let mut redemptions = Vec::new();
        for _ in 0..LIVE_CHALLENGE_LIMIT {
            redemptions.push(bench.redemption(&bench.bound_challenge(&session).await));
        }
        let outcomes = instances.at_once(redemptions, redeem).await;
        assert_eq!(count(&outcomes, |outcome| matches!(outcome, RedeemOutcome::SignedIn(_))), 1);
        let late = count(&outcomes, |outcome| matches!(outcome, RedeemOutcome::SessionAlreadyActive));
        assert_eq!(late, LIVE_CHALLENGE_LIMIT - 1, "{outcomes:?}");
    }
    let redeemed = i64::try_from(ROUNDS).unwrap();
    assert_eq!(test.count("challenges", "redeem_time IS NOT NULL").await, redeemed, "none else was spent");
}

async fn first_sign_ins_of_one_wallet_at_once_share_one_account(test: &TestStore) {
    let bench = Bench::on(test).await;
    let neighbour = bench.client_in(&bench.client.realm).await;
    let instances = Instances::on(test).await;
    for _ in 0..ROUNDS {
        let address = new_address();
        let mut redemptions = Vec::new();
        for client in [&bench.client, &neighbour].into_iter().cycle().take(8) {
            redemptions.push(redemption(client, &bench.challenge_of(client, &address).await));
        }
        let outcomes = instances.at_once(redemptions, redeem).await;
        let accounts: Vec<Account> = outcomes.into_iter().map(|outcome| signed_in(outcome).account).collect();
        let made: Vec<_> = accounts.iter().filter(|account| account.created).collect();
        assert_eq!(made.len(), 1, "{accounts:?}");
        assert!(
            accounts.iter().all(|one| (one.id, one.create_time) == (made[0].id, made[0].create_time)),
            "{accounts:?}"
        );
    }
    let rounds = i64::try_from(ROUNDS).unwrap();
    assert_eq!(test.count("sessions", "TRUE").await, 8 * rounds);
    assert_eq!(test.count("accounts", "TRUE").await, rounds);
    assert_eq!(test.count("wallets", "TRUE").await, rounds);
}

async fn first_sign_ins_of_many_wallets_at_once_have_an_account_each(test: &TestStore) {
    let bench = Bench::on(test).await;
    let mut redemptions = Vec::new();
    for _ in 0..CROWD {
        redemptions.push(bench.redemption(&bench.challenge(&new_address()).await));
    }
    let outcomes = Instances::on(test).await.at_once(redemptions.clone(), redeem).await;
    for (outcome, wanted) in outcomes.into_iter().zip(redemptions) {
        let signed_in = signed_in(outcome);
        assert!(signed_in.account.created);
        assert_eq!(signed_in.account.id, wanted.new_account_id);
        assert_eq!(signed_in.session.sign_in.unwrap().wallet, wanted.verification.wallet);
    }
}

async fn a_session_revoked_while_it_is_signed_in_stays_revoked(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    for _ in 0..25 {
        let session = bench.pending(&new_address()).await;
        let challenge = bench.bound_challenge(&session).await;
        let wanted = bench.redemption(&challenge);
        let revoke = |store: Arc<dyn Store>| async move {
            store.revoke_session(session.id, RevokeReason::RevokedByClient).await.unwrap();
            store.session(session.id).await.unwrap().unwrap().state
        };
        let (outcome, state) = instances.race(|store| redeem(store, wanted), revoke).await;
        assert_eq!(state, SessionState::Revoked, "right after the revoke was answered");
        assert_eq!(bench.state(session.id).await, SessionState::Revoked);
        let redeemed = holds(test, "challenges", challenge.id.uuid(), "redeem_time IS NOT NULL").await;
        assert_is!(
            (outcome, redeemed),
            (RedeemOutcome::SignedIn(_), true) | (RedeemOutcome::SessionRevoked, false)
        );
    }
}
