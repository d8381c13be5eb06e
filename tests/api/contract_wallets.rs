//! Contract wallets, as far as it does not take a real chain: which endpoint is asked, when, and what its trouble means.

use countersign::{
    domain::{ChallengeFormat as Format, Policy},
    flows::client::create::create_client,
    grpc::v1::{
        Challenge, ChallengeFormat, CheckOutcome, ExplainSignatureRequest, SessionState,
        StartChallengeRequest, VerificationMethod, VerifyChallengeRequest,
    },
    token::random,
    wallet::solana::SolanaPrivateKey,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    harness::{
        GIVE_UP, Server, TestClient, basic, by_id, claims, reason, refusal, session_for, wallet, wrong_field,
    },
    node::{Node, Says, dead},
    process::{Process, run},
    support::TestStore,
};

on_both_stores![
    an_own_key_signs_in_and_no_node_is_asked,
    a_contract_signs_in_with_whatever_bytes_it_accepts,
    the_next_endpoint_is_asked_where_one_fails_and_the_good_one_first_from_then_on,
    trouble_of_the_chain_is_no_bad_signature_and_changes_nothing,
    nobody_is_asked_where_contract_wallets_are_not_let_through,
    a_contract_wallet_is_another_one_on_each_chain,
    a_session_waits_for_the_contract_of_its_chain,
    a_chain_out_of_reach_keeps_no_wallet_of_another_one_out,
    no_bytes_at_all_are_a_signature_that_a_contract_may_accept,
    evm_names_no_chain_where_contract_wallets_may_sign_in,
    a_challenge_for_one_chain_is_signed_by_no_contract_of_another,
    no_more_than_eight_challenges_are_asked_about_for_one_call,
    a_caller_who_does_not_wait_for_a_silent_node_spares_the_next_one,
    a_contracts_signature_is_explained_as_it_is_verified,
    no_key_of_a_nodes_url_is_in_the_log,
];

/// No key's address.
pub const CONTRACT: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
/// No native signature.
pub const SIGNATURE: &str = "0xc0ffee";

fn solana_wallet() -> SolanaPrivateKey {
    SolanaPrivateKey::generate(random::bytes)
}

async fn server(store: &TestStore, endpoints: &[String]) -> (Server, TestClient) {
    let flags = [("chain-rpc", endpoints.join(",")), ("chain-rpc-timeout", "9s".to_owned())];
    let flags = flags.each_ref().map(|(key, value)| (*key, value.as_str()));
    let server = Server::start_with(store, &flags).await;
    let client = server.client(Policy { contract_wallets: true, ..Policy::default() }).await;
    (server, client)
}

pub fn start_on(network: &str) -> StartChallengeRequest {
    StartChallengeRequest { address: CONTRACT.to_owned(), network: network.to_owned(), ..Default::default() }
}

async fn an_own_key_signs_in_and_no_node_is_asked(store: &TestStore) {
    let node = Node::that(Says::Yes(1)).await;
    let (_server, client) = server(store, &[node.of("eip155:1")]).await;
    let verification = client.sign_in(&wallet()).await.verification.unwrap();
    assert_eq!((verification.method(), verification.block_number), (VerificationMethod::Eoa, None));
    assert_eq!(node.asked(), 0);
}

async fn a_contract_signs_in_with_whatever_bytes_it_accepts(store: &TestStore) {
    let node = Node::that(Says::Yes(1)).await;
    let (_server, client) = server(store, &[node.of("eip155:1")]).await;
    let challenge = client.start(start_on("ETHEREUM")).await.unwrap();
    let answer = client.verify(by_id(&challenge, SIGNATURE)).await.unwrap();
    let verification = answer.verification.unwrap();
    assert_eq!(verification.method(), VerificationMethod::Eip1271);
    assert_eq!((verification.address.as_str(), verification.network.as_str()), (CONTRACT, "eip155:1"));
    assert_eq!(verification.block_number, Some(77));
    let claims = claims(&answer.tokens.unwrap().access_token);
    assert_eq!((&claims["wallet_kind"], &claims["network"]), (&"contract".into(), &"eip155:1".into()));
    assert_eq!(reason(client.verify(by_id(&challenge, SIGNATURE)).await), "CHALLENGE_ALREADY_USED");
    assert_eq!(node.asked(), 1);
}

