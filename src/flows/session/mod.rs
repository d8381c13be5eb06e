//! SessionService: sessions are created, read, listed and revoked.

pub mod create;
mod get;
pub mod list;
mod revoke;
