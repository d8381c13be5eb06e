//! `countersign keys`: signing keys and root keys, on the store itself.

mod list;
mod root;
mod signing;

use std::sync::Arc;

use clap::Subcommand;

use super::Outcome;
use crate::{
    app::{CHECKS, load_root_keys, open_store},
    config::{KeyFlags, LogSettings, flags::FlagValues},
    state::signing_keys::check_root_keys,
    store::Store,
    token::RootKeys,
};

#[derive(Subcommand)]
pub(super) enum Keys {
    /// List the signing keys, and which root key is needed for what.
    List(list::List),
    /// Let the prepared signing key sign, and prepare the next one.
    Rotate(signing::Rotate),
    /// Revoke a signing key at once. Every token that it signed is refused from then on.
    Revoke(signing::Revoke),
    /// Print a fresh root key: 256 bits of the operating system's generator.
    NewRoot,
    /// Put every signing key under the first root key, as a start of the service does.
    Reseal(root::Reseal),
    /// Forget a root key that nothing needs any more; from then on the service starts without it.
    ForgetRoot(root::ForgetRoot),
}

impl Keys {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::List(list) => list.run().await,
            Self::Rotate(rotate) => rotate.run().await,
            Self::Revoke(revoke) => revoke.run().await,
            Self::NewRoot => {
                say!("{}", RootKeys::new_key().expose());
                Ok(())
            }
            Self::Reseal(reseal) => reseal.run().await,
            Self::ForgetRoot(forget) => forget.run().await,
        }
    }

    pub(super) fn log(&self) -> LogSettings {
        match self {
            Self::List(list) => list.flags.0.log(),
            Self::Rotate(rotate) => rotate.flags.0.log(),
            Self::Revoke(revoke) => revoke.flags.0.log(),
            Self::NewRoot => FlagValues::default().log(),
            Self::Reseal(reseal) => reseal.flags.0.log(),
            Self::ForgetRoot(forget) => forget.flags.0.log(),
        }
    }
}

type Opened = Result<(Arc<dyn Store>, RootKeys), Box<dyn std::error::Error + Send + Sync>>;

/// The store, and root keys that fit it.
async fn open(flags: &KeyFlags) -> Opened {
    let settings = flags.settings(&CHECKS)?;
    let store = open_store(&settings.store, false).await?;
    let roots = load_root_keys(settings.root_keys.as_ref(), store.as_ref()).await?;
    check_root_keys(store.as_ref(), &roots).await?;
    Ok((store, roots))
}

/// The same, to put a key under the first root key, which every instance must be able to open.
async fn open_to_seal(flags: &KeyFlags) -> Opened {
    let (store, roots) = open(flags).await?;
    if check_root_keys(store.as_ref(), &roots).await? {
        return Ok((store, roots));
    }
    store.close().await;
    Err(format!(
        "no instance has started with the root key {} as the first one yet, so others might be unable to open what \
         it seals: put it first there, or keep the order that they have (docs/keys.md)",
        roots.primary()
    )
    .into())
}
