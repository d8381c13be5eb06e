//! `countersign migrate`: bring the store's schema up to date.

use clap::Args;

use super::Outcome;
use crate::{
    app::{AppError, CHECKS},
    config::StoreFlags,
    store::{self, Location, SchemaState, Store},
};

#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    /// Change nothing: succeed if the schema is up to date, and fail with what is to run if it is not.
    #[arg(long)]
    check: bool,
}

impl Migrate {
    pub(super) async fn run(self) -> Outcome {
        let settings = self.flags.settings(&CHECKS)?;
        if self.check {
            must_exist(&settings.url())?;
        }
        let store = store::open_with(&settings.url(), settings.connections)
            .await
            .map_err(|error| format!("database-url: {error}"))?;
        let outcome = if self.check { check(store.as_ref()).await } else { migrate(store.as_ref()).await };
        store.close().await;
        outcome
    }
}

/// Opening an embedded store would make it, and a mistyped path would look like a store of an old schema.
fn must_exist(url: &str) -> Result<(), String> {
    match store::locate(url) {
        Ok(Location::File(path)) if !path.exists() => {
            Err(format!("database-url: there is no store at {}", path.display()))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(format!("database-url: {error}")),
    }
}

async fn check(store: &dyn Store) -> Outcome {
    match store.schema().await? {
        SchemaState::Current => say!("the schema is up to date"),
        SchemaState::Behind(missing) => return Err(AppError::SchemaBehind(missing).into()),
    }
    Ok(())
}

async fn migrate(store: &dyn Store) -> Outcome {
    match store.migrate().await? {
        0 => say!("the schema is up to date"),
        count => say!("{count} migration(s) have run; the schema is up to date"),
    }
    Ok(())
}
