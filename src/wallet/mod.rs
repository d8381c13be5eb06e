//! Wallet signatures: dispatch by chain namespace.
//!
//! Each namespace has its own folder, which never names another; only this file names them all. `siwx/` parses and
//! writes the sign-in texts of every namespace. No other module names secp256k1, ed25519_dalek or tiny_keccak.

pub mod evm;
pub mod siwx;
pub mod solana;

use crate::domain::{
    Address, ChainAddress, Namespace, Network, Problem, SignatureDetails, Verification, VerificationMethod,
    Violation, Wallet,
};
use evm::contract::{ValidationCall, ValidationResult};
use evm::eip712::AuthMessage;

type Result<T> = std::result::Result<T, Violation>;

/// Content that a wallet signs.
#[derive(Debug)]
pub enum Payload {
    /// Text, byte for byte.
    Text(String),
    /// EIP-712 typed data, which only EVM wallets sign.
    TypedData(Box<AuthMessage>),
}

/// Payload with the signer that claims to have signed it.
#[derive(Debug)]
pub struct SignedMessage {
    /// Claimed signer.
    pub claimed: ChainAddress,
    /// Signed content.
    pub payload: Payload,
}

impl SignedMessage {
    /// Verifies the signature with the key of the claimed address; `None` if that key did not sign.
    ///
    /// # Errors
    /// A violation of `signature` if it is malformed.
    pub fn verified_by_key(&self, signature: &str) -> Result<Option<Verification>> {
        let method = match self.claimed.network.namespace() {
            Namespace::Eip155 => evm::verify(self, signature),
            Namespace::Solana => solana::verify(self, signature),
        };
        Ok(method?.map(|method| self.verification(method)))
    }

    /// Call that validates the signature at the claimed address's contract; `None` where no contract can be a wallet.
    ///
    /// # Errors
    /// A violation of `signature` if it is malformed.
    pub fn validation_call(&self, signature: &str) -> Result<Option<ValidationCall>> {
        match self.claimed.network.namespace() {
            Namespace::Eip155 => evm::validation_call(self, signature),
            Namespace::Solana => Ok(None),
        }
    }

    /// Verification by a contract's answer; `None` if the contract did not accept the signature.
    pub fn verified_by_contract(&self, answer: ValidationResult) -> Option<Verification> {
        answer.method().map(|method| self.verification(method))
    }

    /// Details of a signature, also of one that does not verify.
    pub fn details(&self, signature: &str) -> SignatureDetails {
        match self.claimed.network.namespace() {
            Namespace::Eip155 => evm::details(self, signature),
            Namespace::Solana => solana::details(self, signature),
        }
    }

    fn verification(&self, method: VerificationMethod) -> Verification {
        let ChainAddress { address, network } = self.claimed.clone();
        Verification { wallet: Wallet { address, network, kind: method.wallet_kind() }, method }
    }
}

/// Parses the address in `field` as one of the network's namespace.
///
/// # Errors
/// A violation of `field`, also for the zero address.
pub fn parse_address(field: &str, text: &str, network: &Network) -> Result<Address> {
    match network.namespace() {
        Namespace::Eip155 => evm::address::parse(text),
        Namespace::Solana => solana::address::parse(text),
    }
    .map_err(|description| Violation::new(field, Problem::Address, description))
}

/// Network of an address that was given without one: the main network of the namespace whose form it has, else
/// Ethereum's.
pub fn default_network(address: &str) -> Network {
    let has_form = |namespace: &Namespace| match namespace {
        Namespace::Eip155 => evm::address::has_form(address),
        Namespace::Solana => solana::address::has_form(address),
    };
    Network::main(Namespace::ALL.into_iter().find(has_form).unwrap_or(Namespace::Eip155))
}

/// Canonical form of a signature, in which equal signatures have equal texts; `None` if it is malformed.
pub fn canonical_signature(text: &str, namespace: Namespace) -> Option<String> {
    match namespace {
        Namespace::Eip155 => evm::signature::canonical(text),
        Namespace::Solana => solana::signature::canonical(text),
    }
}

/// Digits of a hex text without its optional prefix.
fn hex_digits(text: &str) -> &str {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text)
}

fn malformed_signature(why: &str) -> Violation {
    Violation::new("signature", Problem::SignatureEncoding, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_network_is_of_the_namespace_whose_form_it_has() {
        let namespace = |text: &str| default_network(text).namespace();
        let digits = "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        for text in ["", "x", digits, &format!("0x{digits}"), "0x111111111111111111111111111111"] {
            assert_eq!(namespace(text), Namespace::Eip155, "{text}");
        }
        for text in ["TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA", &"1".repeat(32), &"1".repeat(44)] {
            assert_eq!(namespace(text), Namespace::Solana, "{text}");
        }
    }
}
