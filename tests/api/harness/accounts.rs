//! One verb per RPC of AccountService, and users.

use countersign::{
    grpc::v1::{self, account_service_client::AccountServiceClient},
    wallet::evm::EvmPrivateKey,
};
use tonic::{Status, transport::Channel};

use super::{Caller, start_for};

impl Caller {
    fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel.clone())
    }

    pub async fn get_account(&self, account_id: &str) -> Result<v1::Account, Status> {
        let request = v1::GetAccountRequest { account_id: account_id.to_owned() };
        Ok(self.accounts().get_account(self.request(request)).await?.into_inner().account.unwrap())
    }

    pub async fn link_wallet(&self, request: v1::LinkWalletRequest) -> Result<v1::Account, Status> {
        Ok(self.accounts().link_wallet(self.request(request)).await?.into_inner().account.unwrap())
    }

    pub async fn unlink_wallet(
        &self,
        address: &str,
        network: &str,
    ) -> Result<v1::UnlinkWalletResponse, Status> {
        let request = v1::UnlinkWalletRequest { address: address.to_owned(), network: network.to_owned() };
        Ok(self.accounts().unlink_wallet(self.request(request)).await?.into_inner())
    }

    /// A user who has just signed in with a wallet, and the sign-in.
    pub async fn user(&self, wallet: &EvmPrivateKey) -> (Self, v1::VerifyChallengeResponse) {
        let signed_in = self.sign_in(wallet).await;
        let token = &signed_in.tokens.as_ref().unwrap().access_token;
        (self.with(&format!("Bearer {token}")), signed_in)
    }

    /// Links a wallet by a text that it signs.
    pub async fn link(&self, wallet: &EvmPrivateKey) -> Result<v1::Account, Status> {
        let challenge = self.start(start_for(wallet)).await?;
        self.link_wallet(link_by(&challenge, &wallet.sign_text(&challenge.message))).await
    }

    /// Unlinks a plain key.
    pub async fn unlink(&self, wallet: &EvmPrivateKey) -> Result<v1::UnlinkWalletResponse, Status> {
        self.unlink_wallet(wallet.address().as_str(), "ETHEREUM").await
    }
}

pub fn link_by(challenge: &v1::Challenge, signature: &str) -> v1::LinkWalletRequest {
    v1::LinkWalletRequest {
        challenge_id: challenge.id.clone(),
        signature: signature.to_owned(),
        ..Default::default()
    }
}
