//! Bytes and a signature in, who signed out.
//!
//! The only room that names secp256k1, ed25519_dalek and tiny_keccak.

pub mod address;
pub mod contract;
pub mod ed25519;
pub mod eip191;
pub mod eip4361;
pub mod eip712;
pub mod signature;
pub mod signer;

mod keccak;
