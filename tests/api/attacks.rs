//! Attacks on a sign-in that no other file tries; docs/attacks.md has the list of all.

use countersign::{
    domain::{ChallengeFormat as Format, Policy},
    grpc::v1::{
        self, ChallengeFormat, CreateSessionRequest, ListSessionsRequest, StartChallengeRequest,
        VerifyChallengeRequest,
    },
    wallet::evm::EvmPrivateKey,
};
use tonic::Code;

use crate::{
    harness::{
        Caller, Server, TestClient, by_address, by_id, reason, refusal, session_for, wallet, wrong_field,
    },
    process::{Process, client_of},
    support::TestStore,
};

on_both_stores![
    a_nonce_that_was_never_issued_or_is_somebody_elses_signs_nobody_in,
    a_signature_that_breaks_a_rule_is_refused_whatever_it_recovers_to,
    the_zero_address_and_keys_of_small_order_sign_nobody_in,
    a_victim_does_not_finish_the_sign_in_of_another,
    a_text_of_another_site_is_not_a_text_and_a_nonce,
    garbage_that_recovers_to_somebody_signs_nobody_else_in,
    no_text_of_a_caller_reaches_a_statement_or_begins_a_line_of_the_log,
];

/// What the clients of these tests have their users sign.
const LISTED: &str = "Sign in to Shop\n\nCode: ";

async fn shop(server: &Server) -> TestClient {
    let policy = Policy {
        formats: vec![Format::Text, Format::Nonce],
        nonce_messages: vec![LISTED.to_owned()],
        ..Policy::default()
    };
    server.client(policy).await
}

async fn nonce_of(caller: &Caller) -> v1::Challenge {
    let format = ChallengeFormat::Nonce.into();
    caller.start(StartChallengeRequest { format, ..Default::default() }).await.unwrap()
}

/// A listed text with a nonce, signed by a wallet that claims its own address.
fn composed(wallet: &EvmPrivateKey, nonce: &str) -> VerifyChallengeRequest {
    let message = format!("{LISTED}{nonce}");
    VerifyChallengeRequest {
        nonce: nonce.to_owned(),
        signature: wallet.sign_text(&message),
        message,
        ..by_address(wallet, "")
    }
}

async fn nobody_is_signed_in(store: &TestStore) {
    let sessions = store.count("sessions", "authenticate_time IS NOT NULL").await;
    assert_eq!((sessions, store.count("accounts", "1 = 1").await), (0, 0));
    assert_eq!(store.count("challenges", "redeem_time IS NOT NULL").await, 0);
}

async fn a_nonce_that_was_never_issued_or_is_somebody_elses_signs_nobody_in(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, stranger) = (shop(&server).await, shop(&server).await);
    let (wallet, other) = (wallet(), wallet());
    let (_, device) = client.device_of(&wallet).await;
    let (_, other_device) = client.device_of(&wallet).await;
    let (of_client, of_device) = (nonce_of(&client).await, nonce_of(&device).await);
    for (caller, nonce) in [
        (&client.caller, "A".repeat(22)),
        (&client.caller, "1".to_owned()),
        (&stranger.caller, of_client.nonce.clone()),
        (&stranger.caller, of_device.nonce.clone()),
        (&device, of_client.nonce.clone()),
        (&other_device, of_device.nonce.clone()),
    ] {
        assert_eq!(reason(caller.verify(composed(&wallet, &nonce)).await), "CHALLENGE_NOT_FOUND");
    }
    let of_address = client.challenge_for(&wallet).await;
    let claimed_by_other = VerifyChallengeRequest {
        nonce: of_address.nonce.clone(),
        ..by_address(&other, &other.sign_text(&of_address.message))
    };
    assert_eq!(wrong_field(client.verify(claimed_by_other).await).1, "address");
    nobody_is_signed_in(store).await;
    client.redeem(&wallet, &of_address).await.unwrap();
    client.verify(composed(&other, &of_client.nonce)).await.unwrap();
    device.verify(composed(&wallet, &of_device.nonce)).await.unwrap();
}

