use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::Command;

use bytes::Bytes;
use extent::{Digest, read_all};
use object::read::pe::PeFile64;
use object::{LittleEndian as LE, Object as _, ObjectSection as _};
use proptest::prelude::*;

use super::*;

/// What a stub for tests differs in.
#[derive(Clone, Copy)]
struct Stub {
    signature_offset: u32,
    file_alignment: u32,
    section_alignment: u32,
    first_address: u32,
}

const STUB: Stub =
    Stub { signature_offset: 0x78, file_alignment: 0x200, section_alignment: 0x1000, first_address: 0x1000 };

impl Stub {
    /// A small stub: `.text` of code, `.sbat` of data, both as a linker leaves them.
    fn bytes(self) -> Vec<u8> {
        let Self { signature_offset, file_alignment, section_alignment, first_address } = self;
        let mut out = vec![0; usize::try_from(signature_offset).unwrap()];
        out[..2].copy_from_slice(b"MZ");
        out[0x40..0x60].copy_from_slice(b"This program cannot run in DOS !");
        put_u32(&mut out, 0x3c, signature_offset);
        out.extend_from_slice(b"PE\0\0");
        let mut coff = [0; COFF_LEN];
        put_u16(&mut coff, 0, 0x8664);
        put_u16(&mut coff, 2, 2);
        put_u32(&mut coff, 4, 0x1234_5678);
        put_u16(&mut coff, 16, 240);
        put_u16(&mut coff, 18, 0x206);
        out.extend_from_slice(&coff);
        let mut optional = [0; OPTIONAL_LEN];
        put_u16(&mut optional, 0, 0x20b);
        put_u16(&mut optional, 2, 0x2802); // linker version
        put_u32(&mut optional, 16, first_address); // entry point
        put_u32(&mut optional, 20, first_address); // base of code
        put_u32(&mut optional, 32, section_alignment);
        put_u32(&mut optional, 36, file_alignment);
        put_u32(&mut optional, 56, first_address + 2 * section_alignment);
        let headers = align(u64::from(signature_offset) + 264 + 80, file_alignment.into());
        put_u32(&mut optional, 60, u32::try_from(headers).unwrap());
        put_u32(&mut optional, 64, 0xDEAD_BEEF); // checksum
        put_u16(&mut optional, 68, 10); // EFI application
        put_u32(&mut optional, 108, 16);
        out.extend_from_slice(&optional);
        let mut data = vec![];
        for (name, content, characteristics, address) in [
            (".text", &b"\x31\xC0\xC3"[..], 0x6000_0020, first_address),
            (".sbat", b"sbat,1,SBAT Version\n", 0x4000_0040, first_address + section_alignment),
        ] {
            let mut header = [0; SECTION_LEN];
            header[..name.len()].copy_from_slice(name.as_bytes());
            let raw = align(content.len() as u64, file_alignment.into());
            put_u32(&mut header, 8, u32::try_from(content.len()).unwrap());
            put_u32(&mut header, 12, address);
            put_u32(&mut header, 16, u32::try_from(raw).unwrap());
            put_u32(&mut header, 20, u32::try_from(headers + data.len() as u64).unwrap());
            put_u32(&mut header, 36, characteristics);
            out.extend_from_slice(&header);
            data.extend_from_slice(content);
            data.resize(data.len().next_multiple_of(usize::try_from(file_alignment).unwrap()), 0);
        }
        out.resize(usize::try_from(headers).unwrap(), 0);
        out.extend_from_slice(&data);
        out
    }
}

fn section(name: &str, content: impl Into<ExtentMap>) -> Section {
    Section { name: name.to_owned(), content: content.into() }
}

fn bytes(map: &ExtentMap) -> Vec<u8> {
    read_all(map, &HashMap::<Digest, Bytes>::new(), 1 << 30).unwrap()
}

fn uki_sections() -> Vec<Section> {
    vec![
        section(".osrel", b"ID=debian\n".to_vec()),
        section(".cmdline", b"console=ttyS0".to_vec()),
        section(".linux", vec![0xEE; 0x1234]),
        section(".initrd", ExtentMap::zeros(0x2001)),
        section(".profile", b"ID=main".to_vec()),
        section(".profile", b"ID=reset".to_vec()),
        section(".cmdline", b"console=ttyS0 wipe".to_vec()),
    ]
}

