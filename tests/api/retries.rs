//! VerifyChallenge with a `request_id`: a mesh that sends the same bytes again signs in once.

use std::{collections::HashSet, net::SocketAddr};

use countersign::{
    domain::Policy,
    grpc::v1::{VerifyChallengeRequest, VerifyChallengeResponse},
    wallet::evm::EvmPrivateKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tonic::{Code, Status};

use crate::{
    harness::{
        Caller, Server, by_address, by_id, crowds_turn, reason, refusal, retry_while_locked, session_for,
        start_for, wallet, wrong_field,
    },
    support::TestStore,
};

on_both_stores![
    the_same_request_is_answered_with_the_same_session_and_refresh_token,
    a_lost_answer_is_had_again_on_another_instance,
    many_blind_retries_at_once_sign_in_once,
    without_a_request_id_a_challenge_is_spent,
    another_request_is_refused,
    once_the_refresh_token_is_used_a_retry_is_refused,
    a_revoked_session_is_not_handed_out_again,
    a_device_retries_its_own_sign_in_and_nothing_else,
    a_look_up_by_address_finds_what_was_just_redeemed_and_spends_no_other,
    a_request_id_that_is_none_is_named_and_nothing_is_spent,
];

/// A signed request that can be retried.
async fn request(client: &Caller, wallet: &EvmPrivateKey) -> VerifyChallengeRequest {
    let challenge = client.challenge_for(wallet).await;
    let signature = wallet.sign_text(&challenge.message);
    VerifyChallengeRequest { request_id: "7d9c".to_owned(), ..by_id(&challenge, &signature) }
}

fn refresh_token(answer: &VerifyChallengeResponse) -> String {
    answer.tokens.clone().unwrap().refresh_token
}

async fn the_same_request_is_answered_with_the_same_session_and_refresh_token(store: &TestStore) {
    let (a, b) = (Server::start(store).await, Server::start(store).await);
    let client = a.client(Policy::default()).await;
    let request = request(&client, &wallet()).await;
    let first = client.verify(request.clone()).await.unwrap();
    // The same signature in other letters is the same.
    let digits = request.signature.trim_start_matches("0x").to_uppercase();
    let other_letters = VerifyChallengeRequest { signature: digits, ..request.clone() };
    for (caller, request) in [
        (&*client, request.clone()),
        (&b.caller(client.authorization()).await, request),
        (&*client, other_letters),
    ] {
        let again = caller.verify(request).await.unwrap();
        assert_eq!(
            (&again.session, &again.account, &again.verification),
            (&first.session, &first.account, &first.verification)
        );
        assert_eq!(refresh_token(&again), refresh_token(&first));
        let token = again.tokens.unwrap().access_token;
        assert!(client.introspect(&token).await.unwrap().active);
    }
    assert!(first.account.clone().unwrap().created);
    let next = client.refresh(&refresh_token(&first)).await.unwrap();
    client.refresh(&next.refresh_token).await.unwrap();
    assert_eq!(store.count("sessions", "account_id IS NOT NULL").await, 1);
}

/// Carries a connection to the server and back, until the server has answered `calls` requests: the last answer
/// is lost with the connection.
async fn lossy_wire(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(server).await.unwrap();
        let ((mut from_near, mut to_near), (mut from_far, mut to_far)) =
            (near.into_split(), far.into_split());
        let up = tokio::spawn(async move { tokio::io::copy(&mut from_near, &mut to_far).await });
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = from_far.read(&mut buffer).await.unwrap_or(0);
            // An answer carries tokens; what HTTP/2 says before is short.
            if count == 0 || count > 400 {
                break;
            }
            to_near.write_all(&buffer[..count]).await.unwrap();
        }
        up.abort();
    });
    address
}

async fn a_lost_answer_is_had_again_on_another_instance(store: &TestStore) {
    let (a, b) = (Server::start(store).await, Server::start(store).await);
    let client = a.client(Policy::default()).await;
    let wallet = wallet();
    let request = request(&client, &wallet).await;
    let lossy = Caller::connect(lossy_wire(a.grpc).await, client.authorization()).await;
    let lost = lossy.verify(request.clone()).await.unwrap_err();
    assert!(matches!(lost.code(), Code::Unavailable | Code::Unknown | Code::Internal), "{lost:?}");
    assert_eq!(
        store.count("sessions", "account_id IS NOT NULL").await,
        1,
        "it was redeemed, and nobody knows"
    );
    let again = b.caller(client.authorization()).await.verify(request).await.unwrap();
    assert_eq!(again.session.unwrap().signing_address, wallet.address().as_str());
    client.refresh(&again.tokens.unwrap().refresh_token).await.unwrap();
    assert_eq!(store.count("sessions", "account_id IS NOT NULL").await, 1);
}

async fn all_at_once(
    callers: &[Caller],
    request: &VerifyChallengeRequest,
) -> Vec<Result<VerifyChallengeResponse, Status>> {
    let mut calls = JoinSet::new();
    let _turn = crowds_turn().await;
    for at in 0..32 {
        let (caller, request) = (callers[at % callers.len()].clone(), request.clone());
        calls.spawn(async move { retry_while_locked(|| caller.verify(request.clone())).await });
    }
    calls.join_all().await
}

async fn many_blind_retries_at_once_sign_in_once(store: &TestStore) {
    let (a, b) = (Server::start(store).await, Server::start(store).await);
    let client = a.client(Policy::default()).await;
    let callers = [client.caller.clone(), b.caller(client.authorization()).await];
    let request = request(&client, &wallet()).await;
    let answers: Vec<_> = all_at_once(&callers, &request).await.into_iter().map(Result::unwrap).collect();
    let sessions: HashSet<_> = answers.iter().map(|answer| answer.session.clone().unwrap().id).collect();
    let tokens: HashSet<_> = answers.iter().map(refresh_token).collect();
    assert_eq!((sessions.len(), tokens.len()), (1, 1));
    assert_eq!(store.count("sessions", "account_id IS NOT NULL").await, 1);
}

