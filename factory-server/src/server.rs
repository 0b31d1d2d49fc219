//! The server: connections, their limits, and the end.
//!
//! What a client can hold is bounded: connections, the time that a header may take, the time in which a download must
//! make progress, the buffers of each. HTTP/1.1 and HTTP/2 on one port, both over TLS if there is a certificate.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use futures::FutureExt as _;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use crate::metrics::Metrics;
use crate::opening::Opening;
use crate::progress::{Limits, Progress};
use crate::sending::{Desk, Sender};
use crate::tls::Tls;

/// How connections are treated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How long a request header may take, the wait for it on a new or kept connection included. Over HTTP/2, how long a
    /// connection may be without a request.
    pub header_timeout: Duration,
    /// How long a client may take none of what is sent to it. Over HTTP/2, none of all its answers.
    pub send_timeout: Duration,
    /// How many connections there may be; who comes then waits for one to end.
    pub connections_max: usize,
    /// How long downloads may go on after the server was told to stop. Longer ones are cut; their clients resume by
    /// range.
    pub drain: Duration,
    /// Whether the kernel sends files where it can, over plain HTTP/1.1.
    pub send_files: bool,
    /// The server's end of TLS; none for plain HTTP.
    pub tls: Option<Tls>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Bytes that are buffered for a connection, and so the longest request header. Small, because there are thousands.
const BUFFER_LEN: usize = 16 << 10;
/// Downloads at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 64;
/// Bytes that are buffered for a download over HTTP/2.
const STREAM_BUFFER_LEN: usize = 64 << 10;
/// After an error of accept that is not the connection's own (too many open files): until something may have changed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines of the log about such errors.
const ACCEPT_WARNING_PAUSE: Duration = Duration::from_secs(1);

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_mins(1),
            connections_max: 10_000,
            drain: Duration::from_secs(20),
            send_files: true,
            tls: None,
            metrics: Metrics::default(),
        }
    }
}

/// Serves `routes` on `listener` until `stop`, then lets what is being answered end.
///
/// # Errors
/// None yet: what concerns one connection is logged.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    settings: Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stop = stop.shared();
    let builder = Arc::new(builder(&settings));
    let connections = Arc::new(Semaphore::new(settings.connections_max));
    let stopping = watch::Sender::new(());
    let mut warned_at: Option<Instant> = None;
    loop {
        let accepted = async {
            // Who waits is kept by the kernel.
            let permit =
                Arc::clone(&connections).acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.clone() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                settings.metrics.accept_failed();
                if warned_at.is_none_or(|at| at.elapsed() >= ACCEPT_WARNING_PAUSE) {
                    tracing::warn!(%error, "a connection was not accepted");
                    warned_at = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = Connection {
            builder: Arc::clone(&builder),
            service: TowerToHyperService::new(routes.clone()),
            stopped: stopping.subscribe(),
            limits: Limits { idle: settings.header_timeout, stalled: settings.send_timeout },
        };
        let desk = settings.send_files.then(Desk::default);
        let stream = timed(stream, settings.send_timeout, desk.clone().unwrap_or_default());
        let tls = settings.tls.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.serve_over(tls, stream, desk).await {
                tracing::debug!(error, "a connection ended early");
            }
            drop(permit);
        });
    }
    // From here on connections are refused.
    drop(listener);
    tracing::info!(connections = stopping.receiver_count(), "stopping");
    stopping.send_replace(());
    if tokio::time::timeout(settings.drain, stopping.closed()).await.is_err() {
        tracing::warn!(limit_s = settings.drain.as_secs(), "downloads are cut");
    }
    Ok(())
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Timed = Pin<Box<TimeoutStream<Sender>>>;

/// What it takes to serve one connection.
struct Connection {
    builder: Arc<auto::Builder<TokioExecutor>>,
    service: TowerToHyperService<Router>,
    /// Changes when the server stops; held until the connection has ended.
    stopped: watch::Receiver<()>,
    limits: Limits,
}

fn builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(BUFFER_LEN)
        // What bodies give is passed on where it is, stand-ins of files among it.
        .writev(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        // Finds clients that are gone while there is nothing to write. One that answers may still do nothing.
        .keep_alive_interval(settings.header_timeout)
        .keep_alive_timeout(settings.header_timeout)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(STREAM_BUFFER_LEN)
        .max_header_list_size(u32::try_from(BUFFER_LEN).expect("some KiB"));
    builder
}

/// The connection, which fails when the client takes nothing for too long.
fn timed(stream: TcpStream, send_timeout: Duration, desk: Desk) -> Timed {
    // A header goes out at once, not when the bytes after it fill a segment.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let mut stream = TimeoutStream::new(Sender::new(stream, desk));
    stream.set_write_timeout(Some(send_timeout));
    Box::pin(stream)
}

impl Connection {
    /// Serves what comes on `stream`, over TLS if there is any. Files are sent from `desk`, if there is one.
    async fn serve_over(self, tls: Option<Tls>, stream: Timed, desk: Option<Desk>) -> Result<(), BoxError> {
        match (tls, desk) {
            (Some(tls), _) => {
                let shaken = tokio::time::timeout(self.limits.idle, tls.accept(stream)).await??;
                self.serve(shaken, None).await
            }
            (None, Some(desk)) => desk.clone().scope(self.serve(stream, Some(desk))).await,
            (None, None) => self.serve(stream, None).await,
        }
    }

    async fn serve(
        mut self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        desk: Option<Desk>,
    ) -> Result<(), BoxError> {
        let (progress, limits) = (Progress::default(), self.limits);
        let io = TokioIo::new(Opening::new(stream, limits.idle, desk, progress.clone()));
        let followed = service_fn(|request| progress.follow(self.service.call(request)));
        let mut connection = pin!(self.builder.serve_connection_with_upgrades(io, followed));
        let is_stalled = tokio::select! {
            biased;
            served = &mut connection => return served,
            () = progress.stalled(limits) => true,
            _ = self.stopped.changed() => false,
        };
        connection.as_mut().graceful_shutdown();
        let stalled = async {
            if is_stalled { progress.stalled_still(limits).await } else { progress.stalled(limits).await }
        };
        tokio::select! {
            biased;
            served = &mut connection => served,
            () = stalled => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }
}
