//! Which of some challenges was signed by the address that claims it: by its own key, or by its contract.

use time::OffsetDateTime;

use super::{
    Error, Flows, Result,
    claim::{Claim, too_many},
    signed_message::SignedMessage,
};
use crate::domain::{Challenge, Client, Verification};

/// How many challenges the chain's nodes are asked about for one call, at most.
const ASKED_LIMIT: usize = 8;

impl Flows {
    /// The challenge, and how it was found to be signed. Keys are tried on all of them before any node is asked. One
    /// that cannot be what was signed is passed over while another can; the first reason is told if none can.
    pub(super) async fn signer(
        &self,
        client: &Client,
        candidates: Vec<Challenge>,
        claim: &Claim,
        signature: &str,
        now: OffsetDateTime,
    ) -> Result<(Challenge, Verification)> {
        let mut why = None;
        let mut unsigned = Vec::new();
        for challenge in candidates {
            let message = match SignedMessage::of(&challenge, claim, &client.policy, now) {
                Ok(message) => message,
                Err(error) => {
                    why = why.or(Some(error));
                    continue;
                }
            };
            match message.verified_by_key(signature) {
                Ok(Some(verification)) => return Ok((challenge, verification)),
                Ok(None) => why = why.or(Some(Error::SignatureMismatch)),
                Err(error) => why = why.or(Some(error)),
            }
            unsigned.push((challenge, message));
        }
        let why = why.unwrap_or(Error::SignatureMismatch);
        self.contract_signer(client, unsigned, signature).await?.ok_or(why)
    }

    /// The challenge that a contract accepts the signature for; `None` where no contract can be asked.
    async fn contract_signer(
        &self,
        client: &Client,
        unsigned: Vec<(Challenge, SignedMessage)>,
        signature: &str,
    ) -> Result<Option<(Challenge, Verification)>> {
        if !client.policy.contract_wallets {
            return Ok(None);
        }
        let mut asked = Vec::new();
        for (challenge, message) in unsigned {
            // Signatures of other namespaces are written otherwise.
            if !self.chains.know(&message.claimed.network) {
                continue;
            }
            if let Some(question) = message.question(signature)? {
                asked.push((challenge, message, question));
            }
        }
        if asked.len() > ASKED_LIMIT {
            return Err(too_many());
        }
        let nobody = asked.is_empty();
        for (challenge, message, question) in asked {
            if let Some(verification) = message.verified_by_contract(&self.chains, &question).await? {
                return Ok(Some((challenge, verification)));
            }
        }
        if nobody { Ok(None) } else { Err(Error::SignatureMismatch) }
    }
}
