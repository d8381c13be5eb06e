//! Checks of settings that only other modules can read.

use std::path::Path;

/// The key of the setting that names a file, and what is wrong with that file.
pub type WrongFile = (&'static str, String);

/// Looks at certificate, key and authorities, as far as they are given.
pub type TlsCheck = fn(Option<&Path>, Option<&Path>, Option<&Path>) -> Vec<WrongFile>;

/// Given by the composition root, which alone knows every module. What they answer never repeats a secret.
#[derive(Clone, Copy)]
pub struct Checks {
    /// What is wrong with the form of a database URL.
    pub database_url: fn(&str) -> Result<(), String>,
    /// What is wrong with the root keys for a store of this URL, or with there being none.
    pub root_keys: fn(&str, Option<&str>) -> Result<(), String>,
    /// What is wrong with the TLS files.
    pub tls: TlsCheck,
}
