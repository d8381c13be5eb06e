//! `Chain ID`: how a text names its chain.

use std::fmt;

use crate::domain::{Namespace, Network};

/// Solana's clusters by the names that its wallets write, and their CAIP-2 references (the first 32
/// characters of the genesis hash). `localnet` has no genesis hash of its own, hence no network.
const CLUSTERS: [(&str, &str); 3] = [
    ("mainnet", "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
    ("devnet", "EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
    ("testnet", "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z"),
];

/// A network, and the text that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainId {
    text: String,
    network: Network,
}

impl ChainId {
    /// How a text names a network: the chain id of EIP-155 in decimal; on Solana the cluster's name,
    /// since wallets know no other, or the CAIP-2 reference of a cluster without one.
    pub fn of(network: &Network) -> Self {
        let (_, reference) = network.as_str().split_once(':').unwrap_or_default();
        let named = match network.namespace() {
            Namespace::Eip155 => None,
            Namespace::Solana => CLUSTERS.into_iter().find(|(_, hash)| *hash == reference),
        };
        let text = named.map_or(reference, |(name, _)| name).to_owned();
        Self { text, network: network.clone() }
    }

    /// Reads `1*DIGIT` without leading zeros (EIP-155), or what Solana's wallets write: `mainnet`, `devnet`,
    /// `testnet` or a CAIP-2 reference, each with or without `solana:` before it.
    pub(super) fn parse(namespace: Namespace, text: &str) -> Option<Self> {
        let caip2 = match namespace {
            Namespace::Eip155 => format!("eip155:{text}"),
            Namespace::Solana => format!("solana:{}", solana_reference(text)),
        };
        let network = Network::parse("message", &caip2).ok()?;
        Some(Self { text: text.to_owned(), network })
    }

    /// The network.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The text, as it stands in the message.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn solana_reference(text: &str) -> &str {
    let name = text.strip_prefix("solana:").unwrap_or(text);
    CLUSTERS.into_iter().find(|(cluster, _)| *cluster == name).map_or(name, |(_, reference)| reference)
}
