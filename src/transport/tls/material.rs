//! From the texts of PEM files to what shakes hands.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    Error, RootCertStore, ServerConfig,
    crypto::{self, CryptoProvider},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
};
use tokio_rustls::TlsAcceptor;

use super::{Protocol, TlsError, TlsFiles};
use crate::domain::Secret;

pub(super) const CERTIFICATE: &str = "tls-certificate-file";
pub(super) const KEY: &str = "tls-key-file";
pub(super) const CLIENT_CA: &str = "tls-client-ca-file";
/// The library's own words are about a peer's certificate.
const MALFORMED: &str = "holds a malformed certificate";

/// What was read.
#[derive(PartialEq, Eq)]
pub(super) struct Pem {
    certificate: Vec<u8>,
    key: Secret<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

pub(super) fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::new(setting, path, error.to_string()))
}

impl Pem {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(CERTIFICATE, &files.certificate)?,
            key: Secret::new(read(KEY, &files.key)?),
            client_ca: files.client_ca.as_deref().map(|path| read(CLIENT_CA, path)).transpose()?,
        })
    }
}

/// What shakes hands, for either protocol, and what it was made of.
pub(super) struct InForce {
    pem: Pem,
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

impl InForce {
    pub(super) fn new(files: &TlsFiles, pem: Pem) -> Result<Self, TlsError> {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let key = Arc::new(certified_key(files, &pem, &provider)?);
        let clients = match (&files.client_ca, &pem.client_ca) {
            (Some(path), Some(text)) => Some(clients(path, text, &provider)?),
            _ => None,
        };
        // What is served over HTTP/1.1 is public.
        let http1 = config(Arc::clone(&provider), None, Arc::clone(&key), b"http/1.1");
        let http2 = config(provider, clients, key, b"h2");
        Ok(Self { pem, http1, http2 })
    }

    pub(super) fn is_made_of(&self, pem: &Pem) -> bool {
        self.pem == *pem
    }

    pub(super) fn acceptor(&self, protocol: Protocol) -> TlsAcceptor {
        let config = match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        };
        TlsAcceptor::from(Arc::clone(config))
    }
}

impl TlsError {
    fn new(setting: &'static str, path: &Path, problem: impl Into<String>) -> Self {
        Self { setting, path: path.to_owned(), problem: problem.into() }
    }
}

/// A configuration of its own for each protocol, so that neither resumes the other's sessions.
fn config(
    provider: Arc<CryptoProvider>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    key: Arc<CertifiedKey>,
    protocol: &[u8],
) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's suites are for these very versions");
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

fn certified_key(files: &TlsFiles, pem: &Pem, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(CERTIFICATE, &files.certificate, &pem.certificate)?;
    let key = signing_key(&files.key, pem.key.expose(), provider)?;
    pair((&files.certificate, chain), (&files.key, key))
}

/// The key of a text, ready to sign.
pub(super) fn signing_key(
    path: &Path,
    text: &[u8],
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, TlsError> {
    let key = private_key(text).and_then(|key| {
        let loaded = provider.key_provider.load_private_key(key);
        loaded.map_err(|_| "holds a key that is malformed, or none of RSA, ECDSA and Ed25519")
    });
    key.map_err(|problem| TlsError::new(KEY, path, problem))
}

/// A certificate and a key that belong together.
pub(super) fn pair(
    (certificate, chain): (&Path, Vec<CertificateDer<'static>>),
    (file, key): (&Path, Arc<dyn SigningKey>),
) -> Result<CertifiedKey, TlsError> {
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => {
            let problem = format!("is not the key of the certificate in {}", certificate.display());
            Err(TlsError::new(KEY, file, problem))
        }
        Err(_) => Err(TlsError::new(CERTIFICATE, certificate, MALFORMED)),
    }
}

/// The first private key of a text. The library's own words may repeat a line of it.
fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => "holds no private key (PEM: PKCS#8, PKCS#1 or SEC1, not encrypted)",
        _ => "is malformed PEM",
    })
}

pub(super) fn clients(
    path: &Path,
    text: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(CLIENT_CA, path, text)? {
        authorities.add(certificate).map_err(|_| TlsError::new(CLIENT_CA, path, MALFORMED))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(provider));
    builder.build().map_err(|error| TlsError::new(CLIENT_CA, path, error.to_string()))
}

/// All certificates of a file, at least one.
pub(super) fn certificates(
    setting: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(TlsError::new(setting, path, "holds no certificate (PEM)")),
        // A key may have been given here by mistake, and the library's words may repeat a line of the file.
        Err(_) => Err(TlsError::new(setting, path, "is malformed PEM")),
    }
}
