//! The engine: resolve a request into a lock, plan the lock into extents.
//!
//! Knows versions, profiles, kernel command lines and how boot files are laid out; speaks no protocol. What is not in the
//! store is pulled from [`Sources`], if it is given some; without, nothing is fetched from a network.
//!
//! ```text
//! path ──▶ Asset ─┐
//! Schematic ──────┼──resolve──▶ Lock ──plan──▶ Artifact (an ExtentMap with a name)
//! Version ────────┘
//! ```

mod arch;
mod asset;
mod checksum;
mod cmdline;
mod distribution;
mod error;
mod factory;
mod installer_name;
mod loader;
pub mod lock;
pub mod meta;
mod os_release;
mod plan;
mod platform;
pub mod profile;
mod quirks;
mod request;
mod resolve;
mod sources;
mod table;
mod version;

pub use arch::Arch;
pub use asset::{Asset, AssetKind};
pub use checksum::Checksum;
pub use cmdline::{CommandLine, command_line};
pub use distribution::Distribution;
pub use error::{Error, ErrorClass};
pub use factory::{Factory, Planned, Planning, Resolved};
pub use installer_name::InstallerName;
pub use loader::loader_conf;
pub use lock::Lock;
pub use os_release::os_release;
pub use plan::{
    Artifact, CONFIG, EPOCH, INDEX, Installer, InstallerImage, InstallerLayer, MANIFEST, PLANNER_REVISION,
    installer, plan,
};
pub use platform::Platform;
pub use profile::Profile;
pub use quirks::Quirks;
pub use resolve::{Offer, OverlayOffer, SOURCE_IMAGES};
pub use sources::{
    CORE, Components, Core, FurtherCatalogue, IMAGES_AT_ONCE, Lists, Origin, Sources, Standing, Wanted,
};
pub use table::{Row, rows, table};
pub use version::Version;
