//! Every format, signed by the wallets it is for, and what is refused in each.

use countersign::{
    domain::{ChallengeFormat as Format, NetworkRule, Policy, TypedDataDomain},
    flows::{
        Error,
        client::{create::create_client, update::update_client},
    },
    grpc::v1::{self, ChallengeFormat, StartChallengeRequest, VerificationMethod, VerifyChallengeRequest},
    token::random,
    wallet::{evm::eip712::AuthMessage, siwx, solana::SolanaPrivateKey},
};

use crate::{
    harness::{Caller, Server, TestClient, by_id, claims, reason, wallet, wrong_field},
    support::TestStore,
};

on_both_stores![
    a_sign_in_text_is_written_out_of_the_policy_and_signed_in_with,
    a_sign_in_text_names_only_what_the_policy_lists,
    typed_data_is_signed_in_with,
    a_listed_text_and_the_nonce_sign_in_with_or_without_the_nonce_in_the_request,
    a_composed_sign_in_text_is_checked_field_by_field,
    a_policy_that_changes_after_the_start_decides_at_the_sign_in,
    what_looks_like_a_sign_in_text_must_be_one,
    an_address_must_be_stated_a_recovered_one_is_not_enough,
    a_solana_wallet_signs_in_by_text_sign_in_text_and_nonce,
    options_of_another_format_are_refused,
    texts_that_could_not_be_signed_are_refused_in_the_policy,
];

fn policy() -> Policy {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
    let zero = "0".repeat(40);
    Policy {
        formats: vec![Format::Text, Format::Siwx, Format::TypedData, Format::Nonce],
        domains: texts(&["shop.example", "shop.example:8443"]),
        uris: texts(&["https://shop.example/login", "https://shop.example/other"]),
        statements: texts(&["I accept the terms.", "Hello again."]),
        resources: texts(&["https://shop.example/cart"]),
        nonce_messages: texts(&["Sign in to Shop\n\nCode: ", "Other: "]),
        typed_data_domain: Some(TypedDataDomain::parse("Bine", "1", 137, &zero).unwrap()),
        ..Policy::default()
    }
}

async fn shop(server: &Server) -> TestClient {
    server.client(policy()).await
}

fn start(format: ChallengeFormat, address: &str) -> StartChallengeRequest {
    StartChallengeRequest { format: format.into(), address: address.to_owned(), ..Default::default() }
}

async fn nonce(client: &TestClient) -> v1::Challenge {
    client.start(start(ChallengeFormat::Nonce, "")).await.unwrap()
}

async fn a_sign_in_text_is_written_out_of_the_policy_and_signed_in_with(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let address = wallet.address().to_string();
    let challenge = client.start(start(ChallengeFormat::Siwx, &address)).await.unwrap();
    let text = siwx::parse(&challenge.message).unwrap();
    assert_eq!(text.domain.as_str(), "shop.example");
    assert_eq!((text.address.as_str(), text.nonce.as_str()), (address.as_str(), challenge.nonce.as_str()));
    assert_eq!(text.statement.unwrap().as_str(), "I accept the terms.");
    assert_eq!((text.uri.as_str(), text.chain_id.as_str()), ("https://shop.example/login", "1"));
    let asked = StartChallengeRequest {
        network: "POLYGON".to_owned(),
        domain: "shop.example:8443".to_owned(),
        uri: "https://shop.example/other".to_owned(),
        statement: "Hello again.".to_owned(),
        resources: vec!["https://shop.example/cart".to_owned()],
        request_id: "order-7".to_owned(),
        not_before: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        ..start(ChallengeFormat::Siwx, &address)
    };
    let challenge = client.start(asked).await.unwrap();
    for part in [
        "shop.example:8443 wants you to sign in with your Ethereum account:\n",
        "\nHello again.\n",
        "\nChain ID: 137\n",
        "\nNot Before: 2023-11-14T22:13:20Z",
        "\nRequest ID: order-7",
        "\nResources:\n- https://shop.example/cart",
    ] {
        assert!(challenge.message.contains(part), "{part} is missing: {}", challenge.message);
    }
    let verified = client.redeem(&wallet, &challenge).await.unwrap();
    assert_eq!(verified.verification.unwrap().network, "eip155:137");
    assert_eq!(reason(client.redeem(&wallet, &challenge).await), "CHALLENGE_ALREADY_USED");
}

