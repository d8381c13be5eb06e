//! What it costs to check a token with ext_authz, how soon a revocation is heard, and what a million of them weigh.
//!
//! Drives the real program, release build, as processes on one store: `COUNTERSIGN_TEST_DATABASE_URL`, or an SQLite
//! file. Where `taskset` is there, the server has one core and this program another.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and may fail")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
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
const ROUNDS: usize = 5;
const CHECKS: usize = 20_000;
const FIRST_SEEN: usize = 2_000;
const AT_ONCE: usize = 64;

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
        let program = env!("CARGO_BIN_EXE_countersign");
        let pinned = Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_ok();
        let mut command = Command::new(if pinned { "taskset" } else { program });
        if pinned {
            command.args(["-c", "0", program]);
        }
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

    /// The processor time that it has used so far.
    fn used(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // Of proc(5): utime and stime, in hundredths of a second.
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
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

/// Each of the tokens, many at once over one connection: the processor time of the server for each, and the rate.
async fn checks(server: &Server, tokens: &[String]) -> (Duration, f64) {
    let (before, began) = (server.used(), Instant::now());
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
    let count = u32::try_from(tokens.len()).unwrap();
    ((server.used() - before) / count, f64::from(count) / began.elapsed().as_secs_f64())
}

/// So many tokens of one session, each by a refresh.
async fn tokens(server: &Server, authorization: &str) -> Vec<String> {
    let mut service = TokenServiceClient::new(server.channel.clone());
    let mut tokens = Vec::new();
    let mut refresh_token = sign_in(&server.channel, authorization).await.refresh_token;
    for _ in 0..FIRST_SEEN {
        let refresh = v1::RefreshTokenRequest { refresh_token };
        let next = service.refresh_token(refresh).await.unwrap().into_inner().tokens.unwrap();
        refresh_token = next.refresh_token;
        tokens.push(next.access_token);
    }
    tokens
}

/// The bare verification of the token's signature.
async fn bare(server: &Server, token: &str) -> Duration {
    let keys = TokenServiceClient::new(server.channel.clone()).get_jwks(v1::GetJwksRequest {}).await.unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let header: serde_json::Value =
        serde_json::from_slice(&decode(signed.split('.').next().unwrap())).unwrap();
    let key = keys.into_inner().keys.into_iter().find(|key| header["kid"] == key.kid.as_str()).unwrap();
    let point = [&[4][..], &decode(&key.x), &decode(&key.y)].concat();
    let (key, signature) = (UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point), decode(signature));
    let began = Instant::now();
    for _ in 0..CHECKS {
        key.verify(signed.as_bytes(), &signature).unwrap();
    }
    began.elapsed() / u32::try_from(CHECKS).unwrap()
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
    let again = vec![sign_in(&b.channel, &authorization).await.access_token; CHECKS];
    let (mut known, mut new, mut alone, mut rates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (cost, rate) = checks(&b, &again).await;
        known.push(cost);
        rates.push(rate);
        alone.push(bare(&b, &again[0]).await);
        new.push(checks(&b, &tokens(&b, &authorization).await).await.0);
        alone.push(bare(&b, &again[0]).await);
    }
    rates.sort_by(f64::total_cmp);
    let alone = median(alone);
    println!("the bare verification of ES256: {alone:.1?}");
    println!("a check of a token seen of late: {}, {:.0} a second", beside(known, alone), rates[ROUNDS / 2]);
    println!("a check of a token seen first:   {}", beside(new, alone));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn beside(times: Vec<Duration>, alone: Duration) -> String {
    let whole = median(times);
    format!("{whole:.1?} of one core, ratio {:.2}", whole.as_secs_f64() / alone.as_secs_f64())
}
