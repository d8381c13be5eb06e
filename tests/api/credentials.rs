//! Who may call what, and what the others are told.

use std::time::Duration;

use countersign::{
    domain::{Policy, Role},
    token::{RootKeys, SessionToken},
};
use tonic::Code;

use crate::{
    harness::{Caller, Server, basic, reason, refusal, session_for, start_for, wallet},
    support::{TestStore, until_awaited},
};

on_both_stores![
    an_unknown_client_and_a_wrong_secret_are_answered_the_same,
    a_call_without_credentials_says_what_it_takes,
    a_call_takes_only_the_credentials_it_is_for,
    a_client_needs_the_role_to_sign_users_in,
    a_disabled_client_is_refused_and_served_again_once_enabled,
    garbage_in_the_authorization_is_refused_and_never_an_internal_error,
    an_invented_session_token_is_rejected_without_a_query,
    a_session_token_without_a_mac_is_accepted_while_such_a_session_exists,
];

async fn an_unknown_client_and_a_wrong_secret_are_answered_the_same(store: &TestStore) {
    let server = Server::start(store).await;
    let (one, two) = (server.client(Policy::default()).await, server.client(Policy::default()).await);
    let secret_of = |authorization: &str| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let decoded = STANDARD.decode(authorization.strip_prefix("Basic ").unwrap()).unwrap();
        String::from_utf8(decoded).unwrap().split_once(':').unwrap().1.to_owned()
    };
    let other_secret = secret_of(two.authorization());
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    let answers = [
        basic(&one.client.id.to_string(), &other_secret),
        basic(nobody, &other_secret),
        basic(nobody, "ccs_mistyped"),
        basic("no uuid", "no secret"),
        basic("", ""),
    ]
    .map(|authorization| one.with(&authorization));
    for caller in answers {
        let status = caller.start(start_for(&wallet())).await.unwrap_err();
        assert_eq!(
            status.message(),
            "the client id or the client secret is wrong (`Basic` takes base64 of id:secret)"
        );
        assert_eq!(
            refusal::<()>(Err(status)),
            (Code::Unauthenticated, "CLIENT_CREDENTIALS_INVALID".to_owned())
        );
    }
}

async fn a_call_without_credentials_says_what_it_takes(store: &TestStore) {
    let server = Server::start(store).await;
    let nobody = server.caller("").await;
    let missing = (Code::Unauthenticated, "CREDENTIALS_MISSING".to_owned());
    assert_eq!(refusal(nobody.create_session(session_for(&wallet())).await), missing);
    assert_eq!(refusal(nobody.start(start_for(&wallet())).await), missing);
    assert_eq!(refusal(nobody.introspect("x").await), missing);
    assert!(!nobody.jwks().await.unwrap().is_empty(), "the keys are for everybody");
}

async fn a_call_takes_only_the_credentials_it_is_for(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (session, device) = client.device_of(&wallet()).await;
    let tokens = client.sign_in(&wallet()).await.tokens.unwrap();
    let user = client.with(&format!("Bearer {}", tokens.access_token));
    let missing = "CREDENTIALS_MISSING";
    for caller in [&device, &user] {
        assert_eq!(reason(caller.create_session(session_for(&wallet())).await), missing);
        assert_eq!(reason(caller.introspect("x").await), missing);
        assert_eq!(reason(caller.list_sessions(Default::default()).await), missing);
        assert_eq!(reason(caller.list_clients(0, "").await), missing);
    }
    for caller in [&device, &client] {
        assert_eq!(reason(caller.link_wallet(Default::default()).await), missing);
        assert_eq!(reason(caller.unlink_wallet("", "").await), missing);
    }
    assert_eq!(reason(user.verify(Default::default()).await), missing);
    assert_eq!(reason(device.get_account(&session.id).await), missing);
    assert_eq!(reason(device.revoke_session(&session.id).await), missing);
    assert_eq!(reason(device.revoke_account_sessions(&session.id).await), missing);
}

