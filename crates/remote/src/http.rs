//! One request over HTTP, with its redirects: certificates, time-outs, and who sees the login.
//!
//! Redirects are followed here and not by a library, because the login must not follow them to another origin.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use extent::ExtentMap;
use futures::stream::{self, TryStreamExt as _};
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, LOCATION, PROXY_AUTHORIZATION, USER_AGENT,
};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use store::Store;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls;
use url::Url;

use crate::Error;
use crate::error::excerpt;
use crate::proxy::{Connector, Proxies, Refusal};

/// Redirects of one request. A blob has one, to where it lies; some registries have two.
const MAX_REDIRECTS: usize = 5;
/// What has to come while we wait for as long as `Options::stall`: slower than this is a slow loris and no network.
pub(crate) const MIN_PROGRESS_LEN: u64 = 4 << 10;
/// What is read of a body that explains an error.
const MAX_EXPLANATION_LEN: usize = 4 << 10;
/// Who we say that we are.
const AGENT: &str = concat!("image-factory/", env!("CARGO_PKG_VERSION"));

type SentBody = UnsyncBoxBody<Bytes, io::Error>;
type Hyper = hyper_util::client::legacy::Client<HttpsConnector<Connector>, SentBody>;

/// Connections.
pub(crate) struct Http {
    hyper: Hyper,
    proxies: Proxies,
    stall: Duration,
    /// Whether anybody's certificate can be judged.
    has_authorities: bool,
}

/// A request that can be sent again.
#[derive(Clone)]
pub(crate) struct Ask {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(HeaderName, String)>,
    pub body: Sent,
    /// The value of `Authorization`, for the origin of `url` alone.
    pub authorization: Option<String>,
    /// Whether plain HTTP is spoken here. A redirect from HTTPS to HTTP is never followed.
    pub plain: bool,
}

/// What is sent with a request.
#[derive(Clone)]
pub(crate) enum Sent {
    Nothing,
    Bytes(Bytes),
    /// What stays with the host that it is sent to.
    Secret(Bytes),
    Extents {
        store: Store,
        map: ExtentMap,
    },
}

/// The head of an answer, and the rest of it.
pub(crate) struct Answer {
    /// Where it came from, after redirects.
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Received,
}

/// A body that comes in.
pub(crate) struct Received {
    at: String,
    incoming: Incoming,
    stall: Duration,
    /// Since the last [`MIN_PROGRESS_LEN`] bytes: how long was waited, and what came.
    waited: Duration,
    came: u64,
}

impl Http {
    pub(crate) fn new(connect: Duration, stall: Duration, proxies: Proxies) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let has_authorities = !roots.is_empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect));
        let builder = || {
            let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls.clone());
            builder.https_or_http().enable_http1()
        };
        let to_proxy = builder().wrap_connector(http.clone());
        let https = builder().wrap_connector(Connector::new(http, to_proxy, proxies.clone()));
        let hyper = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_timer(TokioTimer::new())
            .build(https);
        Self { hyper, proxies, stall, has_authorities }
    }

    /// The answer to `ask`, whatever its status, after redirects.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Answer, Error> {
        let origin = ask.url.origin();
        let mut url = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let authorization = ask.authorization.as_deref().filter(|_| url.origin() == origin);
            let answer = self.send_once(ask, &url, authorization).await?;
            let Some(location) = redirect(&ask.method, &answer)? else { return Ok(answer) };
            url = target(&url, &location, ask.plain)?;
            if url.origin() != origin && matches!(ask.body, Sent::Secret(_)) {
                let wanted = "a login stays with the host that it was sent to";
                return Err(Error::BadRedirect { at: at(&ask.url), to: at(&url), wanted });
            }
        }
        Err(Error::BadRedirect { at: at(&ask.url), to: at(&url), wanted: "at most 5 redirects in a row" })
    }

    async fn send_once(&self, ask: &Ask, url: &Url, authorization: Option<&str>) -> Result<Answer, Error> {
        if url.scheme() == "https" && !self.has_authorities {
            return Err(Error::NoAuthorities);
        }
        let place = at(url);
        let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| Error::Unreachable {
            at: place.clone(),
            source,
        };
        let mut request = Request::builder().method(&ask.method).uri(url.as_str()).header(USER_AGENT, AGENT);
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = authorization {
            let mut value =
                HeaderValue::from_str(authorization).map_err(|error| unreachable(error.into()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        // Over TLS the proxy has its login with the tunnel; what is sent then is for the registry.
        let uri: Uri =
            url.as_str().parse().map_err(|error: http::uri::InvalidUri| unreachable(error.into()))?;
        let forwarder = self.proxies.find(&uri).filter(|_| url.scheme() == "http");
        if let Some(authorization) = forwarder.and_then(|proxy| proxy.authorization.as_ref()) {
            request = request.header(PROXY_AUTHORIZATION, authorization);
        }
        match &ask.body {
            Sent::Nothing if ask.method == Method::POST || ask.method == Method::PUT => {
                request = request.header(CONTENT_LENGTH, 0);
            }
            Sent::Extents { map, .. } => request = request.header(CONTENT_LENGTH, map.len()),
            _ => {}
        }
        let sent = Arc::new(AtomicU64::new(0));
        let body = ask.body.stream(Arc::clone(&sent));
        let request = request.body(body).map_err(|error| unreachable(error.into()))?;

        let mut response = std::pin::pin!(self.hyper.request(request));
        let mut last = 0;
        let response = loop {
            if let Ok(response) = timeout(self.stall, &mut response).await {
                break response.map_err(|error| match refusal(&error) {
                    Some(proxy) => Error::ProxyLogin { at: place.clone(), proxy },
                    None => unreachable(error.into()),
                })?;
            }
            // Not an answer yet; but perhaps our body goes out.
            let now = sent.load(Ordering::Relaxed);
            if now == last {
                return Err(Error::Stalled { at: place, waited: self.stall, wanted_len: 1 });
            }
            last = now;
        };
        let (head, incoming) = response.into_parts();
        if let Some(proxy) = forwarder.filter(|_| head.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
            return Err(Error::ProxyLogin { at: place, proxy: proxy.place() });
        }
        let body = Received { at: place, incoming, stall: self.stall, waited: Duration::ZERO, came: 0 };
        Ok(Answer { url: url.clone(), status: head.status, headers: head.headers, body })
    }
}

impl Ask {
    /// A request that reads.
    pub(crate) fn get(url: Url, headers: &[(HeaderName, &str)]) -> Self {
        Self {
            method: Method::GET,
            plain: url.scheme() == "http",
            url,
            headers: headers.iter().map(|(name, value)| (name.clone(), (*value).to_owned())).collect(),
            body: Sent::Nothing,
            authorization: None,
        }
    }
}

impl Sent {
    fn stream(&self, sent: Arc<AtomicU64>) -> SentBody {
        match self {
            Self::Nothing => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            Self::Bytes(bytes) | Self::Secret(bytes) => {
                Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync()
            }
            Self::Extents { store, map } => {
                let (store, map) = (store.clone(), map.clone());
                let chunks = stream::once(async move { store.stream(map).await }).try_flatten();
                let frames = chunks.map_err(io::Error::from).map_ok(move |chunk: Bytes| {
                    sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    Frame::data(chunk)
                });
                StreamBody::new(frames).boxed_unsync()
            }
        }
    }
}

impl Answer {
    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The beginning of the body, fit for a log.
    pub(crate) async fn explanation(mut self) -> String {
        let mut bytes = Vec::new();
        while bytes.len() < MAX_EXPLANATION_LEN {
            match self.body.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_EXPLANATION_LEN)]),
                _ => break,
            }
        }
        excerpt(String::from_utf8_lossy(&bytes).trim())
    }
}

