//! Stores with small made source images in the reference's layout.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, reason = "only tests are built on this")]

use extent::{Digest, Tree};
use formats::tar;
use imager::{Arch, Artifact, Error, Factory, Lock, Resolved};
use oci_spec::image::{self as oci, MediaType};
use schematics::Schematic;
use serde_json::json;
use store::{Descriptor, Store};

/// A directory that goes when the test ends, a store in it and a factory over that.
pub struct Made {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub factory: Factory,
}

pub fn made() -> Made {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let factory = Factory::open(store.clone());
    Made { dir, store, factory }
}

/// A tree of files.
pub fn tree(files: &[(&str, &[u8])]) -> Tree {
    let mut tree = Tree::new();
    for (path, content) in files {
        tree.file(path, content.to_vec(), 0o644).unwrap();
    }
    tree
}

/// Bytes that do not compress, the same each time.
pub fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend(Digest::of(format!("{seed} {n}").as_bytes()).as_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The version of the complete set.
pub const VERSION: &str = "v13.1.0";

/// A schematic with an extension of each sort.
pub const SCHEMATIC: &str = "customization: {embeddedMachineConfiguration: 'a: 1', \
    extraKernelArgs: [console=ttyS0], meta: [{key: 10, value: foo}], systemExtensions: {officialExtensions: \
    [siderolabs/tools, siderolabs/firmware, siderolabs/microcode]}}";

/// The least that is a stub: headers and one section.
pub fn stub(arch: Arch) -> Vec<u8> {
    let machine: u16 = match arch {
        Arch::Amd64 => 0x8664,
        Arch::Arm64 => 0xaa64,
    };
    let mut stub = b"MZ".to_vec();
    stub.resize(0x3c, 0);
    stub.extend(0x40_u32.to_le_bytes());
    stub.extend(b"PE\0\0");
    stub.extend(machine.to_le_bytes());
    stub.extend(1_u16.to_le_bytes()); // sections
    stub.extend([0; 12]); // time, symbols
    stub.extend(240_u16.to_le_bytes());
    stub.extend(0x22_u16.to_le_bytes()); // an executable for 64 bits
    let optional = stub.len();
    stub.extend(0x20b_u16.to_le_bytes());
    stub.resize(optional + 16, 0);
    stub.extend(0x1000_u32.to_le_bytes()); // entry
    stub.resize(optional + 32, 0);
    stub.extend(0x1000_u32.to_le_bytes()); // section alignment
    stub.extend(0x200_u32.to_le_bytes()); // file alignment
    stub.resize(optional + 56, 0);
    stub.extend(0x2000_u32.to_le_bytes()); // image
    stub.extend(0x200_u32.to_le_bytes()); // headers
    stub.resize(optional + 68, 0);
    stub.extend(10_u16.to_le_bytes()); // an EFI application
    stub.resize(optional + 108, 0);
    stub.extend(16_u32.to_le_bytes()); // data directories
    stub.resize(optional + 240, 0);
    stub.extend(b".text\0\0\0");
    for field in [4_u32, 0x1000, 0x200, 0x200, 0, 0, 0, 0x6000_0020] {
        stub.extend(field.to_le_bytes());
    }
    stub.resize(0x200, 0);
    stub.extend(b"code");
    stub.resize(0x400, 0);
    stub
}

/// The layer of an extension image.
pub fn extension(name: &str, range: &str, files: &[(&str, &[u8])]) -> Tree {
    let manifest = format!(
        "version: v1alpha1\nmetadata:\n  name: {name}\n  version: 1.0\n  author: Nobody\n  \
         description: About {name}\n  compatibility:\n    talos:\n      version: \"{range}\"\n"
    );
    let mut layer = tree(&[("manifest.yaml", manifest.as_bytes())]);
    layer.directory("rootfs", 0o755).unwrap();
    for (path, content) in files {
        layer.file(&format!("rootfs/{path}"), content.to_vec(), 0o644).unwrap();
    }
    layer
}

/// A store with a version of which everything can be made.
pub fn complete() -> Made {
    let made = made();
    made.complete(&noise("initramfs", 100_001));
    made
}

impl Made {
    /// Makes [`VERSION`], with `initramfs`.
    pub fn complete(&self, initramfs: &[u8]) {
        // A kernel that compresses on one architecture, as Debian's for arm64, and does not on the other.
        let arm64_kernel: Vec<u8> = (0..60_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        self.imager(
            VERSION,
            &[
                ("amd64/vmlinuz", &noise("kernel", 300_001)),
                ("amd64/initramfs.xz", initramfs),
                ("amd64/systemd-stub.efi", &stub(Arch::Amd64)),
                ("amd64/systemd-boot.efi", &noise("systemd-boot", 10_000)),
                ("arm64/vmlinuz", &arm64_kernel),
                ("arm64/initramfs.xz", initramfs),
                ("arm64/systemd-stub.efi", &stub(Arch::Arm64)),
                ("arm64/systemd-boot.efi", &noise("systemd-boot", 10_000)),
            ],
        );
        let extensions = [
            extension("tools", ">= 1.0.0", &[("usr/local/bin/tool", &b"tool ".repeat(20_000))]),
            extension(
                "firmware",
                ">= 1.0.0",
                &[
                    ("usr/lib/firmware/vendor/chip.bin", &noise("firmware", 30_000)),
                    ("usr/local/share/chip", b"about the chip"),
                ],
            ),
            extension(
                "microcode",
                ">= 1.0.0",
                &[
                    ("usr/lib/firmware/intel-ucode/06-01-01", &noise("intel", 2048)),
                    ("usr/lib/firmware/amd-ucode/microcode_amd_fam17h.bin", &noise("amd", 1001)),
                ],
            ),
            extension("old", "< 2.0.0", &[("usr/local/bin/old", b"old")]),
        ];
        let mut images: Vec<(&str, Descriptor)> = ["tools", "firmware", "microcode", "old"]
            .into_iter()
            .zip(&extensions)
            .map(|(name, layer)| {
                let manifests =
                    Arch::ALL.map(|arch| (arch, self.manifest(arch, std::slice::from_ref(layer))));
                (name, self.index(&manifests))
            })
            .collect();
        let bases = Arch::ALL.map(|arch| {
            (arch, self.manifest(arch, &[tree(&[("usr/bin/installer", arch.name().as_bytes())])]))
        });
        self.tag("siderolabs/installer-base", VERSION, &self.index(&bases));
        images.push(("broken", self.manifest(Arch::Amd64, &[tree(&[("manifest.yaml", b"version: x")])])));
        self.catalogue(VERSION, &images);
    }

    /// The asset `path` of [`VERSION`].
    pub async fn resolve(&self, yaml: &str, path: &str) -> Result<Resolved, Error> {
        let schematic = Schematic::parse(yaml.as_bytes()).unwrap();
        self.factory.resolve(&schematic, &VERSION.parse().unwrap(), &path.parse().unwrap()).await
    }

    /// The asset, planned.
    pub async fn plan(&self, yaml: &str, path: &str) -> (Lock, Artifact) {
        let resolved = self.resolve(yaml, path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let artifact = imager::plan(&resolved).unwrap_or_else(|error| panic!("{path}: {error}"));
        (resolved.lock, artifact)
    }

    /// The asset, written.
    pub async fn file(&self, yaml: &str, path: &str) -> std::path::PathBuf {
        let (_, artifact) = self.plan(yaml, path).await;
        let file = self.dir.path().join(path);
        self.store.write_file(&artifact.extents, &file, &|_| {}).unwrap();
        file
    }

    /// The manifest of an image for `arch` with the layers `layers`.
    pub fn manifest(&self, arch: Arch, layers: &[Tree]) -> Descriptor {
        let layers: Vec<_> = layers
            .iter()
            .map(|tree| {
                let mut bytes = Vec::new();
                self.store.write_to(&tar::archive(tree, 0).unwrap(), &mut bytes).unwrap();
                self.store.put_bytes(&bytes).unwrap()
            })
            .collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
        let config = self.document(&json!({
            "architecture": arch.name(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "config": {"Entrypoint": ["/bin/installer"], "Labels": {"b": "2", "a": "1"}},
        }));
        let layers: Vec<_> =
            layers.iter().map(|layer| descriptor(layer, "application/vnd.oci.image.layer.v1.tar")).collect();
        self.document(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": layers,
        }))
    }

    /// An index of manifests.
    pub fn index(&self, manifests: &[(Arch, Descriptor)]) -> Descriptor {
        let entries: Vec<_> = manifests
            .iter()
            .map(|(arch, manifest)| {
                let mut entry = descriptor(manifest, "application/vnd.oci.image.manifest.v1+json");
                entry["platform"] = json!({"os": "linux", "architecture": arch.name()});
                entry
            })
            .collect();
        self.document(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries,
        }))
    }

    pub fn tag(&self, repository: &str, tag: &str, descriptor: &Descriptor) {
        let media_type = MediaType::from("application/vnd.oci.image.manifest.v1+json");
        self.store.tag(repository, tag, &descriptor.oci(media_type)).unwrap();
    }

    /// The `imager` image of `version`, with `files` below `usr/install/`.
    pub fn imager(&self, version: &str, files: &[(&str, &[u8])]) -> Descriptor {
        let paths: Vec<String> = files.iter().map(|(path, _)| format!("usr/install/{path}")).collect();
        let files: Vec<(&str, &[u8])> =
            paths.iter().map(String::as_str).zip(files.iter().map(|(_, content)| *content)).collect();
        let manifest = self.manifest(Arch::Amd64, &[tree(&files)]);
        self.tag("siderolabs/imager", version, &manifest);
        manifest
    }

    /// The catalogue of `version`.
    pub fn catalogue(&self, version: &str, extensions: &[(&str, Descriptor)]) {
        let mut digests = String::new();
        let mut descriptions = String::new();
        for (name, image) in extensions {
            let line = format!("ghcr.io/siderolabs/{name}:1.0@{}", image.digest);
            let description = format!("{line}:\n  author: Nobody\n  description: About {name}\n");
            descriptions += &description;
            digests += &line;
            digests.push('\n');
        }
        if descriptions.is_empty() {
            descriptions.push_str("{}\n");
        }
        let files = [("image-digests", digests.as_bytes()), ("descriptions.yaml", descriptions.as_bytes())];
        let manifest = self.manifest(Arch::Amd64, &[tree(&files)]);
        self.tag("siderolabs/extensions", version, &manifest);
    }

    pub fn document(&self, value: &serde_json::Value) -> Descriptor {
        self.store.put_bytes(&serde_json::to_vec(value).unwrap()).unwrap()
    }

    /// The path of a blob, for tests that break it.
    pub fn blob_path(&self, digest: &Digest) -> std::path::PathBuf {
        self.dir.path().join("store/blobs/sha256").join(digest.hex())
    }
}

fn descriptor(descriptor: &Descriptor, media_type: &str) -> serde_json::Value {
    let oci: oci::Descriptor = descriptor.oci(MediaType::from(media_type));
    serde_json::to_value(oci).unwrap()
}
