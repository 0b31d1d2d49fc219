//! Extensions: what is added to an image, from its OCI layers to parts of an initramfs.
//!
//! Flattens and checks extension images, splits them, lists them for the booted system and indexes their kernel
//! modules together with those of the base. Pulls nothing, keeps nothing and makes no squashfs: bytes are looked
//! up with [`extent::Blobs`], and who has a store remembers what is derived. One tool is run, `depmod`.
//!
//!   [Stack] ──▶ [Extension] ──▶ [Parts] ─┬─▶ microcode ──▶ kernel/x86/microcode/*.bin, in front of the base
//!   of layers   manifest       split    ├─▶ firmware  ──▶ usr/lib/firmware in the initramfs
//!              rootfs                   ├─▶ layer     ──▶ N.sqsh, listed by extensions.yaml
//!                                       └─▶ layer     ──▶ modules.dep.sqsh, with the modules of the base
//!
//! Everything in an image from elsewhere is hostile: names, sizes, targets, the manifest.

mod error;
mod extension;
mod inodes;
mod layers;
mod lint;
mod manifest;
mod microcode;
mod modules;
mod parts;
mod range;
mod stack;
mod virtuals;

pub use error::Error;
pub use extension::Extension;
pub use inodes::union;
pub use layers::{Layer, MODULES_IMAGE, image, layer_order, layers_yaml};
pub use lint::{Finding, lint};
pub use manifest::{MANIFEST_VERSION, Manifest};
pub use modules::modules_dep;
pub use parts::{Parts, Paths};
pub use range::Range;
pub use stack::Stack;
pub use virtuals::{embedded_config, schematic};
