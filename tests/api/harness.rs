//! A server on a fresh store, callers with one verb per RPC, and wallets.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use countersign::{
    app::{App, CHECKS},
    config::{Problems, Reader, ServeSettings, flags::FlagValues},
    domain::{Client, Policy},
    flows::client::create::create_client,
    grpc::v1::{
        self, challenge_service_client::ChallengeServiceClient, revocation::Event,
        session_service_client::SessionServiceClient, token_service_client::TokenServiceClient,
    },
    store::Store,
    token::random,
    wallet::evm::EvmPrivateKey,
};
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{self, HttpRequest},
    authorization_client::AuthorizationClient,
};
use prost_types::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tonic::{Code, Request, Status, Streaming, codegen::Bytes, transport::Channel};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use crate::{process::Process, support::TestStore};

mod accounts;
mod clients;

pub use crate::shared_keys::{root_keys_file, share_keys};
pub use accounts::link_by;

/// The `iss` of every test's tokens.
pub const ISSUER: &str = "https://issuer.example";

/// A running server. It ends with this value.
pub struct Server {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub operations: SocketAddr,
    pub store: Arc<dyn Store>,
    /// Dropped with this value, which is the server's end.
    _end: oneshot::Sender<()>,
}

impl Server {
    /// Starts on a store; several may share one.
    pub async fn start(store: &TestStore) -> Self {
        Self::start_at(store, &store.url, &[]).await
    }

    /// Starts on a store that is reached by another URL, such as a proxy's.
    pub async fn start_at(store: &TestStore, url: &str, flags: &[(&str, &str)]) -> Self {
        share_keys(store);
        Self::run(App::start(&settings(store, url, flags)).await.unwrap())
    }

    /// Starts with settings of a test's own, as flags.
    pub async fn start_with(store: &TestStore, flags: &[(&str, &str)]) -> Self {
        Self::start_at(store, &store.url, flags).await
    }

    pub fn run(app: App) -> Self {
        let (grpc, http, operations) = (app.grpc_address, app.http_address, app.operations_address);
        let store = Arc::clone(&app.store);
        let (end, ended) = oneshot::channel();
        tokio::spawn(async move { app.run_until(async { ended.await.unwrap_or(()) }).await });
        Self { grpc, http, operations, store, _end: end }
    }

    /// Makes a client and a caller with its credentials.
    pub async fn client(&self, policy: Policy) -> TestClient {
        self.client_of("", policy).await
    }

    /// The same, in a realm.
    pub async fn client_of(&self, realm: &str, policy: Policy) -> TestClient {
        let name = if policy.name.is_empty() { "Test".to_owned() } else { policy.name.clone() };
        let policy = Policy { name, ..policy };
        let (client, secret) = create_client(self.store.as_ref(), policy, realm).await.unwrap();
        let caller = self.caller(&basic(&client.id.to_string(), secret.expose())).await;
        TestClient { client, caller }
    }

    /// A caller with any `authorization`; an empty one sends none.
    pub async fn caller(&self, authorization: &str) -> Caller {
        Caller::connect(self.grpc, authorization).await
    }
}

impl Process {
    pub async fn caller(&self, authorization: &str) -> Caller {
        Caller::connect(self.grpc, authorization).await
    }
}

/// Settings for a server of a test's own: any ports, root keys in the store's folder, and further flags.
pub fn settings(store: &TestStore, url: &str, further: &[(&str, &str)]) -> ServeSettings {
    checked_settings(store, url, further).unwrap()
}

/// The same, or what is wrong with them.
pub fn checked_settings(
    store: &TestStore,
    url: &str,
    further: &[(&str, &str)],
) -> Result<ServeSettings, Problems> {
    let keys = root_keys_file(store).display().to_string();
    let flags = [
        ("database-url", url),
        ("root-keys-file", &keys),
        ("grpc-listen", "127.0.0.1:0"),
        ("http-listen", "127.0.0.1:0"),
        ("operations-listen", "127.0.0.1:0"),
        ("issuer", ISSUER),
        ("migrate", "true"),
    ];
    let flags = flags.iter().chain(further);
    let by_key = flags.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut reader = Reader::new(&FlagValues { by_key, config: None }, std::iter::empty());
    let settings = reader.serve(&CHECKS);
    reader.finish(settings)
}

