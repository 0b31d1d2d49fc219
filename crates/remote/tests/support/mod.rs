//! Images, stores, and registries that behave as a test says.

#![allow(clippy::unwrap_used, reason = "only tests are built on this")]
#![allow(dead_code, reason = "not every test uses everything")]

pub mod proxy;

use std::collections::HashMap;
use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use cosign::{Referrer, SignatureImage, SigningKey, Subject, referrers_index, referrers_tag, signature_tag};
use extent::Digest;
use oci_spec::image::{Descriptor, MediaType};
use remote::{Client, Credentials, Options, Reference};
use store::Store;
use tempfile::TempDir;

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const NAME: &str = "siderolabs/installer";

/// A new store.
pub fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

/// Nothing half visible: no tag, every blob what it should be, no file in the making.
pub fn assert_untagged(store: &Store, dir: &TempDir) {
    assert_eq!(store.repositories().unwrap(), [""; 0]);
    assert_clean(store, dir);
}

/// Every blob what it should be, no file in the making.
pub fn assert_clean(store: &Store, dir: &TempDir) {
    let scrub = store.scrub(&|_| ()).unwrap();
    assert!(scrub.is_clean(), "{scrub:?}");
    // The threads that write hear a moment later that nobody fetches any more.
    let files = || std::fs::read_dir(dir.path().join("store/tmp")).unwrap().count();
    let gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(if files() == 0 { 0 } else { 10 }));
        files() == 0
    });
    assert!(gone, "files in the making stay");
}

/// A client that waits little.
pub fn client() -> Client {
    client_with(|_| ())
}

pub fn client_with(change: impl FnOnce(&mut Options)) -> Client {
    let mut options = Options::default();
    options.stall = Duration::from_millis(700);
    options.tries = 4;
    options.first_wait = Duration::from_millis(10);
    options.longest_wait = Duration::from_millis(50);
    options.credentials = Credentials::none();
    change(&mut options);
    Client::new(options)
}