impl Received {
    /// The next bytes, or the end where the framing of HTTP has it.
    ///
    /// # Errors
    /// `Stalled`, `Unreachable`. Time that the caller takes between two calls is not waiting.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let start = Instant::now();
            let frame = timeout(self.stall.saturating_sub(self.waited), self.incoming.frame()).await;
            self.waited += start.elapsed();
            let bytes = match frame {
                Err(_) => {
                    let at = self.at.clone();
                    return Err(Error::Stalled { at, waited: self.stall, wanted_len: MIN_PROGRESS_LEN });
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(Error::Unreachable { at: self.at.clone(), source: error.into() });
                }
                // Trailers mean nothing to us.
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => bytes,
                    Err(_) => continue,
                },
            };
            self.came += bytes.len() as u64;
            if self.came >= MIN_PROGRESS_LEN {
                (self.waited, self.came) = (Duration::ZERO, 0);
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// All of it, if it has at most `max` bytes.
    pub(crate) async fn bytes(mut self, what: &'static str, max: u64) -> Result<Bytes, Error> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (all.len() + chunk.len()) as u64 > max {
                return Err(Error::TooLong { at: self.at, what, max });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }
}

/// The proxy that has refused us for want of a login, if that is what lies behind `error`.
fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut error = Some(error);
    while let Some(this) = error {
        if let Some(refusal) = this.downcast_ref::<Refusal>() {
            return refusal.wants_login.then(|| refusal.proxy.clone());
        }
        error = this.source();
    }
    None
}

/// An address for errors: without the query, where blob hosts carry their signatures.
pub(crate) fn at(url: &Url) -> String {
    excerpt(&format!("{}{}", url.origin().ascii_serialization(), url.path()))
}

/// `location`, seen from `url`, if it is where we would go.
pub(crate) fn target(url: &Url, location: &str, plain: bool) -> Result<Url, Error> {
    let bad = |wanted| Error::BadRedirect { at: at(url), to: excerpt(location), wanted };
    let target = url.join(location).map_err(|_| bad("an address"))?;
    match target.scheme() {
        "https" => {}
        "http" if plain && url.scheme() == "http" => {}
        "http" => return Err(bad("an https address: the way there was https")),
        _ => return Err(bad("an http or https address")),
    }
    if !target.username().is_empty() || target.password().is_some() || !target.has_host() {
        return Err(bad("an address of a host, without a login"));
    }
    Ok(target)
}

/// Where an answer sends us, if it does. Bodies are sent again only where the status asks for it.
fn redirect(method: &Method, answer: &Answer) -> Result<Option<String>, Error> {
    let reads = method == Method::GET || method == Method::HEAD;
    match answer.status.as_u16() {
        301..=303 if reads => {}
        307 | 308 => {}
        _ => return Ok(None),
    }
    let wanted = "a redirect has a Location";
    let location = answer.header(LOCATION).ok_or_else(|| Error::BadAnswer { at: at(&answer.url), wanted })?;
    Ok(Some(location.to_owned()))
}
