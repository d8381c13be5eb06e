//! Ed25519 signatures of Solana wallets: parsing and strict verification.

use ed25519_dalek::VerifyingKey;

use crate::domain::{Address, Violation};
use crate::wallet::{hex_digits, malformed_signature};

use super::address;

/// The 64 bytes R and S, not yet verified.
#[derive(Clone, Debug)]
pub struct Ed25519Signature(ed25519_dalek::Signature);

impl Ed25519Signature {
    /// Parses 64 bytes in base58, as wallets show them, or in hex with or without `0x`, in any case.
    ///
    /// # Errors
    /// A violation of `signature` for anything else.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        decode(text)
            .map(|bytes| Self(ed25519_dalek::Signature::from_bytes(&bytes)))
            .map_err(malformed_signature)
    }
}

/// Canonical form of a signature: base58. `None` if it is malformed.
pub(in crate::wallet) fn canonical(text: &str) -> Option<String> {
    decode(text).ok().map(|bytes| bs58::encode(bytes).into_string())
}

/// Verifies that the key of a Solana address signed a message.
///
/// Verification is strict, as in Solana's validators: RFC 8032 section 5.1.7 without the cofactor, neither A nor R of
/// small order, R and S canonical. A must be canonical as well, so that a key has exactly one address.
pub fn verify(address: &Address, message: &[u8], signature: &Ed25519Signature) -> bool {
    address::to_bytes(address)
        .and_then(|bytes| key(&bytes))
        .is_some_and(|key| key.verify_strict(message, &signature.0).is_ok())
}

/// Decodes a key. Only the canonical encoding of a point is accepted.
fn key(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(bytes).ok()?;
    let canonical = VerifyingKey::from(key.to_edwards());
    (canonical.as_bytes() == bytes).then_some(key)
}

/// Decodes hex or base58, which differ in length: 64 bytes are 128 hex digits, or at most 88 characters of base58.
fn decode(text: &str) -> Result<[u8; 64], &'static str> {
    if text.is_empty() {
        return Err("is required");
    }
    let digits = hex_digits(text);
    let mut bytes = [0; 64];
    let read = match digits.len() {
        128 => hex::decode_to_slice(digits, &mut bytes).ok().map(|()| bytes),
        0..=88 => address::base58(text),
        _ => None,
    };
    read.ok_or("must be 64 bytes in base58 or in hex")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Problem, wallet::solana::SolanaPrivateKey};

    const MESSAGE: &str = "Sign in to Shop\n\nCode: abc";

    fn signer() -> SolanaPrivateKey {
        SolanaPrivateKey::generate(|| [17; 32])
    }

    fn good() -> [u8; 64] {
        address::base58(&signer().sign_text(MESSAGE)).unwrap()
    }

    fn verifies(text: &str) -> bool {
        verify(&signer().address(), MESSAGE.as_bytes(), &Ed25519Signature::parse(text).unwrap())
    }

    #[test]
    fn every_accepted_encoding_of_one_signature_verifies() {
        let (base58, digits) = (signer().sign_text(MESSAGE), hex::encode(good()));
        let upper = digits.to_uppercase();
        for text in [base58, format!("0x{digits}"), format!("0X{upper}"), digits, upper] {
            assert!(verifies(&text), "{text}");
        }
    }

    #[test]
    fn a_flipped_bit_never_verifies() {
        for bit in 0..64 * 8 {
            let mut flipped = good();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifies(&hex::encode(flipped)), "bit {bit}");
        }
    }

    #[test]
    fn another_message_or_another_address_never_verifies() {
        let signature = Ed25519Signature::parse(&hex::encode(good())).unwrap();
        assert!(!verify(&signer().address(), b"Sign in to Shop", &signature));
        let stranger = SolanaPrivateKey::generate(|| [18; 32]).address();
        assert!(!verify(&stranger, MESSAGE.as_bytes(), &signature));
        let evm = Address::from_canonical("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".to_owned());
        assert!(!verify(&evm, MESSAGE.as_bytes(), &signature));
    }

    #[test]
    fn a_signature_plus_the_order_is_refused() {
        // L = 2^252 + 27742317777372353535851937790883648493, little-endian; S + L is S's twin.
        let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
        let mut twin = good();
        let mut carry = 0;
        for (byte, add) in twin[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        assert_eq!(carry, 0);
        assert!(!verifies(&hex::encode(twin)));
    }

    #[test]
    fn a_point_has_one_key() {
        // y = 3 is on the curve, and so is y = 3 + p, which is the same point in other bytes.
        let mut three = [0; 32];
        three[0] = 3;
        let mut other = [0xff; 32];
        (other[0], other[31]) = (0xed + 3, 0x7f);
        let (canonical, twin) = (VerifyingKey::from_bytes(&three), VerifyingKey::from_bytes(&other));
        assert_eq!(canonical.unwrap().to_edwards(), twin.unwrap().to_edwards());
        assert!(key(&three).is_some());
        assert!(key(&other).is_none());
    }

    #[test]
    fn what_is_no_64_bytes_is_refused() {
        let (digits, base58) = (hex::encode(good()), signer().sign_text(MESSAGE));
        for text in [
            "",
            "0x",
            "zz",
            &digits[1..],
            &digits[2..],
            &format!("{digits}00"),
            &format!("0x0x{}", &digits[4..]),
            &format!("0x{base58}"),
            &base58[2..],
            &format!("{base58}1"),
            &"1".repeat(10_000),
            &"ä".repeat(64),
        ] {
            let violation = Ed25519Signature::parse(text).unwrap_err();
            assert_eq!(violation.problem, Problem::SignatureEncoding, "{text}");
            assert_eq!(violation.field, "signature");
        }
    }
}
