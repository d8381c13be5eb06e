//! A client looks through its sessions.

use super::{Caller, Error, Flows, Result};
use crate::{
    domain::{AccountId, Network, Session, SessionId},
    store::SessionQuery,
    wallet::address,
};

const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 1_000;

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
        // One more than the page shows whether there is a next one.
        let mut sessions = self.store.list_sessions(client.id, query, before, size + 1).await?;
        let shown = usize::try_from(size).unwrap_or(usize::MAX);
        let more = sessions.len() > shown;
        sessions.truncate(shown);
        let next = sessions.last().filter(|_| more).map(|session| session.id.to_string());
        Ok((sessions, next.unwrap_or_default()))
    }
}

fn query(request: &ListSessions) -> Result<SessionQuery> {
    match (request.account_id.as_str(), request.address.as_str()) {
        ("", "") => Err(Error::invalid("account_id", "or `address` is required")),
        (account_id, "") => Ok(SessionQuery::Account(AccountId::parse("account_id", account_id)?)),
        ("", text) => Ok(SessionQuery::Address(address::parse("address", text, &Network::ethereum())?)),
        _ => Err(Error::invalid("address", "must not be given beside `account_id`")),
    }
}

fn page_size(asked: i32) -> Result<u32> {
    match u32::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(Error::invalid("page_size", "must not be negative")),
    }
}

fn page_token(text: &str) -> Result<Option<SessionId>> {
    if text.is_empty() {
        return Ok(None);
    }
    let token = text.parse().map_err(|_| Error::invalid("page_token", "must be a `next_page_token`"))?;
    Ok(Some(token))
}
