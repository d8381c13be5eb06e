//! `Chain ID`: the name of a network in a sign-in text.

use std::fmt;

use super::dialect::Dialect;
use crate::domain::{Namespace, Network};

/// Network with its name in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainId {
    text: String,
    network: Network,
}

impl ChainId {
    /// Network as wallets write it: by name where the dialect has one, else by its CAIP-2 reference.
    pub fn of(network: &Network) -> Self {
        let (_, reference) = network.as_str().split_once(':').unwrap_or_default();
        let named =
            Dialect::of(network.namespace()).chain_names.iter().find(|(_, named)| *named == reference);
        let text = named.map_or(reference, |(name, _)| name).to_owned();
        Self { text, network: network.clone() }
    }

    /// Parses a name or a CAIP-2 reference, each with or without the dialect's prefix.
    pub(super) fn parse(namespace: Namespace, text: &str) -> Option<Self> {
        let Dialect { chain_id_prefix, chain_names, .. } = Dialect::of(namespace);
        let name = text.strip_prefix(chain_id_prefix).unwrap_or(text);
        let named = chain_names.iter().find(|(listed, _)| *listed == name);
        let reference = named.map_or(name, |(_, reference)| reference);
        let network = Network::parse("message", &format!("{}:{reference}", namespace.as_str())).ok()?;
        Some(Self { text: text.to_owned(), network })
    }

    /// Network.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// Text as it stands in the message.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
