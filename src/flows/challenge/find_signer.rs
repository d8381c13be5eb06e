//! Finds the challenge that a signature belongs to, among those of one address: signed by its key or by its contract.

use time::OffsetDateTime;

use super::{lookup::ChallengeLookup, signed_message::signed_message};
use crate::{
    chain::{Accepted, ChainCall, ChainError, Chains},
    domain::{Challenge, Client, Verification},
    flows::{Error, Result},
    state::error::Cause,
    wallet::SignedMessage,
};

/// Challenges for one chain that its nodes are asked about for one verification, at most.
const ASKED_PER_CHAIN: usize = 8;

/// Candidates tried before yielding to other tasks: each costs a key recovery.
const TRIED_AT_ONCE: usize = 16;

/// A challenge, and what would have been signed for it.
type Unsigned = (Challenge, SignedMessage);

/// Tries key recovery on all candidates before calling any node. Candidates that cannot match are skipped. If none can
/// match, the error is the first reason; if `cut`, the look-up left candidates out, and a mismatch is no reason.
pub(crate) async fn find_signer(
    client: &Client,
    candidates: Vec<Challenge>,
    cut: bool,
    lookup: &ChallengeLookup,
    signature: &str,
    now: OffsetDateTime,
    chains: Option<&Chains>,
) -> Result<(Challenge, Verification)> {
    let mut why = None;
    let mut unsigned = Vec::new();
    for (tried, challenge) in candidates.into_iter().enumerate() {
        if tried % TRIED_AT_ONCE == TRIED_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let message = match signed_message(&challenge, lookup, &client.policy, now) {
            Ok(message) => message,
            Err(error) => {
                why = why.or(Some(error));
                continue;
            }
        };
        match message.verified_by_key(signature) {
            Ok(Some(verification)) => return Ok((challenge, verification)),
            Ok(None) => why = why.or(Some(Error::SignatureMismatch)),
            Err(malformed) => why = why.or(Some(malformed.into())),
        }
        unsigned.push((challenge, message));
    }
    if let Some(chains) = chains.filter(|_| client.policy.contract_wallets)
        && let Some(signed) = contract_signer(client, unsigned, cut, lookup, signature, chains).await?
    {
        return Ok(signed);
    }
    match why {
        None | Some(Error::SignatureMismatch) if cut => Err(lookup.too_many()),
        why => Err(why.unwrap_or(Error::SignatureMismatch)),
    }
}

/// The challenge that a contract accepts the signature for; `None` where there is no contract to ask.
async fn contract_signer(
    client: &Client,
    unsigned: Vec<Unsigned>,
    cut: bool,
    lookup: &ChallengeLookup,
    signature: &str,
    chains: &Chains,
) -> Result<Option<(Challenge, Verification)>> {
    let (asked, passed_over) = to_be_asked(client, unsigned, chains)?;
    let (mut asked, calls) = with_calls(asked, signature)?;
    if let Some(Accepted { at, answer }) = chains.first_accepted(client.id, &calls).await? {
        let (challenge, message) = asked.swap_remove(at);
        return Ok(message.verified_by_contract(answer).map(|verification| (challenge, verification)));
    }
    match calls.is_empty() {
        _ if passed_over => Err(lookup.too_many()),
        true => Ok(None),
        false if cut => Err(lookup.too_many()),
        false => Err(Error::SignatureMismatch),
    }
}

/// The candidates whose address can be a contract's, and at the same positions their calls.
fn with_calls(candidates: Vec<Unsigned>, signature: &str) -> Result<(Vec<Unsigned>, Vec<ChainCall>)> {
    let mut asked = Vec::new();
    for (challenge, message) in candidates {
        if let Some(call) = message.validation_call(signature)? {
            let network = message.claimed.network.clone();
            let call = ChainCall { network, session: challenge.session_id, call };
            asked.push(((challenge, message), call));
        }
    }
    Ok(asked.into_iter().unzip())
}

/// Candidates that a contract can have signed, and whether some exceeded the limit. Newest first, those of sessions
/// last, so that sessions do not displace the challenges of the client itself. A contract exists on its own chain only,
/// so a challenge for one chain is never checked on another.
fn to_be_asked(
    client: &Client,
    mut unsigned: Vec<Unsigned>,
    chains: &Chains,
) -> Result<(Vec<Unsigned>, bool)> {
    unsigned.sort_by_key(|(challenge, _)| challenge.session_id.is_some());
    let mut asked: Vec<Unsigned> = Vec::new();
    let mut passed_over = false;
    for (challenge, message) in unsigned {
        let network = &message.claimed.network;
        let is_of_its_chain = challenge.signer.as_ref().is_none_or(|signer| signer.network == *network);
        if !chains.is_configured(network) || !is_of_its_chain {
            continue;
        }
        client.policy.check_challenge(challenge.format, network)?;
        if asked.iter().filter(|(_, other)| other.claimed.network == *network).count() >= ASKED_PER_CHAIN {
            passed_over = true;
        } else {
            asked.push((challenge, message));
        }
    }
    Ok((asked, passed_over))
}

impl From<ChainError> for Error {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Overloaded => Self::Overloaded("calls to the chain's RPC nodes in flight"),
            ChainError::Unavailable(error) => Self::ChainRpcUnavailable(Cause(error.to_string())),
        }
    }
}
