//! `countersign keys list`.

use clap::Args;
use serde_json::{Value, json};

use super::open;
use crate::{
    cli::{
        Outcome,
        client::{Output, time_text},
    },
    config::KeyFlags,
    store::{RootKeyUse, StoredSigningKey},
    token::RootKeys,
};

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(super) flags: KeyFlags,
    #[command(flatten)]
    output: Output,
}

impl List {
    pub(super) async fn run(self) -> Outcome {
        let (store, roots) = open(&self.flags).await?;
        let (keys, uses) = (store.signing_keys().await, store.root_key_uses().await);
        store.close().await;
        let (keys, uses) = (keys?, uses?);
        self.output.say(|| text(&keys, &uses, &roots), || json(&keys, &uses, &roots))?;
        Ok(())
    }
}

fn text(keys: &[StoredSigningKey], uses: &[RootKeyUse], roots: &RootKeys) -> String {
    let mut lines = vec!["signing keys".to_owned()];
    lines.extend(keys.iter().map(|key| {
        format!(
            "  {}  {:5}  {:8}  under {}  {}",
            key.kid,
            key.algorithm.as_str(),
            key.state.as_str(),
            key.sealed.root_key_id,
            since(key)
        )
    }));
    lines.push("root keys".to_owned());
    lines.extend(uses.iter().map(|it| {
        format!(
            "  {}  {} signing key(s), {} live session(s): {}",
            it.root_key_id,
            it.signing_keys,
            it.sessions,
            advice(it, roots)
        )
    }));
    lines.join("\n")
}

fn since(key: &StoredSigningKey) -> String {
    match (key.activate_time, key.remove_time) {
        (_, Some(remove)) => format!("published until {}", time_text(remove)),
        (Some(activate), None) => format!("signs since {}", time_text(activate)),
        (None, None) => format!("published since {}", time_text(key.create_time)),
    }
}

/// What may be done with a root key.
fn advice(it: &RootKeyUse, roots: &RootKeys) -> &'static str {
    if it.root_key_id == roots.primary() {
        "protects; keep it"
    } else if it.signing_keys > 0 {
        "needed; restart the service with another key first in the list, or run `countersign keys reseal`"
    } else if it.sessions > 0 {
        "needed until these sessions sign in, refresh or end; keep it in the list"
    } else {
        "not needed; run `countersign keys forget-root`, then take it off the list"
    }
}

fn json(keys: &[StoredSigningKey], uses: &[RootKeyUse], roots: &RootKeys) -> Value {
    let keys = keys.iter().map(|key| {
        json!({
            "kid": key.kid,
            "algorithm": key.algorithm.as_str(),
            "state": key.state.as_str(),
            "root_key": key.sealed.root_key_id.to_string(),
            "create_time": time_text(key.create_time),
            "activate_time": key.activate_time.map(time_text),
            "remove_time": key.remove_time.map(time_text),
        })
    });
    let uses = uses.iter().map(|it| {
        json!({
            "fingerprint": it.root_key_id.to_string(),
            "signing_keys": it.signing_keys,
            "sessions": it.sessions,
            "protects": it.root_key_id == roots.primary(),
            "needed": it.root_key_id == roots.primary() || it.signing_keys + it.sessions > 0,
        })
    });
    json!({ "signing_keys": keys.collect::<Vec<_>>(), "root_keys": uses.collect::<Vec<_>>() })
}
