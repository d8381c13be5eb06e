//! ClientService, and the same on the store for the command line: clients, their policies and secrets.

pub mod create;
pub mod delete;
mod manage;
mod policy_texts;
pub mod secret_rotation;
pub mod update;
