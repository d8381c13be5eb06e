//! Differences between the sign-in texts of the namespaces.

use crate::domain::Namespace;

/// Form of the sign-in text in one namespace.
pub(super) struct Dialect {
    /// End of the first line, after the domain.
    pub(super) header: &'static str,
    /// True if a scheme may precede the domain.
    pub(super) has_scheme: bool,
    /// True if a text without a statement keeps the blank line after it.
    pub(super) keeps_blank_line: bool,
    /// Error for an address that is not in canonical form.
    pub(super) address_refusal: &'static str,
    /// Required form of `Chain ID`, for error messages.
    pub(super) chain_id_form: &'static str,
    /// Optional prefix of `Chain ID`.
    pub(super) chain_id_prefix: &'static str,
    /// Names that stand for CAIP-2 references in `Chain ID`.
    pub(super) chain_names: &'static [(&'static str, &'static str)],
}

/// EIP-4361.
const ETHEREUM: Dialect = Dialect {
    header: " wants you to sign in with your Ethereum account:",
    has_scheme: true,
    keeps_blank_line: true,
    address_refusal: "must have an address with 0x and the checksum of EIP-55 on its second line",
    chain_id_form: "the chain id of EIP-155 in decimal, without sign and leading zeros",
    chain_id_prefix: "",
    chain_names: &[],
};

/// `sign-in-with-solana`. Wallets write the clusters by name; the references are the first 32 characters of their
/// genesis hashes. `localnet` has no fixed genesis hash and therefore no network.
const SOLANA: Dialect = Dialect {
    header: " wants you to sign in with your Solana account:",
    has_scheme: false,
    keeps_blank_line: false,
    address_refusal: "must have an address, the base58 form of 32 bytes, on its second line",
    chain_id_form: "mainnet, devnet, testnet or a CAIP-2 chain id",
    chain_id_prefix: "solana:",
    chain_names: &[
        ("mainnet", "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
        ("devnet", "EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
        ("testnet", "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z"),
    ],
};

impl Dialect {
    pub(super) const fn of(namespace: Namespace) -> &'static Self {
        match namespace {
            Namespace::Eip155 => &ETHEREUM,
            Namespace::Solana => &SOLANA,
        }
    }
}
