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

use crate::progress::Progress;
use crate::sending::Desk;

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
    /// Opened when the protocol turns out to be HTTP/1.1.
    desk: Option<Desk>,
    /// Begun when it turns out to be HTTP/2.
    progress: Progress,
}

impl<S> Opening<S> {
    /// `stream`, whose client has `timeout` from now. With HTTP/1.1, `desk` is opened; with HTTP/2, `progress` begins.
    pub fn new(stream: S, timeout: Duration, desk: Option<Desk>, progress: Progress) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep(timeout)));
        Self { stream, deadline, matched: 0, desk, progress }
    }

    /// Takes note of what came. The protocol is known when the preface is whole, or is none.
    fn note(&mut self, came: &[u8]) {
        let rest = &PREFACE[self.matched..];
        let same = came.iter().zip(rest).take_while(|(a, b)| a == b).count();
        self.matched += same;
        let is_http2 = self.matched == PREFACE.len();
        let is_http1 = same < came.len() && !is_http2;
        if is_http1 || is_http2 {
            self.deadline = None;
        }
        if is_http2 {
            self.progress.begin();
        }
        if is_http1 && let Some(desk) = self.desk.take() {
            desk.open();
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
        let table: [(&[&[u8]], bool, bool); 9] = [
            (&[], false, false),
            (&[b""], false, false),
            (&[b"GET / HTTP/1.1\r\n"], true, true),
            (&[b"P"], false, false),
            (&[b"P", b"OST"], true, true),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"], false, false),
            (&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n"], true, false),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0"], true, false),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET"], true, false),
        ];
        for (came, is_known, sends_files) in table {
            let (desk, progress) = (Desk::default(), Progress::default());
            let patience = Duration::from_mins(1);
            let mut opening =
                Opening::new(tokio::io::empty(), patience, Some(desk.clone()), progress.clone());
            for bytes in came {
                if opening.deadline.is_some() {
                    opening.note(bytes);
                }
            }
            assert_eq!(opening.deadline.is_none(), is_known, "{came:?}");
            assert_eq!(desk.is_open(), sends_files, "HTTP/1.1 alone passes bodies on as they are: {came:?}");
            assert_eq!(progress.has_begun(), is_known && !sends_files, "HTTP/2 alone is followed: {came:?}");
        }
    }
}