pub fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// An image of two platforms with a layer of their own each, one in common, and blobs by digest.
pub struct Image {
    pub index: Vec<u8>,
    pub manifests: Vec<Vec<u8>>,
    pub blobs: Vec<Vec<u8>>,
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

impl Image {
    /// With layers of about `len` bytes.
    pub fn new(len: usize, seed: u32) -> Self {
        let common = bytes(len / 2, seed);
        let mut image = Self { index: Vec::new(), manifests: Vec::new(), blobs: vec![common.clone()] };
        let mut children = Vec::new();
        for (i, architecture) in ["amd64", "arm64"].iter().enumerate() {
            let layer = bytes(len, seed + 2 + 2 * u32::try_from(i).unwrap());
            let config =
                format!(r#"{{"architecture":"{architecture}","os":"linux","x":{seed}}}"#).into_bytes();
            let tar = "application/vnd.oci.image.layer.v1.tar";
            let manifest = serde_json::json!({
                "schemaVersion": 2, "mediaType": MANIFEST,
                "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
                "layers": [descriptor(tar, &common), descriptor(tar, &layer)],
            });
            let manifest = manifest.to_string().into_bytes();
            let mut child = descriptor(MANIFEST, &manifest);
            child["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
            children.push(child);
            image.manifests.push(manifest);
            image.blobs.extend([config, layer]);
        }
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        image.index = index.to_string().into_bytes();
        image
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.index)
    }

    pub fn layer(&self) -> Digest {
        Digest::of(&self.blobs[2])
    }

    pub fn parts(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.manifests.iter().chain(&self.blobs).chain([&self.index])
    }

    pub fn put(&self, store: &Store) -> Descriptor {
        for part in self.parts() {
            store.put_bytes(part).unwrap();
        }
        store.put_bytes(&self.index).unwrap().oci(MediaType::ImageIndex)
    }

    pub fn assert_in(&self, store: &Store, tag: &str) {
        for part in self.parts() {
            assert_eq!(store.bytes(&Digest::of(part), u64::MAX).unwrap(), part);
        }
        let tagged = store.resolve_tag(NAME, tag).unwrap().unwrap();
        assert_eq!(tagged.digest().to_string(), self.digest().to_string());
    }

    pub fn sign(&self, key: &SigningKey) -> SignatureImage {
        SignatureImage::new(key, "factory.example/installer", &self.digest())
    }

    pub fn refer(&self, key: &SigningKey) -> Referrer {
        let len = self.index.len() as u64;
        let subject = Subject { media_type: INDEX.to_owned(), digest: self.digest(), len };
        Referrer::new(&subject, cosign::image_bundle(key, &self.digest()))
    }
}

/// Puts a signature of the old shape; gives the tag and what it names.
pub fn put_signature(store: &Store, image: &Digest, signature: &SignatureImage) -> (String, Descriptor) {
    store.put_bytes(&signature.config).unwrap();
    store.put_bytes(&signature.payload).unwrap();
    let manifest = store.put_bytes(&signature.manifest).unwrap();
    (signature_tag(image), manifest.oci(MediaType::ImageManifest))
}

/// Puts a bundle as a referrer under the tag that stands for the list.
pub fn put_referrer(store: &Store, image: &Digest, referrer: &Referrer) -> (String, Descriptor) {
    for part in [&referrer.config, &referrer.bundle, &referrer.manifest] {
        store.put_bytes(part).unwrap();
    }
    let index = store.put_bytes(&referrers_index(std::slice::from_ref(referrer))).unwrap();
    (referrers_tag(image), index.oci(MediaType::ImageIndex))
}

/// A request that came to a [`Fake`].
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    pub proxy_authorization: Option<String>,
    pub range: Option<String>,
    /// The body of what is sent with `Content-Type: application/x-www-form-urlencoded`.
    pub body: String,
    /// How often this method and path were seen before.
    pub before: usize,
}

type Shelf = HashMap<String, (String, Vec<u8>)>;

/// A registry that does what it should, but for what the test has it do otherwise.
pub struct Fake {
    pub host: String,
    shelf: Arc<Mutex<Shelf>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// With `quirk`, which answers instead where it gives something.
    pub async fn start(quirk: impl Fn(&Seen) -> Option<Response> + Clone + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let fake = Self { host, shelf: Arc::default(), seen: Arc::default() };
        let (shelf, seen) = (Arc::clone(&fake.shelf), Arc::clone(&fake.seen));
        let router = axum::Router::new().fallback(move |request: Request| {
            let (head, body) = request.into_parts();
            let field = |name: &str| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
            let (method, path) = (head.method.to_string(), head.uri.path().to_owned());
            let query = head.uri.query().unwrap_or_default().to_owned();
            let (authorization, range) = (field("authorization"), field("range"));
            let proxy_authorization = field("proxy-authorization");
            let is_form = field("content-type").is_some_and(|of| of == "application/x-www-form-urlencoded");
            let (shelf, seen, quirk) = (Arc::clone(&shelf), Arc::clone(&seen), quirk.clone());
            async move {
                let body = if is_form {
                    axum::body::to_bytes(body, 1 << 20).await.unwrap()
                } else {
                    [].as_slice().into()
                };
                let body = String::from_utf8(body.to_vec()).unwrap();
                let mut all = seen.lock().unwrap();
                let before = all.iter().filter(|s: &&Seen| (&s.method, &s.path) == (&method, &path)).count();
                let now =
                    Seen { method, path, query, authorization, proxy_authorization, range, body, before };
                all.push(now.clone());
                quirk(&now).unwrap_or_else(|| answer(&shelf.lock().unwrap(), &now))
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    pub async fn well_behaved() -> Self {
        Self::start(|_| None).await
    }

    pub fn reference(&self, tag: &str) -> Reference {
        format!("{}/{NAME}:{tag}", self.host).parse().unwrap()
    }

    pub fn put(&self, path: &str, media_type: &str, bytes: &[u8]) {
        let value = (media_type.to_owned(), bytes.to_vec());
        self.shelf.lock().unwrap().insert(format!("/v2/{NAME}/{path}"), value);
    }

    pub fn put_manifest(&self, tag: Option<&str>, media_type: &str, bytes: &[u8]) {
        self.put(&format!("manifests/{}", Digest::of(bytes)), media_type, bytes);
        if let Some(tag) = tag {
            self.put(&format!("manifests/{tag}"), media_type, bytes);
        }
    }

    pub fn put_blob(&self, bytes: &[u8]) {
        self.put(&format!("blobs/{}", Digest::of(bytes)), "application/octet-stream", bytes);
    }

    pub fn put_image(&self, tag: &str, image: &Image) {
        image.blobs.iter().for_each(|blob| self.put_blob(blob));
        image.manifests.iter().for_each(|manifest| self.put_manifest(None, MANIFEST, manifest));
        self.put_manifest(Some(tag), INDEX, &image.index);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests of `method` had a path with `part` in it.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.path.contains(part)).count()
    }
}

fn answer(shelf: &Shelf, seen: &Seen) -> Response {
    let Some((media_type, bytes)) = shelf.get(&seen.path) else {
        return status(404, r#"{"errors":[{"code":"NOT_FOUND"}]}"#);
    };
    let from = seen.range.as_ref().map(|range| range.strip_prefix("bytes=").unwrap().trim_end_matches('-'));
    let response = Response::builder()
        .header("content-type", media_type)
        .header("docker-content-digest", Digest::of(bytes).to_string());
    match from.map(|from| from.parse::<usize>().unwrap()) {
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            let response = response.status(206).header("content-range", range);
            response.body(Body::from(bytes[from..].to_vec())).unwrap()
        }
        None if seen.method == "HEAD" => {
            response.header("content-length", bytes.len()).body(Body::empty()).unwrap()
        }
        None => response.body(Body::from(bytes.clone())).unwrap(),
    }
}

pub fn status(status: u16, text: &str) -> Response {
    Response::builder().status(status).body(Body::from(text.to_owned())).unwrap()
}

/// A body that breaks off: `len` are announced, `bytes` come, and then the connection is gone.
pub fn broken(status: u16, range: Option<String>, len: usize, bytes: Vec<u8>) -> Response {
    let gone = futures::stream::iter([Ok(bytes), Err(std::io::Error::other("gone"))]);
    let mut response = Response::builder().status(status).header("content-length", len);
    if let Some(range) = range {
        response = response.header("content-range", range);
    }
    response.body(Body::from_stream(gone)).unwrap()
}

/// Debian's registry on a port of its own, until it is dropped.
pub struct Program {
    pub host: String,
    server: Child,
    _dir: TempDir,
}

impl Program {
    pub fn start() -> Option<Self> {
        let tool = ci::tool("docker-registry")?;
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '127.0.0.1:0'}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n",
            dir.path().join("root").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(tool);
        command.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut lines = std::io::BufReader::new(server.stderr.take().unwrap()).lines();
        let port = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let (_, port) = line.split_once("listening on 127.0.0.1:")?;
            port.split(|c: char| !c.is_ascii_digit()).next().map(str::to_owned)
        });
        let host = format!("127.0.0.1:{}", port.unwrap());
        // A server whose log nobody reads stops when the pipe is full.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some(Self { host, server, _dir: dir })
    }

    pub fn reference(&self, tag: &str) -> Reference {
        format!("{}/{NAME}:{tag}", self.host).parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
