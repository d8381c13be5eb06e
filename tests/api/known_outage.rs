//! A store that is known to be down, or only busy: which calls are rejected, and which are served.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt as _;

use crate::{
    harness::{Caller, GIVE_UP, by_id, http_get, reason, start_for, wallet},
    outage::{Wire, answered_again, assert_unavailable, health_of, health_turns, wired},
    process::{Process, client_of},
    support::{TestStore, assert_promised},
};

/// One permit for callers.
const FEW_CONNECTIONS: [&str; 2] = ["--database-connections", "3"];

/// A server process whose PostgreSQL is reached over a wire, a client's `authorization`, and the wire.
async fn process_on_a_wire(flags: &[&str]) -> (TestStore, Process, Caller, Wire) {
    let mut store = TestStore::postgres().await;
    let (url, wire) = wired(&store).await;
    store.url = url;
    let process = Process::start_with(&store, flags);
    let caller = process.caller(&client_of(&store)).await;
    (store, process, caller, wire)
}

/// Refreshes at once, many times: each must find the store unavailable.
async fn all_find_it_unavailable(caller: &Caller, refresh_tokens: &[String]) {
    let mut calls = JoinSet::new();
    for token in refresh_tokens {
        let (caller, token) = (caller.with(""), token.clone());
        calls.spawn(async move { caller.refresh(&token).await });
    }
    while let Some(answer) = calls.join_next().await {
        assert_unavailable(answer.unwrap().unwrap_err());
    }
}

/// Calls that each fail at once, with a time to come back.
async fn rejected_at_once(caller: &Caller, refresh_token: &str, calls: u32) {
    let (began, bound) = (Instant::now(), Duration::from_millis(100));
    for _ in 0..calls {
        assert!(began.elapsed() < 10 * calls * bound, "calls in a known outage wait");
        let status = caller.refresh(refresh_token).await.unwrap_err();
        let pause = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!((500..=1_500).contains(&pause.as_millis()), "{pause:?}");
        assert_unavailable(status);
    }
    assert_promised("a call in a known outage is rejected", began.elapsed() / calls, bound);
}

