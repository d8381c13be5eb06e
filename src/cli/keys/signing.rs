//! `countersign keys rotate` and `revoke`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::open_to_seal;
use crate::{
    app::CHECKS,
    cli::{Outcome, client::Output},
    config::KeyFlags,
    domain::{MAX_ACCESS_TOKEN_AGE, SigningAlgorithm},
    flows::operator::keys::{revoke, rotate},
    store::{RotateKeyOutcome, SigningKeyState, StoredSigningKey},
};

#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    Es256,
    Eddsa,
    Rs256,
}

impl From<Algorithm> for SigningAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Es256 => Self::Es256,
            Algorithm::Eddsa => Self::EdDsa,
            Algorithm::Rs256 => Self::Rs256,
        }
    }
}

#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    pub(super) flags: KeyFlags,
    /// Which key to rotate.
    #[arg(long, value_enum, default_value = "es256")]
    algorithm: Algorithm,
    /// Even if the prepared key has not been published for `key-prepublish` yet: whoever keeps a copy of the JWKS
    /// refuses its tokens until that is read anew.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(super) flags: KeyFlags,
    /// The key's id, as `keys list` has it.
    #[arg(allow_hyphen_values = true)]
    kid: String,
    /// Do it; without this, it is only said what it breaks.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

impl Rotate {
    pub(super) async fn run(self) -> Outcome {
        let prepublish = self.flags.settings(&CHECKS)?.prepublish;
        let published_for = if self.force { Duration::ZERO } else { prepublish };
        let algorithm = self.algorithm.into();
        let (store, roots) = open_to_seal(&self.flags).await?;
        let outcome = rotate(store.as_ref(), &roots, algorithm, Duration::ZERO, published_for).await;
        let keys = store.signing_keys().await;
        store.close().await;
        match outcome? {
            RotateKeyOutcome::Rotated => {}
            RotateKeyOutcome::NotDue => return Err("there is no active key: start the service once".into()),
            RotateKeyOutcome::NotPublished => {
                return Err(format!(
                    "the prepared key has been published for less than {}, so that not everybody knows it; \
                     wait, give the `--key-prepublish` that the instances have, or use --force",
                    humantime::format_duration(prepublish)
                )
                .into());
            }
        }
        let active = active(&keys?, algorithm).ok_or("another rotation came between")?;
        let name = algorithm.as_str();
        let hours = MAX_ACCESS_TOKEN_AGE.as_secs() / 3_600;
        self.output.say(
            || format!("{active} signs {name} from now on; the one before stays published for {hours} h"),
            || json!({ "algorithm": name, "active": active }),
        )?;
        Ok(())
    }
}

fn active(keys: &[StoredSigningKey], algorithm: SigningAlgorithm) -> Option<String> {
    let active = |key: &&StoredSigningKey| key.algorithm == algorithm && key.state == SigningKeyState::Active;
    keys.iter().find(active).map(|key| key.kid.clone())
}

impl Revoke {
    pub(super) async fn run(self) -> Outcome {
        let (store, roots) = open_to_seal(&self.flags).await?;
        let keys = store.signing_keys().await?;
        let key = keys.iter().find(|key| key.kid == self.kid);
        let key = key.ok_or_else(|| format!("no published key has the id {}", self.kid))?;
        if !self.yes {
            store.close().await;
            return Err(format!("{} Say --yes to do it.", what_breaks(key)).into());
        }
        let was = revoke(store.as_ref(), &roots, &self.kid).await;
        store.close().await;
        let was = was?.ok_or("it was revoked meanwhile")?;
        let kid = &self.kid;
        self.output.say(
            || format!("{kid} is revoked"),
            || json!({ "kid": kid, "was": was.as_str(), "revoked": true }),
        )?;
        Ok(())
    }
}

/// What revoking a key does to whom.
fn what_breaks(key: &StoredSigningKey) -> String {
    let (kid, algorithm) = (&key.kid, key.algorithm.as_str());
    let signed = "every access token that it signed is refused, here within a second, elsewhere once the JWKS is read \
                  anew; their sessions stay, and the next refresh gives good ones";
    match key.state {
        SigningKeyState::Active => format!(
            "{kid} signs {algorithm} now: {signed}. The prepared key signs at once, and whoever has a copy of the \
             JWKS from before it was published refuses its tokens until then."
        ),
        SigningKeyState::Retiring => format!("{kid} signed {algorithm} until it was rotated: {signed}."),
        SigningKeyState::Prepared => {
            format!("{kid} has signed nothing: nothing breaks, and another {algorithm} key is prepared.")
        }
    }
}
