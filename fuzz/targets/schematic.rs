//! Schematics: what is accepted has a canonical form, which is its own.
#![no_main]
use libfuzzer_sys::fuzz_target;
use schematics::Schematic;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(schematic) = Schematic::parse(bytes) {
        let canonical = schematic.canonical();
        let again = Schematic::parse(canonical.as_bytes()).expect("a canonical form is a schematic");
        assert_eq!(again.canonical(), canonical);
        assert_eq!(again.id(), schematic.id());
    }
});
