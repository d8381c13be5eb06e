//! The nodes of EVM chains: several endpoints per chain, asked in turn until one answers.
//!
//! It reads and signs nothing. The answers of an endpoint are believed: it is as trusted as the service itself.

mod contract_check;
mod endpoint;
mod places;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    domain::{ChainEndpoint, ClientId, Network, SessionId},
    wallet::evm::contract::{ValidationCall, ValidationResult},
};
use contract_check::ContractCheck;
use endpoint::{Endpoint, EndpointError, HttpClient, http_client};
use places::{Holder, Place};

/// The chains whose nodes may be asked.
pub struct Chains {
    by_network: HashMap<Network, Arc<Chain>>,
    timeout: Duration,
}

/// A call to the nodes of a chain.
pub struct ChainCall {
    /// The chain.
    pub network: Network,
    /// Session of the challenge, if it belongs to one.
    pub session: Option<SessionId>,
    /// The question.
    pub call: ValidationCall,
}

/// The answer of a contract that accepts the signature.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The position of its call.
    pub at: usize,
    /// The answer.
    pub answer: ValidationResult,
}

/// The endpoints of one chain, and which of them to begin with.
struct Chain {
    network: Network,
    endpoints: Vec<Endpoint>,
    first: AtomicUsize,
    http: HttpClient,
}

/// The reasons why no node has answered.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No endpoint was called: at each one the client or session has used up its share, or every place is taken.
    #[error("no RPC node of the chain has a free place for this client and session")]
    Overloaded,
    /// At least one endpoint was asked.
    #[error(transparent)]
    Unavailable(RpcUnavailable),
}

/// No endpoint of a chain gave an answer. What each of them did is for the log; no URL is in it.
#[derive(Debug, thiserror::Error)]
#[error("{network}: {}", .errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct RpcUnavailable {
    network: Network,
    errors: Vec<EndpointError>,
}

impl Chains {
    /// Over these endpoints, in their order; the calls of one verification together may take so long.
    pub fn new(endpoints: &[ChainEndpoint], timeout: Duration) -> Self {
        let http = http_client();
        let mut by_network: HashMap<Network, Vec<Endpoint>> = HashMap::new();
        for ChainEndpoint { network, url } in endpoints {
            by_network.entry(network.clone()).or_default().push(Endpoint::new(url));
        }
        let chain = |(network, endpoints): (Network, _)| {
            let (first, http) = (AtomicUsize::new(0), http.clone());
            (network.clone(), Arc::new(Chain { network, endpoints, first, http }))
        };
        Self { by_network: by_network.into_iter().map(chain).collect(), timeout }
    }

    /// Whether a chain has endpoints.
    pub fn is_configured(&self, network: &Network) -> bool {
        self.by_network.contains_key(network)
    }

    /// Finds the first call, in the given order (newest first), whose contract accepts the signature; `None` if none
    /// does. At most two calls run at a time. If the caller disconnects, running calls continue, so that a caller with
    /// a short deadline still helps the next one to start with a responsive endpoint.
    ///
    /// # Errors
    /// If no contract has accepted the signature and at least one call got no answer.
    pub async fn first_accepted(
        &self,
        client: ClientId,
        calls: &[ChainCall],
    ) -> Result<Option<Accepted>, ChainError> {
        ContractCheck::new(self, client, calls).run().await
    }
}

impl Chain {
    /// Calls the endpoints in order. An endpoint without a free place is skipped, without effect on where later calls
    /// start.
    async fn ask(
        &self,
        holder: Holder,
        call: &ValidationCall,
        time: Duration,
    ) -> Result<ValidationResult, ChainError> {
        let end = Instant::now() + time;
        let mut errors = Vec::new();
        for (tried, at) in self.in_turn().enumerate() {
            let endpoint = &self.endpoints[at];
            let Some(place) = self.place(endpoint, holder) else { continue };
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(self.endpoints.len() - tried).unwrap_or(1);
            match self.ask_one(endpoint, place, call, share).await {
                Ok(answer) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => {
                    self.note_failure(at, &error);
                    errors.push(error);
                }
            }
        }
        if errors.is_empty() {
            return Err(ChainError::Overloaded);
        }
        Err(ChainError::Unavailable(RpcUnavailable { network: self.network.clone(), errors }))
    }

    /// A place at an endpoint, if there is one for the client and the session.
    fn place<'a>(&self, endpoint: &'a Endpoint, holder: Holder) -> Option<Place<'a>> {
        endpoint.place(holder).inspect_err(|shed| count(&self.network, shed.outcome())).ok()
    }

    async fn ask_one(
        &self,
        endpoint: &Endpoint,
        place: Place<'_>,
        call: &ValidationCall,
        share: Duration,
    ) -> Result<ValidationResult, EndpointError> {
        let began = Instant::now();
        let answer = match tokio::time::timeout(share, endpoint.ask(&self.http, call)).await {
            Ok(Ok(answer)) if Some(answer.chain_id) != self.network.chain_id() => {
                Err(endpoint.error(format!("is of the chain eip155:{}", answer.chain_id)))
            }
            Ok(outcome) => outcome,
            Err(_) => {
                place.release_timed_out(Instant::now(), share);
                Err(endpoint.error("did not answer in time"))
            }
        };
        measure(&self.network, answer.is_ok(), began.elapsed());
        answer
    }

    /// The positions of the endpoints, from the one to begin with.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.endpoints.len());
        (0..count).map(move |step| (first + step) % count)
    }

    /// Logs a failed call, at a limited rate. Later calls start with the endpoint after it, unless another call has
    /// moved the start meanwhile.
    fn note_failure(&self, failed: usize, error: &EndpointError) {
        let lines = &self.endpoints[failed].failure_lines;
        if let Some(suppressed) = lines.report() {
            let network = &self.network;
            tracing::warn!(%network, suppressed, "log lines about failed RPC node calls were suppressed");
        }
        if lines.take() {
            tracing::warn!(network = %self.network, %error, "an RPC node call failed");
        }
        let next = (failed + 1) % self.endpoints.len();
        let _ = self.first.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn measure(network: &Network, answered: bool, took: Duration) {
    count(network, if answered { "answered" } else { "failed" });
    metrics::histogram!("countersign_chain_call_seconds", "network" => network.to_string()).record(took);
}

fn count(network: &Network, outcome: &'static str) {
    let labels = [("network", network.to_string()), ("outcome", outcome.to_owned())];
    metrics::counter!("countersign_chain_calls_total", &labels).increment(1);
}
