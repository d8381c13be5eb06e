//! `countersign gc`: remove what has ended, by hand. A server does the same by itself.

use clap::Args;

use super::Outcome;
use crate::{
    app::{CHECKS, open_store},
    config::StoreFlags,
    flows::operator::clean_up::clean_up,
};

#[derive(Args)]
pub(super) struct Gc {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
}

impl Gc {
    pub(super) async fn run(self) -> Outcome {
        let settings = self.flags.settings(&CHECKS)?;
        let store = open_store(&settings, false).await?;
        let removed = clean_up(store.as_ref(), settings.retention).await;
        store.close().await;
        say!("{} rows removed", removed?);
        Ok(())
    }
}
