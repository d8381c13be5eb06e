//! WatchRevocations: a revocation on any instance is sent to every client that may receive it.

use std::time::{Duration, Instant};

use countersign::{
    app::App,
    domain::{Policy, Role},
    flows::client::{delete::delete_client, secret_rotation::add_client_secret, update::update_client},
    grpc::v1::{RevokeReason, revocation::Event},
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    harness::{Caller, GIVE_UP, Server, Watcher, basic, reason, settings, wallet, wrong_field},
    outage::server_on_a_wire,
    support::TestStore,
};

on_both_stores![
    what_was_revoked_is_told_first_then_what_another_instance_revokes,
    sessions_of_an_account_are_told_together,
    a_client_receives_its_own_sessions_only,
    with_the_role_a_client_receives_the_audiences_it_guards,
    a_guarded_client_is_disabled_enabled_and_deleted,
    every_watcher_receives_a_revoked_key,
    a_heartbeat_comes_at_least_every_second_with_the_databases_clock,
    a_watcher_that_was_away_receives_what_it_missed_from_another_instance,
    who_was_away_for_too_long_starts_anew,
    nobody_but_a_client_watches,
    a_time_that_is_none_is_named,
    a_watcher_that_may_not_watch_any_more_is_told_why,
    a_watcher_whose_audiences_change_starts_anew,
    a_guard_of_an_earlier_audience_still_receives_the_client,
    a_watcher_is_told_when_the_instance_shuts_down,
    a_watcher_that_takes_nothing_is_cut_off_and_starts_anew,
];

fn session_of(event: Event) -> String {
    match event {
        Event::SessionRevoked(session) => session.session_id,
        other => panic!("{other:?}"),
    }
}

fn guard_of(audience: &str) -> Policy {
    Policy {
        roles: vec![Role::SignIn, Role::Introspect],
        introspect_audiences: vec![audience.to_owned()],
        ..Policy::default()
    }
}

fn shop() -> Policy {
    Policy { audience: vec!["shop".to_owned()], ..Policy::default() }
}

async fn what_was_revoked_is_told_first_then_what_another_instance_revokes(store: &TestStore) {
    let (a, b) = (Server::start(store).await, Server::start(store).await);
    let client = a.client(Policy::default()).await;
    let (before, after) = (client.sign_in(&wallet()).await, client.sign_in(&wallet()).await);
    let (before, after) = (before.session.unwrap(), after.session.unwrap());
    client.revoke_session(&before.id).await.unwrap();
    let mut watcher = b.caller(client.authorization()).await.watch(None).await.unwrap();

    let Event::SessionRevoked(received) = watcher.event().await else { panic!() };
    assert_eq!(
        (&received.session_id, &received.client_id, &received.account_id),
        (&before.id, &before.client_id, &before.account_id)
    );
    assert_eq!(received.revoke_reason(), RevokeReason::RevokedByClient);
    let life = received.access_token_expire_time.unwrap().seconds - before.authenticate_time.unwrap().seconds;
    assert_eq!(life, 30 * 60);

    let revoked = client.revoke_session(&after.id).await.unwrap();
    let Event::SessionRevoked(received) = watcher.event().await else { panic!() };
    assert_eq!((received.session_id, received.revoke_time), (after.id, revoked.revoke_time));
    assert!(watcher.rest(store).await.is_empty());
    assert_eq!(watcher.snapshots, 1);
}

async fn sessions_of_an_account_are_told_together(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let mut watcher = client.watch(None).await.unwrap();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(client.sign_in(&wallet).await.session.unwrap());
    }
    client.revoke_account_sessions(&sessions[0].account_id).await.unwrap();
    let Event::AccountSessionsRevoked(received) = watcher.event().await else { panic!() };
    let mut ids: Vec<_> = sessions.iter().map(|session| session.id.clone()).collect();
    let mut session_ids = received.session_ids.clone();
    ids.sort();
    session_ids.sort();
    assert_eq!(session_ids, ids);
    assert_eq!(
        (received.account_id, received.client_id),
        (sessions[0].account_id.clone(), sessions[0].client_id.clone())
    );
    assert!(watcher.rest(store).await.is_empty());
}

async fn a_client_receives_its_own_sessions_only(store: &TestStore) {
    let server = Server::start(store).await;
    let (own, other) = (server.client(Policy::default()).await, server.client(Policy::default()).await);
    // A list without the role counts for nothing.
    let without = Policy { introspect_audiences: vec![other.client.id.to_string()], ..Policy::default() };
    let without_role = server.client(without).await;
    let mut watchers = [own.watch(None).await.unwrap(), without_role.watch(None).await.unwrap()];
    let session = other.sign_in(&wallet()).await.session.unwrap();
    other.revoke_session(&session.id).await.unwrap();
    for watcher in &mut watchers {
        assert!(watcher.rest(store).await.is_empty());
    }
    // Nor is it told to who comes later.
    assert!(own.watch(None).await.unwrap().rest(store).await.is_empty());
    assert_eq!(other.watch(None).await.unwrap().rest(store).await.len(), 1);
}

