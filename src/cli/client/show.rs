//! `countersign client list` and `show`.

use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::output::{Output, client_json, secret_json};
use crate::{
    app::{CHECKS, open_store},
    cli::Outcome,
    config::StoreFlags,
    domain::{Client, ClientId},
    store::{Store, StoreError},
};

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    /// The client's id.
    client_id: ClientId,
}

impl List {
    pub(super) async fn run(self) -> Outcome {
        let store = open_store(&self.flags.settings(&CHECKS)?, false).await?;
        let clients = every_client(&store).await;
        store.close().await;
        for client in clients? {
            let state = if client.policy.disabled { "disabled" } else { "enabled" };
            let json = client_json(&client)?;
            self.output.say(|| format!("{}  {state:8}  {}", client.id, client.policy.name), || json)?;
        }
        Ok(())
    }
}

impl Show {
    pub(super) async fn run(self) -> Outcome {
        let store = open_store(&self.flags.settings(&CHECKS)?, false).await?;
        let record = store.client(self.client_id).await;
        store.close().await;
        let record = record?.ok_or_else(|| format!("there is no client {}", self.client_id))?;
        let mut shown = client_json(&record.client)?;
        shown["secrets"] = record.secrets.iter().map(secret_json).collect::<Vec<Value>>().into();
        say!("{shown:#}");
        Ok(())
    }
}

/// All clients, page by page.
async fn every_client(store: &Arc<dyn Store>) -> Result<Vec<Client>, StoreError> {
    const PAGE: u32 = 500;
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let page = store.list_clients(clients.last().map(|client| client.id), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        clients.extend(page);
        if is_last {
            return Ok(clients);
        }
    }
}
