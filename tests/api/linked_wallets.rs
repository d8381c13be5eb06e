//! AccountService: further wallets are linked by the person behind the account alone, and taken away again.

use countersign::{
    domain::Policy,
    grpc::v1::{Account, ChallengePurpose, RevokeReason, SessionState},
    wallet::signer::Signer,
};
use tonic::Code;

use crate::{
    harness::{Caller, Server, TestClient, by_id, claims, reason, refusal, start_for, wallet, wrong_field},
    support::TestStore,
};

on_both_stores![
    a_linked_wallet_signs_in_to_the_same_account_at_every_client_of_the_realm,
    the_text_says_that_a_wallet_is_linked_and_to_whose_account,
    an_account_is_seen_by_its_realm_and_by_its_own_user,
    an_unlinked_wallet_is_signed_out_and_the_last_one_stays,
    a_signature_for_signing_in_links_nothing_and_one_for_linking_signs_nobody_in,
    a_challenge_is_redeemed_by_the_session_that_started_it_alone,
    a_stolen_token_changes_no_wallets_once_the_sign_in_is_old,
    a_clients_own_wallet_at_its_users_account_opens_nothing_in_another_realm,
    a_wallet_of_another_account_is_not_linked,
    a_limit_applies,
    wrong_fields_are_named_and_nothing_is_changed,
    nobody_but_a_user_links_or_unlinks,
];

/// A signed-in user, and the account.
async fn user_of(client: &TestClient, wallet: &Signer) -> (Caller, String, String) {
    let answer = client.sign_in(wallet).await;
    let session = answer.session.unwrap();
    let user = client.with(&format!("Bearer {}", answer.tokens.unwrap().access_token));
    (user, session.account_id, session.id)
}

/// Links a wallet to the user's account.
async fn link(user: &Caller, wallet: &Signer) -> Result<Account, tonic::Status> {
    let challenge = user.start(start_for(wallet)).await?;
    user.link(&challenge.id, &wallet.sign_text(&challenge.message)).await
}

fn addresses(account: &Account) -> Vec<&str> {
    account.wallets.iter().map(|wallet| wallet.address.as_str()).collect()
}

async fn a_linked_wallet_signs_in_to_the_same_account_at_every_client_of_the_realm(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = server.client_of("shops", Policy::default()).await;
    let cafe = server.client_of("shops", Policy::default()).await;
    let (first, second) = (wallet(), wallet());
    let (user, account_id, _) = user_of(&shop, &first).await;
    let account = link(&user, &second).await.unwrap();
    assert_eq!(
        (account.id.as_str(), addresses(&account)),
        (account_id.as_str(), vec![first.address().as_str(), second.address().as_str()])
    );
    for client in [&shop, &cafe] {
        for wallet in [&first, &second] {
            let answer = client.sign_in(wallet).await;
            assert_eq!(answer.session.unwrap().account_id, account_id);
            assert!(!answer.account.unwrap().created);
        }
    }
    // Linking it once more is no error.
    assert_eq!(addresses(&link(&user, &second).await.unwrap()).len(), 2);
}

async fn the_text_says_that_a_wallet_is_linked_and_to_whose_account(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let first = wallet();
    let (user, ..) = user_of(&client, &first).await;
    let challenge = user.start(start_for(&wallet())).await.unwrap();
    assert_eq!(challenge.purpose(), ChallengePurpose::LinkWallet);
    let said = format!("Link this wallet to the account of {}", first.address());
    assert!(challenge.message.contains(&said), "{}", challenge.message);
    assert!(!client.challenge_for(&wallet()).await.message.contains("Link this wallet"));
}

async fn an_account_is_seen_by_its_realm_and_by_its_own_user(store: &TestStore) {
    let server = Server::start(store).await;
    let (shop, cafe) = (
        server.client_of("shops", Policy::default()).await,
        server.client_of("shops", Policy::default()).await,
    );
    let bank = server.client(Policy::default()).await;
    let (user, account_id, _) = user_of(&shop, &wallet()).await;
    let (stranger, strangers_id, _) = user_of(&shop, &wallet()).await;
    for caller in [&user, &*shop, &*cafe] {
        assert_eq!(caller.get_account(&account_id).await.unwrap().wallets.len(), 1);
    }
    for caller in [&*bank, &stranger] {
        assert_eq!(
            refusal(caller.get_account(&account_id).await),
            (Code::NotFound, "ACCOUNT_NOT_FOUND".to_owned())
        );
    }
    assert!(stranger.get_account(&strangers_id).await.is_ok());
}

