//! Session tokens: the credential of the device that signs in.
//!
//! `cst_` and base64url of 16 random bytes and 16 bytes of HMAC-SHA-256 over the prefix and them, under a key that is
//! derived from a root key. Earlier versions of this program make 32 random bytes: tokens of the same form, so that either
//! version accepts those of the other. The store keeps the SHA-256 of the text.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};

use super::{RootKeys, array_from_base64, random, sha256, to_base64};
use crate::domain::Secret;

const PREFIX: &str = "cst_";
/// Length of the random part, and of the MAC.
const HALF: usize = 16;

/// A session token in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionToken(Secret<String>);

impl SessionToken {
    /// A fresh token, its MAC made with the first root key.
    pub fn generate(keys: &RootKeys) -> Self {
        Self::from_random(&random::bytes(), keys)
    }

    fn from_random(random: &[u8; HALF], keys: &RootKeys) -> Self {
        let mac = mac(keys.session_token_key(), random);
        Self(Secret::new(format!("{PREFIX}{}", to_base64(&[&random[..], mac_half(&mac)].concat()))))
    }

    /// True if a text has the prefix of a session token.
    pub fn has_prefix(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads a token whose form is right.
    pub fn parse(text: &str) -> Option<Self> {
        bytes(text).map(|_| Self(Secret::new(text.to_owned())))
    }

    /// True if the MAC verifies under one of the root keys; compared in constant time.
    pub fn is_marked(&self, keys: &RootKeys) -> bool {
        let Some(bytes) = bytes(self.0.expose()) else { return false };
        let (random, presented) = bytes.split_at(HALF);
        keys.session_token_keys()
            .any(|key| verify_slices_are_equal(mac_half(&mac(key, random)), presented).is_ok())
    }

    /// The token's text, to be shown once.
    pub fn into_exposed(self) -> String {
        self.0.into_exposed()
    }

    /// Hash by which the store finds the session.
    pub fn hash(&self) -> [u8; 32] {
        sha256(self.0.expose().as_bytes())
    }
}

fn bytes(text: &str) -> Option<[u8; 2 * HALF]> {
    array_from_base64(text.strip_prefix(PREFIX)?)
}

/// The MAC covers the prefix, too, so that no other kind of token can share it.
fn mac(key: &hmac::Key, random: &[u8]) -> hmac::Tag {
    hmac::sign(key, &[PREFIX.as_bytes(), random].concat())
}

/// The first half of a MAC (RFC 2104, section 5).
fn mac_half(mac: &hmac::Tag) -> &[u8] {
    &mac.as_ref()[..HALF]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT_KEY: &str = "crk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    /// Made with another implementation of RFC 5869 and RFC 2104 (Python's `hmac` and `hashlib`).
    const TOKEN: &str = "cst_8PHy8_T19vf4-fr7_P3-_ydI5SUUQSa2c0k7E4ynatg";

    fn new_keys() -> RootKeys {
        RootKeys::parse(RootKeys::new_key().expose()).unwrap()
    }

    fn parsed(text: &str) -> SessionToken {
        SessionToken::parse(text).unwrap()
    }

    /// A token outlives the version of the program that handed it out.
    #[test]
    fn the_text_of_a_token_never_changes() {
        let keys = RootKeys::parse(ROOT_KEY).unwrap();
        let random: Vec<u8> = (0xf0..=0xff).collect();
        let token = SessionToken::from_random(&random.try_into().unwrap(), &keys);
        assert_eq!(token.clone().into_exposed(), TOKEN);
        assert!(token.is_marked(&keys) && parsed(TOKEN).is_marked(&keys));
    }

    #[test]
    fn the_first_root_key_makes_a_token_and_every_listed_one_verifies_it() {
        let (old, new) = (RootKeys::new_key().into_exposed(), RootKeys::new_key().into_exposed());
        let list = |text: &str| RootKeys::parse(text).unwrap();
        let (before, during, after) = (list(&old), list(&format!("{new} {old}")), list(&new));
        let (first, second) = (SessionToken::generate(&before), SessionToken::generate(&during));
        assert!(first.is_marked(&before) && first.is_marked(&during) && !first.is_marked(&after));
        assert!(!second.is_marked(&before) && second.is_marked(&during) && second.is_marked(&after));
    }

    #[test]
    fn altered_truncated_or_forged_tokens_have_no_valid_mac() {
        let keys = new_keys();
        let token = SessionToken::generate(&keys);
        assert!(token.is_marked(&keys) && !token.is_marked(&new_keys()));
        let text = token.into_exposed();
        assert_eq!(text.len(), 47);
        let whole = bytes(&text).unwrap();
        for bit in 0..8 * whole.len() {
            let mut flipped = whole;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!parsed(&format!("{PREFIX}{}", to_base64(&flipped))).is_marked(&keys), "{bit}");
        }
        for wrong in [&text[..46], &text[..25], &format!("{text}A"), &format!("{text}="), &text[4..], ""] {
            assert_eq!(SessionToken::parse(wrong), None, "{wrong}");
        }
        for _ in 0..1_000 {
            let invented = format!("{PREFIX}{}", to_base64(&random::bytes::<32>()));
            assert!(!parsed(&invented).is_marked(&keys));
        }
    }
}
