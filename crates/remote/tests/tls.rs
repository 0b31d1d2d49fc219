//! Over TLS: certificates of authorities that the system knows are believed, and no others.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;
#[path = "support/tls.rs"]
mod tls;

use std::process::Command;

use remote::{Error, PlainHttp, Reference, pull};
use support::{Fake, Image, assert_untagged, client_with, store};
use tls::terminate;

/// Names the registry to the same test in a process of its own.
const HOST: &str = "REMOTE_TEST_HOST";

#[tokio::test]
async fn a_certificate_is_believed_if_the_system_knows_its_authority() {
    let client = client_with(|options| options.plain_http = PlainHttp::Never);
    if let Ok(host) = std::env::var(HOST) {
        // The process of its own, to which the certificate's issuer is an authority.
        let (_dir, there) = store();
        let reference: Reference = format!("{host}/siderolabs/installer:v1").parse().unwrap();
        pull(&there, &client, &reference, None).await.unwrap();
        return Image::new(300_000, 1).assert_in(&there, "v1");
    }
    let fake = Fake::well_behaved().await;
    fake.put_image("v1", &Image::new(300_000, 1));
    let (host, pem) = terminate(fake.host.clone(), "localhost").await;
    let (dir, there) = store();
    let reference: Reference = format!("{host}/siderolabs/installer:v1").parse().unwrap();
    let error = pull(&there, &client, &reference, None).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. } | Error::NoAuthorities), "{error}");
    assert!(fake.seen().is_empty());
    assert_untagged(&there, &dir);

    let authorities = dir.path().join("authorities.pem");
    std::fs::write(&authorities, pem).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("SSL_CERT_FILE", &authorities).env_remove("SSL_CERT_DIR").env(HOST, host);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!fake.seen().is_empty());
}
