//! TLS files looked at before anything starts: every mistake, where a start would stop at the first.

use std::{path::Path, sync::Arc};

use rustls::crypto;

use super::{
    TlsError,
    material::{CERTIFICATE, CLIENT_CA, KEY, certificates, clients, pair, read, signing_key},
};

impl TlsError {
    /// The setting that names the file.
    pub const fn setting(&self) -> &'static str {
        self.setting
    }

    /// The file, and what is wrong with it.
    pub fn description(&self) -> String {
        format!("{}: {}", self.path.display(), self.problem)
    }
}

/// What is wrong with these files, as far as they are given.
pub fn check_tls(certificate: Option<&Path>, key: Option<&Path>, client_ca: Option<&Path>) -> Vec<TlsError> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let chain = certificate.map(|path| {
        let chain = read(CERTIFICATE, path).and_then(|text| certificates(CERTIFICATE, path, &text));
        chain.map(|chain| (path, chain))
    });
    let key = key.map(|path| {
        let key = read(KEY, path).and_then(|text| signing_key(path, &text, &provider));
        key.map(|key| (path, key))
    });
    let authorities =
        client_ca.map(|path| read(CLIENT_CA, path).and_then(|text| clients(path, &text, &provider)));
    let paired = match (chain, key) {
        (Some(Ok(chain)), Some(Ok(key))) => vec![pair(chain, key).err()],
        (chain, key) => vec![chain.and_then(Result::err), key.and_then(Result::err)],
    };
    paired.into_iter().chain([authorities.and_then(Result::err)]).flatten().collect()
}
