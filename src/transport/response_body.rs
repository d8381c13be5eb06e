//! A response's body, watched while it is delivered.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::call::Call;

pin_project! {
    /// A response's body that notes what has been taken of it.
    ///
    /// Over HTTP/2 a large frame is handed over in parts, so that each part sent is progress, and its last byte separately.
    /// hyper hands a part to h2 as soon as the peer grants room for one byte, and then forgets it; h2 would keep the rest
    /// as long as the connection lives. hyper hands over the last byte only once the peer has granted room for all of the
    /// frame, so neither hyper nor the limits see a response as complete before that.
    ///
    /// The last byte of a small frame is not separate where [`Call::may_stay_unread`] allows it: a frame costs as much as the
    /// response, and clients that use h2 close connections with too many small ones ("too_many_data_frames").
    pub(super) struct ResponseBody<B> {
        #[pin]
        body: B,
        call: Arc<Call>,
        // The part of a large frame that has not been handed over.
        rest: Bytes,
    }
}

/// Frames up to this size are copied: tonic encodes each response in a buffer of 8 KiB, which an unread response would keep.
const SMALL_FRAME: usize = 1_000;
/// The largest part: a frame of HTTP/2 holds as much by default (RFC 9113, section 4.2).
const LARGEST_PART: usize = 16 * 1024;

impl<B> ResponseBody<B> {
    pub(super) const fn new(body: B, call: Arc<Call>) -> Self {
        Self { body, call, rest: Bytes::new() }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = if this.rest.is_empty() {
            this.body.poll_frame(context).map_ok(|frame| {
                frame.map_data(|data| {
                    if this.call.splits_frames() { first_part(data, this.rest, this.call) } else { data }
                })
            })
        } else {
            let rest = std::mem::take(this.rest);
            Poll::Ready(Some(Ok(Frame::data(first_part(rest, this.rest, this.call)))))
        };
        match &frame {
            Poll::Ready(_) => this.call.hands_over(),
            Poll::Pending => this.call.waits(),
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

/// The first part of a frame. What is left goes to `rest`, and keeps no memory of a large frame.
fn first_part(mut data: Bytes, rest: &mut Bytes, call: &Call) -> Bytes {
    match data.len() {
        0 | 1 => {}
        length @ ..=SMALL_FRAME => {
            data = Bytes::copy_from_slice(&data);
            if !call.may_stay_unread() {
                *rest = data.split_off(length - 1);
            }
        }
        length @ ..=LARGEST_PART => *rest = Bytes::copy_from_slice(&data.split_off(length - 1)),
        _ => *rest = data.split_off(LARGEST_PART),
    }
    data
}
