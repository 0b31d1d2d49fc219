//! Signatures of installer images and of files, as clients find them.

use cosign::{Policy, SigningKey};
use extent::Digest;
use serde_json::{Value, json};

use crate::common::field;
use crate::support::VERSION;
use crate::{INDEX, registry, signed_by};

#[tokio::test]
async fn indices_and_manifests_are_signed_in_both_shapes() {
    let key = SigningKey::generate().unwrap();
    let registry = signed_by(Some(key.clone())).await;
    let base = &registry.base;
    let pem = registry.server.get("/oci/cosign/signing-key.pub").send().await.unwrap().text().await.unwrap();
    assert_eq!(pem, key.public_key_pem());
    let policy = Policy::Key(cosign::PublicKey::from_pem(&pem).unwrap());
    let other = Policy::Key(SigningKey::generate().unwrap().public_key());
    let (index, _, index_digest) = registry.json(&format!("{base}/manifests/{VERSION}")).await;
    let mut signed = vec![index_digest];
    signed.extend(
        index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| -> Digest { one["digest"].as_str().unwrap().parse().unwrap() }),
    );
    assert_eq!(signed.len(), 3);
    for (n, digest) in signed.iter().enumerate() {
        let another = &signed[(n + 1) % signed.len()];
        // The old shape.
        let (manifest, ..) =
            registry.get(&format!("{base}/manifests/{}", cosign::signature_tag(digest))).await;
        let layers = cosign::signature_layers(&manifest).unwrap();
        assert_eq!(layers.len(), 1);
        let (payload, ..) = registry.get(&format!("{base}/blobs/{}", layers[0].payload.digest)).await;
        policy.verify_payload(digest, &layers[0], &payload).unwrap();
        assert!(policy.verify_payload(another, &layers[0], &payload).is_err());
        assert!(other.verify_payload(digest, &layers[0], &payload).is_err());
        // The new one, found by either way.
        let (list, media_type, _) =
            registry.json(&format!("{base}/manifests/{}", cosign::referrers_tag(digest))).await;
        assert_eq!(media_type, INDEX);
        let listed = registry.server.get(&format!("{base}/referrers/{digest}")).send().await.unwrap();
        assert_eq!(listed.json::<Value>().await.unwrap(), list);
        let none = registry.server.get(&format!("{base}/referrers/{digest}?artifactType=a/b"));
        assert_eq!(none.send().await.unwrap().json::<Value>().await.unwrap()["manifests"], json!([]));
        let created = &list["manifests"][0]["annotations"]["org.opencontainers.image.created"];
        assert_eq!(created, "2019-06-01T21:34:52Z", "one epoch for all");
        let referrer = list["manifests"][0]["digest"].as_str().unwrap();
        let (manifest, ..) = registry.get(&format!("{base}/manifests/{referrer}")).await;
        let layer = cosign::bundle_layer(&manifest).unwrap();
        let (bundle, ..) = registry.get(&format!("{base}/blobs/{}", layer.digest)).await;
        policy.verify_image_bundle(digest, &bundle).unwrap();
        assert!(policy.verify_image_bundle(another, &bundle).is_err());
        assert!(other.verify_image_bundle(digest, &bundle).is_err());
    }
    // Files.
    let id = base.rsplit_once('/').unwrap().1;
    for asset in ["metal-amd64.raw.zst", "installer-amd64.tar"] {
        let path = format!("/image/{id}/{VERSION}/{asset}");
        let bytes = registry.server.get(&path).send().await.unwrap().bytes().await.unwrap();
        let bundle = registry.server.get(&format!("{path}.sigstore.json")).send().await.unwrap();
        assert_eq!(field(&bundle, "content-type"), cosign::BUNDLE_MEDIA_TYPE);
        let bundle = bundle.bytes().await.unwrap();
        policy.verify_blob_bundle(&Digest::of(&bytes), &bundle).unwrap();
        assert!(policy.verify_blob_bundle(&Digest::of(&bytes[1..]), &bundle).is_err());
    }
    // Without a key there is nothing to find.
    let unsigned = self::registry().await;
    let (status, code) =
        unsigned.error(&format!("{base}/manifests/{}", cosign::signature_tag(&index_digest))).await;
    assert_eq!((status, code.as_str()), (404, "MANIFEST_UNKNOWN"));
    let listed = unsigned.server.get(&format!("{base}/referrers/{index_digest}")).send().await.unwrap();
    assert_eq!(listed.json::<Value>().await.unwrap()["manifests"], json!([]));
}
