//! Resolved profiles equal the reference's golden files.

use imager::Profile;

#[test]
fn built_in_profiles_resolve_as_the_reference_does() {
    let rows = include_str!("vectors/profiles.jsonl");
    let mut count = 0;
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| row[name].as_str().unwrap().to_owned();
        let profile = Profile {
            base_profile_name: field("profile"),
            arch: field("arch"),
            version: field("version"),
            ..Profile::default()
        };
        let resolved = serde_json::to_value(profile.resolve().unwrap()).unwrap();
        assert_eq!(resolved, row["resolved"], "{} {} {}", row["profile"], row["arch"], row["version"]);
        count += 1;
    }
    assert!(count >= 256, "{count} rows");
}

#[test]
fn a_profile_survives_its_document() {
    for line in include_str!("vectors/profiles.jsonl").lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let profile: Profile = serde_json::from_value(row["resolved"].clone()).unwrap();
        assert_eq!(serde_json::to_value(profile).unwrap(), row["resolved"]);
    }
}
