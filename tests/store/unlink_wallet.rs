//! A wallet is unlinked from its account, or nothing changes.

use countersign::{
    domain::{Address, Namespace, Network, RevokeReason, SessionId, SessionState},
    store::{SessionRejected, SignedIn, SignedInAs, UnlinkOutcome, WalletUnlink},
};

use crate::{
    database::{assert_unchanged, contents, set},
    fixture::{Bench, new_address},
    linking::{REAUTH_SECONDS, contract, link, linked, unlink, wallet_link, wallet_unlink, who},
    support::TestStore,
};

on_both_stores!(
    an_unlinked_wallet_is_gone_and_what_it_signed_in_is_revoked,
    whoever_unlinks_the_wallet_of_the_own_session_is_signed_out,
    an_unlinked_wallet_signs_in_to_an_account_of_its_own,
    an_unlinked_wallet_can_be_linked_again,
    the_last_wallet_stays,
    what_the_account_does_not_have_is_not_found,
    a_contract_is_unlinked_by_its_chain_and_a_key_by_any,
    a_session_that_ended_unlinks_nothing,
    a_client_that_is_not_served_unlinks_nothing,
    a_sign_in_that_is_too_old_unlinks_nothing,
    the_revocation_feed_tells_what_unlinking_ended,
);

/// Unlinks, and sees that nothing has changed.
async fn refused(bench: &Bench<'_>, wanted: WalletUnlink) -> UnlinkOutcome {
    let before = contents(bench.test).await;
    let outcome = unlink(bench.store.clone(), wanted).await;
    assert_unchanged(bench.test, &before, &format!("{outcome:?}")).await;
    outcome
}

/// Somebody who is signed in with the first of two wallets, and both.
async fn two_wallets(bench: &Bench<'_>) -> (SignedIn, Address, Address) {
    let (first, second) = (new_address(), new_address());
    let user = bench.sign_in(&first).await;
    linked(bench.link(&user, &second).await);
    (user, first, second)
}

async fn an_unlinked_wallet_is_gone_and_what_it_signed_in_is_revoked(test: &TestStore) {
    let bench = Bench::on(test).await;
    let neighbour = bench.client_in(&bench.client.realm).await;
    let bank = bench.client_in("banks").await;
    let (user, first, second) = two_wallets(&bench).await;
    let kept = bench.sign_in(&first).await.session.id;
    let (here, there) = (bench.sign_in(&second).await, bench.sign_in_at(&neighbour, &second).await);
    let at_bank = bench.sign_in_at(&bank, &second).await.session.id;
    let ended = bench.sign_in(&second).await.session.id;
    let reason = RevokeReason::RevokedByClient;
    bench.store.revoke_session(ended, reason).await.unwrap();

    let outcome = bench.unlink(&user, &second).await;
    let UnlinkOutcome::Unlinked { account, revoked } = outcome else { panic!("{outcome:?}") };
    assert_eq!((revoked, account.wallets.len()), (2, 1));
    assert_eq!(bench.addresses(&user).await, [first]);
    for session in [here.session.id, there.session.id] {
        let session = bench.session(session).await;
        assert_eq!(session.state, SessionState::Revoked);
        assert_eq!(session.revocation.unwrap().reason, RevokeReason::WalletUnlinked);
    }
    for session in [user.session.id, kept, at_bank] {
        assert_eq!(bench.state(session).await, SessionState::Active);
    }
    assert_eq!(bench.session(ended).await.revocation.unwrap().reason, reason, "the first reason stays");
}

async fn whoever_unlinks_the_wallet_of_the_own_session_is_signed_out(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, first, second) = two_wallets(&bench).await;
    assert_is!(bench.unlink(&user, &first).await, UnlinkOutcome::Unlinked { revoked: 1, .. });
    assert_eq!(bench.state(user.session.id).await, SessionState::Revoked);
    assert_eq!(bench.addresses(&user).await, std::slice::from_ref(&second));
    let again = refused(&bench, wallet_unlink(&user, &second)).await;
    assert_is!(again, UnlinkOutcome::SessionRejected(SessionRejected::SessionRevoked));
}

async fn an_unlinked_wallet_signs_in_to_an_account_of_its_own(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, _, second) = two_wallets(&bench).await;
    bench.unlink(&user, &second).await;
    let alone = bench.sign_in(&second).await.account;
    assert!(alone.created && alone.id != user.account.id);
    let wanted = wallet_unlink(&user, &second);
    assert_is!(refused(&bench, wanted).await, UnlinkOutcome::NotFound);
}

async fn an_unlinked_wallet_can_be_linked_again(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, first, second) = two_wallets(&bench).await;
    bench.unlink(&user, &second).await;
    linked(bench.link(&user, &second).await);
    assert_eq!(bench.addresses(&user).await, [first, second.clone()]);
    assert_eq!(bench.sign_in(&second).await.account.id, user.account.id);
}

async fn the_last_wallet_stays(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, first, second) = two_wallets(&bench).await;
    bench.unlink(&user, &second).await;
    assert_is!(refused(&bench, wallet_unlink(&user, &first)).await, UnlinkOutcome::LastWallet);
}

