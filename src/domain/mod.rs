//! Parsed values, states, transitions and policies.
//!
//! Everything here is made once, at the boundary, and cannot be wrong afterwards.

pub mod access_token;
pub mod account;
pub mod address;
pub mod chain_endpoint;
pub mod challenge;
pub mod client;
pub mod ids;
pub mod jitter;
pub mod log_lines;
pub mod network;
pub mod nonce;
pub mod peer;
pub mod policy;
pub mod sealed;
pub mod secret;
pub mod session;
pub mod signing_algorithm;
pub mod template;
pub mod typed_data;
pub mod verification;
pub mod violation;

pub use access_token::{MAX_ACCESS_TOKEN_AGE, MAX_CHECKER_LEEWAY};
pub use account::{Account, LinkedWallet, LinkedWallets, Wallet, WalletKind};
pub use address::Address;
pub use chain_endpoint::ChainEndpoint;
pub use challenge::{Challenge, ChallengeFormat, ChallengePurpose, Content};
pub use client::{Client, LiveSecret, Role, SECRET_LIMIT, token_audience};
pub use ids::{AccountId, ChallengeId, ClientId, RequestId, SecretId, SessionId, TokenId};
pub use jitter::jittered;
pub use log_lines::LogLines;
pub use network::{Namespace, Network, NetworkRule};
pub use nonce::{Nonce, NumericNonce};
pub use peer::{Peer, TrustedProxies};
pub use policy::{DeniedBy, Policy, RateLimit};
pub use sealed::{RootKeyId, Sealed};
pub use secret::Secret;
pub use session::{ChainAddress, RevokeReason, Session, SessionState};
pub use signing_algorithm::SigningAlgorithm;
pub use template::TextTemplate;
pub use typed_data::TypedDataDomain;
pub use verification::{SignatureDetails, Verification, VerificationMethod};
pub use violation::{Problem, Violation};
