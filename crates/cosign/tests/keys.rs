//! Keys come from every encoding that operators have, and from a file that is made once.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Barrier;
use std::thread;

use cosign::{KeyError, Opened, PublicKey, SigningKey};

/// Made by `openssl ecparam -name prime256v1 -genkey`, which puts a block of parameters first.
const SEC1: &str = include_str!("keys/sec1.pem");
/// The same, made by `openssl pkcs8 -topk8 -nocrypt`.
const PKCS8: &str = include_str!("keys/pkcs8.pem");
/// Its public half, made by `openssl ec -pubout`.
const PUBLIC: &str = include_str!("keys/public.pem");
/// `openssl pkey -pubin -in public.pem -outform DER | sha256sum`
const FINGERPRINT: &str = "721186203cb4d73588f0decab3eccd99b23b4b5a4c46f44e6ce87676d52ece61";
/// `openssl ecparam -name secp384r1 -genkey -noout`
const P384: &str = include_str!("keys/p384.pem");

#[test]
fn both_encodings_of_a_key_are_the_same_key() {
    let (sec1, pkcs8) = (SigningKey::from_pem(SEC1).unwrap(), SigningKey::from_pem(PKCS8).unwrap());
    assert_eq!(sec1.public_key_pem(), PUBLIC);
    assert_eq!(pkcs8.public_key_pem(), PUBLIC);
    assert_eq!(*sec1.to_pem(), PKCS8);
    assert_eq!(PublicKey::from_pem(PUBLIC).unwrap(), sec1.public_key());
    assert_eq!(sec1.fingerprint().hex(), FINGERPRINT);
    // The same, through `xxd -r -p | base64`.
    assert_eq!(sec1.hint(), "chGGIDy01zWI8N7Ks+zNmbI7S1pMRvRObOh2dtUuzmE=");
}

#[test]
fn texts_without_a_usable_key_are_told_apart() {
    let encrypted = PKCS8.replace("PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY");
    assert!(matches!(SigningKey::from_pem(&encrypted), Err(KeyError::Encrypted { .. })));
    assert!(matches!(SigningKey::from_pem(PUBLIC), Err(KeyError::NoPrivateKey)));
    assert!(matches!(SigningKey::from_pem(""), Err(KeyError::NoPrivateKey)));
    assert!(matches!(PublicKey::from_pem(PKCS8), Err(KeyError::NoPublicKey)));
    let damaged = PKCS8.replacen("MIG", "MIH", 1);
    assert!(matches!(SigningKey::from_pem(&damaged), Err(KeyError::NotP256 { label: "PRIVATE KEY" })));
    assert!(matches!(SigningKey::from_pem(P384), Err(KeyError::NotP256 { label: "EC PRIVATE KEY" })));
}

#[test]
fn a_secret_is_not_printed() {
    let key = SigningKey::from_pem(PKCS8).unwrap();
    assert_eq!(format!("{key:?}"), format!("SigningKey(sha256:{FINGERPRINT})"));
}

#[test]
fn a_file_is_made_once_and_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signing.pem");
    let (key, opened) = SigningKey::open_or_create(&path).unwrap();
    assert!(opened.created());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");

    let (again, opened) = SigningKey::open_or_create(&path).unwrap();
    assert_eq!((again.fingerprint(), opened), (key.fingerprint(), Opened::Found));

    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let (again, opened) = SigningKey::open_or_create(&path).unwrap();
    assert_eq!((again.fingerprint(), opened), (key.fingerprint(), Opened::Exposed { mode: 0o644 }));
}

#[test]
fn all_who_create_at_once_end_with_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signing.pem");
    let barrier = Barrier::new(8);
    let open = || {
        barrier.wait();
        SigningKey::open_or_create(&path).unwrap()
    };
    let keys: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(keys.iter().filter(|(_, opened)| opened.created()).count(), 1);
    assert!(keys.iter().all(|(key, _)| key.fingerprint() == keys[0].0.fingerprint()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn files_that_are_no_keys_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signing.pem");
    let refused = || SigningKey::open_or_create(&path).unwrap_err();
    fs::write(&path, "not a key").unwrap();
    assert!(matches!(refused(), KeyError::File { .. }));
    fs::write(&path, [0xff]).unwrap();
    assert!(matches!(refused(), KeyError::NotText { .. }));
    assert_eq!(fs::read(&path).unwrap(), [0xff]);
    fs::write(&path, " ".repeat((64 << 10) + 1)).unwrap();
    assert!(matches!(refused(), KeyError::TooLong { .. }));
    fs::write(&path, " ".repeat((64 << 10) - PKCS8.len()) + PKCS8).unwrap();
    SigningKey::open_or_create(&path).unwrap();

    let missing = dir.path().join("missing/signing.pem");
    let error = SigningKey::open_or_create(&missing).unwrap_err();
    assert!(matches!(error, KeyError::Io { doing: "creating", .. }), "{error}");
}
