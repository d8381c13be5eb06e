//! TLS from files that are read anew when they change: certificates are renewed while the service runs.

mod check;
mod material;

use std::{
    future::Future,
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

pub use check::check_tls;
use material::{InForce, Pem};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::connection::Protocol;

/// How often the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate to show, and those that lead to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of whoever connects over HTTP/2; `None` if nobody is asked for a certificate.
    pub client_ca: Option<PathBuf>,
}

/// What is wrong with a file. The text of a key is never repeated.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{setting}: {}: {problem}", path.display())]
pub struct TlsError {
    setting: &'static str,
    path: PathBuf,
    problem: String,
}

/// TLS as the files have it. A clone shares it.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    in_force: Arc<RwLock<InForce>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let in_force = InForce::new(&files, Pem::read(&files)?)?;
        record(true);
        Ok(Self { files: Arc::new(files), in_force: Arc::new(RwLock::new(in_force)) })
    }

    /// Reads files that have changed, until `end` comes. Files that are wrong change nothing; that is said once.
    pub async fn keep_current(self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let mut failure = None;
        loop {
            tokio::select! {
                () = &mut end => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            let this = self.clone();
            // A file may be on a disk that does not answer.
            let looked = tokio::task::spawn_blocking(move || this.look_again()).await;
            let Ok(outcome) = looked else { continue };
            match &outcome {
                Ok(true) => tracing::info!("TLS files have changed and are in force"),
                Ok(false) if failure.is_some() => tracing::info!("TLS files are as before again"),
                Err(error) if failure.as_ref() != Some(error) => {
                    tracing::error!(%error, "renewed TLS files are wrong; the old ones stay in force");
                }
                Ok(false) | Err(_) => {}
            }
            tracing::trace!("TLS files were compared with those in force");
            record(outcome.is_ok());
            failure = outcome.err();
        }
    }

    /// Whether anything has changed.
    fn look_again(&self) -> Result<bool, TlsError> {
        let read = Pem::read(&self.files)?;
        if self.in_force.read().unwrap_or_else(PoisonError::into_inner).is_made_of(&read) {
            return Ok(false);
        }
        let renewed = InForce::new(&self.files, read)?;
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(true)
    }

    /// Shakes hands, within a time.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        protocol: Protocol,
        within: Duration,
    ) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.in_force.read().unwrap_or_else(PoisonError::into_inner).acceptor(protocol);
        tokio::time::timeout(within, acceptor.accept(stream)).await?
    }
}

fn record(files_are_good: bool) {
    metrics::gauge!("countersign_tls_files_good").set(u8::from(files_are_good));
}
