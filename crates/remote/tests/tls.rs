//! Over TLS: certificates of authorities that the system knows are believed, and no others.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::process::Command;
use std::sync::Arc;

use remote::{Error, PlainHttp, Reference, pull};
use support::{Fake, Image, assert_untagged, client_with, store};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Names the registry to the same test in a process of its own.
const HOST: &str = "REMOTE_TEST_HOST";

/// TLS in front of `to`; gives `localhost:<port>` and the certificate in PEM.
async fn terminate(to: String) -> (String, String) {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    (host, key.cert.pem())
}

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
    let (host, pem) = terminate(fake.host.clone()).await;
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
