//! Debian's source images in a real registry, signed: a factory with an empty store makes of them what the seeded one
//! makes.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/remote/tests/support/mod.rs"]
mod registries;

use common::{Server, field};
use cosign::{Policy, SignatureImage, SigningKey};
use extent::Digest;
use factory_server::Site;
use imager::{Components, Core, Factory, Origin, Sources};
use registries::{Program, put_signature};
use remote::{Client, Described, Reference};
use seed::Suite;
use serde_json::Value;
use store::Store;

/// Images of a version by tag.
const CORE: [&str; 4] =
    ["siderolabs/imager", "siderolabs/installer-base", "siderolabs/extensions", "siderolabs/overlays"];
const SCHEMATIC: &str = "customization: {systemExtensions: {officialExtensions: [siderolabs/qemu-guest-agent, \
                         siderolabs/iscsi-tools]}}";

fn client() -> Client {
    registries::client_with(|options| options.stall = std::time::Duration::from_secs(30))
}

/// Pushes the images of `version` and those that its catalogue lists to `host`, each with a signature, and brings them into
/// `copy`: the seeded store is others' too, and is only read.
async fn spread(from: &Store, version: &str, host: &str, key: &SigningKey, copy: &Store) {
    let dir = tempfile::tempdir().unwrap();
    let signatures = Store::open(dir.path()).unwrap();
    let factory = Factory::open(from.clone());
    let offers = factory.extensions(&version.parse().unwrap()).await.unwrap();
    let listed = offers.into_iter().map(|offer| offer.reference.split_once('/').unwrap().1.to_owned());
    for image in CORE.iter().map(|name| format!("{name}:{version}")).chain(listed) {
        let (name, tag) = image.rsplit_once(':').unwrap();
        let descriptor = from.resolve_tag(name, tag).unwrap().unwrap();
        let reference: Reference = format!("{host}/{image}").parse().unwrap();
        let image = Described::in_store(from, &descriptor).await.unwrap();
        remote::push(from, &client(), &reference, &image).await.unwrap();
        remote::pull(copy, &client(), &reference, None).await.unwrap();
        let digest: Digest = descriptor.digest().to_string().parse().unwrap();
        let (tag, signature) = put_signature(&signatures, &digest, &SignatureImage::new(key, name, &digest));
        let signature = Described::in_store(&signatures, &signature).await.unwrap();
        remote::push(&signatures, &client(), &reference.with_tag(&tag).unwrap(), &signature).await.unwrap();
    }
}

/// The digest of what is at `path`.
async fn digest(server: &Server, path: &str) -> Digest {
    let response = server.get(path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    Digest::of(&response.bytes().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factory_that_pulls_makes_the_bytes_of_the_seeded_one() {
    let Some(seeded) = ci::seeded(Suite::Trixie) else { return };
    let Some(program) = Program::start() else { return };
    let (version, key) = (seeded.version, SigningKey::generate().unwrap());
    let from = Store::open(&seeded.dir).unwrap();
    let (dir, full_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let full = Store::open(full_dir.path()).unwrap();
    spread(&from, &version, &program.host, &key, &full).await;

    let origin = Origin {
        registry: program.host.parse().unwrap(),
        namespace: String::new(),
        client: client(),
        policy: Some(Policy::Key(key.public_key())),
    };
    let core = Some(Core { origin, components: Components::default() });
    let sources = Sources { core, ..Sources::default() };
    let factory = Factory::open(Store::open(dir.path()).unwrap()).with_sources(sources);
    let pulling = Server::at(factory, Site::default()).await;
    let full = Server::at(Factory::open(full), Site::default()).await;

    let versions: Value = pulling.get("/versions").send().await.unwrap().json().await.unwrap();
    assert_eq!(versions, serde_json::json!([version]));
    let taken: Value = pulling.post(SCHEMATIC).await.json().await.unwrap();
    let id = taken["id"].as_str().unwrap();
    assert_eq!(full.post(SCHEMATIC).await.status(), pulling.post(SCHEMATIC).await.status());
    for path in [
        format!("/version/{version}/extensions/official"),
        format!("/version/{version}/overlays/official"),
        format!("/image/{id}/{version}/metal-amd64.raw.zst"),
        format!("/image/{id}/{version}/initramfs-arm64.xz"),
        format!("/v2/installer/{id}/manifests/{version}"),
    ] {
        assert_eq!(digest(&pulling, &path).await, digest(&full, &path).await, "{path}");
    }
    let manifest = format!("/v2/installer/{id}/manifests/{version}");
    let named = |response: &reqwest::Response| field(response, "docker-content-digest");
    let here = named(&pulling.head(&manifest).send().await.unwrap());
    assert!(here.starts_with("sha256:"));
    assert_eq!(here, named(&full.head(&manifest).send().await.unwrap()));
    assert!(pulling.store.scrub(&|_| ()).unwrap().is_clean());
}
