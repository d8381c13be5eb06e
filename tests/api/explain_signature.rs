//! ExplainSignature says what VerifyChallenge would do, and does nothing.

use countersign::{
    domain::{ChallengeFormat as Format, Policy},
    grpc::v1::{
        self, ChallengeFormat, CheckOutcome, ExplainSignatureRequest, ExplainSignatureResponse,
        StartChallengeRequest, VerificationMethod, VerifyChallengeRequest,
    },
    wallet::solana::SolanaPrivateKey,
};

use crate::{
    harness::{Caller, Server, TestClient, by_address, by_id, reason, session_for, wallet},
    support::TestStore,
};

on_both_stores![
    a_good_signature_is_explained_and_stays_good,
    each_refusal_of_verify_challenge_is_the_first_failed_check,
    a_signature_of_solana_is_explained,
    only_a_client_may_ask,
];

const CHECKS: [&str; 9] =
    ["fields", "key", "challenge", "agreement", "state", "message", "signature", "policy", "session"];

fn asked(request: &VerifyChallengeRequest) -> ExplainSignatureRequest {
    let VerifyChallengeRequest { challenge_id, nonce, address, network, signature, message, .. } =
        request.clone();
    ExplainSignatureRequest { challenge_id, nonce, address, network, signature, message }
}

/// The reason of the first failed check, after which those that need it are skipped.
fn first_failure(answer: &ExplainSignatureResponse) -> Option<String> {
    let names: Vec<&str> = answer.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, CHECKS);
    let failed = answer.checks.iter().find(|check| check.outcome() == CheckOutcome::Failed);
    assert_eq!(answer.accepted, answer.checks.iter().all(|check| check.outcome() == CheckOutcome::Passed));
    failed.map(|check| {
        assert!(!check.description.is_empty());
        check.reason.clone()
    })
}

async fn a_good_signature_is_explained_and_stays_good(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy { name: "Shop".to_owned(), ..Policy::default() }).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    let signature = wallet.sign_text(&challenge.message);
    let written_otherwise = signature[2..].to_uppercase();
    for _ in 0..2 {
        let answer = client.explain(asked(&by_id(&challenge, &written_otherwise))).await.unwrap();
        assert_eq!(first_failure(&answer), None);
        assert!(answer.accepted);
        assert_eq!((answer.signature.as_str(), answer.nonce.as_str()), (&*signature, &*challenge.nonce));
        assert_eq!(answer.recovered_address, wallet.address().to_string());
        assert_eq!(
            (answer.address.as_str(), answer.network.as_str()),
            (wallet.address().as_str(), "eip155:1")
        );
        let prefixed =
            format!("\x19Ethereum Signed Message:\n{}{}", challenge.message.len(), challenge.message);
        assert_eq!(answer.signed_bytes_hex, format!("0x{}", hex::encode(prefixed)));
        let digest = countersign::wallet::evm::eip191::digest(&challenge.message);
        assert_eq!(answer.digest_hex, format!("0x{}", hex::encode(digest)));
        assert_eq!(answer.verification.unwrap().method(), VerificationMethod::Eoa);
    }
    assert_eq!(store.count("sessions", "1 = 1").await, 0);
    assert_eq!(store.count("accounts", "1 = 1").await, 0);
    client.redeem(&wallet, &challenge).await.unwrap();
}

/// What is sent, by whom it is verified, and the reason that both have to give.
struct Case {
    what: &'static str,
    request: VerifyChallengeRequest,
    reason: &'static str,
}