/// A client and a caller with its credentials.
pub struct TestClient {
    pub client: Client,
    pub caller: Caller,
}

impl std::ops::Deref for TestClient {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// RFC 7617.
pub fn basic(id: &str, secret: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// One verb per RPC, always with the same `authorization`.
#[derive(Clone)]
pub struct Caller {
    channel: Channel,
    authorization: String,
}

impl Caller {
    pub async fn connect(address: SocketAddr, authorization: &str) -> Self {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        Self::over(endpoint.connect().await.unwrap(), authorization)
    }

    pub fn over(channel: Channel, authorization: &str) -> Self {
        Self { channel, authorization: authorization.to_owned() }
    }

    /// The same connection with another `authorization`.
    pub fn with(&self, authorization: &str) -> Self {
        Self { channel: self.channel.clone(), authorization: authorization.to_owned() }
    }

    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if !self.authorization.is_empty() {
            request.metadata_mut().insert("authorization", self.authorization.parse().unwrap());
        }
        request
    }

    fn sessions(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel.clone())
    }

    fn challenges(&self) -> ChallengeServiceClient<Channel> {
        ChallengeServiceClient::new(self.channel.clone())
    }

    fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub async fn create_session(
        &self,
        request: v1::CreateSessionRequest,
    ) -> Result<v1::CreateSessionResponse, Status> {
        Ok(self.sessions().create_session(self.request(request)).await?.into_inner())
    }

    pub async fn get_session(&self, session_id: &str) -> Result<v1::Session, Status> {
        let request = v1::GetSessionRequest { session_id: session_id.to_owned() };
        Ok(self.sessions().get_session(self.request(request)).await?.into_inner().session.unwrap())
    }

    pub async fn list_sessions(
        &self,
        request: v1::ListSessionsRequest,
    ) -> Result<v1::ListSessionsResponse, Status> {
        Ok(self.sessions().list_sessions(self.request(request)).await?.into_inner())
    }

    pub async fn revoke_session(&self, session_id: &str) -> Result<v1::Session, Status> {
        let request = v1::RevokeSessionRequest { session_id: session_id.to_owned() };
        Ok(self.sessions().revoke_session(self.request(request)).await?.into_inner().session.unwrap())
    }

    pub async fn revoke_account_sessions(&self, account_id: &str) -> Result<u32, Status> {
        let request = v1::RevokeAccountSessionsRequest { account_id: account_id.to_owned() };
        let answer = self.sessions().revoke_account_sessions(self.request(request)).await?.into_inner();
        Ok(answer.revoked_session_count)
    }

    pub async fn start(&self, request: v1::StartChallengeRequest) -> Result<v1::Challenge, Status> {
        Ok(self.challenges().start_challenge(self.request(request)).await?.into_inner().challenge.unwrap())
    }

    pub async fn verify(
        &self,
        request: v1::VerifyChallengeRequest,
    ) -> Result<v1::VerifyChallengeResponse, Status> {
        Ok(self.challenges().verify_challenge(self.request(request)).await?.into_inner())
    }

    pub async fn explain(
        &self,
        request: v1::ExplainSignatureRequest,
    ) -> Result<v1::ExplainSignatureResponse, Status> {
        Ok(self.challenges().explain_signature(self.request(request)).await?.into_inner())
    }

    pub async fn refresh(&self, refresh_token: &str) -> Result<v1::TokenPair, Status> {
        let request = v1::RefreshTokenRequest { refresh_token: refresh_token.to_owned() };
        Ok(self.tokens().refresh_token(self.request(request)).await?.into_inner().tokens.unwrap())
    }

    pub async fn revoke_token(&self, token: &str) -> Result<(), Status> {
        let request = v1::RevokeTokenRequest { token: token.to_owned(), ..Default::default() };
        self.tokens().revoke_token(self.request(request)).await.map(|_| ())
    }

