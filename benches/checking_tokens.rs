//! What it costs to check a token with ext_authz, how soon a revocation is heard, and what a million of them weigh.
//!
//! Drives the real program, release build, as processes on one store: `COUNTERSIGN_TEST_DATABASE_URL`, or an SQLite
//! file. Where `taskset` is there, the server has one core and this program another.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and may fail")]

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::{
    domain::{AccountId, ClientId, Policy, RateLimit, RevokeReason, SessionId},
    flows::{create_client::create_client, revocation_feed::RevocationFeed},
    grpc::v1::{
        self, challenge_service_client::ChallengeServiceClient, session_service_client::SessionServiceClient,
        token_service_client::TokenServiceClient,
    },
    store::{Revocations, RevokedSession, open},
    token::{RootKeys, random},
    wallet::signer::Signer,
};
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest,
    attribute_context::{self, HttpRequest},
    authorization_client::AuthorizationClient,
};
use tonic::{Request, transport::Channel};

const REVOCATIONS: usize = 200;
const FIRST_SEEN: usize = 30_000;
/// How many tokens are checked between two bare verifications: what else the machine does is then much the same.
const ROUND: usize = 500;
const AT_ONCE: usize = 64;
/// Asks this program for the bare verification alone.
const BARE: &str = "bare";

/// A program on the core that the servers have for themselves, where that can be asked for.
fn on_its_core(program: &str) -> Command {
    let pinned = Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_ok();
    let mut command = Command::new(if pinned { "taskset" } else { program });
    if pinned {
        command.args(["-c", "0", program]);
    }
    command
}

/// A server process; killed with this value.
struct Server {
    child: Child,
    channel: Channel,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start(url: &str, keys: &Path) -> Self {
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
    fn used(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("schedstat")).unwrap();
        let nanoseconds = |stat: String| stat.split(' ').next().unwrap().parse::<u64>().unwrap();
        tasks.map(|task| Duration::from_nanos(nanoseconds(of(task.unwrap())))).sum()
    }
}

fn with<T>(message: T, authorization: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    request
}

/// A session of a new wallet.
struct SignedIn {
    session_id: String,
    access_token: String,
    refresh_token: String,
}

