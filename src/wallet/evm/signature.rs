//! secp256k1 signatures of EVM wallets: parsing and recovery.

use secp256k1::Message;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};

use crate::domain::{Address, Violation};
use crate::wallet::{hex_digits, malformed_signature};

use super::{address, keccak::keccak256};

/// Half the order of secp256k1. EIP-2 rejects `s` above it, the malleable twin.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d,
    0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// Maximum length of a signature for a contract wallet.
const MAX_BYTES: usize = 16 * 1024;

/// Error for a signature of unsupported length.
const NATIVE_FORMS: &str = "must be 65 bytes r, s, v or 64 bytes after EIP-2098";

/// Recoverable signature with `r` and `s` in range and `s` in the low half.
#[derive(Clone, Debug)]
pub struct EvmSignature(RecoverableSignature);

impl EvmSignature {
    /// Parses hex, with or without `0x`, in any case: 65 bytes r, s, v with v in {0, 1, 27, 28}, or 64 bytes after
    /// EIP-2098.
    ///
    /// # Errors
    /// A violation of `signature` that names the broken rule.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        from_bytes(&decode(text, 65, NATIVE_FORMS)?).map(Self).map_err(malformed_signature)
    }

    /// Recovers the address whose key signed a digest; `None` if no key can have signed it.
    pub fn recover(&self, digest: &[u8; 32]) -> Option<Address> {
        let key = self.0.recover(Message::from_digest(*digest)).ok()?;
        Some(address_of(&key))
    }
}

/// Address of a public key: the last 20 bytes of the digest of its 64 bytes (Yellow Paper, appendix F).
pub(super) fn address_of(key: &secp256k1::PublicKey) -> Address {
    let point = key.serialize_uncompressed();
    let digest = keccak256(&[&point[1..]]);
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&digest[12..]);
    address::from_bytes(&bytes)
}

/// Canonical form of a signature: lower-case hex with `0x`, of the 65 bytes r, s, v with v in {27, 28} if it is native,
/// else of its bytes. `None` if it is malformed.
pub(in crate::wallet) fn canonical(text: &str) -> Option<String> {
    let bytes = signature_bytes(text).ok()?;
    let digits = from_bytes(&bytes).map_or_else(|_| hex::encode(&bytes), |native| hex::encode(rsv(&native)));
    Some(format!("0x{digits}"))
}

/// The 65 bytes r, s, v with v in {27, 28}.
pub(super) fn rsv(signature: &RecoverableSignature) -> [u8; 65] {
    let (parity, compact) = signature.serialize_compact();
    let mut bytes = [27 + parity.to_u8(); 65];
    bytes[..64].copy_from_slice(&compact);
    bytes
}

/// Decodes any signature, native or not: at most 16 KiB in hex, with or without `0x`, in any case. It may be empty
/// (`0x`): a Safe then checks what its owners signed on chain.
///
/// # Errors
/// A violation of `signature` for anything else.
pub fn signature_bytes(text: &str) -> Result<Vec<u8>, Violation> {
    decode(text, MAX_BYTES, "must be at most 16 KiB")
}

/// Decodes hex of at most `longest` bytes. A longer text is rejected unread.
fn decode(text: &str, longest: usize, too_long: &str) -> Result<Vec<u8>, Violation> {
    if text.is_empty() {
        return Err(malformed_signature("is required"));
    }
    let digits = hex_digits(text);
    if digits.len() > 2 * longest {
        return Err(malformed_signature(too_long));
    }
    hex::decode(digits).map_err(|_| malformed_signature("must be hex, with or without 0x"))
}

fn from_bytes(bytes: &[u8]) -> Result<RecoverableSignature, &'static str> {
    let (compact, odd) = match <[u8; 65]>::try_from(bytes) {
        Ok(rsv) => split_v(&rsv)?,
        Err(_) => <[u8; 64]>::try_from(bytes).map(split_eip2098).map_err(|_| NATIVE_FORMS)?,
    };
    let (r, s) = compact.split_at(32);
    if r == [0; 32] || s == [0; 32] {
        return Err("has r or s of zero");
    }
    if s > &HALF_ORDER[..] {
        return Err("has a high s: EIP-2 allows only the low half");
    }
    let parity = if odd { RecoveryId::One } else { RecoveryId::Zero };
    RecoverableSignature::from_compact(&compact, parity).map_err(|_| "has r or s out of range")
}

/// Splits r, s, v into the 64 bytes r, s and the parity of y.
fn split_v(rsv: &[u8; 65]) -> Result<([u8; 64], bool), &'static str> {
    let mut compact = [0; 64];
    compact.copy_from_slice(&rsv[..64]);
    match rsv[64] {
        0 | 27 => Ok((compact, false)),
        1 | 28 => Ok((compact, true)),
        _ => Err("has a v other than 0, 1, 27 and 28"),
    }
}

