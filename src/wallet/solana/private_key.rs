//! Throw-away Solana wallets for the demo and the tests.

use ed25519_dalek::{Signer as _, SigningKey};

use crate::domain::{Address, Secret};

use super::address;

/// An Ed25519 key that signs as Solana wallets do.
#[derive(Debug)]
pub struct SolanaPrivateKey(Secret<SigningKey>);

impl SolanaPrivateKey {
    /// Generates a key from `random`, a source of 32 random bytes.
    pub fn generate(random: impl FnOnce() -> [u8; 32]) -> Self {
        Self(Secret::new(SigningKey::from_bytes(&random())))
    }

    /// Parses the text of [`Self::to_base58`]; `None` if its halves are no pair.
    pub fn from_base58(text: &str) -> Option<Self> {
        let bytes = address::base58(text)?;
        SigningKey::from_keypair_bytes(&bytes).ok().map(|key| Self(Secret::new(key)))
    }

    /// Key as wallets import it: base58 of the 32 bytes of RFC 8032 and the public key.
    pub fn to_base58(&self) -> Secret<String> {
        Secret::new(bs58::encode(self.0.expose().to_keypair_bytes()).into_string())
    }

    /// Address of the wallet: its public key.
    pub fn address(&self) -> Address {
        address::from_bytes(self.0.expose().verifying_key().as_bytes())
    }

    /// Signs the bytes of a text: 64 bytes R, S in base58.
    pub fn sign_text(&self, message: &str) -> String {
        bs58::encode(self.0.expose().sign(message.as_bytes()).to_bytes()).into_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solana_wallet_hides_its_key_and_reads_it_again() {
        let signer = SolanaPrivateKey::generate(|| [7; 32]);
        assert_eq!(format!("{signer:?}"), "SolanaPrivateKey([hidden])");
        let key = signer.to_base58().into_exposed();
        assert_eq!(SolanaPrivateKey::from_base58(&key).unwrap().address(), signer.address());
        let stranger = SolanaPrivateKey::generate(|| [8; 32]).to_base58().into_exposed();
        let halves = [
            &bs58::decode(&key).into_vec().unwrap()[..32],
            &bs58::decode(stranger).into_vec().unwrap()[32..],
        ];
        assert!(SolanaPrivateKey::from_base58(&bs58::encode(halves.concat()).into_string()).is_none());
    }
}
