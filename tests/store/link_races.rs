//! Wallets that are linked, unlinked and signed in with at the same moment.

use countersign::{
    domain::{SessionId, SessionState},
    store::{LinkOutcome, RotateOutcome, SessionRejected, SignedIn, UnlinkOutcome, WalletLink},
};

use crate::{
    crowd::Instances,
    database::{Lock, in_millis, literal, set},
    fixture::{Bench, REALM, new_address, redeem, rotate, rotation, signed_in},
    linking::{link, linked, unlink, wallet_link, wallet_unlink},
    support::TestStore,
};

on_both_stores!(
    of_32_unlinks_at_once_all_but_one_are_made,
    of_32_links_at_once_no_more_are_made_than_the_limit_lets,
    of_two_accounts_that_link_one_wallet_at_once_one_gets_it,
    of_many_that_send_one_link_at_once_all_are_answered_and_one_wallet_is_added,
    a_wallet_that_signs_in_while_it_is_linked_has_one_account,
    a_session_that_a_wallet_signs_in_while_it_is_unlinked_is_not_the_accounts,
    a_session_that_is_refreshed_while_its_wallet_is_unlinked_ends,
    a_link_counts_what_was_linked_while_it_waited_for_the_account,
    a_session_that_was_signed_in_while_the_unlink_waited_is_revoked,
    a_challenge_expires_while_its_link_waits_for_the_account,
    a_session_revoked_while_its_link_waited_links_nothing,
);

/// How often what may go two ways is tried.
const ROUNDS: usize = 12;

async fn of_32_unlinks_at_once_all_but_one_are_made(test: &TestStore) {
    let bench = Bench::on(test).await;
    let first = new_address();
    let user = bench.sign_in(&first).await;
    let mut unlinks = vec![wallet_unlink(&user, &first)];
    for _ in 1..32 {
        let address = new_address();
        let wanted = bench.wallet_link(&user, &address).await;
        linked(link(bench.store.clone(), WalletLink { max_wallets: 100, ..wanted }).await);
        // Each by a session of its own wallet, which no other of these calls ends.
        unlinks.push(wallet_unlink(&bench.sign_in(&address).await, &address));
    }
    let outcomes = Instances::on(test).await.at_once(unlinks, unlink).await;
    let made = outcomes.iter().filter(|it| matches!(it, UnlinkOutcome::Unlinked { revoked: 1, .. })).count();
    let last = outcomes.iter().filter(|it| matches!(it, UnlinkOutcome::LastWallet)).count();
    assert_eq!((made, last), (31, 1), "{outcomes:?}");
    assert_eq!(bench.account(user.account.id).await.wallets.len(), 1);
}

async fn of_32_links_at_once_no_more_are_made_than_the_limit_lets(test: &TestStore) {
    let bench = Bench::on(test).await;
    let own = new_address();
    let user = bench.sign_in(&own).await;
    let other = bench.sign_in(&own).await;
    let mut links = Vec::new();
    for user in [&user, &other].into_iter().cycle().take(32) {
        let wanted = bench.wallet_link(user, &new_address()).await;
        links.push(WalletLink { max_wallets: 8, ..wanted });
    }
    let outcomes = Instances::on(test).await.at_once(links, link).await;
    let made = outcomes.iter().filter(|it| matches!(it, LinkOutcome::Linked(_))).count();
    let over = outcomes.iter().filter(|it| matches!(it, LinkOutcome::LimitReached)).count();
    assert_eq!((made, over), (7, 25), "{outcomes:?}");
    assert_eq!(bench.account(user.account.id).await.wallets.len(), 8);
    assert_eq!(test.count("challenges", "purpose = 'LINK_WALLET' AND redeem_time IS NOT NULL").await, 7);
}

async fn of_two_accounts_that_link_one_wallet_at_once_one_gets_it(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    for _ in 0..ROUNDS {
        let (one, other) = (bench.sign_in(&new_address()).await, bench.sign_in(&new_address()).await);
        let address = new_address();
        let links = [bench.wallet_link(&one, &address).await, bench.wallet_link(&other, &address).await];
        let outcomes = instances.at_once(links, link).await;
        let (winner, loser) = match &outcomes[0] {
            LinkOutcome::Linked(_) => (&one, &outcomes[1]),
            refused => (&other, refused),
        };
        assert_is!(loser, LinkOutcome::AlreadyLinked);
        assert_eq!(bench.sign_in(&address).await.account.id, winner.account.id);
    }
}