/// The stub of Debian's systemd.
fn debian_stub() -> Option<Vec<u8>> {
    let path = ci::file("/usr/lib/systemd/boot/efi/linuxx64.efi.stub", "systemd-boot-efi")?;
    Some(std::fs::read(path).unwrap())
}

#[test]
fn a_section_without_data_lies_within_the_file_wherever_its_header_says() {
    // Found by fuzzing: the offset was passed on, and to take that range of the file was a panic.
    let mut stub = STUB.bytes();
    let header = usize::try_from(STUB.signature_offset).unwrap() + 264 + SECTION_LEN;
    put_u32(&mut stub, header + 16, 0);
    put_u32(&mut stub, header + 20, u32::MAX);
    let sbat = &sections(&stub).unwrap()[1];
    assert_eq!((&*sbat.name, sbat.data.clone()), (".sbat", 0..0));
    let map = append_sections(&stub, &[section(".more", ExtentMap::inline(&b"more"[..]))], 0).unwrap();
    let bytes = read_all(&map, &HashMap::<Digest, Bytes>::new(), 1 << 20).unwrap();
    assert!(sections(&bytes).unwrap().iter().all(|s| s.data.end <= bytes.len() as u64));
}

#[test]
fn the_image_of_a_small_stub_is_the_golden_one() {
    let image = append_sections(&STUB.bytes(), &uki_sections(), 1_559_424_892).unwrap();
    let mut text = String::new();
    for (offset, extent) in image.iter() {
        writeln!(text, "{offset:#08x} {extent:?}").unwrap();
    }
    let image = bytes(&image);
    writeln!(text, "\nDOS {}", hex(&image[..0x80])).unwrap();
    writeln!(text, "COFF {}", hex(&image[0x80..0x98])).unwrap();
    writeln!(text, "optional {}", hex(&image[0x98..0x188])).unwrap();
    for (index, header) in image[0x188..][..40 * 9].chunks(40).enumerate() {
        writeln!(text, "section {index} {} {}", header[..8].escape_ascii(), hex(&header[8..])).unwrap();
    }
    assert_eq!(text, include_str!("../../tests/golden/pe.txt"), "\n{text}");
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (index, word) in bytes.chunks(4).enumerate() {
        out.push_str(if index % 8 == 0 && bytes.len() > 32 { "\n  " } else { " " });
        for byte in word {
            write!(out, "{byte:02x}").unwrap();
        }
    }
    out
}

#[test]
fn the_object_crate_reads_what_was_appended() {
    for stub in [Some(STUB.bytes()), debian_stub()].into_iter().flatten() {
        let added = uki_sections();
        let image = bytes(&append_sections(&stub, &added, 7).unwrap());
        let before = PeFile64::parse(&*stub).unwrap();
        let after = PeFile64::parse(&*image).unwrap();

        let headers = after.nt_headers();
        assert_eq!(headers.file_header.time_date_stamp.get(LE), 7);
        let optional = &headers.optional_header;
        assert_eq!(optional.check_sum.get(LE), 0);
        assert_eq!(
            (optional.major_linker_version, optional.minor_linker_version),
            (0, 0),
            "the reference clears it"
        );
        assert_eq!(
            optional.address_of_entry_point.get(LE),
            before.nt_headers().optional_header.address_of_entry_point.get(LE)
        );

        assert_eq!(headers.file_header.number_of_symbols.get(LE), 0);
        assert!(after.symbols().next().is_none(), "the symbols of Debian 12's stub are gone");
        let stub_count = before.sections().count();
        for (mine, theirs) in after.sections().zip(before.sections()) {
            assert_eq!(mine.name(), theirs.name());
            assert_eq!(mine.address(), theirs.address());
            assert_eq!(mine.data(), theirs.data());
        }
        let mut end = 0;
        for (found, wanted) in after.sections().skip(stub_count).zip(&added) {
            assert_eq!(found.name().unwrap(), wanted.name);
            assert_eq!(found.data().unwrap()[..], bytes(&wanted.content));
            assert!(found.address() >= end, "sections do not overlap in memory");
            assert_eq!(found.address() % u64::from(optional.section_alignment.get(LE)), 0);
            end = found.address() + found.size();
        }
        let size_of_image = u64::from(optional.size_of_image.get(LE));
        assert!(size_of_image >= end && size_of_image < end + 0x1000);
    }
}

