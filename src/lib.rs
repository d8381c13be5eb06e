//! Countersign turns a wallet signature into a session, exactly once.
//!
//! A request travels from `grpc` through one of the `flows` into the modules below, and back:
//!
//! | module | responsibility | may use |
//! |---|---|---|
//! | [`domain`] | parsed values, states and policies | plain value types |
//! | [`wallet`] | verification of wallet signatures | `domain` |
//! | [`token`] | tokens, secrets and the keys behind them | `domain` |
//! | [`chain`] | asks the nodes of EVM chains about contract wallets | `domain`, `wallet` |
//! | [`store`] | durable state, on PostgreSQL or SQLite | `domain` |
//! | [`state`] | what an instance keeps in memory: caches, clock, keys, revocations, limits, health | `domain`, `token`, the store's trait |
//! | [`flows`] | one use case per file, one folder per service | `domain`, `wallet`, `token`, `chain`, `state`, the store's trait |
//! | [`grpc`] | one file per service, and the table of errors | `flows`, `state`, `domain` |
//! | [`verifier`] | token validation for other services in Rust | `domain`, `token`, `grpc` |
//! | [`http`] | the JSON Web Key Set; metrics, probes and log filter for operators | `flows`, `state`, `domain`, `log` |
//! | [`transport`] | ports and their connections: TLS, limits, drain | `domain` |
//! | [`log`] | log filter and format | - |
//! | [`config`] | flags, environment and file into typed settings | `domain`, `log` |
//! | [`app`], [`cli`] | the composition root; one file per command | all |
//!
//! `tests/architecture.rs` enforces this table.

pub mod app;
pub mod chain;
pub mod cli;
pub mod config;
pub mod domain;
pub mod flows;
pub mod grpc;
pub mod http;
pub mod log;
pub mod state;
pub mod store;
pub mod token;
pub mod transport;
pub mod verifier;
pub mod wallet;