async fn a_sign_in_text_names_only_what_the_policy_lists(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let usual = start(ChallengeFormat::Siwx, &wallet.address().to_string());
    let evil = || "https://evil.example".to_owned();
    for asked in [
        StartChallengeRequest { domain: "evil.example".to_owned(), ..usual.clone() },
        StartChallengeRequest { uri: evil(), ..usual.clone() },
        StartChallengeRequest { statement: "Give me everything.".to_owned(), ..usual.clone() },
        StartChallengeRequest { resources: vec![evil()], ..usual.clone() },
    ] {
        assert_eq!(reason(client.start(asked).await), "POLICY_DENIED");
    }
    let asked = StartChallengeRequest { request_id: "a b".to_owned(), ..usual };
    assert_eq!(wrong_field(client.start(asked).await).1, "request_id");
    assert_eq!(store.count("challenges", "1 = 1").await, 0);
}

async fn typed_data_is_signed_in_with(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let address = wallet.address().to_string();
    let challenge = client.start(start(ChallengeFormat::TypedData, &address)).await.unwrap();
    assert!(challenge.message.is_empty());
    assert_eq!(challenge.network, "eip155:137", "that of the domain");
    let json: serde_json::Value = serde_json::from_str(&challenge.typed_data_json).unwrap();
    assert_eq!(json["primaryType"], "AuthMessage");
    assert_eq!(json["domain"]["name"], "Bine");
    assert_eq!(json["message"]["address"], address.as_str());
    assert_eq!(json["message"]["noonce"].as_u64().unwrap().to_string(), challenge.nonce);
    let message = AuthMessage::from_json(&challenge.typed_data_json).unwrap();
    let signature = wallet.sign_typed_data(&message);
    let stranger = crate::harness::wallet().sign_typed_data(&message);
    assert_eq!(reason(client.verify(by_id(&challenge, &stranger)).await), "SIGNATURE_MISMATCH");
    let by_nonce = VerifyChallengeRequest { nonce: challenge.nonce.clone(), signature, ..Default::default() };
    let verified = client.verify(by_nonce.clone()).await.unwrap();
    assert_eq!(verified.verification.unwrap().method(), VerificationMethod::Eoa);
    assert_eq!(reason(client.verify(by_nonce).await), "CHALLENGE_ALREADY_USED");
}

fn composed(
    challenge: &v1::Challenge,
    address: &str,
    message: &str,
    signature: &str,
) -> VerifyChallengeRequest {
    VerifyChallengeRequest {
        nonce: challenge.nonce.clone(),
        address: address.to_owned(),
        message: message.to_owned(),
        signature: signature.to_owned(),
        ..Default::default()
    }
}

async fn a_listed_text_and_the_nonce_sign_in_with_or_without_the_nonce_in_the_request(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let listed = "Sign in to Shop\n\nCode: ";
    let lower = wallet.address().to_string().to_lowercase();
    for without_nonce in [true, false] {
        let challenge = nonce(&client).await;
        assert!(challenge.address.is_empty() && challenge.message.is_empty());
        let signed = format!("{listed}{}", challenge.nonce);
        let signature = wallet.sign_text(&signed);
        let message = if without_nonce { listed } else { &signed };
        for (wrong, expected) in [
            ("Sign in to Shop\nCode: ", "POLICY_DENIED"),
            ("", "INVALID_MESSAGE"),
            (&format!("{signed}{}", challenge.nonce), "POLICY_DENIED"),
            (&format!("{listed}{}", "A".repeat(22)), "POLICY_DENIED"),
            ("Other: ", "SIGNATURE_MISMATCH"),
        ] {
            let refused = client.verify(composed(&challenge, &lower, wrong, &signature)).await;
            assert_eq!(reason(refused), expected, "{wrong}");
        }
        let request = composed(&challenge, &lower[2..], message, &signature[2..]);
        let verified = client.verify(request.clone()).await.unwrap();
        assert_eq!(verified.verification.unwrap().address, wallet.address().to_string());
        assert_eq!(reason(client.verify(request).await), "CHALLENGE_ALREADY_USED");
    }
}

/// An EIP-4361 text as a caller composes it.
fn sign_in_text(address: &str, nonce: &str) -> String {
    format!(
        "shop.example wants you to sign in with your Ethereum account:\n{address}\n\nI accept the terms.\n\n\
         URI: https://shop.example/login\nVersion: 1\nChain ID: 137\nNonce: {nonce}\n\
         Issued At: 2026-01-01T00:00:00.000Z"
    )
}

