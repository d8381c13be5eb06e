//! Lookup of a challenge by what the caller states of it.

use super::requests::VerifyChallenge;
use crate::{
    domain::{
        Address, ChainAddress, Challenge, ChallengeId, Client, Content, Network, Nonce, Problem, Violation,
    },
    flows::{Error, Result},
    store::{ChallengeKey, ChallengeState, FoundChallenge},
    wallet::{default_network, parse_address, siwx},
};

/// Statements of a caller about a challenge and its signer.
pub(crate) struct ChallengeLookup {
    challenge_id: Option<ChallengeId>,
    nonce: Option<Nonce>,
    pub(crate) address: Option<Address>,
    pub(crate) network: Option<Network>,
    pub(crate) message: Option<SubmittedMessage>,
}

/// A message as it came, and what it says if it is an EIP-4361 text.
pub(crate) struct SubmittedMessage {
    pub(crate) text: String,
    pub(crate) sign_in: Option<siwx::SiwxMessage>,
}

impl ChallengeLookup {
    pub(crate) fn parse(client: &Client, request: &VerifyChallenge) -> Result<Self> {
        if request.signature.is_empty() {
            return Err(Violation::new("signature", Problem::SignatureEncoding, "is required").into());
        }
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let message = given(&request.message).map(SubmittedMessage::parse).transpose()?;
        let network = given(&request.network)
            .map(|text| client.policy.parse_wallet_network("network", &text))
            .transpose()?;
        let in_text = message.as_ref().and_then(|message| message.sign_in.as_ref());
        let address_network = network
            .clone()
            .or_else(|| in_text.map(|text| text.chain_id.network().clone()))
            .unwrap_or_else(|| default_network(&request.address));
        let address = given(&request.address)
            .map(|text| parse_address("address", &text, &address_network))
            .transpose()?;
        Ok(Self {
            challenge_id: given(&request.challenge_id)
                .map(|text| ChallengeId::parse("challenge_id", &text))
                .transpose()?,
            nonce: given(&request.nonce).map(|text| Nonce::parse(&text)).transpose()?,
            address,
            network,
            message,
        })
    }

    /// What the challenge is looked up by: the most exact of what was given.
    pub(crate) fn key(&self) -> Result<ChallengeKey> {
        let in_text = || self.message.as_ref()?.sign_in.as_ref().map(|text| text.nonce.clone());
        let by_id = self.challenge_id.map(ChallengeKey::Id);
        let by_nonce = || self.nonce.clone().or_else(in_text).map(ChallengeKey::Nonce);
        let by_address = || self.address.clone().map(ChallengeKey::Address);
        by_id
            .or_else(by_nonce)
            .or_else(by_address)
            .ok_or_else(|| Error::invalid("challenge_id", "or `nonce` or `address` is required"))
    }

    /// Those that can be redeemed and are what the caller says they are.
    pub(crate) fn candidates(&self, found: Vec<FoundChallenge>) -> Result<Vec<Challenge>> {
        self.agrees_with(&newest(&found)?.challenge)?;
        live(found)
    }

    /// Whatever was given besides the key must agree with what was found by it.
    pub(crate) fn agrees_with(&self, challenge: &Challenge) -> Result<()> {
        if self.nonce.as_ref().is_some_and(|nonce| *nonce != challenge.nonce) {
            return Err(differs("nonce", Problem::Request));
        }
        match &challenge.signer {
            Some(signer) => self.is_of(signer),
            None => Ok(()),
        }
    }

    /// Checks that address and network, where given, are the signer's.
    pub(crate) fn is_of(&self, signer: &ChainAddress) -> Result<()> {
        if self.address.as_ref().is_some_and(|address| *address != signer.address) {
            return Err(differs("address", Problem::Address));
        }
        if self.network.as_ref().is_some_and(|network| *network != signer.network) {
            return Err(differs("network", Problem::Network));
        }
        Ok(())
    }

    /// Error for an address that does not determine the challenge.
    pub(crate) fn too_many(&self) -> Error {
        let why = match self.network {
            None => "matches too many live challenges: also set `challenge_id`, `nonce` or `network`",
            Some(_) => "and `network` match too many live challenges: also set `challenge_id` or `nonce`",
        };
        Violation::new("address", Problem::Address, why).into()
    }

    /// Where the text was handed out, the message, if given, must be that text.
    pub(crate) fn same_message(&self, content: &Content) -> Result<()> {
        let Some(message) = &self.message else { return Ok(()) };
        if content.text().or(content.typed_data()) == Some(&message.text) {
            return Ok(());
        }
        let why = "must equal the challenge's message byte for byte";
        Err(Violation::new("message", Problem::Message, why).into())
    }
}

impl SubmittedMessage {
    fn parse(text: String) -> Result<Self> {
        let sign_in = siwx::looks_like_sign_in(&text).then(|| siwx::parse(&text)).transpose()?;
        Ok(Self { text, sign_in })
    }
}

/// The newest of those that were found.
pub(crate) fn newest(found: &[FoundChallenge]) -> Result<&FoundChallenge> {
    found.first().ok_or(Error::ChallengeNotFound)
}

/// Those that can be redeemed.
pub(crate) fn live(found: Vec<FoundChallenge>) -> Result<Vec<Challenge>> {
    let newest = found.first().map(|one| one.state);
    let live: Vec<Challenge> =
        found.into_iter().filter(|one| one.state == ChallengeState::Live).map(|one| one.challenge).collect();
    match newest {
        _ if !live.is_empty() => Ok(live),
        Some(ChallengeState::Redeemed) => Err(Error::ChallengeAlreadyUsed),
        Some(ChallengeState::Expired | ChallengeState::Live) => Err(Error::ChallengeExpired),
        None => Err(Error::ChallengeNotFound),
    }
}

/// True if the look-up left out other live challenges.
pub(crate) fn is_cut(found: &[FoundChallenge]) -> bool {
    found.iter().any(|one| one.cut)
}

fn differs(field: &str, problem: Problem) -> Error {
    Violation::new(field, problem, "is not that of the challenge named beside it").into()
}
