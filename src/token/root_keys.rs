//! Root keys: what everything else in the store is protected by.
//!
//! The first of the list protects, all of them open. From each, HKDF-SHA-256 (RFC 5869) derives a
//! public fingerprint, a key that seals (AES-256-GCM), and keys that make refresh tokens and the MAC of session tokens
//! (HMAC).

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, Salt},
    hmac,
};

use super::{KeyError, array_from_base64, random, to_base64};
use crate::domain::{RootKeyId, Sealed, Secret};

/// The prefix of a root key's text.
const PREFIX: &str = "crk_";

struct RootKey {
    root_key_id: RootKeyId,
    sealing: RandomizedNonceKey,
    refresh: hmac::Key,
    session_token: hmac::Key,
}

/// The root keys, newest first; never empty.
pub struct RootKeys {
    keys: Vec<RootKey>,
}

impl fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| key.root_key_id);
        f.debug_list().entries(ids).finish()
    }
}

impl RootKeys {
    /// Reads keys as [`Self::new_key`] prints them, with white space or commas between.
    ///
    /// # Errors
    /// What is wrong, without the key itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<RootKey> = Vec::new();
        let entries = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        for (at, entry) in entries.enumerate() {
            let number = at + 1;
            let bytes = entry.strip_prefix(PREFIX).and_then(array_from_base64).ok_or_else(|| {
                format!("root key {number} is none: expected {PREFIX} and 43 characters, as `countersign keys new-root` prints")
            })?;
            let key = RootKey::derive(&bytes).map_err(|error| error.to_string())?;
            if keys.iter().any(|other| other.root_key_id == key.root_key_id) {
                return Err(format!("root key {number} stands in the list twice"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("the list of root keys is empty".to_owned());
        }
        Ok(Self { keys })
    }

    /// The text of a fresh root key.
    pub fn new_key() -> Secret<String> {
        Secret::new(format!("{PREFIX}{}", to_base64(&random::bytes::<32>())))
    }

    /// Id of the key that protects: its public fingerprint.
    pub fn primary(&self) -> RootKeyId {
        self.keys[0].root_key_id
    }

    /// Seals a value for one purpose under the first key.
    ///
    /// # Errors
    /// If the cryptographic library refuses.
    pub fn seal(&self, purpose: &str, value: &[u8]) -> Result<Sealed, KeyError> {
        let key = &self.keys[0];
        let mut ciphertext = value.to_vec();
        let nonce = key
            .sealing
            .seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut ciphertext)
            .map_err(|error| KeyError::Library(error.to_string()))?;
        let bytes = [&nonce.as_ref()[..], &ciphertext].concat();
        Ok(Sealed { root_key_id: key.root_key_id, bytes })
    }

    /// Opens what was sealed for this purpose.
    ///
    /// # Errors
    /// If the key is not listed, or the bytes are not what was sealed for this purpose.
    pub fn open(&self, purpose: &str, sealed: &Sealed) -> Result<Secret<Vec<u8>>, KeyError> {
        let key = self.key(sealed.root_key_id).ok_or(KeyError::UnknownRootKey(sealed.root_key_id))?;
        let not_opened = || KeyError::NotOpened(sealed.root_key_id);
        let (nonce, ciphertext) = sealed.bytes.split_at_checked(12).ok_or_else(not_opened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| not_opened())?;
        let mut value = ciphertext.to_vec();
        let length = key
            .sealing
            .open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut value)
            .map_err(|_| not_opened())?
            .len();
        value.truncate(length);
        Ok(Secret::new(value))
    }

    /// The key that makes and checks refresh tokens, if the root key is listed.
    pub(super) fn refresh_key(&self, root_key_id: RootKeyId) -> Option<&hmac::Key> {
        self.key(root_key_id).map(|key| &key.refresh)
    }

    /// The key that makes the MAC of session tokens, of the first root key.
    pub(super) fn session_token_key(&self) -> &hmac::Key {
        &self.keys[0].session_token
    }

