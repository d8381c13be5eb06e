//! `countersign keys reseal` and `forget-root`.

use clap::Args;
use serde_json::json;

use super::{open, open_to_seal};
use crate::{
    cli::{Outcome, client::Output},
    config::KeyFlags,
    domain::RootKeyId,
    flows::operator::keys::forget_root,
    state::signing_keys::reseal,
};

#[derive(Args)]
pub(crate) struct Reseal {
    #[command(flatten)]
    pub(super) flags: KeyFlags,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct ForgetRoot {
    #[command(flatten)]
    pub(super) flags: KeyFlags,
    /// The root key's fingerprint, as `keys list` has it.
    #[arg(value_name = "FINGERPRINT")]
    root_key_id: RootKeyId,
    #[command(flatten)]
    output: Output,
}

impl Reseal {
    pub(super) async fn run(self) -> Outcome {
        let (store, roots) = open_to_seal(&self.flags).await?;
        let count = reseal(store.as_ref(), &roots).await;
        store.close().await;
        let (count, primary) = (count?, roots.primary());
        self.output.say(
            || format!("{count} signing key(s) are now under the root key {primary}"),
            || json!({ "resealed": count, "root_key": primary.to_string() }),
        )?;
        Ok(())
    }
}

impl ForgetRoot {
    pub(super) async fn run(self) -> Outcome {
        let (store, roots) = open(&self.flags).await?;
        let root_key_id = self.root_key_id;
        if root_key_id == roots.primary() {
            store.close().await;
            return Err(format!("the root key {root_key_id} is the first of the list, which protects").into());
        }
        let forgotten = forget_root(store.as_ref(), root_key_id).await;
        store.close().await;
        if !forgotten? {
            return Err(format!(
                "the root key {root_key_id} is still needed, or never protected this store; see `keys list`"
            )
            .into());
        }
        self.output.say(
            || format!("the root key {root_key_id} is forgotten: take it off the list of every instance"),
            || json!({ "forgotten": root_key_id.to_string() }),
        )?;
        Ok(())
    }
}
