//! A wallet is linked to an account, or nothing changes.

use countersign::{
    domain::{AccountId, ChallengeId, RevokeReason, SessionId},
    store::{
        ChallengeKey, ChallengeState, LinkOutcome, RedeemOutcome, SessionRejected, SignedIn, SignedInAs,
        WalletLink,
    },
};

use crate::{
    database::{assert_unchanged, contents, holds, set},
    fixture::{Bench, new_address, redeem, redemption},
    linking::{REAUTH_SECONDS, account_of, link, linked, wallet_link, who},
    support::TestStore,
};

on_both_stores!(
    a_linked_wallet_signs_in_to_the_account_at_every_client_of_the_realm_and_at_no_other,
    a_wallet_that_is_the_accounts_already_is_linked_and_only_its_challenge_is_spent,
    the_same_link_again_is_answered_again_while_the_wallet_is_linked,
    another_accounts_wallet_is_not_linked,
    a_wallet_with_an_account_in_another_realm_is_free,
    no_wallet_is_linked_beyond_the_limit,
    a_linking_challenge_links_for_its_own_session_and_account_alone,
    a_sign_in_challenge_links_nothing_and_a_linking_one_signs_nobody_in,
    a_linking_challenge_is_found_by_its_own_session_alone,
    an_expired_challenge_links_nothing,
    a_session_that_ended_links_nothing,
    a_client_that_is_not_served_links_nothing,
    a_sign_in_that_is_too_old_links_nothing,
    a_linking_challenge_keeps_its_own_place_beside_those_that_sign_in,
);

/// Links, and sees that nothing has changed.
async fn refused(bench: &Bench<'_>, wanted: WalletLink) -> LinkOutcome {
    let before = contents(bench.test).await;
    let outcome = link(bench.store.clone(), wanted).await;
    assert_unchanged(bench.test, &before, &format!("{outcome:?}")).await;
    outcome
}

/// Somebody who is signed in, and what links a further wallet.
async fn linking(bench: &Bench<'_>) -> (SignedIn, WalletLink) {
    let user = bench.sign_in(&new_address()).await;
    let link = bench.wallet_link(&user, &new_address()).await;
    (user, link)
}

async fn a_linked_wallet_signs_in_to_the_account_at_every_client_of_the_realm_and_at_no_other(
    test: &TestStore,
) {
    let bench = Bench::on(test).await;
    let (neighbour, bank) = (bench.client_in(&bench.client.realm).await, bench.client_in("banks").await);
    let (user, second) = (bench.sign_in(&new_address()).await, new_address());
    let wanted = bench.wallet_link(&user, &second).await;
    let account = linked(link(bench.store.clone(), wanted.clone()).await);
    assert_eq!((account.account.id, account.wallets.len()), (user.account.id, 2));
    let method = "redeem_time IS NOT NULL AND redeem_session_id IS NULL AND verification_method = 'EOA'";
    assert!(holds(test, "challenges", wanted.challenge_id.uuid(), method).await);
    for client in [&bench.client, &neighbour] {
        let signed_in = bench.sign_in_at(client, &second).await;
        assert_eq!((signed_in.account.id, signed_in.account.created), (user.account.id, false));
    }
    let elsewhere = bench.sign_in_at(&bank, &second).await.account;
    assert!(elsewhere.created && elsewhere.id != user.account.id);
}

async fn a_wallet_that_is_the_accounts_already_is_linked_and_only_its_challenge_is_spent(test: &TestStore) {
    let bench = Bench::on(test).await;
    let own = new_address();
    let user = bench.sign_in(&own).await;
    let before = bench.account(user.account.id).await;
    let wanted = bench.wallet_link(&user, &own).await;
    // Neither does the limit stand in the way of what changes nothing.
    let wanted = WalletLink { max_wallets: 1, ..wanted };
    assert_eq!(linked(link(bench.store.clone(), wanted.clone()).await), before);
    assert!(holds(test, "challenges", wanted.challenge_id.uuid(), "redeem_time IS NOT NULL").await);
}

async fn the_same_link_again_is_answered_again_while_the_wallet_is_linked(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, wanted) = linking(&bench).await;
    let address = wanted.verification.wallet.address.clone();
    let first = linked(link(bench.store.clone(), wanted.clone()).await);
    assert_is!(refused(&bench, wanted.clone()).await, LinkOutcome::Linked(again) if **again == first);
    bench.unlink(&user, &address).await;
    assert_is!(refused(&bench, wanted.clone()).await, LinkOutcome::AlreadyUsed);
    // Nor for the wallet's new owner's sake.
    bench.sign_in(&address).await;
    assert_is!(refused(&bench, wanted).await, LinkOutcome::AlreadyUsed);
}

