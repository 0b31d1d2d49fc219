//! TLS, with real clients: versions, protocols, a certificate that is renewed, and what is not TLS.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::Server;
use factory_server::{Settings, Site, Tls, TlsError};
use imager::Factory;
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than the files are left alone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with `cert.pem` and `key.pem`, which clients are told to trust.
struct Pair(tempfile::TempDir);

impl Pair {
    fn new() -> Self {
        let pair = Self(tempfile::tempdir().unwrap());
        pair.renew();
        pair
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a new pair over the old one, as a program that renews certificates does.
    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(self.path("cert.pem"), made.cert.pem()).unwrap();
    }

    fn watch(&self) -> Result<Tls, TlsError> {
        Tls::watch(self.path("cert.pem"), self.path("key.pem"))
    }
}

async fn serve(dir: &Path, pair: &Pair, header_timeout: Duration) -> (Server, String) {
    let mut settings = Settings::default();
    settings.tls = Some(pair.watch().unwrap());
    settings.header_timeout = header_timeout;
    let factory = Factory::open(Store::open(dir).unwrap());
    let server = Server::with(factory, Site::default(), settings).await;
    let url = server.url.replace("http://127.0.0.1", "https://localhost");
    (server, url)
}

/// Runs curl; what it prints is the version of HTTP and the status.
async fn curl(trusted: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--output", "/dev/null", "--max-time", "20"]);
    command.args(["--write-out", "%{http_version} %{http_code}", "--cacert"]).arg(trusted).args(args);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn clients_speak_the_protocol_they_want_over_it() {
    let (dir, pair) = (tempfile::tempdir().unwrap(), Pair::new());
    let (_server, url) = serve(dir.path(), &pair, Duration::from_secs(30)).await;
    let (url, cert) = (format!("{url}/healthz"), pair.path("cert.pem"));
    for (flags, want) in [
        (&["--http2"][..], "2 200"),
        (&["--http1.1"], "1.1 200"),
        (&["--tlsv1.2", "--tls-max", "1.2"], "2 200"),
        (&["--tlsv1.3"], "2 200"),
    ] {
        let output = curl(&cert, &[flags, &[&url]].concat()).await;
        assert_eq!(said(&output), want, "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // The twin: older versions, and a client that trusts another.
    let old = ["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", &url];
    assert_eq!(curl(&cert, &old).await.status.code(), Some(35));
    let other = Pair::new();
    assert_eq!(curl(&other.path("cert.pem"), &[&url]).await.status.code(), Some(60));
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let (dir, pair) = (tempfile::tempdir().unwrap(), Pair::new());
    let (_server, url) = serve(dir.path(), &pair, Duration::from_secs(30)).await;
    let url = format!("{url}/healthz");
    let old = pair.path("old.pem");
    std::fs::copy(pair.path("cert.pem"), &old).unwrap();

    // Half of a new pair, then none: the old one goes on.
    let key = std::fs::read(pair.path("key.pem")).unwrap();
    for broken in
        [rcgen::KeyPair::generate().unwrap().serialize_pem().into_bytes(), Vec::new(), b"junk".to_vec()]
    {
        std::fs::write(pair.path("key.pem"), broken).unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(said(&curl(&old, &[&url]).await), "2 200");
    }
    std::fs::write(pair.path("key.pem"), key).unwrap();

    pair.renew();
    let begun = Instant::now();
    while said(&curl(&pair.path("cert.pem"), &[&url]).await) != "2 200" {
        assert!(begun.elapsed() < PATIENCE, "the new certificate was never used");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(curl(&old, &[&url]).await.status.code(), Some(60));
}

#[tokio::test]
async fn who_does_not_shake_hands_is_given_up() {
    let (dir, pair) = (tempfile::tempdir().unwrap(), Pair::new());
    let (server, url) = serve(dir.path(), &pair, Duration::from_secs(1)).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    for said in [&b""[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(said).await.unwrap();
        // An alert, a reset or nothing: no answer of HTTP, and an end.
        let mut heard = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
        assert!(end.is_ok(), "{said:?} keeps its connection");
        assert!(!heard.starts_with(b"HTTP"), "{said:?}");
    }
    assert_eq!(said(&curl(&pair.path("cert.pem"), &[&format!("{url}/healthz")]).await), "2 200");
}

#[tokio::test]
async fn files_that_are_no_pair_are_refused_by_name() {
    let (pair, other) = (Pair::new(), Pair::new());
    let refused = |cert: PathBuf, key: PathBuf| Tls::watch(cert, key).unwrap_err();
    let (cert, key) = (pair.path("cert.pem"), pair.path("key.pem"));
    assert!(matches!(refused(cert.clone(), other.path("key.pem")), TlsError::Pair { .. }));
    assert!(matches!(refused(key.clone(), key.clone()), TlsError::Pem { what: "certificate", .. }));
    assert!(matches!(refused(cert.clone(), cert.clone()), TlsError::Pem { what: "private key", .. }));
    assert!(matches!(refused(cert.clone(), pair.path("none")), TlsError::Read { .. }));
    let large = pair.path("large");
    std::fs::File::create(&large).unwrap().set_len(2 << 20).unwrap();
    assert!(matches!(refused(large, key), TlsError::Large { .. }));
}
