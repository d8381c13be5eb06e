//! Checks of settings by the modules that read them, before anything is opened.

use std::path::Path;

use super::root_keys;
use crate::{
    config::{Checks, setting_checks::WrongFile},
    store,
    token::RootKeys,
    transport::check_tls,
};

/// The checks of every command.
pub const CHECKS: Checks = Checks { database_url, root_keys, tls };

fn database_url(url: &str) -> Result<(), String> {
    store::locate(url).map(|_| ()).map_err(|error| error.to_string())
}

/// An embedded store makes its own, and where the URL is wrong nobody knows whether keys are needed.
fn root_keys(url: &str, keys: Option<&str>) -> Result<(), String> {
    match keys {
        Some(keys) => RootKeys::parse(keys).map(|_| ()),
        None if store::locate(url).is_ok_and(|location| !location.is_embedded()) => {
            Err(root_keys::MISSING.to_owned())
        }
        None => Ok(()),
    }
}

fn tls(certificate: Option<&Path>, key: Option<&Path>, client_ca: Option<&Path>) -> Vec<WrongFile> {
    let wrong = check_tls(certificate, key, client_ca);
    wrong.into_iter().map(|error| (error.setting(), error.description())).collect()
}
