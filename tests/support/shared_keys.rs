//! Root keys of a store under test, and signing keys that most stores share.

use std::{path::PathBuf, sync::LazyLock};

use countersign::{
    domain::SigningAlgorithm,
    state::signing_keys::new_signing_key,
    store::{NewSigningKey, SigningKeyState, open},
    token::RootKeys,
};

use crate::support::TestStore;

/// The algorithms' active and prepared keys, sealed under a root key. A service makes six on an empty store, two of
/// them RSA, which takes longer than most tests; these are made once per process and are kept nowhere else.
struct SharedKeys {
    root: String,
    signing: Vec<(NewSigningKey, SigningKeyState)>,
}

static SHARED: LazyLock<SharedKeys> = LazyLock::new(|| {
    let root = RootKeys::new_key().into_exposed();
    let roots = RootKeys::parse(&root).unwrap();
    let states = [SigningKeyState::Active, SigningKeyState::Prepared];
    let of = |algorithm| states.map(|state| (new_signing_key(algorithm, &roots).unwrap(), state));
    SharedKeys { root, signing: SigningAlgorithm::ALL.into_iter().flat_map(of).collect() }
});

fn path(store: &TestStore) -> PathBuf {
    store.folder.path().join("root-keys")
}

/// The file of the store's root keys. A new one holds a key of its own, under which the service makes its signing keys
/// itself.
pub fn root_keys_file(store: &TestStore) -> PathBuf {
    let path = path(store);
    if !path.exists() {
        std::fs::write(&path, RootKeys::new_key().expose()).unwrap();
    }
    path
}

/// Gives a store without root keys the shared ones, before a service starts on it.
pub fn share_keys(store: &TestStore) {
    if path(store).exists() {
        return;
    }
    std::fs::write(path(store), &SHARED.root).unwrap();
    let url = store.url.clone();
    // A process is started outside of async code, too.
    let added = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(add_keys(&url));
    });
    added.join().unwrap();
}

async fn add_keys(url: &str) {
    let store = open(url).await.unwrap();
    store.migrate().await.unwrap();
    for (key, state) in &SHARED.signing {
        assert!(store.add_signing_key(key.clone(), *state == SigningKeyState::Active).await.unwrap());
    }
    store.close().await;
}
