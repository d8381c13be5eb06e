//! The store goes away and comes back: what callers are told, and that nobody needs to do anything.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::{domain::Policy, store::StoreError};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::{
    harness::{Caller, GIVE_UP, Server, http_get, refusal, start_for, wallet},
    support::TestStore,
};

/// A way to the database that can be cut or blocked.
pub struct Wire {
    pub address: SocketAddr,
    state: Arc<watch::Sender<WireState>>,
    /// Number of connections that were attempted while the wire was down.
    vain: Arc<watch::Sender<u32>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WireState {
    Up,
    /// Connections end at once.
    Cut,
    /// Connections are accepted and kept, and no byte arrives.
    Blocked,
    /// The same; connections of that time stay silent for ever.
    Lost,
}

impl Wire {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, _) = watch::channel(WireState::Up);
        let state = Arc::new(state);
        let switch = Arc::clone(&state);
        let vain = Arc::new(watch::channel(0).0);
        let attempts = Arc::clone(&vain);
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                if *switch.borrow() != WireState::Up {
                    attempts.send_modify(|count| *count += 1);
                }
                connections.spawn(carry(near, target, switch.subscribe()));
            }
        });
        Self { address, state, vain }
    }

    /// Attempts from now on to connect while the wire is down.
    pub fn vain_attempts(&self) -> watch::Receiver<u32> {
        self.vain.subscribe()
    }

    pub fn cut(&self) {
        self.state.send_replace(WireState::Cut);
    }

    pub fn block(&self) {
        self.state.send_replace(WireState::Blocked);
    }

    pub fn lose(&self) {
        self.state.send_replace(WireState::Lost);
    }

    pub fn mend(&self) {
        self.state.send_replace(WireState::Up);
    }
}

/// Carries bytes both ways while the wire is up, until it is cut.
async fn carry(mut near: TcpStream, target: SocketAddr, mut state: watch::Receiver<WireState>) {
    let at_first = *state.wait_for(|state| *state != WireState::Blocked).await.unwrap();
    match at_first {
        WireState::Cut => return,
        WireState::Lost => std::future::pending().await,
        WireState::Up | WireState::Blocked => {}
    }
    let mut far = TcpStream::connect(target).await.unwrap();
    let carried = tokio::io::copy_bidirectional(&mut near, &mut far);
    tokio::pin!(carried);
    loop {
        let now = *state.borrow_and_update();
        tokio::select! {
            _ = &mut carried, if now == WireState::Up => return,
            _ = state.changed(), if matches!(now, WireState::Up | WireState::Blocked) => {}
            () = std::future::pending(), if now == WireState::Lost => {}
            else => return,
        }
    }
}

/// A server that reaches its PostgreSQL over a wire.
pub async fn server_on_a_wire(store: &TestStore, flags: &[(&str, &str)]) -> (Server, Wire) {
    let (url, wire) = wired(store).await;
    (Server::start_at(store, &url, flags).await, wire)
}

/// A wire to a PostgreSQL, and the URL at its near end.
pub async fn wired(store: &TestStore) -> (String, Wire) {
    let mut url = url::Url::parse(&store.url).unwrap();
    let target = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
    let target = tokio::net::lookup_host(target).await.unwrap().next().unwrap();
    let wire = Wire::to(target).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(wire.address.port())).unwrap();
    (url.into(), wire)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_unavailable_with_a_time_to_retry_and_comes_back_by_itself() {
    let store = TestStore::postgres().await;
    let (server, wire) = server_on_a_wire(&store, &[]).await;
    let client = server.client(Policy::default()).await;
    let wallet = wallet();
    let tokens = client.sign_in(&wallet).await.tokens.unwrap();

    wire.cut();
    for _ in 0..3 {
        let status = client.refresh(&tokens.refresh_token).await.unwrap_err();
        // Each caller gets its own time, so that they do not all come back at once.
        let pause = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!((500..=1_500).contains(&pause.as_millis()), "{pause:?}");
        assert!(!status.message().contains("127.0.0.1"), "no driver's words: {status:?}");
        assert_eq!(refusal::<()>(Err(status)), (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()));
    }
    assert_eq!(client.jwks().await.unwrap().len(), 6, "what needs no store goes on");
    health_turns(server.grpc, ServingStatus::NotServing).await;
    let (head, _) = http_get(server.operations, "/readyz").await;
    assert!(
        head.starts_with("http/1.1 200"),
        "an outage of the store takes no instance out of service: {head}"
    );

    wire.mend();
    answered_again(&client, &tokens.refresh_token).await;
    health_turns(server.grpc, ServingStatus::Serving).await;
    client.sign_in(&wallet).await;
}

