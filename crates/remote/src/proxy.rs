//! Proxies: who is spoken to through one, and the connections to it.
//!
//! ```text
//! https ──▶ CONNECT host:port ──▶ TLS to the registry inside; the proxy sees a name and a port
//! http  ──▶ GET http://host/… ──▶ the proxy sees and sends all of it
//! ```
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are read as Go's programs read them, so that a machine set up
//! for other clients of registries is set up for this one. This machine is never asked through a proxy.
//!
//! Source: RFC 9110, §9.3.6, CONNECT; RFC 9112, §3.2.2; Go, `golang.org/x/net/http/httpproxy`; curl(1), environment.

use std::error::Error as StdError;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::{HeaderValue, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tower_service::Service;
use url::Url;

use crate::Error;

type BoxError = Box<dyn StdError + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type TunnelError = <Tunnel<HttpsConnector<HttpConnector>> as Service<Uri>>::Error;

/// Which requests go through which proxy.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    uri: Uri,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<HeaderValue>,
}

/// An entry of `NO_PROXY`; the port where it is for one port alone.
#[derive(Clone, Debug, PartialEq)]
struct Exception {
    to: To,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
enum To {
    All,
    /// Addresses.
    Net(IpNet),
    /// Hosts below this name, and itself unless the entry began with a dot.
    Domain {
        name: String,
        itself: bool,
    },
}

impl Proxies {
    /// No proxies.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those that the environment names. Each variable counts in upper case, else in lower case.
    ///
    /// # Errors
    /// `BadProxy`, which does not show the value: it may have a password.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Those that the variables name whose values `get` gives.
    ///
    /// # Errors
    /// As [`Proxies::from_env`].
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let value = |name: &'static str| {
            let values = [get(name), get(&name.to_ascii_lowercase())];
            values.into_iter().flatten().map(|value| value.trim().to_owned()).find(|value| !value.is_empty())
        };
        let proxy = |name| value(name).map(|text| Proxy::parse(&text, name)).transpose();
        let all = proxy("ALL_PROXY")?;
        // A CGI program gets the header `Proxy` of a request under this name.
        let http = if get("REQUEST_METHOD").is_some() { None } else { proxy("HTTP_PROXY")? };
        let list = value("NO_PROXY").unwrap_or_default();
        let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        Ok(Self {
            http: http.or_else(|| all.clone()),
            https: proxy("HTTPS_PROXY")?.or(all),
            exceptions: entries.filter_map(Exception::parse).collect(),
        })
    }

    /// The proxy for requests to `uri`, if they go through one.
    pub(crate) fn find(&self, uri: &Uri) -> Option<&Proxy> {
        let (proxy, default_port) = match uri.scheme_str() {
            Some("http") => (self.http.as_ref()?, 80),
            Some("https") => (self.https.as_ref()?, 443),
            _ => return None,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let host = host.to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.to_canonical().is_loopback()) {
            return None;
        }
        let port = uri.port_u16().unwrap_or(default_port);
        let is_exception = self.exceptions.iter().any(|exception| exception.holds(&host, address, port));
        (!is_exception).then_some(proxy)
    }
}

impl Proxy {
    fn parse(text: &str, variable: &'static str) -> Result<Self, Error> {
        let bad = |wanted| Error::BadProxy { variable, wanted };
        let wanted = "a proxy is `http://[USER:PASSWORD@]HOST[:PORT]`, or the same with https";
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&text).map_err(|_| bad(wanted))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("only http and https proxies are spoken to"));
        }
        let (host, port) = (url.host_str(), url.port_or_known_default());
        let (Some(host), Some(port)) = (host, port) else { return Err(bad(wanted)) };
        let uri = format!("{}://{host}:{port}/", url.scheme()).parse().map_err(|_| bad(wanted))?;
        let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
        let authorization = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let login = [decoded(url.username()), decoded(url.password().unwrap_or_default())].join(&b':');
            let value = format!("Basic {}", STANDARD.encode(login));
            let mut value = HeaderValue::try_from(value).expect("base64 is fit for a header");
            value.set_sensitive(true);
            value
        });
        Ok(Self { uri, authorization })
    }

    /// Its host and port, for errors.
    pub(crate) fn place(&self) -> String {
        self.uri.authority().map(ToString::to_string).unwrap_or_default()
    }
}

