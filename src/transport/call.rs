//! One call: counted for its connection, its request cut if the peer stops sending, its response watched while it is
//! delivered.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use pin_project_lite::pin_project;
use tower::{Service, ServiceExt as _, util::Oneshot};

use super::{
    inline_executor::InlineExecutor,
    request_body::RequestBody,
    stalled_calls::{Stall, StallLimits},
};
use crate::domain::peer::Peer;

/// A service as one connection calls it.
#[derive(Clone)]
pub(super) struct ConnectionService<S> {
    pub(super) service: S,
    pub(super) peer: Peer,
    pub(super) stalls: Arc<StallLimits>,
    /// Executor that delivers the responses over HTTP/2; `None` over HTTP/1.1, where the connection does.
    pub(super) executor: Option<InlineExecutor>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Infallible;
    type Future = ResponseFuture<S>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let call = Arc::new(Call::begin(&self.peer, &self.stalls, self.executor.is_some()));
        if let Some(executor) = &self.executor {
            executor.announce(&call);
        }
        request.extensions_mut().insert(self.peer.clone());
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&call)));
        ResponseFuture { response: self.service.clone().oneshot(request), call }
    }
}

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
    fn begin(peer: &Peer, stalls: &Arc<StallLimits>, splits_frames: bool) -> Self {
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
    pub(super) fn stall_of_request(&self) -> Stall {
        self.stalls.for_request(&self.peer)
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

    fn hands_over(&self) {
        self.parts.fetch_add(1, Ordering::AcqRel);
        self.is_waiting.store(false, Ordering::Release);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.peer.connection.call_ends();
    }
}

pin_project! {
    /// The service's work for one call.
    pub(super) struct ResponseFuture<S: Service<Request<RequestBody>>> {
        #[pin]
        response: Oneshot<S, Request<RequestBody>>,
        call: Arc<Call>,
    }
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = std::task::ready!(this.response.poll(context))?;
        this.call.hands_over();
        let call = Arc::clone(this.call);
        Poll::Ready(Ok(response.map(|body| ResponseBody { body, call, rest: Bytes::new() })))
    }
}

pin_project! {
    /// A response's body that notes what has been taken of it.
    ///
    /// Over HTTP/2 a large frame is handed over in parts, so that each part sent is progress, and its last byte
    /// separately. hyper hands a part to h2 as soon as the peer grants room for one byte, and then forgets it; h2 would
    /// keep the rest as long as the connection lives. Splitting off the last byte ensures that neither hyper nor the
    /// limits see the response as complete before all but one byte is sent.
    pub(super) struct ResponseBody<B> {
        #[pin]
        body: B,
        call: Arc<Call>,
        // The part of a large frame that has not been handed over.
        rest: Bytes,
    }
}

/// Frames up to this size are not worth another one. h2 gives a larger one a write of its own in any case.
const SMALL_FRAME: usize = 1_000;
/// The largest part: a frame of HTTP/2 holds as much by default (RFC 9113, section 4.2).
const LARGEST_PART: usize = 16 * 1024;

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame =
            if this.rest.is_empty() {
                this.body.poll_frame(context).map_ok(|frame| {
                    frame.map_data(|data| {
                        if this.call.splits_frames { split_off_rest(data, this.rest) } else { data }
                    })
                })
            } else {
                let rest = std::mem::take(this.rest);
                Poll::Ready(Some(Ok(Frame::data(split_off_rest(rest, this.rest)))))
            };
        match &frame {
            Poll::Ready(_) => this.call.hands_over(),
            Poll::Pending => this.call.is_waiting.store(true, Ordering::Release),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// The first part of a large frame. The last byte is copied, so that it keeps no memory of the frame.
fn split_off_rest(mut data: Bytes, rest: &mut Bytes) -> Bytes {
    if data.len() > LARGEST_PART {
        *rest = data.split_off(LARGEST_PART);
    } else if data.len() > SMALL_FRAME {
        *rest = Bytes::copy_from_slice(&data.split_off(data.len() - 1));
    }
    data
}
