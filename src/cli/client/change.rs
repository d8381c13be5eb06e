//! `countersign client update`, `disable`, `enable` and `delete`.

use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};

use clap::Args;
use serde_json::json;

use super::{
    output::{Output, client_json},
    policy_input::PolicyInput,
};
use crate::{
    app::{CHECKS, open_store},
    cli::Outcome,
    config::StoreFlags,
    domain::{Client, ClientId},
    flows::client::{
        delete::delete_client,
        update::{set_disabled, update_client},
    },
    store::Store,
};

#[derive(Args)]
pub(crate) struct Update {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    /// The client's id.
    client_id: ClientId,
    /// What the file names is changed, and the rest stays as it is.
    #[command(flatten)]
    policy: PolicyInput,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Disable {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    /// The client's id.
    client_id: ClientId,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Enable {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    /// The client's id.
    client_id: ClientId,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    /// The client's id.
    client_id: ClientId,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

impl Update {
    pub(super) async fn run(self) -> Outcome {
        if self.policy.is_empty() {
            return Err("nothing to change: give --policy-file, --name or --role".into());
        }
        let store = open_store(&self.flags.settings(&CHECKS)?, false).await?;
        let updated =
            update_client(store.as_ref(), self.client_id, |client| self.policy.changed(client)).await;
        store.close().await;
        let client = updated?;
        let json = client_json(&client)?;
        self.output.say(
            || format!("client {} is updated; every instance knows within a second", client.id),
            || json,
        )?;
        Ok(())
    }
}

impl Disable {
    pub(super) async fn run(self) -> Outcome {
        let store = open_store(&self.flags.settings(&CHECKS)?, false).await?;
        let outcome = set_disabled(store.as_ref(), self.client_id, true).await;
        store.close().await;
        outcome?;
        switched(self.client_id, true, &self.output)
    }
}

impl Enable {
    pub(super) async fn run(self) -> Outcome {
        let store = open_store(&self.flags.settings(&CHECKS)?, false).await?;
        let outcome = set_disabled(store.as_ref(), self.client_id, false).await;
        store.close().await;
        outcome?;
        switched(self.client_id, false, &self.output)
    }
}

impl Delete {
    pub(super) async fn run(self) -> Outcome {
        let store = open_store(&self.flags.settings(&CHECKS)?, false).await?;
        let deleted = self.delete(store.as_ref()).await;
        store.close().await;
        let (id, revoked) = (self.client_id, deleted?);
        self.output.say(
            || format!("client {id} is deleted; {revoked} live session(s) of it are revoked"),
            || json!({ "client_id": id.to_string(), "revoked_sessions": revoked }),
        )?;
        Ok(())
    }

    async fn delete(&self, store: &dyn Store) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        // One that is deleted already is not asked about: what was cut short is finished.
        if let Some(record) = store.client(self.client_id).await?
            && !self.yes
        {
            confirm(&record.client)?;
        }
        Ok(delete_client(store, self.client_id).await?)
    }
}

/// Asks at a terminal; elsewhere nobody could answer.
fn confirm(client: &Client) -> Result<(), String> {
    if !stdin().is_terminal() {
        return Err("deleting cannot be undone: say --yes".to_owned());
    }
    let name = &client.policy.name;
    let _ = write!(
        stderr(),
        "Deleting {} ({name}) ends all its sessions and cannot be undone. Delete it? [y/N] ",
        client.id
    );
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer).map_err(|error| error.to_string())?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err("nothing was deleted".to_owned()) }
}

fn switched(id: ClientId, disabled: bool, output: &Output) -> Outcome {
    let state = if disabled { "disabled" } else { "enabled" };
    output.say(
        || format!("client {id} is {state}; every instance knows within a second"),
        || json!({ "client_id": id.to_string(), "disabled": disabled }),
    )?;
    Ok(())
}
