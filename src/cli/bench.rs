//! `countersign bench`: sign-ins and refreshes per second, with their latencies.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tonic::Status;

use super::{
    Outcome, client,
    grpc_client::{GrpcClient, tokens},
};
use crate::{
    app::{App, CHECKS},
    config::{ServeFlags, ServeSettings},
    domain::{Policy, RateLimit},
    flows::client::create::create_client,
    token::random,
    wallet::evm::EvmPrivateKey,
};

/// The environment's way to name the client of a running server.
const AUTHORIZATION_VARIABLE: &str = "COUNTERSIGN_BENCH_AUTHORIZATION";

#[derive(Args)]
pub(super) struct Bench {
    /// The settings of the server that is started for the run.
    #[command(flatten)]
    flags: ServeFlags,
    /// A server that runs already (without TLS), instead. COUNTERSIGN_BENCH_AUTHORIZATION must then hold
    /// the `authorization` of a client, as `client create` prints it.
    #[arg(long, value_name = "ADDRESS")]
    target: Option<SocketAddr>,
    /// How many wallets sign in.
    #[arg(long, default_value_t = 5_000)]
    sign_ins: usize,
    /// How many refreshes follow, each session in turn.
    #[arg(long, default_value_t = 10_000)]
    refreshes: usize,
    /// How many calls are under way at once.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
}

/// One measured operation, done over and over by several workers.
struct Run {
    what: &'static str,
    count: usize,
    concurrency: usize,
}

impl Bench {
    pub(super) async fn run(self) -> Outcome {
        if let Some(address) = self.target {
            let authorization = std::env::var(AUTHORIZATION_VARIABLE)
                .map_err(|_| format!("--target needs {AUTHORIZATION_VARIABLE}"))?;
            return self.drive(address, authorization).await;
        }
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = ServeSettings {
            grpc_listen: any_port,
            http_listen: any_port,
            operations_listen: any_port,
            tls: None,
            migrate: true,
            ..self.flags.settings(&CHECKS)?
        };
        let app = App::start(&settings).await?;
        let policy = Policy { name: "Bench".to_owned(), rate_limit: RateLimit::NONE, ..Policy::default() };
        let (made, secret) = create_client(app.store.as_ref(), policy, "").await?;
        say!("store: {}", app.store.backend());
        let outcome = self.drive(app.grpc_address, client::authorization(made.id, &secret)).await;
        app.run_until(std::future::ready(())).await?;
        outcome
    }

    async fn drive(&self, address: SocketAddr, authorization: String) -> Outcome {
        let concurrency = self.concurrency.max(1);
        let wallets: Arc<Vec<EvmPrivateKey>> =
            Arc::new((0..self.sign_ins).map(|_| EvmPrivateKey::generate(random::bytes)).collect());
        let authorization: Arc<str> = authorization.into();
        let clients = GrpcClients::connect(address, concurrency).await?;

        let sign_ins = Run { what: "sign-ins", count: self.sign_ins, concurrency };
        let refresh_tokens = sign_ins
            .measure(&clients, move |mut client, number| {
                let (wallets, authorization) = (Arc::clone(&wallets), Arc::clone(&authorization));
                async move { sign_in(&mut client, &authorization, &wallets[number]).await }
            })
            .await?;

        let sessions = refresh_tokens.len().max(1);
        let rounds = if refresh_tokens.is_empty() { 0 } else { self.refreshes.div_ceil(sessions) };
        self.refresh(&clients, concurrency, refresh_tokens, rounds).await
    }

    /// Refreshes every session once a round, so that each presents its newest token.
    async fn refresh(
        &self,
        clients: &GrpcClients,
        concurrency: usize,
        mut refresh_tokens: Vec<String>,
        rounds: usize,
    ) -> Outcome {
        for _ in 0..rounds {
            let refreshes = Run { what: "refreshes", count: refresh_tokens.len(), concurrency };
            let current = Arc::new(refresh_tokens);
            refresh_tokens = refreshes
                .measure(clients, move |mut client, number| {
                    let current = Arc::clone(&current);
                    async move { Ok(client.refresh(&current[number]).await?.refresh_token) }
                })
                .await?;
        }
        Ok(())
    }
}

/// Start, sign, verify: the refresh token it gave.
async fn sign_in(
    client: &mut GrpcClient,
    authorization: &str,
    wallet: &EvmPrivateKey,
) -> Result<String, Status> {
    let challenge = client.start(authorization, wallet.address().as_str()).await?;
    let signature = wallet.sign_text(&challenge.message);
    let answer = client.verify(authorization, &challenge.id, &signature).await?;
    Ok(tokens(answer.tokens)?.refresh_token)
}

/// A few connections that the workers share.
struct GrpcClients(Vec<GrpcClient>);

impl GrpcClients {
    async fn connect(address: SocketAddr, concurrency: usize) -> Result<Self, tonic::transport::Error> {
        let mut clients = Vec::new();
        for _ in 0..concurrency.min(4) {
            clients.push(GrpcClient::connect(address).await?);
        }
        Ok(Self(clients))
    }

    fn of(&self, worker: usize) -> GrpcClient {
        self.0[worker % self.0.len()].clone()
    }
}

impl Run {
    /// Does the operation `count` times, prints what it took, and answers the results in order.
    async fn measure<F, O>(&self, clients: &GrpcClients, operation: O) -> Result<Vec<String>, Status>
    where
        O: Fn(GrpcClient, usize) -> F + Clone + Send + 'static,
        F: Future<Output = Result<String, Status>> + Send,
    {
        let bar = self.bar();
        let next = Arc::new(AtomicUsize::new(0));
        let (start, count) = (Instant::now(), self.count);
        let mut workers = JoinSet::new();
        for worker in 0..self.concurrency {
            let (next, bar, operation, client) =
                (Arc::clone(&next), bar.clone(), operation.clone(), clients.of(worker));
            workers.spawn(async move {
                let mut done = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok::<_, Status>(done);
                    }
                    let began = Instant::now();
                    let result = operation(client.clone(), number).await?;
                    done.push((number, result, began.elapsed()));
                    bar.inc(1);
                }
            });
        }
        let mut done = Vec::with_capacity(count);
        for worker in workers.join_all().await {
            done.extend(worker?);
        }
        bar.finish_and_clear();
        self.report(start.elapsed(), done.iter().map(|(.., latency)| *latency).collect())?;
        done.sort_by_key(|(number, ..)| *number);
        Ok(done.into_iter().map(|(_, result, _)| result).collect())
    }

    fn bar(&self) -> ProgressBar {
        let length = u64::try_from(self.count).unwrap_or(u64::MAX);
        let style = ProgressStyle::with_template("{prefix:>10} {wide_bar} {pos}/{len} {per_sec}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(length).with_style(style).with_prefix(self.what)
    }

    fn report(&self, took: Duration, mut latencies: Vec<Duration>) -> io::Result<()> {
        latencies.sort();
        let at = |percent: usize| {
            let last = latencies.len().saturating_sub(1);
            latencies.get(last * percent / 100).copied().unwrap_or_default().as_secs_f64() * 1_000.0
        };
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let rate = latencies.len() as f64 / took.as_secs_f64();
        say!(
            "{:>10}: {rate:>8.0}/s   p50 {:.2} ms   p90 {:.2} ms   p99 {:.2} ms   max {:.2} ms   ({} at a time)",
            self.what,
            at(50),
            at(90),
            at(99),
            at(100),
            self.concurrency,
        );
        Ok(())
    }
}
