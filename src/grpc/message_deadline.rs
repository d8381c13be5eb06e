//! A request's body whose messages must each arrive whole in time.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::{Status, body::Body, codegen::Bytes};

use super::status::status;
use crate::flows::Error;

/// Bytes before each message: a flag, and the length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: u8 = 5;

/// The body, which fails if the next message does not arrive whole within `timeout`. This ends an idle stream, and one
/// whose messages arrive byte by byte.
pub(super) fn with_message_deadline(body: Body, timeout: Duration) -> Body {
    Body::new(MessageDeadline { body, timeout, message: Message::default(), deadline: None })
}

struct MessageDeadline {
    body: Body,
    timeout: Duration,
    message: Message,
    /// Deadline of the next message, once it was waited for.
    deadline: Option<Pin<Box<Sleep>>>,
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
    fn read(&mut self, mut data: &[u8]) -> bool {
        let mut completes = false;
        while let [first, rest @ ..] = data {
            if self.prefix < PREFIX_BYTES {
                // The shift drops the flag.
                self.missing = self.missing << 8 | u32::from(*first);
                self.prefix += 1;
                data = rest;
            } else {
                let taken = data.len().min(self.missing as usize);
                self.missing -= u32::try_from(taken).unwrap_or(self.missing);
                data = &data[taken..];
            }
            if self.prefix == PREFIX_BYTES && self.missing == 0 {
                *self = Self::default();
                completes = true;
            }
        }
        completes
    }
}

impl HttpBody for MessageDeadline {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { body, timeout, message, deadline } = &mut *self;
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            if data.is_some_and(|data| message.read(data)) {
                *deadline = None;
            }
            return Poll::Ready(frame);
        }
        let deadline = deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(*timeout)));
        deadline.as_mut().poll(context).map(|()| Some(Err(status(&Error::RequestIncomplete))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
            let completed: Vec<_> = frame.iter().map(|byte| message.read(&[*byte])).collect();
            assert_eq!(completed.iter().position(|completes| *completes), Some(frame.len() - 1));
        }
        assert!(message.read(b"\0\0\0\0\0"), "an empty message");
        assert!(message.read(&[&frame[..], b"\x01\0"].concat()), "and the beginning of another one");
        assert!(!message.read(b"\0\0\x01"));
        assert!(message.read(b"x"));
    }
}
