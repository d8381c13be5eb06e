//! `countersign client`: make, change and end clients, on the store itself.

mod change;
mod create;
mod output;
mod policy_input;
mod secrets;
mod show;

use clap::Subcommand;

pub(super) use output::{Output, authorization, credentials_text, time_text};

use super::Outcome;
use crate::config::StoreFlags;

#[derive(Subcommand)]
pub(super) enum Client {
    /// Make a client and print its id and secret; the secret is shown this once.
    Create(create::Create),
    /// List the clients.
    List(show::List),
    /// Show a client, its policy and its live secrets.
    Show(show::Show),
    /// Change a client's policy; in force on every instance within a second.
    Update(change::Update),
    /// Switch a client off: it is served nothing, and its tokens are no good, until it is enabled again.
    Disable(change::Disable),
    /// Switch a client on again.
    Enable(change::Enable),
    /// Delete a client for good, and revoke its sessions.
    Delete(change::Delete),
    /// Give a client a second secret and print it, this once; the first one stays good.
    AddSecret(secrets::AddSecret),
    /// End a secret; on every instance within a second.
    RevokeSecret(secrets::RevokeSecret),
}

impl Client {
    pub(super) const fn flags(&self) -> &StoreFlags {
        match self {
            Self::Create(create) => &create.flags,
            Self::List(list) => &list.flags,
            Self::Show(show) => &show.flags,
            Self::Update(update) => &update.flags,
            Self::Disable(disable) => &disable.flags,
            Self::Enable(enable) => &enable.flags,
            Self::Delete(delete) => &delete.flags,
            Self::AddSecret(add) => &add.flags,
            Self::RevokeSecret(revoke) => &revoke.flags,
        }
    }

    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Update(update) => update.run().await,
            Self::Disable(disable) => disable.run().await,
            Self::Enable(enable) => enable.run().await,
            Self::Delete(delete) => delete.run().await,
            Self::AddSecret(add) => add.run().await,
            Self::RevokeSecret(revoke) => revoke.run().await,
        }
    }
}