async fn with_the_role_a_client_receives_the_audiences_it_guards(store: &TestStore) {
    let server = Server::start(store).await;
    let (shop, default, elsewhere) = (
        server.client(shop()).await,
        server.client(Policy::default()).await,
        server.client(Policy { audience: vec!["elsewhere".to_owned()], ..Policy::default() }).await,
    );
    let mut guard = guard_of("shop");
    guard.introspect_audiences.push(default.client.id.to_string());
    let guard = server.client(guard).await;
    let mut watcher = guard.watch(None).await.unwrap();
    let mut expected = Vec::new();
    for (client, received) in [(&shop, true), (&elsewhere, false), (&default, true)] {
        let session = client.sign_in(&wallet()).await.session.unwrap();
        client.revoke_session(&session.id).await.unwrap();
        expected.extend(received.then_some(session.id));
    }
    let received: Vec<_> = watcher.rest(store).await.into_iter().map(session_of).collect();
    assert_eq!(received, expected);
}

async fn a_guarded_client_is_disabled_enabled_and_deleted(store: &TestStore) {
    let server = Server::start(store).await;
    let (shop, guard) = (server.client(shop()).await, server.client(guard_of("shop")).await);
    let id = shop.client.id;
    let session = shop.sign_in(&wallet()).await.session.unwrap();
    let mut watcher = guard.watch(None).await.unwrap();
    for disabled in [true, false] {
        server.store.set_client_disabled(id, disabled).await.unwrap();
        match watcher.event().await {
            Event::ClientDisabled(received) if disabled => assert_eq!(received.client_id, id.to_string()),
            Event::ClientEnabled(received) if !disabled => assert_eq!(received.client_id, id.to_string()),
            other => panic!("{other:?}"),
        }
    }
    delete_client(server.store.as_ref(), id).await.unwrap();
    let mut received = vec![watcher.event().await];
    received.extend(watcher.rest(store).await);
    assert!(received.iter().any(
        |event| matches!(event, Event::ClientDeleted(received) if received.client_id == id.to_string())
    ));
    let revoked = received.iter().find_map(|event| match event {
        Event::SessionRevoked(received) => Some(received.session_id.as_str()),
        _ => None,
    });
    assert_eq!(revoked, Some(session.id.as_str()));
    // A later watcher receives the present state.
    let later = guard.watch(None).await.unwrap().rest(store).await;
    assert!(matches!(
        later.iter().rev().find(|event| !matches!(event, Event::SessionRevoked(_))),
        Some(Event::ClientDeleted(_))
    ));
}

async fn every_watcher_receives_a_revoked_key(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let mut watcher = client.watch(None).await.unwrap();
    let now = if store.is_postgres() { "clock_timestamp()" } else { "(SELECT now FROM clock)" };
    store.execute(&format!("UPDATE signing_keys SET revoke_time = {now} WHERE activate_time IS NULL")).await;
    let Event::SigningKeyRevoked(received) = watcher.event().await else { panic!() };
    assert_eq!(
        store.count("signing_keys", &format!("kid = '{}' AND revoke_time IS NOT NULL", received.kid)).await,
        1
    );
}

async fn a_heartbeat_comes_at_least_every_second_with_the_databases_clock(store: &TestStore) {
    let server = Server::start(store).await;
    let now = async || server.store.now().await.unwrap().unix_timestamp();
    let mut watcher = server.client(Policy::default()).await.watch(None).await.unwrap();
    let mut before = watcher.message().await.unwrap().current_as_of.unwrap();
    let earlier = now().await;
    let heartbeats = async {
        let mut advanced = 0;
        while advanced < 3 || before.seconds <= earlier {
            let message = watcher.message().await.unwrap();
            assert!(message.revocations.is_empty() && !message.snapshot);
            let as_of = message.current_as_of.unwrap();
            // It is the same where the database was not read in between.
            assert!((as_of.seconds, as_of.nanos) >= (before.seconds, before.nanos));
            advanced += u32::from(as_of != before);
            before = as_of;
        }
    };
    tokio::time::timeout(GIVE_UP, heartbeats).await.expect("the clock goes on");
    let now = now().await;
    assert!(before.seconds <= now, "{before:?} is not yet, at {now}");
}