async fn of_many_that_send_one_link_at_once_all_are_answered_and_one_wallet_is_added(test: &TestStore) {
    let bench = Bench::on(test).await;
    let user = bench.sign_in(&new_address()).await;
    let wanted = bench.wallet_link(&user, &new_address()).await;
    let outcomes = Instances::on(test).await.at_once(vec![wanted; 16], link).await;
    for outcome in outcomes {
        assert_eq!(linked(outcome), bench.account(user.account.id).await);
    }
    assert_eq!(test.count("wallets", "TRUE").await, 2);
}

async fn a_wallet_that_signs_in_while_it_is_linked_has_one_account(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    for _ in 0..ROUNDS {
        let (user, address) = (bench.sign_in(&new_address()).await, new_address());
        let wanted = bench.wallet_link(&user, &address).await;
        let redemption = bench.redemption(&bench.challenge(&address).await);
        let (outcome, sign_in) =
            instances.race(|store| link(store, wanted), |store| redeem(store, redemption)).await;
        let account = signed_in(sign_in).account;
        match outcome {
            LinkOutcome::Linked(_) => assert_eq!((account.id, account.created), (user.account.id, false)),
            LinkOutcome::AlreadyLinked => assert!(account.created && account.id != user.account.id),
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.sign_in(&address).await.account.id, account.id);
    }
}

async fn a_session_that_a_wallet_signs_in_while_it_is_unlinked_is_not_the_accounts(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    for _ in 0..ROUNDS {
        let (user, address) = (bench.sign_in(&new_address()).await, new_address());
        linked(bench.link(&user, &address).await);
        let wanted = wallet_unlink(&user, &address);
        let redemption = bench.redemption(&bench.challenge(&address).await);
        let (outcome, sign_in) =
            instances.race(|store| unlink(store, wanted), |store| redeem(store, redemption)).await;
        assert_is!(outcome, UnlinkOutcome::Unlinked { .. });
        let SignedIn { session, account, .. } = signed_in(sign_in);
        let is_the_accounts = account.id == user.account.id;
        let expected = if is_the_accounts { SessionState::Revoked } else { SessionState::Active };
        assert_eq!(bench.state(session.id).await, expected);
    }
}

async fn a_session_that_is_refreshed_while_its_wallet_is_unlinked_ends(test: &TestStore) {
    let bench = Bench::on(test).await;
    let instances = Instances::on(test).await;
    for _ in 0..ROUNDS {
        let (user, address) = (bench.sign_in(&new_address()).await, new_address());
        linked(bench.link(&user, &address).await);
        let id = bench.sign_in(&address).await.session.id;
        let wanted = wallet_unlink(&user, &address);
        let (outcome, refreshed) =
            instances.race(|store| unlink(store, wanted), |store| rotate(store, rotation(id, 1))).await;
        assert_is!(outcome, UnlinkOutcome::Unlinked { revoked: 1, .. });
        assert_is!(refreshed, RotateOutcome::Rotated(_) | RotateOutcome::Revoked);
        assert_eq!(bench.state(id).await, SessionState::Revoked);
    }
}

async fn a_link_counts_what_was_linked_while_it_waited_for_the_account(test: &TestStore) {
    let bench = Bench::on(test).await;
    for commit in [false, true] {
        let user = bench.sign_in(&new_address()).await;
        let wanted = WalletLink { max_wallets: 2, ..bench.wallet_link(&user, &new_address()).await };
        let mut lock = Lock::on_id(test, "accounts", user.account.id.uuid()).await;
        let waiting = tokio::spawn(link(bench.store.clone(), wanted));
        lock.until_awaited().await;
        let (account, now) = (literal(test, user.account.id.uuid()), in_millis(test, 0));
        lock.execute(&format!(
            "INSERT INTO wallets (realm, scope, address, account_id, kind, create_time)
             VALUES ('{REALM}', 'eip155', '{}', {account}, 'eoa', {now})",
            new_address()
        ))
        .await;
        if commit {
            lock.commit().await;
            assert_is!(waiting.await.unwrap(), LinkOutcome::LimitReached);
        } else {
            lock.rollback().await;
            assert_is!(waiting.await.unwrap(), LinkOutcome::Linked(_));
        }
    }
}

