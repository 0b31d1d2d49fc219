//! Source images, given on from the store.

use serde_json::{Value, json};

use crate::common::field;
use crate::support::VERSION;
use crate::{INDEX, files, registry};

#[tokio::test]
async fn source_images_are_there_as_the_store_has_them() {
    let registry = registry().await;
    let (index, media_type, digest) = registry.json("/v2/siderolabs/installer-base/manifests/v13.1.0").await;
    assert_eq!(media_type, INDEX);
    assert_eq!(registry.get(&format!("/v2/siderolabs/installer-base/manifests/{digest}")).await.2, digest);
    let manifest = index["manifests"][0]["digest"].as_str().unwrap();
    let (manifest, ..) = registry.json(&format!("/v2/siderolabs/installer-base/manifests/{manifest}")).await;
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let (layer_bytes, ..) = registry.get(&format!("/v2/siderolabs/installer-base/blobs/{layer}")).await;
    assert!(files(&layer_bytes).contains_key("usr/bin/installer"));
    // A blob is no manifest because somebody asks for it as one.
    let (status, code) = registry.error(&format!("/v2/siderolabs/installer-base/manifests/{layer}")).await;
    assert_eq!((status, code.as_str()), (404, "MANIFEST_UNKNOWN"));
    let tags = registry.server.get("/v2/siderolabs/imager/tags/list").send().await.unwrap();
    assert_eq!(tags.json::<Value>().await.unwrap()["tags"], json!([VERSION]));
    let none = registry.server.get(&format!("/v2/siderolabs/imager/referrers/{digest}?artifactType=a/b"));
    let none = none.send().await.unwrap();
    assert_eq!(field(&none, "oci-filters-applied"), "artifactType");
    // What was pulled with its signatures is given on with them.
    let listed =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"artifactType": "a/b", "size": 1}]});
    let kept = registry.made.document(&listed);
    registry.made.tag("siderolabs/installer-base", &cosign::referrers_tag(&digest), &kept);
    let given = registry.server.get(&format!("/v2/siderolabs/installer-base/referrers/{digest}"));
    assert_eq!(given.send().await.unwrap().json::<Value>().await.unwrap(), listed);
    assert_eq!(field(&none, "content-type"), INDEX);
}