async fn a_client_needs_the_role_to_sign_users_in(store: &TestStore) {
    let server = Server::start(store).await;
    let gateway = server.client(Policy { roles: vec![Role::Introspect], ..Policy::default() }).await;
    let lacking = (Code::PermissionDenied, "ROLE_REQUIRED".to_owned());
    assert_eq!(refusal(gateway.create_session(session_for(&wallet())).await), lacking);
    assert_eq!(refusal(gateway.start(start_for(&wallet())).await), lacking);
    assert_eq!(refusal(gateway.verify(crate::harness::by_address(&wallet(), "00")).await), lacking);
}

async fn a_disabled_client_is_refused_and_served_again_once_enabled(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let tokens = client.sign_in(&wallet()).await.tokens.unwrap();
    let (_, device) = client.device_of(&wallet()).await;
    let user = client.with(&format!("Bearer {}", tokens.access_token));
    let session_id = crate::harness::claims(&tokens.access_token)["sid"].as_str().unwrap().to_owned();

    set_disabled(store, true).await;
    // Another instance sees it at once; this one has remembered the client for half a second at most.
    let other = Server::start(store).await;
    let disabled = (Code::PermissionDenied, "CLIENT_DISABLED".to_owned());
    let at_other = |caller: &crate::harness::Caller| caller.authorization().to_owned();
    for authorization in [at_other(&client), at_other(&device)] {
        let caller = other.caller(&authorization).await;
        assert_eq!(refusal(caller.start(Default::default()).await), disabled);
    }
    let caller = other.caller(user.authorization()).await;
    assert_eq!(refusal(caller.get_session(&session_id).await), disabled);
    assert_eq!(refusal(caller.with("").refresh(&tokens.refresh_token).await), disabled);

    set_disabled(store, false).await;
    let third = Server::start(store).await;
    third.caller("").await.refresh(&tokens.refresh_token).await.unwrap();
}

async fn set_disabled(store: &TestStore, disabled: bool) {
    let statement = if store.is_postgres() {
        format!("UPDATE clients SET policy = jsonb_set(policy, '{{disabled}}', '{disabled}')")
    } else {
        format!("UPDATE clients SET policy = json_set(policy, '$.disabled', json('{disabled}'))")
    };
    store.execute(&statement).await;
}

