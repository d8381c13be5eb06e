//! RefreshToken: one line of generations, never a fork.

use std::time::Duration;

use countersign::{domain::Policy, grpc::v1::RevokeReason};
use tokio::task::JoinSet;

use crate::{
    harness::{
        Caller, Server, claims, crowds_turn, reason, retry_while_locked, root_keys_file, wallet, wrong_field,
    },
    support::TestStore,
};

on_both_stores![
    each_refresh_gives_a_new_pair,
    a_retry_within_the_grace_gets_the_same_successor,
    sixty_four_at_once_get_one_successor_and_one_step,
    an_older_token_is_theft_and_the_session_stays_revoked,
    a_retry_after_the_grace_is_theft,
    an_idle_token_and_an_old_session_expire,
    client_credentials_must_be_the_sessions_and_may_be_demanded,
    a_stale_access_token_beside_it_is_ignored,
    forged_foreign_and_other_tokens_are_refused,
    an_access_token_never_outlives_its_session,
    refresh_against_revoke_leaves_no_live_token,
];

/// A session's id and its first refresh token.
async fn signed_in(client: &Caller) -> (uuid::Uuid, String) {
    let answer = client.sign_in(&wallet()).await;
    (answer.session.unwrap().id.parse().unwrap(), answer.tokens.unwrap().refresh_token)
}

async fn each_refresh_gives_a_new_pair(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let answer = client.sign_in(&wallet()).await;
    let nobody = client.with("");
    let mut pair = answer.tokens.unwrap();
    for _ in 0..5 {
        let next = nobody.refresh(&pair.refresh_token).await.unwrap();
        assert_ne!(next.refresh_token, pair.refresh_token);
        assert_ne!(next.access_token, pair.access_token);
        let (before, after) = (claims(&pair.access_token), claims(&next.access_token));
        for kept in ["sid", "sub", "auth_time", "address", "client_id", "aud"] {
            assert_eq!(before[kept], after[kept]);
        }
        assert_ne!(before["jti"], after["jti"]);
        pair = next;
    }
    assert_eq!(store.count("sessions", "refresh_generation = 6").await, 1);
}

async fn a_retry_within_the_grace_gets_the_same_successor(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy { refresh_grace: Duration::from_mins(10), ..Policy::default() }).await;
    let (session, first) = signed_in(&client).await;
    let second = client.refresh(&first).await.unwrap().refresh_token;
    store.age("sessions", session, 500).await;
    for _ in 0..3 {
        assert_eq!(client.refresh(&first).await.unwrap().refresh_token, second);
    }
    client.refresh(&second).await.unwrap();
}

async fn sixty_four_at_once_get_one_successor_and_one_step(store: &TestStore) {
    let (one, two) = (Server::start(store).await, Server::start(store).await);
    let client = one.client(Policy::default()).await;
    let elsewhere = two.caller(client.authorization()).await;
    let (_, first) = signed_in(&client).await;
    let mut tasks = JoinSet::new();
    let _turn = crowds_turn().await;
    for number in 0..64 {
        let caller = if number % 2 == 0 { client.caller.clone() } else { elsewhere.clone() };
        let first = first.clone();
        tasks
            .spawn(async move { retry_while_locked(|| caller.refresh(&first)).await.unwrap().refresh_token });
    }
    let mut successors = tasks.join_all().await;
    successors.dedup();
    assert_eq!(successors.len(), 1);
    assert_eq!(store.count("sessions", "refresh_generation = 2").await, 1);
    client.refresh(&successors[0]).await.unwrap();
}

async fn an_older_token_is_theft_and_the_session_stays_revoked(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (session, first) = signed_in(&client).await;
    let second = client.refresh(&first).await.unwrap().refresh_token;
    let third = client.refresh(&second).await.unwrap();
    assert_eq!(reason(client.refresh(&first).await), "REFRESH_TOKEN_REUSED");
    for token in [&first, &second, &third.refresh_token] {
        assert_eq!(reason(client.refresh(token).await), "SESSION_REVOKED");
    }
    let session = client.get_session(&session.to_string()).await.unwrap();
    assert_eq!(session.revoke_reason(), RevokeReason::RefreshTokenReused);
    assert!(!client.introspect(&third.access_token).await.unwrap().active);
}

async fn a_retry_after_the_grace_is_theft(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (session, first) = signed_in(&client).await;
    let second = client.refresh(&first).await.unwrap().refresh_token;
    store.age("sessions", session, 31).await;
    assert_eq!(reason(client.refresh(&first).await), "REFRESH_TOKEN_REUSED");
    assert_eq!(reason(client.refresh(&second).await), "SESSION_REVOKED");
}