async fn a_watcher_that_was_away_receives_what_it_missed_from_another_instance(store: &TestStore) {
    let (a, b) = (Server::start(store).await, Server::start(store).await);
    let client = a.client(Policy::default()).await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        sessions.push(client.sign_in(&wallet()).await.session.unwrap().id);
    }
    let mut watcher = client.watch(None).await.unwrap();
    client.revoke_session(&sessions[0]).await.unwrap();
    assert_eq!(session_of(watcher.event().await), sessions[0]);
    assert!(watcher.rest(store).await.is_empty());
    let as_of = watcher.current_as_of;
    drop(watcher);
    client.revoke_session(&sessions[1]).await.unwrap();
    let mut again = b.caller(client.authorization()).await.watch(as_of).await.unwrap();
    let received: Vec<_> = again.rest(store).await.into_iter().map(session_of).collect();
    // What was revoked within the minute before may come again.
    assert!(received.contains(&sessions[1]), "{received:?}");
    assert_eq!(again.snapshots, 0);
}

async fn who_was_away_for_too_long_starts_anew(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let session = client.sign_in(&wallet()).await.session.unwrap().id;
    client.revoke_session(&session).await.unwrap();
    let now = server.store.now().await.unwrap().unix_timestamp();
    for seconds in [now - 3_700, now + 3_600] {
        let mut watcher = client.watch(Some(prost_types::Timestamp { seconds, nanos: 0 })).await.unwrap();
        assert_eq!(session_of(watcher.event().await), session);
        assert_eq!(watcher.snapshots, 1);
    }
}

async fn nobody_but_a_client_watches(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let signed_in = client.sign_in(&wallet()).await;
    let (_, device) = client.device_of(&wallet()).await;
    let user = client.with(&format!("Bearer {}", signed_in.tokens.unwrap().access_token));
    for caller in [client.with(""), device, user] {
        assert_eq!(reason(caller.watch(None).await), "CREDENTIALS_MISSING");
    }
    let wrong = client.with(&basic(&client.client.id.to_string(), "ccs_wrong"));
    assert_eq!(reason(wrong.watch(None).await), "CLIENT_CREDENTIALS_INVALID");
}

async fn a_time_that_is_none_is_named(store: &TestStore) {
    let client = Server::start(store).await;
    let client = client.client(Policy::default()).await;
    let out_of_range = prost_types::Timestamp { seconds: 1, nanos: -1 };
    let (reason, field) = wrong_field(client.watch(Some(out_of_range)).await);
    assert_eq!((reason.as_str(), field.as_str()), ("INVALID_REQUEST", "resume_from"));
}