async fn what_the_account_does_not_have_is_not_found(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, _, second) = two_wallets(&bench).await;
    let theirs = new_address();
    bench.sign_in(&theirs).await;
    let solana = WalletUnlink { network: Network::main(Namespace::Solana), ..wallet_unlink(&user, &second) };
    for wanted in [wallet_unlink(&user, &theirs), wallet_unlink(&user, &new_address()), solana] {
        assert_is!(refused(&bench, wanted).await, UnlinkOutcome::NotFound);
    }
}

async fn a_contract_is_unlinked_by_its_chain_and_a_key_by_any(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, first, second) = two_wallets(&bench).await;
    let safe = new_address();
    for network in ["eip155:10", "POLYGON"] {
        let mut by_contract = wallet_link(&user, &bench.link_challenge(&user, &safe).await);
        by_contract.verification = contract(&safe, network);
        linked(link(bench.store.clone(), by_contract).await);
    }
    let sessions =
        [bench.contract_sign_in(&safe, "eip155:10").await, bench.contract_sign_in(&safe, "POLYGON").await];
    let at = |address, network| WalletUnlink {
        network: Network::parse("", network).unwrap(),
        ..wallet_unlink(&user, address)
    };
    assert_is!(refused(&bench, at(&safe, "eip155:1")).await, UnlinkOutcome::NotFound);
    let outcome = unlink(bench.store.clone(), at(&safe, "eip155:137")).await;
    assert_is!(outcome, UnlinkOutcome::Unlinked { revoked: 1, .. });
    assert_eq!(bench.state(sessions[0].session.id).await, SessionState::Active);
    assert_eq!(bench.state(sessions[1].session.id).await, SessionState::Revoked);
    let outcome = unlink(bench.store.clone(), at(&second, "eip155:42161")).await;
    assert_is!(outcome, UnlinkOutcome::Unlinked { revoked: 0, .. });
    assert_eq!(bench.addresses(&user).await, [first, safe]);
}

async fn a_session_that_ended_unlinks_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, _, second) = two_wallets(&bench).await;
    let gone = SignedInAs { session_id: SessionId::generate(), ..who(&user) };
    let outcome = refused(&bench, WalletUnlink { who: gone, ..wallet_unlink(&user, &second) }).await;
    assert_is!(outcome, UnlinkOutcome::SessionRejected(SessionRejected::SessionRevoked));
    let other = bench.sign_in(&new_address()).await;
    let crossed = SignedInAs { session_id: other.session.id, ..who(&user) };
    let outcome = refused(&bench, WalletUnlink { who: crossed, ..wallet_unlink(&user, &second) }).await;
    assert_is!(outcome, UnlinkOutcome::SessionRejected(SessionRejected::SessionRevoked));

    set(test, "sessions", user.session.id.uuid(), "expire_time = create_time").await;
    let outcome = refused(&bench, wallet_unlink(&user, &second)).await;
    assert_is!(outcome, UnlinkOutcome::SessionRejected(SessionRejected::SessionExpired));
    bench.store.revoke_session(user.session.id, RevokeReason::RevokedByUser).await.unwrap();
    let outcome = refused(&bench, wallet_unlink(&user, &second)).await;
    assert_is!(outcome, UnlinkOutcome::SessionRejected(SessionRejected::SessionRevoked));
}

async fn a_client_that_is_not_served_unlinks_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, _, second) = two_wallets(&bench).await;
    bench.store.set_client_disabled(bench.client.id, true).await.unwrap();
    let outcome = refused(&bench, wallet_unlink(&user, &second)).await;
    assert_is!(outcome, UnlinkOutcome::SessionRejected(SessionRejected::ClientDisabled));
    bench.store.set_client_disabled(bench.client.id, false).await.unwrap();
    bench.store.delete_client(bench.client.id).await.unwrap();
    let outcome = refused(&bench, wallet_unlink(&user, &second)).await;
    assert_is!(outcome, UnlinkOutcome::SessionRejected(SessionRejected::ClientDisabled));
}

async fn a_sign_in_that_is_too_old_unlinks_nothing(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, _, second) = two_wallets(&bench).await;
    test.age("sessions", user.session.id.uuid(), REAUTH_SECONDS).await;
    bench.rotate(user.session.id, 1).await;
    for address in [&second, &new_address()] {
        let outcome = refused(&bench, wallet_unlink(&user, address)).await;
        assert_is!(outcome, UnlinkOutcome::SessionRejected(SessionRejected::ReauthenticationRequired));
    }
    test.age("sessions", user.session.id.uuid(), -60).await;
    assert_is!(bench.unlink(&user, &second).await, UnlinkOutcome::Unlinked { .. });
}

async fn the_revocation_feed_tells_what_unlinking_ended(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (user, _, second) = two_wallets(&bench).await;
    let session = bench.sign_in(&second).await.session.id;
    bench.unlink(&user, &second).await;
    let told = bench.store.revocations(None).await.unwrap().sessions;
    let told: Vec<_> = told.iter().map(|session| (session.id, session.reason)).collect();
    assert_eq!(told, [(session, RevokeReason::WalletUnlinked)]);
}
