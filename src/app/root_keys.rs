//! Where the root keys come from: a file, the environment, or (embedded stores) made on the spot.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    domain::Secret,
    store::{Location, Store, StoreError},
    token::RootKeys,
};

/// What a store on a server asks for.
pub(super) const MISSING: &str = "is required with PostgreSQL. Make a key with `countersign keys new-root > \
    root-keys`, keep it safe (without it the store's keys and every refresh token are lost), and pass \
    --root-keys-file root-keys to every instance";

/// Why there are no root keys to work with.
#[derive(Debug, thiserror::Error)]
pub enum RootKeysError {
    /// None were given, and the store is not one that makes its own.
    #[error("root-keys {MISSING}")]
    Missing,
    /// The embedded store was used before, and its keys are gone.
    #[error(
        "the root keys of this store are missing: {0} is gone; put it back, or name it by --root-keys-file"
    )]
    Lost(PathBuf),
    /// The file cannot be read or made.
    #[error("root keys: {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// What was given is no list of root keys.
    #[error("{origin}: {problem}")]
    Malformed {
        /// Where it came from.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The root keys that were given; an embedded store without any gets its own.
///
/// # Errors
/// Why there are none.
pub async fn load_root_keys(
    given: Option<&Secret<String>>,
    store: &dyn Store,
) -> Result<RootKeys, RootKeysError> {
    if let Some(keys) = given {
        return parse("root-keys", keys.expose());
    }
    match store.location() {
        Location::Server => Err(RootKeysError::Missing),
        Location::Memory => parse("the key just made", RootKeys::new_key().expose()),
        Location::File(database) => beside(&database, store).await,
    }
}

/// The key beside an embedded database; made if the database has not been protected by one yet.
async fn beside(database: &Path, store: &dyn Store) -> Result<RootKeys, RootKeysError> {
    let mut name = database.as_os_str().to_owned();
    name.push(".root-keys");
    let path = PathBuf::from(name);
    if !path.exists() {
        if !store.canaries().await?.is_empty() {
            return Err(RootKeysError::Lost(path));
        }
        write_new(&path).map_err(|cause| RootKeysError::File { path: path.clone(), cause })?;
    }
    read(&path)
}

fn read(path: &Path) -> Result<RootKeys, RootKeysError> {
    let text =
        fs::read_to_string(path).map_err(|cause| RootKeysError::File { path: path.to_owned(), cause })?;
    parse(&path.display().to_string(), &text)
}

fn parse(origin: &str, text: &str) -> Result<RootKeys, RootKeysError> {
    RootKeys::parse(text).map_err(|problem| RootKeysError::Malformed { origin: origin.to_owned(), problem })
}

/// A new file that only its owner reads. It appears whole or not at all, whenever this process ends; one that
/// another process has made meanwhile is left as it is.
fn write_new(path: &Path) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    writeln!(file, "{}", RootKeys::new_key().expose())?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}