async fn a_composed_sign_in_text_is_checked_field_by_field(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let (challenge, other) = (nonce(&client).await, nonce(&client).await);
    let address = wallet.address().to_string();
    let good = sign_in_text(&address, &challenge.nonce);
    let stranger = crate::harness::wallet().address().to_string();
    let refused = [
        (good.replacen("shop.example", "evil.example", 1), "POLICY_DENIED"),
        (good.replacen("shop.example", "shop.example@evil.example", 1), "INVALID_MESSAGE"),
        (good.replace("/login", "/elsewhere"), "POLICY_DENIED"),
        (format!("http://{good}"), "POLICY_DENIED"),
        (good.replace("I accept the terms.", "I give away everything."), "POLICY_DENIED"),
        (format!("{good}\nResources:\n- https://evil.example"), "POLICY_DENIED"),
        (format!("{good}\nExpiration Time: 2026-01-01T00:00:00Z"), "INVALID_MESSAGE"),
        (format!("{good}\nNot Before: 2999-01-01T00:00:00Z"), "INVALID_MESSAGE"),
        (good.replace(&challenge.nonce, &other.nonce), "INVALID_MESSAGE"),
        (good.replace("Chain ID: 137", "Chain ID: 0137"), "INVALID_MESSAGE"),
        (good.replace('\n', "\r\n"), "INVALID_MESSAGE"),
        (format!("{good}\n"), "INVALID_MESSAGE"),
        (good.replace("Version: 1", "Version: 1\nVersion: 1"), "INVALID_MESSAGE"),
        (good.replace(&address, &stranger), "SIGNATURE_MISMATCH"),
    ];
    for (text, expected) in refused {
        let request = composed(&challenge, "", &text, &wallet.sign_text(&text));
        let outcome = client.verify(request).await;
        assert_eq!(reason(outcome), expected, "{text}");
    }
    // The text names nonce and address by itself.
    let request = VerifyChallengeRequest {
        message: good.clone(),
        signature: wallet.sign_text(&good),
        ..Default::default()
    };
    let elsewhere = VerifyChallengeRequest { address: stranger, ..request.clone() };
    assert_eq!(reason(client.verify(elsewhere).await), "INVALID_ADDRESS");
    let verified = client.verify(request.clone()).await.unwrap();
    assert_eq!(verified.verification.unwrap().network, "eip155:137");
    assert_eq!(claims(&verified.tokens.unwrap().access_token)["network"], "eip155:137");
    assert_eq!(reason(client.verify(request).await), "CHALLENGE_ALREADY_USED");
}

async fn a_policy_that_changes_after_the_start_decides_at_the_sign_in(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let (address, composing) = (wallet.address().to_string(), nonce(&client).await);
    let challenge = client.challenge_for(&wallet).await;
    let text = sign_in_text(&address, &composing.nonce);
    let text = composed(&composing, "", &text, &wallet.sign_text(&text));
    let polygon = NetworkRule::parse("networks", "POLYGON").unwrap();
    let ethereum = NetworkRule::parse("networks", "eip155:1").unwrap();

    let without_text = Policy { formats: vec![Format::Siwx], ..policy() };
    let (_server, caller) = with_policy(store, &client, without_text).await;
    assert_eq!(reason(caller.redeem(&wallet, &challenge).await), "POLICY_DENIED");
    let on_polygon = Policy { networks: vec![polygon], ..policy() };
    let (_server, caller) = with_policy(store, &client, on_polygon).await;
    assert_eq!(reason(caller.redeem(&wallet, &challenge).await), "POLICY_DENIED");
    let on_ethereum = Policy { networks: vec![ethereum], ..policy() };
    let (_server, caller) = with_policy(store, &client, on_ethereum).await;
    assert_eq!(reason(caller.verify(text.clone()).await), "POLICY_DENIED");
    assert_eq!(store.count("challenges", "redeem_time IS NOT NULL").await, 0);

    let (_server, caller) = with_policy(store, &client, policy()).await;
    caller.redeem(&wallet, &challenge).await.unwrap();
    caller.verify(text).await.unwrap();
}

/// Changes the policy of a client. An instance that starts now has read no other.
async fn with_policy(store: &TestStore, client: &TestClient, policy: Policy) -> (Server, Caller) {
    let server = Server::start(store).await;
    let policy = Policy { name: client.client.policy.name.clone(), ..policy };
    update_client(server.store.as_ref(), client.client.id, |_| Ok(policy.clone())).await.unwrap();
    let caller = server.caller(client.authorization()).await;
    (server, caller)
}

