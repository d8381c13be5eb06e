//! Ports: who may connect, how long a connection lives, and how it ends.
//!
//! The only room that names hyper. What is answered on a port is for `grpc` and `http` to know.

mod connection;
mod patience;
mod port;

pub use connection::{Limits, Protocol};
pub use port::Port;
