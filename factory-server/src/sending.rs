//! Files, sent below HTTP: the kernel gives a socket what it has in memory, and nothing is copied.
//!
//! The bodies of HTTP are byte strings, and a file is none. So a body hands the part of a file over to its connection, and
//! gives HTTP a stand-in of that length; where the stand-in comes out at the other end, the part is sent in its place.
//!
//! ```text
//! body ──── stand-in ───▶ HTTP/1.1 ──── head, stand-in ───▶ Sender ──── head, file ───▶ socket
//!   └────── part ───────▶ Desk ──────────── part ──────────▶┘
//! ```
//!
//! Only for plain HTTP/1.1, which passes the bytes of a body on as they are and in order. Over TLS every byte is changed, and
//! HTTP/2 mixes bodies: there the desk stays closed, and bodies give bytes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream as _;
use rustix::net::sockopt::set_tcp_cork;
use store::{Chunks, FilePart, Part};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The longest stand-in: the longest part of a file.
const STAND_IN_LEN: usize = 1 << 20;
/// Parts that can wait on a desk: HTTP asks for the next when the rest of the last is short. More means that it keeps
/// bytes for itself, and a stand-in would reach a client.
const WAITING_MAX: usize = 2;

/// What stands for parts of files: told from everything else by its place in memory. Never read or written, it takes none.
static STAND_IN: LazyLock<Bytes> = LazyLock::new(|| vec![0; STAND_IN_LEN].into());

tokio::task_local! {
    /// The desk of the connection whose task this is.
    static DESK: Desk;
}

/// Where bodies lay down the parts of files that their connection is to send.
#[derive(Clone, Debug, Default)]
pub struct Desk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: AtomicBool,
    parts: Mutex<VecDeque<FilePart>>,
}

/// A connection that sends the parts on its desk in the place of their stand-ins.
#[derive(Debug)]
pub struct Sender {
    stream: TcpStream,
    desk: Desk,
    sending: Option<FilePart>,
    /// The part, while its next bytes are read or its blob is verified; and bytes of it that were sent before.
    readying: Option<(JoinHandle<Result<FilePart, store::Error>>, usize)>,
    /// Whether the kernel keeps back segments that are not full.
    is_corked: bool,
}

impl Desk {
    /// From now on the bodies of the connection may give parts of files.
    pub fn open(&self) {
        self.0.open.store(true, Ordering::Relaxed);
    }

    /// Whether bodies may give parts of files.
    pub fn is_open(&self) -> bool {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Runs `connection`, whose bodies find this desk.
    pub async fn scope<F: Future>(self, connection: F) -> F::Output {
        DESK.scope(self, connection).await
    }

    /// The desk of this task's connection, if it is open.
    fn here() -> Option<Self> {
        DESK.try_with(|desk| desk.is_open().then(|| desk.clone())).ok().flatten()
    }

    fn put(&self, part: FilePart) -> io::Result<Bytes> {
        let len = usize::try_from(part.len()).ok().filter(|len| (1..=STAND_IN_LEN).contains(len));
        let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        match len {
            Some(len) if parts.len() < WAITING_MAX => {
                parts.push_back(part);
                Ok(STAND_IN.slice(..len))
            }
            _ => Err(out_of_step()),
        }
    }

    fn take(&self) -> Option<FilePart> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The next of `chunks`: bytes, or the stand-in for what the connection sends.
pub fn poll_chunk(chunks: &mut Chunks, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
    let Some(desk) = Desk::here() else { return Pin::new(chunks).poll_next(context) };
    Poll::Ready(ready!(chunks.poll_part(context)).map(|part| match part? {
        Part::Bytes(bytes) => Ok(bytes),
        Part::File(part) => desk.put(part),
    }))
}

impl Sender {
    /// `stream`, which sends what is on `desk`.
    pub fn new(stream: TcpStream, desk: Desk) -> Self {
        Self { stream, desk, sending: None, readying: None, is_corked: false }
    }

    /// Sends of the part that `len` bytes of a stand-in are left of.
    fn poll_send(&mut self, context: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        self.cork(true)?;
        loop {
            if let Some((readying, sent)) = &mut self.readying {
                let (ready, sent) = (ready!(Pin::new(readying).poll(context)), *sent);
                self.readying = None;
                self.sending = Some(ready.map_err(io::Error::other)?.map_err(io::Error::from)?);
                if sent > 0 {
                    return Poll::Ready(Ok(sent));
                }
            }
            let mut part = match self.sending.take().filter(|part| part.len() > 0) {
                Some(part) => part,
                None => self.desk.take().ok_or_else(out_of_step)?,
            };
            if part.len() != len as u64 {
                return Poll::Ready(Err(out_of_step()));
            }
            if !part.is_ready() {
                self.readying = Some((tokio::task::spawn_blocking(|| part.made_ready()), 0));
                continue;
            }
            let sent = loop {
                match self.stream.try_io(Interest::WRITABLE, || part.send(&self.stream)) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                    sent => break Some(sent?),
                }
            };
            match sent {
                // HTTP does not yet know that these bytes are gone, so it cannot take the body for whole.
                Some(sent) if !part.is_unchanged() => {
                    self.readying = Some((tokio::task::spawn_blocking(|| part.made_ready()), sent));
                }
                Some(sent) => {
                    self.sending = Some(part);
                    return Poll::Ready(Ok(sent));
                }
                None => {
                    self.sending = Some(part);
                    ready!(self.stream.poll_write_ready(context))?;
                }
            }
        }
    }

    /// Has the kernel keep back segments that are not full, or send them: every call to send a file ends as if it were the
    /// last, and would leave a short segment behind.
    fn cork(&mut self, is_corked: bool) -> io::Result<()> {
        if self.is_corked != is_corked {
            set_tcp_cork(&self.stream, is_corked)?;
            self.is_corked = is_corked;
        }
        Ok(())
    }
}

impl AsyncWrite for Sender {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices.iter().position(|slice| is_stand_in(slice)) {
            None => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
            Some(at) if slices[..at].iter().all(|slice| slice.is_empty()) => {
                self.poll_send(context, slices[at].len())
            }
            // It goes with the file behind it.
            Some(at) => {
                self.cork(true)?;
                Pin::new(&mut self.stream).poll_write_vectored(context, &slices[..at])
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cork(false)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncRead for Sender {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

fn is_stand_in(slice: &[u8]) -> bool {
    !slice.is_empty() && STAND_IN.as_ptr_range().contains(&slice.as_ptr())
}

fn out_of_step() -> io::Error {
    io::Error::other("the parts of files that are to be sent are not those that HTTP has stand-ins for")
}
