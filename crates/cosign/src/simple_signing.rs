//! The old shape: a signature as an image under a tag.
//!
//! Source: cosign `specs/SIGNATURE_SPEC.md`; containers/image `containers-signature.5`, JSON data format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use extent::Digest;
use serde::Serialize;

use crate::SigningKey;
use crate::oci::{CONFIG, Descriptor, MANIFEST, Manifest, json};

/// The media type of a payload.
pub const SIMPLE_SIGNING_MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The annotation of a payload's descriptor that holds the signature in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// The annotation of a signature that was made for an identity, and not by a key that stays.
pub(crate) const CERTIFICATE_ANNOTATION: &str = "dev.sigstore.cosign/certificate";

/// The annotation with the certificates between that one and the root.
pub(crate) const CHAIN_ANNOTATION: &str = "dev.sigstore.cosign/chain";

/// The annotation with the transparency log's promise.
pub(crate) const PROMISE_ANNOTATION: &str = "dev.sigstore.cosign/bundle";

/// What every payload says that it is.
pub(crate) const PAYLOAD_TYPE: &str = "cosign container image signature";

/// Go's zero time, which cosign writes where there is none.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// A signature as an image. Registries take configuration and payload as blobs and the manifest under
/// [`signature_tag`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureImage {
    /// The manifest, with the signature in an annotation.
    pub manifest: Vec<u8>,
    /// The configuration, which says nothing but that there is one layer.
    pub config: Vec<u8>,
    /// What is signed; the only layer.
    pub payload: Vec<u8>,
}

#[derive(Serialize)]
struct Payload<'a> {
    critical: Critical<'a>,
    optional: Option<()>,
}

#[derive(Serialize)]
struct Critical<'a> {
    identity: Identity<'a>,
    image: Image<'a>,
    r#type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Identity<'a> {
    docker_reference: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Image<'a> {
    docker_manifest_digest: &'a Digest,
}

#[derive(Serialize)]
struct ImageConfiguration<'a> {
    architecture: &'static str,
    created: &'static str,
    history: [History; 1],
    os: &'static str,
    rootfs: RootFs<'a>,
    config: Empty,
}

#[derive(Serialize)]
struct History {
    created: &'static str,
}

#[derive(Serialize)]
struct RootFs<'a> {
    r#type: &'static str,
    diff_ids: [&'a Digest; 1],
}

#[derive(Serialize)]
struct Empty {}

impl SignatureImage {
    /// `key`'s signature for the image whose manifest has the digest `image`.
    ///
    /// `docker_reference` is the repository that the image claims to be, without tag and digest
    /// (`factory.example/metal-installer/<schematic>`). Cosign shows it and checks only the digest.
    pub fn new(key: &SigningKey, docker_reference: &str, image: &Digest) -> Self {
        let payload = json(&Payload {
            critical: Critical {
                identity: Identity { docker_reference },
                image: Image { docker_manifest_digest: image },
                r#type: PAYLOAD_TYPE,
            },
            optional: None,
        });
        let signature = STANDARD.encode(key.sign(&Digest::of(&payload)));
        let mut layer = Descriptor::of(SIMPLE_SIGNING_MEDIA_TYPE, &payload);
        layer.annotations = Some([(SIGNATURE_ANNOTATION.to_owned(), signature)].into());
        let config = config(&layer.digest);
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST,
            artifact_type: None,
            config: Descriptor::of(CONFIG, &config),
            layers: vec![layer],
            subject: None,
            annotations: None,
        };
        Self { manifest: json(&manifest), config, payload }
    }

    /// The digest of the manifest.
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The digest of the configuration.
    pub fn config_digest(&self) -> Digest {
        Digest::of(&self.config)
    }

    /// The digest of the payload.
    pub fn payload_digest(&self) -> Digest {
        Digest::of(&self.payload)
    }
}

/// The tag of `image`'s signatures, in the image's repository: `sha256-<hex>.sig`.
pub fn signature_tag(image: &Digest) -> String {
    format!("sha256-{}.sig", image.hex())
}

/// The configuration of an image with one layer, as cosign fills it in.
fn config(layer: &Digest) -> Vec<u8> {
    json(&ImageConfiguration {
        architecture: "",
        created: NO_TIME,
        history: [History { created: NO_TIME }],
        os: "",
        rootfs: RootFs { r#type: "layers", diff_ids: [layer] },
        config: Empty {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_what_cosign_writes() {
        let key = SigningKey::generate().unwrap();
        let image = Digest::of(b"abc");
        let signed = SignatureImage::new(&key, "factory.example/installer", &image);
        let expected = format!(
            "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"factory.example/installer\"}},\
             \"image\":{{\"docker-manifest-digest\":\"{image}\"}},\
             \"type\":\"cosign container image signature\"}},\"optional\":null}}"
        );
        assert_eq!(str::from_utf8(&signed.payload).unwrap(), expected);
        assert_eq!(signed, SignatureImage::new(&key, "factory.example/installer", &image));
    }

    #[test]
    fn a_tag_is_made_from_the_digest() {
        let tag = signature_tag(&Digest::of(b"abc"));
        assert_eq!(tag, "sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.sig");
    }
}
