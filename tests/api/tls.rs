//! TLS: who is let in, what wrong files are answered with, and certificates renewed while the server runs.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use countersign::{domain::Policy, flows::client::create::create_client};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    harness::{Caller, GIVE_UP, Server, basic, checked_settings, http_get, wallet},
    process::Process,
    support::TestStore,
    transport::{PREFACE, read_until_closed},
};

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, as PEM.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The files of a server, in its store's folder.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: PathBuf,
}

impl Files {
    /// With a certificate of an authority.
    fn new(store: &TestStore, authority: &Authority) -> Self {
        let path = |name| store.folder.path().join(name);
        let files = Self { certificate: path("tls.crt"), key: path("tls.key"), client_ca: path("ca.crt") };
        files.renew(authority);
        files
    }

    fn renew(&self, authority: &Authority) {
        let (certificate, key) = authority.issue();
        replace(&self.certificate, &certificate);
        replace(&self.key, &key);
    }

    /// The flags that name certificate and key.
    fn flags(&self) -> [(&'static str, &str); 2] {
        [
            ("tls-certificate-file", self.certificate.to_str().unwrap()),
            ("tls-key-file", self.key.to_str().unwrap()),
        ]
    }
}

/// Gives a file another text, all at once.
fn replace(path: &Path, text: &str) {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, text).unwrap();
    std::fs::rename(unfinished, path).unwrap();
}

/// A channel of whoever trusts an authority, and shows a certificate if there is one.
async fn connect(
    address: SocketAddr,
    trusted: &Authority,
    shown: Option<(String, String)>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&trusted.pem)).domain_name("localhost");
    if let Some((certificate, key)) = shown {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap().connect().await
}

/// Whether somebody who connects in this way is answered.
async fn is_answered(address: SocketAddr, trusted: &Authority, shown: Option<(String, String)>) -> bool {
    match connect(address, trusted, shown).await {
        Ok(channel) => HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok(),
        Err(_) => false,
    }
}

/// The answer to a GET over TLS, and the protocol that was agreed on.
async fn https_get(address: SocketAddr, path: &str, trusted: &Authority) -> (String, Option<Vec<u8>>) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer, stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn users_sign_in_over_tls_and_the_keys_are_served_over_https() {
    let store = TestStore::sqlite().await;
    let authority = Authority::new();
    let files = Files::new(&store, &authority);
    let server = Server::start_with(&store, &files.flags()).await;
    let policy = Policy { name: "Test".to_owned(), ..Policy::default() };
    let (client, secret) = create_client(server.store.as_ref(), policy, "").await.unwrap();
    let channel = connect(server.grpc, &authority, None).await.unwrap();
    let caller = Caller::over(channel, &basic(&client.id.to_string(), secret.expose()));
    let tokens = caller.sign_in(&wallet()).await.tokens.unwrap();
    caller.refresh(&tokens.refresh_token).await.unwrap();

    let (answer, protocol) = https_get(server.http, "/.well-known/jwks.json", &authority).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"kid\""), "{answer}");
    assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
    assert!(!is_answered(server.grpc, &Authority::new(), None).await, "this caller trusts somebody else");
}

