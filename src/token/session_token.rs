//! Session tokens: the credential of the device that signs in. `cst_` and 256 random bits, base64url;
//! the store keeps the SHA-256.

use super::{array_from_base64, random, sha256, to_base64};
use crate::domain::Secret;

const PREFIX: &str = "cst_";

/// A session token in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionToken(Secret<String>);

impl SessionToken {
    /// A fresh token.
    pub fn generate() -> Self {
        Self(Secret::new(format!("{PREFIX}{}", to_base64(&random::bytes::<32>()))))
    }

    /// Whether a text is meant to be a session token.
    pub fn has_prefix(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads a token whose form is right.
    pub fn parse(text: &str) -> Option<Self> {
        let _: [u8; 32] = array_from_base64(text.strip_prefix(PREFIX)?)?;
        Some(Self(Secret::new(text.to_owned())))
    }

    /// The token's text, to be shown once.
    pub fn into_exposed(self) -> String {
        self.0.into_exposed()
    }

    /// What the store keeps, and finds the session by.
    pub fn hash(&self) -> [u8; 32] {
        sha256(self.0.expose().as_bytes())
    }
}
