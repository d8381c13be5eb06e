//! One call: counted for its connection, with the limits for a peer that sends or reads nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::stalled_calls::{Stall, StallLimits};
use crate::domain::peer::Peer;

/// State of a call, shared by its response and by the task that delivers it. The call ends for its connection when both
/// are gone.
pub(super) struct Call {
    peer: Peer,
    stalls: Arc<StallLimits>,
    /// Parts of the response that HTTP/2 has taken: the head, and frames.
    parts: AtomicU32,
    /// True while the service has nothing to send.
    is_waiting: AtomicBool,
    splits_frames: bool,
}

impl Call {
    pub(super) fn begin(peer: &Peer, stalls: &Arc<StallLimits>, splits_frames: bool) -> Self {
        peer.connection.call_begins();
        Self {
            peer: peer.clone(),
            stalls: Arc::clone(stalls),
            parts: AtomicU32::new(0),
            is_waiting: AtomicBool::new(true),
            splits_frames,
        }
    }

    /// The wait for a part of the request.
    pub(super) fn stall_of_request(&self, has_begun: bool) -> Stall {
        self.stalls.for_request(&self.peer, has_begun)
    }

    /// The wait until a part of the response is taken.
    pub(super) fn stall_of_response(&self) -> Stall {
        self.stalls.for_response(&self.peer)
    }

    /// The number of the part that waits to be sent; `None` if the service has nothing to send.
    pub(super) fn unsent_part(&self) -> Option<u32> {
        let is_waiting = self.is_waiting.load(Ordering::Acquire);
        (!is_waiting).then(|| self.parts.load(Ordering::Acquire))
    }

    /// True if a large frame of the response is handed over in parts.
    pub(super) const fn splits_frames(&self) -> bool {
        self.splits_frames
    }

    /// True if a small response may stay unread.
    pub(super) fn may_stay_unread(&self) -> bool {
        self.peer.connection.may_leave_unread()
    }

    /// Notes that the service has nothing to send.
    pub(super) fn waits(&self) {
        self.is_waiting.store(true, Ordering::Release);
    }

    /// Notes that HTTP/2 has taken a part of the response.
    pub(super) fn hands_over(&self) {
        self.parts.fetch_add(1, Ordering::AcqRel);
        self.is_waiting.store(false, Ordering::Release);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.peer.connection.call_ends();
    }
}
