//! The credentials that Countersign makes: tokens, client secrets, and the keys behind them.
//!
//! The only module that names jsonwebtoken, MAC and AEAD.

pub mod access_token;
pub mod client_secret;
mod jws;
pub mod key_ring;
pub mod public_keys;
pub mod random;
pub mod refresh_token;
pub mod root_keys;
pub mod session_token;
pub mod signing_key;
pub mod verified;

pub use access_token::{AccessClaims, AccessRefusal};
pub use client_secret::ClientSecret;
pub use key_ring::KeyRing;
pub use public_keys::{PublicKeys, VerifyingKeys};
pub use refresh_token::RefreshToken;
pub use root_keys::RootKeys;
pub use session_token::SessionToken;
pub use signing_key::SigningKey;
pub use verified::VerifiedTokens;

use crate::domain::{RootKeyId, SigningAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn to_base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn array_from_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_base64(text)?.try_into().ok()
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

/// Keys and hashes could not be worked with; the cause is for the log.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No listed root key opens what the store holds.
    #[error("no listed root key has the fingerprint {0}")]
    UnknownRootKey(RootKeyId),
    /// The sealed bytes were changed, or sealed for something else.
    #[error("a sealed value does not open with the root key {0}")]
    NotOpened(RootKeyId),
    /// A signing key in the store is not one.
    #[error("the signing key {0} cannot be read")]
    Malformed(String),
    /// An algorithm has no key that signs.
    #[error("no {} key is active", .0.as_str())]
    NoneActive(SigningAlgorithm),
    /// The cryptographic library refused.
    #[error("the cryptographic library refused: {0}")]
    Library(String),
}
