//! Stock cosign accepts the signatures of the little Sigstore that the other tests are made of, and refuses their
//! tampered twins: so they are what cosign means.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use cosign::{
    Keyless, Pattern, Policy, Referrer, TrustedRoot, bundle_layer, signature_layers, signature_tag,
};
use support::Cosign;
use support::registry::Registry;
use support::sigstore::{Identity, Log, NOW, Sigstore, VALID};

const SUBJECT: &str = "someone@example.org";
const ISSUER: &str = "https://accounts.example.org";

fn verify<'a>(subject: &'a str, image: &'a str, bundle: &'a str) -> Vec<&'a str> {
    vec![
        "verify",
        "--trusted-root=root.json",
        "--certificate-identity",
        subject,
        "--certificate-oidc-issuer",
        ISSUER,
        "--offline",
        "--allow-http-registry=true",
        bundle,
        image,
    ]
}

fn policy(sigstore: &Sigstore) -> Policy {
    Policy::Keyless(Keyless {
        trusted_root: TrustedRoot::from_json(sigstore.trusted_root().to_string().as_bytes()).unwrap(),
        identity: Pattern::exact(SUBJECT).unwrap(),
        issuer: Pattern::exact(ISSUER).unwrap(),
    })
}

#[test]
fn cosign_and_we_agree_about_the_old_shape() {
    let Some(cosign) = Cosign::find() else { return };
    let sigstore = Sigstore::new();
    cosign.write("root.json", sigstore.trusted_root().to_string());
    let policy = policy(&sigstore);
    let by = sigstore.certify(&Identity::new(SUBJECT, ISSUER));
    for registry in Registry::programs() {
        let image = registry.push_image("old/installer", b"old");
        let digest = image.subject.digest;
        let signature = sigstore.signature_image(&by, &image.name, &digest, NOW);
        registry.push_signature("old/installer", &digest, &signature);
        let manifest = registry.get("old/installer", &format!("manifests/{}", signature_tag(&digest)));
        let layer = signature_layers(&manifest).unwrap().remove(0);
        policy.verify_payload(&digest, &layer, &signature.payload).unwrap();
        cosign.ok(verify(SUBJECT, &image.reference, "--new-bundle-format=false"));
        cosign.refuses(
            verify("another@example.org", &image.reference, "--new-bundle-format=false"),
            "none of the expected identities matched",
        );

        // Signed when the certificate had run out.
        let late = sigstore.signature_image(&by, &image.name, &digest, NOW + VALID);
        registry.push_signature("old/installer", &digest, &late);
        cosign.refuses(verify(SUBJECT, &image.reference, "--new-bundle-format=false"), "expired");
        policy.verify_signature_image(&digest, &late.manifest, &[&late.payload]).unwrap_err();
    }
}

#[test]
fn cosign_and_we_agree_about_bundles() {
    let Some(cosign) = Cosign::find() else { return };
    let sigstore = Sigstore::new();
    cosign.write("root.json", sigstore.trusted_root().to_string());
    let policy = policy(&sigstore);
    let by = sigstore.certify(&Identity::new(SUBJECT, ISSUER));
    for registry in Registry::all() {
        for log in [Log::Dsse, Log::Intoto, Log::Tiles] {
            let push = |repository: &str, time| {
                let image = registry.push_image(repository, b"new");
                let bundle = sigstore.bundle(&by, &image.subject.digest, log, time).to_string();
                let referrer = Referrer::new(&image.subject, bundle.clone().into_bytes());
                registry.push_referrer(repository, &image.subject.digest, &referrer);
                bundle_layer(&referrer.manifest).unwrap();
                (image, bundle)
            };
            let name = format!("{log:?}").to_lowercase();
            let (image, bundle) = push(&format!("new/{name}"), NOW);
            policy.verify_image_bundle(&image.subject.digest, bundle.as_bytes()).unwrap();
            cosign.ok(verify(SUBJECT, &image.reference, "--new-bundle-format=true"));
            cosign.refuses(
                verify("another@example.org", &image.reference, "--new-bundle-format=true"),
                "no matching CertificateIdentity found",
            );

            let (image, bundle) = push(&format!("late/{name}"), NOW + VALID);
            policy.verify_image_bundle(&image.subject.digest, bundle.as_bytes()).unwrap_err();
            let late = if log == Log::Tiles {
                "leaf certificate verification failed"
            } else {
                "integrated time outside certificate validity"
            };
            cosign.refuses(verify(SUBJECT, &image.reference, "--new-bundle-format=true"), late);
        }
    }
}
