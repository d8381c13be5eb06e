//! gRPC in, gRPC out: one file per service.
//!
//! The only module that serves gRPC; `tests/architecture.rs` lists the modules that may name tonic and prost.

pub mod account;
mod arriving_request;
mod authorization;
pub mod call;
mod call_log;
mod call_record;
pub mod challenge;
pub mod client;
pub mod convert;
pub mod credentials;
mod guarded_body;
mod methods;
pub mod policy;
pub mod policy_file;
pub mod policy_mask;
mod revocations;
pub mod server;
pub mod session;
pub mod status;
mod stream_messages;
pub mod token;

/// Logs how many lines of rejected and failed calls were suppressed; called every second.
pub fn report_suppressed_lines() {
    call_log::report_suppressed();
    status::report_suppressed();
}

/// What `proto/countersign/v1` says, as Rust: messages, clients and servers.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    tonic::include_proto!("countersign.v1");

    /// Every message and service of the API, with comments and annotations.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/countersign.binpb"));
}
