//! Challenges that link a wallet: what they say, and that nothing else redeems them.

use countersign::{
    domain::{ChallengeFormat as Format, Policy, TypedDataDomain},
    grpc::v1::{
        ChallengeFormat, ChallengePurpose, CheckOutcome, ExplainSignatureRequest, StartChallengeRequest,
        VerifyChallengeRequest, VerifyChallengeResponse,
    },
    wallet::{evm::eip712::AuthMessage, siwx},
};
use tonic::Code;

use crate::{
    harness::{
        Caller, Server, TestClient, by_address, by_id, link_by, reason, refusal, start_for, wallet,
        wrong_field,
    },
    support::TestStore,
};

on_both_stores![
    every_text_says_whose_account_the_wallet_will_sign_in_to,
    a_text_that_the_caller_composes_links_nothing,
    only_link_wallet_redeems_a_linking_challenge,
    a_linking_challenge_expires,
    a_relayed_sign_in_signature_links_nothing,
    a_backend_that_links_its_wallet_to_a_user_gets_nowhere_in_another_realm,
    a_stolen_access_token_swaps_no_wallets,
    a_victim_who_signs_for_another_account_is_told_so,
];

fn policy() -> Policy {
    let texts = |text: &str| vec![text.to_owned()];
    Policy {
        formats: vec![Format::Nonce, Format::Text, Format::Siwx, Format::TypedData],
        domains: texts("shop.example"),
        uris: texts("https://shop.example/login"),
        statements: texts("I accept the terms."),
        nonce_messages: texts("Code: "),
        typed_data_domain: Some(TypedDataDomain::parse("Bine", "1", 137, &"0".repeat(40)).unwrap()),
        ..Policy::default()
    }
}

async fn shop(server: &Server) -> TestClient {
    server.client(policy()).await
}

/// A user, where the first format of the policy is not the text.
async fn user_by_text(shop: &TestClient) -> (Caller, VerifyChallengeResponse) {
    let own = wallet();
    let asked = StartChallengeRequest { format: ChallengeFormat::Text.into(), ..start_for(&own) };
    let challenge = shop.start(asked).await.unwrap();
    let signed_in = shop.redeem(&own, &challenge).await.unwrap();
    let token = signed_in.tokens.as_ref().unwrap().access_token.clone();
    (shop.with(&format!("Bearer {token}")), signed_in)
}

async fn every_text_says_whose_account_the_wallet_will_sign_in_to(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = server
        .client(Policy { formats: vec![Format::Text, Format::Siwx, Format::TypedData], ..policy() })
        .await;
    let first = wallet();
    let (user, signed_in) = shop.user(&first).await;
    let says = format!("Link this wallet to the account of {}:", first.address());
    let asked = |format: ChallengeFormat, wallet| StartChallengeRequest {
        format: format.into(),
        ..start_for(wallet)
    };

    let second = wallet();
    let text = user.start(asked(ChallengeFormat::Text, &second)).await.unwrap();
    assert_eq!(text.purpose(), ChallengePurpose::LinkWallet);
    assert!(text.message.starts_with(&says), "{}", text.message);
    for part in [second.address().as_str(), &text.nonce, "Expires at: "] {
        assert!(text.message.contains(part), "{part}");
    }
    user.link_wallet(link_by(&text, &second.sign_text(&text.message))).await.unwrap();

    let third = wallet();
    let siwx = user.start(asked(ChallengeFormat::Siwx, &third)).await.unwrap();
    let parsed = siwx::parse(&siwx.message).unwrap();
    assert!(parsed.statement.unwrap().as_str().starts_with(&says), "{}", siwx.message);
    user.link_wallet(link_by(&siwx, &third.sign_text(&siwx.message))).await.unwrap();
    let own_statement = StartChallengeRequest {
        statement: "I accept the terms.".to_owned(),
        ..asked(ChallengeFormat::Siwx, &third)
    };
    assert_eq!(wrong_field(user.start(own_statement).await).1, "statement");

    let fourth = wallet();
    let typed = user.start(asked(ChallengeFormat::TypedData, &fourth)).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&typed.typed_data_json).unwrap();
    assert_eq!(json["primaryType"], "LinkWallet");
    assert_eq!(json["message"]["account"], first.address().as_str());
    let signature = fourth.sign_typed_data(&AuthMessage::from_json(&typed.typed_data_json).unwrap());
    let account = user.link_wallet(link_by(&typed, &signature)).await.unwrap();
    assert_eq!((account.id, account.wallets.len()), (signed_in.account.unwrap().id, 4));
}

