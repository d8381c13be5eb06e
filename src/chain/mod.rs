//! The nodes of EVM chains: several endpoints per chain, asked in turn until one answers.
//!
//! It reads and signs nothing. The answers of an endpoint are believed: it is as trusted as the service itself.

mod endpoint;

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::Instrument as _;

use crate::{
    domain::{ChainEndpoint, Network},
    wallet::evm::contract::{ValidationCall, ValidationResult},
};
use endpoint::{Endpoint, EndpointError, HttpClient, http_client};

/// The chains whose nodes may be asked.
pub struct Chains {
    by_network: HashMap<Network, Arc<Chain>>,
}

/// The endpoints of one chain, and which of them to begin with.
struct Chain {
    network: Network,
    endpoints: Vec<Endpoint>,
    first: AtomicUsize,
    client: HttpClient,
    timeout: Duration,
}

/// No endpoint of a chain gave an answer. What each of them did is for the log; no URL is in it.
#[derive(Debug, thiserror::Error)]
#[error("{network}: {}", .errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct RpcUnavailable {
    network: Network,
    errors: Vec<EndpointError>,
}

impl Chains {
    /// Over these endpoints, in their order; all of one chain together may take so long to answer.
    pub fn new(endpoints: &[ChainEndpoint], timeout: Duration) -> Self {
        let client = http_client();
        let mut by_network: HashMap<Network, Vec<Endpoint>> = HashMap::new();
        for ChainEndpoint { network, url } in endpoints {
            by_network.entry(network.clone()).or_default().push(Endpoint::new(url));
        }
        let chain = |(network, endpoints): (Network, _)| {
            let (first, client) = (AtomicUsize::new(0), client.clone());
            (network.clone(), Arc::new(Chain { network, endpoints, first, client, timeout }))
        };
        Self { by_network: by_network.into_iter().map(chain).collect() }
    }

    /// Whether a chain has endpoints.
    pub fn is_configured(&self, network: &Network) -> bool {
        self.by_network.contains_key(network)
    }

    /// Begins to ask; what is awaited is the answer of the first endpoint that gives one and is of this chain. The
    /// call goes on when its caller is gone, so that a caller who waits for less than an endpoint takes still
    /// teaches the next one where to begin.
    pub fn validate(
        &self,
        network: &Network,
        call: ValidationCall,
    ) -> impl Future<Output = Result<ValidationResult, RpcUnavailable>> + use<> {
        let nobody = RpcUnavailable { network: network.clone(), errors: Vec::new() };
        let chain = self.by_network.get(network).cloned();
        let asking = chain.map(|chain| {
            tokio::spawn(async move { chain.ask(&call).await }.instrument(tracing::Span::current()))
        });
        async {
            match asking {
                Some(asking) => asking.await.unwrap_or(Err(nobody)),
                None => Err(nobody),
            }
        }
    }
}

impl Chain {
    async fn ask(&self, call: &ValidationCall) -> Result<ValidationResult, RpcUnavailable> {
        let end = Instant::now() + self.timeout;
        let mut errors = Vec::new();
        for (tried, at) in self.in_turn().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(self.endpoints.len() - tried).unwrap_or(1);
            match self.ask_one(&self.endpoints[at], call, share).await {
                Ok(answer) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => {
                    tracing::warn!(network = %self.network, error = %error, "a node did not answer");
                    let next = (at + 1) % self.endpoints.len();
                    let _ = self.first.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
                    errors.push(error);
                }
            }
        }
        Err(RpcUnavailable { network: self.network.clone(), errors })
    }

    async fn ask_one(
        &self,
        endpoint: &Endpoint,
        call: &ValidationCall,
        share: Duration,
    ) -> Result<ValidationResult, EndpointError> {
        let _permit = endpoint.permit()?;
        let began = Instant::now();
        let answer = match tokio::time::timeout(share, endpoint.ask(&self.client, call)).await {
            Ok(Ok(answer)) if Some(answer.chain_id) != self.network.chain_id() => {
                Err(endpoint.error(format!("is of the chain eip155:{}", answer.chain_id)))
            }
            Ok(outcome) => outcome,
            Err(_) => Err(endpoint.error("did not answer in time")),
        };
        measure(&self.network, answer.is_ok(), began.elapsed());
        answer
    }

    /// The places of the endpoints, from the one to begin with.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.endpoints.len());
        (0..count).map(move |step| (first + step) % count)
    }
}

fn measure(network: &Network, answered: bool, took: Duration) {
    let outcome = if answered { "answered" } else { "failed" };
    let labels = [("network", network.to_string()), ("outcome", outcome.to_owned())];
    metrics::counter!("countersign_chain_calls_total", &labels).increment(1);
    metrics::histogram!("countersign_chain_call_seconds", "network" => network.to_string()).record(took);
}
