//! What is known of a call while it runs: its id, its origin, its caller.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tonic::Extensions;

use crate::domain::{ClientId, Peer};

/// What is known of a call while it runs; in the extensions of its request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Its id: the caller's, or one of our own.
    pub(super) request_id: String,
    /// Address that it came from.
    pub(super) origin: Option<IpAddr>,
    caller: Arc<CallerRecord>,
}

/// Caller of a call, as far as it is known.
#[derive(Debug, Default)]
struct CallerRecord {
    client_id: OnceLock<ClientId>,
    is_authenticated: AtomicBool,
}

impl Call {
    pub(super) fn new(request_id: String, origin: Option<IpAddr>) -> Self {
        Self { request_id, origin, caller: Arc::default() }
    }

    /// The client behind it, or the one that it names.
    pub(super) fn client_id(&self) -> Option<ClientId> {
        self.caller.client_id.get().copied()
    }

    /// True if its credentials were valid.
    pub(super) fn is_authenticated(&self) -> bool {
        self.caller.is_authenticated.load(Ordering::Acquire)
    }
}

/// Names the client in the call's line, unless it is named there already.
pub(super) fn note_client(extensions: &Extensions, id: ClientId) {
    if let Some(call) = extensions.get::<Call>() {
        let _ = call.caller.client_id.set(id);
    }
}

/// Notes that a call had valid credentials.
pub(super) fn note_authenticated(extensions: &Extensions, id: ClientId) {
    note_client(extensions, id);
    if let Some(call) = extensions.get::<Call>() {
        call.caller.is_authenticated.store(true, Ordering::Release);
    }
    if let Some(peer) = extensions.get::<Peer>() {
        peer.connection.earns_trust();
    }
}