    /// The keys that verify the MAC of session tokens, one for each listed root key.
    pub(super) fn session_token_keys(&self) -> impl Iterator<Item = &hmac::Key> {
        self.keys.iter().map(|key| &key.session_token)
    }

    fn key(&self, root_key_id: RootKeyId) -> Option<&RootKey> {
        self.keys.iter().find(|key| key.root_key_id == root_key_id)
    }
}

impl RootKey {
    fn derive(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let sealing = expand::<32>(secret, "countersign v1 seal")?;
        Ok(Self {
            root_key_id: RootKeyId(expand(secret, "countersign v1 fingerprint")?),
            sealing: RandomizedNonceKey::new(&AES_256_GCM, &sealing)
                .map_err(|error| KeyError::Library(error.to_string()))?,
            refresh: hmac_key(secret, "countersign v1 refresh token")?,
            session_token: hmac_key(secret, "countersign v1 session token")?,
        })
    }
}

fn hmac_key(secret: &[u8; 32], purpose: &str) -> Result<hmac::Key, KeyError> {
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &expand::<32>(secret, purpose)?))
}

fn expand<const N: usize>(secret: &[u8; 32], purpose: &str) -> Result<[u8; N], KeyError> {
    struct Length(usize);
    impl aws_lc_rs::hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = [0; N];
    Salt::new(HKDF_SHA256, b"")
        .extract(secret)
        .expand(&[purpose.as_bytes()], Length(N))
        .and_then(|okm| okm.fill(&mut out))
        .map_err(|error| KeyError::Library(error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> RootKeys {
        RootKeys::parse(RootKeys::new_key().expose()).unwrap()
    }

    #[test]
    fn every_listed_key_opens_and_the_first_one_seals() {
        let (old, new) = (RootKeys::new_key(), RootKeys::new_key());
        let before = RootKeys::parse(old.expose()).unwrap();
        let after = RootKeys::parse(&format!("{}\n{},", new.expose(), old.expose())).unwrap();
        let sealed = before.seal("key", b"value").unwrap();
        assert_eq!(after.open("key", &sealed).unwrap().expose(), b"value");
        assert_ne!(after.primary(), before.primary());
        assert_eq!(after.seal("key", b"value").unwrap().root_key_id, after.primary());
    }

    /// Made with another implementation of RFC 5869 and of AES-GCM. A store outlives every version of this program.
    #[test]
    fn what_is_derived_from_a_root_key_never_changes() {
        let keys = RootKeys::parse("crk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
        assert_eq!(keys.primary().to_string(), "6e2239dc0a50108f");
        let bytes =
            hex::decode("0000000000000000000000002d87f341de67668981b3813b7fec4584578cf59506").unwrap();
        let sealed = Sealed { root_key_id: keys.primary(), bytes };
        assert_eq!(keys.open("key", &sealed).unwrap().expose(), b"value");
    }

    #[test]
    fn another_key_another_purpose_or_changed_bytes_do_not_open() {
        let keys = keys();
        let sealed = keys.seal("key", b"value").unwrap();
        assert!(matches!(self::keys().open("key", &sealed), Err(KeyError::UnknownRootKey(_))));
        assert!(matches!(keys.open("other", &sealed), Err(KeyError::NotOpened(_))));
        for at in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[at] ^= 1;
            assert!(keys.open("key", &changed).is_err(), "byte {at}");
        }
        let short = Sealed { bytes: vec![1; 5], ..sealed };
        assert!(keys.open("key", &short).is_err());
    }

    #[test]
    fn a_list_that_cannot_be_right_is_refused_without_showing_a_key() {
        let key = RootKeys::new_key().into_exposed();
        for (text, why) in [
            (String::new(), "empty"),
            (format!("{key},{key}"), "twice"),
            (format!("{key} crk_short"), "root key 2"),
            (key.replace("crk_", ""), "root key 1"),
        ] {
            let error = RootKeys::parse(&text).unwrap_err();
            assert!(error.contains(why) && !error.contains(&key[4..]), "{error}");
        }
        assert!(!format!("{:?}", RootKeys::parse(&key)).contains(&key[4..]));
    }
}
