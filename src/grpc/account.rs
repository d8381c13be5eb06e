//! AccountService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{convert::timestamp, credentials::authenticated, v1};
use crate::{
    domain::{LinkedWallet, LinkedWallets},
    flows::{
        Flows,
        account::{link_wallet::LinkWallet, unlink_wallet::UnlinkWallet},
    },
};

/// The service, over the flows.
pub struct AccountApi(pub Arc<Flows>);

#[tonic::async_trait]
impl v1::account_service_server::AccountService for AccountApi {
    async fn get_account(
        &self,
        request: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::GetAccountResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let account = self.0.get_account(&caller, &request.get_ref().account_id).await?;
        Ok(Response::new(v1::GetAccountResponse { account: Some(account.into()) }))
    }

    async fn link_wallet(
        &self,
        request: Request<v1::LinkWalletRequest>,
    ) -> Result<Response<v1::LinkWalletResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let v1::LinkWalletRequest { challenge_id, signature, message } = request.into_inner();
        let asked = LinkWallet { challenge_id, signature, message };
        let account = self.0.link_wallet(&caller, &asked).await?;
        Ok(Response::new(v1::LinkWalletResponse { account: Some(account.into()) }))
    }

    async fn unlink_wallet(
        &self,
        request: Request<v1::UnlinkWalletRequest>,
    ) -> Result<Response<v1::UnlinkWalletResponse>, Status> {
        let caller = authenticated(&self.0, &request).await?;
        let v1::UnlinkWalletRequest { address, network } = request.into_inner();
        let asked = UnlinkWallet { address, network };
        let (account, revoked_session_count) = self.0.unlink_wallet(&caller, &asked).await?;
        Ok(Response::new(v1::UnlinkWalletResponse { account: Some(account.into()), revoked_session_count }))
    }
}

impl From<LinkedWallets> for v1::Account {
    fn from(LinkedWallets { account, wallets }: LinkedWallets) -> Self {
        Self { wallets: wallets.into_iter().map(Into::into).collect(), ..account.into() }
    }
}

impl From<LinkedWallet> for v1::Wallet {
    fn from(linked: LinkedWallet) -> Self {
        Self {
            address: linked.wallet.address.to_string(),
            network: linked.wallet.network.to_string(),
            kind: v1::WalletKind::from(linked.wallet.kind).into(),
            link_time: Some(timestamp(linked.link_time)),
            last_sign_in_time: linked.last_sign_in_time.map(timestamp),
        }
    }
}
