//! TokenService and ext_authz: tokens are issued, refreshed, revoked and checked.

pub mod check;
pub mod introspect;
pub mod issue;
mod refresh;
mod revoke;
pub mod watch_revocations;
