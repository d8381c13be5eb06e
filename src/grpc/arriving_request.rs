//! Start of a call: once its request has arrived, or the beginning of a large one. A peer that sends slowly occupies no
//! place among the running calls until then.
//!
//! A rejected call must not be answered earlier: h2 counts small frames of an abandoned request against the connection,
//! and closes it after a few hundred ("too_many_data_frames"), with all its calls.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tonic::codegen::Bytes;

use crate::{
    domain::{Violation, peer::BEGINNING_OF_REQUEST},
    flows::Error,
};

/// The largest request. The largest valid one holds a text of a few kilobytes.
pub(super) const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// The largest Check: a gateway forwards up to 96 KiB of headers, possibly twice.
pub(super) const MAX_CHECK_BYTES: usize = 256 * 1024;

/// A request's body whose beginning has arrived.
pub(super) struct ArrivedBody<B> {
    beginning: Bytes,
    rest: B,
}

/// Waits for the end of a request, or for the beginning of a large one.
///
/// # Errors
/// Those of the body.
pub(super) async fn arrived<B>(mut body: B) -> Result<ArrivedBody<B>, B::Error>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let mut beginning = Bytes::new();
    while beginning.len() < BEGINNING_OF_REQUEST {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame?.into_data() else { break };
        if beginning.is_empty() {
            beginning = data;
        } else if !data.is_empty() {
            let mut longer = BytesMut::from(beginning);
            longer.extend_from_slice(&data);
            beginning = longer.freeze();
        }
    }
    Ok(ArrivedBody { beginning, rest: body })
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for ArrivedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.beginning.is_empty() {
            return Pin::new(&mut self.rest).poll_frame(context);
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.beginning)))))
    }

    fn is_end_stream(&self) -> bool {
        self.beginning.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, beginning) = (self.rest.size_hint(), self.beginning.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + beginning);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + beginning);
        }
        hint
    }
}

/// The error of a message beyond a limit in bytes.
pub(super) fn too_large(limit: usize) -> Error {
    Violation::request("message", format!("is larger than {} KiB", limit / 1024)).into()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http_body_util::{Full, StreamBody};
    use tokio_stream::StreamExt as _;

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, Infallible>>;

    fn frames(frames: &[&[u8]]) -> Frames {
        frames.iter().map(|frame| Ok(Frame::data(Bytes::copy_from_slice(frame)))).collect()
    }

    /// What has arrived of a request when its call begins, if it begins. The peer sends these frames, and then ends the
    /// request, or waits.
    async fn begun(data: &[&[u8]], ends: bool) -> Option<Bytes> {
        let stream = tokio_stream::iter(frames(data));
        let begun = async {
            match ends {
                true => arrived(StreamBody::new(stream)).await.map(|body| body.beginning),
                false => {
                    let waiting = StreamBody::new(stream.chain(tokio_stream::pending()));
                    arrived(waiting).await.map(|body| body.beginning)
                }
            }
        };
        tokio::time::timeout(Duration::ZERO, begun).await.ok().map(|begun| begun.unwrap())
    }

    #[tokio::test]
    async fn a_call_begins_with_its_whole_request_or_the_beginning_of_a_large_one() {
        let large: &[u8] = &[b'x'; BEGINNING_OF_REQUEST];
        assert_eq!(begun(&[b"ab", b"cd"], true).await.unwrap(), "abcd");
        assert_eq!(begun(&[b"ab", b"cd"], false).await, None);
        assert_eq!(begun(&[large], false).await.unwrap(), large);
        assert_eq!(begun(&[], true).await.unwrap(), Bytes::new());
    }

    #[tokio::test]
    async fn nothing_of_a_request_is_lost() {
        let large = Bytes::from(vec![b'x'; 3 * BEGINNING_OF_REQUEST]);
        let body = arrived(Full::new(large.clone())).await.unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), large);
        let stream = StreamBody::new(tokio_stream::iter(frames(&[b"ab", b"cd"])));
        let body = arrived(stream).await.unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcd");
    }
}
