//! The schematic.

use std::collections::BTreeMap;

use extent::Digest;

use crate::bootloader::Bootloader;
use crate::decode::{Decoder, Fields};
use crate::document::{self, Document, NodeId};
use crate::emit::{self, Item};
use crate::error::Error;
use crate::id::SchematicId;
use crate::scalar::{self, QuoteStyle};
use crate::text::Text;
use crate::value::{Scalar, Value};
use crate::{MAX_LEN, mend};

/// What is asked for: how an image departs from the plain one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schematic {
    /// Who may read it; empty for everyone.
    pub owner: Text,
    /// What a board needs. One whose fields are all empty is none.
    pub overlay: Option<Overlay>,
    /// What goes into the image.
    pub customization: Customization,
}

/// The overlay of a board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The overlay's image. Part of the id, of nothing else: overlays are found by name.
    pub image: Text,
    /// The overlay's name in the catalogue; empty for no overlay.
    pub name: Text,
    /// Options for the overlay.
    pub options: BTreeMap<Text, Value>,
}

/// What goes into the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Customization {
    /// A machine configuration to embed; empty for none.
    pub embedded_machine_configuration: Text,
    /// Arguments for the kernel command line, in this order.
    pub extra_kernel_args: Vec<Text>,
    /// Initial contents of the META partition.
    pub meta: Vec<Meta>,
    /// System extensions.
    pub system_extensions: SystemExtensions,
    /// The boot loader asked for.
    pub bootloader: Bootloader,
    /// Secure Boot.
    pub secureboot: SecureBoot,
    /// The disk image.
    pub disk_image: DiskImage,
}

/// A value of the META partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Its key.
    pub key: u8,
    /// The value.
    pub value: Text,
}

/// System extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemExtensions {
    /// Names in the catalogue, in this order, as often as they are given.
    pub official_extensions: Vec<Text>,
}

/// Secure Boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecureBoot {
    /// `off`, `manual`, `if-safe` or `force`, checked when an image is made; empty for the default.
    pub enroll_keys: Text,
    /// Whether Microsoft's certificates are enrolled too.
    pub include_well_known_certificates: bool,
}

/// The disk image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskImage {
    /// Bytes a sector, checked when an image is made; 0 for the default.
    pub sector_size: u64,
}

impl Schematic {
    /// Reads a schematic: the first document of `body`, YAML or JSON.
    ///
    /// The canonical form of a schematic is read as that schematic, also where the reference's emitter wrote something
    /// YAML reads otherwise.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let text = document::text(body)?;
        let read = Self::read(&text);
        let written = read.as_ref().map(|schematic| schematic.written(QuoteStyle::default()));
        if let Ok(Some(written)) = &written
            && *written == text
        {
            return read;
        }
        if let Some(schematic) = Self::read_back(&text) {
            return Ok(schematic);
        }
        match written {
            Ok(None) => Err(Error::TooLong { what: "the canonical form", max: MAX_LEN }),
            _ => read,
        }
    }

    /// The schematic whose canonical form is `text`, if YAML alone would not tell.
    fn read_back(text: &str) -> Option<Self> {
        let schematic = Self::read(&mend::canonical(text)?).ok()?;
        [QuoteStyle::Single, QuoteStyle::Double]
            .into_iter()
            .any(|quotes| schematic.written(quotes).as_deref() == Some(text))
            .then_some(schematic)
    }

    fn written(&self, quotes: QuoteStyle) -> Option<String> {
        emit::document(&self.item(), quotes, MAX_LEN)
    }

    /// The canonical YAML: the same bytes for everyone who asks for the same.
    pub fn canonical(&self) -> String {
        self.canonical_with(QuoteStyle::default())
    }

    /// The canonical YAML, words of YAML 1.1 quoted in `quotes`.
    pub fn canonical_with(&self, quotes: QuoteStyle) -> String {
        emit::document(&self.item(), quotes, usize::MAX).unwrap_or_default()
    }

    /// The id: the digest of [`Schematic::canonical`].
    pub fn id(&self) -> SchematicId {
        Digest::of(self.canonical().as_bytes()).into()
    }

    fn read(text: &str) -> Result<Self, Error> {
        let document = Document::parse(text)?;
        let mut schematic = Self::default();
        schematic.decode(&mut Decoder::new(&document), Document::ROOT)?;
        Ok(schematic)
    }

    fn decode(&mut self, decoder: &mut Decoder<'_>, id: NodeId) -> Result<(), Error> {
        const FIELDS: Fields =
            Fields { parent: "the schematic", names: &["owner", "overlay", "customization"] };
        decoder.fields(id, &FIELDS, &mut |decoder, field, id| {
            match field {
                0 => set(&mut self.owner, decoder.text(id)?),
                1 => {
                    let mut overlay = self.overlay.take().unwrap_or_default();
                    overlay.decode(decoder, id)?;
                    self.overlay = (overlay != Overlay::default()).then_some(overlay);
                }
                _ => self.customization.decode(decoder, id)?,
            }
            Ok(())
        })
    }

    fn item(&self) -> Item<'_> {
        let mut entries = Entries::default();
        entries.text("owner", &self.owner);
        if let Some(overlay) = &self.overlay
            && *overlay != Overlay::default()
        {
            entries.push("overlay", overlay.item());
        }
        entries.push("customization", self.customization.item());
        Item::Mapping(entries.0)
    }
}

