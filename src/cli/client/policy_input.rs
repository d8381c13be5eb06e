//! A policy as the command line takes it: a file, and flags that outweigh it.

use std::{fs, path::PathBuf};

use clap::{Args, ValueEnum};

use crate::{
    domain::{self, Policy, Violation},
    flows,
    grpc::{policy, policy_file, policy_mask, v1},
};

/// What a policy is made of.
#[derive(Args)]
pub(super) struct PolicyInput {
    /// A name for humans.
    #[arg(long)]
    name: Option<String>,
    /// What the client may call; repeatable. A new client's default: SIGN_IN.
    #[arg(long = "role", value_enum, ignore_case = true)]
    roles: Vec<RoleName>,
    /// The policy: the JSON form of `ClientPolicy`. `--name` and `--role` outweigh it.
    #[arg(long, value_name = "FILE")]
    policy_file: Option<PathBuf>,
}

/// The roles, as the command line writes them.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum RoleName {
    SignIn,
    Introspect,
    Admin,
}

impl PolicyInput {
    /// Whether nothing was given.
    pub(super) const fn is_empty(&self) -> bool {
        self.name.is_none() && self.roles.is_empty() && self.policy_file.is_none()
    }

    /// The policy of a new client, and its realm.
    pub(super) fn new_policy(&self) -> Result<(Policy, String), String> {
        let message = self.over(&v1::ClientPolicy::default())?;
        policy::policy(message).map_err(|violations| refused(&violations))
    }

    /// A client's policy with what was given in place of what it had.
    pub(super) fn changed(&self, client: &domain::Client) -> flows::Result<Policy> {
        let current = v1::ClientPolicy::from(client.clone());
        let message = self.over(&current).map_err(|problem| flows::Error::invalid("policy", problem))?;
        policy_mask::changed(client, message)
    }

    fn over(&self, base: &v1::ClientPolicy) -> Result<v1::ClientPolicy, String> {
        let mut policy = match &self.policy_file {
            Some(path) => {
                let problem = |problem: String| format!("policy-file: {}: {problem}", path.display());
                let text = fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
                policy_file::read_over(base, &text).map_err(problem)?
            }
            None => base.clone(),
        };
        if let Some(name) = &self.name {
            policy.name.clone_from(name);
        }
        if !self.roles.is_empty() {
            policy.roles = self.roles.iter().map(|role| v1::ClientRole::from(*role).into()).collect();
        }
        Ok(policy)
    }
}

fn refused(violations: &[Violation]) -> String {
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    format!("the policy is refused: {}", lines.join("; "))
}

impl From<RoleName> for v1::ClientRole {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::SignIn => Self::SignIn,
            RoleName::Introspect => Self::Introspect,
            RoleName::Admin => Self::Admin,
        }
    }
}
