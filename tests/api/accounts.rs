//! Accounts with several wallets: who sees them, who changes them.

use countersign::{
    domain::{Policy, Role},
    flows::client::update::update_client,
    grpc::v1::{Account, LinkWalletRequest, RevokeReason, SessionState, VerifyChallengeResponse, WalletKind},
    token::random,
    wallet::solana::SolanaPrivateKey,
};
use tonic::{Code, Status};

use crate::{
    harness::{Caller, Server, TestClient, basic, link_by, reason, refusal, start_for, wallet, wrong_field},
    support::TestStore,
};

on_both_stores![
    a_linked_wallet_signs_in_to_the_same_account_at_every_client_of_the_realm,
    a_wallet_of_another_chain_is_linked,
    a_link_whose_answer_was_lost_is_answered_again,
    an_unlinked_wallet_signs_in_to_it_no_more_and_its_sessions_end,
    an_account_is_visible_to_its_realm_and_its_user_only,
    only_a_signed_in_user_changes_wallets,
    a_wallet_of_another_account_is_refused,
    an_account_has_as_many_wallets_as_its_policy_lets,
    the_last_wallet_and_one_that_is_not_there_are_not_unlinked,
    a_wrong_field_is_named_and_nothing_is_written,
    wallets_are_changed_after_a_sign_in_of_late_only,
    a_client_without_the_role_or_switched_off_links_nothing,
    calls_of_one_session_are_limited,
];

const UNKNOWN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn account_of(signed_in: &VerifyChallengeResponse) -> String {
    signed_in.account.clone().unwrap().id
}

fn addresses(account: &Account) -> Vec<&str> {
    account.wallets.iter().map(|wallet| wallet.address.as_str()).collect()
}

async fn shop(server: &Server) -> TestClient {
    server.client_of("shops", Policy::default()).await
}

async fn a_linked_wallet_signs_in_to_the_same_account_at_every_client_of_the_realm(store: &TestStore) {
    let server = Server::start(store).await;
    let (shop, sister) = (shop(&server).await, shop(&server).await);
    let (first, second) = (wallet(), wallet());
    let (user, signed_in) = shop.user(&first).await;
    let id = account_of(&signed_in);
    let account = user.link(&second).await.unwrap();
    assert_eq!((account.id.as_str(), account.created), (id.as_str(), false));
    assert_eq!(account.create_time, signed_in.account.unwrap().create_time);
    assert_eq!(addresses(&account), [first.address().as_str(), second.address().as_str()]);
    assert!(account.wallets[0].last_sign_in_time.is_some() && account.wallets[1].last_sign_in_time.is_none());
    assert!(account.wallets[1].link_time.is_some());
    assert!(account.wallets.iter().all(|it| it.kind() == WalletKind::Eoa && it.network == "eip155:1"));

    for client in [&shop, &sister] {
        let by_second = client.sign_in(&second).await;
        assert_eq!(account_of(&by_second), id);
        let claims = crate::harness::claims(&by_second.tokens.unwrap().access_token);
        assert_eq!(claims["sub"], id);
        assert_eq!(claims["address"], second.address().as_str());
    }
    // What is linked already stays so.
    assert_eq!(addresses(&user.link(&second).await.unwrap()).len(), 2);
    assert_eq!(addresses(&user.link(&first).await.unwrap()).len(), 2);
}

async fn a_wallet_of_another_chain_is_linked(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = shop(&server).await;
    let (user, signed_in) = shop.user(&wallet()).await;
    let solana = SolanaPrivateKey::generate(random::bytes);
    let asked = countersign::grpc::v1::StartChallengeRequest {
        address: solana.address().to_string(),
        network: "SOLANA".to_owned(),
        ..Default::default()
    };
    let challenge = user.start(asked.clone()).await.unwrap();
    let signature = solana.sign_text(&challenge.message);
    let account = user.link_wallet(link_by(&challenge, &signature)).await.unwrap();
    let linked = &account.wallets[1];
    assert_eq!((linked.address.as_str(), linked.kind()), (solana.address().as_str(), WalletKind::Ed25519));

    let challenge = shop.start(asked).await.unwrap();
    let signature = solana.sign_text(&challenge.message);
    let by_solana = shop.verify(crate::harness::by_id(&challenge, &signature)).await.unwrap();
    assert_eq!(account_of(&by_solana), account_of(&signed_in));
    // As it was answered, so it can be named.
    let left = user.unlink_wallet(&linked.address, &linked.network).await.unwrap();
    assert_eq!((left.account.unwrap().wallets.len(), left.revoked_session_count), (1, 1));
}