async fn a_signature_that_breaks_a_rule_is_refused_whatever_it_recovers_to(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let challenge = client.challenge_for(&wallet).await;
    let good = hex::decode(&wallet.sign_text(&challenge.message)[2..]).unwrap();
    for wrong in broken(&good) {
        for request in [by_id(&challenge, &hex::encode(&wrong)), by_address(&wallet, &hex::encode(&wrong))] {
            let refused = wrong_field(client.verify(request).await);
            assert_eq!(refused, ("INVALID_SIGNATURE_ENCODING".into(), "signature".into()), "{wrong:02x?}");
        }
    }
    // 64 bytes are EIP-2098, whose top bit is the parity: without v, an odd signature is another's.
    let mut other_parity = good[..64].to_vec();
    other_parity[32] |= (28 - good[64]) << 7;
    let refused = client.verify(by_id(&challenge, &hex::encode(other_parity))).await;
    assert_eq!(reason(refused), "SIGNATURE_MISMATCH");
    nobody_is_signed_in(store).await;
    client.redeem(&wallet, &challenge).await.unwrap();
}

/// A good signature, r, s, v, with one rule broken in each; some libraries would recover the signer all the same.
fn broken(good: &[u8]) -> Vec<Vec<u8>> {
    let with = |from: usize, value: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[from..from + value.len()].copy_from_slice(value);
        bytes
    };
    let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
    let odd = good[64] - 27;
    // v as EIP-155 has it for a few chains, as Safe's contracts mark it, and beside the four that are legal.
    let mut wrong: Vec<Vec<u8>> =
        [2, 26, 29, 31 + odd, 35 + odd, 37 + odd, 54, 55, 82, 109, 255].map(|v| with(64, &[v])).into();
    let mut high = with(32, &minus(&order, &good[32..64]));
    high[64] = 55 - high[64];
    wrong.extend([with(0, &[0; 32]), with(32, &[0; 32]), with(0, &order), with(32, &order), high]);
    wrong.extend([good[..63].to_vec(), [good, &[0]].concat(), [good, good].concat()]);
    wrong
}

