//! Networks: CAIP-2 chain ids, and the aliases that callers may write instead.

use std::fmt;

use super::{Problem, Violation};

/// Solana's main net (CAIP-30: the first 32 characters of its genesis hash).
const SOLANA_MAINNET: &str = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";

/// What `EVM` means in a policy: every chain of the namespace.
const ANY_EVM: &str = "eip155:*";

/// The CAIP-2 namespaces whose wallets are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// EVM chains (CAIP-3).
    Eip155,
    /// Solana (CAIP-30).
    Solana,
}

/// A network: a CAIP-2 chain id in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Network(String);

impl Namespace {
    /// Every namespace, in the order in which they are tried when the input names none.
    pub const ALL: [Self; 2] = [Self::Eip155, Self::Solana];

    /// Name in CAIP-2 chain ids.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eip155 => "eip155",
            Self::Solana => "solana",
        }
    }

    /// Splits a chain id of a known namespace. The reference may still break the namespace's grammar.
    fn split(chain_id: &str) -> Option<(Self, &str)> {
        let (name, reference) = chain_id.split_once(':')?;
        let namespace = Self::ALL.into_iter().find(|namespace| namespace.as_str() == name)?;
        Some((namespace, reference))
    }
}

impl Network {
    /// Reads a chain id or an alias: `ETHEREUM` and `EVM` are `eip155:1`, `POLYGON` is `eip155:137`,
    /// `SOLANA` is its main net.
    ///
    /// # Errors
    /// A violation of `field` for anything else.
    pub fn parse(field: &str, text: &str) -> Result<Self, Violation> {
        let canonical = match text {
            "ETHEREUM" | "EVM" => "eip155:1",
            "POLYGON" => "eip155:137",
            "SOLANA" => SOLANA_MAINNET,
            chain_id => chain_id,
        };
        let is_valid = match Namespace::split(canonical) {
            Some((Namespace::Eip155, reference)) => is_eip155(reference),
            Some((Namespace::Solana, reference)) => is_solana(reference),
            None => false,
        };
        if is_valid {
            return Ok(Self(canonical.to_owned()));
        }
        Err(Violation::new(
            field,
            Problem::Network,
            "must be a CAIP-2 chain id such as `eip155:1`, or one of ETHEREUM, POLYGON, EVM, SOLANA",
        ))
    }

    /// As [`Self::parse`], where it matters which chain it is: `EVM` names none.
    ///
    /// # Errors
    /// As [`Self::parse`], and for `EVM`.
    pub fn parse_chain(field: &str, text: &str) -> Result<Self, Violation> {
        if text == "EVM" {
            let why = "must name a chain, such as `eip155:1`: it matters here, and EVM is any of them";
            return Err(Violation::new(field, Problem::Network, why));
        }
        Self::parse(field, text)
    }

    /// The chain id of EIP-155; `None` for other namespaces.
    pub fn chain_id(&self) -> Option<u64> {
        self.0.strip_prefix("eip155:")?.parse().ok()
    }

    /// Takes over a text that is canonical already, out of the store.
    pub const fn from_canonical(text: String) -> Self {
        Self(text)
    }

    /// Main network of a namespace.
    pub fn main(namespace: Namespace) -> Self {
        let canonical = match namespace {
            Namespace::Eip155 => "eip155:1",
            Namespace::Solana => SOLANA_MAINNET,
        };
        Self(canonical.to_owned())
    }

    /// Main network of Ethereum, the default.
    pub fn ethereum() -> Self {
        Self::main(Namespace::Eip155)
    }

    /// The namespace.
    pub fn namespace(&self) -> Namespace {
        Namespace::split(&self.0).map_or(Namespace::Eip155, |(namespace, _)| namespace)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An entry of a policy's `networks`: one chain, or every EVM chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRule(String);

impl NetworkRule {
    /// Reads an entry; `EVM` (or `eip155:*`) allows every EVM chain.
    ///
    /// # Errors
    /// As [`Network::parse`].
    pub fn parse(field: &str, text: &str) -> Result<Self, Violation> {
        if text == "EVM" || text == ANY_EVM {
            return Ok(Self(ANY_EVM.to_owned()));
        }
        Network::parse(field, text).map(|network| Self(network.0))
    }

    /// Takes over an entry out of the store. One of a kind that only a later version knows lets nothing through.
    pub const fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Whether the rule lets a network through.
    pub fn allows(&self, network: &Network) -> bool {
        self.0 == network.0 || (self.0 == ANY_EVM && network.namespace() == Namespace::Eip155)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// CAIP-3: the chain id of EIP-155 in decimal, without sign and leading zeros.
fn is_eip155(reference: &str) -> bool {
    !reference.starts_with('0')
        && reference.bytes().all(|byte| byte.is_ascii_digit())
        && reference.parse::<u64>().is_ok()
}

/// CAIP-30: 32 characters of base58.
fn is_solana(reference: &str) -> bool {
    reference.len() == 32
        && reference.bytes().all(|byte| byte.is_ascii_alphanumeric() && !b"0OIl".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_and_chain_ids_have_one_canonical_text() {
        let canonical = |text| Network::parse("network", text).unwrap().0;
        assert_eq!(canonical("ETHEREUM"), "eip155:1");
        assert_eq!(canonical("EVM"), "eip155:1");
        assert_eq!(canonical("POLYGON"), "eip155:137");
        assert_eq!(canonical("SOLANA"), SOLANA_MAINNET);
        assert_eq!(canonical("eip155:42161"), "eip155:42161");
    }

    #[test]
    fn anything_else_is_refused_by_field() {
        for text in [
            "",
            "ethereum",
            "eip155:",
            "eip155:01",
            "eip155:+1",
            "eip155:0",
            "eip155:1 ",
            "eip155:*",
            "eip155:99999999999999999999",
            "solana:main",
            "bip122:000000000019d668",
        ] {
            let violation = Network::parse("signing_network", text).unwrap_err();
            assert_eq!(violation.field, "signing_network", "{text}");
            assert_eq!(violation.problem, Problem::Network, "{text}");
        }
    }

    #[test]
    fn the_rule_evm_allows_every_evm_chain_and_no_other() {
        let rule = NetworkRule::parse("networks", "EVM").unwrap();
        assert!(rule.allows(&Network::parse("", "eip155:10").unwrap()));
        assert!(!rule.allows(&Network::parse("", "SOLANA").unwrap()));
        let one = NetworkRule::parse("networks", "POLYGON").unwrap();
        assert!(one.allows(&Network::parse("", "eip155:137").unwrap()));
        assert!(!one.allows(&Network::ethereum()));
    }
}
