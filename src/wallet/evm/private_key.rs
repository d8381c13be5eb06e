//! Throw-away EVM wallets for the demo, `bench`, `wallet sign` and the tests.

use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};

use crate::domain::{Address, Secret};

use super::{
    Payload, digest, eip191,
    eip712::AuthMessage,
    signature::{address_of, rsv},
};

/// A secp256k1 key that signs as EVM wallets do.
#[derive(Debug)]
pub struct EvmPrivateKey(Secret<SecretKey>);

impl EvmPrivateKey {
    /// Generates a key from `random`, a source of 32 random bytes.
    pub fn generate(mut random: impl FnMut() -> [u8; 32]) -> Self {
        loop {
            // Fewer than one string in 2^127 is out of range.
            if let Ok(key) = SecretKey::from_secret_bytes(random()) {
                return Self(Secret::new(key));
            }
        }
    }

    /// Parses 32 bytes in hex, with or without `0x`; `None` if they are no key.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).ok()?;
        SecretKey::from_secret_bytes(bytes).ok().map(|key| Self(Secret::new(key)))
    }

    /// Key in hex with `0x`, as wallets import it.
    pub fn to_hex(&self) -> Secret<String> {
        Secret::new(format!("0x{}", hex::encode(self.0.expose().to_secret_bytes())))
    }

    /// Address of the wallet.
    pub fn address(&self) -> Address {
        address_of(&PublicKey::from_secret_key(self.0.expose()))
    }

    /// Signs the payload of a challenge, in the form of [`Self::sign_text`].
    pub fn sign(&self, payload: &Payload) -> String {
        self.sign_digest(digest(payload))
    }

    /// Signs a text (EIP-191 `personal_sign`): 65 bytes r, s, v in hex with `0x`, v in {27, 28}.
    pub fn sign_text(&self, message: &str) -> String {
        self.sign_digest(eip191::digest(message))
    }

    /// Signs typed data (EIP-712 `eth_signTypedData_v4`), in the form of [`Self::sign_text`].
    pub fn sign_typed_data(&self, message: &AuthMessage) -> String {
        self.sign_digest(message.digest())
    }

    fn sign_digest(&self, digest: [u8; 32]) -> String {
        let message = Message::from_digest(digest);
        let signature = RecoverableSignature::sign_ecdsa_recoverable(message, self.0.expose());
        format!("0x{}", hex::encode(rsv(&signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_address_and_signature_that_ethereum_tools_give_it() {
        // The first account of `anvil` and `hardhat node`; the signature is eth-account's.
        let signer =
            EvmPrivateKey::from_hex("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
                .unwrap();
        assert_eq!(signer.address().as_str(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(format!("{signer:?}"), "EvmPrivateKey([hidden])");
    }
}
