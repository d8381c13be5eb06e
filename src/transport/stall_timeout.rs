//! How long a peer may keep us waiting: for its first words, and for room to write an answer.

use std::{
    future::Future as _,
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// A stream that fails when its peer has not sent its first bytes in time, or takes nothing of what is written.
pub(super) struct StallTimeout<I> {
    stream: I,
    timeout: Duration,
    /// How many of the first bytes are missing, and until when they may be.
    first: Option<(usize, Pin<Box<Sleep>>)>,
    /// Until when a write that waits may go on waiting.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<I> StallTimeout<I> {
    /// The clock for the first bytes runs from now on; where there are none, a peer may say nothing.
    pub(super) fn new(stream: I, first: usize, timeout: Duration) -> Self {
        let first = (first > 0).then(|| (first, Box::pin(tokio::time::sleep(timeout))));
        Self { stream, timeout, first, stalled: None }
    }

    /// What came of a write, unless it has waited for too long.
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.timeout)));
        stalled.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for StallTimeout<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some((missing, deadline)) = &mut self.first {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                self.first = None;
            } else if deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for StallTimeout<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_stalled(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.unless_stalled(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.unless_stalled(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn reading_fails_if_the_first_words_do_not_come_whole() {
        let (mut peer, stream) = duplex(64);
        peer.write_all(b"PRI").await.unwrap();
        let mut stream = StallTimeout::new(stream, 4, TIMEOUT);
        let mut words = [0; 4];
        assert_eq!(stream.read_exact(&mut words).await.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn once_they_have_come_a_peer_may_be_silent() {
        let (mut peer, stream) = duplex(64);
        peer.write_all(b"PRI *").await.unwrap();
        let mut stream = StallTimeout::new(stream, 4, TIMEOUT);
        let mut words = [0; 5];
        stream.read_exact(&mut words).await.unwrap();
        let later = tokio::spawn(async move { stream.read_u8().await });
        tokio::time::sleep(TIMEOUT * 5).await;
        peer.write_u8(7).await.unwrap();
        assert_eq!(later.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn writing_fails_if_the_peer_takes_nothing() {
        let (mut peer, stream) = duplex(4);
        let mut stream = StallTimeout::new(stream, 0, TIMEOUT);
        stream.write_all(b"full").await.unwrap();
        tokio::time::sleep(TIMEOUT * 5).await;
        peer.read_exact(&mut [0; 4]).await.unwrap();
        stream.write_all(b"more").await.unwrap();
        assert_eq!(stream.write_all(b"!").await.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
