//! Solana (CAIP-2 namespace `solana`): Ed25519 keys, which are the addresses, over the text itself.

pub mod ed25519;