async fn an_unlinked_wallet_is_signed_out_and_the_last_one_stays(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (first, second) = (wallet(), wallet());
    let (user, account_id, own) = user_of(&client, &first).await;
    link(&user, &second).await.unwrap();
    let (other, _, ended) = user_of(&client, &second).await;
    let answer = user.unlink(second.address().as_str(), "EVM").await.unwrap();
    assert_eq!(
        (addresses(&answer.account.unwrap()), answer.revoked_session_count),
        (vec![first.address().as_str()], 1)
    );
    let session = client.get_session(&ended).await.unwrap();
    assert_eq!(
        (session.state(), session.revoke_reason()),
        (SessionState::Revoked, RevokeReason::WalletUnlinked)
    );
    assert_eq!(reason(other.get_session(&ended).await), "SESSION_REVOKED");
    assert_eq!(client.get_session(&own).await.unwrap().state(), SessionState::Active);
    assert_ne!(client.sign_in(&second).await.session.unwrap().account_id, account_id);
    assert_eq!(reason(user.unlink(second.address().as_str(), "EVM").await), "WALLET_NOT_FOUND");
    assert_eq!(reason(user.unlink(first.address().as_str(), "EVM").await), "LAST_WALLET");
    assert_eq!(client.get_account(&account_id).await.unwrap().wallets.len(), 1);
}

/// Attack 26: a signature that the victim gave for something else.
async fn a_signature_for_signing_in_links_nothing_and_one_for_linking_signs_nobody_in(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (attacker, victim) = (wallet(), wallet());
    let (user, account_id, _) = user_of(&client, &attacker).await;
    // The victim signs in, and the attacker has the signature first.
    let sign_in = client.challenge_for(&victim).await;
    let signature = victim.sign_text(&sign_in.message);
    assert_eq!(reason(user.link(&sign_in.id, &signature).await), "CHALLENGE_NOT_FOUND");
    let linking = user.start(start_for(&victim)).await.unwrap();
    assert_eq!(reason(user.link(&linking.id, &signature).await), "SIGNATURE_MISMATCH");
    assert_eq!(client.get_account(&account_id).await.unwrap().wallets.len(), 1);
    // And the other way round.
    let signature = victim.sign_text(&linking.message);
    assert_eq!(reason(client.verify(by_id(&linking, &signature)).await), "CHALLENGE_NOT_FOUND");
    let by_address = crate::harness::by_address(&victim, &signature);
    assert_eq!(reason(client.verify(by_address).await), "SIGNATURE_MISMATCH");
}

async fn a_challenge_is_redeemed_by_the_session_that_started_it_alone(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (first, second) = (wallet(), wallet());
    let (user, account_id, _) = user_of(&client, &first).await;
    let (same_user, ..) = user_of(&client, &first).await;
    let (stranger, strangers_id, _) = user_of(&client, &wallet()).await;
    let challenge = user.start(start_for(&second)).await.unwrap();
    let signature = second.sign_text(&challenge.message);
    for other in [&same_user, &stranger] {
        assert_eq!(reason(other.link(&challenge.id, &signature).await), "CHALLENGE_NOT_FOUND");
    }
    assert_eq!(user.link(&challenge.id, &signature).await.unwrap().id, account_id);
    assert_eq!(client.get_account(&strangers_id).await.unwrap().wallets.len(), 1);
}

/// Attack 26: a token that somebody else got hold of, later than the policy's window.
async fn a_stolen_token_changes_no_wallets_once_the_sign_in_is_old(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (first, second, thiefs) = (wallet(), wallet(), wallet());
    let (user, account_id, session) = user_of(&client, &first).await;
    link(&user, &second).await.unwrap();
    let challenge = user.start(start_for(&thiefs)).await.unwrap();
    store.age("sessions", session.parse().unwrap(), 11 * 60).await;
    let signature = thiefs.sign_text(&challenge.message);
    assert_eq!(
        refusal(user.link(&challenge.id, &signature).await),
        (Code::Unauthenticated, "REAUTHENTICATION_REQUIRED".to_owned())
    );
    assert_eq!(reason(user.unlink(second.address().as_str(), "EVM").await), "REAUTHENTICATION_REQUIRED");
    assert_eq!(client.get_account(&account_id).await.unwrap().wallets.len(), 2);
    // Signing in anew is what it takes.
    let (again, ..) = user_of(&client, &first).await;
    again.unlink(second.address().as_str(), "EVM").await.unwrap();
}

