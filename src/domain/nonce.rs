//! Nonces: what makes a challenge its own.

use super::{Violation, typed_data::EXACT_BELOW};

/// The characters of a nonce: alphanumeric, as EIP-4361 asks for.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 62^22 > 2^130: at least 128 bits.
const LENGTH: usize = 22;

/// A nonce, alphanumeric.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(String);

impl Nonce {
    /// A nonce of 22 characters out of `random`, which yields bytes of the operating system's
    /// generator. Bytes that would favour some characters are passed over.
    pub fn from_random(mut random: impl FnMut() -> u8) -> Self {
        let unbiased = u8::try_from(256 / ALPHABET.len() * ALPHABET.len() - 1).unwrap_or(u8::MAX);
        let mut text = String::with_capacity(LENGTH);
        while text.len() < LENGTH {
            let byte = random();
            if byte <= unbiased {
                text.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
            }
        }
        Self(text)
    }

    /// Reads a nonce that a caller sent.
    ///
    /// # Errors
    /// A violation of `nonce` unless it is 1 to 64 alphanumeric characters.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        if (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Violation::request("nonce", "must be the challenge's nonce: 1 to 64 alphanumeric characters"))
    }

    /// Takes over a nonce out of the store.
    pub const fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The nonce's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A nonce that is a number, for typed data: below 2^53, so that every wallet reads it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumericNonce(u64);

impl NumericNonce {
    /// 53 of the 64 random bits.
    pub const fn from_random(random: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(random) % EXACT_BELOW)
    }

    /// The number itself, `None` from 2^53 on.
    pub fn from_number(number: u64) -> Option<Self> {
        (number < EXACT_BELOW).then_some(Self(number))
    }

    /// Reads the one decimal text that [`Self::to_nonce`] writes.
    pub fn from_nonce(nonce: &Nonce) -> Option<Self> {
        let read = nonce.as_str().parse().ok().and_then(Self::from_number)?;
        (read.to_nonce() == *nonce).then_some(read)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// What callers and the store know it by: its decimal text.
    pub fn to_nonce(self) -> Nonce {
        Nonce(self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_22_alphanumeric_characters_and_skips_biased_bytes() {
        let mut bytes = [255_u8, 248, 0, 61, 62, 247].into_iter().chain(std::iter::repeat(5));
        let nonce = Nonce::from_random(|| bytes.next().unwrap());
        assert_eq!(nonce.as_str(), format!("0z0z{}", "5".repeat(18)));
    }

    #[test]
    fn a_nonce_with_other_characters_is_refused() {
        for text in ["", "a b", "a'--", "ä", &"a".repeat(65)] {
            assert_eq!(Nonce::parse(text).unwrap_err().field, "nonce");
        }
    }

    #[test]
    fn a_number_has_one_text_and_stays_below_two_to_the_53() {
        let greatest = NumericNonce::from_random([255; 8]);
        assert_eq!(greatest.to_nonce().as_str(), "9007199254740991");
        for number in [greatest, NumericNonce::from_random([0; 8])] {
            assert_eq!(NumericNonce::from_nonce(&number.to_nonce()), Some(number));
        }
        for text in ["9007199254740992", "18446744073709551616", "01", "00", "1a", "abc"] {
            assert_eq!(NumericNonce::from_nonce(&Nonce::parse(text).unwrap()), None, "{text}");
        }
    }
}
