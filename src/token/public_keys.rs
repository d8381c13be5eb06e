//! Keys that verify access tokens: those of a ring, or those that a JSON Web Key Set names.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::signing_key::PublicJwk;

/// Whatever knows keys by their ids, each with the one algorithm that it is for.
pub trait VerifyingKeys {
    /// A key, if it may verify tokens now.
    fn verifying(&self, kid: &str) -> Option<VerifyingKey<'_>>;
}

/// A key, and the one algorithm that it is for.
#[derive(Clone, Copy)]
pub struct VerifyingKey<'a> {
    pub(super) key: &'a DecodingKey,
    pub(super) algorithm: Algorithm,
}

/// The keys of a set (RFC 7517).
#[derive(Default)]
pub struct PublicKeys(HashMap<String, (DecodingKey, Algorithm)>);

impl PublicKeys {
    /// Those of the keys that are what they say.
    pub fn new(keys: impl IntoIterator<Item = PublicJwk>) -> Self {
        let readable = keys.into_iter().filter_map(|key| {
            let decoding = key.members.decoding().ok()?;
            Some((key.kid, (decoding, key.algorithm.into())))
        });
        Self(readable.collect())
    }

    /// Those of these keys that `keep` names.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(
            self.0.iter().filter(|(kid, _)| keep(kid)).map(|(kid, key)| (kid.clone(), key.clone())).collect(),
        )
    }
}

impl VerifyingKeys for PublicKeys {
    fn verifying(&self, kid: &str) -> Option<VerifyingKey<'_>> {
        self.0.get(kid).map(|(key, algorithm)| VerifyingKey { key, algorithm: *algorithm })
    }
}