#[tokio::test]
async fn plain_text_is_refused_where_tls_is_on_and_operations_stay_plain() {
    /// What a TLS server answers to what is no TLS (RFC 8446, section 6).
    const ALERT: u8 = 21;
    let store = TestStore::sqlite().await;
    let files = Files::new(&store, &Authority::new());
    let server = Server::start_with(&store, &files.flags()).await;
    for (address, words) in [(server.grpc, PREFACE), (server.http, b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")] {
        let received = read_until_closed(address, words).await;
        assert!(received.first().is_none_or(|first| *first == ALERT), "{received:?}");
    }
    let (head, metrics) = http_get(server.operations, "/metrics").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(metrics.contains("countersign_tls_handshakes_failed_total{port=\"http\"} "), "{metrics}");
}

#[tokio::test]
async fn a_peer_that_does_not_shake_hands_is_left() {
    let store = TestStore::sqlite().await;
    let files = Files::new(&store, &Authority::new());
    let flags = [&files.flags()[..], &[("peer-timeout", "200ms")]].concat();
    let server = Server::start_with(&store, &flags).await;
    for address in [server.grpc, server.http] {
        assert_eq!(read_until_closed(address, b"").await, b"");
    }
}

#[tokio::test]
async fn whoever_must_show_a_certificate_needs_one_of_the_right_authority() {
    let store = TestStore::sqlite().await;
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::new(&store, &authority);
    std::fs::write(&files.client_ca, &clients.pem).unwrap();
    let ca = [("tls-client-ca-file", files.client_ca.to_str().unwrap())];
    let server = Server::start_with(&store, &[&files.flags()[..], &ca].concat()).await;
    assert!(is_answered(server.grpc, &authority, Some(clients.issue())).await);
    assert!(!is_answered(server.grpc, &authority, None).await);
    assert!(!is_answered(server.grpc, &authority, Some(authority.issue())).await);
    let (answer, _) = https_get(server.http, "/.well-known/jwks.json", &authority).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "what is public needs no certificate: {answer}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_the_reason_and_without_the_key() {
    let store = TestStore::sqlite().await;
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let (_, other_key) = authority.issue();
    let secret = key.lines().nth(1).unwrap();
    let broken_key = key.replacen(secret, &format!("-----BEGIN {secret}"), 1);
    let no_key = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let odd_key = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n");
    let no_certificate = certificate.replace("BEGIN CERTIFICATE", "BEGIN X");
    let odd_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let (ca, crt) = (authority.pem.as_str(), certificate.as_str());
    for (certificate, key, ca, setting, reason) in [
        ("", key.as_str(), ca, "tls-certificate-file", "holds no certificate"),
        (&key, &key, ca, "tls-certificate-file", "holds no certificate"),
        (&broken_key, &key, ca, "tls-certificate-file", "is malformed PEM"),
        (&no_certificate, &key, ca, "tls-certificate-file", "is malformed PEM"),
        (&odd_certificate, &key, ca, "tls-certificate-file", "holds a malformed certificate"),
        (crt, "", ca, "tls-key-file", "holds no private key"),
        (crt, &no_key, ca, "tls-key-file", "not encrypted"),
        (crt, &broken_key, ca, "tls-key-file", "is malformed PEM"),
        (crt, &odd_key, ca, "tls-key-file", "holds a key that is malformed"),
        (crt, &other_key, ca, "tls-key-file", "is not the key of the certificate in"),
        (crt, &key, "", "tls-client-ca-file", "holds no certificate"),
        (crt, &key, &odd_certificate, "tls-client-ca-file", "holds a malformed certificate"),
    ] {
        let files = Files::new(&store, &authority);
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        std::fs::write(&files.client_ca, ca).unwrap();
        let ca = [("tls-client-ca-file", files.client_ca.to_str().unwrap())];
        let flags = [&files.flags()[..], &ca].concat();
        let refused = checked_settings(&store, &store.url, &flags).err();
        let said = refused.map(|error| format!("{error} {error:?}")).unwrap_or_default();
        let named = format!("a setting is wrong:\n  {setting} (flag --{setting}): /");
        assert!(said.starts_with(&named), "{setting}, {reason}: {said}");
        assert!(said.contains(reason), "{setting}, {reason}: {said}");
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_in_force_without_a_restart_and_a_broken_one_is_not() {
    let store = TestStore::sqlite().await;
    let (old, new) = (Authority::new(), Authority::new());
    let files = Files::new(&store, &old);
    let flags = files.flags().map(|(flag, value)| [format!("--{flag}"), value.to_owned()]).concat();
    let process = Process::start_with(&store, &flags.iter().map(String::as_str).collect::<Vec<_>>());
    let said = async |words: &str| {
        let wait = async {
            while !process.log().contains(words) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(GIVE_UP, wait).await.unwrap_or_else(|_| panic!("{words}: {}", process.log()));
    };
    assert!(is_answered(process.grpc, &old, None).await);

    let secret = std::fs::read_to_string(&files.key).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    replace(&files.key, &format!("-----BEGIN {secret}"));
    said("tls-key-file: ").await;
    // The log of the first look ends after the error; the second one is silent.
    let looks =
        || process.log().rsplit("tls-key-file: ").next().unwrap().matches("TLS files were compared").count();
    let twice = async {
        while looks() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(GIVE_UP, twice).await.expect("the files are looked at once more");
    assert!(is_answered(process.grpc, &old, None).await, "what was read before stays in force");

    files.renew(&new);
    said("have changed and are in force").await;
    assert!(is_answered(process.grpc, &new, None).await);
    assert!(!is_answered(process.grpc, &old, None).await, "the old authority's certificate is gone");
    let log = process.log();
    assert_eq!(log.matches("tls-key-file: ").count(), 1, "once is enough: {log}");
    assert!(!log.contains(secret), "the key is in the log");
}
