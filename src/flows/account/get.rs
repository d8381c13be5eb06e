//! GetAccount: an account with its wallets, for a caller that may see it.

use crate::{
    domain::{AccountId, LinkedWallets},
    flows::{Caller, Error, Flows, Result, caller::client_or_user_required},
};

impl Flows {
    /// The account with its wallets: a client's of its realm, a user's own.
    ///
    /// # Errors
    /// If there is none, or the caller may not see it: both look the same.
    pub async fn get_account(&self, caller: &Caller, account_id: &str) -> Result<LinkedWallets> {
        let id = AccountId::parse("account_id", account_id)?;
        let realm = match caller {
            Caller::Client(record) => Some(record.client.realm.as_str()),
            Caller::User { .. } if caller.user()?.sign_in.account_id == id => None,
            Caller::User { .. } => return Err(Error::AccountNotFound),
            Caller::Device { .. } => return Err(client_or_user_required()),
        };
        self.store_turn(caller.share()).await?.account(id, realm).await?.ok_or(Error::AccountNotFound)
    }
}
