//! A profile laid over another.
//!
//! Scalars that are set replace, lists are joined, structures recurse. The zero value of a field means that it
//! is not set; hence a zero value never overrides.

use super::{
    Bootloader, ContainerAsset, Customization, DiskFormat, EnrollKeys, FileAsset, ImageOptions, Input,
    IsoOptions, OutFormat, Output, OutputKind, OverlaySource, Profile, SecureBoot, Signer,
};

impl Profile {
    /// This profile laid over `base`: what is set here wins, lists are joined, the base's part first.
    #[must_use]
    pub fn over(&self, base: Self) -> Self {
        let user = self.clone();
        Self {
            base_profile_name: user.base_profile_name,
            arch: text(base.arch, user.arch),
            platform: text(base.platform, user.platform),
            secure_boot: user.secure_boot.or(base.secure_boot),
            name: text(base.name, user.name),
            version: text(base.version, user.version),
            customization: user.customization.over(base.customization),
            input: user.input.over(base.input),
            overlay: pointer(base.overlay, user.overlay, OverlaySource::over),
            output: user.output.over(base.output),
        }
    }
}

fn text(base: String, user: String) -> String {
    if user.is_empty() { base } else { user }
}

fn number(base: u64, user: u64) -> u64 {
    if user == 0 { base } else { user }
}

fn joined<T>(mut base: Vec<T>, user: Vec<T>) -> Vec<T> {
    base.extend(user);
    base
}

fn pointer<T>(base: Option<T>, user: Option<T>, over: impl FnOnce(T, T) -> T) -> Option<T> {
    match (base, user) {
        (Some(base), Some(user)) => Some(over(user, base)),
        (base, user) => user.or(base),
    }
}

impl Customization {
    fn over(self, base: Self) -> Self {
        Self {
            extra_kernel_args: joined(base.extra_kernel_args, self.extra_kernel_args),
            meta_contents: joined(base.meta_contents, self.meta_contents),
            embedded_machine_configuration: text(
                base.embedded_machine_configuration,
                self.embedded_machine_configuration,
            ),
        }
    }
}

impl Input {
    fn over(self, base: Self) -> Self {
        Self {
            kernel: self.kernel.over(base.kernel),
            initramfs: self.initramfs.over(base.initramfs),
            sd_stub: self.sd_stub.over(base.sd_stub),
            sd_boot: self.sd_boot.over(base.sd_boot),
            base_installer: self.base_installer.over(base.base_installer),
            image_cache: self.image_cache.over(base.image_cache),
            overlay_installer: self.overlay_installer.over(base.overlay_installer),
            secure_boot: pointer(base.secure_boot, self.secure_boot, SecureBoot::over),
            system_extensions: joined(base.system_extensions, self.system_extensions),
        }
    }
}

impl FileAsset {
    fn over(self, base: Self) -> Self {
        Self { path: text(base.path, self.path) }
    }
}

impl ContainerAsset {
    fn over(self, base: Self) -> Self {
        Self {
            image_ref: text(base.image_ref, self.image_ref),
            // The reference's merge takes a plain boolean from the upper profile whatever it is.
            force_insecure: self.force_insecure,
            tarball_path: text(base.tarball_path, self.tarball_path),
            oci_path: text(base.oci_path, self.oci_path),
        }
    }
}

impl SecureBoot {
    fn over(self, base: Self) -> Self {
        Self {
            secure_boot_signer: self.secure_boot_signer.over(base.secure_boot_signer),
            pcr_signer: self.pcr_signer.over(base.pcr_signer),
            platform_key_path: text(base.platform_key_path, self.platform_key_path),
            key_exchange_key_path: text(base.key_exchange_key_path, self.key_exchange_key_path),
            signature_key_path: text(base.signature_key_path, self.signature_key_path),
            include_well_known_certs: self.include_well_known_certs,
        }
    }
}

impl Signer {
    fn over(self, base: Self) -> Self {
        Self {
            key_path: text(base.key_path, self.key_path),
            cert_path: text(base.cert_path, self.cert_path),
            signer_address: text(base.signer_address, self.signer_address),
            azure_vault_url: text(base.azure_vault_url, self.azure_vault_url),
            azure_certificate_id: text(base.azure_certificate_id, self.azure_certificate_id),
            azure_key_id: text(base.azure_key_id, self.azure_key_id),
            azure_key_version: text(base.azure_key_version, self.azure_key_version),
            aws_kms_key_id: text(base.aws_kms_key_id, self.aws_kms_key_id),
            aws_region: text(base.aws_region, self.aws_region),
            aws_cert_arn: text(base.aws_cert_arn, self.aws_cert_arn),
            aws_cert_path: text(base.aws_cert_path, self.aws_cert_path),
        }
    }
}

impl OverlaySource {
    fn over(self, base: Self) -> Self {
        let mut options = base.options;
        options.extend(self.options);
        Self { name: text(base.name, self.name), image: self.image.over(base.image), options }
    }
}

impl Output {
    fn over(self, base: Self) -> Self {
        let kind = if self.kind == OutputKind::Unset { base.kind } else { self.kind };
        let out_format = if self.out_format == OutFormat::Unset { base.out_format } else { self.out_format };
        Self {
            kind,
            image_options: pointer(base.image_options, self.image_options, ImageOptions::over),
            iso_options: pointer(base.iso_options, self.iso_options, IsoOptions::over),
            out_format,
        }
    }
}

impl ImageOptions {
    fn over(self, base: Self) -> Self {
        let disk_format =
            if self.disk_format == DiskFormat::Unset { base.disk_format } else { self.disk_format };
        Self {
            disk_len: number(base.disk_len, self.disk_len),
            disk_format,
            disk_format_options: text(base.disk_format_options, self.disk_format_options),
            sector_size: number(base.sector_size, self.sector_size),
            bootloader: bootloader(base.bootloader, self.bootloader),
            enroll_keys: enroll_keys(base.enroll_keys, self.enroll_keys),
        }
    }
}

impl IsoOptions {
    fn over(self, base: Self) -> Self {
        Self {
            enroll_keys: enroll_keys(base.enroll_keys, self.enroll_keys),
            bootloader: bootloader(base.bootloader, self.bootloader),
        }
    }
}

fn bootloader(base: Bootloader, user: Bootloader) -> Bootloader {
    if user == Bootloader::Unset { base } else { user }
}

/// `if-safe` is the zero value, so it never overrides.
fn enroll_keys(base: EnrollKeys, user: EnrollKeys) -> EnrollKeys {
    if user == EnrollKeys::IfSafe { base } else { user }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metal(version: &str) -> Profile {
        Profile { version: version.to_owned(), ..Profile::built_in("metal").unwrap() }
    }

    #[test]
    fn lists_are_joined_and_texts_replace() {
        let mut base = metal("1.12.0");
        base.customization.extra_kernel_args = vec!["a".to_owned()];
        base.input.base_installer =
            ContainerAsset { image_ref: "x".to_owned(), force_insecure: true, ..ContainerAsset::default() };
        let mut user = metal("1.13.0");
        user.customization.extra_kernel_args = vec!["b".to_owned()];
        let merged = user.over(base);
        assert_eq!(merged.customization.extra_kernel_args, ["a", "b"]);
        assert_eq!(merged.version, "1.13.0");
        assert_eq!(merged.input.base_installer.image_ref, "x");
        assert!(!merged.input.base_installer.force_insecure);
    }
}