async fn the_next_endpoint_is_asked_where_one_fails_and_the_good_one_first_from_then_on(store: &TestStore) {
    let (bad, good) = (Node::that(Says::Status(503)).await, Node::that(Says::Yes(1)).await);
    let endpoints = [dead("eip155:1").await, bad.of("eip155:1"), good.of("eip155:1")];
    let (_server, client) = server(store, &endpoints).await;
    for asked in [1, 2] {
        let challenge = client.start(start_on("ETHEREUM")).await.unwrap();
        client.verify(by_id(&challenge, SIGNATURE)).await.unwrap();
        assert_eq!((bad.asked(), good.asked()), (1, asked));
    }
}

async fn trouble_of_the_chain_is_no_bad_signature_and_changes_nothing(store: &TestStore) {
    let good = Node::that(Says::Yes(1)).await;
    let troubles = [
        Says::Yes(10),
        Says::Status(500),
        Says::Status(429),
        Says::Elsewhere(good.address),
        Says::Body("<html>"),
        Says::Body(r#"{"jsonrpc":"2.0","id":1,"error":{"code":3,"message":"execution reverted"}}"#),
        Says::Body(r#"{"jsonrpc":"2.0","id":1,"result":"0x"}"#),
        Says::Body(
            r#"{"jsonrpc":"2.0","id":1,"result":"0x0000000000000000000000000000000000000000000000000000000000000001"}"#,
        ),
        Says::Body(r#"{"jsonrpc":"2.0","id":1}"#),
        Says::TooMuch,
        Says::Nothing,
    ];
    for says in troubles {
        let node = Node::that(says).await;
        let (_server, client) = server(store, &[node.of("eip155:1"), dead("eip155:1").await]).await;
        let wallet = wallet();
        let challenge = client.challenge_for(&wallet).await;
        let status = client.verify(by_id(&challenge, SIGNATURE)).await.unwrap_err();
        assert!(status.get_details_retry_info().is_some(), "{status:?}");
        assert!(!status.message().contains("127.0.0.1"), "{status:?}");
        assert_eq!(refusal::<()>(Err(status)), (Code::Unavailable, "CHAIN_RPC_UNAVAILABLE".to_owned()));
        assert_eq!(node.asked(), 1);
        client.redeem(&wallet, &challenge).await.unwrap();
    }
    assert_eq!(good.asked(), 0, "a redirection was followed");
}

async fn nobody_is_asked_where_contract_wallets_are_not_let_through(store: &TestStore) {
    let node = Node::that(Says::Yes(1)).await;
    let (server, client) = server(store, &[node.of("eip155:1")]).await;
    let strict = server.client(Policy::default()).await;
    let forged = wallet().sign_text("something else");
    let reserved = "0x0000000000000000000000000000000000000004";
    for (caller, address, network) in
        [(&strict, CONTRACT, "eip155:1"), (&client, CONTRACT, "eip155:10"), (&client, reserved, "eip155:1")]
    {
        let start = StartChallengeRequest { address: address.to_owned(), ..start_on(network) };
        let challenge = caller.start(start).await.unwrap();
        assert_eq!(reason(caller.verify(by_id(&challenge, &forged)).await), "SIGNATURE_MISMATCH");
    }
    let (solana, other) = (solana_wallet(), solana_wallet());
    let start = StartChallengeRequest { address: solana.address().to_string(), ..start_on("SOLANA") };
    let challenge = client.start(start).await.unwrap();
    let stolen = other.sign_text(&challenge.message);
    assert_eq!(reason(client.verify(by_id(&challenge, &stolen)).await), "SIGNATURE_MISMATCH");
    let challenge = strict.start(start_on("eip155:1")).await.unwrap();
    assert_eq!(reason(strict.verify(by_id(&challenge, SIGNATURE)).await), "INVALID_SIGNATURE_ENCODING");
    assert_eq!(node.asked(), 0);
}

async fn a_contract_wallet_is_another_one_on_each_chain(store: &TestStore) {
    let (one, ten) = (Node::that(Says::Yes(1)).await, Node::that(Says::Yes(10)).await);
    let (_server, client) = server(store, &[one.of("eip155:1"), ten.of("eip155:10")]).await;
    let mut accounts = Vec::new();
    for network in ["eip155:1", "eip155:10", "eip155:1"] {
        let challenge = client.start(start_on(network)).await.unwrap();
        let answer = client.verify(by_id(&challenge, SIGNATURE)).await.unwrap();
        assert_eq!(answer.verification.unwrap().network, network);
        accounts.push(answer.account.unwrap().id);
    }
    assert_ne!(accounts[0], accounts[1]);
    assert_eq!(accounts[0], accounts[2]);
    assert_eq!(store.count("wallets", "kind = 'contract'").await, 2);
}

async fn a_session_waits_for_the_contract_of_its_chain(store: &TestStore) {
    let (one, ten) = (Node::that(Says::Yes(1)).await, Node::that(Says::Yes(10)).await);
    let (_server, client) = server(store, &[one.of("eip155:1"), ten.of("eip155:10")]).await;
    let request = countersign::grpc::v1::CreateSessionRequest {
        signing_address: CONTRACT.to_owned(),
        ..session_for(&wallet())
    };
    let answer = client.create_session(request).await.unwrap();
    let device = client.with(&format!("Bearer {}", answer.session_token));
    let elsewhere = device.start(start_on("eip155:10")).await.unwrap();
    assert_eq!(reason(device.verify(by_id(&elsewhere, SIGNATURE)).await), "SIGNATURE_MISMATCH");
    let here = device.start(start_on("eip155:1")).await.unwrap();
    let session = device.verify(by_id(&here, SIGNATURE)).await.unwrap().session.unwrap();
    assert_eq!(session.state(), SessionState::Active);
}

async fn a_chain_out_of_reach_keeps_no_wallet_of_another_one_out(store: &TestStore) {
    let node = Node::that(Says::Yes(1)).await;
    let (_server, client) = server(store, &[node.of("eip155:1"), dead("eip155:10").await]).await;
    let mine = client.start(start_on("eip155:1")).await.unwrap();
    client.start(start_on("eip155:10")).await.unwrap();
    let request = VerifyChallengeRequest {
        address: CONTRACT.to_owned(),
        signature: SIGNATURE.to_owned(),
        ..Default::default()
    };
    let verification = client.verify(request.clone()).await.unwrap().verification.unwrap();
    assert_eq!(verification.network, mine.network);
    assert_eq!(reason(client.verify(request).await), "CHAIN_RPC_UNAVAILABLE");
}

async fn no_bytes_at_all_are_a_signature_that_a_contract_may_accept(store: &TestStore) {
    let node = Node::that(Says::Yes(1)).await;
    let (server, client) = server(store, &[node.of("eip155:1")]).await;
    let challenge = client.start(start_on("eip155:1")).await.unwrap();
    let none_given = client.verify(by_id(&challenge, "")).await;
    assert_eq!(wrong_field(none_given), ("INVALID_SIGNATURE_ENCODING".to_owned(), "signature".to_owned()));
    client.verify(by_id(&challenge, "0x")).await.unwrap();
    let own_keys = server.client(Policy::default()).await;
    let challenge = own_keys.start(start_on("eip155:1")).await.unwrap();
    assert_eq!(reason(own_keys.verify(by_id(&challenge, "0x")).await), "INVALID_SIGNATURE_ENCODING");
}

/// A NONCE challenge lets the caller compose the text, and with it name a chain.
async fn a_challenge_for_one_chain_is_signed_by_no_contract_of_another(store: &TestStore) {
    let (one, ten) = (Node::that(Says::Yes(1)).await, Node::that(Says::Yes(10)).await);
    let (server, _) = server(store, &[one.of("eip155:1"), ten.of("eip155:10")]).await;
    let client = server.client(shop_of_contracts()).await;
    let start = StartChallengeRequest { format: ChallengeFormat::Nonce.into(), ..start_on("eip155:1") };
    let challenge = client.start(start).await.unwrap();
    let composed = |chain: &str| VerifyChallengeRequest {
        message: format!(
            "shop.example wants you to sign in with your Ethereum account:\n{CONTRACT}\n\n\nURI: \
             https://shop.example/login\nVersion: 1\nChain ID: {chain}\nNonce: {}\n\
             Issued At: 2026-01-01T00:00:00.000Z",
            challenge.nonce
        ),
        ..by_id(&challenge, SIGNATURE)
    };
    let refused = client.verify(composed("10")).await.unwrap_err();
    assert!(matches!(refused.code(), Code::InvalidArgument | Code::Unauthenticated), "{refused:?}");
    assert_eq!((one.asked(), ten.asked()), (0, 0));
    let verification = client.verify(composed("1")).await.unwrap().verification.unwrap();
    assert_eq!((verification.network.as_str(), ten.asked()), ("eip155:1", 0));
}

fn shop_of_contracts() -> Policy {
    Policy {
        formats: vec![Format::Text, Format::Siwx, Format::Nonce],
        domains: vec!["shop.example".to_owned()],
        uris: vec!["https://shop.example/login".to_owned()],
        contract_wallets: true,
        ..Policy::default()
    }
}

async fn no_more_than_eight_challenges_are_asked_about_for_one_call(store: &TestStore) {
    let node = Node::that(Says::No(1)).await;
    let (server, _) = server(store, &[node.of("eip155:1")]).await;
    let client = server.client(shop_of_contracts()).await;
    let mut newest = None;
    for format in [ChallengeFormat::Text, ChallengeFormat::Siwx] {
        for _ in 0..5 {
            let start = StartChallengeRequest { format: format.into(), ..start_on("eip155:1") };
            newest = Some(client.start(start).await.unwrap());
        }
    }
    let by_address = VerifyChallengeRequest {
        address: CONTRACT.to_owned(),
        signature: SIGNATURE.to_owned(),
        ..Default::default()
    };
    let refused = wrong_field(client.verify(by_address).await);
    assert_eq!(refused, ("INVALID_ADDRESS".to_owned(), "address".to_owned()));
    assert_eq!(node.asked(), 8);
    let named = client.verify(by_id(&newest.unwrap(), SIGNATURE)).await;
    assert_eq!((reason(named).as_str(), node.asked()), ("SIGNATURE_MISMATCH", 9));
}

async fn a_caller_who_does_not_wait_for_a_silent_node_spares_the_next_one(store: &TestStore) {
    let (silent, good) = (Node::that(Says::Nothing).await, Node::that(Says::Yes(1)).await);
    let (_server, client) = server(store, &[silent.of("eip155:1"), good.of("eip155:1")]).await;
    let challenge = client.start(start_on("eip155:1")).await.unwrap();
    tokio::select! {
        answer = client.verify(by_id(&challenge, SIGNATURE)) => panic!("{answer:?}"),
        () = silent.until_asked() => {}
    }
    tokio::time::timeout(GIVE_UP, good.until_asked()).await.expect("the next node is asked");
    client.verify(by_id(&challenge, SIGNATURE)).await.unwrap();
    assert_eq!((silent.asked(), good.asked()), (1, 2));
}

async fn a_contracts_signature_is_explained_as_it_is_verified(store: &TestStore) {
    let (node, dead) = (Node::that(Says::Yes(1)).await, dead("eip155:10").await);
    let (_server, client) = server(store, &[node.of("eip155:1"), dead]).await;
    let explain = async |challenge: &Challenge, signature: &str| {
        let VerifyChallengeRequest { challenge_id, signature, .. } = by_id(challenge, signature);
        let request = ExplainSignatureRequest { challenge_id, signature, ..Default::default() };
        let answer = client.explain(request).await.unwrap();
        let failed = answer.checks.iter().find(|check| check.outcome() == CheckOutcome::Failed);
        (answer.accepted, failed.map(|check| check.reason.clone()), answer.verification)
    };
    let here = client.start(start_on("eip155:1")).await.unwrap();
    let (accepted, _, verification) = explain(&here, SIGNATURE).await;
    let verification = verification.unwrap();
    assert!(accepted);
    assert_eq!((verification.method(), verification.block_number), (VerificationMethod::Eip1271, Some(77)));
    let there = client.start(start_on("eip155:10")).await.unwrap();
    let (accepted, why, verification) = explain(&there, SIGNATURE).await;
    assert_eq!((accepted, why.as_deref()), (false, Some("CHAIN_RPC_UNAVAILABLE")));
    assert!(verification.is_none());
    let (_, why, _) = explain(&here, "").await;
    assert_eq!((why.as_deref(), node.asked()), (Some("INVALID_SIGNATURE_ENCODING"), 1));
    client.verify(by_id(&here, SIGNATURE)).await.unwrap();
}

async fn no_key_of_a_nodes_url_is_in_the_log(store: &TestStore) {
    let node = Node::that(Says::Status(500)).await;
    let endpoints = [dead("eip155:1").await, node.of("eip155:1")].join(",");
    let process = Process::start_with(store, &["--chain-rpc", &endpoints]);
    let handle = countersign::store::open(&store.url).await.unwrap();
    let policy = Policy { name: "Vault".to_owned(), contract_wallets: true, ..Policy::default() };
    let (client, secret) = create_client(handle.as_ref(), policy, "").await.unwrap();
    let caller = process.caller(&basic(&client.id.to_string(), secret.expose())).await;
    let challenge = caller.start(start_on("eip155:1")).await.unwrap();
    assert_eq!(reason(caller.verify(by_id(&challenge, SIGNATURE)).await), "CHAIN_RPC_UNAVAILABLE");
    let log = process.logged_until("CHAIN_RPC_UNAVAILABLE").await;
    assert_eq!(log.matches("an RPC node call failed").count(), 2, "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    let shown = run(&["settings", "--chain-rpc", &endpoints]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("chain-rpc") && !shown.contains("hunter2"), "{shown}");
}

async fn evm_names_no_chain_where_contract_wallets_may_sign_in(store: &TestStore) {
    let (server, client) = server(store, &[]).await;
    let invalid = |field: &str| ("INVALID_NETWORK".to_owned(), field.to_owned());
    assert_eq!(wrong_field(client.start(start_on("EVM")).await), invalid("network"));
    let request = countersign::grpc::v1::CreateSessionRequest {
        signing_network: "EVM".to_owned(),
        ..session_for(&wallet())
    };
    assert_eq!(wrong_field(client.create_session(request).await), invalid("signing_network"));
    let challenge = client.start(start_on("ETHEREUM")).await.unwrap();
    let request = VerifyChallengeRequest { network: "EVM".to_owned(), ..by_id(&challenge, SIGNATURE) };
    assert_eq!(wrong_field(client.verify(request).await), invalid("network"));
    let own_keys = server.client(Policy::default()).await;
    own_keys.start(start_on("EVM")).await.unwrap();
}
