//! Flags and environment into typed settings.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;

/// The environment's way to hand root keys over without a file.
pub const ROOT_KEYS_VARIABLE: &str = "COUNTERSIGN_ROOT_KEYS";

/// Which store.
#[derive(Args, Clone, Debug)]
pub struct StoreSettings {
    /// The store: `sqlite:FILE`, `sqlite::memory:` or `postgres://USER:PASSWORD@HOST/DATABASE`. Default:
    /// `countersign.db` in the data directory.
    #[arg(long, env = "COUNTERSIGN_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,

    /// Where the embedded store lives.
    #[arg(long, env = "COUNTERSIGN_DATA_DIR", default_value = "countersign-data", value_name = "DIR")]
    pub data_dir: PathBuf,
}

impl StoreSettings {
    /// The store's URL.
    pub fn url(&self) -> String {
        self.database_url
            .clone()
            .unwrap_or_else(|| format!("sqlite:{}", self.data_dir.join("countersign.db").display()))
    }

    /// What kind of store the URL names, as far as settings depend on it.
    pub fn kind(&self) -> StoreKind {
        let url = self.url();
        match url.strip_prefix("sqlite:") {
            Some(":memory:" | "//:memory:") => StoreKind::Memory,
            Some(file) => {
                let file = file.strip_prefix("//").unwrap_or(file);
                StoreKind::File(PathBuf::from(file.split('?').next().unwrap_or(file)))
            }
            None => StoreKind::Server,
        }
    }
}

/// The kinds of store that settings tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Embedded, gone with the process.
    Memory,
    /// Embedded, in a file.
    File(PathBuf),
    /// A database server.
    Server,
}

impl StoreKind {
    /// Whether the store comes with the program, and so is brought up to date without asking.
    pub const fn is_embedded(&self) -> bool {
        matches!(self, Self::Memory | Self::File(_))
    }
}

/// What `serve` runs with.
#[derive(Args, Clone, Debug)]
pub struct ServeSettings {
    /// The store.
    #[command(flatten)]
    pub store: StoreSettings,

    /// A file with the root keys, newest first, one a line, as `countersign keys new-root` prints them.
    /// The environment variable COUNTERSIGN_ROOT_KEYS may hold them instead. Default on an embedded store:
    /// a file beside the database, made at the first start. Required with PostgreSQL.
    #[arg(long, env = "COUNTERSIGN_ROOT_KEYS_FILE", value_name = "FILE")]
    pub root_keys_file: Option<PathBuf>,

    /// Where gRPC listens; port 0 lets the system choose.
    #[arg(long, env = "COUNTERSIGN_GRPC_LISTEN", default_value = "127.0.0.1:50051", value_name = "ADDRESS")]
    pub grpc_listen: SocketAddr,

    /// Where HTTP (`/.well-known/jwks.json`) listens; port 0 lets the system choose.
    #[arg(long, env = "COUNTERSIGN_HTTP_LISTEN", default_value = "127.0.0.1:50052", value_name = "ADDRESS")]
    pub http_listen: SocketAddr,

    /// The `iss` of access tokens: the URL under which callers know this service.
    #[arg(long, env = "COUNTERSIGN_ISSUER", default_value = "http://127.0.0.1:50052", value_name = "URL")]
    pub issuer: String,

    /// Bring the schema up to date first; an embedded store always is.
    #[arg(long, env = "COUNTERSIGN_MIGRATE")]
    pub migrate: bool,
}

/// The file of root keys that an embedded store makes for itself.
pub fn embedded_root_keys_file(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".root-keys");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(url: &str) -> StoreKind {
        StoreSettings { database_url: Some(url.to_owned()), data_dir: PathBuf::new() }.kind()
    }

    #[test]
    fn the_url_tells_the_kind_of_store() {
        assert_eq!(kind("sqlite::memory:"), StoreKind::Memory);
        assert_eq!(kind("sqlite:a/b.db"), StoreKind::File(PathBuf::from("a/b.db")));
        assert_eq!(kind("sqlite:///var/c.db?mode=rwc"), StoreKind::File(PathBuf::from("/var/c.db")));
        assert_eq!(kind("postgres://u:p@h/d"), StoreKind::Server);
    }

    #[test]
    fn the_default_store_is_a_file_in_the_data_directory() {
        let settings = StoreSettings { database_url: None, data_dir: PathBuf::from("data") };
        assert_eq!(settings.kind(), StoreKind::File(PathBuf::from("data/countersign.db")));
    }
}
