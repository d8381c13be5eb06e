//! The text of a refresh token: derived from a root key, never stored, verified by its MAC.
//!
//! `crt_` and base64url of session id (16 bytes), generation (4, big-endian), fingerprint of the root
//! key (8) and HMAC-SHA-256 over all of that (32). The same three values always give the same token,
//! so a lost answer is answered again; and a forged one is refused without a query.
//!
//! A token that verifies may be spent all the same: [`RotateStore`] decides which generation is current.
//!
//! [`RotateStore`]: crate::store::RotateStore

use aws_lc_rs::hmac;
use uuid::Uuid;

use super::{RootKeys, array_from_base64, to_base64};
use crate::domain::{RootKeyId, Secret, SessionId};

const PREFIX: &str = "crt_";
const BODY: usize = 28;

/// A refresh token whose MAC was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session it refreshes.
    pub session_id: SessionId,
    /// Its place in the session's row of tokens: 1, 2, 3, ...
    pub generation: u32,
    /// The root key it was derived from.
    pub root_key_id: RootKeyId,
}

impl RefreshToken {
    /// Whether a text is meant to be a refresh token.
    pub fn has_prefix(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The token's text; `None` if its root key is not listed.
    pub fn derive(&self, keys: &RootKeys) -> Option<Secret<String>> {
        let body = self.body();
        let mac = hmac::sign(keys.refresh_key(self.root_key_id)?, &signed(&body));
        Some(Secret::new(format!("{PREFIX}{}", to_base64(&[&body, mac.as_ref()].concat()))))
    }

    /// Reads a token that one of the listed keys made; the MAC is compared in constant time.
    pub fn verify(text: &str, keys: &RootKeys) -> Option<Self> {
        let bytes: [u8; BODY + 32] = array_from_base64(text.strip_prefix(PREFIX)?)?;
        let (body, mac) = bytes.split_at(BODY);
        let root_key_id = RootKeyId(body[20..].try_into().ok()?);
        hmac::verify(keys.refresh_key(root_key_id)?, &signed(body), mac).ok()?;
        Some(Self {
            session_id: SessionId::from(Uuid::from_slice(&body[..16]).ok()?),
            generation: u32::from_be_bytes(body[16..20].try_into().ok()?),
            root_key_id,
        })
    }

    fn body(&self) -> [u8; BODY] {
        let mut body = [0; BODY];
        body[..16].copy_from_slice(self.session_id.uuid().as_bytes());
        body[16..20].copy_from_slice(&self.generation.to_be_bytes());
        body[20..].copy_from_slice(&self.root_key_id.0);
        body
    }
}

/// What the MAC covers: the prefix too, so that no other kind of token can share it.
fn signed(body: &[u8]) -> Vec<u8> {
    [PREFIX.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(keys: &RootKeys) -> RefreshToken {
        RefreshToken { session_id: SessionId::generate(), generation: 7, root_key_id: keys.primary() }
    }

    /// Made with another implementation of RFC 5869. A token outlives the version of the program that handed it out.
    #[test]
    fn the_text_of_a_token_never_changes() {
        let keys = RootKeys::parse("crk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
        let session_id = SessionId::from(Uuid::nil());
        let token = RefreshToken { session_id, generation: 1, root_key_id: keys.primary() };
        let text = "crt_AAAAAAAAAAAAAAAAAAAAAAAAAAFuIjncClAQjyUcuf4zjEsdXk58fDvFYVPifkj0lo8JD95KkPPFKyVR";
        assert_eq!(token.derive(&keys).unwrap().expose(), text);
        assert_eq!(RefreshToken::verify(text, &keys), Some(token));
    }

    #[test]
    fn a_derived_token_reads_back_and_is_the_same_each_time() {
        let keys = RootKeys::parse(RootKeys::new_key().expose()).unwrap();
        let token = token(&keys);
        let text = token.derive(&keys).unwrap();
        assert_eq!(text.expose().len(), 84);
        assert_eq!(token.derive(&keys).unwrap(), text);
        assert_eq!(RefreshToken::verify(text.expose(), &keys), Some(token));
    }

    #[test]
    fn a_forged_truncated_extended_or_foreign_token_is_refused() {
        let keys = RootKeys::parse(RootKeys::new_key().expose()).unwrap();
        let others = RootKeys::parse(RootKeys::new_key().expose()).unwrap();
        let text = token(&keys).derive(&keys).unwrap().into_exposed();
        assert_eq!(RefreshToken::verify(&text, &others), None);
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(RefreshToken::verify(std::str::from_utf8(&forged).unwrap(), &keys), None, "{at}");
        }
        for changed in [&text[..83], &format!("{text}A"), &format!("{text}="), &text[4..], ""] {
            assert_eq!(RefreshToken::verify(changed, &keys), None);
        }
    }
}