async fn without_a_request_id_a_challenge_is_spent(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let request = VerifyChallengeRequest { request_id: String::new(), ..request(&client, &wallet()).await };
    let outcomes = all_at_once(std::slice::from_ref(&client.caller), &request).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for outcome in lost {
        assert_eq!(reason(outcome), "CHALLENGE_ALREADY_USED");
    }
    // Nor does an id help that comes later.
    let later = VerifyChallengeRequest { request_id: "7d9c".to_owned(), ..request };
    assert_eq!(reason(client.verify(later).await), "CHALLENGE_ALREADY_USED");
}

async fn another_request_is_refused(store: &TestStore) {
    let server = Server::start(store).await;
    let (client, other) = (server.client(Policy::default()).await, server.client(Policy::default()).await);
    let wallet = wallet();
    let request = request(&client, &wallet).await;
    client.verify(request.clone()).await.unwrap();
    let t = |text: &str| text.to_owned();
    for (request, expected) in [
        (VerifyChallengeRequest { request_id: t("7d9d"), ..request.clone() }, "CHALLENGE_ALREADY_USED"),
        (VerifyChallengeRequest { request_id: t(""), ..request.clone() }, "CHALLENGE_ALREADY_USED"),
        (
            VerifyChallengeRequest { address: wallet.address().to_string(), ..request.clone() },
            "CHALLENGE_ALREADY_USED",
        ),
        (
            VerifyChallengeRequest { signature: wallet.sign_text("another"), ..request.clone() },
            "CHALLENGE_ALREADY_USED",
        ),
    ] {
        assert_eq!(reason(client.verify(request).await), expected);
    }
    assert_eq!(reason(other.verify(request).await), "CHALLENGE_NOT_FOUND");
    assert_eq!(store.count("sessions", "account_id IS NOT NULL").await, 1);
}

async fn once_the_refresh_token_is_used_a_retry_is_refused(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let request = request(&client, &wallet()).await;
    let first = client.verify(request.clone()).await.unwrap();
    let next = client.refresh(&refresh_token(&first)).await.unwrap();
    assert_eq!(
        refusal(client.verify(request).await),
        (Code::FailedPrecondition, "CHALLENGE_ALREADY_USED".to_owned())
    );
    client.refresh(&next.refresh_token).await.unwrap();
}

async fn a_revoked_session_is_not_handed_out_again(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let request = request(&client, &wallet()).await;
    let first = client.verify(request.clone()).await.unwrap();
    client.revoke_session(&first.session.unwrap().id).await.unwrap();
    assert_eq!(reason(client.verify(request).await), "SESSION_REVOKED");
}

async fn a_device_retries_its_own_sign_in_and_nothing_else(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let (session, device) = client.device_of(&wallet).await;
    let challenge = device.start(start_for(&wallet)).await.unwrap();
    let signature = wallet.sign_text(&challenge.message);
    let request =
        VerifyChallengeRequest { request_id: "device-1".to_owned(), ..by_id(&challenge, &signature) };
    let first = device.verify(request.clone()).await.unwrap();
    assert_eq!(first.session.as_ref().unwrap().id, session.id);
    let again = device.verify(request.clone()).await.unwrap();
    assert_eq!((&again.session, refresh_token(&again)), (&first.session, refresh_token(&first)));
    // The client's back end did not send it, though it could have.
    assert_eq!(reason(client.verify(request).await), "CHALLENGE_ALREADY_USED");
    assert_eq!(reason(device.start(start_for(&wallet)).await), "SESSION_ALREADY_ACTIVE");
    // Nor does another device of the same wallet get the session.
    let other = client.create_session(session_for(&wallet)).await.unwrap();
    let other = client.with(&format!("Bearer {}", other.session_token));
    let stolen =
        VerifyChallengeRequest { request_id: "device-1".to_owned(), ..by_id(&challenge, &signature) };
    assert_eq!(reason(other.verify(stolen).await), "CHALLENGE_NOT_FOUND");
}

async fn a_look_up_by_address_finds_what_was_just_redeemed_and_spends_no_other(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let (_, signed, _) = (
        client.challenge_for(&wallet).await,
        client.challenge_for(&wallet).await,
        client.challenge_for(&wallet).await,
    );
    let signature = wallet.sign_text(&signed.message);
    let request =
        VerifyChallengeRequest { request_id: "by-address".to_owned(), ..by_address(&wallet, &signature) };
    let first = client.verify(request.clone()).await.unwrap();
    let again = client.verify(request).await.unwrap();
    assert_eq!(again.session, first.session);
    assert_eq!(store.count("challenges", "redeem_time IS NOT NULL").await, 1);
}

async fn a_request_id_that_is_none_is_named_and_nothing_is_spent(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let request = request(&client, &wallet()).await;
    for wrong in ["with space", "é", &"x".repeat(129)] {
        let wrong = VerifyChallengeRequest { request_id: wrong.to_owned(), ..request.clone() };
        let (reason, field) = wrong_field(client.verify(wrong).await);
        assert_eq!((reason.as_str(), field.as_str()), ("INVALID_REQUEST", "request_id"));
    }
    assert_eq!(store.count("challenges", "redeem_time IS NOT NULL").await, 0);
    client.verify(request).await.unwrap();
}
