//! What operators and the service itself run on the store: key rotation and clean-up.

pub mod clean_up;
pub mod keys;