    pub async fn introspect(&self, token: &str) -> Result<v1::IntrospectTokenResponse, Status> {
        let request = v1::IntrospectTokenRequest { token: token.to_owned(), ..Default::default() };
        Ok(self.tokens().introspect_token(self.request(request)).await?.into_inner())
    }

    pub async fn watch(&self, resume_from: Option<Timestamp>) -> Result<Watcher, Status> {
        let request = v1::WatchRevocationsRequest { resume_from };
        let stream = self.tokens().watch_revocations(self.request(request)).await?.into_inner();
        Ok(Watcher { stream, events: Vec::new().into(), snapshots: 0, current_as_of: None })
    }

    /// What a gateway would ask for a request with these headers on a route with these extensions.
    pub async fn check(&self, headers: &[(&str, &str)], route: &[(&str, &str)]) -> CheckResponse {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let http = HttpRequest { headers: map(headers), ..Default::default() };
        self.check_http(http, map(route)).await
    }

    pub async fn check_http(
        &self,
        http: HttpRequest,
        context_extensions: HashMap<String, String>,
    ) -> CheckResponse {
        self.try_check(http, context_extensions).await.unwrap()
    }

    pub async fn try_check(
        &self,
        http: HttpRequest,
        context_extensions: HashMap<String, String>,
    ) -> Result<CheckResponse, Status> {
        let request = attribute_context::Request { http: Some(http), ..Default::default() };
        let attributes =
            AttributeContext { request: Some(request), context_extensions, ..Default::default() };
        let request = CheckRequest { attributes: Some(attributes) };
        let mut client = AuthorizationClient::new(self.channel.clone());
        client.check(Request::new(request)).await.map(tonic::Response::into_inner)
    }

    /// Sends bytes, whatever they are, as what a call brings: its refusal.
    pub async fn send(&self, path: &str, encoding: &str, bytes: &'static [u8]) -> Status {
        let body = tonic::body::Body::new(http_body_util::Full::new(Bytes::from_static(bytes)));
        let request = http::Request::post(path).header("content-type", "application/grpc");
        let request = request.header("authorization", &self.authorization).header("grpc-encoding", encoding);
        let request = request.body(body).unwrap();
        let answer = self.channel.clone().oneshot(request).await.unwrap();
        Status::from_header_map(answer.headers()).unwrap()
    }

    pub async fn jwks(&self) -> Result<Vec<v1::Jwk>, Status> {
        Ok(self.tokens().get_jwks(self.request(v1::GetJwksRequest {})).await?.into_inner().keys)
    }

    // Short ways that many tests share.

    /// A challenge for a wallet.
    pub async fn challenge_for(&self, wallet: &EvmPrivateKey) -> v1::Challenge {
        self.start(start_for(wallet)).await.unwrap()
    }

    /// Signs a challenge and redeems it by its id.
    pub async fn redeem(
        &self,
        wallet: &EvmPrivateKey,
        challenge: &v1::Challenge,
    ) -> Result<v1::VerifyChallengeResponse, Status> {
        self.verify(by_id(challenge, &wallet.sign_text(&challenge.message))).await
    }

    /// A whole sign-in.
    pub async fn sign_in(&self, wallet: &EvmPrivateKey) -> v1::VerifyChallengeResponse {
        let challenge = self.challenge_for(wallet).await;
        self.redeem(wallet, &challenge).await.unwrap()
    }

    /// A PENDING session for a wallet, and the caller that is its device.
    pub async fn device_of(&self, wallet: &EvmPrivateKey) -> (v1::Session, Self) {
        let answer = self.create_session(session_for(wallet)).await.unwrap();
        (answer.session.unwrap(), self.with(&format!("Bearer {}", answer.session_token)))
    }
}

/// A watcher of revocations.
#[derive(Debug)]
pub struct Watcher {
    stream: Streaming<v1::WatchRevocationsResponse>,
    events: VecDeque<Event>,
    pub snapshots: u32,
    pub current_as_of: Option<Timestamp>,
}

