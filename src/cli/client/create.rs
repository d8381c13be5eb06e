//! `countersign client create`.

use clap::Args;

use super::{
    output::{Output, credentials_json, credentials_text},
    policy_input::PolicyInput,
};
use crate::{
    app::{CHECKS, open_store},
    cli::Outcome,
    config::StoreFlags,
    flows::{Error, client::create::create_client},
};

#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(super) flags: StoreFlags,
    #[command(flatten)]
    policy: PolicyInput,
    #[command(flatten)]
    output: Output,
}

impl Create {
    pub(super) async fn run(self) -> Outcome {
        let (policy, realm) = self.policy.new_policy()?;
        let store = open_store(&self.flags.settings(&CHECKS)?, false).await?;
        let created = create_client(store.as_ref(), policy, &realm).await;
        store.close().await;
        let (client, secret) = match created {
            Err(error @ Error::Invalid(_)) => return Err(format!("the policy is refused: {error}").into()),
            created => created?,
        };
        self.output.say(|| credentials_text(client.id, &secret), || credentials_json(client.id, &secret))?;
        Ok(())
    }
}
