//! Solana (CAIP-2 namespace `solana`): an address is an Ed25519 key, which signs the text itself.

pub mod private_key;
pub mod signature;

pub(super) mod address;

pub use private_key::SolanaPrivateKey;
pub use signature::Ed25519Signature;
