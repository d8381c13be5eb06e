//! EVM chains (CAIP-2 namespace `eip155`): secp256k1 keys, EIP-191, EIP-712 and contract wallets.

pub mod contract;
pub mod eip191;
pub mod eip712;
pub mod private_key;
pub mod signature;

pub(super) mod address;
mod keccak;

pub use private_key::EvmPrivateKey;
pub use signature::EvmSignature;

use super::{Payload, Result, SignedMessage};
use crate::domain::{SignatureDetails, VerificationMethod};
use contract::ValidationCall;

pub(super) fn verify(message: &SignedMessage, signature: &str) -> Result<Option<VerificationMethod>> {
    let recovered = EvmSignature::parse(signature)?.recover(&digest(&message.payload));
    Ok((recovered.as_ref() == Some(&message.claimed.address)).then_some(VerificationMethod::Eoa))
}

pub(super) fn validation_call(message: &SignedMessage, signature: &str) -> Result<Option<ValidationCall>> {
    let signature = signature::signature_bytes(signature)?;
    ValidationCall::new(&message.claimed.address, &digest(&message.payload), &signature)
}

pub(super) fn details(message: &SignedMessage, signature: &str) -> SignatureDetails {
    let digest = digest(&message.payload);
    SignatureDetails {
        canonical: signature::canonical(signature),
        recovered: EvmSignature::parse(signature).ok().and_then(|native| native.recover(&digest)),
        signed_bytes: Some(signed_bytes(&message.payload)),
        digest: Some(digest),
    }
}

fn digest(payload: &Payload) -> [u8; 32] {
    match payload {
        Payload::Text(text) => eip191::digest(text),
        Payload::TypedData(message) => message.digest(),
    }
}

fn signed_bytes(payload: &Payload) -> Vec<u8> {
    match payload {
        Payload::Text(text) => eip191::signed_bytes(text),
        Payload::TypedData(message) => message.signed_bytes().to_vec(),
    }
}