#[test]
fn objdump_and_objcopy_read_what_was_appended() {
    let (Some(objdump), Some(objcopy)) = (ci::tool("objdump"), ci::tool("objcopy")) else { return };
    let Some(stub) = debian_stub() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.efi");
    let added: Vec<Section> = uki_sections().into_iter().take(4).collect();
    std::fs::write(&file, bytes(&append_sections(&stub, &added, 0).unwrap())).unwrap();

    let output = Command::new(objdump).arg("-h").arg(&file).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("file format pei-x86-64"), "{text}");
    for Section { name, content } in &added {
        let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).expect(name);
        assert_eq!(line.split_whitespace().nth(2).unwrap(), format!("{:08x}", content.len()), "{line}");
        let out = dir.path().join("section");
        let dumped = Command::new(&objcopy)
            .args(["--dump-section", &format!("{name}={}", out.display())])
            .arg(&file)
            .arg(dir.path().join("copy"))
            .status()
            .unwrap();
        assert!(dumped.success());
        // objcopy gives the section as padded in the file.
        let dumped = std::fs::read(out).unwrap();
        let content = bytes(content);
        assert_eq!(dumped[..content.len()], content);
        assert!(dumped[content.len()..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn sections_gives_content_without_padding() {
    let image = bytes(&append_sections(&STUB.bytes(), &uki_sections(), 0).unwrap());
    let found = sections(&image).unwrap();
    let names: Vec<_> = found.iter().map(|s| s.name.as_str()).collect();
    let added = [".osrel", ".cmdline", ".linux", ".initrd", ".profile", ".profile", ".cmdline"];
    assert_eq!(names, [&[".text", ".sbat"][..], &added[..]].concat());
    let data = |s: &SectionHeader| {
        image[usize::try_from(s.data.start).unwrap()..usize::try_from(s.data.end).unwrap()].to_vec()
    };
    assert_eq!(data(&found[1]), b"sbat,1,SBAT Version\n");
    assert_eq!(data(&found[8]), b"console=ttyS0 wipe");
    // What was appended can be appended to.
    let again = bytes(&append_sections(&image, &[section(".more", vec![1])], 0).unwrap());
    assert_eq!(sections(&again).unwrap().len(), 10);
}

#[test]
fn content_is_carried_and_not_read() {
    let blob = Digest::of(b"not here");
    let kernel = section(".linux", ExtentMap::blob(blob, 0, 100 << 20));
    let image = append_sections(&STUB.bytes(), &[kernel], 0).unwrap();
    assert_eq!(image.blobs(), [blob]);
    assert_eq!(image.len(), 0x600 + (100 << 20));
}

#[test]
fn what_does_not_fit_is_refused() {
    let stub = STUB.bytes();
    for name in ["", "ninebytes", "a\0b"] {
        let added = [section(name, vec![1])];
        assert_eq!(append_sections(&stub, &added, 0), Err(Error::Name { name: name.to_owned() }));
    }
    let large = |len| section(".linux", ExtentMap::zeros(len));
    for added in [
        vec![large(1 << 32)],
        vec![large((1 << 32) - 1)],
        vec![large(3 << 30), large(1 << 30)],
        vec![large(2 << 30), large((2 << 30) - 0x2000)],
    ] {
        assert!(matches!(append_sections(&stub, &added, 0), Err(Error::TooLarge { .. })), "{added:?}");
    }
    assert!(append_sections(&stub, &[large((4 << 30) - 0x4000)], 0).is_ok());

    // The headers end where the first section begins in memory: 0x188 + 40 × 92 = 0xfe8.
    let many = vec![section(".a", vec![1]); 91];
    assert!(append_sections(&stub, &many[..90], 0).is_ok());
    assert!(matches!(append_sections(&stub, &many, 0), Err(Error::TooManySections { count: 93, .. })));
    // Aligned to 4, the forgotten signature is missed.
    let narrow = Stub { file_alignment: 4, ..STUB };
    assert!(matches!(
        append_sections(&narrow.bytes(), &many[..1], 0),
        Err(Error::TooManySections { count: 3, .. })
    ));
}

#[test]
fn malformed_stubs_are_named() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut stub = STUB.bytes();
        change(&mut stub);
        append_sections(&stub, &uki_sections(), 0).unwrap_err()
    };
    let pe = usize::try_from(STUB.signature_offset).unwrap();
    let (coff, optional, table) = (pe + 4, pe + 24, pe + 264);
    assert_eq!(with(&Vec::clear), Error::Truncated { part: "DOS header", len: 0 });
    assert_eq!(with(&|s| s[0] = 0), Error::Magic { expected: "DOS header" });
    assert_eq!(with(&|s| s[pe] = 0), Error::Magic { expected: "PE signature" });
    assert!(matches!(with(&|s| put_u32(s, 0x3c, u32::MAX)), Error::Truncated { part: "signature", .. }));
    assert!(matches!(with(&|s| s.truncate(pe + 2)), Error::Truncated { part: "signature", .. }));
    assert!(matches!(with(&|s| s.truncate(coff + 3)), Error::Truncated { part: "COFF header", .. }));
    assert!(matches!(with(&|s| s.truncate(optional + 90)), Error::Truncated { part: "optional header", .. }));
    assert!(matches!(with(&|s| s.truncate(table + 79)), Error::Truncated { part: "section headers", .. }));
    assert!(matches!(with(&|s| s.truncate(0x5ff)), Error::Truncated { part: "sections", .. }));
    assert_eq!(with(&|s| put_u16(s, optional, 0x10b)), Error::Pe32);
    assert_eq!(with(&|s| put_u16(s, optional, 0x107)), Error::Magic { expected: "PE32+ optional header" });
    assert_eq!(with(&|s| put_u16(s, coff + 16, 112)), Error::OptionalHeader { len: 112 });
    assert!(matches!(
        with(&|s| put_u16(s, coff + 2, u16::MAX)),
        Error::Truncated { part: "section headers", .. }
    ));
    assert_eq!(with(&|s| put_u16(s, coff + 2, 0)), Error::NoSections);
    assert_eq!(with(&|s| put_u32(s, optional + 36, 0)), Error::Alignment { file: 0, memory: 0x1000 });
    assert_eq!(with(&|s| put_u32(s, optional + 32, 3)), Error::Alignment { file: 0x200, memory: 3 });
    assert_eq!(
        with(&|s| s[table..][..2].copy_from_slice(b"/4")),
        Error::Unsupported { what: "a section name longer than eight bytes" }
    );
    assert_eq!(with(&|s| put_u32(s, optional + 144, 5)), Error::Unsupported { what: "a signature" });
    let layout = |error| match error {
        Error::Layout { name, reason } => (name, reason),
        other => panic!("{other}"),
    };
    assert_eq!(
        layout(with(&|s| put_u32(s, table + 12, 0x9000))),
        (".text".to_owned(), "lies behind the last one in memory")
    );
    assert_eq!(
        layout(with(&|s| put_u32(s, table + 56, 0x100))),
        (".sbat".to_owned(), "is not padded to the alignment of the file")
    );
    assert_eq!(
        layout(with(&|s| {
            put_u32(s, table + 20, 0);
            put_u32(s, table + 16, 0x600);
        })),
        (".sbat".to_owned(), "overlaps another in the file")
    );
}

