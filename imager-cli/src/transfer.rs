//! `imager store pull` and `push`: images from and to registries.

use ::store::Store;
use anyhow::Context as _;
use extent::Digest;
use remote::{Client, Credentials, Described, Mirror, Options, PlainHttp, Proxies, Reference};
use serde::Serialize;

use crate::exit::{Exit, Tag as _, refuse, refuse_hint};
use crate::output::Output;
use crate::policy::PolicyFlags;
use crate::wait;

/// Pulls an image from a registry.
#[derive(clap::Args)]
pub struct Pull {
    /// The image, e.g. `registry.example/siderolabs/imager:v13.1.0`; logins are taken from Docker's or podman's configuration
    #[arg(value_name = "REGISTRY/NAME:TAG")]
    reference: String,
    #[command(flatten)]
    policy: PolicyFlags,
    /// Speak plain HTTP, and not only on the loopback
    #[arg(long)]
    plain_http: bool,
    /// Ask this mirror first, e.g. `ghcr.io=harbor.example/ghcr-proxy`, `*=http://mirror.example:5000`; may be repeated
    #[arg(long, value_name = "REGISTRY=MIRROR[/PATH]")]
    mirror: Vec<Mirror>,
}

/// Pushes an image of the store.
#[derive(clap::Args)]
pub struct Push {
    /// The image in the store, e.g. `siderolabs/imager:v13.1.0`
    #[arg(value_name = "REPOSITORY:TAG")]
    image: String,
    /// Where to, e.g. `registry.example/mirror/imager:v13.1.0`; logins are taken from Docker's or podman's configuration
    #[arg(value_name = "REGISTRY/NAME:TAG")]
    reference: String,
    /// Speak plain HTTP, and not only on the loopback
    #[arg(long)]
    plain_http: bool,
}

/// What was transferred.
#[derive(Serialize)]
struct Transferred {
    digest: Digest,
    transferred_bytes: u64,
}

impl Pull {
    /// Runs the command.
    pub fn run(&self, store: &Store, output: &Output) -> anyhow::Result<()> {
        let policy = self.policy.policy()?;
        let reference = reference(&self.reference)?;
        let client = client(self.plain_http, &self.mirror)?;
        let progress = output.progress();
        let at = |now: remote::Progress| progress.at("pulling", now.done, now.total);
        let mut pull = remote::Pull::new(store, &client, &reference).on_progress(&at);
        if let Some(policy) = &policy {
            pull = pull.verified_by(policy);
        }
        let context = || format!("pulling `{}`", self.reference);
        let pulled = wait(async { pull.run().await.with_context(context).exit(Exit::Dependency) });
        progress.done();
        let pulled = pulled?;
        say(output, pulled.digest, pulled.fetched_len)
    }
}

impl Push {
    /// Runs the command.
    pub fn run(&self, store: &Store, output: &Output) -> anyhow::Result<()> {
        let Some((repository, tag)) = self.image.rsplit_once(':') else {
            return refuse(Exit::Input, format!("{:?} has no tag: an image is `REPOSITORY:TAG`", self.image));
        };
        let Some(descriptor) = store.resolve_tag(repository, tag).exit(Exit::Input)? else {
            let missing = format!("the store has no `{}`", self.image);
            return refuse_hint(Exit::Input, missing, "`imager store resolve` names the nearest there are");
        };
        let reference = reference(&self.reference)?;
        let client = client(self.plain_http, &[])?;
        let progress = output.progress();
        let at = |now: remote::Progress| progress.at("pushing", now.done, now.total);
        let context = || format!("pushing `{}`", self.reference);
        let push = async {
            let image = Described::in_store(store, &descriptor).await?;
            remote::Push::new(store, &client, &reference, &image).on_progress(&at).run().await
        };
        let pushed = wait(async { push.await.with_context(context).exit(Exit::Dependency) });
        progress.done();
        let pushed = pushed?;
        say(output, pushed.digest, pushed.sent_len)
    }
}

/// The image that `text` names.
pub fn reference(text: &str) -> anyhow::Result<Reference> {
    text.parse::<Reference>().exit(Exit::Input)
}

/// A client with the logins of Docker's configuration, which asks `mirrors` first.
pub fn client(plain_http: bool, mirrors: &[Mirror]) -> anyhow::Result<Client> {
    let mut options = Options::default();
    options.credentials = Credentials::from_env().exit(Exit::Input)?;
    options.proxies = Proxies::from_env().exit(Exit::Input)?;
    for mirror in mirrors {
        options.mirrors = options.mirrors.with(mirror.clone()).exit(Exit::Input)?;
    }
    if plain_http {
        options.plain_http = PlainHttp::Always;
    }
    Ok(Client::new(options))
}

fn say(output: &Output, digest: Digest, transferred_bytes: u64) -> anyhow::Result<()> {
    let transferred = Transferred { digest, transferred_bytes };
    output.value(&transferred, |out| writeln!(out, "{digest}"))
}
