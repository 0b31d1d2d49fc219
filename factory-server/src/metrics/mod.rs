//! What is counted and measured, and how Prometheus reads it.
//!
//! Names, labels and buckets of what the reference has are the reference's, so that its dashboards and alerts work.
//! Nothing is built here, so its words mean: *built* is what was planned for the request, *cached* is what was planned
//! before and remembered. What it has not begins with `factory_`.
//!
//! `docs/metrics.md` is this list; a test holds it.
//!
//! Source: OpenMetrics 1.0; the reference's names, and `go-http-metrics` for those of HTTP.

mod download;
mod families;
mod labels;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use imager::{Planning, Standing};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;

use self::families::Kept;
use self::labels::{
    AssetLabels, ExtensionLabels, OTHER, OutcomeLabels, ReasonLabels, RequestLabels, RouteLabels,
    SourceLabels, StageLabels,
};
use crate::cache;

pub use self::download::Download;

/// What the server counts and measures. Clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Kept>);

/// A part of the work on a request, by the name of its span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From names to digests; derivations are in it.
    Resolve,
    /// From digests to extents, the wait for a turn included.
    Plan,
    /// From the first byte to the last, at the pace of the client.
    Stream,
}

/// Why a download ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client went away, took nothing for too long, or the server stopped.
    Client,
    /// The bytes could not be read.
    Store,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is there.
    Done,
    /// It is not there, or not all of it.
    Failed,
    /// It was not begun: too many were waiting.
    Deferred,
}

/// A request on its way: counted as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// `GET /metrics`, for a listener of its own: who reads it learns what clients ask for.
    pub fn routes(&self) -> Router {
        let metrics = self.clone();
        Router::new().route("/metrics", get(async move || metrics.answer()))
    }

    fn answer(&self) -> Response {
        match self.exposition() {
            Ok(text) => ([(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, cache::NEVER)], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "metrics are not written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }

    /// All of it, as OpenMetrics text.
    pub(crate) fn exposition(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    /// A request to the route with the pattern `route`, from now on in flight.
    pub(crate) fn request(&self, route: Option<&str>) -> InFlight {
        let labels = RouteLabels { handler: route.unwrap_or(OTHER).to_owned() };
        InFlight::of(self.0.requests_inflight.get_or_create_owned(&labels))
    }

    /// A request that is over.
    pub(crate) fn answered(
        &self,
        route: Option<&str>,
        method: &Method,
        status: StatusCode,
        duration: Duration,
        size_bytes: u64,
    ) {
        let labels = RequestLabels::new(route.unwrap_or(OTHER), method, status);
        self.0.request_seconds.get_or_create(&labels).observe(duration.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "buckets are a power of ten apart")]
        self.0.response_bytes.get_or_create(&labels).observe(size_bytes as f64);
    }

    /// What `work` gives, with the time it took as that of `stage`.
    pub(crate) async fn timed<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let output = work.await;
        self.took(stage, begun.elapsed());
        output
    }

    /// A stage that is over.
    fn took(&self, stage: Stage, duration: Duration) {
        self.0.stage_seconds.get_or_create(&stage.labels()).observe(duration.as_secs_f64());
    }

    /// An asset that was planned, `duration` after somebody asked for it. Gives back what counts its bytes.
    pub(crate) fn planned(&self, planning: &Planning, duration: Duration) -> Download {
        let Planning { planned, is_remembered, waited, .. } = planning;
        let kept = &*self.0;
        let labels = AssetLabels::of(&planned.lock);
        kept.concurrency_latency.observe(waited.as_secs_f64());
        let (assets, bytes) = if *is_remembered {
            (&kept.assets_cached, &kept.bytes_cached)
        } else {
            kept.build_latency.observe(duration.saturating_sub(*waited).as_secs_f64());
            (&kept.assets_built, &kept.bytes_built)
        };
        assets.get_or_create(&labels).inc();
        for extension in &planned.lock.extensions {
            let labels = ExtensionLabels { extension: extension.name.clone() };
            kept.extension_hits.get_or_create(&labels).inc();
        }
        Download::of_asset(self, &labels, bytes.get_or_create_owned(&labels))
    }

    /// A schematic that was read.
    pub(crate) fn schematic_read(&self) {
        self.0.schematic_get.inc();
    }

    /// A schematic that was taken; `is_known` if it had been before.
    pub(crate) fn schematic_taken(&self, is_known: bool) {
        let counter = if is_known { &self.0.schematic_duplicate } else { &self.0.schematic_create };
        counter.inc();
    }

    /// How it stands with the sources of images.
    pub(crate) fn sources(&self, standings: &[Standing]) {
        for Standing { source, .. } in standings {
            let is_failing = standings.iter().any(|one| one.source == *source && one.is_failing);
            let labels = SourceLabels { source: source.clone() };
            self.0.source_up.get_or_create(&labels).set(i64::from(!is_failing));
        }
    }

    /// An installer image that was to be written through.
    pub(crate) fn pushed(&self, outcome: Outcome) {
        self.0.pushes.get_or_create(&outcome.labels()).inc();
    }

    /// A connection that the system did not hand over.
    pub(crate) fn accept_failed(&self) {
        self.0.accept_errors.inc();
    }
}

impl Stage {
    const ALL: [Self; 3] = [Self::Resolve, Self::Plan, Self::Stream];

    fn labels(self) -> StageLabels {
        let stage = match self {
            Self::Resolve => "resolve",
            Self::Plan => "plan",
            Self::Stream => "stream",
        };
        StageLabels { stage }
    }
}

impl Reason {
    const ALL: [Self; 2] = [Self::Client, Self::Store];

    /// The word for it.
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Store => "store",
        }
    }

    fn labels(self) -> ReasonLabels {
        ReasonLabels { reason: self.name() }
    }
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Deferred];

    fn labels(self) -> OutcomeLabels {
        let outcome = match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Deferred => "deferred",
        };
        OutcomeLabels { outcome }
    }
}

impl InFlight {
    fn of(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    /// Nothing happened yet.
    fn default() -> Self {
        Self(Arc::new(Kept::registered()))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