async fn an_idle_token_and_an_old_session_expire(store: &TestStore) {
    const DAY: i64 = 24 * 3_600;
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (idle, token) = signed_in(&client).await;
    store.age("sessions", idle, 14 * DAY).await;
    assert_eq!(reason(client.refresh(&token).await), "REFRESH_TOKEN_EXPIRED");

    let (old, mut token) = signed_in(&client).await;
    for _ in 0..6 {
        store.age("sessions", old, 13 * DAY).await;
        token = client.refresh(&token).await.unwrap().refresh_token;
    }
    // 78 days have gone by; 12 are left of the 90, however often it is refreshed.
    store.age("sessions", old, 12 * DAY).await;
    assert_eq!(reason(client.refresh(&token).await), "REFRESH_TOKEN_EXPIRED");
}

async fn client_credentials_must_be_the_sessions_and_may_be_demanded(store: &TestStore) {
    let server = Server::start(store).await;
    let strict = server.client(Policy { refresh_requires_client: true, ..Policy::default() }).await;
    let stranger = server.client(Policy::default()).await;
    let (_, first) = signed_in(&strict).await;
    assert_eq!(reason(strict.with("").refresh(&first).await), "CREDENTIALS_MISSING");
    assert_eq!(reason(strict.with("").revoke_token(&first).await), "CREDENTIALS_MISSING");
    assert_eq!(reason(stranger.refresh(&first).await), "REFRESH_TOKEN_INVALID");
    assert_eq!(reason(stranger.revoke_token(&first).await), "REFRESH_TOKEN_INVALID");
    let nobody = strict.with("Basic bm9ib2R5Om5vdGhpbmc=");
    assert_eq!(reason(nobody.refresh(&first).await), "CLIENT_CREDENTIALS_INVALID");
    assert_eq!(store.count("sessions", "refresh_generation = 1 AND revoke_time IS NULL").await, 1);
    strict.refresh(&first).await.unwrap();
}

async fn a_stale_access_token_beside_it_is_ignored(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let (_, mut token) = signed_in(&client).await;
    for stale in ["JWT stale", "Bearer x.y.z", "Bearer cst_x", "Digest x"] {
        token = client.with(stale).refresh(&token).await.unwrap().refresh_token;
    }
}

async fn forged_foreign_and_other_tokens_are_refused(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let answer = client.sign_in(&wallet()).await;
    let tokens = answer.tokens.unwrap();
    let token = &tokens.refresh_token;
    let mut forged = token.clone().into_bytes();
    forged[30] = if forged[30] == b'A' { b'B' } else { b'A' };
    let elsewhere = crate::support::TestStore::sqlite().await;
    // Keys of its own.
    root_keys_file(&elsewhere);
    let other = Server::start(&elsewhere).await;
    let other_client = other.client(Policy::default()).await;
    let (_, foreign) = signed_in(&other_client).await;
    for wrong in [
        String::from_utf8(forged).unwrap(),
        token[..80].to_owned(),
        format!("{token}A"),
        foreign,
        tokens.access_token.clone(),
        "x".to_owned(),
    ] {
        assert_eq!(reason(client.refresh(&wrong).await), "REFRESH_TOKEN_INVALID", "{wrong}");
    }
    assert_eq!(wrong_field(client.refresh("").await).1, "refresh_token");
    let as_access = client.with(&format!("Bearer {token}"));
    assert_eq!(reason(as_access.get_session(&answer.session.unwrap().id).await), "ACCESS_TOKEN_INVALID");
    client.refresh(token).await.unwrap();
}

async fn an_access_token_never_outlives_its_session(store: &TestStore) {
    let server = Server::start(store).await;
    let policy = Policy {
        session_max_ttl: Duration::from_mins(10),
        access_token_ttl: Duration::from_mins(30),
        ..Policy::default()
    };
    let client = server.client(policy).await;
    let answer = client.sign_in(&wallet()).await;
    let hard_end = answer.session.as_ref().unwrap().expire_time.unwrap().seconds;
    let claims = claims(&answer.tokens.unwrap().access_token);
    assert_eq!(claims["exp"].as_i64().unwrap(), hard_end);
}

async fn refresh_against_revoke_leaves_no_live_token(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    for _ in 0..60 {
        let (session, first) = signed_in(&client).await;
        let (refresher, revoker) = (client.caller.clone(), client.caller.clone());
        let id = session.to_string();
        let refreshed = tokio::spawn(async move { refresher.refresh(&first).await });
        let revoked = tokio::spawn(async move { revoker.revoke_session(&id).await });
        revoked.await.unwrap().unwrap();
        if let Ok(pair) = refreshed.await.unwrap() {
            assert_eq!(reason(client.refresh(&pair.refresh_token).await), "SESSION_REVOKED");
            assert!(!client.introspect(&pair.access_token).await.unwrap().active);
        }
    }
}
