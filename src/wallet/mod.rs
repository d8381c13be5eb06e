//! Wallet signatures: dispatch by chain namespace.
//!
//! Each namespace has a folder of its own, which names no other; this file alone names them all. `siwx/` reads and
//! writes the sign-in texts of every namespace. No other module names secp256k1, ed25519_dalek and tiny_keccak.

pub mod evm;
pub mod siwx;
pub mod solana;

use crate::domain::{
    Address, Namespace, Network, Party, Problem, SignatureDetails, Verification, VerificationMethod,
    Violation, Wallet,
};
use evm::contract::{Answer, Question};
use evm::eip712::AuthMessage;

type Result<T> = std::result::Result<T, Violation>;

/// Content that a wallet signs.
#[derive(Debug)]
pub enum Payload {
    /// A text, byte for byte.
    Text(String),
    /// EIP-712 typed data, which only EVM wallets sign.
    TypedData(Box<AuthMessage>),
}

/// A payload, and the party that claims to have signed it.
#[derive(Debug)]
pub struct SignedMessage {
    /// The party.
    pub claimed: Party,
    /// The payload.
    pub payload: Payload,
}

impl SignedMessage {
    /// The wallet, if the claimed address's own key made the signature.
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

    /// The call that asks the claimed address's contract; `None` where no contract can be a wallet.
    ///
    /// # Errors
    /// A violation of `signature` if it is malformed.
    pub fn question(&self, signature: &str) -> Result<Option<Question>> {
        match self.claimed.network.namespace() {
            Namespace::Eip155 => evm::question(self, signature),
            Namespace::Solana => Ok(None),
        }
    }

    /// The wallet, if its contract accepts the signature, or would once deployed.
    pub fn verified_by_contract(&self, answer: Answer) -> Option<Verification> {
        answer.method().map(|method| self.verification(method))
    }

    /// Details of a signature, whether or not it verifies.
    pub fn details(&self, signature: &str) -> SignatureDetails {
        match self.claimed.network.namespace() {
            Namespace::Eip155 => evm::details(self, signature),
            Namespace::Solana => solana::details(self, signature),
        }
    }

    fn verification(&self, method: VerificationMethod) -> Verification {
        let Party { address, network } = self.claimed.clone();
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

/// The network of an address that came without one: the main network of the namespace whose form it has, by default
/// Ethereum's.
pub fn default_network(address: &str) -> Network {
    let has_form = |namespace: &Namespace| match namespace {
        Namespace::Eip155 => evm::address::has_form(address),
        Namespace::Solana => solana::address::has_form(address),
    };
    Network::main(Namespace::ALL.into_iter().find(has_form).unwrap_or(Namespace::Eip155))
}

/// The canonical form of a signature. EVM: lower-case hex with `0x`, of a native signature the 65 bytes r, s, v with v in
/// {27, 28}. Solana: base58. `None` if the text is no signature.
pub fn canonical_signature(text: &str, namespace: Namespace) -> Option<String> {
    match namespace {
        Namespace::Eip155 => evm::signature::canonical(text),
        Namespace::Solana => solana::signature::canonical(text),
    }
}

/// The digits of a hex text, without its optional prefix.
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
