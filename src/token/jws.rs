//! A JSON Web Signature in its compact form (RFC 7515, section 7.1), taken apart once.
//!
//! jsonwebtoken signs; its `decode` reads a header three times, the claims twice and the key each time, which a
//! gateway would feel that asks for every request.

use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{from_base64, public_keys::VerifyingKey};

/// The parts of a token, all of them still base64url.
pub(super) struct Jws<'a> {
    header: &'a str,
    payload: &'a str,
    /// Header, dot and payload: what is signed.
    signed: &'a str,
    signature: &'a str,
}

/// What matters of a header (RFC 7515, section 4.1).
#[derive(Deserialize)]
pub(super) struct JwsHeader {
    pub(super) typ: String,
    pub(super) kid: String,
    alg: String,
    /// Extensions that must be understood: none is.
    crit: Option<IgnoredAny>,
}

impl<'a> Jws<'a> {
    pub(super) fn split(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        Some(Self { header, payload, signed, signature })
    }

    /// The header, unless it asks for what is not understood.
    pub(super) fn header(&self) -> Option<JwsHeader> {
        read(self.header).filter(|header: &JwsHeader| header.crit.is_none())
    }

    /// What was signed, if the key has signed it. The algorithm is the key's, and the header must say the same.
    pub(super) fn payload<T: DeserializeOwned>(
        &self,
        header: &JwsHeader,
        VerifyingKey { key, algorithm }: VerifyingKey<'_>,
    ) -> Option<T> {
        if header.alg != algorithm.as_str() {
            return None;
        }
        let signature = from_base64(self.signature)?;
        key.verify_sig(self.signed.as_bytes(), &signature).ok()?;
        read(self.payload)
    }
}

fn read<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&from_base64(part)?).ok()
}
