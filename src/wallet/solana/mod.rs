//! Solana (CAIP-2 namespace `solana`): an address is an Ed25519 key, which signs the text itself (CAIP-122).

pub mod private_key;
pub mod signature;

pub(super) mod address;

pub use private_key::SolanaPrivateKey;
pub use signature::Ed25519Signature;

use super::{Payload, Result, SignedMessage};
use crate::domain::{SignatureDetails, VerificationMethod};

pub(super) fn verify(message: &SignedMessage, signature: &str) -> Result<Option<VerificationMethod>> {
    let signature = Ed25519Signature::parse(signature)?;
    let is_of = |text| signature::verify(&message.claimed.address, text, &signature);
    Ok(signed_bytes(&message.payload).is_some_and(is_of).then_some(VerificationMethod::Ed25519))
}

pub(super) fn details(message: &SignedMessage, signature: &str) -> SignatureDetails {
    SignatureDetails {
        canonical: signature::canonical(signature),
        signed_bytes: signed_bytes(&message.payload).map(<[u8]>::to_vec),
        ..SignatureDetails::default()
    }
}

/// Signed bytes of a payload; `None` for typed data, which Solana wallets do not sign.
fn signed_bytes(payload: &Payload) -> Option<&[u8]> {
    match payload {
        Payload::Text(text) => Some(text.as_bytes()),
        Payload::TypedData(_) => None,
    }
}