impl Overlay {
    fn decode(&mut self, decoder: &mut Decoder<'_>, id: NodeId) -> Result<(), Error> {
        const FIELDS: Fields = Fields { parent: "`overlay`", names: &["image", "name", "options"] };
        decoder.fields(id, &FIELDS, &mut |decoder, field, id| {
            match field {
                0 => set(&mut self.image, decoder.text(id)?),
                1 => set(&mut self.name, decoder.text(id)?),
                _ => self.options = decoder.options(id)?,
            }
            Ok(())
        })
    }

    fn item(&self) -> Item<'_> {
        let mut entries = Entries::default();
        entries.push("image", Item::Text(&self.image));
        entries.push("name", Item::Text(&self.name));
        if !self.options.is_empty() {
            let options = self.options.iter().map(|(key, value)| (Item::Text(key), value_item(value)));
            entries.push("options", Item::Mapping(options.collect()));
        }
        Item::Mapping(entries.0)
    }
}

impl Customization {
    fn decode(&mut self, decoder: &mut Decoder<'_>, id: NodeId) -> Result<(), Error> {
        const FIELDS: Fields = Fields {
            parent: "`customization`",
            names: &[
                "embeddedMachineConfiguration",
                "extraKernelArgs",
                "meta",
                "systemExtensions",
                "bootloader",
                "secureboot",
                "diskImage",
            ],
        };
        const EXTENSIONS: Fields = Fields { parent: "`systemExtensions`", names: &["officialExtensions"] };
        const SECUREBOOT: Fields =
            Fields { parent: "`secureboot`", names: &["enrollKeys", "includeWellKnownCertificates"] };
        const DISK_IMAGE: Fields = Fields { parent: "`diskImage`", names: &["sectorSize"] };
        decoder.fields(id, &FIELDS, &mut |decoder, field, id| {
            match field {
                0 => set(&mut self.embedded_machine_configuration, decoder.text(id)?),
                1 => self.extra_kernel_args = decoder.list(id, Decoder::text)?,
                2 => self.meta = decoder.list(id, Meta::decode)?,
                3 => decoder.fields(id, &EXTENSIONS, &mut |decoder, _, id| {
                    self.system_extensions.official_extensions = decoder.list(id, Decoder::text)?;
                    Ok(())
                })?,
                4 => set(&mut self.bootloader, Bootloader::decode(decoder, id)?),
                5 => decoder.fields(id, &SECUREBOOT, &mut |decoder, field, id| {
                    match field {
                        0 => set(&mut self.secureboot.enroll_keys, decoder.text(id)?),
                        _ => set(&mut self.secureboot.include_well_known_certificates, decoder.boolean(id)?),
                    }
                    Ok(())
                })?,
                _ => decoder.fields(id, &DISK_IMAGE, &mut |decoder, _, id| {
                    set(&mut self.disk_image.sector_size, decoder.unsigned(id, u64::MAX)?);
                    Ok(())
                })?,
            }
            Ok(())
        })
    }

