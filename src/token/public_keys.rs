//! Keys that verify access tokens: those of a ring, or those that a JSON Web Key Set names.

use std::collections::HashMap;

use aws_lc_rs::signature::ParsedPublicKey;

use super::signing_key::PublicJwk;
use crate::domain::SigningAlgorithm;

/// Whatever knows keys by their ids, each with the one algorithm that it is for.
pub trait VerifyingKeys {
    /// A key, if it may verify tokens now.
    fn verifying(&self, kid: &str) -> Option<VerifyingKey<'_>>;
}

/// A key, and the one algorithm that it is for.
#[derive(Clone, Copy)]
pub struct VerifyingKey<'a> {
    pub(super) key: &'a ParsedPublicKey,
    pub(super) algorithm: SigningAlgorithm,
}

/// The keys of a set (RFC 7517).
#[derive(Default)]
pub struct PublicKeys(HashMap<String, (ParsedPublicKey, SigningAlgorithm)>);

impl PublicKeys {
    /// Those of the keys that are what they say.
    pub fn new(keys: impl IntoIterator<Item = PublicJwk>) -> Self {
        let readable = keys.into_iter().filter_map(|key| {
            let parsed = key.members.parse()?;
            Some((key.kid, (parsed, key.algorithm)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{AccessClaims, access_token::tests, signing_key::KeyMembers};

    #[test]
    fn keys_of_a_set_verify_what_the_ring_signed() {
        let ring = tests::ring();
        let keys = PublicKeys::new(ring.public_keys());
        for algorithm in SigningAlgorithm::ALL {
            let token = tests::claims().sign(&ring, algorithm).unwrap().into_exposed();
            let read = AccessClaims::verify_signature(&token, &keys, "https://issuer.example");
            assert_eq!(read.map(|(_, claims)| claims), Ok(tests::claims()), "{algorithm:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_left_out() {
        let mut public = tests::ring().public_keys();
        let KeyMembers::Ec { x, .. } = &public[0].members else { panic!("{public:?}") };
        let off_the_curve = KeyMembers::Ec { x: x.clone(), y: x.clone() };
        let short = KeyMembers::Okp { x: "AAAA".to_owned() };
        let illegible = KeyMembers::Rsa { n: "?".to_owned(), e: "AQAB".to_owned() };
        for (key, members) in public.iter_mut().zip([off_the_curve, short, illegible]) {
            key.members = members;
        }
        let kids: Vec<_> = public.iter().map(|key| key.kid.clone()).collect();
        let keys = PublicKeys::new(public);
        assert!(kids.iter().all(|kid| keys.verifying(kid).is_none()));
    }
}
