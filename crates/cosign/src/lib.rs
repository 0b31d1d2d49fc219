//! Signatures that stock `cosign` accepts, and their verification.
//!
//! One kind of key: ECDSA on P-256 over SHA-256. Signatures are deterministic (RFC 6979), so the same key and the
//! same digest make the same bytes, and a signed image has one digest on every machine. Nothing here fetches or
//! stores. Certificates, transparency logs and timestamps are not written; they are judged against a [`TrustedRoot`]
//! where a [`Policy`] wants an identity instead of a key.
//!
//! Two shapes of an image's signature. The old one is an image of its own under a tag made from the signed digest:
//!
//! ```text
//! repo:sha256-<hex of the image's manifest>.sig
//! └─ manifest ── config
//!             └─ layer: payload (JSON that names the image's digest)
//!                annotation dev.cosignproject.cosign/signature = base64(signature over the payload)
//! ```
//!
//! The new one, cosign 3's default, is a Sigstore bundle that refers to the image:
//!
//! ```text
//! repo@sha256:… , listed by /v2/<repo>/referrers/<digest>
//! └─ manifest ── subject: the image's manifest
//!             ├─ config: {}
//!             └─ layer: bundle
//!                       ├─ verificationMaterial.publicKey.hint = base64(SHA-256 of the public key)
//!                       └─ dsseEnvelope ── signature over PAE(payloadType, payload)
//!                                       └─ payload: in-toto statement, subject = the image's digest
//! ```
//!
//! A file, a disk image for example, is signed by its SHA-256 alone; nobody has to hold its bytes:
//!
//! ```text
//! disk.raw.zst.sigstore.json
//! └─ bundle ── verificationMaterial.publicKey.hint
//!           └─ messageSignature ── messageDigest, signature over it
//! ```
//!
//! Both shapes may be signed by an identity. Then the old one has its evidence in annotations of the payload, the new
//! one in the bundle's verification material:
//!
//! ```text
//! dev.sigstore.cosign/certificate, …/chain   verificationMaterial.certificate
//! dev.sigstore.cosign/bundle                 verificationMaterial.tlogEntries, …timestampVerificationData
//! ```
//!
//! ```
//! use cosign::{Policy, SigningKey, SignatureImage, blob_bundle};
//! use extent::Digest;
//!
//! let key = SigningKey::generate()?;
//! let policy = Policy::Key(key.public_key());
//!
//! let disk = Digest::of(b"a disk");
//! policy.verify_blob_bundle(&disk, &blob_bundle(&key, &disk))?;
//!
//! let image = Digest::of(b"an image's manifest");
//! let signature = SignatureImage::new(&key, "factory.example/metal-installer", &image);
//! policy.verify_signature_image(&image, &signature.manifest, &[&signature.payload])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sources: cosign `specs/SIGNATURE_SPEC.md` and `specs/BUNDLE_SPEC.md`; Sigstore protobuf-specs 0.5, `bundle.proto`;
//! DSSE 1.0; in-toto attestation framework 1.0; OCI image and distribution specifications 1.1.

mod bundle;
mod error;
mod image;
mod key;
mod keyless;
mod oci;
mod pattern;
mod provider;
mod simple_signing;
mod trusted_root;
mod verify;
mod wire;

pub use bundle::{BUNDLE_MEDIA_TYPE, SIGN_PREDICATE_TYPE, blob_bundle, image_bundle};
pub use error::{Part, VerifyError};
pub use image::{Document, ImageSignature, SignatureTag, signed_by_tag};
pub use key::{KeyError, MAX_KEY_LEN, Opened, PublicKey, SigningKey};
pub use keyless::Keyless;
pub use oci::{Referrer, Subject, referrers_index, referrers_tag};
pub use pattern::{MAX_EXPRESSION_LEN, Pattern, PatternError};
pub use simple_signing::{SIGNATURE_ANNOTATION, SIMPLE_SIGNING_MEDIA_TYPE, SignatureImage, signature_tag};
pub use trusted_root::{MAX_TRUSTED_ROOT_LEN, TrustedRoot, TrustedRootError};
pub use verify::{
    Layer, MAX_BUNDLE_LEN, MAX_MANIFEST_LEN, MAX_PAYLOAD_LEN, Policy, SignatureLayer, bundle_layer,
    signature_layers,
};
