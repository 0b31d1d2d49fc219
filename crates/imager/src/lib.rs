//! The engine: resolve a request into a lock, plan the lock into extents.
//!
//! Knows versions, profiles, kernel command lines and how boot files are laid out; fetches nothing from a
//! network and speaks no protocol.
//!
//!   path ──▶ Asset ─┐
//!   Schematic ──────┼──resolve──▶ Lock ──plan──▶ Artifact (an ExtentMap with a name)
//!   Version ────────┘

mod arch;
mod asset;
mod cmdline;
mod distribution;
mod error;
mod loader;
pub mod meta;
mod os_release;
mod platform;
pub mod profile;
mod quirks;
mod version;

pub use arch::Arch;
pub use asset::{Asset, AssetKind};
pub use cmdline::{CommandLine, command_line};
pub use distribution::Distribution;
pub use error::{Error, ErrorClass};
pub use loader::loader_conf;
pub use os_release::os_release;
pub use platform::Platform;
pub use profile::Profile;
pub use quirks::Quirks;
pub use version::Version;
