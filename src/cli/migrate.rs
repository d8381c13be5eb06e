//! `countersign migrate`: bring the store's schema up to date.

use clap::Args;

use super::Outcome;
use crate::{config::StoreFlags, store};

#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
}

impl Migrate {
    pub(super) async fn run(self) -> Outcome {
        let settings = self.flags.settings()?;
        let store = store::open_with(&settings.url(), settings.connections)
            .await
            .map_err(|error| format!("database-url: {error}"))?;
        let outcome = store.migrate().await;
        store.close().await;
        match outcome? {
            0 => say!("the schema is up to date"),
            count => say!("{count} migration(s) have run; the schema is up to date"),
        }
        Ok(())
    }
}