impl Exception {
    /// What `entry` says; none where it says nothing, which no other program complains of either.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" {
            return Some(Self { to: To::All, port: None });
        }
        let net = |text: &str| {
            let text = text.trim_start_matches('[').trim_end_matches(']');
            text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        };
        if let Some(net) = net(&entry) {
            return Some(Self { to: To::Net(net), port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (&*entry, None),
        };
        if let Some(net) = net(host) {
            return Some(Self { to: To::Net(net), port });
        }
        let host = host.strip_prefix('*').unwrap_or(host);
        let name = host.trim_matches('.');
        let itself = !host.starts_with('.');
        (!name.is_empty()).then(|| Self { to: To::Domain { name: name.to_owned(), itself }, port })
    }

    fn holds(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
            && match &self.to {
                To::All => true,
                To::Net(net) => address.is_some_and(|address| net.contains(&address.to_canonical())),
                To::Domain { name, itself } => match host.strip_suffix(name.as_str()) {
                    Some("") => *itself,
                    Some(above) => above.ends_with('.'),
                    None => false,
                },
            }
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |proxy: &Option<Proxy>| proxy.as_ref().map(Proxy::place);
        let mut shown = f.debug_struct("Proxies");
        shown.field("http", &place(&self.http)).field("https", &place(&self.https));
        shown.field("exceptions", &self.exceptions).finish()
    }
}

/// A proxy that lets us not through.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Its host and port.
    pub proxy: String,
    /// Whether it wants a login, or another one.
    pub wants_login: bool,
    source: TunnelError,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy `{}` gives no connection", self.proxy)
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

/// Connects, through a proxy where there is one.
#[derive(Clone)]
pub(crate) struct Connector {
    direct: HttpConnector,
    to_proxy: HttpsConnector<HttpConnector>,
    proxies: Arc<Proxies>,
}

impl Connector {
    /// `to_proxy` speaks TLS with the proxies that want it.
    pub(crate) fn new(
        direct: HttpConnector,
        to_proxy: HttpsConnector<HttpConnector>,
        proxies: Proxies,
    ) -> Self {
        Self { direct, to_proxy, proxies: Arc::new(proxies) }
    }
}

impl Service<Uri> for Connector {
    type Response = Line;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Line, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        std::task::ready!(self.direct.poll_ready(cx)).map_err(BoxError::from)?;
        self.to_proxy.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.find(&uri).cloned() else {
            let connecting = self.direct.call(uri);
            return Box::pin(async move {
                Ok(Line { stream: MaybeHttpsStream::Http(connecting.await?), forwards: false })
            });
        };
        if uri.scheme_str() == Some("http") {
            let connecting = self.to_proxy.call(proxy.uri);
            return Box::pin(async move { Ok(Line { stream: connecting.await?, forwards: true }) });
        }
        let place = proxy.place();
        let mut tunnel = Tunnel::new(proxy.uri, self.to_proxy.clone());
        if let Some(authorization) = proxy.authorization {
            tunnel = tunnel.with_auth(authorization);
        }
        let connecting = tunnel.call(uri);
        Box::pin(async move {
            let stream = connecting.await.map_err(|source| {
                let wants_login = matches!(source, TunnelError::ProxyAuthRequired);
                Refusal { proxy: place, wants_login, source }
            })?;
            Ok(Line { stream, forwards: false })
        })
    }
}

/// A connection.
pub(crate) struct Line {
    stream: Stream,
    /// Whether a proxy is at the other end that wants to be told whole addresses.
    forwards: bool,
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.forwards)
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests;
