//! How a signature was found to be its wallet's.

use super::{Address, Wallet, WalletKind};

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
    /// What the store keeps.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eoa => "EOA",
            Self::Eip1271 { .. } => "EIP1271",
            Self::Erc6492 { .. } => "ERC6492",
            Self::Ed25519 => "ED25519",
        }
    }

    /// The number of the block at which a contract accepted the signature.
    pub const fn block_number(self) -> Option<u64> {
        match self {
            Self::Eip1271 { block_number } | Self::Erc6492 { block_number } => Some(block_number),
            Self::Eoa | Self::Ed25519 => None,
        }
    }

    /// Reads what [`Self::as_str`] and [`Self::block_number`] wrote.
    pub fn from_stored(text: &str, block_number: Option<u64>) -> Option<Self> {
        match (text, block_number) {
            ("EOA", None) => Some(Self::Eoa),
            ("EIP1271", Some(block_number)) => Some(Self::Eip1271 { block_number }),
            ("ERC6492", Some(block_number)) => Some(Self::Erc6492 { block_number }),
            ("ED25519", None) => Some(Self::Ed25519),
            _ => None,
        }
    }

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

/// Details of a signature that show why it does or does not verify.
#[derive(Debug, Default)]
pub struct SignatureDetails {
    /// Canonical form of the signature; `None` if it is malformed.
    pub canonical: Option<String>,
    /// Address whose key signed, claimed or not; `None` where keys cannot be recovered, as on Solana.
    pub recovered: Option<Address>,
    /// Exact bytes that were signed.
    pub signed_bytes: Option<Vec<u8>>,
    /// Keccak-256 of these bytes; `None` on Solana, since Ed25519 hashes on its own.
    pub digest: Option<[u8; 32]>,
}
