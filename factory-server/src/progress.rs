//! What moves on a connection of HTTP/2, and when nothing has for too long.
//!
//! A client of HTTP/2 that opens no window leaves nothing to write, and one that answers PINGs is not dead: no time-out of
//! the socket ends either. So requests are followed until the last byte of their answer goes to the socket.
//!
//! ```text
//! request ──▶ handler ──▶ body ──▶ pieces, in HTTP/2 ──▶ socket
//!             └─ wait for us ─┘    └─ wait for the client
//! └──────────────────── in flight ────────────────────┘
//! ```
//!
//! A connection without a request in flight is *idle* and has the time that HTTP/1.1 gives between requests. One on which
//! every request in flight waits for the client, and no byte goes, is *stalled* and has the time of a pending write. While
//! one request gets on or waits for us, others may stall beside it; there are never more than the streams at once. What a
//! handler may wait for a client, the body of a request, has a time-out of its own.
//!
//! HTTP/1.1 has time-outs of its own: nothing is followed there.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// Looks at a connection within the shorter limit. It ends at most one of the pauses between them late.
const LOOKS: u32 = 4;
/// The shortest pause between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// From asking a client to end a connection to ending it: a round trip, from anywhere.
const GRACE: Duration = Duration::from_secs(2);

/// What moves on a connection. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_http2: AtomicBool,
    /// Whether anything moved since the last look.
    has_moved: AtomicBool,
    /// Requests whose answer has not gone whole.
    in_flight: AtomicUsize,
    /// Those of them that wait for us.
    waiting: AtomicUsize,
}

/// How long nothing may move.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Without a request in flight.
    pub idle: Duration,
    /// With requests that all wait for the client.
    pub stalled: Duration,
}

/// The body of an answer, which is followed over HTTP/2.
pub struct Answer {
    body: Body,
    in_flight: Option<Arc<InFlight>>,
    waiting: Option<Waiting>,
}

/// What a body gave, until HTTP has sent it: a client that takes a byte now and then moves, however long a piece is.
#[derive(Debug)]
pub struct Piece {
    bytes: Bytes,
    in_flight: Option<Arc<InFlight>>,
}

/// A request in flight: the handler, the body and the pieces of its answer hold it.
#[derive(Debug)]
struct InFlight(Progress);

/// A request that waits for us.
struct Waiting(Arc<InFlight>);

impl Progress {
    /// From now on requests are followed.
    pub fn begin(&self) {
        self.0.is_http2.store(true, Ordering::Relaxed);
    }

    /// Whether requests are followed.
    pub fn has_begun(&self) -> bool {
        self.0.is_http2.load(Ordering::Relaxed)
    }

    /// What answers a request, followed from now on.
    pub fn follow<A, E>(&self, answers: A) -> impl Future<Output = Result<Response<Answer>, E>> + use<A, E>
    where
        A: Future<Output = Result<Response<Body>, E>>,
    {
        let in_flight = self.has_begun().then(|| InFlight::new(self));
        let waiting = in_flight.as_ref().map(Waiting::new);
        async move {
            let response = answers.await?;
            drop(waiting);
            Ok(response.map(|body| Answer { body, in_flight, waiting: None }))
        }
    }

    /// Ends when nothing has moved for as long as `limits` say; never with HTTP/1.1.
    ///
    /// Nothing wakes it when HTTP/2 begins: it is polled after the connection, by the same task.
    pub async fn stalled(&self, limits: Limits) {
        poll_fn(|_| if self.has_begun() { Poll::Ready(()) } else { Poll::Pending }).await;
        let pause = (limits.idle.min(limits.stalled) / LOOKS).max(PAUSE_MIN);
        // Pauses are counted, not time: while the machine stands still nobody is late.
        let mut still = Duration::ZERO;
        loop {
            tokio::time::sleep(pause).await;
            still = if self.moves() { Duration::ZERO } else { still + pause };
            let is_idle = self.0.in_flight.load(Ordering::Relaxed) == 0;
            if still >= if is_idle { limits.idle } else { limits.stalled } {
                return;
            }
        }
    }

    /// The same after the client was asked to end the connection, which is soon if it goes on to do nothing.
    pub async fn stalled_still(&self, limits: Limits) {
        tokio::time::sleep(GRACE).await;
        if self.moves() {
            self.stalled(limits).await;
        }
    }

    /// Whether anything moved since the last look, or is about to be because of us.
    fn moves(&self) -> bool {
        self.0.has_moved.swap(false, Ordering::Relaxed) || self.0.waiting.load(Ordering::Relaxed) > 0
    }

    fn moved(&self) {
        self.0.has_moved.store(true, Ordering::Relaxed);
    }
}

impl InFlight {
    fn new(progress: &Progress) -> Arc<Self> {
        progress.0.in_flight.fetch_add(1, Ordering::Relaxed);
        progress.moved();
        Arc::new(Self(progress.clone()))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.moved();
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waiting {
    fn new(in_flight: &Arc<InFlight>) -> Self {
        in_flight.0.0.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(in_flight))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let progress = &self.0.0;
        progress.moved();
        progress.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpBody for Answer {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let Self { body, in_flight, waiting } = &mut *self;
        let polled = Pin::new(body).poll_frame(context);
        if polled.is_ready() {
            *waiting = None;
        } else if waiting.is_none() {
            *waiting = in_flight.as_ref().map(Waiting::new);
        }
        polled.map_ok(|frame| frame.map_data(|bytes| Piece { bytes, in_flight: in_flight.clone() }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, len: usize) {
        self.bytes.advance(len);
        if let Some(in_flight) = &self.in_flight {
            in_flight.0.moved();
        }
    }
}
