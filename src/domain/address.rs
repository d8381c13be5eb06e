//! An address in its one canonical text.

use std::fmt;

/// An address in the canonical form of its namespace, such as EIP-55. Two addresses are the same exactly when their texts
/// are. `wallet::parse_address` reads addresses that callers wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(String);

impl Address {
    /// Takes over a text that is canonical already: out of `wallet::parse_address`, or out of the store.
    pub const fn from_canonical(text: String) -> Self {
        Self(text)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
