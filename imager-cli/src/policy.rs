//! Whose signatures are asked for, as flags.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cosign::{Policy, PublicKey};

use crate::exit::{Exit, Tag as _};

/// Whose signature an image must have. Nobody is trusted by default: a key is given, or said that none is asked for.
#[derive(clap::Args)]
pub struct PolicyFlags {
    /// Take it only with a signature by this key, PEM as `cosign` writes it
    #[arg(long, value_name = "FILE", required_unless_present = "unsigned")]
    key: Option<PathBuf>,
    /// Take it without asking for a signature
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
}

impl PolicyFlags {
    /// The policy; none where no signature is asked for.
    pub fn policy(&self) -> anyhow::Result<Option<Policy>> {
        self.key.as_deref().map(key).transpose()
    }
}

/// That the owner of the key in the file `path` is believed.
pub fn key(path: &Path) -> anyhow::Result<Policy> {
    let reading = || format!("reading the key `{}`", path.display());
    let pem = std::fs::read_to_string(path).with_context(reading).exit(Exit::Input)?;
    let key = PublicKey::from_pem(&pem).with_context(reading).exit(Exit::Input)?;
    Ok(Policy::Key(key))
}
