//! A factory with an empty store, and what fills it.

// Each test binary takes its part of it, and test code may unwrap.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use cosign::{Policy, SignatureImage, SigningKey};
use extent::Digest;
use factory_server::Site;
use imager::{Components, Core, Factory, Origin, Sources};
use oci_spec::image::Descriptor;
use remote::{Client, Described, Reference, Registry};
use serde_json::Value;
use store::Store;
use tempfile::TempDir;

use crate::common::{Server, field};
use crate::registries::{self, Program, put_signature};
use crate::support::{Made, VERSION, complete};

pub const EMPTY: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
/// What the reference calls its images.
pub const CORE: [&str; 3] = ["siderolabs/imager", "siderolabs/installer-base", "siderolabs/extensions"];

/// Tries again at once, and has patience with a full machine.
pub fn client() -> Client {
    registries::client_with(|options| options.stall = Duration::from_secs(30))
}

/// Pushes `name:tag` of `store` to `host`, below `prefix`, with a signature if there is a key.
pub async fn push(store: &Store, host: &str, prefix: &str, name: &str, tag: &str, key: Option<&SigningKey>) {
    let descriptor = store.resolve_tag(name, tag).unwrap().unwrap();
    push_as(store, host, &format!("{prefix}{name}:{tag}"), &descriptor, key).await;
}

pub async fn push_as(store: &Store, host: &str, to: &str, image: &Descriptor, key: Option<&SigningKey>) {
    let client = client();
    let reference: Reference = format!("{host}/{to}").parse().unwrap();
    let described = Described::in_store(store, image).await.unwrap();
    remote::push(store, &client, &reference, &described).await.unwrap();
    if let Some(key) = key {
        let digest: Digest = image.digest().to_string().parse().unwrap();
        let (tag, signature) = put_signature(store, &digest, &SignatureImage::new(key, to, &digest));
        let signature = Described::in_store(store, &signature).await.unwrap();
        remote::push(store, &client, &reference.with_tag(&tag).unwrap(), &signature).await.unwrap();
    }
}

/// Pushes all that `store` has of `version`, with what its catalogue of extensions lists.
pub async fn push_all(store: &Store, host: &str, prefix: &str, version: &str, key: Option<&SigningKey>) {
    for name in CORE {
        push(store, host, prefix, name, version, key).await;
    }
    let factory = Factory::open(store.clone());
    for offer in factory.extensions(&version.parse().unwrap()).await.unwrap() {
        let media_type = oci_spec::image::MediaType::ImageManifest;
        let len = store.stat(&offer.digest).unwrap().unwrap();
        let image = store::Descriptor { digest: offer.digest, len }.oci(media_type);
        let to = offer.reference.split_once('/').unwrap().1;
        push_as(store, host, &format!("{prefix}{to}"), &image, key).await;
    }
}

pub fn origin(host: &str, namespace: &str, key: Option<&SigningKey>) -> Origin {
    Origin {
        registry: host.parse::<Registry>().unwrap(),
        namespace: namespace.to_owned(),
        client: client(),
        policy: key.map(|key| Policy::Key(key.public_key())),
    }
}

pub fn core(origin: Origin) -> Sources {
    Sources { core: Some(Core { origin, components: Components::default() }), catalogues: Vec::new() }
}

/// A server whose store was empty when it started.
pub struct Pulling {
    pub server: Server,
    pub factory: Factory,
    pub store: Store,
    pub dir: TempDir,
}

impl Pulling {
    pub async fn from(sources: Sources) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::over(dir, sources).await
    }

    pub async fn over(dir: TempDir, sources: Sources) -> Self {
        let store = Store::open(dir.path().join("store")).unwrap();
        let factory = Factory::open(store.clone()).with_sources(sources);
        let server = Server::at(factory.clone(), Site::default()).await;
        Self { server, factory, store, dir }
    }

    pub async fn bytes(&self, path: &str) -> Vec<u8> {
        let response = self.server.get(path).send().await.unwrap();
        let status = response.status();
        let bytes = response.bytes().await.unwrap();
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&bytes));
        bytes.to_vec()
    }

    /// Status, `Retry-After`, reason and text.
    pub async fn refused(&self, path: &str) -> (u16, String, String, String) {
        let request = self.server.get(path).header("accept", "application/problem+json");
        let response = request.send().await.unwrap();
        let (status, after) = (response.status().as_u16(), field(&response, "retry-after"));
        let body: Value = response.json().await.unwrap();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (status, after, text("reason"), text("detail"))
    }

    /// Waits until a list is as it should be.
    pub async fn until(&self, path: &str, is: impl Fn(&Value, &str) -> bool) {
        for _ in 0..300 {
            let (list, stale) = self.list(path).await;
            if is(&list, &stale) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{path} stays {:?}", self.list(path).await);
    }

    /// A list, and whether it says that it is of before.
    pub async fn list(&self, path: &str) -> (Value, String) {
        let response = self.server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let stale = field(&response, "cache-status");
        (response.json().await.unwrap(), stale)
    }
}

pub fn extensions() -> String {
    format!("/version/{VERSION}/extensions/official")
}

pub fn image(asset: &str) -> String {
    format!("/image/{EMPTY}/{VERSION}/{asset}")
}

pub async fn register(pulling: &Pulling, schematic: &'static str) -> String {
    let taken: Value = pulling.server.post(schematic).await.json().await.unwrap();
    taken["id"].as_str().unwrap().to_owned()
}

pub fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|offer| offer["name"].as_str().unwrap()).collect()
}

/// Small images of all sorts in a real registry, signed.
pub async fn signed(prefix: &str) -> Option<(Program, Made, SigningKey)> {
    let program = Program::start()?;
    let (made, key) = (complete(), SigningKey::generate().unwrap());
    push_all(&made.store, &program.host, prefix, VERSION, Some(&key)).await;
    Some((program, made, key))
}

/// A factory that gives out the images of a store, signed, and takes down what it is asked for.
pub struct Counted {
    pub host: String,
    pub seen: Arc<Mutex<Vec<String>>>,
    /// What was signed, by digest.
    pub payloads: Vec<String>,
}

impl Counted {
    pub async fn over(made: &Made, key: &SigningKey) -> Self {
        Self::slow(made, key, Duration::ZERO).await
    }

    /// The same, which takes `time` for each answer.
    pub async fn slow(made: &Made, key: &SigningKey, time: Duration) -> Self {
        let factory = &made.factory;
        for offer in factory.extensions(&VERSION.parse().unwrap()).await.unwrap() {
            let len = made.store.stat(&offer.digest).unwrap().unwrap();
            made.tag(&offer.name, "1.0", &store::Descriptor { digest: offer.digest, len });
        }
        let mut payloads = Vec::new();
        for name in made.store.repositories().unwrap() {
            for tag in made.store.tags(&name).unwrap() {
                let image = made.store.resolve_tag(&name, &tag).unwrap().unwrap();
                let digest: Digest = image.digest().to_string().parse().unwrap();
                let signature = SignatureImage::new(key, &name, &digest);
                payloads.push(Digest::of(&signature.payload).to_string());
                let (tag, manifest) = put_signature(&made.store, &digest, &signature);
                made.store.tag(&name, &tag, &manifest).unwrap();
            }
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let note = move |request: Request, next: Next| {
            noted.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            async move {
                tokio::time::sleep(time).await;
                next.run(request).await
            }
        };
        let routes = factory_server::routes(factory.clone(), Site::default());
        let routes = routes.layer(axum::middleware::from_fn(note));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { host, seen, payloads }
    }
}
