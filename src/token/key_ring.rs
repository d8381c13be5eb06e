//! The keys that sign access tokens, and the set that verifies them.

use std::{collections::HashMap, sync::Arc};

use super::{KeyError, SigningKey, VerifyingKeys, public_keys::VerifyingKey, signing_key::PublicJwk};
use crate::domain::SigningAlgorithm;

/// Every key that is published, and for each algorithm the one that signs.
#[derive(Debug)]
pub struct KeyRing {
    keys: HashMap<String, Arc<SigningKey>>,
    active: HashMap<SigningAlgorithm, String>,
}

impl KeyRing {
    /// A ring in which the keys `active` sign, each for its algorithm.
    ///
    /// # Errors
    /// If an algorithm has no key that signs.
    pub fn new(keys: Vec<Arc<SigningKey>>, active: &[String]) -> Result<Self, KeyError> {
        let keys: HashMap<_, _> = keys.into_iter().map(|key| (key.kid().to_owned(), key)).collect();
        let signing = active.iter().filter_map(|kid| Some((keys.get(kid)?.algorithm(), kid.clone())));
        let active: HashMap<_, _> = signing.collect();
        match SigningAlgorithm::ALL.into_iter().find(|algorithm| !active.contains_key(algorithm)) {
            Some(missing) => Err(KeyError::NoneActive(missing)),
            None => Ok(Self { keys, active }),
        }
    }

    /// The key that signs with an algorithm.
    pub fn active(&self, algorithm: SigningAlgorithm) -> &SigningKey {
        &self.keys[&self.active[&algorithm]]
    }

    /// The key of an id.
    pub fn key(&self, kid: &str) -> Option<&Arc<SigningKey>> {
        self.keys.get(kid)
    }

    /// The public keys, in the order of their algorithms and ids.
    pub fn public_keys(&self) -> Vec<PublicJwk> {
        let mut public: Vec<_> = self.keys.values().map(|key| key.public().clone()).collect();
        public.sort_by(|a, b| (a.algorithm, &a.kid).cmp(&(b.algorithm, &b.kid)));
        public
    }
}

impl VerifyingKeys for KeyRing {
    fn verifying(&self, kid: &str) -> Option<VerifyingKey<'_>> {
        self.keys.get(kid).map(|key| VerifyingKey { key: key.verifying(), algorithm: key.algorithm() })
    }
}
