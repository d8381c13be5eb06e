//! CreateSession: creates a PENDING session.

use crate::{
    domain::{ChainAddress, Client, Network, Role, Session, SessionId},
    flows::{Caller, Flows, Result, caller::with_role},
    store::NewSession,
    token::SessionToken,
    wallet::parse_address,
};

/// What CreateSession takes, as it came in.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "proto/countersign/v1/session.proto documents each field")]
pub struct CreateSession {
    pub signing_address: String,
    pub signing_network: String,
    pub deposit_address: String,
    pub deposit_network: String,
}

impl Flows {
    /// Makes a PENDING session and the token of the device that will sign in.
    ///
    /// # Errors
    /// If the caller may not, or a field is wrong; nothing is written then.
    pub async fn create_session(
        &self,
        caller: &Caller,
        request: &CreateSession,
    ) -> Result<(Session, SessionToken)> {
        let client = with_role(caller.client()?, Role::SignIn)?;
        let signing = signing_address(client, request)?;
        let deposit = deposit_address(&signing, request)?;
        self.rate_limits.count(client, None)?;
        let token = SessionToken::generate(&self.roots);
        let session = self
            .store_turn(caller.share())
            .await?
            .create_session(NewSession {
                id: SessionId::generate(),
                client_id: client.id,
                token_hash: token.hash(),
                token_root_key_id: self.roots.primary(),
                signing,
                deposit,
                pending_ttl: client.policy.pending_session_ttl,
            })
            .await?;
        Ok((session, token))
    }
}

fn signing_address(client: &Client, request: &CreateSession) -> Result<ChainAddress> {
    let network = client.policy.parse_wallet_network("signing_network", &request.signing_network)?;
    let address = parse_address("signing_address", &request.signing_address, &network)?;
    client.policy.check_network(&network)?;
    Ok(ChainAddress { address, network })
}

fn deposit_address(signing: &ChainAddress, request: &CreateSession) -> Result<ChainAddress> {
    let network = match request.deposit_network.as_str() {
        "" => signing.network.clone(),
        text => Network::parse("deposit_network", text)?,
    };
    let address = match request.deposit_address.as_str() {
        "" if network.namespace() == signing.network.namespace() => signing.address.clone(),
        text => parse_address("deposit_address", text, &network)?,
    };
    Ok(ChainAddress { address, network })
}