async fn a_text_that_the_caller_composes_links_nothing(store: &TestStore) {
    let server = Server::start(store).await;
    let (shop, second) = (shop(&server).await, wallet());
    let (user, _) = user_by_text(&shop).await;
    let nonce = |address: &str| StartChallengeRequest {
        format: ChallengeFormat::Nonce.into(),
        address: address.to_owned(),
        ..Default::default()
    };
    for address in ["", second.address().as_str()] {
        let refused = refusal(user.start(nonce(address)).await);
        assert_eq!(refused, (Code::PermissionDenied, "POLICY_DENIED".to_owned()));
    }
    assert_eq!(store.count("challenges", "purpose = 'LINK_WALLET'").await, 0);
    // The first format that says it is the default, and somebody in particular has to sign.
    assert_eq!(user.start(start_for(&second)).await.unwrap().format(), ChallengeFormat::Text);
    let nobody = wrong_field(user.start(StartChallengeRequest::default()).await);
    assert_eq!(nobody, ("INVALID_ADDRESS".to_owned(), "address".to_owned()));
    let composed = server.client(Policy { formats: vec![Format::Nonce], ..policy() }).await;
    let challenge = composed.start(nonce("")).await.unwrap();
    let own = wallet();
    let request = VerifyChallengeRequest {
        message: "Code: ".to_owned(),
        nonce: challenge.nonce.clone(),
        ..by_address(&own, &own.sign_text(&format!("Code: {}", challenge.nonce)))
    };
    let token = composed.verify(request).await.unwrap().tokens.unwrap().access_token;
    let user = composed.with(&format!("Bearer {token}"));
    assert_eq!(reason(user.start(start_for(&second)).await), "POLICY_DENIED");
}

async fn only_link_wallet_redeems_a_linking_challenge(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = server.client(Policy::default()).await;
    let second = wallet();
    let (user, _) = shop.user(&wallet()).await;
    let challenge = user.start(start_for(&second)).await.unwrap();
    let signature = second.sign_text(&challenge.message);
    let by_nonce = VerifyChallengeRequest {
        nonce: challenge.nonce.clone(),
        signature: signature.clone(),
        ..Default::default()
    };
    let (_, device) = shop.device_of(&second).await;
    let requests = [by_id(&challenge, &signature), by_nonce, by_address(&second, &signature)];
    for request in requests {
        for caller in [&shop.caller, &device] {
            assert_eq!(reason(caller.verify(request.clone()).await), "CHALLENGE_NOT_FOUND");
        }
        let VerifyChallengeRequest { challenge_id, nonce, address, .. } = request.clone();
        let signature = signature.clone();
        let asked = ExplainSignatureRequest { challenge_id, nonce, address, signature, ..Default::default() };
        let explained = shop.explain(asked).await.unwrap();
        let failed = explained.checks.iter().find(|it| it.outcome() == CheckOutcome::Failed).unwrap();
        assert_eq!((failed.name.as_str(), failed.reason.as_str()), ("challenge", "CHALLENGE_NOT_FOUND"));
    }
    assert_eq!(reason(user.verify(by_id(&challenge, &signature)).await), "CREDENTIALS_MISSING");
    assert_eq!(user.link_wallet(link_by(&challenge, &signature)).await.unwrap().wallets.len(), 2);
}

async fn a_linking_challenge_expires(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = server.client(Policy::default()).await;
    let ((user, _), second) = (shop.user(&wallet()).await, wallet());
    let challenge = user.start(start_for(&second)).await.unwrap();
    store.age("challenges", challenge.id.parse().unwrap(), 120).await;
    let late = user.link_wallet(link_by(&challenge, &second.sign_text(&challenge.message))).await;
    assert_eq!(refusal(late), (Code::FailedPrecondition, "CHALLENGE_EXPIRED".to_owned()));
    assert_eq!(store.count("wallets", "TRUE").await, 1);
}

