//! How connections are encrypted, and what they must keep to.

use std::{fs, path::PathBuf, time::Duration};

use super::{Reader, origin::Origin, problem::Problem, table::setting};

/// How connections are encrypted. What the files hold is looked at by whoever uses them.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The certificate and those that lead to its authority.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// The authorities of callers that must show a certificate.
    pub client_ca_file: Option<PathBuf>,
}

/// What connections must keep to.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// How many a port holds at most.
    pub max: usize,
    /// How old one gets; `None` for no limit.
    pub max_age: Option<Duration>,
    /// How long a peer may keep silent where it has to speak.
    pub peer_timeout: Duration,
    /// How long an HTTP/2 connection is silent before its peer is asked whether it is still there.
    pub keepalive: Duration,
}

impl Reader {
    /// How connections are encrypted; a certificate without its key, or the other way round, is a problem.
    pub(super) fn tls(&mut self) -> Option<TlsSettings> {
        let certificate = self.file("tls-certificate-file");
        let key = self.file("tls-key-file");
        let client_ca_file = self.file("tls-client-ca-file");
        if certificate.is_none() && key.is_none() && client_ca_file.is_none() {
            return None;
        }
        for (file, missing) in [(&certificate, "tls-certificate-file"), (&key, "tls-key-file")] {
            if file.is_none() {
                let why = "is missing: TLS needs both tls-certificate-file and tls-key-file";
                self.problems.push(Problem::new(missing, &Origin::Default, why));
            }
        }
        let (certificate_file, key_file) = (certificate.unwrap_or_default(), key.unwrap_or_default());
        Some(TlsSettings { certificate_file, key_file, client_ca_file })
    }

    /// A file that can be read.
    fn file(&mut self, key: &str) -> Option<PathBuf> {
        let (path, origin) = self.in_force(setting(key));
        let path = path?;
        if let Err(error) = fs::read(&path) {
            self.problems.push(Problem::new(key, &origin, format!("{path}: {error}")));
        }
        Some(PathBuf::from(path))
    }

    pub(super) fn connections(&mut self) -> ConnectionSettings {
        const LEAST: Duration = Duration::from_millis(100);
        let max_age = self.time("max-connection-age", Duration::ZERO);
        ConnectionSettings {
            max: self.parsed("max-connections", "must be a number from 1 to 1000000", |text| {
                text.parse().ok().filter(|number| (1..=1_000_000).contains(number))
            }),
            max_age: (!max_age.is_zero()).then_some(max_age),
            peer_timeout: self.time("peer-timeout", LEAST),
            keepalive: self.time("keepalive-interval", LEAST),
        }
    }
}
