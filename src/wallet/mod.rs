//! Bytes and a signature in, who signed out.
//!
//! The only room that names secp256k1, ed25519_dalek and tiny_keccak.

pub mod evm;
pub mod siwx;
pub mod solana;

pub use evm::{address, contract, eip191, eip712, private_key as signer, signature};
pub use siwx as eip4361;
pub use solana::ed25519;
