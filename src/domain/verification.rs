//! How a signature was found to be its wallet's.

use super::{Wallet, WalletKind};

/// What accepted a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerificationMethod {
    /// Recovery of the key of an externally owned account.
    Eoa,
    /// The contract at the address, when the chain was at this block.
    Eip1271 {
        /// The block's number, as contracts of the chain see it.
        block_number: u64,
    },
    /// The contract that would be deployed at the address, when the chain was at this block.
    Erc6492 {
        /// As above.
        block_number: u64,
    },
    /// Ed25519, by the key that a Solana address is.
    Ed25519,
}

impl VerificationMethod {
    /// The kind of wallet that signs so.
    pub const fn wallet_kind(self) -> WalletKind {
        match self {
            Self::Eoa => WalletKind::Eoa,
            Self::Eip1271 { .. } | Self::Erc6492 { .. } => WalletKind::Contract,
            Self::Ed25519 => WalletKind::Ed25519,
        }
    }
}

/// A verified signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The wallet that signed.
    pub wallet: Wallet,
    /// What accepted its signature.
    pub method: VerificationMethod,
}