async fn another_accounts_wallet_is_not_linked(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, theirs) = (bench.sign_in(&new_address()).await, new_address());
    let other = bench.sign_in(&theirs).await;
    let wanted = bench.wallet_link(&user, &theirs).await;
    assert_is!(refused(&bench, wanted.clone()).await, LinkOutcome::AlreadyLinked);
    // The limit is told only where it is what stands in the way.
    let wanted = WalletLink { max_wallets: 1, ..wanted };
    assert_is!(refused(&bench, wanted).await, LinkOutcome::AlreadyLinked);
    assert_eq!(bench.sign_in(&theirs).await.account.id, other.account.id);
}

async fn a_wallet_with_an_account_in_another_realm_is_free(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, address) = (bench.sign_in(&new_address()).await, new_address());
    let bank = bench.client_in("banks").await;
    let at_bank = bench.sign_in_at(&bank, &address).await.account;
    linked(bench.link(&user, &address).await);
    assert_eq!(bench.sign_in(&address).await.account.id, user.account.id);
    assert_eq!(bench.sign_in_at(&bank, &address).await.account.id, at_bank.id);
}

async fn no_wallet_is_linked_beyond_the_limit(test: &TestStore) {
    let bench = Bench::on(test).await;
    let user = bench.sign_in(&new_address()).await;
    for there in 1..=3 {
        let wanted = bench.wallet_link(&user, &new_address()).await;
        let full = WalletLink { max_wallets: there, ..wanted.clone() };
        assert_is!(refused(&bench, full).await, LinkOutcome::LimitReached);
        linked(link(bench.store.clone(), WalletLink { max_wallets: there + 1, ..wanted }).await);
    }
}

async fn a_linking_challenge_links_for_its_own_session_and_account_alone(test: &TestStore) {
    let bench = Bench::on(test).await;
    let own = new_address();
    let (user, other) = (bench.sign_in(&own).await, bench.sign_in(&new_address()).await);
    let elsewhere = bench.sign_in(&own).await;
    let wanted = bench.wallet_link(&user, &new_address()).await;
    for stranger in [&other, &elsewhere] {
        let stolen = WalletLink { who: who(stranger), ..wanted.clone() };
        assert_is!(refused(&bench, stolen).await, LinkOutcome::NotFound);
    }
    let crossed = SignedInAs { account_id: other.account.id, ..who(&user) };
    let outcome = refused(&bench, WalletLink { who: crossed, ..wanted.clone() }).await;
    assert_is!(outcome, LinkOutcome::SessionRejected(SessionRejected::SessionRevoked));
    let unknown = WalletLink { challenge_id: ChallengeId::generate(), ..wanted.clone() };
    assert_is!(refused(&bench, unknown).await, LinkOutcome::NotFound);
    let account = literal_account(test, other.account.id);
    set(test, "challenges", wanted.challenge_id.uuid(), &format!("account_id = {account}")).await;
    assert_is!(refused(&bench, wanted).await, LinkOutcome::NotFound);
}

fn literal_account(test: &TestStore, id: AccountId) -> String {
    crate::database::literal(test, id.uuid())
}

async fn a_sign_in_challenge_links_nothing_and_a_linking_one_signs_nobody_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, address) = (bench.sign_in(&new_address()).await, new_address());
    let (pending, linking) = (bench.pending(&address).await, bench.link_challenge(&user, &address).await);
    for sign_in in [bench.challenge(&new_address()).await, bench.bound_challenge(&pending).await] {
        assert_is!(refused(&bench, wallet_link(&user, &sign_in)).await, LinkOutcome::NotFound);
        // Not even if it were bound to the session and the account.
        let (session, account) = (user.session.id.uuid(), user.account.id);
        let session = crate::database::literal(test, session);
        let bound = format!("session_id = {session}, account_id = {}", literal_account(test, account));
        set(test, "challenges", sign_in.id.uuid(), &bound).await;
        assert_is!(refused(&bench, wallet_link(&user, &sign_in)).await, LinkOutcome::NotFound);
    }
    let before = contents(test).await;
    let outcome = redeem(bench.store.clone(), redemption(&bench.client, &linking)).await;
    assert_is!(outcome, RedeemOutcome::NotFound);
    assert_unchanged(test, &before, "a linking challenge signed somebody in").await;
}

