//! Images go to Debian's registry and come back, signed in both shapes; what is not signed as it should be is refused.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::sync::Mutex;

use cosign::{Policy, SigningKey};
use extent::Digest;
use oci_spec::image::Descriptor;
use remote::{Described, Error, Platform, Progress, Pull, pull, push};
use store::Store;
use support::{
    Image, NAME, Program, assert_clean, assert_untagged, client, put_referrer, put_signature, store,
};

/// Puts a signature of an image into a store; gives its tag and what that names.
type Sign<'a> = Box<dyn Fn(&Store, &Image) -> (String, Descriptor) + 'a>;

async fn push_as(program: &Program, store: &Store, tag: &str, descriptor: &Descriptor) {
    let image = Described::in_store(store, descriptor).await.unwrap();
    push(store, &client(), &program.reference(tag), &image).await.unwrap();
}

#[tokio::test]
async fn an_image_goes_out_and_comes_back() {
    let Some(program) = Program::start() else { return };
    let ((_a, here), (dir, there), client) = (store(), store(), client());
    let image = Image::new(3 << 20, 1);
    let descriptor = image.put(&here);
    let reference = program.reference("v1.11.0");
    let all: usize = image.parts().map(Vec::len).sum();

    let described = Described::in_store(&here, &descriptor).await.unwrap();
    let pushed = push(&here, &client, &reference, &described).await.unwrap();
    // The index goes by its digest and by its tag.
    assert_eq!((pushed.digest, pushed.sent_len), (image.digest(), (all + image.index.len()) as u64));
    let again = push(&here, &client, &reference, &described).await.unwrap();
    assert_eq!(again.sent_len, 0, "what is there is not sent");

    let heard = Mutex::new(Vec::new());
    let listen = |progress: Progress| heard.lock().unwrap().push(progress);
    let pulled = Pull::new(&there, &client, &reference).on_progress(&listen).run().await.unwrap();
    assert_eq!((pulled.digest, pulled.fetched_len), (image.digest(), all as u64));
    assert_eq!(pulled.descriptor, descriptor);
    image.assert_in(&there, "v1.11.0");
    assert_clean(&there, &dir);
    let blobs: usize = image.blobs.iter().map(Vec::len).sum();
    let heard = heard.into_inner().unwrap();
    assert_eq!(heard.first(), Some(&Progress { done: 0, total: blobs as u64 }));
    assert_eq!(heard.iter().map(|progress| progress.done).max(), Some(blobs as u64));

    let again = pull(&there, &client, &reference, None).await.unwrap();
    assert_eq!(again.fetched_len, 0, "what the store has is not fetched");
    let by_digest = reference.with_digest(image.digest());
    assert_eq!(pull(&there, &client, &by_digest, None).await.unwrap().digest, image.digest());
}

#[tokio::test]
async fn one_platform_comes_without_the_others() {
    let Some(program) = Program::start() else { return };
    let ((_a, here), (dir, there), client) = (store(), store(), client());
    let image = Image::new(1000, 5);
    push_as(&program, &here, "v1", &image.put(&here)).await;
    let platform = |architecture: &str| Platform { os: "linux".into(), architecture: architecture.into() };
    let reference = program.reference("v1");
    let pull = Pull::new(&there, &client, &reference);
    let riscv = [platform("arm64"), platform("riscv64")];
    let error = pull.platforms(&riscv).run().await.unwrap_err();
    assert!(matches!(&error, Error::NoPlatform { platform, .. } if platform == "linux/riscv64"), "{error}");
    assert_untagged(&there, &dir);

    Pull::new(&there, &client, &reference).platforms(&[platform("arm64")]).run().await.unwrap();
    let has = |bytes: &[u8]| there.stat(&Digest::of(bytes)).unwrap().is_some();
    assert!(has(&image.manifests[1]) && has(&image.blobs[4]) && has(&image.blobs[0]));
    assert!(!has(&image.manifests[0]) && !has(&image.blobs[2]));
}

