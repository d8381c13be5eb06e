//! What a wallet signed, and who claims to have: taken from the challenge, or composed by the caller.

use time::OffsetDateTime;

use super::{composed_message, lookup::Claim};
use crate::{
    domain::{
        Address, Challenge, Content, Namespace, Party, Policy, Verification, VerificationMethod, Wallet,
    },
    flows::{Error, Result},
    wallet::{
        evm::{
            EvmSignature,
            contract::{Answer, Question, Verdict},
            eip191, eip712,
            signature::SignatureBytes,
        },
        solana::{Ed25519Signature, signature},
    },
};

/// Signed bytes, and whose they are said to be.
pub(crate) struct SignedMessage {
    pub(crate) claimed: Party,
    signed: Signed,
}

enum Signed {
    Text(String),
    TypedData(Box<eip712::AuthMessage>),
}

impl SignedMessage {
    /// What was signed for a challenge. Where the caller composed it, the policy has to let it through.
    pub(crate) fn of(
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
    pub(crate) fn verified_by_key(&self, signature: &str) -> Result<Option<Verification>> {
        let (method, is_good) = match self.claimed.network.namespace() {
            Namespace::Eip155 => {
                let recovered = EvmSignature::parse(signature)?.recover(&self.digest());
                (VerificationMethod::Eoa, recovered.as_ref() == Some(&self.claimed.address))
            }
            Namespace::Solana => {
                let signature = Ed25519Signature::parse(signature)?;
                (VerificationMethod::Ed25519, self.is_signed_on_solana(&signature))
            }
        };
        Ok(is_good.then(|| self.verification(method)))
    }

    /// What its chain is asked about the signature; `None` where no contract can have made it.
    pub(crate) fn question(&self, signature: &str) -> Result<Option<Question>> {
        let signature = SignatureBytes::parse(signature)?;
        Ok(Question::new(&self.claimed.address, &self.digest(), signature.as_bytes())?)
    }

    /// The wallet, if its chain's answer is that it is a contract that accepts the signature, or would once deployed.
    pub(crate) fn verified_by_contract(&self, answer: Answer) -> Option<Verification> {
        let Answer { verdict, block_number, .. } = answer;
        let method = match verdict {
            Verdict::Accepted => VerificationMethod::Eip1271 { block_number },
            Verdict::AcceptedOnceDeployed => VerificationMethod::Erc6492 { block_number },
            Verdict::Refused | Verdict::NoCode | Verdict::Delegation => return None,
        };
        Some(self.verification(method))
    }

    /// Whose key made the signature, whoever claims it; `None` on Solana, where none can be recovered.
    pub(crate) fn recovered(&self, signature: &str) -> Option<Address> {
        let is_evm = self.claimed.network.namespace() == Namespace::Eip155;
        let signature = EvmSignature::parse(signature).ok().filter(|_| is_evm)?;
        signature.recover(&self.digest())
    }

    /// The exact bytes that were signed: what is hashed on EVM chains, the text itself on Solana.
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        match (&self.signed, self.claimed.network.namespace()) {
            (Signed::Text(text), Namespace::Eip155) => eip191::signed_bytes(text),
            (Signed::Text(text), Namespace::Solana) => text.clone().into_bytes(),
            (Signed::TypedData(message), _) => message.signed_bytes().to_vec(),
        }
    }

    /// Their Keccak-256; `None` on Solana, where Ed25519 hashes by itself.
    pub(crate) fn signed_digest(&self) -> Option<[u8; 32]> {
        (self.claimed.network.namespace() == Namespace::Eip155).then(|| self.digest())
    }

    fn verification(&self, method: VerificationMethod) -> Verification {
        let Party { address, network } = self.claimed.clone();
        Verification { wallet: Wallet { address, network, kind: method.wallet_kind() }, method }
    }

    fn digest(&self) -> [u8; 32] {
        match &self.signed {
            Signed::Text(text) => eip191::digest(text),
            Signed::TypedData(message) => message.digest(),
        }
    }

    /// Solana wallets sign a text as it is (CAIP-122 for Solana), and know no EIP-712.
    fn is_signed_on_solana(&self, signature: &Ed25519Signature) -> bool {
        match &self.signed {
            Signed::Text(text) => signature::verify(&self.claimed.address, text.as_bytes(), signature),
            Signed::TypedData(_) => false,
        }
    }
}