async fn a_link_whose_answer_was_lost_is_answered_again(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = shop(&server).await;
    let ((user, _), second) = (shop.user(&wallet()).await, wallet());
    let challenge = user.start(start_for(&second)).await.unwrap();
    let request = link_by(&challenge, &second.sign_text(&challenge.message));
    let account = user.link_wallet(request.clone()).await.unwrap();
    assert_eq!(user.link_wallet(request.clone()).await.unwrap(), account);
    // Another signature is another request.
    let forged = link_by(&challenge, &wallet().sign_text(&challenge.message));
    let used = refusal(user.link_wallet(forged).await);
    assert_eq!(used, (Code::FailedPrecondition, "CHALLENGE_ALREADY_USED".to_owned()));
    user.unlink(&second).await.unwrap();
    assert_eq!(reason(user.link_wallet(request).await), "CHALLENGE_ALREADY_USED");
}

async fn an_unlinked_wallet_signs_in_to_it_no_more_and_its_sessions_end(store: &TestStore) {
    let server = Server::start(store).await;
    let (shop, sister) = (shop(&server).await, shop(&server).await);
    let (first, second) = (wallet(), wallet());
    let (user, signed_in) = shop.user(&first).await;
    user.link(&second).await.unwrap();
    let (lost, lost_session) = sister.user(&second).await;
    let answer = user.unlink(&second).await.unwrap();
    assert_eq!(answer.revoked_session_count, 1);
    assert_eq!(addresses(&answer.account.unwrap()), [first.address().as_str()]);

    let session = sister.get_session(&lost_session.session.unwrap().id).await.unwrap();
    assert_eq!(
        (session.state(), session.revoke_reason()),
        (SessionState::Revoked, RevokeReason::WalletUnlinked)
    );
    let refresh = lost_session.tokens.unwrap().refresh_token;
    assert_eq!(reason(sister.refresh(&refresh).await), "SESSION_REVOKED");
    assert_eq!(reason(lost.get_account(&account_of(&signed_in)).await), "SESSION_REVOKED");
    let alone = shop.sign_in(&second).await.account.unwrap();
    assert!(alone.created && alone.id != account_of(&signed_in));

    // With the wallet of the own session gone, so is that session.
    user.link(&wallet()).await.unwrap();
    assert_eq!(user.unlink(&first).await.unwrap().revoked_session_count, 1);
    assert_eq!(reason(user.link(&first).await), "SESSION_REVOKED");
}

async fn an_account_is_visible_to_its_realm_and_its_user_only(store: &TestStore) {
    let server = Server::start(store).await;
    let (shop, sister) = (shop(&server).await, shop(&server).await);
    let (bank, alone) =
        (server.client_of("banks", Policy::default()).await, server.client(Policy::default()).await);
    let (user, signed_in) = shop.user(&wallet()).await;
    let (stranger, _) = shop.user(&wallet()).await;
    let id = account_of(&signed_in);
    let account = user.get_account(&id).await.unwrap();
    assert_eq!((account.id.as_str(), account.wallets.len()), (id.as_str(), 1));
    for client in [&shop, &sister] {
        assert_eq!(client.get_account(&id).await.unwrap(), account);
    }
    for other in [&bank, &alone, &stranger] as [&Caller; 3] {
        assert_eq!(refusal(other.get_account(&id).await), (Code::NotFound, "ACCOUNT_NOT_FOUND".to_owned()));
    }
    assert_eq!(reason(shop.get_account(UNKNOWN).await), "ACCOUNT_NOT_FOUND");
    assert_eq!(reason(user.get_account(UNKNOWN).await), "ACCOUNT_NOT_FOUND");
    assert_eq!(wrong_field(shop.get_account("7").await).1, "account_id");
    let (_, device) = shop.device_of(&wallet()).await;
    for nobody in [device, shop.with("")] {
        assert_eq!(reason(nobody.get_account(&id).await), "CREDENTIALS_MISSING");
    }
}

async fn only_a_signed_in_user_changes_wallets(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = shop(&server).await;
    let (first, second) = (wallet(), wallet());
    let (user, _) = shop.user(&first).await;
    let challenge = user.start(start_for(&second)).await.unwrap();
    let request = link_by(&challenge, &second.sign_text(&challenge.message));
    let (_, device) = shop.device_of(&first).await;
    let wrong = shop.with(&basic(&shop.client.id.to_string(), "ccs_wrong"));
    let forged = shop.with(&format!("{}x", user.authorization()));
    for (caller, why) in [
        (shop.caller.clone(), "CREDENTIALS_MISSING"),
        (device, "CREDENTIALS_MISSING"),
        (shop.with(""), "CREDENTIALS_MISSING"),
        (wrong, "CLIENT_CREDENTIALS_INVALID"),
        (forged, "ACCESS_TOKEN_INVALID"),
    ] {
        assert_eq!(reason(caller.link_wallet(request.clone()).await), why);
        assert_eq!(reason(caller.unlink(&first).await), why);
    }
    // Nor another session, of the same account or of another one.
    for wallet in [&first, &wallet()] {
        let (other, _) = shop.user(wallet).await;
        assert_eq!(reason(other.link_wallet(request.clone()).await), "CHALLENGE_NOT_FOUND");
    }
    assert_eq!(user.link_wallet(request).await.unwrap().wallets.len(), 2);
}

