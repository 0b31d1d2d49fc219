//! The metrics themselves: names, help, buckets.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::labels::{
    AssetLabels, ExtensionLabels, KindLabels, OutcomeLabels, ReasonLabels, RequestLabels, RouteLabels,
    SourceLabels, StageLabels,
};
use super::{Outcome, Reason, Stage};

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All of them, and the registry that exposes them.
pub(super) struct Kept {
    pub(super) registry: Registry,
    pub(super) assets_cached: Family<AssetLabels, Counter>,
    pub(super) assets_built: Family<AssetLabels, Counter>,
    pub(super) bytes_cached: Family<AssetLabels, Counter>,
    pub(super) bytes_built: Family<AssetLabels, Counter>,
    pub(super) cached_errors: Family<AssetLabels, Counter>,
    pub(super) concurrency_latency: Histogram,
    pub(super) build_latency: Histogram,
    pub(super) schematic_get: Counter,
    pub(super) schematic_create: Counter,
    pub(super) schematic_duplicate: Counter,
    pub(super) extension_hits: Family<ExtensionLabels, Counter>,
    pub(super) request_seconds: Histograms<RequestLabels>,
    pub(super) response_bytes: Histograms<RequestLabels>,
    pub(super) requests_inflight: Family<RouteLabels, Gauge>,
    pub(super) stage_seconds: Histograms<StageLabels>,
    pub(super) streamed_bytes: Family<KindLabels, Counter>,
    pub(super) streams_inflight: Gauge,
    pub(super) streams_ended_early: Family<ReasonLabels, Counter>,
    pub(super) accept_errors: Counter,
    pub(super) source_up: Family<SourceLabels, Gauge>,
    pub(super) pushes: Family<OutcomeLabels, Counter>,
}

/// The reference's, which builds for minutes.
const BUILD_BUCKETS_S: [f64; 5] = [1.0, 10.0, 60.0, 180.0, 600.0];
/// The reference's, which are those that Prometheus's own client for Go has.
const REQUEST_BUCKETS_S: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The reference's: a hundred bytes to a gigabyte.
const RESPONSE_BUCKETS: [f64; 8] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Half a millisecond, which a plan takes, to half an hour, which a download takes.
const STAGE_BUCKETS_S: [f64; 17] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0, 1800.0,
];

impl Kept {
    /// All, registered; nothing happened yet.
    pub(super) fn registered() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let requests: fn() -> Histogram = || Histogram::new(REQUEST_BUCKETS_S);
        let responses: fn() -> Histogram = || Histogram::new(RESPONSE_BUCKETS);
        let stages: fn() -> Histogram = || Histogram::new(STAGE_BUCKETS_S);
        let kept = Self {
            assets_built: put(
                r,
                "image_factory_assets_built",
                "Requests for an asset, or for what can be said of it, that were planned anew: the first of an image \
                 since the start, or since its plan was forgotten",
                Family::default(),
            ),
            assets_cached: put(
                r,
                "image_factory_assets_delivered_cached",
                "The same requests whose plan was remembered",
                Family::default(),
            ),
            bytes_built: put(
                r,
                "image_factory_assets_built_bytes",
                "Bytes of assets that were taken by clients whose request was planned anew",
                Family::default(),
            ),
            bytes_cached: put(
                r,
                "image_factory_assets_cached_bytes",
                "Bytes of assets that were taken by clients whose plan was remembered",
                Family::default(),
            ),
            cached_errors: put(
                r,
                "image_factory_assets_cached_errors",
                "Downloads of assets whose bytes the store could not give, before their first byte or after it",
                Family::default(),
            ),
            concurrency_latency: put(
                r,
                "image_factory_assets_concurrency_latency_seconds",
                "How long requests waited for their turn to be planned",
                Histogram::new(BUILD_BUCKETS_S),
            ),
            build_latency: put(
                r,
                "image_factory_assets_build_latency_seconds",
                "How long it took to resolve and plan anew, derivations included, the wait for the turn not",
                Histogram::new(BUILD_BUCKETS_S),
            ),
            schematic_get: put(
                r,
                "image_factory_schematic_get",
                "Schematics that were read, for whatever request",
                Counter::default(),
            ),
            schematic_create: put(
                r,
                "image_factory_schematic_create",
                "Schematics that were taken and were new",
                Counter::default(),
            ),
            schematic_duplicate: put(
                r,
                "image_factory_schematic_duplicate_create",
                "Schematics that were taken and had been before",
                Counter::default(),
            ),
            extension_hits: put(
                r,
                "image_factory_profile_system_extension_hits",
                "Requests for an asset that has the extension, by its name in the catalogue",
                Family::default(),
            ),
            request_seconds: put(
                r,
                "http_request_duration_seconds",
                "From the header of a request to the last byte of its answer",
                Family::new_with_constructor(requests),
            ),
            response_bytes: put(
                r,
                "http_response_size_bytes",
                "The bodies of answers, as far as they were taken",
                Family::new_with_constructor(responses),
            ),
            requests_inflight: put(
                r,
                "http_requests_inflight",
                "Requests whose answer has not ended",
                Family::default(),
            ),
            stage_seconds: put(
                r,
                "factory_stage_seconds",
                "How long the stages of a request took, whatever came of them: resolve (pulls and derivations \
                 included), plan (the wait for a turn included), stream (at the pace of the client)",
                Family::new_with_constructor(stages),
            ),
            streamed_bytes: put(
                r,
                "factory_streamed_bytes",
                "Bytes of downloads that were taken by clients",
                Family::default(),
            ),
            streams_inflight: put(
                r,
                "factory_streams_inflight",
                "Downloads that have begun and not ended",
                Gauge::default(),
            ),
            streams_ended_early: put(
                r,
                "factory_streams_ended_early",
                "Downloads that ended before their last byte: the client went away or was cut (client), the bytes \
                 could not be read (store)",
                Family::default(),
            ),
            accept_errors: put(
                r,
                "factory_accept_errors",
                "Connections that the system did not hand over, as when there are too many open files",
                Counter::default(),
            ),
            source_up: put(
                r,
                "factory_source_up",
                "Whether a source of images answered when it was asked last (1); else its lists are those of before (0)",
                Family::default(),
            ),
            pushes: put(
                r,
                "factory_pushes",
                "Installer images that were written through to another registry (done), could not be (failed), or found no \
                 place to wait and will be when they are asked for again (deferred)",
                Family::default(),
            ),
            registry: Registry::default(),
        };
        put(
            r,
            "image_factory_schematic_cache_size",
            "Schematics in memory: always 0, because they are read where they lie",
            Gauge::<i64>::default(),
        );
        r.register("factory_build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        kept.begin();
        Self { registry, ..kept }
    }

    /// Makes the series that are known from the beginning: a rate sees no first step from nothing.
    fn begin(&self) {
        for labels in KindLabels::all() {
            drop(self.streamed_bytes.get_or_create(&labels));
        }
        for stage in Stage::ALL {
            drop(self.stage_seconds.get_or_create(&stage.labels()));
        }
        for outcome in Outcome::ALL {
            drop(self.pushes.get_or_create(&outcome.labels()));
        }
        for reason in Reason::ALL {
            drop(self.streams_ended_early.get_or_create(&reason.labels()));
        }
    }
}

/// Puts `metric` into `registry`. Counters get `_total` behind their name, infos `_info`, help its full stop.
fn put<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}
