//! `imager push`: an installer image goes to a registry, without having been a file.

use std::path::PathBuf;

use anyhow::Context as _;
use cosign::SigningKey;
use extent::Digest;
use imager::{Factory, InstallerImage, InstallerName, Version};
use remote::{Described, Signatures};
use schematics::Schematic;
use serde::Serialize;

use crate::exit::{Exit, Tag as _, refuse};
use crate::output::Output;
use crate::{schematic, store, transfer};

/// Pushes the installer image of a schematic and a version to a registry, for all architectures.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  imager push registry.example/fleet/installer --version v13.1.0 --unsigned
  imager push registry.example/fleet/installer:v13.1.0 --version v13.1.0 --schematic schematic.yaml --signing-key key.pem
  imager push registry.example/fleet/aws:v13.1.0 --version v13.1.0 --image aws-installer --signing-key key.pem

Layers are streamed as they are planned; what the registry has is not sent again. The digests are those that a factory over
the same store serves. The tag is written last, when image and signatures are there.")]
pub struct Push {
    /// Where to; logins are taken from Docker's configuration [default tag: the version]
    #[arg(value_name = "REGISTRY/NAME[:TAG]")]
    reference: String,
    /// The version, with or without `v`
    #[arg(long)]
    version: Version,
    /// The schematic, YAML or JSON; `-` is standard input [default: the empty schematic]
    #[arg(long, value_name = "FILE")]
    schematic: Option<PathBuf>,
    /// The image: `installer`, or `<platform>-installer`, with `-secureboot` behind it
    #[arg(long, value_name = "NAME", default_value = "installer", value_parser = name)]
    image: InstallerName,
    /// Sign it with this private key, PEM (ECDSA on P-256), in both shapes that `cosign` knows
    #[arg(long, value_name = "FILE", required_unless_present = "unsigned")]
    signing_key: Option<PathBuf>,
    /// Push it without a signature
    #[arg(long, conflicts_with = "signing_key")]
    unsigned: bool,
    /// Speak plain HTTP, and not only on the loopback
    #[arg(long)]
    plain_http: bool,
}

/// What was pushed.
#[derive(Serialize)]
struct Pushed {
    reference: String,
    digest: Digest,
    schematic: String,
    transferred_bytes: u64,
}

fn name(text: &str) -> Result<InstallerName, String> {
    let wanted = "an installer image is `installer` or `<platform>-installer`, with `-secureboot` behind it";
    InstallerName::parse(text).ok_or_else(|| wanted.to_owned())
}

impl Push {
    /// Runs the command.
    pub async fn run(&self, dir: Option<PathBuf>, output: &Output) -> anyhow::Result<()> {
        let mut reference = transfer::reference(&self.reference)?;
        if !self.reference.rsplit('/').next().is_some_and(|last| last.contains([':', '@'])) {
            reference = reference.with_tag(&self.version.to_string()).exit(Exit::Input)?;
        }
        let key = match &self.signing_key {
            Some(path) => {
                let reading = || format!("reading the signing key `{}`", path.display());
                Some(SigningKey::open(path).with_context(reading).exit(Exit::Input)?.0)
            }
            None => None,
        };
        let client = transfer::client(self.plain_http, &[])?;
        let store = store::open(dir)?;
        let factory = Factory::open(store.clone());
        let schematic = match &self.schematic {
            Some(file) => schematic::read(file)?,
            None => Schematic::default(),
        };
        let progress = output.progress();
        progress.step(&format!("resolving `{}`", self.image));
        let image = self.described(&factory, &schematic).await?;
        let id = factory.put_schematic(&schematic).await.context("keeping the schematic")?;

        let described = described(&image);
        let repository = format!("{}/{}", reference.registry(), reference.name());
        let signatures: Vec<(Digest, Signatures)> = match &key {
            Some(key) => image
                .manifests()
                .map(|(media_type, bytes)| {
                    (Digest::of(bytes), Signatures::by(key, &repository, &media_type.into(), bytes))
                })
                .collect(),
            None => Vec::new(),
        };
        let what = format!("pushing `{reference}`");
        let at = |now: remote::Progress| progress.at(&what, now.done, now.total);
        let mut push = remote::Push::new(&store, &client, &reference, &described).on_progress(&at);
        for (subject, signatures) in &signatures {
            push = push.signed(*subject, signatures);
        }
        let pushed = push.run().await.with_context(|| what.clone()).exit(Exit::Dependency)?;
        progress.done();
        let pushed = Pushed {
            reference: reference.to_string(),
            digest: pushed.digest,
            schematic: id.to_string(),
            transferred_bytes: pushed.sent_len,
        };
        output.value(&pushed, |out| writeln!(out, "{}", pushed.digest))
    }

    /// The image, in parts.
    async fn described(&self, factory: &Factory, schematic: &Schematic) -> anyhow::Result<InstallerImage> {
        let resolving = || format!("resolving `{}` of version {}", self.image, self.version);
        let resolved = factory
            .resolve_installers(schematic, &self.version, &self.image)
            .await
            .with_context(resolving)?;
        if resolved.is_empty() {
            let text = format!("version {} has no boot files for any architecture", self.version);
            return refuse(Exit::Unsupported, text);
        }
        factory.installer_image(resolved).await.with_context(|| format!("planning `{}`", self.image))
    }
}

/// The image, for a registry.
fn described(image: &InstallerImage) -> Described {
    let mut documents = image.manifests().map(|(media_type, bytes)| (media_type.into(), bytes.clone()));
    let top = documents.next().expect("the index comes first");
    Described::new(top, documents, image.blobs())
}
