//! `countersign keys`: make root keys.

use clap::Subcommand;

use super::Outcome;
use crate::token::RootKeys;

#[derive(Subcommand)]
pub(super) enum Keys {
    /// Print a fresh root key: 256 bits of the operating system's generator.
    NewRoot,
}

impl Keys {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::NewRoot => say!("{}", RootKeys::new_key().expose()),
        }
        Ok(())
    }
}
