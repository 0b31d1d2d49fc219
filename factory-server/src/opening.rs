//! The first bytes of a connection, in time.
//!
//! Whether a client speaks HTTP/1.1 or HTTP/2 is told by its first bytes, and until then no time-out of either holds:
//! one that says nothing, or stops within the preface, would keep its place for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What every connection of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that fails unless its client says soon which protocol it speaks.
#[derive(Debug)]
pub struct Opening<S> {
    stream: S,
    /// None once the protocol is known.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How much of the preface came.
    matched: usize,
}

impl<S> Opening<S> {
    /// `stream`, whose client has `timeout` from now.
    pub fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, deadline: Some(Box::pin(tokio::time::sleep(timeout))), matched: 0 }
    }

    /// Takes note of what came. The protocol is known when the preface is whole, or is none.
    fn note(&mut self, came: &[u8]) {
        let rest = &PREFACE[self.matched..];
        let same = came.iter().zip(rest).take_while(|(a, b)| a == b).count();
        self.matched += same;
        if same < came.len() || self.matched == PREFACE.len() {
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(deadline) = &mut self.deadline else { return polled };
        if polled.is_pending() && deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.note(&buffer.filled()[before..]);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_protocol_is_known_by_the_first_byte_that_differs_or_by_the_whole_preface() {
        let table: [(&[&[u8]], bool); 8] = [
            (&[], false),
            (&[b""], false),
            (&[b"GET / HTTP/1.1\r\n"], true),
            (&[b"P"], false),
            (&[b"P", b"OST"], true),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"], false),
            (&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n"], true),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0"], true),
        ];
        for (came, known) in table {
            let mut opening = Opening::new(tokio::io::empty(), Duration::from_mins(1));
            for bytes in came {
                opening.note(bytes);
            }
            assert_eq!(opening.deadline.is_none(), known, "{came:?}");
        }
    }
}