/// Watches a service's health until it is as expected; that of the server as a whole stays.
pub async fn health_turns(grpc: SocketAddr, expected: ServingStatus) {
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{grpc}")).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let service = "countersign.v1.ChallengeService".to_owned();
    let mut states = health.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    let turned = async { while states.message().await.unwrap().unwrap().status() != expected {} };
    tokio::time::timeout(Duration::from_secs(20), turned).await.expect("health turns by itself");
    let whole = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(whole.status(), ServingStatus::Serving);
}

/// The state of a service's health.
pub async fn health_of(grpc: SocketAddr, service: &str) -> ServingStatus {
    let channel =
        tonic::transport::Channel::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel).check(request).await.unwrap().into_inner().status()
}

/// Calls until one is answered, as often as the refusals allow; each of them must be the store's.
pub async fn answered_again(client: &Caller, refresh_token: &str) {
    let give_up = Instant::now() + GIVE_UP;
    loop {
        match client.refresh(refresh_token).await {
            Ok(_) => return,
            Err(status) if Instant::now() < give_up => {
                let pause = status.get_details_retry_info().and_then(|info| info.retry_delay);
                assert_unavailable(status);
                tokio::time::sleep(pause.unwrap()).await;
            }
            Err(status) => panic!("still not served: {status:?}"),
        }
    }
}

#[track_caller]
pub fn assert_unavailable(status: Status) {
    assert_eq!(refusal::<()>(Err(status)), (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_connections_were_cut_holds_and_what_failed_may_be_retried() {
    let store = TestStore::postgres().await;
    let (server, wire) = server_on_a_wire(&store, &[]).await;
    let client = server.client(Policy::default()).await;
    for _ in 0..5 {
        let mut calls = JoinSet::new();
        for _ in 0..16 {
            let caller = client.caller.clone();
            calls.spawn(async move {
                let wallet = wallet();
                let challenge = caller.start(start_for(&wallet)).await?;
                let answer = caller.redeem(&wallet, &challenge).await?;
                Ok::<_, Status>(answer.tokens.unwrap().refresh_token)
            });
        }
        wire.cut();
        wire.mend();
        for outcome in calls.join_all().await {
            match outcome {
                Ok(token) => answered_again(&client, &token).await,
                Err(status) => assert_unavailable(status),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_server_that_only_reads_are_dropped_and_writes_come_back_by_themselves() {
    let store = TestStore::postgres().await;
    let server = Server::start(&store).await;
    let client = server.client(Policy::default()).await;
    let session = client.sign_in(&wallet()).await.session.unwrap();
    let mut outside = store.postgres_connection().await;
    // As after a failover that left the old primary behind as a standby: its connections stay, and only read.
    let statements = [
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    ];
    for statement in statements {
        sqlx::query(statement).execute(&mut outside).await.unwrap();
    }
    let refused = async || client.start(start_for(&wallet())).await.unwrap_err();
    for _ in 0..20 {
        assert_unavailable(refused().await);
    }
    health_turns(server.grpc, ServingStatus::NotServing).await;
    // Reads continue, with the clock that they need. The server may be fenced: decisions made from memory fail closed.
    assert_eq!(client.get_session(&session.id).await.unwrap().id, session.id);
    server.store.now().await.unwrap();
    assert!(matches!(server.store.revocations(None).await, Err(StoreError::ReadOnly(_))));
    let back = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$";
    sqlx::query(back).execute(&mut outside).await.unwrap();
    let give_up = Instant::now() + GIVE_UP;
    while let Err(status) = client.start(start_for(&wallet())).await {
        assert!(Instant::now() < give_up, "connections that only read were kept: {status:?}");
        assert_unavailable(status);
    }
    health_turns(server.grpc, ServingStatus::Serving).await;
}
