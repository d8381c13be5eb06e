//! Access tokens whose signature was verified a moment ago: their users come back with the same one for half an hour.
//!
//! What is remembered is that a key has signed these very bytes, which stays true. Whether the key is
//! still there, the token's time, its route and its revocation are looked at each time.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, PoisonError, RwLock},
    thread,
};

use super::{AccessClaims, AccessRefusal, VerifyingKeys, sha256};

/// How many tokens a generation holds: two of them take some 30 MB.
const GENERATION: usize = 16_384;

/// A token's claims, and the key that signed it.
type Entry = (Arc<str>, Arc<AccessClaims>);

/// The tokens of late, by their SHA-256. When the younger generation is full, the older one goes.
#[derive(Default)]
pub struct VerifiedTokens(RwLock<[HashMap<[u8; 32], Entry>; 2]>);

impl VerifiedTokens {
    /// Verifies a token and its time; the signature only if the token has not been verified recently. The caller checks
    /// the audience.
    ///
    /// # Errors
    /// Why the token was refused.
    pub fn verify(
        &self,
        token: &str,
        keys: &impl VerifyingKeys,
        issuer: &str,
        now: i64,
    ) -> Result<Arc<AccessClaims>, AccessRefusal> {
        let digest = sha256(token.as_bytes());
        let (kid, claims) = match self.find(&digest) {
            Some(entry) => entry,
            None => self.keep(digest, AccessClaims::verify_signature(token, keys, issuer)?),
        };
        match () {
            () if keys.verifying(&kid).is_none() => Err(AccessRefusal::UnknownKey),
            () if claims.exp <= now => Err(AccessRefusal::Expired),
            () => Ok(claims),
        }
    }

    fn find(&self, digest: &[u8; 32]) -> Option<Entry> {
        let generations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = generations[0].get(digest) {
            return Some(entry.clone());
        }
        let entry = generations[1].get(digest)?.clone();
        drop(generations);
        self.insert(*digest, entry.clone());
        Some(entry)
    }

    fn keep(&self, digest: [u8; 32], (kid, claims): (String, AccessClaims)) -> Entry {
        let entry = (kid.into(), Arc::new(claims));
        self.insert(digest, entry.clone());
        entry
    }

    fn insert(&self, digest: [u8; 32], entry: Entry) {
        let mut generations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let full = generations[0].len() >= GENERATION;
        let gone = full.then(|| {
            generations.swap(0, 1);
            mem::replace(&mut generations[0], HashMap::with_capacity(GENERATION))
        });
        generations[0].insert(digest, entry);
        drop(generations);
        if let Some(gone) = gone {
            // Thousands of claims are let go where no call waits for it.
            let _ = thread::Builder::new().spawn(move || drop(gone));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::access_token::tests::{ES256, claims, ring};

    const ISSUER: &str = "https://issuer.example";

    #[test]
    fn a_token_is_verified_once_and_its_time_and_key_are_looked_at_each_time() {
        let (ring, verified) = (ring(), VerifiedTokens::default());
        let token = claims().sign(&ring, ES256).unwrap().into_exposed();
        let at = |now| verified.verify(&token, &ring, ISSUER, now);
        let (first, second) = (at(1_500).unwrap(), at(1_999).unwrap());
        assert_eq!(*first, claims());
        assert!(Arc::ptr_eq(&first, &second), "it was verified twice");
        assert_eq!(at(2_000), Err(AccessRefusal::Expired));
        // Its key is revoked, or was removed.
        let without = self::ring();
        assert_eq!(verified.verify(&token, &without, ISSUER, 1_500), Err(AccessRefusal::UnknownKey));
    }

    #[test]
    fn what_was_refused_is_not_remembered_and_other_bytes_are_another_token() {
        let (ring, verified) = (ring(), VerifiedTokens::default());
        let token = claims().sign(&ring, ES256).unwrap().into_exposed();
        verified.verify(&token, &ring, ISSUER, 1_500).unwrap();
        let changed = format!("{}A", &token[..token.len() - 1]);
        for _ in 0..2 {
            assert!(verified.verify(&changed, &ring, ISSUER, 1_500).is_err() || changed == token);
            assert_eq!(verified.verify("a.b.c", &ring, ISSUER, 1_500), Err(AccessRefusal::Invalid));
        }
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let verified = VerifiedTokens::default();
        let entry = || ("kid".into(), Arc::new(claims()));
        let digest = |number: usize| sha256(&number.to_be_bytes());
        verified.insert(digest(0), entry());
        verified.insert(digest(1), entry());
        for number in 2..3 * GENERATION {
            assert!(verified.find(&digest(0)).is_some());
            verified.insert(digest(number), entry());
        }
        assert!(verified.find(&digest(1)).is_none());
        let generations = verified.0.read().unwrap();
        assert!(generations.iter().all(|generation| generation.len() <= GENERATION));
    }
}
