//! Stock clients of registries, against ours: what they pull, check, unpack and verify.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use common::Server;
use cosign::SigningKey;
use factory_server::Site;
use serde_json::Value;
use support::{Made, SCHEMATIC, VERSION, complete};

/// A server with a key, and a directory for what clients write.
struct Factory {
    made: Made,
    server: Server,
    id: String,
    dir: tempfile::TempDir,
}

impl Factory {
    async fn start() -> Self {
        let made = complete();
        let key = SigningKey::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key.pub"), key.public_key_pem()).unwrap();
        let other = SigningKey::generate().unwrap();
        fs::write(dir.path().join("other.pub"), other.public_key_pem()).unwrap();
        let mut site = Site::default();
        site.signer = Some(Arc::new(key));
        let server = Server::at(made.factory.clone(), site).await;
        let taken: Value = server.post(SCHEMATIC).await.json().await.unwrap();
        let id = taken["id"].as_str().unwrap().to_owned();
        Self { made, server, id, dir }
    }

    /// `HOST:PORT/installer/<schematic>`.
    fn repository(&self) -> String {
        format!("{}/installer/{}", self.server.url.strip_prefix("http://").unwrap(), self.id)
    }

    fn image(&self) -> String {
        format!("{}:{VERSION}", self.repository())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a client in the directory.
    async fn run(&self, tool: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(tool);
        command.args(args).current_dir(self.dir.path()).env("HOME", self.dir.path()).env("NO_PROXY", "*");
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The same; it must succeed. What it prints.
    async fn ok(&self, tool: &Path, args: &[&str]) -> String {
        let output = self.run(tool, args).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{} {args:?}: {out}{err}", tool.display());
        out.trim().to_owned()
    }

    /// Downloads `asset` into the directory.
    async fn download(&self, asset: &str) {
        let response =
            self.server.get(&format!("/image/{}/{VERSION}/{asset}", self.id)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{asset}");
        fs::write(self.path(asset), response.bytes().await.unwrap()).unwrap();
    }

    /// The digest of the index, and of the manifest for each architecture, as the server says.
    async fn digests(&self) -> (String, BTreeMap<String, String>) {
        let path = format!("/v2/installer/{}/manifests/{VERSION}", self.id);
        let response = self.server.get(&path).send().await.unwrap();
        let index = common::field(&response, "docker-content-digest");
        let body: Value = response.json().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let manifests = body["manifests"].as_array().unwrap().iter();
        let of = |one: &Value| (text(&one["platform"]["architecture"]), text(&one["digest"]));
        (index, manifests.map(of).collect())
    }

    /// What is in the boot layer for `arch`: names and lengths.
    async fn expected(&self, arch: &str) -> BTreeMap<String, u64> {
        let (_, artifact) = self.made.plan(SCHEMATIC, &format!("installer-{arch}.tar")).await;
        let mut bytes = Vec::new();
        self.made.store.write_to(&artifact.extents, &mut bytes).unwrap();
        let mut files = BTreeMap::from([("usr/bin/installer".to_owned(), arch.len() as u64)]);
        let mut archive = tar::Archive::new(bytes.as_slice());
        for entry in archive.entries().unwrap() {
            // The layer is a file of the archive, and an archive itself.
            let Ok(inner) = tar::Archive::new(entry.unwrap()).entries().map(|entries| {
                entries
                    .map_while(Result::ok)
                    .filter(|entry| entry.header().entry_type().is_file())
                    .map(|entry| (entry.path().unwrap().display().to_string(), entry.size()))
                    .collect::<Vec<_>>()
            }) else {
                continue;
            };
            files.extend(inner.into_iter().filter(|(path, _)| path.starts_with("usr/install/")));
        }
        assert_eq!(files.len(), 3);
        files
    }
}

/// The files below `dir`, with their lengths.
fn files(dir: &Path, below: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(below).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(files(dir, &entry.path()));
        } else {
            found.insert(entry.path().strip_prefix(dir).unwrap().display().to_string(), metadata.len());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn crane_validates_pulls_and_unpacks_both_architectures() {
    let Some(crane) = ci::tool("crane") else { return };
    let factory = Factory::start().await;
    let (index, manifests) = factory.digests().await;
    let image = factory.image();
    assert_eq!(factory.ok(&crane, &["digest", "--insecure", &image]).await, index);
    assert_eq!(factory.ok(&crane, &["ls", "--insecure", &factory.repository()]).await, VERSION);
    // Not its layers: crane reads all of them as gzip, and these are not compressed.
    factory.ok(&crane, &["validate", "--fast", "--insecure", "--remote", &image]).await;
    for (arch, digest) in &manifests {
        let platform = format!("linux/{arch}");
        assert_eq!(
            factory.ok(&crane, &["digest", "--insecure", "--platform", &platform, &image]).await,
            *digest
        );
        let file = format!("{arch}.tar");
        factory.ok(&crane, &["export", "--insecure", "--platform", &platform, &image, &file]).await;
        let mut archive = tar::Archive::new(fs::File::open(factory.path(&file)).unwrap());
        let unpacked = factory.path(arch);
        archive.unpack(&unpacked).unwrap();
        assert_eq!(files(&unpacked, &unpacked), factory.expected(arch).await, "{arch}");
        // The file that `imager` writes is the same image.
        let asset = format!("installer-{arch}.tar");
        factory.download(&asset).await;
        factory.ok(&crane, &["validate", "--fast", "--tarball", &asset]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_and_umoci_copy_and_unpack_from_the_registry_and_from_the_file() {
    let (Some(skopeo), Some(umoci)) = (ci::tool("skopeo"), ci::tool("umoci")) else { return };
    let factory = Factory::start().await;
    let (_, manifests) = factory.digests().await;
    for (arch, digest) in &manifests {
        let file = format!("installer-{arch}.tar");
        factory.download(&file).await;
        let remote = format!("docker://{}", factory.image());
        for (n, source) in
            [remote, format!("oci-archive:{file}"), format!("docker-archive:{file}")].iter().enumerate()
        {
            let layout = format!("{arch}-{n}");
            let target = format!("oci:{layout}:copy");
            let mut flags =
                vec!["--insecure-policy", "--override-arch", arch, "copy", "--src-tls-verify=false"];
            // Else it compresses what it copies. A docker archive has no manifest that could be kept.
            flags.extend((n < 2).then_some("--preserve-digests"));
            flags.extend([source.as_str(), &target]);
            factory.ok(&skopeo, &flags).await;
            let index: Value =
                serde_json::from_slice(&fs::read(factory.path(&layout).join("index.json")).unwrap()).unwrap();
            // A docker archive has no manifest of its own; the others keep theirs.
            assert!(n == 2 || index["manifests"][0]["digest"] == **digest, "{source}");
            let bundle = format!("{layout}-unpacked");
            factory
                .ok(&umoci, &["unpack", "--rootless", "--image", &format!("{layout}:copy"), &bundle])
                .await;
            let rootfs = factory.path(&bundle).join("rootfs");
            assert_eq!(files(&rootfs, &rootfs), factory.expected(arch).await, "{source}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oras_finds_images_and_what_refers_to_them() {
    let Some(oras) = ci::tool("oras") else { return };
    let factory = Factory::start().await;
    let (index, manifests) = factory.digests().await;
    let image = factory.image();
    let fetched = factory.ok(&oras, &["manifest", "fetch", "--plain-http", "--descriptor", &image]).await;
    assert_eq!(serde_json::from_str::<Value>(&fetched).unwrap()["digest"], index);
    let flags = ["copy", "--from-plain-http", "--to-oci-layout", &image, "copied:all"];
    factory.ok(&oras, &flags).await;
    for digest in manifests.values() {
        assert!(factory.path("copied/blobs").join(digest.replace(':', "/")).exists());
    }
    let found = factory.ok(&oras, &["discover", "--plain-http", "--format", "json", &image]).await;
    let found: Value = serde_json::from_str(&found).unwrap();
    let referrers = found["referrers"].as_array().or(found["manifests"].as_array()).unwrap();
    assert_eq!(referrers[0]["artifactType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn cosign_verifies_our_images_and_files_and_nothing_else() {
    let Some(cosign) = ci::tool("cosign") else { return };
    let factory = Factory::start().await;
    let (index, manifests) = factory.digests().await;
    let mut names = vec![factory.image()];
    names.extend(
        [&index]
            .into_iter()
            .chain(manifests.values())
            .map(|digest| format!("{}@{digest}", factory.repository())),
    );
    let verify = async |name: &str, key: &str, bundle: bool| {
        let shape = format!("--new-bundle-format={bundle}");
        let flags = [
            "verify",
            "--key",
            key,
            "--insecure-ignore-tlog=true",
            "--allow-insecure-registry",
            &shape,
            name,
        ];
        factory.run(&cosign, &flags).await
    };
    for name in &names {
        for bundle in [false, true] {
            let output = verify(name, "key.pub", bundle).await;
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}, bundle {bundle}: {said}");
            // Another key.
            let output = verify(name, "other.pub", bundle).await;
            assert!(!output.status.success(), "{name}, bundle {bundle}");
        }
    }
    // Files.
    let blob = async |key: &str, bundle: &str, file: &str| {
        let flags = ["verify-blob", "--key", key, "--insecure-ignore-tlog=true", "--bundle", bundle, file];
        factory.run(&cosign, &flags).await
    };
    for asset in ["metal-amd64-uki.efi", "metal-arm64.raw.zst", "installer-amd64.tar"] {
        let bundle = format!("{asset}.sigstore.json");
        factory.download(asset).await;
        factory.download(&bundle).await;
        let output = blob("key.pub", &bundle, asset).await;
        assert!(output.status.success(), "{asset}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!blob("other.pub", &bundle, asset).await.status.success(), "{asset}: another key");
        let mut bytes = fs::read(factory.path(asset)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(factory.path("flipped"), bytes).unwrap();
        assert!(!blob("key.pub", &bundle, "flipped").await.status.success(), "{asset}: a flipped bit");
    }
    let output = blob("key.pub", "metal-amd64-uki.efi.sigstore.json", "installer-amd64.tar").await;
    assert!(!output.status.success(), "another file's bundle");
}
