//! Profiles: one output, described the way the reference's imager does.
//!
//! The document that `imager -` reads and that the reference prints after "profile ready". Field order is dump
//! order. What a field left out means is decided by [`Profile::resolve`]; a profile is a wire type and may
//! hold nonsense until then.
//!
//! Source: `pkg/imager/profile` of Talos, as facts.

pub(crate) mod built_in;
mod kinds;
mod over;
mod resolve;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use built_in::BUILT_IN;
pub use kinds::{Bootloader, DiskFormat, EnrollKeys, OutFormat, OutputKind};

/// One output and all that decides it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Profile {
    /// The built-in profile that this one is laid over; empty once that is done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base_profile_name: String,
    /// The architecture by name.
    pub arch: String,
    /// The platform by name.
    pub platform: String,
    /// Whether the output is signed for secure boot.
    #[serde(rename = "secureboot")]
    pub secure_boot: Option<bool>,
    /// The name in os-release; the distribution's own when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The version, as written: file names and image tags repeat it.
    pub version: String,
    /// What the user adds.
    #[serde(skip_serializing_if = "is_zero")]
    pub customization: Customization,
    /// What goes in.
    pub input: Input,
    /// The board's overlay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlaySource>,
    /// What comes out.
    pub output: Output,
}

/// What the user adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Customization {
    /// Arguments after the defaults, with the deletion syntax of [`crate::CommandLine::extend`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_kernel_args: Vec<String>,
    /// Values of the META partition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub meta_contents: Vec<MetaContent>,
    /// A machine configuration to carry along.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub embedded_machine_configuration: String,
}

/// One value of the META partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetaContent {
    /// The tag.
    pub key: u8,
    /// The value.
    pub value: String,
}

/// What goes in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Input {
    /// The kernel.
    pub kernel: FileAsset,
    /// The initramfs.
    pub initramfs: FileAsset,
    /// systemd-stub.
    #[serde(skip_serializing_if = "is_zero")]
    pub sd_stub: FileAsset,
    /// systemd-boot.
    #[serde(skip_serializing_if = "is_zero")]
    pub sd_boot: FileAsset,
    /// The image that installers are made from.
    #[serde(skip_serializing_if = "is_zero")]
    pub base_installer: ContainerAsset,
    /// Images that a machine without a registry starts from.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_cache: ContainerAsset,
    /// The overlay for the target architecture.
    #[serde(skip_serializing_if = "is_zero")]
    pub overlay_installer: ContainerAsset,
    /// Keys and certificates.
    #[serde(rename = "secureboot", skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<SecureBoot>,
    /// Extension images, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system_extensions: Vec<ContainerAsset>,
}

/// A file by its path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileAsset {
    /// The path.
    pub path: String,
}

/// A container image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerAsset {
    /// Where a registry has it.
    pub image_ref: String,
    /// Whether the registry speaks plain HTTP.
    #[serde(skip_serializing_if = "is_zero")]
    pub force_insecure: bool,
    /// A tar archive of the root file system itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tarball_path: String,
    /// An OCI layout.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub oci_path: String,
}

/// Keys and certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SecureBoot {
    /// Who signs UKI and boot loader.
    pub secure_boot_signer: Signer,
    /// Who signs PCR policies.
    pub pcr_signer: Signer,
    /// `PK.auth`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform_key_path: String,
    /// `KEK.auth`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_exchange_key_path: String,
    /// `db.auth`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature_key_path: String,
    /// Whether Microsoft's certificates are enrolled too.
    #[serde(skip_serializing_if = "is_zero")]
    pub include_well_known_certs: bool,
}

/// Who signs, in the order of preference: a signer process, key files, Azure Key Vault, AWS KMS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are those of the services")]
pub struct Signer {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signer_address: String,
    #[serde(rename = "azureVaultURL", skip_serializing_if = "String::is_empty")]
    pub azure_vault_url: String,
    #[serde(rename = "azureCertificateID", skip_serializing_if = "String::is_empty")]
    pub azure_certificate_id: String,
    #[serde(rename = "azureKeyID", skip_serializing_if = "String::is_empty")]
    pub azure_key_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub azure_key_version: String,
    #[serde(rename = "awsKMSKeyID", skip_serializing_if = "String::is_empty")]
    pub aws_kms_key_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub aws_region: String,
    #[serde(rename = "awsCertARN", skip_serializing_if = "String::is_empty")]
    pub aws_cert_arn: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub aws_cert_path: String,
}

/// The board's overlay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverlaySource {
    /// The overlay in its image.
    pub name: String,
    /// Its image.
    pub image: ContainerAsset,
    /// What the overlay's installer is told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, serde_json::Value>,
}

/// What comes out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Output {
    /// What is made.
    pub kind: OutputKind,
    /// Of a disk image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
    /// Of an ISO image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso_options: Option<IsoOptions>,
    /// How the file is packed.
    pub out_format: OutFormat,
}

/// What a disk image is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageOptions {
    /// Length of the disk in bytes.
    #[serde(rename = "diskSize")]
    pub disk_len: u64,
    /// The container.
    #[serde(skip_serializing_if = "DiskFormat::is_zero")]
    pub disk_format: DiskFormat,
    /// Options of the container, as `qemu-img` takes them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub disk_format_options: String,
    /// Bytes in a sector; 0 means 512.
    #[serde(rename = "diskSectorSize", skip_serializing_if = "is_zero")]
    pub sector_size: u64,
    /// What starts the kernel.
    #[serde(skip_serializing_if = "Bootloader::is_zero")]
    pub bootloader: Bootloader,
    /// When keys are enrolled.
    #[serde(rename = "sdBootEnrollKeys", skip_serializing_if = "EnrollKeys::is_zero")]
    pub enroll_keys: EnrollKeys,
}

/// What an ISO image is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IsoOptions {
    /// When keys are enrolled.
    #[serde(rename = "sdBootEnrollKeys")]
    pub enroll_keys: EnrollKeys,
    /// What starts the kernel.
    #[serde(skip_serializing_if = "Bootloader::is_zero")]
    pub bootloader: Bootloader,
}

impl Profile {
    /// The built-in profile `name`.
    ///
    /// # Errors
    /// `UnknownProfile` with the nearest names.
    pub fn built_in(name: &str) -> Result<Self, crate::Error> {
        BUILT_IN.iter().find(|row| row.name == name).map(built_in::BuiltIn::profile).ok_or_else(|| {
            crate::Error::UnknownProfile {
                name: crate::error::shown(name),
                nearest: crate::error::nearest(name, BUILT_IN.iter().map(|row| row.name), 3),
            }
        })
    }

    /// Whether the output is signed for secure boot.
    pub fn is_secure_boot(&self) -> bool {
        self.secure_boot == Some(true)
    }
}

/// Whether `value` is what a field left out means.
fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
