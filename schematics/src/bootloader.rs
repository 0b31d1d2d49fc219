//! Boot loaders.

use std::fmt;

use crate::decode::Decoder;
use crate::document::NodeId;
use crate::error::{Error, excerpt, nearest};

/// The boot loader asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bootloader {
    /// No wish: `none`, or `auto`, which the reference documents but refuses.
    #[default]
    None,
    /// GRUB and systemd-boot.
    DualBoot,
    /// systemd-boot.
    SdBoot,
    /// GRUB.
    Grub,
}

const NAMES: &[&str] = &["none", "auto", "dual-boot", "sd-boot", "grub"];

impl Bootloader {
    /// A name in letters of any case; `None` is null.
    pub(crate) fn decode(decoder: &mut Decoder<'_>, id: NodeId) -> Result<Option<Self>, Error> {
        let Some(name) = decoder.text(id)? else { return Ok(None) };
        let name = name.to_string();
        match name.to_ascii_lowercase().as_str() {
            "none" | "auto" => Ok(Some(Self::None)),
            "dual-boot" => Ok(Some(Self::DualBoot)),
            "sd-boot" => Ok(Some(Self::SdBoot)),
            "grub" => Ok(Some(Self::Grub)),
            _ => Err(Error::UnknownName {
                place: decoder.place(id),
                name: excerpt(&name),
                kind: "boot loader",
                names: "`none`, `auto`, `dual-boot`, `sd-boot`, `grub`",
                nearest: nearest(&name, NAMES),
            }),
        }
    }
}

/// The name in the canonical form.
impl fmt::Display for Bootloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::DualBoot => "dual-boot",
            Self::SdBoot => "sd-boot",
            Self::Grub => "grub",
        })
    }
}