async fn garbage_in_the_authorization_is_refused_and_never_an_internal_error(store: &TestStore) {
    let server = Server::start(store).await;
    let caller = server.caller("").await;
    for (authorization, expected) in [
        ("Bearer cst_", "SESSION_TOKEN_INVALID"),
        ("Bearer cst_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "SESSION_TOKEN_INVALID"),
        ("Bearer cst_' OR 1=1 --", "SESSION_TOKEN_INVALID"),
        ("Bearer crt_AAAA", "ACCESS_TOKEN_INVALID"),
        ("Bearer a.b.c", "ACCESS_TOKEN_INVALID"),
        ("JWT eyJhbGciOiJub25lIn0.e30.", "ACCESS_TOKEN_INVALID"),
        ("Digest x", "CREDENTIALS_MISSING"),
        ("Basic x", "CLIENT_CREDENTIALS_INVALID"),
        ("Bearer", "CREDENTIALS_MISSING"),
    ] {
        assert_eq!(
            reason(caller.with(authorization).start(Default::default()).await),
            expected,
            "{authorization}"
        );
    }
}

/// A session token in the form of an earlier version: it has no MAC of the service's root keys.
fn unmarked_token() -> SessionToken {
    SessionToken::generate(&RootKeys::parse(RootKeys::new_key().expose()).unwrap())
}

fn bearer(token: SessionToken) -> String {
    format!("Bearer {}", token.into_exposed())
}

/// The reason for which a call is rejected while every query of a session fails.
async fn reason_without_sessions(store: &TestStore, caller: &Caller, session_id: &str) -> String {
    store.execute("ALTER TABLE sessions RENAME TO sessions_elsewhere").await;
    let answer = caller.get_session(session_id).await;
    store.execute("ALTER TABLE sessions_elsewhere RENAME TO sessions").await;
    reason(answer)
}

async fn an_invented_session_token_is_rejected_without_a_query(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (session, device) = client.device_of(&wallet()).await;
    assert_eq!(reason_without_sessions(store, &device, &session.id).await, "INTERNAL");
    for _ in 0..3 {
        let invented = client.with(&bearer(unmarked_token()));
        let without_sessions = reason_without_sessions(store, &invented, &session.id).await;
        assert_eq!(without_sessions, "OVERLOADED", "whether such tokens exist is not known");
        assert_eq!(reason(invented.get_session(&session.id).await), "SESSION_TOKEN_INVALID");
    }
    device.get_session(&session.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invented_session_token_does_not_wait_for_a_lock_that_a_genuine_one_waits_for() {
    let store = TestStore::postgres().await;
    let server = Server::start(&store).await;
    let client = server.client(Policy::default()).await;
    let (session, device) = client.device_of(&wallet()).await;
    let mut holder = store.hold_sessions().await;
    let id = session.id.clone();
    let genuine = tokio::spawn(async move { device.get_session(&id).await });
    until_awaited(&mut holder).await;
    for _ in 0..3 {
        let invented = client.with(&bearer(unmarked_token()));
        assert_eq!(reason(invented.get_session(&session.id).await), "OVERLOADED");
    }
    assert!(!genuine.is_finished());
    drop(holder);
    genuine.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_of_what_is_not_the_callers_are_rejected_without_a_query() {
    let store = TestStore::postgres().await;
    let server = Server::start(&store).await;
    let (client, other) = (server.client(Policy::default()).await, server.client(Policy::default()).await);
    let (user, signed_in) = client.user(&wallet()).await;
    let (session, tokens) = (signed_in.session.unwrap(), signed_in.tokens.unwrap());
    let mut holder = store.hold_sessions().await;
    let log_out = tokio::spawn(async move { user.revoke_session(&session.id).await });
    until_awaited(&mut holder).await;
    let thief = client.with(&format!("Bearer {}", tokens.access_token));
    let foreign = countersign::domain::SessionId::generate().to_string();
    assert_eq!(reason(thief.revoke_session(&foreign).await), "SESSION_NOT_FOUND");
    assert_eq!(reason(thief.revoke_account_sessions(&foreign).await), "ACCOUNT_NOT_FOUND");
    assert_eq!(reason(other.revoke_token(&tokens.access_token).await), "ACCESS_TOKEN_INVALID");
    assert!(!log_out.is_finished());
    drop(holder);
    log_out.await.unwrap().unwrap();
}

async fn a_session_token_without_a_mac_is_accepted_while_such_a_session_exists(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let (session, _) = client.device_of(&wallet).await;
    let token = unmarked_token();
    // As an earlier version writes it.
    let hash = hex::encode(token.hash());
    let hash = if store.is_postgres() { format!(r"'\x{hash}'") } else { format!("x'{hash}'") };
    store.execute(&format!("UPDATE sessions SET token_hash = {hash}, token_fingerprint = NULL")).await;
    let device = client.with(&bearer(token));
    let challenge = device.challenge_for(&wallet).await;
    device.redeem(&wallet, &challenge).await.unwrap();
    let invented = client.with(&bearer(unmarked_token()));
    assert_eq!(reason(invented.get_session(&session.id).await), "SESSION_TOKEN_INVALID");
    assert_eq!(reason_without_sessions(store, &invented, &session.id).await, "INTERNAL");

    store.execute("DELETE FROM sessions").await;
    for _ in 0..1_000 {
        // It is not looked up: the question whether such tokens exist has no answer.
        if reason_without_sessions(store, &invented, &session.id).await == "OVERLOADED" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("invented tokens are looked up for ever");
}
