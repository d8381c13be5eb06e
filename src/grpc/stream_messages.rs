//! Messages of a streaming request: each must arrive whole in time, and be no larger than any other request. Otherwise the
//! stream ends with an error, which tonic's reflection service would drop.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::{Status, body::Body, codegen::Bytes};

use super::{
    arriving_request::{MAX_REQUEST_BYTES, too_large},
    status::status,
};
use crate::{
    domain::Violation,
    flows::{Error, Result},
};

/// Bytes before each message: a flag, and the length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: u8 = 5;

/// The error of a stream's request, once there is one.
#[derive(Clone, Default)]
pub(super) struct StreamError(Arc<OnceLock<Status>>);

impl StreamError {
    /// The request's body, which fails if the next message does not arrive whole within `timeout`. This ends an idle
    /// stream, and one whose messages arrive byte by byte.
    pub(super) fn request(&self, body: Body, timeout: Duration) -> Body {
        let error = self.clone();
        Body::new(StreamMessages { body, timeout, message: Message::default(), deadline: None, error })
    }

    /// The response's body, which ends with the error of the request.
    pub(super) fn response(self, body: Body) -> Body {
        Body::new(StreamResponse { body, error: self })
    }
}

struct StreamMessages {
    body: Body,
    timeout: Duration,
    message: Message,
    /// Deadline of the next message, once it was waited for.
    deadline: Option<Pin<Box<Sleep>>>,
    error: StreamError,
}

/// What has arrived of a message.
#[derive(Default)]
struct Message {
    prefix: u8,
    /// Bytes that follow the prefix and have not arrived.
    missing: u32,
}

impl Message {
    /// Reads data: true if it completes a message.
    fn read(&mut self, mut data: &[u8]) -> Result<bool> {
        let mut completes = false;
        while let [first, rest @ ..] = data {
            if self.prefix < PREFIX_BYTES {
                if self.prefix == 0 && *first != 0 {
                    return Err(Violation::request("message", "is compressed; send it uncompressed").into());
                }
                // The shift drops the flag.
                self.missing = self.missing << 8 | u32::from(*first);
                self.prefix += 1;
                data = rest;
            } else {
                let taken = data.len().min(self.missing as usize);
                self.missing -= u32::try_from(taken).unwrap_or(self.missing);
                data = &data[taken..];
            }
            if self.prefix == PREFIX_BYTES && self.missing as usize > MAX_REQUEST_BYTES {
                return Err(too_large(MAX_REQUEST_BYTES));
            }
            if self.prefix == PREFIX_BYTES && self.missing == 0 {
                *self = Self::default();
                completes = true;
            }
        }
        Ok(completes)
    }
}

impl StreamMessages {
    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Status>>> {
        let Self { body, timeout, message, deadline, .. } = self;
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            match data.map_or(Ok(false), |data| message.read(data)) {
                Ok(true) => *deadline = None,
                Ok(false) => {}
                Err(error) => return Poll::Ready(Some(Err(status(&error)))),
            }
            return Poll::Ready(frame);
        }
        let deadline = deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(*timeout)));
        deadline.as_mut().poll(context).map(|()| Some(Err(status(&Error::RequestIncomplete))))
    }
}

impl HttpBody for StreamMessages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Status>>> {
        let frame = self.poll_message(context);
        if let Poll::Ready(Some(Err(error))) = &frame {
            let _ = self.error.0.set(error.clone());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct StreamResponse {
    body: Body,
    error: StreamError,
}

impl HttpBody for StreamResponse {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let Some(error) = self.error.0.get() else { return frame };
        frame.map_ok(|frame| {
            let mut trailers = HeaderMap::new();
            match frame.is_trailers() && error.add_header(&mut trailers).is_ok() {
                true => Frame::trailers(trailers),
                false => frame,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_complete_with_its_last_byte() {
        let mut message = Message::default();
        let frame = [b"\0\0\0\x01\x02".as_slice(), &[b'x'; 258]].concat();
        for _ in 0..2 {
            let completed: Vec<_> = frame.iter().map(|byte| message.read(&[*byte]).unwrap()).collect();
            assert_eq!(completed.iter().position(|completes| *completes), Some(frame.len() - 1));
        }
        assert!(message.read(b"\0\0\0\0\0").unwrap(), "an empty message");
        assert!(message.read(&[&frame[..], b"\0\0"].concat()).unwrap(), "and the beginning of another one");
        assert!(!message.read(b"\0\0\x01").unwrap());
        assert!(message.read(b"x").unwrap());
    }

    #[test]
    fn a_large_or_compressed_message_is_rejected_by_its_prefix() {
        assert!(!Message::default().read(b"\0\0\x01\0\0").unwrap(), "64 KiB");
        for prefix in [b"\0\0\x01\0\x01", b"\x01\0\0\0\x01"] {
            assert!(matches!(Message::default().read(prefix), Err(Error::Invalid(_))));
        }
    }
}
