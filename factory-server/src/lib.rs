//! The factory as an HTTP service.
//!
//! Knows status codes and header fields; knows no formats. A request becomes a description of bytes in the engine,
//! the description becomes an answer here.
//!
//!   path ──▶ schematic, version, asset ──engine──▶ ExtentMap ──Representation──▶ Answer ──store──▶ bytes

mod access;
mod cache;
pub mod config;
mod cors;
mod disposition;
mod document;
mod error;
mod image;
mod metrics;
mod openapi;
mod opening;
pub mod precondition;
mod problem;
mod progress;
mod pxe;
pub mod range;
mod registry;
mod representation;
mod routes;
mod schematic;
mod sending;
mod server;
mod site;
mod sources;
mod talosctl;
mod tls;
mod version;

pub use metrics::Metrics;
pub use registry::{External, ExternalError};
pub use routes::routes;
pub use server::{Settings, serve};
pub use site::Site;
pub use sources::refresh;
pub use tls::{Tls, TlsError};
