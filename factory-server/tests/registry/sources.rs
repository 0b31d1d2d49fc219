//! Source images, given on from the store.

use extent::Digest;
use oci_spec::image::MediaType;
use serde_json::{Value, json};

use crate::common::field;
use crate::support::VERSION;
use crate::{INDEX, MANIFEST, files, registry};

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

#[tokio::test]
async fn manifests_that_do_not_say_what_they_are_have_the_type_of_their_descriptor_or_shape() {
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    let registry = registry().await;
    let made = &registry.made;
    let untyped = |digest: &Digest| {
        let bytes = made.store.bytes(digest, 1 << 20).unwrap();
        let mut document: Value = serde_json::from_slice(&bytes).unwrap();
        document.as_object_mut().unwrap().remove("mediaType");
        document
    };
    let (.., index) = registry.json("/v2/siderolabs/installer-base/manifests/v13.1.0").await;
    let index = untyped(&index);
    let manifest = untyped(&index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap());
    let (index, manifest) = (made.document(&index), made.document(&manifest));
    let docker = made.document(&json!({"config": {"mediaType": "a/b", "digest": index.digest, "size": 2},
        "schemaVersion": 2, "layers": []}));
    let base = "/v2/siderolabs/bare/manifests";
    for (tag, descriptor, said, media_type, alone) in [
        ("index", index, INDEX, INDEX, INDEX),
        ("manifest", manifest, MANIFEST, MANIFEST, MANIFEST),
        // What a registry said when it was pulled, and nobody can know by the digest.
        ("docker", docker, DOCKER, DOCKER, MANIFEST),
        // What cannot be: an index is no manifest because its descriptor says so.
        ("mistaken", index, MANIFEST, INDEX, INDEX),
        ("page", manifest, "text/html", MANIFEST, MANIFEST),
    ] {
        made.store.tag("siderolabs/bare", tag, &descriptor.oci(MediaType::from(said))).unwrap();
        assert_eq!(registry.get(&format!("{base}/{tag}")).await.1, media_type, "{tag}");
        assert_eq!(registry.get(&format!("{base}/{}", descriptor.digest)).await.1, alone, "{tag}");
    }
    // What is not one of both, or both, or says that it is something else.
    let both = json!({"schemaVersion": 2, "manifests": [], "config": {}, "layers": []});
    let page = json!({"schemaVersion": 2, "mediaType": "text/html", "manifests": []});
    for document in [json!({}), json!({"config": {}, "rootfs": {}}), json!({"layers": []}), both, page] {
        let digest = made.document(&document).digest;
        let (status, code) = registry.error(&format!("{base}/{digest}")).await;
        assert_eq!((status, code.as_str()), (404, "MANIFEST_UNKNOWN"), "{document}");
    }
}
