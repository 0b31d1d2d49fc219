//! A server for tests, in process, on a free port of the loopback.

// Each test binary takes its part of it, and test code may unwrap.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;

use factory_server::{Settings, Site};
use imager::Factory;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server; stops when it goes out of scope.
pub struct Server {
    pub url: String,
    pub store: Store,
    pub client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// Serves the store in `dir`.
    pub async fn start(dir: &Path) -> Self {
        Self::over(Factory::open(Store::open(dir).unwrap())).await
    }

    /// Serves `factory`, as a site without configuration.
    pub async fn over(factory: Factory) -> Self {
        Self::at(factory, Site::default()).await
    }

    /// Serves `factory` as `site` wants it.
    pub async fn at(factory: Factory, site: Site) -> Self {
        Self::with(factory, site, Settings::default()).await
    }

    /// Serves `factory` as `site` wants it, to connections that are treated so.
    pub async fn with(factory: Factory, site: Site, settings: Settings) -> Self {
        let store = factory.store().clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let routes = factory_server::routes(factory, site);
        let served = tokio::spawn(factory_server::serve(listener, routes, settings, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, store, client, stop: Some(stop), served: Some(served) }
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub fn head(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.head(format!("{}{path}", self.url))
    }

    pub async fn post(&self, body: impl Into<reqwest::Body>) -> reqwest::Response {
        self.client.post(format!("{}/schematics", self.url)).body(body).send().await.unwrap()
    }

    /// Tells it to stop; gives back what it ended with.
    pub async fn stop(mut self) -> std::io::Result<()> {
        self.stop.take().unwrap().send(()).unwrap();
        self.served.take().unwrap().await.unwrap()
    }
}

/// A field of an answer; empty if it is not there.
pub fn field(response: &reqwest::Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The parts of a multipart body, each with its header fields: read by the boundary alone, as a client does.
pub fn parts<'a>(media_type: &str, body: &'a [u8]) -> Vec<(String, &'a [u8])> {
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let delimiter = format!("--{boundary}");
    let mut rest = body.strip_prefix(delimiter.as_bytes()).unwrap();
    let mut parts = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let headers_end = find(part, b"\r\n\r\n");
        let content = &part[headers_end + 4..];
        let content_end = find(content, format!("\r\n{delimiter}").as_bytes());
        parts.push((String::from_utf8(part[..headers_end].to_vec()).unwrap(), &content[..content_end]));
        rest = &content[content_end + 2 + delimiter.len()..];
    }
    assert_eq!(rest, b"--\r\n");
    parts
}

/// Where `needle` first occurs.
fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).unwrap()
}
