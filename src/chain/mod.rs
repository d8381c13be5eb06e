//! The nodes of EVM chains: several endpoints per chain, asked in turn until one answers.
//!
//! The only room that speaks to anybody outside; it asks, and signs nothing.

mod endpoint;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::{
    domain::{ChainEndpoint, Network},
    wallet::contract::{Answer, Question},
};
use endpoint::{Endpoint, HttpClient, Trouble, http_client};

/// How many questions may be under way at once, on all chains; what comes then waits.
const UNDER_WAY: usize = 64;

/// The chains whose nodes may be asked.
pub struct Chains {
    by_network: HashMap<Network, Chain>,
    client: HttpClient,
    timeout: Duration,
    under_way: Semaphore,
}

/// The endpoints of one chain, and which of them answered last.
#[derive(Default)]
struct Chain {
    endpoints: Vec<Endpoint>,
    good: AtomicUsize,
}

/// No endpoint of a chain gave an answer. What each of them did is for the log; no URL is in it.
#[derive(Debug, thiserror::Error)]
#[error("{network}: {}", .troubles.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Unanswered {
    network: Network,
    troubles: Vec<Trouble>,
}

impl Chains {
    /// Over these endpoints, in their order, each of which may take so long to answer.
    pub fn new(endpoints: &[ChainEndpoint], timeout: Duration) -> Self {
        let mut by_network: HashMap<Network, Chain> = HashMap::new();
        for ChainEndpoint { network, url } in endpoints {
            by_network.entry(network.clone()).or_default().endpoints.push(Endpoint::new(url));
        }
        Self { by_network, client: http_client(), timeout, under_way: Semaphore::new(UNDER_WAY) }
    }

    /// Whether a chain has endpoints.
    pub fn know(&self, network: &Network) -> bool {
        self.by_network.contains_key(network)
    }

    /// The answer of the first endpoint that gives one and is of this chain, beginning with the one that did last.
    ///
    /// # Errors
    /// If there is none.
    pub async fn ask(&self, network: &Network, question: &Question) -> Result<Answer, Unanswered> {
        let mut troubles = Vec::new();
        if let Some(chain) = self.by_network.get(network) {
            for (at, endpoint) in chain.in_turn() {
                match self.ask_one(endpoint, network, question).await {
                    Ok(answer) => {
                        chain.good.store(at, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(trouble) => troubles.push(trouble),
                }
            }
        }
        Err(Unanswered { network: network.clone(), troubles })
    }

    async fn ask_one(
        &self,
        endpoint: &Endpoint,
        network: &Network,
        question: &Question,
    ) -> Result<Answer, Trouble> {
        let began = Instant::now();
        let answer = tokio::time::timeout(self.timeout, async {
            let _slot = self.under_way.acquire().await.map_err(|_| endpoint.trouble("was not asked"))?;
            endpoint.ask(&self.client, question).await
        });
        let answer = match answer.await {
            Ok(Ok(answer)) if Some(answer.chain_id) != network.chain_id() => {
                Err(endpoint.trouble(format!("is of the chain eip155:{}", answer.chain_id)))
            }
            Ok(outcome) => outcome,
            Err(_) => Err(endpoint.trouble("did not answer in time")),
        };
        measure(network, answer.is_ok(), began.elapsed());
        answer.inspect_err(|trouble| tracing::warn!(%network, %trouble, "a node did not answer"))
    }
}

impl Chain {
    /// The endpoints with their places, the good one first.
    fn in_turn(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        let good = self.good.load(Ordering::Relaxed);
        let all = || self.endpoints.iter().enumerate();
        all().skip(good).chain(all().take(good))
    }
}

fn measure(network: &Network, answered: bool, took: Duration) {
    let outcome = if answered { "answered" } else { "failed" };
    let labels = [("network", network.to_string()), ("outcome", outcome.to_owned())];
    metrics::counter!("countersign_chain_calls_total", &labels).increment(1);
    metrics::histogram!("countersign_chain_call_seconds", "network" => network.to_string()).record(took);
}
