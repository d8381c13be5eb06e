//! Client secrets: `ccs_`, 256 random bits and a checksum, base64url.
//!
//! The checksum lets secret scanners and the service tell a mistyped secret from a wrong one. The store
//! keeps the SHA-256: 256 random bits need no slow hash.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::{array_from_base64, random, sha256, to_base64};
use crate::domain::Secret;

const PREFIX: &str = "ccs_";

/// A client secret in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSecret(Secret<String>);

impl ClientSecret {
    /// A fresh secret.
    pub fn generate() -> Self {
        let bits: [u8; 32] = random::bytes();
        let body = [&bits[..], &checksum(&bits)].concat();
        Self(Secret::new(format!("{PREFIX}{}", to_base64(&body))))
    }

    /// Reads a secret whose form and checksum are right.
    pub fn parse(text: &str) -> Option<Self> {
        let body: [u8; 36] = array_from_base64(text.strip_prefix(PREFIX)?)?;
        let (bits, sum) = body.split_at(32);
        (checksum(bits) == sum).then(|| Self(Secret::new(text.to_owned())))
    }

    /// The secret's text, to be shown once.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What the store keeps.
    pub fn hash(&self) -> [u8; 32] {
        sha256(self.expose().as_bytes())
    }

    /// Which of the stored hashes is this secret's. Every hash is compared, each in constant time.
    pub fn position_in(&self, hashes: &[[u8; 32]]) -> Option<usize> {
        let own = self.hash();
        let same = |hash: &[u8; 32]| verify_slices_are_equal(&own, hash).is_ok();
        hashes.iter().enumerate().fold(None, |found, (at, hash)| if same(hash) { Some(at) } else { found })
    }
}

fn checksum(bits: &[u8]) -> [u8; 4] {
    let hash = sha256(bits);
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_reads_back_and_matches_its_own_hash_only() {
        let (one, two) = (ClientSecret::generate(), ClientSecret::generate());
        assert_eq!(ClientSecret::parse(one.expose()).as_ref(), Some(&one));
        assert_eq!(one.position_in(&[two.hash(), one.hash()]), Some(1));
        assert_eq!(one.position_in(&[one.hash(), two.hash()]), Some(0));
        assert_eq!((one.position_in(&[two.hash()]), one.position_in(&[])), (None, None));
        assert!(!format!("{one:?}").contains(&one.expose()[4..]));
    }

    #[test]
    fn a_mistyped_secret_is_none() {
        let text = ClientSecret::generate().expose().to_owned();
        let mut typo = text.clone().into_bytes();
        typo[20] = if typo[20] == b'A' { b'B' } else { b'A' };
        for wrong in [std::str::from_utf8(&typo).unwrap(), &text[4..], &text[..50], ""] {
            assert_eq!(ClientSecret::parse(wrong), None);
        }
    }
}
