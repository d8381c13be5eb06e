//! ListSessions: the sessions of a client, page by page.

use crate::{
    domain::{AccountId, Network, Session},
    flows::{
        Caller, Error, Flows, Result,
        page::{page, page_size, page_token},
    },
    store::SessionQuery,
    wallet::parse_address,
};

/// What ListSessions takes, as it came in.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "proto/countersign/v1/session.proto documents each field")]
pub struct ListSessions {
    pub account_id: String,
    pub address: String,
    pub page_size: i32,
    pub page_token: String,
}

impl Flows {
    /// One page, newest first, and the token of the next one (empty on the last).
    ///
    /// # Errors
    /// If the caller is no client, or a field is wrong.
    pub async fn list_sessions(
        &self,
        caller: &Caller,
        request: &ListSessions,
    ) -> Result<(Vec<Session>, String)> {
        let client = caller.client()?;
        let query = query(request)?;
        let size = page_size(request.page_size)?;
        let before = page_token(&request.page_token)?;
        let found =
            self.store_turn(caller.share()).await?.list_sessions(client.id, query, before, size + 1).await?;
        Ok(page(found, size, |session| session.id.to_string()))
    }
}

fn query(request: &ListSessions) -> Result<SessionQuery> {
    match (request.account_id.as_str(), request.address.as_str()) {
        ("", "") => Err(Error::invalid("account_id", "or `address` is required")),
        (account_id, "") => Ok(SessionQuery::Account(AccountId::parse("account_id", account_id)?)),
        ("", text) => Ok(SessionQuery::Address(parse_address("address", text, &Network::ethereum())?)),
        _ => Err(Error::invalid("address", "must not be given beside `account_id`")),
    }
}
