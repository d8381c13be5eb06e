//! The calls of one verification: newest first, at most two at a time, until a contract accepts the signature.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tracing::{Instrument as _, Span};

use super::{Accepted, ChainCall, ChainError, Chains, RpcUnavailable, places::Holder};
use crate::{
    domain::{ClientId, Network},
    wallet::evm::contract::ValidationResult,
};

/// Calls of one verification that run at a time.
const AT_A_TIME: usize = 2;

type Answer = Result<ValidationResult, ChainError>;

/// One verification under way.
pub(super) struct ContractCheck<'a> {
    chains: &'a Chains,
    client: ClientId,
    calls: &'a [ChainCall],
    end: Instant,
    /// Positions of the calls that have not begun, newest first.
    waiting: Vec<usize>,
    running: JoinSet<(usize, Answer)>,
    at_a_time: usize,
    standing: HashMap<&'a Network, Standing>,
    error: Option<ChainError>,
}

/// State of a chain that was called, in the order in which chains receive the next call; chains not called yet come
/// first. A chain that does not answer therefore never blocks a wallet of another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Answered,
    Asked,
    Failed,
}

impl<'a> ContractCheck<'a> {
    pub(super) fn new(chains: &'a Chains, client: ClientId, calls: &'a [ChainCall]) -> Self {
        Self {
            chains,
            client,
            calls,
            end: Instant::now() + chains.timeout,
            waiting: (0..calls.len()).collect(),
            running: JoinSet::new(),
            at_a_time: AT_A_TIME,
            standing: HashMap::new(),
            error: None,
        }
    }

    /// Runs the calls. The first one whose contract accepts the signature cancels the others.
    pub(super) async fn run(mut self) -> Result<Option<Accepted>, ChainError> {
        loop {
            self.begin_calls();
            match self.running.join_next().await {
                Some(Ok((at, Ok(answer)))) if answer.method().is_some() => {
                    self.running.abort_all();
                    return Ok(Some(Accepted { at, answer }));
                }
                Some(Ok((at, answer))) => self.ended(at, answer),
                Some(Err(_panicked)) => self.fail(unavailable(&self.calls[0])),
                None => return self.verdict(),
            }
        }
    }

    /// Calls for which no time is left stay waiting.
    fn begin_calls(&mut self) {
        while self.running.len() < self.at_a_time {
            let left = self.end.saturating_duration_since(Instant::now());
            let time = left / self.rounds();
            if time.is_zero() {
                return;
            }
            let Some(at) = self.next() else { return };
            self.begin(at, time);
        }
    }

    /// Number of rounds in which every chain not called yet receives a call; each round has an equal share of the time.
    fn rounds(&self) -> u32 {
        let networks = self.waiting.iter().map(|&at| &self.calls[at].network);
        let not_asked: HashSet<&Network> = networks.filter(|&one| !self.standing.contains_key(one)).collect();
        u32::try_from(not_asked.len().div_ceil(AT_A_TIME)).unwrap_or(u32::MAX).max(1)
    }

    /// Newest call of the next chain.
    fn next(&mut self) -> Option<usize> {
        let standing = |at: usize| self.standing.get(&self.calls[at].network);
        let (position, _) = self.waiting.iter().enumerate().min_by_key(|&(_, &at)| standing(at))?;
        Some(self.waiting.remove(position))
    }

    fn begin(&mut self, at: usize, time: Duration) {
        let ChainCall { network, session, call } = &self.calls[at];
        let Some(chain) = self.chains.by_network.get(network).cloned() else {
            return self.fail(unavailable(&self.calls[at]));
        };
        // A failed chain stays last.
        let standing = self.standing.entry(network).or_insert(Standing::Asked);
        *standing = Standing::Asked.max(*standing);
        let (holder, call) = (Holder { client: self.client, session: *session }, call.clone());
        let asking = async move { (at, chain.ask(holder, &call, time).await) };
        self.running.spawn(asking.instrument(Span::current()));
    }

    fn ended(&mut self, at: usize, answer: Answer) {
        let network = &self.calls[at].network;
        match answer {
            Ok(_) => drop(self.standing.insert(network, Standing::Answered)),
            Err(ChainError::Overloaded) if !self.running.is_empty() => self.postpone(at),
            Err(error) => {
                self.standing.insert(network, Standing::Failed);
                self.fail(error);
            }
        }
    }

    /// Postpones a call that got no place until the other call of this verification has released its own.
    fn postpone(&mut self, at: usize) {
        self.at_a_time = 1;
        self.standing.remove(&self.calls[at].network);
        self.waiting.insert(0, at);
    }

    /// Records an error. That of a call that was made takes precedence over that of a call that got no place.
    fn fail(&mut self, error: ChainError) {
        if !matches!(self.error, Some(ChainError::Unavailable(_))) {
            self.error = Some(error);
        }
    }

    /// The verdict where no contract has accepted the signature.
    fn verdict(&mut self) -> Result<Option<Accepted>, ChainError> {
        let out_of_time = self.waiting.first().map(|&at| unavailable(&self.calls[at]));
        self.error.take().or(out_of_time).map_or(Ok(None), Err)
    }
}

/// Dropping the check does not cancel running calls: their results set the endpoint that the next verification tries
/// first.
impl Drop for ContractCheck<'_> {
    fn drop(&mut self) {
        self.running.detach_all();
    }
}

/// The error of a call that has none of its own.
fn unavailable(call: &ChainCall) -> ChainError {
    ChainError::Unavailable(RpcUnavailable { network: call.network.clone(), errors: Vec::new() })
}
