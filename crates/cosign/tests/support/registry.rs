//! Registries on loopback ports.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use cosign::{Referrer, SignatureImage, Subject, referrers_index, referrers_tag, signature_tag};
use extent::Digest;
use tempfile::TempDir;

use super::text;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BYTES: &str = "application/octet-stream";

/// A registry on a loopback port of its own, until it is dropped.
pub struct Registry {
    /// `127.0.0.1:<port>`
    host: String,
    kind: Kind,
}

enum Kind {
    /// A program, which knows no `/referrers/`: they are found under a tag.
    Program { server: Child, curl: PathBuf, dir: TempDir },
    /// A thread of the test, which does, and which nobody else can push to: media types and bytes by path.
    Shelf(Arc<Mutex<Shelf>>),
}

type Shelf = HashMap<String, (String, Vec<u8>)>;

impl Registry {
    /// Every registry that anybody can push to: Debian's and crane's, if they are installed.
    pub fn programs() -> Vec<Self> {
        let Some(curl) = ci::tool("curl") else { return Vec::new() };
        let distribution = ci::tool("docker-registry").map(|tool| {
            let dir = tempfile::tempdir().unwrap();
            let config = dir.path().join("config.yml");
            let root = dir.path().join("root");
            let text = format!(
                "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '127.0.0.1:0'}}\n\
                 storage: {{filesystem: {{rootdirectory: '{}'}}}}\n",
                root.display()
            );
            fs::write(&config, text).unwrap();
            let mut command = Command::new(tool);
            command.arg("serve").arg(config);
            Self::program(command, dir, curl.clone())
        });
        let crane = ci::tool("crane").map(|tool| {
            let mut command = Command::new(tool);
            command.args(["registry", "serve", "--address", "127.0.0.1:0"]);
            Self::program(command, tempfile::tempdir().unwrap(), curl.clone())
        });
        distribution.into_iter().chain(crane).collect()
    }

    /// These, and one that lists referrers.
    pub fn all() -> Vec<Self> {
        let mut all = Self::programs();
        all.push(Self::shelf());
        all
    }

    fn program(mut command: Command, dir: TempDir, curl: PathBuf) -> Self {
        let mut server =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let port = lines.by_ref().map(Result::unwrap).find_map(|line| {
            // "listening on 127.0.0.1:37449", "serving on port 38077"
            let (_, port) = line.split_once("listening on 127.0.0.1:").or(line.split_once("on port "))?;
            port.split(|c: char| !c.is_ascii_digit()).next().map(str::to_owned)
        });
        let host = format!("127.0.0.1:{}", port.unwrap());
        // A server whose log nobody reads stops when the pipe is full.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { host, kind: Kind::Program { server, curl, dir } }
    }

