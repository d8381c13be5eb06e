//! Ports: who may connect, how long a connection lives, and how it ends.
//!
//! The only room that names hyper. What is answered on a port is for `grpc` and `http` to know.

mod port;

pub use port::{Port, Protocol};
