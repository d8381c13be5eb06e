//! The real program's log holds what an auditor asks for, and no secret.

use countersign::grpc::v1::VerifyChallengeRequest;

use crate::{
    harness::{by_id, reason, wallet},
    process::{Process, run},
    support::TestStore,
};

on_both_stores![who_did_what_in_which_call_is_one_event_each];

/// The one event of a name whose line holds a text.
fn event(log: &str, name: &str, holds: &str) -> String {
    let marker = format!("event=\"{name}\"");
    let mut lines = log.lines().filter(|line| line.contains(&marker) && line.contains(holds));
    let line = lines.next().unwrap_or_else(|| panic!("no {name} with {holds}: {log}"));
    assert!(lines.next().is_none(), "{name} is there twice with {holds}");
    line.to_owned()
}

async fn who_did_what_in_which_call_is_one_event_each(store: &TestStore) {
    let process = Process::start(store);
    let made = run(&[
        "client",
        "create",
        "--name",
        "Shop",
        "--log-format",
        "text",
        "--output",
        "json",
        "--database-url",
        &store.url,
    ]);
    let said = String::from_utf8(made.stderr).unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let (id, secret) = (made["client_id"].as_str().unwrap(), made["client_secret"].as_str().unwrap());
    assert!(event(&said, "client.created", id).contains("realm="));
    let client = process.caller(made["authorization"].as_str().unwrap()).await;

    let wallet = wallet();
    let challenge = client.challenge_for(&wallet).await;
    let signature = wallet.sign_text(&challenge.message);
    let request =
        VerifyChallengeRequest { request_id: "audited".to_owned(), ..by_id(&challenge, &signature) };
    let answer = client.verify(request.clone()).await.unwrap();
    client.verify(request).await.unwrap();
    let (session, tokens) = (answer.session.unwrap(), answer.tokens.unwrap());
    let second = client.refresh(&tokens.refresh_token).await.unwrap();
    let third = client.refresh(&second.refresh_token).await.unwrap();
    assert_eq!(reason(client.refresh(&tokens.refresh_token).await), "REFRESH_TOKEN_REUSED");
    let other = client.sign_in(&wallet).await.session.unwrap();
    client.revoke_session(&other.id).await.unwrap();
    client.revoke_account_sessions(&other.account_id).await.unwrap();
    let log = process.logged_until("account.sessions_revoked").await;

    // The sign-in, and its answer once more.
    for repeated in ["repeated=false", "repeated=true"] {
        let own = log.lines().filter(|line| line.contains(&session.id)).collect::<Vec<_>>().join("\n");
        let line = event(&own, "session.signed_in", repeated);
        for told in ["request_id=", id, &session.account_id, wallet.address().as_str(), "method=\"EOA\""] {
            assert!(line.contains(told), "{told} is not in {line}");
        }
    }
    for (name, holds) in [
        ("refresh_token.reused", session.id.as_str()),
        ("session.revoked", &other.id),
        ("account.sessions_revoked", &session.account_id),
        ("call.refused", "REFRESH_TOKEN_REUSED"),
    ] {
        let line = event(&log, name, holds);
        assert!(line.contains("request_id="), "{line}");
        assert!(line.contains(id) || name == "call.refused", "{line}");
    }
    for secret in [secret, &tokens.access_token, &tokens.refresh_token, &third.refresh_token, &signature] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}
