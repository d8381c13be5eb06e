//! `Chain ID`: how a text names its chain.

use std::fmt;

use super::dialect::Dialect;
use crate::domain::{Namespace, Network};

/// A network, and the text that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainId {
    text: String,
    network: Network,
}

impl ChainId {
    /// The form in which wallets name a network: its name where the namespace's texts have names, else the CAIP-2
    /// reference.
    pub fn of(network: &Network) -> Self {
        let (_, reference) = network.as_str().split_once(':').unwrap_or_default();
        let named =
            Dialect::of(network.namespace()).chain_names.iter().find(|(_, named)| *named == reference);
        let text = named.map_or(reference, |(name, _)| name).to_owned();
        Self { text, network: network.clone() }
    }

    /// Parses a name or a CAIP-2 reference, each with or without the prefix of the namespace's texts.
    pub(super) fn parse(namespace: Namespace, text: &str) -> Option<Self> {
        let Dialect { chain_id_prefix, chain_names, .. } = Dialect::of(namespace);
        let name = text.strip_prefix(chain_id_prefix).unwrap_or(text);
        let named = chain_names.iter().find(|(listed, _)| *listed == name);
        let reference = named.map_or(name, |(_, reference)| reference);
        let network = Network::parse("message", &format!("{}:{reference}", namespace.as_str())).ok()?;
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