async fn cases(store: &TestStore, client: &TestClient, stranger: &Caller) -> Vec<Case> {
    let wallet = wallet();
    let mut cases = Vec::new();
    let mut add = |what, request, reason| cases.push(Case { what, request, reason });
    let live = client.challenge_for(&wallet).await;
    let good = by_id(&live, &wallet.sign_text(&live.message));
    let with = |change: &dyn Fn(&mut VerifyChallengeRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    add("no signature", with(&|it| it.signature.clear()), "INVALID_SIGNATURE_ENCODING");
    add("an address of nobody", with(&|it| it.address = "0x12".to_owned()), "INVALID_ADDRESS");
    add("a network of nobody", with(&|it| it.network = "BITCOIN".to_owned()), "INVALID_NETWORK");
    add("no challenge named", with(&|it| it.challenge_id.clear()), "INVALID_REQUEST");
    add("another nonce", with(&|it| it.nonce = "A".repeat(22)), "INVALID_REQUEST");
    add("another message", with(&|it| it.message = "hello".to_owned()), "INVALID_MESSAGE");
    add("a short signature", with(&|it| it.signature = "0x12".to_owned()), "INVALID_SIGNATURE_ENCODING");
    let other = wallet.sign_text("another text");
    add("over another text", with(&|it| it.signature.clone_from(&other)), "SIGNATURE_MISMATCH");
    add("by address, over another text", by_address(&wallet, &other), "SIGNATURE_MISMATCH");
    let foreign = stranger.challenge_for(&wallet).await;
    let signature = wallet.sign_text(&foreign.message);
    add("another client's challenge", by_id(&foreign, &signature), "CHALLENGE_NOT_FOUND");
    let used = client.challenge_for(&wallet).await;
    client.redeem(&wallet, &used).await.unwrap();
    add("a spent one", by_id(&used, &wallet.sign_text(&used.message)), "CHALLENGE_ALREADY_USED");
    let expired = client.challenge_for(&wallet).await;
    store.age("challenges", expired.id.parse().unwrap(), 3_600).await;
    add("an expired one", by_id(&expired, &wallet.sign_text(&expired.message)), "CHALLENGE_EXPIRED");
    let (session, device) = client.device_of(&wallet).await;
    let bound = device.challenge_for(&wallet).await;
    client.revoke_session(&session.id).await.unwrap();
    add("of a revoked session", by_id(&bound, &wallet.sign_text(&bound.message)), "SESSION_REVOKED");
    let (_, device) = client.device_of(&wallet).await;
    let (first, second) = (device.challenge_for(&wallet).await, device.challenge_for(&wallet).await);
    device.redeem(&wallet, &first).await.unwrap();
    let signature = wallet.sign_text(&second.message);
    add("of a session that is signed in", by_id(&second, &signature), "SESSION_ALREADY_ACTIVE");
    let (session, device) = client.device_of(&wallet).await;
    let late = device.challenge_for(&wallet).await;
    store.age("sessions", session.id.parse().unwrap(), 3_600).await;
    add("of an expired session", by_id(&late, &wallet.sign_text(&late.message)), "SESSION_EXPIRED");
    let anybodys = StartChallengeRequest { format: ChallengeFormat::Nonce.into(), ..Default::default() };
    let anybodys = client.start(anybodys).await.unwrap();
    let unlisted = format!("Pay me {}", anybodys.nonce);
    let unlisted = VerifyChallengeRequest {
        signature: wallet.sign_text(&unlisted),
        address: wallet.address().to_string(),
        message: unlisted,
        ..by_id(&anybodys, "")
    };
    add("an unlisted text", unlisted, "POLICY_DENIED");
    let listed = VerifyChallengeRequest {
        signature: wallet.sign_text(&format!("Hi {}", anybodys.nonce)),
        message: "Hi ".to_owned(),
        ..by_id(&anybodys, "")
    };
    add("nobody claims it", listed, "INVALID_REQUEST");
    cases
}

async fn each_refusal_of_verify_challenge_is_the_first_failed_check(store: &TestStore) {
    let server = Server::start(store).await;
    let policy = Policy {
        formats: vec![Format::Text, Format::Nonce],
        nonce_messages: vec!["Hi ".to_owned()],
        ..Policy::default()
    };
    let (client, stranger) = (server.client(policy.clone()).await, server.client(policy).await);
    for Case { what, request, reason: expected } in cases(store, &client, &stranger).await {
        let explained = client.explain(asked(&request)).await.unwrap();
        assert_eq!(first_failure(&explained).as_deref(), Some(expected), "{what}: {:?}", explained.checks);
        assert_eq!(reason(client.verify(request).await), expected, "{what}");
    }
}

async fn a_signature_of_solana_is_explained(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = SolanaPrivateKey::generate(countersign::token::random::bytes);
    let request = StartChallengeRequest {
        address: wallet.address().to_string(),
        network: "SOLANA".to_owned(),
        ..Default::default()
    };
    let challenge = client.start(request).await.unwrap();
    let signature = wallet.sign_text(&challenge.message);
    let answer = client.explain(asked(&by_id(&challenge, &signature))).await.unwrap();
    assert!(answer.accepted);
    assert_eq!(answer.signed_bytes_hex, format!("0x{}", hex::encode(&challenge.message)));
    assert_eq!((answer.digest_hex.as_str(), answer.recovered_address.as_str()), ("", ""));
    assert_eq!(answer.signature, signature);
    assert_eq!(answer.verification.unwrap().method(), VerificationMethod::Ed25519);
}

async fn only_a_client_may_ask(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let answer = client.create_session(session_for(&wallet)).await.unwrap();
    let device = client.with(&format!("Bearer {}", answer.session_token));
    let access = client.sign_in(&wallet).await.tokens.unwrap().access_token;
    for caller in [device, client.with(&format!("Bearer {access}")), client.with("")] {
        let outcome = caller.explain(v1::ExplainSignatureRequest::default()).await;
        assert_eq!(reason(outcome), "CREDENTIALS_MISSING");
    }
}
