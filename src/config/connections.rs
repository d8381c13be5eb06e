//! How connections are encrypted, and what they must keep to.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{Checks, Reader, ServeSettings};
use crate::domain::TrustedProxies;

/// How connections are encrypted. What the files hold was looked at, and may change while the service runs.
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
    /// Time without a call after which a connection ends.
    pub idle_timeout: Duration,
    /// Calls that the process runs at most.
    pub max_calls: usize,
    /// Proxies whose `x-forwarded-for` is trusted.
    pub trusted_proxies: TrustedProxies,
}

impl Reader {
    /// How connections are encrypted; a certificate without its key, or the other way round, is a problem.
    pub(super) fn tls(&mut self, checks: &Checks) -> Option<TlsSettings> {
        let certificate = self.text("tls-certificate-file").map(PathBuf::from);
        let key = self.text("tls-key-file").map(PathBuf::from);
        let client_ca_file = self.text("tls-client-ca-file").map(PathBuf::from);
        for (wrong, why) in (checks.tls)(certificate.as_deref(), key.as_deref(), client_ca_file.as_deref()) {
            self.refuse(wrong, Err(why));
        }
        if certificate.is_none() && key.is_none() && client_ca_file.is_none() {
            return None;
        }
        for (file, missing) in [(&certificate, "tls-certificate-file"), (&key, "tls-key-file")] {
            if file.is_none() {
                let why = "is missing: TLS needs both tls-certificate-file and tls-key-file";
                self.refuse(missing, Err(why.to_owned()));
            }
        }
        let (certificate_file, key_file) = (certificate.unwrap_or_default(), key.unwrap_or_default());
        Some(TlsSettings { certificate_file, key_file, client_ca_file })
    }

    /// Two that listen on one port: the second would stop the start, each time again.
    pub(super) fn refuse_shared_ports(&mut self, settings: &ServeSettings) {
        let ports = [
            ("grpc-listen", settings.grpc_listen),
            ("http-listen", settings.http_listen),
            ("operations-listen", settings.operations_listen),
        ];
        for (at, (key, address)) in ports.into_iter().enumerate() {
            if let Some((other, _)) = ports[..at].iter().find(|(_, other)| overlap(*other, address)) {
                self.refuse(key, Err(format!("{address} is taken by {other}")));
            }
        }
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
            idle_timeout: self.time("connection-idle-timeout", LEAST),
            max_calls: self.parsed("max-calls", "must be a number from 24 to 1000000", |text| {
                text.parse().ok().filter(|number| (24..=1_000_000).contains(number))
            }),
            trusted_proxies: self.trusted_proxies(),
        }
    }

    fn trusted_proxies(&mut self) -> TrustedProxies {
        let text = self.text("trusted-proxies").unwrap_or_default();
        TrustedProxies::parse(&text).unwrap_or_else(|why| {
            self.refuse("trusted-proxies", Err(why));
            TrustedProxies::default()
        })
    }
}

/// Whether both cannot be listened on: the unspecified address of a family is every address of it.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let one_family = one.is_ipv4() == other.is_ipv4();
    let whole_family = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || one_family && whole_family)
}
