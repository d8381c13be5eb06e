//! UnlinkWallet: removes a wallet and revokes the sessions that it signed in.

use crate::{
    domain::LinkedWallets,
    flows::{Caller, Error, Flows, Result},
    state::audit,
    store::{UnlinkOutcome, WalletUnlink},
    wallet::parse_address,
};

/// What UnlinkWallet takes, as it came in.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "proto/countersign/v1/account.proto documents each field")]
pub struct UnlinkWallet {
    pub address: String,
    pub network: String,
}

impl Flows {
    /// Unlinks a wallet, and revokes the sessions that it signed in: the account as it then is, and how many of them
    /// were live.
    ///
    /// # Errors
    /// If the session does not allow it, or the account has no such wallet, or no other one; nothing is changed then.
    pub async fn unlink_wallet(
        &self,
        caller: &Caller,
        request: &UnlinkWallet,
    ) -> Result<(LinkedWallets, u32)> {
        let user = caller.user()?;
        let network = user.client.policy.parse_wallet_network("network", &request.network)?;
        let address = parse_address("address", &request.address, &network)?;
        self.rate_limits.count(user.client, None)?;
        let reauth_window = user.client.policy.reauth_window;
        let unlink = WalletUnlink {
            who: user.who(),
            address: address.clone(),
            network: network.clone(),
            reauth_window,
        };
        match self.store_turn(caller.share()).await?.unlink_wallet(unlink).await? {
            UnlinkOutcome::Unlinked { account, revoked } => {
                audit::wallet_unlinked(user.session, &address, &network, revoked);
                Ok((*account, revoked))
            }
            UnlinkOutcome::SessionRejected(why) => Err(why.into()),
            UnlinkOutcome::NotFound => Err(Error::WalletNotFound),
            UnlinkOutcome::LastWallet => Err(Error::LastWallet),
        }
    }
}
