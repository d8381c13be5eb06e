//! The program under measurement, as a process, and what callers do with it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use countersign::{
    grpc::v1::{self, challenge_service_client::ChallengeServiceClient},
    token::random,
    wallet::evm::EvmPrivateKey,
};
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest,
    attribute_context::{self, HttpRequest},
    authorization_client::AuthorizationClient,
};
use tonic::{Request, transport::Channel};

/// The kernel brings the processor time of a thread up to date when the thread goes to sleep, and else at its ticks,
/// which are milliseconds apart. On a core that is not busy otherwise, a thread without work sleeps after this.
pub(super) const UP_TO_DATE: Duration = Duration::from_millis(2);

/// A program on the core that the servers have for themselves, where that can be asked for.
pub(super) fn on_its_core(program: &str) -> Command {
    let pinned = Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_ok();
    let mut command = Command::new(if pinned { "taskset" } else { program });
    if pinned {
        command.args(["-c", "0", program]);
    }
    command
}

/// A server process; killed with this value.
pub(super) struct Server {
    child: Child,
    pub(super) channel: Channel,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(super) async fn start(url: &str, keys: &Path) -> Self {
        let mut command = on_its_core(env!("CARGO_BIN_EXE_countersign"));
        command.args([
            "serve",
            "--migrate",
            "--database-url",
            url,
            "--root-keys-file",
            keys.to_str().unwrap(),
        ]);
        for port in ["--grpc-listen", "--http-listen", "--operations-listen"] {
            command.args([port, "127.0.0.1:0"]);
        }
        let mut child = command.args(["--log-format", "text"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address =
            lines.find_map(|line| Some(line.split_once("gRPC listening address=")?.1.trim().to_owned()));
        std::thread::spawn(move || lines.for_each(drop));
        let channel = Channel::from_shared(format!("http://{}", address.unwrap())).unwrap();
        Self { child, channel: channel.connect().await.unwrap() }
    }

    /// The processor time that its threads have used so far.
    pub(super) async fn used(&self) -> Duration {
        tokio::time::sleep(UP_TO_DATE).await;
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("schedstat")).unwrap();
        let nanoseconds = |stat: String| stat.split(' ').next().unwrap().parse::<u64>().unwrap();
        tasks.map(|task| Duration::from_nanos(nanoseconds(of(task.unwrap())))).sum()
    }
}

pub(super) fn with<T>(message: T, authorization: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    request
}

/// A session of a new wallet.
pub(super) struct SignedIn {
    pub(super) session_id: String,
    pub(super) access_token: String,
    pub(super) refresh_token: String,
}

pub(super) async fn sign_in(channel: &Channel, authorization: &str) -> SignedIn {
    let wallet = EvmPrivateKey::generate(random::bytes);
    let mut challenges = ChallengeServiceClient::new(channel.clone());
    let start = v1::StartChallengeRequest { address: wallet.address().to_string(), ..Default::default() };
    let challenge =
        challenges.start_challenge(with(start, authorization)).await.unwrap().into_inner().challenge.unwrap();
    let signature = wallet.sign_text(&challenge.message);
    let verify = v1::VerifyChallengeRequest { challenge_id: challenge.id, signature, ..Default::default() };
    let answer = challenges.verify_challenge(with(verify, authorization)).await.unwrap().into_inner();
    let tokens = answer.tokens.unwrap();
    SignedIn {
        session_id: answer.session.unwrap().id,
        access_token: tokens.access_token,
        refresh_token: tokens.refresh_token,
    }
}

/// As a gateway asks: the request's headers, and whose tokens the route takes.
pub(super) fn check(token: &str) -> CheckRequest {
    let headers = [
        ("authorization", format!("Bearer {token}")),
        (":method", "GET".to_owned()),
        (":path", "/orders/17?page=2".to_owned()),
        (":authority", "shop.example".to_owned()),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0".to_owned()),
        ("accept", "application/json".to_owned()),
        ("x-request-id", "6f1b4a60-6a0e-4f0e-9a0b-0d1f2f3b4c5d".to_owned()),
    ];
    let http = HttpRequest {
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..Default::default()
    };
    let request = attribute_context::Request { http: Some(http), ..Default::default() };
    let context_extensions = [("audience".to_owned(), "shop".to_owned())].into();
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(request),
            context_extensions,
            ..Default::default()
        }),
    }
}

pub(super) async fn passes(channel: &Channel, request: CheckRequest) -> bool {
    let answer = AuthorizationClient::new(channel.clone()).check(request).await.unwrap();
    answer.into_inner().status.unwrap().code == 0
}
