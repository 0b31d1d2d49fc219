//! Planning: from a lock to extents. Pure, synchronous, a few milliseconds whatever the size.

use extent::ExtentMap;

use crate::{AssetKind, Error, Resolved, command_line};

/// Changes whenever the same lock would give other bytes.
pub const PLANNER_REVISION: u32 = 1;

/// The time of everything that has one: 1 June 2019, 21:21:32 UTC, which is the reference's.
pub const EPOCH: u32 = 1_559_424_892;

/// An asset, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The name of the file.
    pub name: String,
    /// The media type.
    pub media_type: &'static str,
    /// The bytes.
    pub extents: ExtentMap,
}

/// The asset that `resolved` describes. Reads nothing.
///
/// # Errors
/// `NotYet`; the errors of the formats when something does not fit.
pub fn plan(resolved: &Resolved) -> Result<Artifact, Error> {
    let lock = &resolved.lock;
    let extents = match lock.asset.kind() {
        AssetKind::Cmdline => ExtentMap::inline(command_line(&lock.profile, &[])?.to_string().into_bytes()),
        AssetKind::Kernel => blob(&boot_files(lock)?.kernel),
        _ => return Err(Error::NotYet { what: format!("`{}`", lock.asset) }),
    };
    Ok(Artifact { name: lock.asset.to_string(), media_type: lock.asset.media_type(), extents })
}

fn boot_files(lock: &crate::Lock) -> Result<&crate::lock::BootFiles, Error> {
    lock.boot_files.as_ref().ok_or(Error::Missing { what: "boot files" })
}

fn blob(descriptor: &store::Descriptor) -> ExtentMap {
    ExtentMap::blob(descriptor.digest, 0, descriptor.len)
}
