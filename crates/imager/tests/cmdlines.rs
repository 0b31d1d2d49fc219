//! Command lines equal the reference's golden ones.

use imager::{Profile, command_line};

#[test]
fn command_lines_are_the_references() {
    let rows = include_str!("vectors/cmdlines.jsonl");
    let mut count = 0;
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| row[name].as_str().unwrap().to_owned();
        let mut profile = Profile {
            base_profile_name: field("profile"),
            arch: field("arch"),
            version: field("version"),
            ..Profile::default()
        };
        profile.output.kind = field("kind").parse().unwrap();
        if let Some(args) = row["extraKernelArgs"].as_array() {
            profile.customization.extra_kernel_args =
                args.iter().map(|arg| arg.as_str().unwrap().to_owned()).collect();
        }
        let resolved = profile.resolve().unwrap();
        assert_eq!(command_line(&resolved, &[]).unwrap().to_string(), field("cmdline"), "{line}");
        count += 1;
    }
    assert!(count >= 10, "{count} rows");
}