async fn a_wallet_of_another_account_is_refused(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = shop(&server).await;
    let (theirs, mine) = (wallet(), wallet());
    let other = account_of(&shop.sign_in(&theirs).await);
    let (user, signed_in) = shop.user(&mine).await;
    let refused = refusal(user.link(&theirs).await);
    assert_eq!(refused, (Code::AlreadyExists, "WALLET_ALREADY_LINKED".to_owned()));
    assert_eq!(user.get_account(&account_of(&signed_in)).await.unwrap().wallets.len(), 1);
    assert_eq!(account_of(&shop.sign_in(&theirs).await), other);
    assert_eq!(reason(user.unlink(&theirs).await), "WALLET_NOT_FOUND");
}

async fn an_account_has_as_many_wallets_as_its_policy_lets(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = server.client(Policy { max_wallets: 3, ..Policy::default() }).await;
    let ((user, _), third) = (shop.user(&wallet()).await, wallet());
    user.link(&wallet()).await.unwrap();
    user.link(&third).await.unwrap();
    let refused = refusal(user.link(&wallet()).await);
    assert_eq!(refused, (Code::FailedPrecondition, "WALLET_LIMIT_REACHED".to_owned()));
    user.unlink(&third).await.unwrap();
    assert_eq!(user.link(&wallet()).await.unwrap().wallets.len(), 3);
}

async fn the_last_wallet_and_one_that_is_not_there_are_not_unlinked(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = shop(&server).await;
    let own = wallet();
    let (user, signed_in) = shop.user(&own).await;
    let last = refusal(user.unlink(&own).await);
    assert_eq!(last, (Code::FailedPrecondition, "LAST_WALLET".to_owned()));
    let unknown = refusal(user.unlink(&wallet()).await);
    assert_eq!(unknown, (Code::NotFound, "WALLET_NOT_FOUND".to_owned()));
    assert_eq!(user.get_account(&account_of(&signed_in)).await.unwrap().wallets.len(), 1);
}

async fn a_wrong_field_is_named_and_nothing_is_written(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = shop(&server).await;
    let ((user, _), second) = (shop.user(&wallet()).await, wallet());
    let challenge = user.start(start_for(&second)).await.unwrap();
    let signed = link_by(&challenge, &second.sign_text(&challenge.message));
    for (request, why, field) in [
        (
            LinkWalletRequest { challenge_id: "7".to_owned(), ..signed.clone() },
            "INVALID_REQUEST",
            "challenge_id",
        ),
        (
            LinkWalletRequest { challenge_id: String::new(), ..signed.clone() },
            "INVALID_REQUEST",
            "challenge_id",
        ),
        (
            LinkWalletRequest { signature: String::new(), ..signed.clone() },
            "INVALID_SIGNATURE_ENCODING",
            "signature",
        ),
        (
            LinkWalletRequest { signature: "0x12".to_owned(), ..signed.clone() },
            "INVALID_SIGNATURE_ENCODING",
            "signature",
        ),
        (LinkWalletRequest { message: "other".to_owned(), ..signed.clone() }, "INVALID_MESSAGE", "message"),
    ] {
        let refused = wrong_field(user.link_wallet(request).await);
        assert_eq!(refused, (why.to_owned(), field.to_owned()));
    }
    let address = second.address().to_string();
    for (address, network, why, field) in [
        ("", "ETHEREUM", "INVALID_ADDRESS", "address"),
        ("0x12", "ETHEREUM", "INVALID_ADDRESS", "address"),
        (address.as_str(), "SOLANA", "INVALID_ADDRESS", "address"),
        (address.as_str(), "", "INVALID_NETWORK", "network"),
        (address.as_str(), "mars:1", "INVALID_NETWORK", "network"),
    ] {
        let refused = wrong_field(user.unlink_wallet(address, network).await);
        assert_eq!(refused, (why.to_owned(), field.to_owned()));
    }
    let by_other = link_by(&challenge, &wallet().sign_text(&challenge.message));
    assert_eq!(refusal(user.link_wallet(by_other).await).1, "SIGNATURE_MISMATCH");
    let unknown = LinkWalletRequest { challenge_id: UNKNOWN.to_owned(), ..signed.clone() };
    assert_eq!(reason(user.link_wallet(unknown).await), "CHALLENGE_NOT_FOUND");
    assert_eq!(store.count("wallets", "TRUE").await, 1);
    let message = challenge.message.clone();
    assert_eq!(user.link_wallet(LinkWalletRequest { message, ..signed }).await.unwrap().wallets.len(), 2);
}

