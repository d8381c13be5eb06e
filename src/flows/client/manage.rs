//! ClientService: the operations of `countersign client`, for callers with the role ADMIN.
//!
//! An admin is over all clients of all realms, itself included.

use super::{
    create::create_client,
    delete::delete_client,
    secret_rotation::{add_client_secret, revoke_client_secret},
    update::update_client,
};
use crate::{
    domain::{Client, ClientId, LiveSecret, Policy, Role, SecretId},
    flows::{
        Caller, Error, Flows, Result,
        caller::with_role,
        page::{page, page_size, page_token},
    },
    token::ClientSecret,
};

impl Flows {
    /// Makes a client with its first secret.
    ///
    /// # Errors
    /// If the caller is no admin, and as [`create_client`].
    pub async fn create_client(
        &self,
        caller: &Caller,
        policy: Policy,
        realm: &str,
    ) -> Result<(Client, ClientSecret)> {
        admin(caller)?;
        create_client(&*self.store_turn(caller.share()).await?, policy, realm).await
    }

    /// A client and its live secrets, oldest first.
    ///
    /// # Errors
    /// If the caller is no admin, or there is no such client.
    pub async fn client(&self, caller: &Caller, client_id: &str) -> Result<(Client, Vec<LiveSecret>)> {
        admin(caller)?;
        let record = self
            .store_turn(caller.share())
            .await?
            .client(id(client_id)?)
            .await?
            .ok_or(Error::ClientNotFound)?;
        Ok((record.client, record.secrets))
    }

    /// One page of the clients, oldest first, and the token of the next one (empty on the last).
    ///
    /// # Errors
    /// If the caller is no admin, or a field is wrong.
    pub async fn list_clients(
        &self,
        caller: &Caller,
        asked_size: i32,
        token: &str,
    ) -> Result<(Vec<Client>, String)> {
        admin(caller)?;
        let size = page_size(asked_size)?;
        let found = self.store_turn(caller.share()).await?.list_clients(page_token(token)?, size + 1).await?;
        Ok(page(found, size, |client| client.id.to_string()))
    }

    /// Gives a client the policy that `change` makes of it.
    ///
    /// # Errors
    /// If the caller is no admin, and as [`update_client`].
    pub async fn update_client(
        &self,
        caller: &Caller,
        client_id: &str,
        change: impl Fn(&Client) -> Result<Policy>,
    ) -> Result<Client> {
        admin(caller)?;
        update_client(&*self.store_turn(caller.share()).await?, id(client_id)?, change).await
    }

    /// Deletes a client and revokes its sessions: how many were live.
    ///
    /// # Errors
    /// If the caller is no admin, and as [`delete_client`].
    pub async fn delete_client(&self, caller: &Caller, client_id: &str) -> Result<u64> {
        admin(caller)?;
        delete_client(&*self.store_turn(caller.share()).await?, id(client_id)?).await
    }

    /// Gives a client a further secret.
    ///
    /// # Errors
    /// If the caller is no admin, and as [`add_client_secret`].
    pub async fn add_client_secret(
        &self,
        caller: &Caller,
        client_id: &str,
    ) -> Result<(SecretId, ClientSecret)> {
        admin(caller)?;
        add_client_secret(&*self.store_turn(caller.share()).await?, id(client_id)?).await
    }

    /// Ends a secret.
    ///
    /// # Errors
    /// If the caller is no admin, and as [`revoke_client_secret`].
    pub async fn revoke_client_secret(
        &self,
        caller: &Caller,
        client_id: &str,
        secret_id: &str,
    ) -> Result<()> {
        admin(caller)?;
        let secret = SecretId::parse("secret_id", secret_id)?;
        revoke_client_secret(&*self.store_turn(caller.share()).await?, id(client_id)?, secret).await
    }
}

fn admin(caller: &Caller) -> Result<()> {
    with_role(caller.client()?, Role::Admin).map(drop)
}

fn id(text: &str) -> Result<ClientId> {
    Ok(ClientId::parse("client_id", text)?)
}
