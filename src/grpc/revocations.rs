//! WatchRevocations: what a watch tells, as a stream that waits for nobody for long.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{convert::timestamp, status::status, v1};
use crate::{
    domain::RevokeReason,
    flows::{
        Error,
        token::watch_revocations::{Update, Watch},
    },
    state::revocation_feed::{RevocationEvent, RevokedSession},
};

/// What is told to one caller.
pub(super) type Stream = ReceiverStream<Result<v1::WatchRevocationsResponse, Status>>;

/// The stream of a watch. What its caller has not taken yet is one message, and what HTTP/2 lets go ahead.
pub(super) fn stream(watch: Watch, stall_timeout: Duration) -> Stream {
    let (updates, stream) = mpsc::channel(2);
    tokio::spawn(forward(watch, updates, stall_timeout));
    ReceiverStream::new(stream)
}

/// Tells until there is nothing more to tell, or nobody to tell it to. A place is kept for the last word, why it
/// ends, so that a caller that takes nothing finds it later.
async fn forward(
    mut watch: Watch,
    updates: mpsc::Sender<Result<v1::WatchRevocationsResponse, Status>>,
    stall_timeout: Duration,
) {
    let Ok(final_status) = updates.clone().reserve_owned().await else { return };
    let error = loop {
        let next = tokio::select! {
            next = watch.next() => next,
            () = updates.closed() => return,
        };
        let update = match next {
            Ok(update) => Ok(update.into()),
            Err(error) => break error,
        };
        match updates.send_timeout(update, stall_timeout).await {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                let why = format!("its caller read nothing for {} s", stall_timeout.as_secs());
                break Error::WatchInterrupted(why);
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => return,
        }
    };
    final_status.send(Err(status(&error)));
}

impl From<Update> for v1::WatchRevocationsResponse {
    fn from(update: Update) -> Self {
        let mut revocations: Vec<v1::Revocation> = Vec::with_capacity(update.revocations.len());
        for revocation in update.revocations {
            if let Some(event) = revocations.last_mut().and_then(|last| last.event.as_mut())
                && goes_with(event, &revocation)
            {
                continue;
            }
            revocations.push(v1::Revocation { event: Some(revocation.into()) });
        }
        Self { snapshot: update.snapshot, revocations, current_as_of: update.as_of.map(timestamp) }
    }
}

/// Puts a session to those of its account that were revoked with it, if it is one.
fn goes_with(event: &mut v1::revocation::Event, revocation: &RevocationEvent) -> bool {
    let (v1::revocation::Event::AccountSessionsRevoked(account), RevocationEvent::Session(session)) =
        (event, revocation)
    else {
        return false;
    };
    let same = session.reason == RevokeReason::AccountSessionsRevoked
        && account.account_id == session.account_id.to_string()
        && account.client_id == session.client_id.to_string()
        && account.revoke_time == Some(timestamp(session.revoke_time));
    if same {
        let ends = timestamp(session.access_expire_time);
        let last = account.access_token_expire_time.get_or_insert(ends);
        if (ends.seconds, ends.nanos) > (last.seconds, last.nanos) {
            *last = ends;
        }
        account.session_ids.push(session.id.to_string());
    }
    same
}

impl From<RevocationEvent> for v1::revocation::Event {
    fn from(revocation: RevocationEvent) -> Self {
        match revocation {
            RevocationEvent::Session(session) if session.reason == RevokeReason::AccountSessionsRevoked => {
                Self::AccountSessionsRevoked(session.into())
            }
            RevocationEvent::Session(session) => Self::SessionRevoked(session.into()),
            RevocationEvent::ClientDisabled(id, time) => Self::ClientDisabled(v1::ClientDisabled {
                client_id: id.to_string(),
                hear_time: Some(timestamp(time)),
            }),
            RevocationEvent::ClientEnabled(id, time) => Self::ClientEnabled(v1::ClientEnabled {
                client_id: id.to_string(),
                hear_time: Some(timestamp(time)),
            }),
            RevocationEvent::ClientDeleted(id, time) => Self::ClientDeleted(v1::ClientDeleted {
                client_id: id.to_string(),
                delete_time: Some(timestamp(time)),
            }),
            RevocationEvent::Key(key) => Self::SigningKeyRevoked(v1::SigningKeyRevoked {
                kid: key.kid,
                revoke_time: Some(timestamp(key.revoke_time)),
            }),
        }
    }
}

impl From<RevokedSession> for v1::SessionRevoked {
    fn from(session: RevokedSession) -> Self {
        Self {
            session_id: session.id.to_string(),
            client_id: session.client_id.to_string(),
            account_id: session.account_id.to_string(),
            revoke_time: Some(timestamp(session.revoke_time)),
            revoke_reason: v1::RevokeReason::from(session.reason).into(),
            access_token_expire_time: Some(timestamp(session.access_expire_time)),
        }
    }
}

impl From<RevokedSession> for v1::AccountSessionsRevoked {
    fn from(session: RevokedSession) -> Self {
        Self {
            account_id: session.account_id.to_string(),
            client_id: session.client_id.to_string(),
            revoke_time: Some(timestamp(session.revoke_time)),
            session_ids: vec![session.id.to_string()],
            access_token_expire_time: Some(timestamp(session.access_expire_time)),
        }
    }
}
