//! A request's body, which fails if the peer stops sending it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::{call::Call, stalled_calls::Stall};
use crate::domain::peer::BEGINNING_OF_REQUEST;

/// The body of a request. A peer that has to send more must do so within the limits for stalled calls; the error of one
/// that did not is [`Stalled`](crate::domain::peer::Stalled).
pub struct RequestBody {
    body: Incoming,
    call: Arc<Call>,
    received: usize,
    stall: Option<Stall>,
}

impl RequestBody {
    pub(super) const fn new(body: Incoming, call: Arc<Call>) -> Self {
        Self { body, call, received: 0, stall: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.stall = None;
            if let Some(Ok(frame)) = &frame {
                self.received += frame.data_ref().map_or(0, Bytes::len);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Self { call, stall, received, .. } = &mut *self;
        let has_begun = *received >= BEGINNING_OF_REQUEST;
        let stalled = stall.get_or_insert_with(|| call.stall_of_request(has_begun)).poll(context);
        stalled.map(|stalled| Some(Err(stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
