//! `countersign client`: make and look at clients, on the store itself.

use std::{fs, path::PathBuf, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::Outcome;
use crate::{
    app::open_store,
    config::StoreFlags,
    domain::{self, ClientId},
    flows::create_client::create_client,
    grpc::{policy, policy_file, v1},
    store::Store,
    token::ClientSecret,
};

#[derive(Subcommand)]
pub(super) enum Client {
    /// Make a client and print its id and secret; the secret is shown this once.
    Create(Create),
    /// List the clients.
    List(List),
    /// Show a client and its policy.
    Show(Show),
}

#[derive(Args)]
pub(super) struct Create {
    #[command(flatten)]
    flags: StoreFlags,
    /// A name for humans.
    #[arg(long)]
    name: Option<String>,
    /// What the client may call; repeatable. Default: SIGN_IN.
    #[arg(long = "role", value_enum, ignore_case = true)]
    roles: Vec<RoleName>,
    /// The policy: the JSON form of `ClientPolicy`. `--name` and `--role` outweigh it.
    #[arg(long, value_name = "FILE")]
    policy_file: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    flags: StoreFlags,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    flags: StoreFlags,
    /// The client's id.
    client_id: ClientId,
}

/// The roles, as the command line writes them.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum RoleName {
    SignIn,
    Introspect,
    Admin,
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Client {
    pub(super) const fn flags(&self) -> &StoreFlags {
        match self {
            Self::Create(create) => &create.flags,
            Self::List(list) => &list.flags,
            Self::Show(show) => &show.flags,
        }
    }

    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Outcome {
        let message = self.policy()?;
        let (policy, realm) = policy::policy(message).map_err(|wrong| listed(&wrong))?;
        let store = open_store(&self.flags.settings()?, false).await?;
        let created = create_client(store.as_ref(), policy, &realm).await;
        store.close().await;
        let (client, secret) = created.map_err(|error| format!("the policy is refused: {error}"))?;
        match self.output {
            Output::Text => say!("{}", credentials_text(client.id, &secret)),
            Output::Json => say!("{}", credentials_json(client.id, &secret)),
        }
        Ok(())
    }

    fn policy(&self) -> Result<v1::ClientPolicy, String> {
        let mut policy = match &self.policy_file {
            Some(path) => {
                let problem = |problem: String| format!("policy-file: {}: {problem}", path.display());
                let text = fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
                policy_file::read(&text).map_err(problem)?
            }
            None => v1::ClientPolicy::default(),
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

impl List {
    async fn run(self) -> Outcome {
        let store = open_store(&self.flags.settings()?, false).await?;
        let clients = every_client(&store).await;
        store.close().await;
        for client in clients? {
            let state = if client.policy.disabled { "disabled" } else { "enabled" };
            match self.output {
                Output::Text => say!("{}  {state:8}  {}", client.id, client.policy.name),
                Output::Json => say!("{}", described(client)?),
            }
        }
        Ok(())
    }
}

impl Show {
    async fn run(self) -> Outcome {
        let store = open_store(&self.flags.settings()?, false).await?;
        let record = store.client(self.client_id).await;
        store.close().await;
        let record = record?.ok_or_else(|| format!("there is no client {}", self.client_id))?;
        say!("{:#}", described(record.client)?);
        Ok(())
    }
}

/// All clients, page by page.
async fn every_client(store: &Arc<dyn Store>) -> Result<Vec<domain::Client>, crate::store::StoreError> {
    const PAGE: u32 = 500;
    let mut clients: Vec<domain::Client> = Vec::new();
    loop {
        let page = store.list_clients(clients.last().map(|client| client.id), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        clients.extend(page);
        if is_last {
            return Ok(clients);
        }
    }
}

fn described(client: domain::Client) -> Result<serde_json::Value, String> {
    let id = client.id.to_string();
    let create_time = client.create_time.format(&Rfc3339).map_err(|error| error.to_string())?;
    Ok(json!({ "client_id": id, "create_time": create_time, "policy": policy_file::write(&client.into())? }))
}

fn listed(violations: &[domain::Violation]) -> String {
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    format!("the policy is refused: {}", lines.join("; "))
}

/// The metadata value that a client's calls carry (RFC 7617).
pub(super) fn authorization(id: ClientId, secret: &ClientSecret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{}", secret.expose())))
}

/// Id and secret for a person.
pub(super) fn credentials_text(id: ClientId, secret: &ClientSecret) -> String {
    let authorization = authorization(id, secret);
    format!(
        "client_id:      {id}\nclient_secret:  {}  (shown this once)\nauthorization:  {authorization}",
        secret.expose()
    )
}

fn credentials_json(id: ClientId, secret: &ClientSecret) -> serde_json::Value {
    json!({
        "client_id": id.to_string(),
        "client_secret": secret.expose(),
        "authorization": authorization(id, secret),
    })
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
