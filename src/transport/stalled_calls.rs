//! Bounds for calls that wait for their peer: each for a time, and all of a port together in number.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Sleep;

use super::places::{Place, Places};
use crate::domain::peer::{Peer, Stalled};

/// Limits for calls of a port that wait for their peer.
#[derive(Debug)]
pub struct StallLimits {
    timeout: Duration,
    arriving: Arc<Places>,
    requests: Arc<Places>,
    responses: Arc<Places>,
}

impl StallLimits {
    /// Limits under which a peer must send, or read, something within `timeout`.
    ///
    /// At most `max_calls / 12` calls may run with an incomplete request, so that they do not use up what is reserved for
    /// probes; at most `max_calls / 3` may have an unread response. Calls that have not begun yet occupy no such place:
    /// as many as twice `max_calls` may wait for the beginning of their requests, which honest peers send late when they
    /// are busy.
    pub fn new(timeout: Duration, max_calls: usize) -> Arc<Self> {
        let [arriving, requests, responses] = [max_calls * 2, max_calls / 12, max_calls / 3].map(Places::new);
        Arc::new(Self { timeout, arriving, requests, responses })
    }

    /// The wait for a part of a request.
    pub(super) fn for_request(&self, peer: &Peer, has_begun: bool) -> Stall {
        let places = if has_begun { &self.requests } else { &self.arriving };
        Stall::begin("request", places.take(peer), self.timeout)
    }

    /// The wait until a part of a response is taken.
    pub(super) fn for_response(&self, peer: &Peer) -> Stall {
        Stall::begin("response", self.responses.take(peer), self.timeout)
    }
}

/// A wait for a peer.
pub(super) struct Stall {
    direction: &'static str,
    place: Place,
    deadline: Pin<Box<Sleep>>,
}

impl Stall {
    fn begin(direction: &'static str, place: Place, timeout: Duration) -> Self {
        Self { direction, place, deadline: Box::pin(tokio::time::sleep(timeout)) }
    }

    /// Ready when the peer must not be waited for any longer.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Stalled> {
        let (stalled, reason) = if self.place.poll_lost(context).is_ready() {
            (Stalled::TooMany, "too_many")
        } else if self.deadline.as_mut().poll(context).is_ready() {
            (Stalled::TooLong, "too_long")
        } else {
            return Poll::Pending;
        };
        let labels = [("direction", self.direction), ("reason", reason)];
        metrics::counter!("countersign_stalled_calls_total", &labels).increment(1);
        Poll::Ready(stalled)
    }
}