proptest! {
    #[test]
    fn damaged_stubs_never_panic(damage in prop::collection::vec((0..0x180usize, any::<u8>()), 1..6), cut in 0..0x1000usize) {
        let mut stub = STUB.bytes();
        for (at, value) in damage {
            stub[0x70 + at] = value;
        }
        stub.truncate(cut.max(0x180));
        let _ = sections(&stub);
        if let Ok(image) = append_sections(&stub, &uki_sections(), 0) {
            // What we accept, we can read again.
            prop_assert!(sections(&bytes(&image)).is_ok());
        }
    }

    #[test]
    fn every_section_is_read_back(contents in prop::collection::vec(("[.][a-z]{1,7}", prop::collection::vec(any::<u8>(), 0..3000)), 0..20)) {
        let added: Vec<_> = contents.iter().map(|(name, content)| section(name, content.clone())).collect();
        let image = append_sections(&STUB.bytes(), &added, 0).unwrap();
        let image = bytes(&image);
        let found = sections(&image).unwrap();
        for (header, (name, content)) in found.iter().skip(2).zip(&contents) {
            prop_assert_eq!(&header.name, name);
            let range = usize::try_from(header.data.start).unwrap()..usize::try_from(header.data.end).unwrap();
            prop_assert_eq!(&image[range], &content[..]);
        }
        prop_assert_eq!(found.len(), 2 + contents.len());
    }
}