/// The reasons with which starting to link, linking and unlinking are refused.
async fn refusals(user: &Caller, link: &LinkWalletRequest, address: &str) -> [String; 3] {
    [
        reason(user.start(start_for(&wallet())).await),
        reason(user.link_wallet(link.clone()).await),
        reason(user.unlink_wallet(address, "ETHEREUM").await),
    ]
}

async fn wallets_are_changed_after_a_sign_in_of_late_only(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = shop(&server).await;
    let (first, second) = (wallet(), wallet());
    let (user, signed_in) = shop.user(&first).await;
    user.link(&second).await.unwrap();
    let third = wallet();
    let challenge = user.start(start_for(&third)).await.unwrap();
    let link = link_by(&challenge, &third.sign_text(&challenge.message));
    store.age("sessions", signed_in.session.unwrap().id.parse().unwrap(), 600).await;
    let old = "REAUTHENTICATION_REQUIRED";
    let address = second.address().to_string();
    assert_eq!(refusals(&user, &link, &address).await, [old; 3]);
    assert_eq!(refusal(user.unlink(&second).await), (Code::Unauthenticated, old.to_owned()));
    // A fresh access token of the same sign-in is no fresh sign-in.
    let refreshed = shop.refresh(&signed_in.tokens.unwrap().refresh_token).await.unwrap();
    let refreshed = shop.with(&format!("Bearer {}", refreshed.access_token));
    assert_eq!(refusals(&refreshed, &link, &address).await, [old; 3]);
    assert_eq!(store.count("wallets", "TRUE").await, 2);

    let (again, _) = shop.user(&first).await;
    again.link(&third).await.unwrap();
    again.unlink(&second).await.unwrap();
}

async fn a_client_without_the_role_or_switched_off_links_nothing(store: &TestStore) {
    let (here, elsewhere) = (Server::start(store).await, Server::start(store).await);
    let shop = shop(&here).await;
    let (user, second) = (shop.user(&wallet()).await.0, wallet());
    let challenge = user.start(start_for(&second)).await.unwrap();
    let link = link_by(&challenge, &second.sign_text(&challenge.message));
    for (policy, why) in [
        (Policy { roles: vec![Role::Introspect], ..shop.client.policy.clone() }, "ROLE_REQUIRED"),
        (Policy { disabled: true, ..shop.client.policy.clone() }, "CLIENT_DISABLED"),
    ] {
        update_client(here.store.as_ref(), shop.client.id, |_| Ok(policy.clone())).await.unwrap();
        // Another instance each time, which remembers nothing of before.
        let fresh = Server::start(store).await;
        let there = fresh.caller(user.authorization()).await;
        assert_eq!(reason(there.link_wallet(link.clone()).await), why);
        assert_eq!(reason(there.start(start_for(&second)).await), why);
    }
    let policy = shop.client.policy.clone();
    update_client(here.store.as_ref(), shop.client.id, |_| Ok(policy.clone())).await.unwrap();
    let there = elsewhere.caller(user.authorization()).await;
    assert_eq!(there.link_wallet(link).await.unwrap().wallets.len(), 2);
}

async fn calls_of_one_session_are_limited(store: &TestStore) {
    let server = Server::start(store).await;
    let rate_limit = countersign::domain::RateLimit { per_session: 3, ..Default::default() };
    let shop = server.client(Policy { rate_limit, ..Policy::default() }).await;
    let (user, _) = shop.user(&wallet()).await;
    let challenge = user.start(start_for(&wallet())).await.unwrap();
    let wrong = link_by(&challenge, &wallet().sign_text(&challenge.message));
    assert_eq!(reason(user.link_wallet(wrong.clone()).await), "SIGNATURE_MISMATCH");
    assert_eq!(reason(user.unlink(&wallet()).await), "WALLET_NOT_FOUND");
    let limited = |status: Result<Account, Status>| refusal(status).1;
    assert_eq!(limited(user.link_wallet(wrong).await), "RATE_LIMITED");
    assert_eq!(reason(user.unlink(&wallet()).await), "RATE_LIMITED");
    // Somebody else's session has its own.
    shop.user(&wallet()).await.0.link(&wallet()).await.unwrap();
}