/// The difference of two numbers of 32 bytes, the first being the greater.
fn minus(from: &[u8], number: &[u8]) -> Vec<u8> {
    let mut difference = vec![0; 32];
    let mut borrow = 0;
    for at in (0..32).rev() {
        let digit = i16::from(from[at]) - i16::from(number[at]) - borrow;
        borrow = i16::from(digit < 0);
        difference[at] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    assert_eq!(borrow, 0);
    difference
}

async fn the_zero_address_and_keys_of_small_order_sign_nobody_in(store: &TestStore) {
    let server = Server::start(store).await;
    let client = shop(&server).await;
    let nonce = nonce_of(&client).await.nonce;
    let (zeros, message) = ("00".repeat(65), format!("{LISTED}{nonce}"));
    let zero = format!("0x{}", "0".repeat(40));
    let claim = |address: &str, network: &str, signature: &str| VerifyChallengeRequest {
        address: address.to_owned(),
        network: network.to_owned(),
        nonce: nonce.clone(),
        message: message.clone(),
        signature: signature.to_owned(),
        ..Default::default()
    };
    for address in [&zero, &zero[2..]] {
        let start = StartChallengeRequest { address: address.to_owned(), ..Default::default() };
        assert_eq!(wrong_field(client.start(start).await).1, "address");
        let session = CreateSessionRequest { signing_address: address.to_owned(), ..session_for(&wallet()) };
        assert_eq!(wrong_field(client.create_session(session).await).1, "signing_address");
        assert_eq!(wrong_field(client.verify(claim(address, "", &zeros)).await).1, "address");
    }
    // Where reserved addresses stood for contracts, one of them would echo what it is asked (0x..04).
    for reserved in 1..=10 {
        let refused = client.verify(claim(&format!("0x{reserved:040x}"), "", &zeros)).await;
        assert_eq!(wrong_field(refused).0, "INVALID_SIGNATURE_ENCODING");
    }
    // For the key of order 1, R of order 1 and S = 0 is a signature of everything, by the equation alone.
    let identity = [&[1][..], &[0; 31]].concat();
    let signature = hex::encode([identity.as_slice(), &[0; 32]].concat());
    let address = bs58::encode(&identity).into_string();
    assert_eq!(reason(client.verify(claim(&address, "SOLANA", &signature)).await), "SIGNATURE_MISMATCH");
    nobody_is_signed_in(store).await;
}

/// Login CSRF: the attacker's session waits, and the victim signs what it was handed out.
async fn a_victim_does_not_finish_the_sign_in_of_another(store: &TestStore) {
    let server = Server::start(store).await;
    let client = shop(&server).await;
    let (attacker, victim) = (wallet(), wallet());
    let (session, device) = client.device_of(&attacker).await;
    let challenge = nonce_of(&device).await;
    // By the attacker's own device, and by the client's backend on which the victim was made to end up.
    for caller in [&device, &client.caller] {
        let claimed = composed(&victim, &challenge.nonce);
        assert_eq!(wrong_field(caller.verify(claimed.clone()).await).1, "address");
        let unclaimed = VerifyChallengeRequest { address: String::new(), ..claimed };
        assert_eq!(reason(caller.verify(unclaimed).await), "SIGNATURE_MISMATCH");
    }
    let text = device.start(Default::default()).await.unwrap();
    let signed = victim.sign_text(&text.message);
    assert_eq!(reason(device.verify(by_id(&text, &signed)).await), "SIGNATURE_MISMATCH");
    assert_eq!(reason(device.verify(by_address(&victim, &signed)).await), "CHALLENGE_NOT_FOUND");
    // A session token redeems no challenge that the client handed out to the victim.
    let of_victim = client.challenge_for(&victim).await;
    assert_eq!(reason(device.redeem(&victim, &of_victim).await), "CHALLENGE_NOT_FOUND");
    nobody_is_signed_in(store).await;
    let answer = device.verify(composed(&attacker, &challenge.nonce)).await.unwrap();
    let active = answer.session.unwrap();
    assert_eq!((active.id, active.state), (session.id, i32::from(v1::SessionState::Active)));
}

async fn a_text_of_another_site_is_not_a_text_and_a_nonce(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let challenge = nonce_of(&client).await;
    let (nonce, address) = (&challenge.nonce, wallet.address());
    let phrase = "wants you to sign in with your Ethereum account:";
    let fields = format!("Version: 1\nChain ID: 1\nNonce: {nonce}\nIssued At: 2026-01-01T00:00:00Z");
    let whole = format!("evil.example {phrase}\n{address}\n\n\nURI: https://evil.example\n{fields}");
    for (text, expected) in [
        (whole.clone(), "POLICY_DENIED"),
        (whole.replace("Version: 1\n", ""), "INVALID_MESSAGE"),
        (whole.replace('\n', "\r\n"), "INVALID_MESSAGE"),
        (format!("{LISTED}{whole}"), "INVALID_MESSAGE"),
        (format!("evil.example {phrase} {nonce}"), "INVALID_MESSAGE"),
        // Not the phrase to the letter, so no sign-in text; and no listed one either.
        (whole.replace("wants you", "Wants you"), "POLICY_DENIED"),
        (whole.replace("wants you", "wаnts you"), "POLICY_DENIED"),
        (format!("Sign in to Evil\n\nCode: {nonce}"), "POLICY_DENIED"),
        (format!("{LISTED}{nonce} "), "POLICY_DENIED"),
        (format!(" {LISTED}{nonce}"), "POLICY_DENIED"),
        (format!("{LISTED}\n{nonce}"), "POLICY_DENIED"),
        (nonce.clone(), "POLICY_DENIED"),
    ] {
        let request = VerifyChallengeRequest {
            signature: wallet.sign_text(&text),
            message: text.clone(),
            ..composed(&wallet, nonce)
        };
        assert_eq!(reason(client.verify(request).await), expected, "{text}");
    }
    nobody_is_signed_in(store).await;
    client.verify(composed(&wallet, nonce)).await.unwrap();
}

async fn garbage_that_recovers_to_somebody_signs_nobody_else_in(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, wallet) = (shop(&server).await, wallet());
    let (challenge, nonce) = (client.challenge_for(&wallet).await, nonce_of(&client).await);
    for byte in 1..=40 {
        // Half of all r are on the curve; s is low, v is legal.
        let garbage = hex::encode([[byte; 64].as_slice(), &[27]].concat());
        let of_text = client.verify(by_id(&challenge, &garbage)).await;
        assert_eq!(reason(of_text), "SIGNATURE_MISMATCH");
        let of_nonce = VerifyChallengeRequest { signature: garbage, ..composed(&wallet, &nonce.nonce) };
        assert_eq!(reason(client.verify(of_nonce.clone()).await), "SIGNATURE_MISMATCH");
        let unclaimed = VerifyChallengeRequest { address: String::new(), ..of_nonce };
        assert_eq!(wrong_field(client.verify(unclaimed).await).1, "address");
    }
    nobody_is_signed_in(store).await;
}

