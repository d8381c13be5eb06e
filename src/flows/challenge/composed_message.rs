//! Checks of a message that the caller composed around a nonce, by the client's policy.

use time::OffsetDateTime;

use super::lookup::{ChallengeLookup, SubmittedMessage};
use crate::{
    domain::{ChainAddress, Challenge, Policy, Problem, Violation},
    flows::{Error, Result},
    wallet::{default_network, siwx},
};

/// Who claims to have signed, and the exact text.
pub(crate) fn check(
    challenge: &Challenge,
    lookup: &ChallengeLookup,
    policy: &Policy,
    now: OffsetDateTime,
) -> Result<(ChainAddress, String)> {
    let Some(message) = &lookup.message else {
        return Err(refused("is required: the caller composed it"));
    };
    match &message.sign_in {
        Some(text) => {
            sign_in_text(challenge, lookup, policy, text, now).map(|signer| (signer, message.text.clone()))
        }
        None => listed_text(challenge, lookup, policy, message),
    }
}

/// A text of the policy, followed by the nonce, once; the request may leave the nonce out.
fn listed_text(
    challenge: &Challenge,
    lookup: &ChallengeLookup,
    policy: &Policy,
    message: &SubmittedMessage,
) -> Result<(ChainAddress, String)> {
    let nonce = challenge.nonce.as_str();
    let signed = |listed: &String| format!("{listed}{nonce}");
    let is_listed_text = |listed: &&String| message.text == **listed || message.text == signed(listed);
    let listed = policy.nonce_messages.iter().find(is_listed_text);
    let text = listed.map(signed).ok_or(Error::PolicyDenied("nonce_messages"))?;
    let signer = challenge.signer.clone().or_else(|| {
        let address = lookup.address.clone()?;
        let network = lookup.network.clone().unwrap_or_else(|| default_network(address.as_str()));
        Some(ChainAddress { address, network })
    });
    signer.map(|signer| (signer, text)).ok_or_else(|| {
        Error::invalid("address", "is required: state the address; recovering one is not enough")
    })
}

/// An EIP-4361 text, each of whose fields is checked against the challenge and the policy.
fn sign_in_text(
    challenge: &Challenge,
    lookup: &ChallengeLookup,
    policy: &Policy,
    text: &siwx::SiwxMessage,
    now: OffsetDateTime,
) -> Result<ChainAddress> {
    let signer = ChainAddress { address: text.address.clone(), network: text.chain_id.network().clone() };
    lookup.is_of(&signer)?;
    if challenge.signer.as_ref().is_some_and(|asked| asked.address != signer.address) {
        return Err(refused("names another address than the challenge"));
    }
    if text.nonce != challenge.nonce {
        return Err(refused("names another `Nonce` than the challenge"));
    }
    times(text, now)?;
    is_scheme_of_a_uri(text, policy)?;
    is_listed("domains", &policy.domains, Some(text.domain.as_str()))?;
    is_listed("uris", &policy.uris, Some(text.uri.as_str()))?;
    is_listed("statements", &policy.statements, text.statement.as_ref().map(siwx::Statement::as_str))?;
    text.resources
        .iter()
        .flatten()
        .try_for_each(|one| is_listed("resources", &policy.resources, Some(one.as_str())))?;
    Ok(signer)
}

/// A domain that is listed for one scheme is not the same site under another.
fn is_scheme_of_a_uri(text: &siwx::SiwxMessage, policy: &Policy) -> Result<()> {
    let is_of = |scheme: &siwx::Scheme| {
        let start = format!("{scheme}://");
        policy.uris.iter().any(|uri| uri.starts_with(&start))
    };
    if text.scheme.as_ref().is_none_or(is_of) { Ok(()) } else { Err(Error::PolicyDenied("uris")) }
}

fn is_listed(rule: &'static str, list: &[String], value: Option<&str>) -> Result<()> {
    match value {
        Some(value) if !list.iter().any(|entry| entry == value) => Err(Error::PolicyDenied(rule)),
        Some(_) | None => Ok(()),
    }
}

/// The times that a text itself sets (EIP-4361, "Informal Message Template"), on the database's clock.
fn times(text: &siwx::SiwxMessage, now: OffsetDateTime) -> Result<()> {
    if text.expiration_time.as_ref().is_some_and(|end| end.instant() <= now) {
        return Err(refused("has expired: its `Expiration Time` is over"));
    }
    if text.not_before.as_ref().is_some_and(|begin| begin.instant() > now) {
        return Err(refused("is not valid yet: its `Not Before` is to come"));
    }
    Ok(())
}

fn refused(why: &str) -> Error {
    Violation::new("message", Problem::Message, why).into()
}
