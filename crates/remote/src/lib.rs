//! Images in other registries: pulled into the store, pushed out of it.
//!
//! ```text
//! reference ── tag ─▶ digest ── signature believed? ─▶ index ─▶ manifests ─▶ configurations, layers ─▶ tag
//!             HEAD             before a byte of the                several at a time, what the      in the
//!                              image is looked at                  store has is skipped             store, last
//! ```
//!
//! A registry is somebody else: everything that comes from one has a limit, a time-out and a digest, and is named in
//! the store when it has turned out to be what it was said to be. After the tag was resolved everything is asked
//! for by digest, so a tag that moves meanwhile cannot mix two images; and the tag in the store is written last, so a
//! pull that breaks leaves none.
//!
//! What is pushed is described, and streamed as every asset is: a layer of the store is a map with one extent. Images also
//! come from and go into OCI image layouts, directories and files, under the same rules.
//!
//! Knows no image format: what is in layers is the rooms' above. HTTP/1.1; certificates are judged by the
//! authorities of the system (`SSL_CERT_FILE` names others).
//!
//! Sources: OCI distribution specification 1.1; OCI image specification 1.1; distribution, token authentication.

mod archive;
mod auth;
mod blob;
mod client;
mod credentials;
mod described;
mod error;
mod flight;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod helper;
mod http;
mod image;
mod layout;
mod mirrors;
mod options;
mod proxy;
mod pull;
mod push;
mod reference;
mod retry;
mod signature;
mod source;
mod tags;

pub use archive::archive;
pub use client::{Client, MAX_MANIFEST_LEN, Manifest};
pub use credentials::Credentials;
pub use described::Described;
pub use error::{Error, Login};
pub use image::{Platform, media_type};
pub use layout::Layout;
pub use mirrors::{Mirror, Mirrors};
pub use options::{Options, PlainHttp};
pub use proxy::Proxies;
pub use pull::{Progress, Pull, Pulled, pull};
pub use push::{Push, Pushed, push};
pub use reference::{Reference, Registry};
pub use signature::Signatures;
