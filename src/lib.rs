//! domain wallet token
pub mod domain;
pub mod token;
pub mod wallet;