async fn a_session_that_was_signed_in_while_the_unlink_waited_is_revoked(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, address) = (bench.sign_in(&new_address()).await, new_address());
    linked(bench.link(&user, &address).await);
    let model = bench.sign_in(&address).await.session.id;
    let new = SessionId::generate();
    let mut lock = Lock::on(test, "wallets", &format!("address = '{address}'")).await;
    let waiting = tokio::spawn(unlink(bench.store.clone(), wallet_unlink(&user, &address)));
    lock.until_awaited().await;
    let columns =
        "client_id, signing_address, signing_network, deposit_address, deposit_network, create_time,
                   update_time, expire_time, latest_expire_time, account_id, wallet_address, wallet_network,
                   wallet_kind, authenticate_time, hard_expire_time, refresh_generation, refresh_fingerprint,
                   refresh_step_time, access_expire_time";
    let (new_id, model_id) = (literal(test, new.uuid()), literal(test, model.uuid()));
    lock.execute(&format!(
        "INSERT INTO sessions (id, {columns}) SELECT {new_id}, {columns} FROM sessions WHERE id = {model_id}"
    ))
    .await;
    lock.commit().await;
    assert_is!(waiting.await.unwrap(), UnlinkOutcome::Unlinked { revoked: 2, .. });
    assert_eq!(bench.state(new).await, SessionState::Revoked);
}

async fn a_challenge_expires_while_its_link_waits_for_the_account(test: &TestStore) {
    let bench = Bench::on(test).await;
    let user = bench.sign_in(&new_address()).await;
    let challenge = bench.link_challenge(&user, &new_address()).await;
    set(test, "challenges", challenge.id.uuid(), &format!("expire_time = {}", in_millis(test, 500))).await;
    let mut lock = Lock::on_id(test, "accounts", user.account.id.uuid()).await;
    let waiting = tokio::spawn(link(bench.store.clone(), wallet_link(&user, &challenge)));
    lock.until_awaited().await;
    let id = literal(test, challenge.id.uuid());
    let is_past = format!("SELECT expire_time <= {} FROM challenges WHERE id = {id}", in_millis(test, 0));
    lock.until(&is_past).await;
    lock.rollback().await;
    assert_is!(waiting.await.unwrap(), LinkOutcome::Expired);
    assert_eq!(bench.account(user.account.id).await.wallets.len(), 1);
}

async fn a_session_revoked_while_its_link_waited_links_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    for table in ["sessions", "accounts"] {
        let user = bench.sign_in(&new_address()).await;
        let wanted = bench.wallet_link(&user, &new_address()).await;
        let id = if table == "sessions" { user.session.id.uuid() } else { user.account.id.uuid() };
        let mut lock = Lock::on_id(test, table, id).await;
        let waiting = tokio::spawn(link(bench.store.clone(), wanted));
        lock.until_awaited().await;
        let (session, now) = (literal(test, user.session.id.uuid()), in_millis(test, 0));
        lock.execute(&format!(
            "UPDATE sessions SET revoke_time = {now}, revoke_reason = 'REVOKED_BY_USER' WHERE id = {session}"
        ))
        .await;
        lock.commit().await;
        assert_is!(waiting.await.unwrap(), LinkOutcome::SessionRejected(SessionRejected::SessionRevoked));
        assert_eq!(bench.account(user.account.id).await.wallets.len(), 1);
    }
}

/// What a sign-in does to the row of its account until it commits: it refers to it. SQLite has one writer.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_does_not_wait_for_sign_ins_to_the_same_account() {
    let test = &TestStore::postgres().await;
    let bench = Bench::on(test).await;
    let user = bench.sign_in(&new_address()).await;
    let wanted = bench.wallet_link(&user, &new_address()).await;
    let mut lock = Lock::begin(test).await;
    let id = literal(test, user.account.id.uuid());
    lock.execute(&format!("SELECT 1 FROM accounts WHERE id = {id} FOR KEY SHARE")).await;
    linked(link(bench.store.clone(), wanted).await);
    lock.rollback().await;
}