    fn item(&self) -> Item<'_> {
        let mut entries = Entries::default();
        entries.text("embeddedMachineConfiguration", &self.embedded_machine_configuration);
        entries.texts("extraKernelArgs", &self.extra_kernel_args);
        if !self.meta.is_empty() {
            let meta = self.meta.iter().map(|Meta { key, value }| {
                let mut entries = Entries::default();
                entries.push("key", Item::Bare(key.to_string()));
                entries.push("value", Item::Text(value));
                Item::Mapping(entries.0)
            });
            entries.push("meta", Item::Sequence(meta.collect()));
        }
        let mut extensions = Entries::default();
        extensions.texts("officialExtensions", &self.system_extensions.official_extensions);
        entries.mapping("systemExtensions", extensions);
        if self.bootloader != Bootloader::None {
            entries.push("bootloader", Item::Bare(self.bootloader.to_string()));
        }
        let mut secureboot = Entries::default();
        secureboot.text("enrollKeys", &self.secureboot.enroll_keys);
        if self.secureboot.include_well_known_certificates {
            secureboot.push("includeWellKnownCertificates", Item::from("true"));
        }
        entries.mapping("secureboot", secureboot);
        let mut disk_image = Entries::default();
        if self.disk_image.sector_size != 0 {
            disk_image.push("sectorSize", Item::Bare(self.disk_image.sector_size.to_string()));
        }
        entries.mapping("diskImage", disk_image);
        Item::Mapping(entries.0)
    }
}

impl Meta {
    fn decode(decoder: &mut Decoder<'_>, id: NodeId) -> Result<Option<Self>, Error> {
        const FIELDS: Fields = Fields { parent: "`meta`", names: &["key", "value"] };
        if decoder.null(id)? {
            return Ok(None);
        }
        let mut meta = Self::default();
        decoder.fields(id, &FIELDS, &mut |decoder, field, id| {
            match field {
                0 => set(&mut meta.key, decoder.unsigned(id, u8::MAX.into())?),
                _ => set(&mut meta.value, decoder.text(id)?),
            }
            Ok(())
        })?;
        Ok(Some(meta))
    }
}

/// Null leaves a field as it was, which matters to merge keys only.
fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// The entries of a mapping; what is empty is not written.
#[derive(Default)]
struct Entries<'a>(Vec<(Item<'a>, Item<'a>)>);

impl<'a> Entries<'a> {
    fn push(&mut self, name: &'static str, item: Item<'a>) {
        self.0.push((Item::from(name), item));
    }

    fn text(&mut self, name: &'static str, text: &'a Text) {
        if !text.is_empty() {
            self.push(name, Item::Text(text));
        }
    }

    fn texts(&mut self, name: &'static str, texts: &'a [Text]) {
        if !texts.is_empty() {
            self.push(name, Item::Sequence(texts.iter().map(Item::Text).collect()));
        }
    }

    fn mapping(&mut self, name: &'static str, entries: Self) {
        if !entries.0.is_empty() {
            self.push(name, Item::Mapping(entries.0));
        }
    }
}

fn value_item(value: &Value) -> Item<'_> {
    match value {
        Value::Scalar(scalar) => scalar_item(scalar),
        Value::Sequence(items) => Item::Sequence(items.iter().map(value_item).collect()),
        Value::Mapping(entries) => {
            Item::Mapping(entries.iter().map(|(key, value)| (scalar_item(key), value_item(value))).collect())
        }
    }
}

fn scalar_item(scalar: &Scalar) -> Item<'_> {
    match scalar {
        Scalar::Text(text) => Item::Text(text),
        bare => Item::Bare(scalar::name(bare)),
    }
}