async fn a_relayed_sign_in_signature_links_nothing(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = server.client(Policy::default()).await;
    let (attacker, victim) = (wallet(), wallet());
    let (attacker, _) = shop.user(&attacker).await;
    // The victim believes to sign in, by the client or on a device, and the attacker has the signature first.
    let (_, device) = shop.device_of(&victim).await;
    for sign_in in [shop.challenge_for(&victim).await, device.start(start_for(&victim)).await.unwrap()] {
        let signature = victim.sign_text(&sign_in.message);
        let refused = refusal(attacker.link_wallet(link_by(&sign_in, &signature)).await);
        assert_eq!(refused, (Code::NotFound, "CHALLENGE_NOT_FOUND".to_owned()));
        // Nor does it fit what the attacker started.
        let own = attacker.start(start_for(&victim)).await.unwrap();
        assert_eq!(reason(attacker.link_wallet(link_by(&own, &signature)).await), "SIGNATURE_MISMATCH");
    }
    assert_eq!(store.count("wallets", "TRUE").await, 1);
    assert!(shop.sign_in(&victim).await.account.unwrap().created);
}

async fn a_backend_that_links_its_wallet_to_a_user_gets_nowhere_in_another_realm(store: &TestStore) {
    let server = Server::start(store).await;
    let (here, there) = (server.client(Policy::default()).await, server.client(Policy::default()).await);
    let (victim, backend) = (wallet(), wallet());
    let (stolen, at_home) = here.user(&victim).await;
    let elsewhere = there.sign_in(&victim).await.account.unwrap();
    stolen.link(&backend).await.unwrap();
    let as_the_user = here.sign_in(&backend).await.account.unwrap();
    assert_eq!(as_the_user.id, at_home.account.unwrap().id, "at home a backend may do that anyway");
    let abroad = there.sign_in(&backend).await.account.unwrap();
    assert!(abroad.created && abroad.id != elsewhere.id);
    assert_eq!(there.get_account(&elsewhere.id).await.unwrap().wallets.len(), 1);
    // A token of the one realm opens no account of the other.
    assert_eq!(reason(stolen.get_account(&elsewhere.id).await), "ACCOUNT_NOT_FOUND");
}

async fn a_stolen_access_token_swaps_no_wallets(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = server.client(Policy::default()).await;
    let (victim, thief) = (wallet(), wallet());
    let (stolen, signed_in) = shop.user(&victim).await;
    let (session, account) = (signed_in.session.unwrap().id, signed_in.account.unwrap().id);
    store.age("sessions", session.parse().unwrap(), 15 * 60).await;
    assert_eq!(stolen.get_account(&account).await.unwrap().wallets.len(), 1, "the token is still good");
    assert_eq!(reason(stolen.link(&thief).await), "REAUTHENTICATION_REQUIRED");
    assert_eq!(reason(stolen.unlink(&victim).await), "REAUTHENTICATION_REQUIRED");
    // The thief's own fresh sign-in is of the thief's own account.
    let (fresh, _) = shop.user(&thief).await;
    assert_eq!(reason(fresh.link(&victim).await), "WALLET_ALREADY_LINKED");
    assert_eq!(reason(fresh.unlink(&victim).await), "WALLET_NOT_FOUND");
    assert_eq!(shop.sign_in(&victim).await.account.unwrap().id, account);
}

async fn a_victim_who_signs_for_another_account_is_told_so(store: &TestStore) {
    let server = Server::start(store).await;
    let shop = server.client(Policy::default()).await;
    let (attacker, victim) = (wallet(), wallet());
    let (user, _) = shop.user(&attacker).await;
    let linking = user.start(start_for(&victim)).await.unwrap().message;
    let sign_in = shop.challenge_for(&victim).await.message;
    let first_line = linking.lines().next().unwrap();
    assert!(first_line.contains(attacker.address().as_str()) && first_line.starts_with("Link this wallet"));
    assert!(!sign_in.contains("Link this wallet"));
}