async fn sign_in(channel: &Channel, authorization: &str) -> SignedIn {
    let wallet = Signer::generate(random::bytes);
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
fn check(token: &str) -> CheckRequest {
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

async fn passes(channel: &Channel, request: CheckRequest) -> bool {
    let answer = AuthorizationClient::new(channel.clone()).check(request).await.unwrap();
    answer.into_inner().status.unwrap().code == 0
}

fn percentile(sorted: &[Duration], hundredths: usize) -> Duration {
    sorted[(sorted.len() * hundredths).div_ceil(100).max(1) - 1]
}

/// Revoked on one instance: when a watcher of the other has it, and when that one's ext_authz refuses it.
async fn hearing(a: &Server, b: &Server, authorization: &str) {
    let watch = v1::WatchRevocationsRequest::default();
    let mut stream = TokenServiceClient::new(b.channel.clone())
        .watch_revocations(with(watch, authorization))
        .await
        .unwrap()
        .into_inner();
    let (mut told, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..REVOCATIONS {
        let SignedIn { session_id, access_token: token, .. } = sign_in(&a.channel, authorization).await;
        let revoke = v1::RevokeSessionRequest { session_id: session_id.clone() };
        SessionServiceClient::new(a.channel.clone())
            .revoke_session(with(revoke, authorization))
            .await
            .unwrap();
        let answered = Instant::now();
        let hears = async {
            loop {
                let message = stream.message().await.unwrap().unwrap();
                if format!("{:?}", message.revocations).contains(&session_id) {
                    return answered.elapsed();
                }
            }
        };
        let refuses = async {
            while passes(&b.channel, check(&token)).await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            answered.elapsed()
        };
        let (heard, denied) = tokio::join!(hears, refuses);
        told.push(heard);
        refused.push(denied);
    }
    for (what, mut delays) in [("a watcher hears of it after", told), ("ext_authz refuses after   ", refused)]
    {
        delays.sort();
        let (p50, p99, most) = (percentile(&delays, 50), percentile(&delays, 99), percentile(&delays, 100));
        println!("{REVOCATIONS} revocations, {what}: p50 {p50:.0?}, p99 {p99:.0?}, most {most:.0?}");
    }
}

/// Each of the tokens, many at once over one connection: the server's processor time for each, in microseconds.
async fn checks(server: &Server, tokens: &[String]) -> f64 {
    let before = server.used();
    let mut callers = tokio::task::JoinSet::new();
    for share in tokens.chunks(tokens.len().div_ceil(AT_ONCE)) {
        let (channel, share) = (server.channel.clone(), share.to_vec());
        callers.spawn(async move {
            for token in share {
                assert!(passes(&channel, check(&token)).await);
            }
        });
    }
    callers.join_all().await;
    each(server.used() - before, tokens)
}

fn each(time: Duration, tokens: &[String]) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(u32::try_from(tokens.len()).unwrap())
}

/// So many tokens, by refreshes of a few sessions at once.
async fn tokens(server: &Server, authorization: &str) -> Vec<String> {
    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let channel = server.channel.clone();
        let mut refresh_token = sign_in(&channel, authorization).await.refresh_token;
        sessions.spawn(async move {
            let mut service = TokenServiceClient::new(channel);
            let mut tokens = Vec::new();
            for _ in 0..FIRST_SEEN.div_ceil(AT_ONCE) {
                let refresh = v1::RefreshTokenRequest { refresh_token };
                let next = service.refresh_token(refresh).await.unwrap().into_inner().tokens.unwrap();
                refresh_token = next.refresh_token;
                tokens.push(next.access_token);
            }
            tokens
        });
    }
    sessions.join_all().await.concat()
}

/// The bare verification of the tokens' signatures, which all are of one key: microseconds for each, on the core
/// of the servers.
fn bare(point: &str, tokens: &[String]) -> f64 {
    let mut itself = on_its_core(std::env::current_exe().unwrap().to_str().unwrap());
    let mut child = itself.arg(BARE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    write!(child.stdin.take().unwrap(), "{point}\n{}", tokens.join("\n")).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// What [`bare`] has this program do: the key's point and the tokens come in, the time goes out.
fn verify_bare() {
    let lines: Vec<String> = io::stdin().lines().map(Result::unwrap).collect();
    let (point, tokens) = lines.split_first().unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(point));
    let parts = tokens.iter().map(|token| token.rsplit_once('.').unwrap());
    let signed: Vec<_> = parts.map(|(signed, signature)| (signed, decode(signature))).collect();
    let began = Instant::now();
    for (signed, signature) in &signed {
        key.verify(signed.as_bytes(), signature).unwrap();
    }
    println!("{}", each(began.elapsed(), tokens));
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The point of the key (SEC 1, section 2.3.3) that signed a token.
async fn point(server: &Server, token: &str) -> String {
    let keys = TokenServiceClient::new(server.channel.clone()).get_jwks(v1::GetJwksRequest {}).await.unwrap();
    let header: serde_json::Value =
        serde_json::from_slice(&decode(token.split('.').next().unwrap())).unwrap();
    let key = keys.into_inner().keys.into_iter().find(|key| header["kid"] == key.kid.as_str()).unwrap();
    URL_SAFE_NO_PAD.encode([&[4][..], &decode(&key.x), &decode(&key.y)].concat())
}

/// The memory that a million revocations take, by what the process then has more.
fn weight() {
    let resident = || {
        let pages: u64 =
            fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4_096
    };
    let now = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let session = || RevokedSession {
        id: SessionId::generate(),
        client_id: ClientId::generate(),
        account_id: AccountId::generate(),
        revoke_time: now,
        reason: RevokeReason::RevokedByUser,
        access_expire_time: now + Duration::from_mins(30),
    };
    let (feed, before) = (RevocationFeed::default(), resident());
    for _ in 0..1_000 {
        let sessions = (0..1_000).map(|_| session()).collect();
        feed.hear(
            Instant::now(),
            Revocations { as_of: now, sessions, clients: Vec::new(), keys: Vec::new() },
        );
    }
    let megabytes = (resident() - before) / 1_000_000;
    println!("a million live revocations: {megabytes} MB");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some(BARE) {
        return verify_bare();
    }
    weight();
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("root-keys");
    fs::write(&keys, RootKeys::new_key().expose()).unwrap();
    let url = std::env::var("COUNTERSIGN_TEST_DATABASE_URL")
        .unwrap_or_else(|_| format!("sqlite:{}", folder.path().join("bench.db").display()));
    let (a, b) = (Server::start(&url, &keys).await, Server::start(&url, &keys).await);
    let policy = Policy {
        name: "Shop".to_owned(),
        audience: vec!["shop".to_owned()],
        rate_limit: RateLimit::NONE,
        ..Policy::default()
    };
    let (client, secret) = create_client(open(&url).await.unwrap().as_ref(), policy, "").await.unwrap();
    let basic =
        base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", client.id, secret.expose()));
    let authorization = format!("Basic {basic}");
    hearing(&a, &b, &authorization).await;
    let tokens = tokens(&b, &authorization).await;
    let point = point(&b, &tokens[0]).await;
    let (mut alone, mut first, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for tokens in tokens.chunks(ROUND) {
        let before = bare(&point, tokens);
        first.push(checks(&b, tokens).await);
        alone.push(f64::midpoint(before, bare(&point, tokens)));
        again.push(checks(&b, tokens).await);
    }
    let (half, quiet) = (quantile(&alone, 2), quantile(&alone, 4));
    println!("the bare verification of ES256: {quiet:.1} µs");
    for (what, times) in [("a token seen first:  ", first), ("a token seen of late:", again)] {
        let time = quantile(&times, 4);
        println!(
            "a check of {what} {time:.1} µs of one core, {:.0} a second, ratio {:.2} (of the medians: {:.2})",
            1e6 / time,
            time / quiet,
            quantile(&times, 2) / half,
        );
    }
}

/// What one round in `parts` took less than. Of a machine that others share, the quieter quarter says what the
/// work costs, and the median what the others cost on top.
fn quantile(times: &[f64], parts: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / parts]
}