#[tokio::test]
async fn a_signature_of_either_shape_is_believed_and_kept() {
    let Some(program) = Program::start() else { return };
    let key = SigningKey::generate().unwrap();
    let policy = Policy::Key(key.public_key());
    for (seed, shapes) in [(10, [true, false]), (20, [false, true]), (30, [true, true])] {
        let ((_a, here), (dir, there), client) = (store(), store(), client());
        let image = Image::new(2000, seed);
        let tag = format!("v1.{seed}.0");
        push_as(&program, &here, &tag, &image.put(&here)).await;
        let mut kept = Vec::new();
        if shapes[0] {
            kept.push(put_signature(&here, &image.digest(), &image.sign(&key)));
        }
        if shapes[1] {
            kept.push(put_referrer(&here, &image.digest(), &image.refer(&key)));
        }
        for (tag, descriptor) in &kept {
            push_as(&program, &here, tag, descriptor).await;
        }
        let reference = program.reference(&tag);
        pull(&there, &client, &reference, Some(&policy)).await.unwrap();
        image.assert_in(&there, &tag);
        assert_clean(&there, &dir);

        // A mirror gives them on: what was kept goes to another registry and is believed there.
        let mirror = Program::start().unwrap();
        let mut tags: Vec<_> = kept.iter().map(|(tag, _)| tag.clone()).chain([tag.clone()]).collect();
        tags.sort();
        assert_eq!(there.tags(NAME).unwrap(), tags);
        for tag in &tags {
            push_as(&mirror, &there, tag, &there.resolve_tag(NAME, tag).unwrap().unwrap()).await;
        }
        let (_b, mirrored) = store();
        pull(&mirrored, &client, &mirror.reference(&tag), Some(&policy)).await.unwrap();
        assert_eq!(mirrored.tags(NAME).unwrap(), tags);
    }
}

#[tokio::test]
async fn a_signature_that_is_not_believed_is_refused_with_the_reason() {
    let Some(program) = Program::start() else { return };
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let policy = Policy::Key(key.public_key());
    let foreign = Image::new(100, 99);
    let table: Vec<(&str, Sign<'_>)> = vec![
        ("not by this key", Box::new(|s, i| put_signature(s, &i.digest(), &i.sign(&other)))),
        ("names `", Box::new(|s, i| put_referrer(s, &i.digest(), &i.refer(&other)))),
        ("is for `", Box::new(|s, i| put_signature(s, &i.digest(), &foreign.sign(&key)))),
        ("is for `", Box::new(|s, i| put_referrer(s, &i.digest(), &foreign.refer(&key)))),
    ];
    for (seed, (reason, sign)) in (40..).step_by(10).zip(&table) {
        let ((_a, here), (dir, there), client) = (store(), store(), client());
        let image = Image::new(2000, seed);
        let reference = program.reference(&format!("v{seed}"));
        let described = Described::in_store(&here, &image.put(&here)).await.unwrap();
        push(&here, &client, &reference, &described).await.unwrap();
        let error = pull(&there, &client, &reference, Some(&policy)).await.unwrap_err();
        assert!(error.to_string().ends_with("it is not signed"), "{error}");

        let (tag, descriptor) = sign(&here, &image);
        let described = Described::in_store(&here, &descriptor).await.unwrap();
        push(&here, &client, &reference.with_tag(&tag).unwrap(), &described).await.unwrap();
        let error = pull(&there, &client, &reference, Some(&policy)).await.unwrap_err();
        let Error::Unverified { digest, refusals } = &error else { panic!("{error}") };
        assert_eq!((*digest, refusals.len()), (image.digest(), 1), "{error}");
        assert!(
            matches!(&refusals[0], Error::Signature { .. }) && error.to_string().contains(reason),
            "{error}"
        );
        assert_untagged(&there, &dir);
        assert_eq!(there.scrub(&|_| ()).unwrap().blobs, 0, "nothing of it was fetched");
    }
}