const INJECTIONS: [&str; 6] = [
    "'; DROP TABLE challenges; --",
    "\" OR \"\"=\"",
    "\\'; DELETE FROM sessions; --",
    "$1",
    "x\n2026-01-01T00:00:00Z ERROR forged line",
    "x\r\u{1b}[2K\u{2028}forged line",
];

async fn no_text_of_a_caller_reaches_a_statement_or_begins_a_line_of_the_log(store: &TestStore) {
    let process = Process::start(store);
    let client = process.caller(&client_of(store)).await;
    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    let (session, _) = client.device_of(&wallet).await;
    let signature = wallet.sign_text(&challenge.message);
    for text in INJECTIONS {
        every_text_is(&client, &by_id(&challenge, &signature), text).await;
    }
    assert_eq!(store.count("challenges", "1 = 1").await, 1);
    assert_eq!(store.count("sessions", "1 = 1").await, 1);
    assert_eq!(client.get_session(&session.id).await.unwrap().id, session.id);
    client.redeem(&wallet, &challenge).await.unwrap();
    client.jwks().await.unwrap();
    let log = process.logged_until("GetJwks").await;
    let begins = |line: &&str| line.trim_start().starts_with("forged") || line.contains("Z ERROR forged");
    let forged: Vec<&str> = log.lines().filter(begins).collect();
    assert!(forged.is_empty() && !log.contains("\u{1b}[2K"), "{forged:?}");
}

/// Puts a text into each field of each request, one at a time: refused as the caller's mistake, never INTERNAL.
async fn every_text_is(client: &Caller, good: &VerifyChallengeRequest, text: &str) {
    let t = || text.to_owned();
    let verify = [
        VerifyChallengeRequest { challenge_id: t(), ..good.clone() },
        VerifyChallengeRequest { nonce: t(), ..good.clone() },
        VerifyChallengeRequest { address: t(), ..good.clone() },
        VerifyChallengeRequest { network: t(), ..good.clone() },
        VerifyChallengeRequest { message: t(), ..good.clone() },
        VerifyChallengeRequest { signature: t(), ..good.clone() },
    ];
    for request in verify {
        refused_as_a_mistake(client.verify(request).await);
    }
    let start = [
        StartChallengeRequest { address: t(), ..Default::default() },
        StartChallengeRequest { network: t(), ..Default::default() },
        StartChallengeRequest { domain: t(), ..Default::default() },
        StartChallengeRequest { uri: t(), ..Default::default() },
        StartChallengeRequest { statement: t(), ..Default::default() },
        StartChallengeRequest { resources: vec![t()], ..Default::default() },
        StartChallengeRequest { request_id: t(), ..Default::default() },
    ];
    for request in start {
        refused_as_a_mistake(client.start(request).await);
    }
    let create = CreateSessionRequest { signing_address: t(), ..session_for(&wallet()) };
    refused_as_a_mistake(client.create_session(create).await);
    let list = ListSessionsRequest { account_id: t(), ..Default::default() };
    refused_as_a_mistake(client.list_sessions(list).await);
    let list = ListSessionsRequest {
        address: wallet().address().to_string(),
        page_token: t(),
        ..Default::default()
    };
    refused_as_a_mistake(client.list_sessions(list).await);
    refused_as_a_mistake(client.get_session(text).await);
    refused_as_a_mistake(client.revoke_session(text).await);
    refused_as_a_mistake(client.revoke_account_sessions(text).await);
    refused_as_a_mistake(client.refresh(text).await);
    client.revoke_token(text).await.unwrap();
}

#[track_caller]
fn refused_as_a_mistake<T: std::fmt::Debug>(outcome: Result<T, tonic::Status>) {
    let (code, reason) = refusal(outcome);
    let mistakes = [Code::InvalidArgument, Code::Unauthenticated, Code::NotFound, Code::PermissionDenied];
    assert!(mistakes.contains(&code), "{code:?} {reason}");
}
