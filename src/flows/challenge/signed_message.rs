//! The message that was signed for a challenge, and its claimed signer: as issued, or composed by the caller.

use time::OffsetDateTime;

use super::{composed_message, lookup::ChallengeLookup};
use crate::{
    domain::{Challenge, Content, Policy},
    flows::{Error, Result},
    wallet::{Payload, SignedMessage, evm::eip712::AuthMessage},
};

/// The message that was signed for a challenge. The policy must allow one that the caller composed.
pub(crate) fn signed_message(
    challenge: &Challenge,
    lookup: &ChallengeLookup,
    policy: &Policy,
    now: OffsetDateTime,
) -> Result<SignedMessage> {
    if challenge.content != Content::Nonce {
        lookup.same_message(&challenge.content)?;
    }
    let payload = match &challenge.content {
        Content::Nonce => {
            let (claimed, text) = composed_message::check(challenge, lookup, policy, now)?;
            return Ok(SignedMessage { claimed, payload: Payload::Text(text) });
        }
        Content::Text(text) => Payload::Text(text.clone()),
        Content::TypedData(json) => {
            let message = AuthMessage::from_json(json);
            Payload::TypedData(Box::new(
                message.ok_or_else(|| Error::internal("stored typed data cannot be read"))?,
            ))
        }
    };
    let claimed =
        challenge.signer.clone().ok_or_else(|| Error::internal("a challenge without an address"))?;
    Ok(SignedMessage { claimed, payload })
}