async fn what_looks_like_a_sign_in_text_must_be_one(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let address = wallet.address().to_string();
    let challenge = nonce(&client).await;
    for text in [
        format!("Sign in to Shop\n\nCode: {} wants you to sign in with your hands", challenge.nonce),
        format!("shop.example wants you to sign in with your Ethereum account:\n{address}"),
        sign_in_text(&address, &challenge.nonce).replace("URI: ", "URL: "),
    ] {
        let request = composed(&challenge, &address, &text, &wallet.sign_text(&text));
        assert_eq!(reason(client.verify(request).await), "INVALID_MESSAGE", "{text}");
    }
}

async fn an_address_must_be_stated_a_recovered_one_is_not_enough(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let challenge = nonce(&client).await;
    let signed = format!("Other: {}", challenge.nonce);
    let request = composed(&challenge, "", "Other: ", &wallet.sign_text(&signed));
    assert_eq!(wrong_field(client.verify(request).await), ("INVALID_REQUEST".into(), "address".into()));
    assert_eq!(store.count("sessions", "1 = 1").await, 0);
}

async fn a_solana_wallet_signs_in_by_text_sign_in_text_and_nonce(store: &TestStore) {
    let server = Server::start(store).await;
    let client = shop(&server).await;
    let wallet = SolanaPrivateKey::generate(random::bytes);
    let address = wallet.address().to_string();
    let mut accounts = Vec::new();
    for format in [ChallengeFormat::Text, ChallengeFormat::Siwx] {
        let asked = StartChallengeRequest { network: "SOLANA".to_owned(), ..start(format, &address) };
        let challenge = client.start(asked).await.unwrap();
        let stranger = SolanaPrivateKey::generate(random::bytes).sign_text(&challenge.message);
        assert_eq!(reason(client.verify(by_id(&challenge, &stranger)).await), "SIGNATURE_MISMATCH");
        let signature = wallet.sign_text(&challenge.message);
        let verified = client.verify(by_id(&challenge, &signature)).await.unwrap();
        assert_eq!(verified.verification.unwrap().method(), VerificationMethod::Ed25519);
        assert_eq!(claims(&verified.tokens.unwrap().access_token)["wallet_kind"], "ed25519");
        accounts.push(verified.account.unwrap().id);
    }
    let challenge = nonce(&client).await;
    let signature = wallet.sign_text(&format!("Other: {}", challenge.nonce));
    let verified = client.verify(composed(&challenge, &address, "Other: ", &signature)).await.unwrap();
    accounts.push(verified.account.unwrap().id);
    accounts.dedup();
    assert_eq!(accounts.len(), 1, "one wallet, one account");
    let asked =
        StartChallengeRequest { network: "SOLANA".to_owned(), ..start(ChallengeFormat::TypedData, &address) };
    assert_eq!(reason(client.start(asked).await), "INVALID_NETWORK");
}

async fn options_of_another_format_are_refused(store: &TestStore) {
    let server = Server::start(store).await;
    let client = shop(&server).await;
    let address = wallet().address().to_string();
    for format in [ChallengeFormat::Text, ChallengeFormat::TypedData, ChallengeFormat::Nonce] {
        let asked =
            StartChallengeRequest { uri: "https://shop.example/login".to_owned(), ..start(format, &address) };
        assert_eq!(wrong_field(client.start(asked).await).1, "uri");
    }
    let asked = StartChallengeRequest { network: "POLYGON".to_owned(), ..start(ChallengeFormat::Nonce, "") };
    assert_eq!(wrong_field(client.start(asked).await).1, "network");
    assert_eq!(reason(client.start(start(ChallengeFormat::Siwx, "")).await), "INVALID_ADDRESS");
}

async fn texts_that_could_not_be_signed_are_refused_in_the_policy(store: &TestStore) {
    let server = Server::start(store).await;
    let texts = |text: &str| vec![text.to_owned()];
    for (field, policy) in [
        ("domains", Policy { domains: texts("https://shop.example"), ..policy() }),
        ("domains", Policy { domains: texts("user@shop.example"), ..policy() }),
        ("uris", Policy { uris: texts("/login"), ..policy() }),
        ("resources", Policy { resources: texts("cart"), ..policy() }),
        ("statements", Policy { statements: texts("100% \"yes\""), ..policy() }),
    ] {
        let policy = Policy { name: "Shop".to_owned(), ..policy };
        let refused = create_client(server.store.as_ref(), policy, "").await.unwrap_err();
        let Error::Invalid(violations) = refused else { panic!("{refused:?}") };
        assert_eq!(violations.iter().map(|wrong| wrong.field.as_str()).collect::<Vec<_>>(), [field]);
    }
}
