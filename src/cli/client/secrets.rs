//! `countersign client add-secret` and `revoke-secret`.

use clap::Args;
use serde_json::json;

use super::output::{Output, credentials_json, credentials_text};
use crate::{
    app::{CHECKS, open_store},
    cli::Outcome,
    config::StoreFlags,
    domain::{ClientId, SecretId},
    flows::client::secret_rotation::{add_client_secret, revoke_client_secret},
};

#[derive(Args)]
pub(crate) struct AddSecret {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    /// The client's id.
    client_id: ClientId,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct RevokeSecret {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    /// The client's id.
    client_id: ClientId,
    /// The secret's id, as `client show` lists it.
    secret_id: SecretId,
    #[command(flatten)]
    output: Output,
}

impl AddSecret {
    pub(super) async fn run(self) -> Outcome {
        let store = open_store(&self.flags.settings(&CHECKS)?, false).await?;
        let added = add_client_secret(store.as_ref(), self.client_id).await;
        store.close().await;
        let (secret_id, secret) = added?;
        self.output.say(
            || format!("{}\nsecret_id:      {secret_id}", credentials_text(self.client_id, &secret)),
            || {
                let mut json = credentials_json(self.client_id, &secret);
                json["secret_id"] = secret_id.to_string().into();
                json
            },
        )?;
        Ok(())
    }
}

impl RevokeSecret {
    pub(super) async fn run(self) -> Outcome {
        let store = open_store(&self.flags.settings(&CHECKS)?, false).await?;
        let revoked = revoke_client_secret(store.as_ref(), self.client_id, self.secret_id).await;
        let left = store.client_secrets(self.client_id).await;
        store.close().await;
        revoked?;
        let (secret_id, left) = (self.secret_id, left?.len());
        self.output.say(
            || format!("secret {secret_id} is revoked; the client has {left} live secret(s)"),
            || json!({ "secret_id": secret_id.to_string(), "live_secrets": left }),
        )?;
        Ok(())
    }
}
