//! Ports: who may connect, how a connection is encrypted, how long it lives, and how it ends.
//!
//! Its ports know nothing of the services on them: `grpc` and `http` answer the calls.

mod backlog;
mod buffered_writes;
mod call;
mod connection;
mod connection_service;
mod delivery;
mod inline_executor;
mod open_connections;
mod places;
mod port;
mod request_body;
mod response_body;
mod stall_timeout;
mod stalled_calls;
mod tls;

pub use backlog::Backlog;
pub use connection::{Limits, Protocol};
pub use port::Port;
pub use request_body::RequestBody;
pub use stalled_calls::StallLimits;
pub use tls::{Tls, TlsError, TlsFiles, check_tls};
