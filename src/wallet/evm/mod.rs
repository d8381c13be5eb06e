//! EVM chains (CAIP-2 namespace `eip155`): secp256k1 keys, EIP-191, EIP-712 and contract wallets.

pub mod contract;
pub mod eip191;
pub mod eip712;
pub mod private_key;
pub mod signature;

pub(super) mod address;
mod keccak;

pub use private_key::EvmPrivateKey;
pub use signature::EvmSignature;
