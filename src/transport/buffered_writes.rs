//! Writes of a connection, buffered until they are flushed: many small answers leave in one write.
//!
//! Where a stream can write from several places at once, h2 gives each answer of 256 bytes or more a write of its
//! own, which costs more than such an answer does. Where it cannot, that begins at 1,024 bytes; and a larger answer,
//! which then comes in two parts, is put together again here.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// Room for one frame of HTTP/2 of the usual largest size, and for what goes before it.
const CAPACITY: usize = 17 * 1024;

/// A stream that writes when it is flushed, or when the buffer is full.
pub(super) struct BufferedWrites<I>(BufWriter<I>);

impl<I: AsyncWrite> BufferedWrites<I> {
    pub(super) fn new(stream: I) -> Self {
        Self(BufWriter::with_capacity(CAPACITY, stream))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for BufferedWrites<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for BufferedWrites<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
