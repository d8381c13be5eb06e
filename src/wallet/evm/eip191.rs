//! EIP-191 version 0x45, the format of `personal_sign`.

use super::keccak::keccak256;

/// Hashed bytes: the prefix, the length of the text, and the text.
pub fn signed_bytes(message: &str) -> Vec<u8> {
    format!("\x19Ethereum Signed Message:\n{}{message}", message.len()).into_bytes()
}

/// Digest of a text. Its length is written in decimal and counts UTF-8 bytes.
pub fn digest(message: &str) -> [u8; 32] {
    let length = message.len().to_string();
    keccak256(&[b"\x19Ethereum Signed Message:\n", length.as_bytes(), message.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::{digest, keccak256, signed_bytes};

    #[test]
    fn the_digest_counts_bytes_not_characters() {
        // From eth-account: `encode_defunct(text=...)`, hashed.
        assert_eq!(
            hex::encode(digest("hello")),
            "50b2c43fd39106bafbba0da34fc430e1f91e3c96ea2acee2bc34119f92b37750"
        );
        assert_ne!(digest("You’re"), digest("You're"));
        assert_eq!(digest("You’re"), keccak256(&[&signed_bytes("You’re")]));
    }
}