/// Splits the form of EIP-2098, in which the top bit of s is the parity of y.
fn split_eip2098(mut compact: [u8; 64]) -> ([u8; 64], bool) {
    let odd = compact[32] & 0x80 != 0;
    compact[32] &= 0x7f;
    (compact, odd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Problem,
        wallet::evm::{EvmPrivateKey, eip191},
    };

    const MESSAGE: &str = "Sign in to Shop\n\nCode: abc";

    fn signer() -> EvmPrivateKey {
        EvmPrivateKey::from_hex(&"11".repeat(32)).unwrap()
    }

    /// r, s, v of a good signature, v in {27, 28}.
    fn good() -> Vec<u8> {
        hex::decode(&signer().sign_text(MESSAGE)[2..]).unwrap()
    }

    fn recovered(bytes: &[u8]) -> Option<Address> {
        EvmSignature::parse(&hex::encode(bytes)).ok()?.recover(&eip191::digest(MESSAGE))
    }

    #[test]
    fn every_accepted_encoding_of_one_signature_recovers_its_signer() {
        let bytes = good();
        let mut low_v = bytes.clone();
        low_v[64] -= 27;
        let mut eip2098 = bytes[..64].to_vec();
        eip2098[32] |= (bytes[64] - 27) << 7;
        for encoding in [&bytes, &low_v, &eip2098] {
            assert_eq!(recovered(encoding), Some(signer().address()));
            let digits = hex::encode_upper(encoding);
            for text in [digits.clone(), format!("0x{digits}"), format!("0X{digits}")] {
                let signature = EvmSignature::parse(&text).unwrap();
                assert_eq!(signature.recover(&eip191::digest(MESSAGE)), Some(signer().address()));
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_verifies() {
        let bytes = good();
        for bit in 0..64 * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(recovered(&flipped), Some(signer().address()), "bit {bit}");
        }
    }

    #[test]
    fn other_v_zero_or_high_s_and_other_lengths_are_refused_before_recovery() {
        let refused = |bytes: &[u8], why: &str| {
            let violation = EvmSignature::parse(&hex::encode(bytes)).unwrap_err();
            assert_eq!(violation.problem, Problem::SignatureEncoding);
            assert!(violation.description.contains(why), "{violation} instead of {why}");
        };
        let with = |from: usize, value: &[u8]| {
            let mut bytes = good();
            bytes[from..from + value.len()].copy_from_slice(value);
            bytes
        };
        for v in [2, 26, 29, 35, 54, 55, 82, 109, 255] {
            refused(&with(64, &[v]), "has a v other");
        }
        let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
        let mut above_half = HALF_ORDER;
        above_half[31] += 1;
        refused(&with(0, &[0; 32]), "zero");
        refused(&with(32, &[0; 32]), "zero");
        refused(&with(0, &order), "out of range");
        refused(&with(32, &above_half), "high s");
        for length in [1, 63, 66] {
            refused(&vec![1; length], "65 bytes");
        }
    }

    #[test]
    fn text_that_is_no_hex_is_refused() {
        for text in ["", "0x", "zz", "0x0x", "0x123", &"a".repeat(133)] {
            assert_eq!(EvmSignature::parse(text).unwrap_err().field, "signature", "{text}");
        }
    }

    #[test]
    fn bytes_that_are_native_are_read_as_such_and_others_are_kept() {
        let digits = hex::encode_upper(good());
        assert_eq!(signature_bytes(&digits).unwrap(), good());
        let recovered = EvmSignature::parse(&digits).unwrap().recover(&eip191::digest(MESSAGE));
        assert_eq!(recovered, Some(signer().address()));
        let mut safe = good();
        safe[64] += 4; // Safe's mark of an eth_sign signature
        for bytes in [&safe[..], &good()[..63], &[0], &[], &vec![0xff; MAX_BYTES]] {
            for text in [format!("0X{}", hex::encode(bytes)), format!("0x{}", hex::encode_upper(bytes))] {
                assert_eq!(signature_bytes(&text).unwrap(), bytes);
                assert_eq!(EvmSignature::parse(&text).unwrap_err().problem, Problem::SignatureEncoding);
            }
        }
    }

    #[test]
    fn bytes_that_nobody_can_mean_are_refused() {
        let long = "aa".repeat(MAX_BYTES + 1);
        for (text, why) in [
            ("", "is required"),
            ("0x0x11", "must be hex"),
            ("123", "must be hex"),
            (&long, "at most 16 KiB"),
            (&long.repeat(2), "at most 16 KiB"),
        ] {
            let violation = signature_bytes(text).unwrap_err();
            assert_eq!(
                (violation.field.as_str(), violation.problem),
                ("signature", Problem::SignatureEncoding)
            );
            assert!(violation.description.contains(why), "{violation} instead of {why}");
        }
    }
}
