//! What can be wrong with an extension.

use std::io;

use extent::{TreeError, TreePath};

/// Why an extension cannot be used, or modules not be indexed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image has no `manifest.yaml` or no `rootfs`.
    #[error("the extension image has no {kind} `{name}`; it must have `manifest.yaml` and `rootfs/`")]
    Missing {
        /// What is missing.
        name: &'static str,
        /// What it should be.
        kind: &'static str,
    },
    /// The image has something beside `manifest.yaml` and `rootfs`.
    #[error("the extension image has `{name}`; it must have `manifest.yaml` and `rootfs/` and nothing else")]
    Unexpected {
        /// The name, at the top of the image.
        name: String,
    },
    /// The manifest is longer than any.
    #[error("`manifest.yaml` has {len} bytes; at most {max} are read")]
    ManifestTooLong {
        /// Its length.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The manifest is not YAML, or not of a manifest's form.
    #[error("`manifest.yaml` is not a manifest")]
    Manifest(#[source] Box<serde_saphyr::Error>),
    /// The manifest is of another version.
    #[error("`manifest.yaml` has version `{found}`; the only one is `{expected}`")]
    ManifestVersion {
        /// What it has.
        found: String,
        /// What it must have.
        expected: &'static str,
    },
    /// The manifest lacks a field that it must have.
    #[error("`manifest.yaml` has no `{field}`")]
    ManifestField {
        /// The field.
        field: &'static str,
    },
    /// A range of versions is not one.
    #[error(
        "`{range}` is not a range of versions: {reason} at `{at}`; right are `>= 1.9.0`, `1.x`, `>= 1.8.0 < 1.10.0 || >= 2.0.0`"
    )]
    Range {
        /// The range, at most 200 characters of it.
        range: String,
        /// The part of it that is wrong.
        at: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The extension is for other versions.
    #[error("extension `{name}` is for versions `{range}`, not for `{version}`")]
    Incompatible {
        /// The extension.
        name: String,
        /// The versions that it is for.
        range: String,
        /// The version asked about.
        version: semver::Version,
    },
    /// A hard link leads to no file.
    #[error("`{path}` is a hard link to `{target}`, which is no file of its layer or of one below")]
    HardLink {
        /// The link.
        path: TreePath,
        /// Where it leads.
        target: TreePath,
    },
    /// Two entries of a layer lie at one place.
    #[error("`{path}` lies at `{place}`, over a symbolic link of a lower layer, and so does another entry")]
    Twice {
        /// The entry.
        path: TreePath,
        /// Where it lies.
        place: TreePath,
    },
    /// The way to an entry leads over too many symbolic links, or in a circle.
    #[error("more than {max} symbolic links lead on from `{path}`")]
    TooManyLinks {
        /// The last of them.
        path: TreePath,
        /// The limit.
        max: usize,
    },
    /// The layers have more entries than those of any image.
    #[error("the layers have more than {max} entries")]
    TooManyEntries {
        /// The limit.
        max: usize,
    },
    /// The names and attributes of the layers are longer than those of any image.
    #[error("the layers have more than {max} bytes of names and attributes")]
    TooMuchText {
        /// The limit.
        max: u64,
    },
    /// An entry cannot be where it is.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Microcode is no file, or a link to none.
    #[error("microcode `{path}` of extension `{name}` is not a regular file")]
    Microcode {
        /// The extension.
        name: String,
        /// The entry.
        path: TreePath,
    },
    /// The content of a file cannot be looked up.
    #[error("reading `{path}`")]
    Content {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The base initramfs is not a run of archives, or is damaged.
    #[error("the base initramfs is not a run of cpio archives, plain or compressed with zstd, xz or gzip")]
    Initramfs(#[source] formats::cpio::Error),
    /// The base initramfs goes on with something unknown.
    #[error("the base initramfs has no archive at byte {offset}, plain or compressed with zstd, xz or gzip")]
    Member {
        /// Where the archive should be.
        offset: u64,
    },
    /// The base initramfs has no root file system.
    #[error("the base initramfs has no `{name}`")]
    NoRootfs {
        /// The name looked for.
        name: &'static str,
    },
    /// The root file system of the base cannot be read.
    #[error("`rootfs.sqsh` of the base cannot be read: {reason}")]
    Rootfs {
        /// What is wrong with it.
        reason: String,
    },
    /// The base does not have the modules of exactly one kernel.
    #[error("the base has the modules of {} kernels below `{path}` instead of one: {}", found.len(), listed(found))]
    Releases {
        /// Where modules are.
        path: TreePath,
        /// The releases that it has.
        found: Vec<String>,
    },
    /// An extension has modules, but none for the kernel of the base.
    #[error("extension `{name}` has modules for {}, not for kernel `{release}` of the base", listed(found))]
    Release {
        /// The extension.
        name: String,
        /// The kernel of the base.
        release: String,
        /// The kernels that the extension has modules for.
        found: Vec<String>,
    },
    /// Modules are more or larger than those of any kernel.
    #[error("the modules are more than {max} {what}")]
    TooLarge {
        /// What they are too many of.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// A module does not unpack.
    #[error("unpacking module `{path}`")]
    Module {
        /// The module, below the directory of its release.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A temporary file or directory cannot be made, written or read.
    #[error("working in the scratch directory `{dir}`")]
    Scratch {
        /// The directory.
        dir: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// `depmod` cannot be run.
    #[error("running `depmod`, which package `kmod` has")]
    Depmod(#[source] io::Error),
    /// `depmod` refuses the modules.
    #[error("`depmod` fails with {status}: {said}")]
    DepmodFailed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said, at most 2000 characters of it.
        said: String,
    },
}

fn listed(names: &[String]) -> String {
    let named: Vec<String> = names.iter().take(5).map(|name| format!("`{name}`")).collect();
    match named.len() {
        0 => "none".to_owned(),
        _ => named.join(", "),
    }
}
