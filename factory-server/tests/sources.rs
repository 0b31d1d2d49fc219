//! A factory with an empty store, and registries that have what it needs: over HTTP on both sides.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
mod pulling;
#[path = "../../crates/remote/tests/support/mod.rs"]
mod registries;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::Server;
use cosign::SigningKey;
use extent::Digest;
use factory_server::Metrics;
use imager::FurtherCatalogue;
use oci_spec::image::Descriptor;
use pulling::{
    CORE, EMPTY, Pulling, core, extensions, image, names, origin, push, push_as, register, signed,
};
use registries::{Fake, Program, status};
use serde_json::Value;
use support::{Made, SCHEMATIC, VERSION, complete, extension};

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_serves_what_its_source_has_and_goes_on_without_it() {
    let Some((program, made, key)) = signed("mirror/a/").await else { return };
    let full = Server::over(made.factory.clone()).await;
    let pulling = Pulling::from(core(origin(&program.host, "mirror/a", Some(&key)))).await;
    let id = register(&pulling, SCHEMATIC).await;
    assert_eq!(full.post(SCHEMATIC).await.json::<Value>().await.unwrap()["id"], id.as_str());
    full.post("{}").await;
    pulling.server.post("{}").await;
    let paths = [
        "/versions".to_owned(),
        extensions(),
        format!("/image/{id}/{VERSION}/metal-amd64.raw.zst"),
        format!("/image/{id}/{VERSION}/metal-amd64.raw.zst.lock.json"),
        format!("/v2/installer/{id}/manifests/{VERSION}"),
        format!("/pxe/{EMPTY}/{VERSION}/metal-arm64"),
    ];
    for path in &paths {
        let want = full.get(path).send().await.unwrap().bytes().await.unwrap();
        assert!(pulling.bytes(path).await == want, "{path}");
    }
    // As the engine knows them, and with their signatures.
    for name in CORE {
        let tags = pulling.store.tags(name).unwrap();
        assert!(tags.iter().any(|tag| tag == VERSION), "{name} {tags:?}");
        assert!(tags.iter().any(|tag| tag.starts_with("sha256-")), "{name} {tags:?}");
    }
    let here = pulling.bytes(&format!("/v2/siderolabs/imager/manifests/{VERSION}")).await;
    let there = full.get(&format!("/v2/siderolabs/imager/manifests/{VERSION}")).send().await.unwrap();
    assert!(there.bytes().await.unwrap() == here);

    // The source is gone, the server starts anew: on the same store, and on one that knows nothing.
    drop(program);
    let Pulling { dir, server, .. } = pulling;
    server.stop().await.unwrap();
    let sources = core(origin("127.0.0.1:1", "mirror/a", Some(&key)));
    let again = Pulling::over(dir, sources.clone()).await;
    for path in &paths {
        again.bytes(path).await;
    }
    assert!(again.store.scrub(&|_| ()).unwrap().is_clean());
    let nothing = Pulling::from(sources).await;
    let (code, after, reason, _) = nothing.refused("/versions").await;
    assert_eq!((code, after.as_str(), reason.as_str()), (503, "30", "source-unavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_without_the_right_signature_are_refused_and_nothing_of_them_is_named() {
    let Some((program, _made, _key)) = signed("").await else { return };
    let wrong = SigningKey::generate().unwrap();
    let pulling = Pulling::from(core(origin(&program.host, "", Some(&wrong)))).await;
    pulling.server.post("{}").await;
    let kernel = image("kernel-amd64");
    for path in [&kernel, &extensions(), &format!("/v2/installer/{EMPTY}/manifests/{VERSION}")] {
        let response = pulling.server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 502, "{path}");
    }
    let (code, _, reason, text) = pulling.refused(&kernel).await;
    assert_eq!((code, reason.as_str()), (502, "signature-refused"));
    assert!(text.contains(&format!("siderolabs/imager:{VERSION}")) && text.contains("key"), "{text}");
    assert!(!text.contains("127.0.0.1"), "{text}");
    let repositories = pulling.store.repositories().unwrap();
    assert!(!repositories.iter().any(|name| name.starts_with("siderolabs")), "{repositories:?}");

    // No signature at all.
    let bare = Program::start().unwrap();
    push(&complete().store, &bare.host, "", CORE[0], VERSION, None).await;
    let pulling = Pulling::from(core(origin(&bare.host, "", Some(&wrong)))).await;
    pulling.server.post("{}").await;
    let (code, _, reason, text) = pulling.refused(&kernel).await;
    assert_eq!((code, reason.as_str()), (502, "signature-refused"));
    assert!(text.ends_with("it is not signed"), "{text}");
    // Taken where that is said.
    let pulling = Pulling::from(core(origin(&bare.host, "", None))).await;
    pulling.server.post("{}").await;
    pulling.bytes(&kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_is_said_and_what_was_pulled_serves() {
    let Some((program, _made, key)) = signed("").await else { return };
    let pulling = Pulling::from(core(origin(&program.host, "", Some(&key)))).await;
    pulling.server.post("{}").await;
    let kernel = image("kernel-amd64");
    let bytes = pulling.bytes(&kernel).await;
    let (versions, stale) = pulling.list("/versions").await;
    assert_eq!((versions, stale.as_str()), (serde_json::json!([VERSION]), ""));
    let tags =
        ["siderolabs/imager", &format!("installer/{EMPTY}")].map(|name| format!("/v2/{name}/tags/list"));
    for path in [&extensions(), &tags[0], &tags[1]] {
        assert_eq!(pulling.list(path).await.1, "", "{path}");
    }

    // A version that the source does not have is the client's mistake.
    let other = kernel.replace(VERSION, "v13.2.0");
    let (code, _, reason, text) = pulling.refused(&other).await;
    assert_eq!((code, reason.as_str()), (404, "version-not-available"));
    assert!(text.contains(VERSION), "{text}");

    drop(program);
    assert!(pulling.factory.refresh_versions().await.is_err());
    pulling.factory.refresh_catalogues().await;
    assert!(pulling.bytes(&kernel).await == bytes);
    for path in [&"/versions".to_owned(), &extensions(), &tags[0], &tags[1]] {
        let (_, stale) = pulling.list(path).await;
        assert!(stale.starts_with("image-factory; hit"), "{path} {stale}");
    }
    let (code, after, reason, _) = pulling.refused(&kernel.replace(VERSION, "v13.3.0")).await;
    assert_eq!((code, after.as_str(), reason.as_str()), (503, "30", "source-unavailable"));
    // It was asked for while the source was there.
    assert_eq!(pulling.refused(&other).await.0, 404);
    // A digest of nobody pulls nothing.
    let blob = format!("/v2/installer/{EMPTY}/blobs/{}", Digest::of(b"nobody's"));
    assert_eq!(pulling.server.get(&blob).send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_that_changes_is_pulled_again_if_it_is_signed() {
    let Some((program, made, key)) = signed("").await else { return };
    let pulling = Pulling::from(core(origin(&program.host, "", Some(&key)))).await;
    let before = names(&pulling.list(&extensions()).await.0).len();
    assert!(before > 1);

    // Somebody else's.
    made.catalogue(VERSION, &[]);
    let other = SigningKey::generate().unwrap();
    push(&made.store, &program.host, "", CORE[2], VERSION, Some(&other)).await;
    pulling.factory.refresh_catalogues().await;
    let (list, stale) = pulling.list(&extensions()).await;
    assert_eq!(names(&list).len(), before);
    assert!(stale.contains("detail=\"source-failing\""), "{stale}");

    let layer = extension("new", ">= 1.0.0", &[("usr/local/bin/new", b"new")]);
    made.catalogue(VERSION, &[("new", made.manifest(imager::Arch::Amd64, &[layer]))]);
    push(&made.store, &program.host, "", CORE[2], VERSION, Some(&key)).await;
    pulling.factory.refresh_catalogues().await;
    let (list, stale) = pulling.list(&extensions()).await;
    assert_eq!((names(&list), stale.as_str()), (vec!["siderolabs/new"], ""));

    // A new version is offered once the list was asked for.
    push(&made.store, &program.host, "", CORE[0], VERSION, Some(&key)).await;
    let imager = made.store.resolve_tag(CORE[0], VERSION).unwrap().unwrap();
    push_as(&made.store, &program.host, "siderolabs/imager:v13.2.0", &imager, Some(&key)).await;
    pulling.list("/versions").await;
    pulling.factory.refresh_versions().await.unwrap();
    assert_eq!(pulling.list("/versions").await.0, serde_json::json!([VERSION, "v13.2.0"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_in_the_background() {
    let Some((program, made, key)) = signed("").await else { return };
    let pulling = Pulling::from(core(origin(&program.host, "", Some(&key)))).await;
    pulling.list(&extensions()).await;
    let (metrics, often) = (Metrics::default(), Duration::from_millis(200));
    let refreshing = tokio::spawn(factory_server::refresh(pulling.factory.clone(), metrics, often, often));
    let imager = made.store.resolve_tag(CORE[0], VERSION).unwrap().unwrap();
    push_as(&made.store, &program.host, "siderolabs/imager:v13.2.0", &imager, Some(&key)).await;
    made.catalogue(VERSION, &[]);
    push(&made.store, &program.host, "", CORE[2], VERSION, Some(&key)).await;
    pulling.until("/versions", |list, stale| list.as_array().unwrap().len() == 2 && stale.is_empty()).await;
    pulling.until(&extensions(), |list, stale| names(list).is_empty() && stale.is_empty()).await;
    drop(program);
    for path in ["/versions".to_owned(), extensions()] {
        pulling.until(&path, |_, stale| stale.contains("; ttl=-")).await;
    }
    refreshing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_catalogue_goes_first_and_has_a_key_of_its_own() {
    let Some((program, made, key)) = signed("").await else { return };
    let (third, third_key) = (support::made(), SigningKey::generate().unwrap());
    let tool = extension("tools", ">= 1.0.0", &[("usr/local/bin/tool", b"a better tool")]);
    let mine = extension("mine", ">= 1.0.0", &[("usr/local/bin/mine", b"mine")]);
    let manifest = |layer| third.manifest(imager::Arch::Amd64, &[layer]);
    let images = [("tools", manifest(tool)), ("mine", manifest(mine))];
    // It also claims the name of a core image.
    third.catalogue(VERSION, &[images[0], images[1], ("imager", images[1].1)]);
    let media_type = || oci_spec::image::MediaType::ImageManifest;
    let host = Program::start().unwrap();
    let catalogue = third.store.resolve_tag(CORE[2], VERSION).unwrap().unwrap();
    let to = format!("acme/extensions:{VERSION}");
    push_as(&third.store, &host.host, &to, &catalogue, Some(&third_key)).await;
    for (name, image) in images.iter().copied().chain([("imager", images[1].1)]) {
        let to = format!("siderolabs/{name}:1.0");
        push_as(&third.store, &host.host, &to, &image.oci(media_type()), Some(&third_key)).await;
    }
    let further = |key: &SigningKey| FurtherCatalogue {
        name: "acme".to_owned(),
        origin: origin(&host.host, "", Some(key)),
        extensions: Some("acme/extensions".to_owned()),
        overlays: None,
    };
    let mut sources = core(origin(&program.host, "", Some(&key)));
    sources.catalogues.push(further(&third_key));
    let pulling = Pulling::from(sources.clone()).await;

    let (list, _) = pulling.list(&extensions()).await;
    let listed = names(&list);
    assert_eq!(listed[..3], ["siderolabs/tools", "siderolabs/mine", "siderolabs/imager"]);
    assert_eq!(listed.iter().filter(|name| **name == "siderolabs/tools").count(), 1);
    assert!(listed.contains(&"siderolabs/firmware"));
    assert_eq!(list[0]["digest"], images[0].1.digest.to_string());
    let id = register(
        &pulling,
        "customization: {systemExtensions: {officialExtensions: [siderolabs/tools, siderolabs/imager, \
         siderolabs/firmware]}}",
    )
    .await;
    let lock = pulling.bytes(&format!("/image/{id}/{VERSION}/initramfs-amd64.xz.lock.json")).await;
    let lock: Value = serde_json::from_slice(&lock).unwrap();
    assert_eq!(lock["extensions"][0]["image"], images[0].1.digest.to_string());
    // Whoever signs extensions replaces no core image.
    let imager = pulling.store.resolve_tag(CORE[0], VERSION).unwrap().unwrap();
    assert_eq!(
        Some(imager.digest()),
        made.store.resolve_tag(CORE[0], VERSION).unwrap().as_ref().map(Descriptor::digest)
    );
    assert_eq!(pulling.store.tags(CORE[0]).unwrap().iter().filter(|tag| *tag == "1.0").count(), 0);
    assert_eq!(pulling.store.resolve_tag("siderolabs/tools", "1.0").unwrap(), None);

    // A version that it does not know is passed over; the core's key is not its key.
    push_all_as(&made, &program.host, "v13.2.0", &key).await;
    let (list, _) = pulling.list("/version/v13.2.0/extensions/official").await;
    assert!(!names(&list).contains(&"siderolabs/mine") && names(&list).contains(&"siderolabs/tools"));
    sources.catalogues[0] = further(&key);
    let pulling = Pulling::from(sources).await;
    let (code, _, reason, text) = pulling.refused(&extensions()).await;
    assert_eq!((code, reason.as_str()), (502, "signature-refused"), "{text}");
}

/// The catalogue of overlays of [`VERSION`] with these boards.
fn overlays(made: &Made, boards: &[&str]) {
    let digest = Digest::of(b"an overlay");
    let lines = boards.iter().map(|name| {
        format!("  - {{name: {name}, image: 'ghcr.io/siderolabs/sbc-{name}:v1', digest: '{digest}'}}\n")
    });
    let text = format!("overlays:\n{}", lines.collect::<String>());
    let layer = support::tree(&[("overlays.yaml", text.as_bytes())]);
    let image = made.manifest(imager::Arch::Amd64, &[layer]);
    made.tag("siderolabs/overlays", VERSION, &image);
}

#[tokio::test(flavor = "multi_thread")]
async fn further_overlays_go_first_too() {
    let Some(program) = Program::start() else { return };
    let (core_made, third) = (support::made(), support::made());
    overlays(&core_made, &["a", "b"]);
    overlays(&third, &["b", "c"]);
    push(&core_made.store, &program.host, "", "siderolabs/overlays", VERSION, None).await;
    push(&third.store, &program.host, "acme/", "siderolabs/overlays", VERSION, None).await;
    let mut sources = core(origin(&program.host, "", None));
    sources.catalogues.push(FurtherCatalogue {
        name: "acme".to_owned(),
        origin: origin(&program.host, "acme", None),
        extensions: None,
        overlays: Some("siderolabs/overlays".to_owned()),
    });
    let pulling = Pulling::from(sources).await;
    let (list, _) = pulling.list(&format!("/version/{VERSION}/overlays/official")).await;
    assert_eq!(names(&list), ["b", "c", "a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_pulls_as_its_configuration_says() {
    let Some((registry, made, key)) = signed("mirror/").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let (public, config) = (dir.path().join("key.pub"), dir.path().join("factory.yaml"));
    std::fs::write(&public, key.public_key_pem()).unwrap();
    let text = format!(
        "artifacts: {{core: {{registry: '{}', namespace: mirror}}}}\ncontainerSignature: {{publicKeyFile: {}}}\n\
         metrics: {{addr: ''}}\n",
        registry.host,
        public.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_factory-server"));
    // No logins of whoever runs the tests.
    command.env_remove("RUST_LOG").env("DOCKER_CONFIG", dir.path()).arg("--config").arg(&config);
    command.args(["--listen", "127.0.0.1:0", "--store"]).arg(dir.path().join("store"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let (url, web) = (url.trim(), reqwest::Client::builder().no_proxy().build().unwrap());
    web.post(format!("{url}/schematics")).body("{}").send().await.unwrap();
    let kernel = web.get(format!("{url}{}", image("kernel-amd64"))).send().await.unwrap();
    assert_eq!(kernel.status(), 200);
    let (_, artifact) = made.plan("{}", "kernel-amd64").await;
    let mut want = Vec::new();
    made.store.write_to(&artifact.extents, &mut want).unwrap();
    let same = kernel.bytes().await.unwrap() == want;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(same);
}

/// The same images as another version.
async fn push_all_as(made: &Made, host: &str, version: &str, key: &SigningKey) {
    for name in CORE {
        let image = made.store.resolve_tag(name, VERSION).unwrap().unwrap();
        push_as(&made.store, host, &format!("{name}:{version}"), &image, Some(key)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_lost_a_blob_is_made_whole_again() {
    let Some((program, made, key)) = signed("").await else { return };
    let pulling = Pulling::from(core(origin(&program.host, "", Some(&key)))).await;
    pulling.server.post("{}").await;
    let path = format!("/v2/installer/{EMPTY}/manifests/{VERSION}");
    let before = pulling.bytes(&path).await;
    // A layer of the base goes, and then all that was remembered with it.
    let base = made.store.resolve_tag(CORE[1], VERSION).unwrap().unwrap();
    let digest: Digest = base.digest().to_string().parse().unwrap();
    let index: Value = serde_json::from_slice(&made.store.bytes(&digest, 1 << 20).unwrap()).unwrap();
    let manifest: Digest = index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
    let manifest: Value = serde_json::from_slice(&made.store.bytes(&manifest, 1 << 20).unwrap()).unwrap();
    let layer: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    std::fs::remove_file(pulling.dir.path().join("store/blobs/sha256").join(layer.hex())).unwrap();
    assert!(pulling.bytes(&path).await == before);
    assert!(pulling.store.stat(&layer).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_breaks_its_word_is_no_source_that_is_gone() {
    // It has the tag, and not what the tag names.
    let fake = Fake::start(|seen| match seen.path.as_str() {
        path if path.ends_with("/tags/list") => Some(status(200, r#"{"tags":["v13.1.0"]}"#)),
        path if path.ends_with("/v13.1.0") => {
            let digest = Digest::of(b"nothing").to_string();
            let response = axum::response::Response::builder().header("docker-content-digest", digest);
            Some(response.body(axum::body::Body::empty()).unwrap())
        }
        _ => None,
    })
    .await;
    let pulling = Pulling::from(core(origin(&fake.host, "", None))).await;
    pulling.server.post("{}").await;
    let (code, after, reason, text) = pulling.refused(&image("kernel-amd64")).await;
    assert_eq!((code, after.as_str(), reason.as_str()), (502, "", "source-broken"), "{text}");
    assert!(!text.contains("127.0.0.1"), "{text}");
}
