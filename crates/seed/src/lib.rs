//! A complete set of source images made from Debian packages.
//!
//! Takes kernel, userland, firmware and programs as Debian ships them, and gives them the form that an image
//! factory consumes: so that everything runs on a machine that reaches nothing but its package archive. Neither
//! installs anything nor needs root; compiles nothing; decides nothing about images made from the set.
//!
//! ```text
//! repository : tag                                image
//!
//! siderolabs/imager : v13.2.0                     linux/amd64, one layer for each architecture seeded
//!     usr/install/amd64/vmlinuz                     Debian's kernel
//!                      /initramfs.xz                zstd(cpio(init layers.awk bin/busybox modules/ rootfs.sqsh))
//!                      /systemd-boot.efi
//!                      /systemd-stub.efi
//!     usr/install/arm64/…
//! siderolabs/installer-base : v13.2.0             index: linux/amd64, linux/arm64
//!     usr/bin/busybox, usr/bin/installer
//! siderolabs/extensions : v13.2.0                 linux/amd64
//!     image-digests                                 debian.invalid/siderolabs/<name>:<tag>@sha256:<index>
//!     descriptions.yaml                             the same line: {author, description}
//! siderolabs/overlays : v13.2.0                   linux/amd64
//!     overlays.yaml                                 overlays: []
//! siderolabs/<extension> : <upstream>-v13.2.0     index: linux/amd64, linux/arm64 (microcode: amd64)
//!     manifest.yaml
//!     rootfs/usr/…
//! ```
//!
//! Layers are uncompressed tar archives. `v12.<point>.0` is bookworm and `v13.<point>.0` trixie, each at its point
//! release, with the updates and security updates of the day. `dev.imager.packages` annotates each manifest, and
//! each layer of `imager`, with the packages in it.
//!
//! The same packages give the same bytes, whatever the place of the store, the number of threads and the time; the
//! index of the modules also depends on the version of `depmod`.
//!
//! Source: factory behaviour, §6 (what is consumed); imager specification, §4 (extensions, the contract of the
//! boot), §9 (installer).

mod apt;
mod catalogue;
mod deb;
mod debian;
mod error;
mod extension;
#[doc(hidden)]
pub mod foreign;
mod initramfs;
mod installer;
mod modules;
mod oci;
mod packages;
mod part;
mod progress;
mod publish;
mod rootfs;
mod scratch;
mod suite;
mod tree;

pub use apt::Mirrors;
pub use deb::DebError;
pub use debian::{Options, Set, debian};
pub use error::Error;
pub use progress::{OnProgress, Progress};
pub use suite::{Arch, NameError, Suite};

/// The time of everything that is made: seconds since 1970.
///
/// Source: the reference's `SOURCE_DATE_EPOCH`.
pub(crate) const EPOCH: u32 = 1_559_424_892;
