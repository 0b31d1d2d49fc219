//! Label sets.
//!
//! Nothing that a client writes becomes a label: versions and names are those of a catalogue in which they were found,
//! everything else is one of a few words of ours.

use axum::http::{Method, StatusCode};
use imager::Lock;
use imager::profile::OutputKind;
use prometheus_client::encoding::EncodeLabelSet;

/// An asset, as the reference labels it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AssetLabels {
    talos_version: String,
    output_kind: &'static str,
    arch: &'static str,
}

/// What streams are of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabels {
    /// The output kind of an asset, or `talosctl`.
    pub output_kind: &'static str,
}

/// A name of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ExtensionLabels {
    /// As the catalogue has it.
    pub extension: String,
}

/// A part of the work.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabels {
    /// The name of its span.
    pub stage: &'static str,
}

/// Why something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    /// Whose doing it was.
    pub reason: &'static str,
}

/// Where source images come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabels {
    /// `core`, or the name of a further catalogue.
    pub source: String,
}

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `done`, `failed` or `deferred`.
    pub outcome: &'static str,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// The pattern of the route.
    pub handler: String,
}

/// A request and its answer, as the reference labels them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The pattern of the route.
    pub handler: String,
    /// The method.
    pub method: &'static str,
    /// The status.
    pub code: u16,
}

/// The label of a download of a command-line client, which is no asset.
pub const TALOSCTL: &str = "talosctl";
/// The label of a download of a blob of an image.
pub const BLOB: &str = "blob";
/// What stands for a text that is the client's.
pub const OTHER: &str = "other";

impl AssetLabels {
    /// Those of the asset of `lock`, whose version was found.
    pub fn of(lock: &Lock) -> Self {
        Self {
            talos_version: lock.version.to_string(),
            output_kind: lock.profile.output.kind.name(),
            arch: lock.asset.arch().name(),
        }
    }

    /// The output kind.
    pub fn output_kind(&self) -> &'static str {
        self.output_kind
    }
}

impl KindLabels {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        let kinds = OutputKind::ALL.iter().filter(|kind| !kind.is_zero()).map(|kind| kind.name());
        kinds.chain([TALOSCTL, BLOB]).map(|output_kind| Self { output_kind })
    }
}

impl RequestLabels {
    /// Those of a request to `handler`.
    pub fn new(handler: &str, method: &Method, status: StatusCode) -> Self {
        Self { handler: handler.to_owned(), method: word(method), code: status.as_u16() }
    }
}

/// The method, if it is one of those that everybody knows.
fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => OTHER,
    }
}