/// Attack 26: client A's back end holds its users' tokens, and links a wallet of its own to their accounts.
async fn a_clients_own_wallet_at_its_users_account_opens_nothing_in_another_realm(store: &TestStore) {
    let server = Server::start(store).await;
    let (a, b) = (server.client(Policy::default()).await, server.client(Policy::default()).await);
    let (victim, backends) = (wallet(), wallet());
    let (at_a, account_at_a, _) = user_of(&a, &victim).await;
    let (_, account_at_b, _) = user_of(&b, &victim).await;
    link(&at_a, &backends).await.unwrap();
    assert_eq!(a.sign_in(&backends).await.session.unwrap().account_id, account_at_a);
    assert_ne!(account_at_a, account_at_b);
    assert_ne!(b.sign_in(&backends).await.session.unwrap().account_id, account_at_b);
    assert_eq!(reason(b.get_account(&account_at_a).await), "ACCOUNT_NOT_FOUND");
}

async fn a_wallet_of_another_account_is_not_linked(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let taken = wallet();
    let (_, owners_id, _) = user_of(&client, &taken).await;
    let (user, account_id, _) = user_of(&client, &wallet()).await;
    assert_eq!(refusal(link(&user, &taken).await), (Code::AlreadyExists, "WALLET_ALREADY_LINKED".to_owned()));
    assert_eq!(client.get_account(&account_id).await.unwrap().wallets.len(), 1);
    assert_eq!(client.sign_in(&taken).await.session.unwrap().account_id, owners_id);
}

async fn a_limit_applies(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy { max_wallets: 2, ..Policy::default() }).await;
    let (user, account_id, _) = user_of(&client, &wallet()).await;
    link(&user, &wallet()).await.unwrap();
    assert_eq!(
        refusal(link(&user, &wallet()).await),
        (Code::FailedPrecondition, "WALLET_LIMIT_REACHED".to_owned())
    );
    assert_eq!(client.get_account(&account_id).await.unwrap().wallets.len(), 2);
}

async fn wrong_fields_are_named_and_nothing_is_changed(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let second = wallet();
    let (user, account_id, _) = user_of(&client, &wallet()).await;
    let challenge = user.start(start_for(&second)).await.unwrap();
    let named = |outcome: (String, String)| outcome.1;
    assert_eq!(named(wrong_field(user.link("no-uuid", "0x11").await)), "challenge_id");
    for signature in ["", "zz"] {
        assert_eq!(named(wrong_field(user.link(&challenge.id, signature).await)), "signature");
    }
    assert_eq!(
        reason(user.link(&challenge.id, &second.sign_text("another text")).await),
        "SIGNATURE_MISMATCH"
    );
    assert_eq!(named(wrong_field(user.unlink("0x12", "EVM").await)), "address");
    assert_eq!(named(wrong_field(user.unlink(second.address().as_str(), "moon").await)), "network");
    assert_eq!(named(wrong_field(user.get_account("no-uuid").await)), "account_id");
    assert_eq!(client.get_account(&account_id).await.unwrap().wallets.len(), 1);
    // What was refused spent nothing.
    user.link(&challenge.id, &second.sign_text(&challenge.message)).await.unwrap();
    assert_eq!(claims(user.authorization().trim_start_matches("Bearer "))["sub"], account_id.as_str());
}

async fn nobody_but_a_user_links_or_unlinks(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let second = wallet();
    let (user, ..) = user_of(&client, &wallet()).await;
    let (_, device) = client.device_of(&wallet()).await;
    let challenge = user.start(start_for(&second)).await.unwrap();
    let signature = second.sign_text(&challenge.message);
    for caller in [&*client, &device, &client.with("")] {
        assert_eq!(reason(caller.link(&challenge.id, &signature).await), "CREDENTIALS_MISSING");
        assert_eq!(reason(caller.unlink(second.address().as_str(), "EVM").await), "CREDENTIALS_MISSING");
    }
    assert_eq!(
        reason(client.with("Bearer a.b.c").link(&challenge.id, &signature).await),
        "ACCESS_TOKEN_INVALID"
    );
}