    fn shelf() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shelf = Arc::new(Mutex::new(Shelf::new()));
        let kind = Kind::Shelf(Arc::clone(&shelf));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(&stream, &shelf.lock().unwrap());
            }
        });
        Self { host, kind }
    }

    /// Pushes a small image that is like no other.
    pub fn push_image(&self, repository: &str, content: &[u8]) -> Image {
        let layer = Digest::of(content);
        let config = format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{}},\
             \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{layer}\"]}}}}"
        );
        let manifest = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\
             \"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"{}\",\"size\":{}}},\
             \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"{layer}\",\
             \"size\":{}}}]}}",
            Digest::of(config.as_bytes()),
            config.len(),
            content.len()
        );
        self.push_blob(repository, content);
        self.push_blob(repository, config.as_bytes());
        let digest = Digest::of(manifest.as_bytes());
        self.push_manifest(repository, &digest.to_string(), MANIFEST, manifest.as_bytes());
        let name = format!("{}/{repository}", self.host);
        let len = manifest.len().try_into().unwrap();
        Image {
            reference: format!("{name}@{digest}"),
            name,
            subject: Subject { media_type: MANIFEST.to_owned(), digest, len },
        }
    }

    /// Pushes an index under `tag`, of an image for each of `contents`.
    pub fn push_index(&self, repository: &str, tag: &str, contents: &[&[u8]]) -> Image {
        let architectures = ["amd64", "arm64"];
        let entries: Vec<String> = contents
            .iter()
            .zip(architectures)
            .map(|(content, architecture)| {
                let Subject { digest, len, .. } = self.push_image(repository, content).subject;
                format!(
                    "{{\"mediaType\":\"{MANIFEST}\",\"digest\":\"{digest}\",\"size\":{len},\
                     \"platform\":{{\"architecture\":\"{architecture}\",\"os\":\"linux\"}}}}"
                )
            })
            .collect();
        let index = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[{}]}}",
            entries.join(",")
        );
        self.push_manifest(repository, tag, INDEX, index.as_bytes());
        let (digest, len) = (Digest::of(index.as_bytes()), index.len().try_into().unwrap());
        self.push_manifest(repository, &digest.to_string(), INDEX, index.as_bytes());
        let name = format!("{}/{repository}", self.host);
        let subject = Subject { media_type: INDEX.to_owned(), digest, len };
        Image { reference: format!("{name}:{tag}"), name, subject }
    }

    /// Pushes `signature` as one of `image`, whatever it signs.
    pub fn push_signature(&self, repository: &str, image: &Digest, signature: &SignatureImage) {
        self.push_blob(repository, &signature.config);
        self.push_blob(repository, &signature.payload);
        self.push_manifest(repository, &signature_tag(image), MANIFEST, &signature.manifest);
    }

    /// Pushes `referrer` as the only one of `image`.
    pub fn push_referrer(&self, repository: &str, image: &Digest, referrer: &Referrer) {
        self.push_blob(repository, &referrer.config);
        self.push_blob(repository, &referrer.bundle);
        let digest = referrer.manifest_digest().to_string();
        self.push_manifest(repository, &digest, MANIFEST, &referrer.manifest);
        let index = referrers_index(std::slice::from_ref(referrer));
        match &self.kind {
            Kind::Program { .. } => self.push_manifest(repository, &referrers_tag(image), INDEX, &index),
            Kind::Shelf(_) => self.put(&format!("{repository}/referrers/{image}"), INDEX, &index),
        }
    }

    /// What the registry has at `path` of `repository`.
    pub fn get(&self, repository: &str, path: &str) -> Vec<u8> {
        let accept = format!("Accept: {MANIFEST}, {INDEX}");
        self.curl(["-H", &accept, &format!("http://{}/v2/{repository}/{path}", self.host)])
    }

    /// The manifest of the first referrer of `image`.
    pub fn referrer(&self, repository: &str, image: &Digest) -> Vec<u8> {
        let index = self.get(repository, &format!("manifests/{}", referrers_tag(image)));
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap();
        self.get(repository, &format!("manifests/{digest}"))
    }

    fn push_blob(&self, repository: &str, bytes: &[u8]) {
        let digest = Digest::of(bytes);
        if let Kind::Shelf(_) = self.kind {
            return self.put(&format!("{repository}/blobs/{digest}"), BYTES, bytes);
        }
        let start = format!("http://{}/v2/{repository}/blobs/uploads/", self.host);
        let head =
            String::from_utf8(self.curl(["-X", "POST", "-D", "-", "-o", "/dev/null", &start])).unwrap();
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let (_, location) = fields.find(|(name, _)| name.eq_ignore_ascii_case("location")).unwrap();
        let path = location.rsplit_once("/v2/").unwrap().1.trim();
        let and = if path.contains('?') { '&' } else { '?' };
        self.put(&format!("{path}{and}digest={digest}"), BYTES, bytes);
    }

    fn push_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        self.put(&format!("{repository}/manifests/{reference}"), media_type, bytes);
    }

    /// Puts `bytes` at `path` below `/v2/`.
    fn put(&self, path: &str, media_type: &str, bytes: &[u8]) {
        match &self.kind {
            Kind::Shelf(shelf) => {
                let value = (media_type.to_owned(), bytes.to_vec());
                shelf.lock().unwrap().insert(format!("/v2/{path}"), value);
            }
            Kind::Program { dir, .. } => {
                let body = dir.path().join("body");
                fs::write(&body, bytes).unwrap();
                let body = format!("@{}", body.display());
                let media_type = format!("Content-Type: {media_type}");
                let url = format!("http://{}/v2/{path}", self.host);
                self.curl(["-X", "PUT", "-H", &media_type, "--data-binary", &body, &url]);
            }
        }
    }

    fn curl<const N: usize>(&self, args: [&str; N]) -> Vec<u8> {
        let Kind::Program { curl, .. } = &self.kind else { panic!("a shelf is not spoken to") };
        let output =
            Command::new(curl).args(["-sS", "--fail-with-body", "--noproxy", "*"]).args(args).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        output.stdout
    }
}

/// Answers the one request of `stream`, a GET or a HEAD.
fn answer(mut stream: &TcpStream, shelf: &Shelf) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let length = lines.take_while(|line| !line.is_empty()).count();
    assert!(length < 100, "that many fields has no request");
    let mut words = request.split(' ');
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let (status, media_type, bytes) = match shelf.get(path) {
        Some((media_type, bytes)) => ("200 OK", media_type.as_str(), bytes.as_slice()),
        None if path == "/v2/" => ("200 OK", "application/json", &b"{}"[..]),
        None => ("404 Not Found", "application/json", &b"{}"[..]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\
         Docker-Content-Digest: {}\r\nConnection: close\r\n\r\n",
        bytes.len(),
        Digest::of(bytes)
    );
    let body = if method == Some("HEAD") { &[][..] } else { bytes };
    // A client that has gone needs no answer.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Kind::Program { server, .. } = &mut self.kind {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// An image in a registry.
pub struct Image {
    /// With the digest, or the tag.
    pub reference: String,
    /// Without.
    pub name: String,
    pub subject: Subject,
}