fn reason_of(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

async fn a_watcher_that_may_not_watch_any_more_is_told_why(store: &TestStore) {
    let server = Server::start(store).await;
    let (disabled, other_secret) =
        (server.client(Policy::default()).await, server.client(Policy::default()).await);
    let mut watchers = [disabled.watch(None).await.unwrap(), other_secret.watch(None).await.unwrap()];
    let first = server.store.client(other_secret.client.id).await.unwrap().unwrap().secrets[0].id;
    add_client_secret(server.store.as_ref(), other_secret.client.id).await.unwrap();
    server.store.revoke_client_secret(other_secret.client.id, first).await.unwrap();
    server.store.set_client_disabled(disabled.client.id, true).await.unwrap();
    let ends = [watchers[0].end().await, watchers[1].end().await];
    assert_eq!(ends.map(|end| reason_of(&end)), ["CLIENT_DISABLED", "CLIENT_CREDENTIALS_INVALID"]);
}

async fn a_watcher_whose_audiences_change_starts_anew(store: &TestStore) {
    let server = Server::start(store).await;
    let (guard, shop) = (server.client(guard_of("elsewhere")).await, server.client(shop()).await);
    let session = shop.sign_in(&wallet()).await.session.unwrap().id;
    shop.revoke_session(&session).await.unwrap();
    let mut watcher = guard.watch(None).await.unwrap();
    assert!(watcher.rest(store).await.is_empty());
    let policy = Policy { name: "Guard".to_owned(), ..guard_of("shop") };
    update_client(server.store.as_ref(), guard.client.id, |_| Ok(policy.clone())).await.unwrap();
    let end = watcher.end().await;
    assert_eq!((end.code(), reason_of(&end).as_str()), (Code::Aborted, "WATCH_INTERRUPTED"));
    // It never received what it may receive now.
    let seconds = server.store.now().await.unwrap().unix_timestamp();
    let mut again = guard.watch(Some(prost_types::Timestamp { seconds, nanos: 0 })).await.unwrap();
    assert_eq!(session_of(again.event().await), session);
    assert_eq!(again.snapshots, 1);
}

async fn a_guard_of_an_earlier_audience_still_receives_the_client(store: &TestStore) {
    let server = Server::start(store).await;
    let (guard, client) = (server.client(guard_of("shop")).await, server.client(shop()).await);
    let session = client.sign_in(&wallet()).await.session.unwrap().id;
    let policy = Policy { name: "Bank".to_owned(), audience: vec!["bank".to_owned()], ..Policy::default() };
    update_client(server.store.as_ref(), client.client.id, |_| Ok(policy.clone())).await.unwrap();
    let mut watcher = guard.watch(None).await.unwrap();
    client.revoke_session(&session).await.unwrap();
    assert_eq!(session_of(watcher.event().await), session);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_feed_is_stale_ends_its_watches() {
    let store = TestStore::postgres().await;
    let (server, wire) = server_on_a_wire(&store, &[]).await;
    let client = server.client(Policy::default()).await;
    let mut watcher = client.watch(None).await.unwrap();
    wire.cut();
    let end = watcher.end().await;
    assert_eq!((end.code(), reason_of(&end).as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
    wire.mend();
    let began = Instant::now();
    while let Err(status) = client.watch(None).await {
        assert_eq!(reason_of(&status), "STORE_UNAVAILABLE");
        assert!(began.elapsed() < Duration::from_secs(60), "no message for a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_watcher_is_told_when_the_instance_shuts_down(store: &TestStore) {
    let server = Server::start_with(store, &[("shutdown-delay", "10s")]).await;
    let mut watcher = server.client(Policy::default()).await.watch(None).await.unwrap();
    drop(server);
    let end = watcher.end().await;
    assert_eq!((end.code(), reason_of(&end).as_str()), (Code::Unavailable, "DRAINING"));
}

async fn a_watcher_that_takes_nothing_is_cut_off_and_starts_anew(store: &TestStore) {
    let server = Server::start(store).await;
    let client = server.client(Policy::default()).await;
    let session = client.sign_in(&wallet()).await.session.unwrap();
    client.revoke_session(&session.id).await.unwrap();
    multiply(store, 5_000).await;
    let mut settings = settings(store, &store.url, &[]);
    assert_eq!(settings.watcher_stall_timeout, Duration::from_secs(10), "as docs/checking-tokens.md has it");
    settings.watcher_stall_timeout = Duration::from_secs(1);
    // It reads all of the revocations before it starts to serve.
    let server = Server::run(App::start(&settings).await.unwrap());
    let mut channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap();
    channel = channel.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let slow = Caller::over(channel.connect().await.unwrap(), client.authorization());
    let end = cut_off(&slow).await;
    assert_eq!((end.code(), reason_of(&end).as_str()), (Code::Aborted, "WATCH_INTERRUPTED"));
    assert!(end.message().contains("its caller read nothing for 1 s"), "{end}");
    // An instance with the default timeout sends all of them once it has read them.
    let mut again = client.watch(None).await.unwrap();
    for _ in 0..5_001 {
        again.event().await;
    }
    assert!(again.rest(store).await.is_empty());
}

/// Why a watcher ends that took nothing for longer than it may.
async fn cut_off(slow: &Caller) -> Status {
    for attempt in 1..=5 {
        let mut watcher = slow.watch(None).await.unwrap();
        tokio::time::sleep(attempt * Duration::from_millis(1_500)).await;
        if let Some(end) = end_before_all_is_told(&mut watcher).await {
            return end;
        }
    }
    panic!("it received everything each time");
}

/// A server that was held up itself had no time to cut its watcher off, and tells the rest.
async fn end_before_all_is_told(watcher: &mut Watcher) -> Option<Status> {
    while watcher.current_as_of.is_none() {
        if let Err(end) = watcher.message().await {
            return Some(end);
        }
    }
    None
}

/// So many further sessions like the one there is.
async fn multiply(store: &TestStore, count: u32) {
    let columns = "client_id, signing_address, signing_network, deposit_address, deposit_network, create_time, \
                   update_time, expire_time, latest_expire_time, account_id, wallet_address, wallet_network, \
                   wallet_kind, authenticate_time, hard_expire_time, refresh_generation, refresh_fingerprint, \
                   refresh_step_time, access_expire_time, revoke_time, revoke_reason";
    let (id, numbers) = match store.is_postgres() {
        true => ("gen_random_uuid()", format!("generate_series(1, {count}) AS numbers")),
        false => (
            "randomblob(16)",
            format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n) AS numbers"
            ),
        ),
    };
    store
        .execute(&format!(
            "INSERT INTO sessions (id, {columns}) SELECT {id}, {columns} FROM sessions, {numbers}"
        ))
        .await;
}
