//! Costs of a token check with ext_authz, delay of a revocation, and memory of a million revocations.
//!
//! Drives the real program, release build, as processes on one store: `COUNTERSIGN_TEST_DATABASE_URL`, or an SQLite
//! file. Where `taskset` is there, the servers run on core 0; start this program with it on another one.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and may fail")]

mod bare;
mod revocations;
mod server;

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign::{
    domain::{Policy, RateLimit},
    flows::client::create::create_client,
    grpc::v1::{self, token_service_client::TokenServiceClient},
    store::open,
    token::RootKeys,
};

use crate::server::{Server, check, passes, sign_in};

const FIRST_SEEN: usize = 30_000;
/// How many tokens are checked between two bare verifications: what else the machine does is then much the same.
const ROUND: usize = 500;
const AT_ONCE: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some(bare::BARE) {
        return bare::verify();
    }
    revocations::weight();
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
    let basic = STANDARD.encode(format!("{}:{}", client.id, secret.expose()));
    let authorization = format!("Basic {basic}");
    revocations::propagation(&a, &b, &authorization).await;
    let tokens = tokens(&b, &authorization).await;
    let point = bare::point(&b, &tokens[0]).await;
    let (mut alone, mut first, mut again) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first_beside, mut again_beside) = (Vec::new(), Vec::new());
    for tokens in tokens.chunks_exact(ROUND) {
        let before = bare::bare(&point, tokens);
        let (seen_first, seen_of_late) = (checks(&b, tokens).await, checks(&b, tokens).await);
        let after = bare::bare(&point, tokens);
        alone.extend([before, after]);
        first.push(seen_first);
        again.push(seen_of_late);
        first_beside.push(seen_first / f64::midpoint(before, after));
        again_beside.push(seen_of_late / f64::midpoint(before, after));
    }
    let alone = quantile(alone, 4);
    println!(
        "microseconds of one core in the quieter rounds; their ratio; the median of the rounds' own ratios"
    );
    println!("the bare verification of ES256:  {alone:.1}");
    for (what, times, beside) in [("first:  ", first, first_beside), ("of late:", again, again_beside)] {
        let time = quantile(times, 4);
        println!("a check of a token seen {what} {time:.1}; {:.2}; {:.2}", time / alone, quantile(beside, 2));
    }
}

/// What one in `parts` is less than. Where others share the machine, the quieter quarter of the rounds says what
/// the work costs, and the median what they cost on top.
fn quantile(mut numbers: Vec<f64>, parts: usize) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / parts]
}

/// Each of the tokens, many at once over one connection: the server's processor time for each, in microseconds.
async fn checks(server: &Server, tokens: &[String]) -> f64 {
    let before = server.used().await;
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
    each(server.used().await - before, tokens)
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
