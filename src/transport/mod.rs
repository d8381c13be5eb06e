//! Ports: who may connect, how a connection is encrypted, how long it lives, and how it ends.
//!
//! Its ports know nothing of the services on them: `grpc` and `http` answer the calls.

mod buffered_writes;
mod connection;
mod inline_executor;
mod port;
mod stall_timeout;
mod tls;

pub use connection::{Limits, Protocol};
pub use port::Port;
pub use tls::{Tls, TlsError, TlsFiles, check_tls};
