//! Downloads: their bytes, counted as they are taken, and how they end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Bytes;
use futures::Stream;
use prometheus_client::metrics::counter::Counter;
use store::Chunks;
use tracing::Span;

use super::labels::{AssetLabels, BLOB, KindLabels, TALOSCTL};
use super::{InFlight, Metrics, Reason, Stage};
use crate::sending;

/// What counts a download, before it has begun.
#[derive(Debug)]
pub struct Download {
    metrics: Metrics,
    /// What the bytes are added to.
    bytes: Vec<Counter>,
    /// Failures of the store, where it is an asset that is downloaded.
    errors: Option<Counter>,
}

/// A download that has begun. Ends when it is dropped, and its span with it.
pub struct Counted {
    chunks: Chunks,
    download: Download,
    /// Bytes that are still to be taken.
    rest: u64,
    failed: bool,
    begun: Instant,
    span: Span,
    _in_flight: InFlight,
}

impl Download {
    /// A download of a command-line client.
    pub(crate) fn of_talosctl(metrics: &Metrics) -> Self {
        Self::of_kind(metrics, TALOSCTL)
    }

    /// A download of a blob of an image.
    pub(crate) fn of_blob(metrics: &Metrics) -> Self {
        Self::of_kind(metrics, BLOB)
    }

    fn of_kind(metrics: &Metrics, output_kind: &'static str) -> Self {
        let bytes = metrics.0.streamed_bytes.get_or_create_owned(&KindLabels { output_kind });
        Self { metrics: metrics.clone(), bytes: vec![bytes], errors: None }
    }

    /// A download of the asset with these labels, whose bytes also go to `bytes`.
    pub(super) fn of_asset(metrics: &Metrics, labels: &AssetLabels, bytes: Counter) -> Self {
        let kind = KindLabels { output_kind: labels.output_kind() };
        let by_kind = metrics.0.streamed_bytes.get_or_create_owned(&kind);
        let errors = Some(metrics.0.cached_errors.get_or_create_owned(labels));
        Self { metrics: metrics.clone(), bytes: vec![by_kind, bytes], errors }
    }

    /// Counts a failure of the store.
    pub(crate) fn failed(&self) {
        if let Some(errors) = &self.errors {
            errors.inc();
        }
    }

    /// Counts the `len` bytes of `chunks` from now on.
    pub(crate) fn begin(self, chunks: Chunks, len: u64, span: Span) -> Counted {
        let in_flight = InFlight::of(self.metrics.0.streams_inflight.clone());
        let begun = Instant::now();
        Counted { chunks, download: self, rest: len, failed: false, begun, span, _in_flight: in_flight }
    }
}

impl Stream for Counted {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let _entered = this.span.enter();
        let polled = sending::poll_chunk(&mut this.chunks, context);
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => {
                let len = bytes.len() as u64;
                this.rest = this.rest.saturating_sub(len);
                for counter in &this.download.bytes {
                    counter.inc_by(len);
                }
            }
            Poll::Ready(Some(Err(_))) => {
                this.failed = true;
                this.download.failed();
            }
            _ => {}
        }
        polled
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.failed && self.chunks.has_failed() {
            self.download.failed();
        }
        let metrics = &self.download.metrics;
        metrics.took(Stage::Stream, self.begun.elapsed());
        // A length that is reached is an end: nobody asks whether there is more.
        let reason = match (self.failed || self.chunks.has_failed(), self.rest) {
            (true, _) => Some(Reason::Store),
            (false, 0) => None,
            (false, _) => Some(Reason::Client),
        };
        if let Some(reason) = reason {
            metrics.0.streams_ended_early.get_or_create(&reason.labels()).inc();
        }
        let _entered = self.span.enter();
        tracing::debug!(rest_bytes = self.rest, ended_early = reason.map(Reason::name), "streamed");
    }
}
