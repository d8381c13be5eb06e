//! The keys that sign access tokens, and the set that verifies them.

use std::collections::HashMap;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use super::{KeyError, RootKeys, sha256, to_base64};
use crate::domain::Sealed;

/// A public key as RFC 7517 shows it; every member is public.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members of RFC 7518, section 6.2.1")]
pub struct PublicJwk {
    pub kid: String,
    pub alg: &'static str,
    pub kty: &'static str,
    pub crv: &'static str,
    pub x: String,
    pub y: String,
}

/// A signing key, opened.
pub struct SigningKey {
    public: PublicJwk,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.kid)
    }
}

impl SigningKey {
    /// A fresh ES256 key: its id, and itself (PKCS#8) sealed for the store.
    ///
    /// # Errors
    /// If the cryptographic library refuses.
    pub fn generate(roots: &RootKeys) -> Result<(String, Sealed), KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|error| KeyError::Library(error.to_string()))?;
        let kid = public_jwk(pkcs8.as_ref())?.kid;
        let sealed = roots.seal(&purpose(&kid), pkcs8.as_ref())?;
        Ok((kid, sealed))
    }

    /// Opens a key out of the store.
    ///
    /// # Errors
    /// If no listed root key opens it, or if it is not the key that its id names.
    pub fn open(kid: &str, sealed: &Sealed, roots: &RootKeys) -> Result<Self, KeyError> {
        let pkcs8 = roots.open(&purpose(kid), sealed)?;
        let public = public_jwk(pkcs8.expose())?;
        let malformed = || KeyError::Malformed(kid.to_owned());
        if public.kid != kid {
            return Err(malformed());
        }
        Ok(Self {
            encoding: EncodingKey::from_ec_der(pkcs8.expose()),
            decoding: DecodingKey::from_ec_components(&public.x, &public.y).map_err(|_| malformed())?,
            public,
        })
    }

    /// The key's id: its thumbprint (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    pub(super) const fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }
}

/// Every key that is published, and the one that signs.
#[derive(Debug)]
pub struct KeyRing {
    keys: HashMap<String, SigningKey>,
    active: String,
}

impl KeyRing {
    /// A ring in which the key `active` signs; `None` unless it is among the keys.
    pub fn new(keys: Vec<SigningKey>, active: &str) -> Option<Self> {
        let keys: HashMap<_, _> = keys.into_iter().map(|key| (key.public.kid.clone(), key)).collect();
        keys.contains_key(active).then(|| Self { active: active.to_owned(), keys })
    }

    /// The key that signs.
    pub fn active(&self) -> &SigningKey {
        &self.keys[&self.active]
    }

    /// The public keys, in the order of their ids.
    pub fn public_keys(&self) -> Vec<PublicJwk> {
        let mut public: Vec<_> = self.keys.values().map(|key| key.public.clone()).collect();
        public.sort_by(|a, b| a.kid.cmp(&b.kid));
        public
    }

    /// How a key verifies, and the one algorithm it is for.
    pub(super) fn verifying(&self, kid: &str) -> Option<(&DecodingKey, Algorithm)> {
        self.keys.get(kid).map(|key| (&key.decoding, Algorithm::ES256))
    }
}

fn purpose(kid: &str) -> String {
    format!("signing key {kid}")
}

fn public_jwk(pkcs8: &[u8]) -> Result<PublicJwk, KeyError> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
        .map_err(|error| KeyError::Library(error.to_string()))?;
    // The uncompressed point of SEC 1, section 2.3.3: 0x04, x, y.
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (to_base64(x), to_base64(y));
    let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let kid = to_base64(&sha256(thumbprint.as_bytes()));
    Ok(PublicJwk { kid, alg: "ES256", kty: "EC", crv: "P-256", x, y })
}
