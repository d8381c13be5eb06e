//! Throw-away wallets: for the demo, the load loop, and people with grpcurl, which cannot sign.

use ed25519_dalek::{Signer as _, SigningKey};
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};

use crate::domain::{Address, Secret};

use super::{
    address, eip191,
    eip712::AuthMessage,
    signature::{address_of, rsv},
};

/// A secp256k1 key that signs as a wallet does.
#[derive(Debug)]
pub struct Signer(Secret<SecretKey>);

impl Signer {
    /// A wallet out of `random`, which fills 32 bytes from the operating system's generator.
    pub fn generate(mut random: impl FnMut() -> [u8; 32]) -> Self {
        loop {
            // Fewer than one in 2^127 strings is no key; then the next one is.
            if let Ok(key) = SecretKey::from_secret_bytes(random()) {
                return Self(Secret::new(key));
            }
        }
    }

    /// Reads a private key of 32 bytes in hex, with or without `0x`; `None` if it is none.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).ok()?;
        SecretKey::from_secret_bytes(bytes).ok().map(|key| Self(Secret::new(key)))
    }

    /// The private key in hex with `0x`.
    pub fn private_key(&self) -> Secret<String> {
        Secret::new(format!("0x{}", hex::encode(self.0.expose().to_secret_bytes())))
    }

    /// The wallet's address.
    pub fn address(&self) -> Address {
        address_of(&PublicKey::from_secret_key(self.0.expose()))
    }

    /// EIP-191 personal_sign: 65 bytes r, s, v in hex with `0x`, v in {27, 28}.
    pub fn sign_text(&self, message: &str) -> String {
        self.sign(eip191::digest(message))
    }

    /// EIP-712, as `eth_signTypedData_v4` answers; in the form of [`Self::sign_text`].
    pub fn sign_typed_data(&self, message: &AuthMessage) -> String {
        self.sign(message.digest())
    }

    fn sign(&self, digest: [u8; 32]) -> String {
        let message = Message::from_digest(digest);
        let signature = RecoverableSignature::sign_ecdsa_recoverable(message, self.0.expose());
        format!("0x{}", hex::encode(rsv(&signature)))
    }
}

/// An ed25519 key that signs as a wallet of Solana does.
#[derive(Debug)]
pub struct SolanaSigner(Secret<SigningKey>);

impl SolanaSigner {
    /// A wallet out of `random`, which fills 32 bytes from the operating system's generator.
    pub fn generate(random: impl FnOnce() -> [u8; 32]) -> Self {
        Self(Secret::new(SigningKey::from_bytes(&random())))
    }

    /// Reads what [`Self::private_key`] wrote; `None` if its halves are no pair.
    pub fn from_base58(text: &str) -> Option<Self> {
        let bytes = address::base58(text)?;
        SigningKey::from_keypair_bytes(&bytes).ok().map(|key| Self(Secret::new(key)))
    }

    /// The private key as wallets import it: base58 of the 32 bytes of RFC 8032 and the public key.
    pub fn private_key(&self) -> Secret<String> {
        Secret::new(bs58::encode(self.0.expose().to_keypair_bytes()).into_string())
    }

    /// The wallet's address, which is its public key.
    pub fn address(&self) -> Address {
        address::from_solana_bytes(self.0.expose().verifying_key().as_bytes())
    }

    /// Signs the very bytes of a text: 64 bytes R, S in base58.
    pub fn sign_text(&self, message: &str) -> String {
        bs58::encode(self.0.expose().sign(message.as_bytes()).to_bytes()).into_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_address_and_signature_that_ethereum_tools_give_it() {
        // The first account of `anvil` and `hardhat node`; the signature is eth-account's.
        let signer =
            Signer::from_hex("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
        assert_eq!(signer.address().as_str(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(format!("{signer:?}"), "Signer([hidden])");
    }

    #[test]
    fn a_solana_wallet_hides_its_key_and_reads_it_again() {
        let signer = SolanaSigner::generate(|| [7; 32]);
        assert_eq!(format!("{signer:?}"), "SolanaSigner([hidden])");
        let key = signer.private_key().into_exposed();
        assert_eq!(SolanaSigner::from_base58(&key).unwrap().address(), signer.address());
        let stranger = SolanaSigner::generate(|| [8; 32]).private_key().into_exposed();
        let halves = [
            &bs58::decode(&key).into_vec().unwrap()[..32],
            &bs58::decode(stranger).into_vec().unwrap()[32..],
        ];
        assert!(SolanaSigner::from_base58(&bs58::encode(halves.concat()).into_string()).is_none());
    }
}
