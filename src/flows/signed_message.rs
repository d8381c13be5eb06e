//! What a wallet signed, and who claims to have: taken from the challenge, or composed by the caller.

use time::OffsetDateTime;

use super::{Error, Result, claim::Claim, composed_message};
use crate::{
    domain::{Challenge, Content, Namespace, Party, Policy, Wallet, WalletKind},
    wallet::{ed25519, eip191, eip712, signature},
};

/// Signed bytes, and whose they are said to be.
pub(super) struct SignedMessage {
    pub(super) claimed: Party,
    signed: Signed,
}

enum Signed {
    Text(String),
    TypedData(Box<eip712::AuthMessage>),
}

impl SignedMessage {
    /// What was signed for a challenge. Where the caller composed it, the policy has to let it through.
    pub(super) fn of(
        challenge: &Challenge,
        claim: &Claim,
        policy: &Policy,
        now: OffsetDateTime,
    ) -> Result<Self> {
        let party =
            || challenge.party.clone().ok_or_else(|| Error::internal("a challenge without an address"));
        let (claimed, signed) = match &challenge.content {
            Content::Text(text) => {
                claim.same_message(&challenge.content)?;
                (party()?, Signed::Text(text.clone()))
            }
            Content::TypedData(json) => {
                claim.same_message(&challenge.content)?;
                let message = eip712::AuthMessage::from_json(json)
                    .ok_or_else(|| Error::internal("stored typed data cannot be read"))?;
                (party()?, Signed::TypedData(Box::new(message)))
            }
            Content::Nonce => {
                let (claimed, text) = composed_message::check(challenge, claim, policy, now)?;
                (claimed, Signed::Text(text))
            }
        };
        Ok(Self { claimed, signed })
    }

    /// The wallet, if the signature is of the claimed address's own key.
    pub(super) fn verified_by_key(&self, signature: &str) -> Result<Option<Wallet>> {
        let (kind, is_good) = match self.claimed.network.namespace() {
            Namespace::Eip155 => {
                let recovered = signature::Signature::parse(signature)?.recover(&self.digest());
                (WalletKind::Eoa, recovered.as_ref() == Some(&self.claimed.address))
            }
            Namespace::Solana => {
                let signature = ed25519::Signature::parse(signature)?;
                (WalletKind::Ed25519, self.is_signed_on_solana(&signature))
            }
        };
        let Party { address, network } = self.claimed.clone();
        Ok(is_good.then_some(Wallet { address, network, kind }))
    }

    fn digest(&self) -> [u8; 32] {
        match &self.signed {
            Signed::Text(text) => eip191::digest(text),
            Signed::TypedData(message) => message.digest(),
        }
    }

    /// Solana wallets sign a text as it is (CAIP-122 for Solana), and know no EIP-712.
    fn is_signed_on_solana(&self, signature: &ed25519::Signature) -> bool {
        match &self.signed {
            Signed::Text(text) => ed25519::verify(&self.claimed.address, text.as_bytes(), signature),
            Signed::TypedData(_) => false,
        }
    }
}