async fn a_linking_challenge_is_found_by_its_own_session_alone(test: &TestStore) {
    let bench = Bench::on(test).await;
    let own = new_address();
    let (user, address) = (bench.sign_in(&own).await, new_address());
    let elsewhere = bench.sign_in(&own).await;
    let challenge = bench.link_challenge(&user, &address).await;
    for key in [
        ChallengeKey::Id(challenge.id),
        ChallengeKey::Nonce(challenge.nonce.clone()),
        ChallengeKey::Address(address.clone()),
    ] {
        assert!(bench.find(key.clone()).await.is_empty(), "{key:?}");
    }
    let found = async |who| bench.store.link_challenge(who, challenge.id).await.unwrap();
    let own = found(who(&user)).await.unwrap();
    assert_eq!((own.challenge.clone(), own.state), (challenge.clone(), ChallengeState::Live));
    assert!(found(who(&elsewhere)).await.is_none());
    let other_session = SignedInAs { session_id: SessionId::generate(), ..who(&user) };
    let other_account = SignedInAs { account_id: AccountId::generate(), ..who(&user) };
    assert!(found(other_session).await.is_none() && found(other_account).await.is_none());
    linked(link(bench.store.clone(), wallet_link(&user, &challenge)).await);
    assert_eq!(found(who(&user)).await.unwrap().state, ChallengeState::Redeemed);
}

async fn an_expired_challenge_links_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (_, wanted) = linking(&bench).await;
    // Two minutes it lives.
    test.age("challenges", wanted.challenge_id.uuid(), 120).await;
    assert_is!(refused(&bench, wanted).await, LinkOutcome::Expired);
}

async fn a_session_that_ended_links_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, wanted) = linking(&bench).await;
    bench.store.revoke_session(user.session.id, RevokeReason::RevokedByUser).await.unwrap();
    assert_is!(refused(&bench, wanted).await, LinkOutcome::SessionRejected(SessionRejected::SessionRevoked));

    let (user, wanted) = linking(&bench).await;
    set(test, "sessions", user.session.id.uuid(), "expire_time = create_time").await;
    assert_is!(refused(&bench, wanted).await, LinkOutcome::SessionRejected(SessionRejected::SessionExpired));

    let (_, wanted) = linking(&bench).await;
    let gone = SignedInAs { session_id: SessionId::generate(), ..wanted.who };
    let outcome = refused(&bench, WalletLink { who: gone, ..wanted }).await;
    assert_is!(outcome, LinkOutcome::SessionRejected(SessionRejected::SessionRevoked));
}

async fn a_client_that_is_not_served_links_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (_, wanted) = linking(&bench).await;
    bench.store.set_client_disabled(bench.client.id, true).await.unwrap();
    assert_is!(
        refused(&bench, wanted.clone()).await,
        LinkOutcome::SessionRejected(SessionRejected::ClientDisabled)
    );
    bench.store.set_client_disabled(bench.client.id, false).await.unwrap();
    bench.store.delete_client(bench.client.id).await.unwrap();
    assert_is!(refused(&bench, wanted).await, LinkOutcome::SessionRejected(SessionRejected::ClientDisabled));
}

async fn a_sign_in_that_is_too_old_links_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, wanted) = linking(&bench).await;
    test.age("sessions", user.session.id.uuid(), REAUTH_SECONDS).await;
    let outcome = refused(&bench, wanted.clone()).await;
    assert_is!(outcome, LinkOutcome::SessionRejected(SessionRejected::ReauthenticationRequired));
    // A refresh makes it no younger.
    bench.rotate(user.session.id, 1).await;
    let outcome = refused(&bench, wanted.clone()).await;
    assert_is!(outcome, LinkOutcome::SessionRejected(SessionRejected::ReauthenticationRequired));
    test.age("sessions", user.session.id.uuid(), -60).await;
    linked(link(bench.store.clone(), wanted).await);
}

async fn a_linking_challenge_keeps_its_own_place_beside_those_that_sign_in(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, address) = (bench.sign_in(&new_address()).await, new_address());
    let mut ids = Vec::new();
    for _ in 0..countersign::store::LIVE_CHALLENGE_LIMIT {
        bench.challenge(&address).await;
        ids.push(bench.link_challenge(&user, &address).await.id);
    }
    let at_limit = bench.link_challenge(&user, &address).await;
    assert!(ids.contains(&at_limit.id), "a ninth live one");
    let sign_in = bench.challenge(&address).await;
    assert!(!ids.contains(&sign_in.id));
    assert_eq!(account_of(bench.redeem(&sign_in).await), bench.sign_in(&address).await.account.id);
}
