//! Whose signature an image has to have, as flags.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cosign::{Keyless, Pattern, Policy, PublicKey, TrustedRoot};

use crate::exit::{Exit, Tag as _};

/// Whose signature an image has to have: a key's, an identity's, or aloud, nobody's. A key is asked before an identity.
#[derive(clap::Args)]
pub struct PolicyFlags {
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    evidence: Evidence,
}

/// Whose signature is believed.
#[derive(clap::Args)]
#[group(id = "trust", required = true, multiple = true)]
struct Trust {
    /// Take it with a signature by this key, PEM as `cosign` writes it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Take it with a signature by an identity (e-mail address, URI of a workflow) in which this regular expression is
    /// found; `^` and `$` anchor it
    #[arg(long, value_name = "REGEXP", requires = "trusted_root", requires = "issuer_of_identity")]
    identity: Option<String>,
    /// Take it without asking for a signature
    #[arg(long, conflicts_with_all = ["key", "identity"])]
    unsigned: bool,
}

/// What an identity is worth.
#[derive(clap::Args)]
struct Evidence {
    /// The OpenID provider that has to know the identity, e.g. `https://accounts.google.com`
    #[arg(long, value_name = "URL", group = "issuer_of_identity", requires = "identity")]
    issuer: Option<String>,
    /// The same as a regular expression
    #[arg(
        long,
        value_name = "REGEXP",
        group = "issuer_of_identity",
        requires = "identity",
        conflicts_with = "issuer"
    )]
    issuer_regexp: Option<String>,
    /// Certificate authorities and logs: Sigstore's `trusted_root.json`; nothing is fetched
    #[arg(long, value_name = "FILE", requires = "identity")]
    trusted_root: Option<PathBuf>,
}

impl PolicyFlags {
    /// The policy, or none where the image is taken as it is.
    pub fn policy(&self) -> anyhow::Result<Option<Policy>> {
        let Self { trust, evidence } = self;
        let mut policies = Vec::new();
        if let Some(path) = &trust.key {
            policies.push(key(path)?);
        }
        if let (Some(identity), Some(path)) = (&trust.identity, &evidence.trusted_root) {
            let identity = Pattern::expression(identity).context("reading `--identity`").exit(Exit::Input)?;
            let [expression, exact] =
                [&evidence.issuer_regexp, &evidence.issuer].map(|text| text.as_deref().unwrap_or_default());
            let issuer =
                Pattern::preferring(expression, exact).context("reading the issuer").exit(Exit::Input)?;
            policies.push(Policy::Keyless(Keyless { trusted_root: trusted_root(path)?, identity, issuer }));
        }
        Ok(match policies.len() {
            0 | 1 => policies.pop(),
            _ => Some(Policy::Any(policies)),
        })
    }
}

/// That the owner of the key in the file `path` is believed.
pub fn key(path: &Path) -> anyhow::Result<Policy> {
    let reading = || format!("reading the key `{}`", path.display());
    let pem = std::fs::read_to_string(path).with_context(reading).exit(Exit::Input)?;
    let key = PublicKey::from_pem(&pem).with_context(reading).exit(Exit::Input)?;
    Ok(Policy::Key(key))
}

fn trusted_root(path: &Path) -> anyhow::Result<TrustedRoot> {
    let reading = || format!("reading the trusted root `{}`", path.display());
    let bytes = std::fs::read(path).with_context(reading).exit(Exit::Input)?;
    TrustedRoot::from_json(&bytes).with_context(reading).exit(Exit::Input)
}