impl Watcher {
    /// The next message.
    pub async fn message(&mut self) -> Result<v1::WatchRevocationsResponse, Status> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.stream.message()).await;
        let message = next.expect("no message for 20 s")?.expect("the stream ended without a status");
        self.snapshots += u32::from(message.snapshot);
        self.current_as_of = message.current_as_of.or(self.current_as_of);
        self.events.extend(message.revocations.iter().filter_map(|revocation| revocation.event.clone()));
        Ok(message)
    }

    /// The next event.
    pub async fn event(&mut self) -> Event {
        let received = async {
            loop {
                if let Some(event) = self.events.pop_front() {
                    return event;
                }
                self.message().await.unwrap();
            }
        };
        tokio::time::timeout(GIVE_UP, received).await.expect("no event was sent")
    }

    /// The events up to the first `current_as_of` after now.
    pub async fn rest(&mut self, store: &TestStore) -> Vec<Event> {
        let now = countersign::store::open(&store.url).await.unwrap().now().await.unwrap();
        let received = async {
            while self.current_as_of.is_none_or(|as_of| as_of.seconds <= now.unix_timestamp()) {
                self.message().await.unwrap();
            }
        };
        tokio::time::timeout(GIVE_UP, received).await.expect("the rest was not sent");
        self.events.drain(..).collect()
    }

    /// Why the stream ends.
    pub async fn end(&mut self) -> Status {
        let ended = async {
            loop {
                if let Err(status) = self.message().await {
                    return status;
                }
            }
        };
        tokio::time::timeout(GIVE_UP, ended).await.expect("the stream did not end")
    }
}

pub fn wallet() -> EvmPrivateKey {
    EvmPrivateKey::generate(random::bytes)
}

pub fn session_for(wallet: &EvmPrivateKey) -> v1::CreateSessionRequest {
    v1::CreateSessionRequest {
        signing_address: wallet.address().to_string(),
        signing_network: "ETHEREUM".to_owned(),
        ..Default::default()
    }
}

pub fn start_for(wallet: &EvmPrivateKey) -> v1::StartChallengeRequest {
    v1::StartChallengeRequest { address: wallet.address().to_string(), ..Default::default() }
}

pub fn by_id(challenge: &v1::Challenge, signature: &str) -> v1::VerifyChallengeRequest {
    v1::VerifyChallengeRequest {
        challenge_id: challenge.id.clone(),
        signature: signature.to_owned(),
        ..Default::default()
    }
}

pub fn by_address(wallet: &EvmPrivateKey, signature: &str) -> v1::VerifyChallengeRequest {
    v1::VerifyChallengeRequest {
        address: wallet.address().to_string(),
        signature: signature.to_owned(),
        ..Default::default()
    }
}

/// The code and the reason of a refusal.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.expect_err("this call must be refused");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "countersign.v1");
    (status.code(), info.reason)
}

/// When a test fails rather than hang.
pub const GIVE_UP: Duration = Duration::from_mins(1);

/// The turn of a test that calls many times at once. Two such crowds on a busy machine would keep each other from
/// connections to the database for longer than a call waits.
pub async fn crowds_turn() -> SemaphorePermit<'static> {
    static TURN: Semaphore = Semaphore::const_new(1);
    TURN.acquire().await.unwrap()
}

/// Calls again where a crowd made it wait for a row for too long, which changed nothing.
pub async fn retry_while_locked<T, F>(call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    for _ in 0..10 {
        match call().await {
            Err(status) if status.code() == Code::Aborted => {}
            answer => return answer,
        }
    }
    call().await
}

/// The reason of a refusal.
#[track_caller]
pub fn reason<T: std::fmt::Debug>(outcome: Result<T, Status>) -> String {
    refusal(outcome).1
}

/// The reason of a refusal for bad input, and the field it names.
pub fn wrong_field<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (String, String) {
    let status = outcome.expect_err("this call must be refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let field = status.get_details_bad_request().unwrap().field_violations.remove(0).field;
    assert!(status.message().contains(&field), "{status:?} does not name {field}");
    (status.get_details_error_info().unwrap().reason, field)
}

/// The claims of an access token, unverified.
pub fn claims(access_token: &str) -> serde_json::Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let body = access_token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

/// The head in lower case and the body of an answer.
pub async fn http_get(address: SocketAddr, path: &str) -> (String, String) {
    http(address, "GET", path, "").await
}

/// The same, of any request.
pub async fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> (String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}
