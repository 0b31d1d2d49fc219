//! PE images: sections lie within the file, and one more can be appended and found.
#![no_main]
use extent::{ExtentMap, read_all};
use formats::pe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|image: &[u8]| {
    if let Ok(sections) = pe::sections(image) {
        assert!(sections.iter().all(|section| section.data.end <= image.len() as u64));
    }
    let section = pe::Section { name: ".more".into(), content: ExtentMap::inline(&b"content"[..]) };
    if let Ok(map) = pe::append_sections(image, &[section], 1) {
        let blobs = std::collections::HashMap::new();
        let bytes = read_all(&map, &blobs, 1 << 30).expect("nothing but inline bytes and zeros");
        let sections = pe::sections(&bytes).expect("what was appended to can be read");
        let last = sections.last().expect("there is one");
        assert_eq!(last.name, ".more");
        let range = last.data.start as usize..last.data.end as usize;
        assert_eq!(&bytes[range], b"content");
    }
});