/// Backends that wait for a lock.
async fn waiting(store: &TestStore) -> i64 {
    store
        .count(
            "pg_locks",
            "NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await
}

mod on_postgres {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_in_a_known_outage_are_rejected_at_once_within_a_second() {
        let (_store, process, caller, wire) = process_on_a_wire(&FEW_CONNECTIONS).await;
        let mut tokens = Vec::new();
        for _ in 0..4 {
            tokens.push(caller.sign_in(&wallet()).await.tokens.unwrap().refresh_token);
        }
        // Connections that stop responding, that are cut, and that are lost silently.
        for (outage, begin) in [Wire::block as fn(&Wire), Wire::cut, Wire::lose].into_iter().enumerate() {
            let before = process.log();
            let mut attempts = wire.vain_attempts();
            begin(&wire);
            // The probe had no answer and retries over a new connection.
            attempts.changed().await.unwrap();
            // One call has the permit, the others wait; none may be reported as OVERLOADED.
            all_find_it_unavailable(&caller, &tokens).await;
            health_turns(process.grpc, ServingStatus::NotServing).await;
            rejected_at_once(&caller.with(""), &tokens[0], 100).await;
            assert_eq!(caller.jwks().await.unwrap().len(), 6, "what needs no store goes on");
            let (head, _) = http_get(process.operations, "/readyz").await;
            assert!(head.starts_with("http/1.1 200"), "{head}");

            wire.mend();
            for token in &tokens {
                answered_again(&caller.with(""), token).await;
            }
            health_turns(process.grpc, ServingStatus::Serving).await;
            let log = process.logged_until_times("the store has recovered", outage + 1).await;
            let log = log.strip_prefix(&before).unwrap();
            assert_eq!(log.matches("the store is down").count(), 1, "{log}");
            let end = log.lines().find(|line| line.contains("the store has recovered")).unwrap();
            let rejected: u32 =
                end.split("rejected=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert!(rejected >= 100, "{end}");
            // Those that found out, and none of those that were rejected.
            assert!(log.matches("the store does not answer; try again").count() < 40, "{log}");
        }
    }

    /// As after a failover: the address leads to a standby until it is promoted.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_standby_counts_as_down_until_it_is_promoted() {
        let store = TestStore::postgres().await;
        for statement in [
            "CREATE SCHEMA failover",
            "CREATE TABLE failover.server AS SELECT FALSE AS is_standby",
            "CREATE FUNCTION failover.pg_is_in_recovery() RETURNS boolean LANGUAGE sql
             AS 'SELECT is_standby FROM failover.server'",
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = failover, pg_catalog, public',
                                        current_database()); END $$",
        ] {
            store.execute(statement).await;
        }
        let process = Process::start(&store);
        let caller = process.caller(&client_of(&store)).await;
        let signed_in = caller.sign_in(&wallet()).await;
        let (session, tokens) = (signed_in.session.unwrap(), signed_in.tokens.unwrap());

        store.execute("UPDATE failover.server SET is_standby = TRUE").await;
        health_turns(process.grpc, ServingStatus::NotServing).await;
        rejected_at_once(&caller.with(""), &tokens.refresh_token, 10).await;
        assert_unavailable(caller.get_session(&session.id).await.unwrap_err());

        store.execute("UPDATE failover.server SET is_standby = FALSE").await;
        answered_again(&caller.with(""), &tokens.refresh_token).await;
        health_turns(process.grpc, ServingStatus::Serving).await;
        let log = process.logged_until("the store has recovered").await;
        let begin = log.lines().find(|line| line.contains("the store is down")).unwrap();
        assert!(begin.contains("is a standby"), "{begin}");
        assert!(!log.contains("rejects writes"), "{log}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_busy_pool_is_not_an_outage_and_does_not_block_keys_revocations_or_the_probe() {
        let store = TestStore::postgres().await;
        let process = Process::start_with(&store, &["--database-connections", "5"]);
        let caller = process.caller(&client_of(&store)).await;
        let wallet = wallet();
        let challenge = Arc::new(caller.challenge_for(&wallet).await);
        let signature = wallet.sign_text(&challenge.message);
        let mut watcher = caller.watch(None).await.unwrap();
        watcher.message().await.unwrap();
        let kid = caller.jwks().await.unwrap()[0].kid.clone();
        let _holder = store.hold_challenges().await;

        // Callers that give up leave their statements waiting, and more calls come than there are connections.
        for _ in 0..4 {
            let mut calls = JoinSet::new();
            for _ in 0..8 {
                let (caller, request) = (caller.clone(), by_id(&challenge, &signature));
                calls.spawn(async move {
                    tokio::time::timeout(Duration::from_millis(300), caller.verify(request)).await
                });
            }
            while let Some(answer) = calls.join_next().await {
                if let Ok(Err(status)) = answer.unwrap() {
                    assert_eq!(reason(Err::<(), _>(status)), "OVERLOADED");
                }
            }
        }
        assert_eq!(waiting(&store).await, 3, "callers have three connections");
        // Read and applied by the instance while nobody gets a connection.
        store
            .execute(&format!("UPDATE signing_keys SET revoke_time = clock_timestamp() WHERE kid = '{kid}'"))
            .await;
        let give_up = Instant::now() + GIVE_UP;
        while caller.jwks().await.unwrap().iter().any(|key| key.kid == kid) {
            assert!(Instant::now() < give_up, "revocations are not read");
        }
        let first = watcher.current_as_of.unwrap();
        while watcher.current_as_of.unwrap().seconds < first.seconds + 3 {
            watcher.message().await.unwrap();
        }
        assert_eq!(waiting(&store).await, 3);
        assert_eq!(health_of(process.grpc, "countersign.v1.TokenService").await, ServingStatus::Serving);
        let log = process.log();
        assert!(!log.contains("the store is down") && !log.contains("rejects writes"), "{log}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_session_whose_calls_are_cancelled_holds_its_share_of_the_connections_and_no_more() {
        let store = TestStore::postgres().await;
        let process = Process::start_with(&store, &["--database-connections", "5"]);
        let caller = process.caller(&client_of(&store)).await;
        let signed_in = caller.sign_in(&wallet()).await;
        let (session, tokens) = (signed_in.session.unwrap(), signed_in.tokens.unwrap());
        let user = caller.with(&format!("Bearer {}", tokens.access_token));
        user.get_session(&session.id).await.unwrap();
        let _holder = store.hold_sessions().await;
        for _ in 0..8 {
            let call = user.get_session(&session.id);
            assert!(tokio::time::timeout(Duration::from_millis(150), call).await.is_err());
        }
        // One of the callers' three connections, and at times that of the feed.
        assert!((1..=2).contains(&waiting(&store).await));
        let began = Instant::now();
        caller.start(start_for(&wallet())).await.unwrap();
        assert_promised("an unrelated call is served", began.elapsed(), Duration::from_millis(100));
        // Keys and the feed share a connection, whose statements wait for the lock.
        store
            .execute("UPDATE signing_keys SET revoke_time = clock_timestamp() WHERE activate_time IS NULL")
            .await;
        let began = Instant::now();
        while caller.jwks().await.unwrap().len() == 6 {
            assert!(began.elapsed() < GIVE_UP, "signing keys are not read");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_promised("revoked keys are read", began.elapsed(), Duration::from_secs(2));
    }
}
