//! Creates a client.

use super::policy_texts;
use crate::{
    domain::{Client, ClientId, Policy, Violation},
    flows::Result,
    state::audit::audit,
    store::{NewClient, Store},
    token::ClientSecret,
};

/// Makes a client with its first secret. The realm is the client's own unless one is named.
///
/// # Errors
/// Every violation of the policy at once, or the store fails.
pub async fn create_client(store: &dyn Store, policy: Policy, realm: &str) -> Result<(Client, ClientSecret)> {
    let policy = policy_texts::validated(policy)?;
    let id = ClientId::generate();
    let secret = ClientSecret::generate();
    let realm = if realm.is_empty() { id.to_string() } else { valid_realm(realm)? };
    let client = store.create_client(NewClient { id, realm, policy, secret_hash: secret.hash() }).await?;
    audit!("client.created", client_id = %client.id, realm = client.realm);
    Ok((client, secret))
}

fn valid_realm(text: &str) -> Result<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    // A client id as realm would let one client into another's.
    if (1..=100).contains(&text.len()) && text.bytes().all(is_allowed) && text.parse::<ClientId>().is_err() {
        return Ok(text.to_owned());
    }
    Err(Violation::request("realm", "must be 1 to 100 characters of A-Z a-z 0-9 . _ - and not a UUID").into())
}
