//! Audit events: stable names and fields, no secrets.
//!
//! Within a call, the event lies in the call's span, which has its `request_id`.

use crate::domain::{Address, ClientId, Network, Session, Verification};

/// One event: its name, which `docs/audit.md` explains, and what it is about.
macro_rules! audit {
    ($name:literal, $($fields:tt)*) => {
        tracing::info!(target: "audit", event = $name, $($fields)*)
    };
}
pub(crate) use audit;

/// A wallet has signed in, or its request was replayed.
pub(crate) fn signed_in(session: &Session, verification: &Verification, repeated: bool) {
    let account_id = session.sign_in.as_ref().map(|sign_in| sign_in.account_id.to_string());
    let method = verification.method.as_str();
    let (address, network) = (&verification.wallet.address, &verification.wallet.network);
    let (session_id, client_id) = (session.id, session.client_id);
    audit!("session.signed_in", %client_id, %session_id, account_id, %address, %network, method, repeated);
}

/// A session was ended.
pub(crate) fn session_revoked(session: &Session, by: &str) {
    let account_id = session.sign_in.as_ref().map(|sign_in| sign_in.account_id.to_string());
    let reason = session.revocation.map(|revocation| revocation.reason.as_str());
    audit!("session.revoked", client_id = %session.client_id, session_id = %session.id, account_id, by, reason);
}

/// A wallet was linked to the account of a session.
pub(crate) fn wallet_linked(session: &Session, verification: &Verification) {
    let account_id = session.sign_in.as_ref().map(|sign_in| sign_in.account_id.to_string());
    let method = verification.method.as_str();
    let (address, network) = (&verification.wallet.address, &verification.wallet.network);
    let (session_id, client_id) = (session.id, session.client_id);
    audit!("wallet.linked", %client_id, %session_id, account_id, %address, %network, method);
}

/// A wallet was taken from the account of a session, and so many live sessions ended.
pub(crate) fn wallet_unlinked(session: &Session, address: &Address, network: &Network, sessions: u32) {
    let account_id = session.sign_in.as_ref().map(|sign_in| sign_in.account_id.to_string());
    let (session_id, client_id) = (session.id, session.client_id);
    audit!("wallet.unlinked", %client_id, %session_id, account_id, %address, %network, sessions);
}

/// A call was refused.
pub fn call_refused(
    method: &str,
    reason: &str,
    client_id: Option<ClientId>,
    code: &str,
    origin: Option<String>,
    milliseconds: f64,
) {
    let client_id = client_id.map(|id| id.to_string());
    audit!("call.refused", method, reason, client_id, %code, origin, milliseconds);
}
