//! Values of the configuration that are more than text.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted: as many as the system grants (`net.core.somaxconn`). Beyond it the system drops the
/// last packet of a handshake, and resets some of the clients, who take themselves for connected.
const BACKLOG: u32 = i32::MAX.cast_unsigned();

/// Where to listen: `HOST:PORT`, or `:PORT` for every address of the machine. Port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddr {
    /// A name or an address; empty for all.
    host: String,
    port: u16,
}

/// An address on the web: `http` or `https` and a host, perhaps a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url(String);

/// A time as Go writes it: `90s`, `15m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Duration);

/// What a value is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A listening address without a port, or with a wrong one.
    #[error("`{0}` is no address to listen on: expected `HOST:PORT` or `:PORT`")]
    Listen(String),
    /// Not `http` or `https`, or no host.
    #[error(
        "`{0}` is no address on the web: expected `http://HOST` or `https://HOST`, without user, query or fragment"
    )]
    Url(String),
    /// No duration.
    #[error("`{0}` is no time: expected for instance `90s`, `15m` or `1h30m`")]
    Time(String),
}

impl ListenAddr {
    /// `host` and `port`.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    /// Listens there.
    ///
    /// # Errors
    /// What the system says: the port is taken, the name is unknown.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        if !self.host.is_empty() {
            return listen((self.host.as_str(), self.port)).await;
        }
        // The address `::` takes IPv4 as well, where there is IPv6 at all.
        match listen(("::", self.port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => listen(("0.0.0.0", self.port)).await,
            bound => bound,
        }
    }
}

/// Listens at the first address of `host` that can be had.
async fn listen(host: (&str, u16)) -> io::Result<TcpListener> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(host).await? {
        let bound =
            if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.and_then(|socket| {
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                socket.listen(BACKLOG)
            });
        match bound {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

impl FromStr for ListenAddr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Listen(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // An address with colons stands in brackets, and nothing else does.
        let usable = inner.is_some() == host.contains(':')
            && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
        if usable { Ok(Self { host: inner.unwrap_or(host).to_owned(), port }) } else { Err(wrong()) }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Url {
    /// Its text, without a slash at the end: what paths are appended to.
    pub fn base(&self) -> &str {
        self.0.trim_end_matches('/')
    }

    /// Its text as it was configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Url {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Url(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let http = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().is_some_and(|host| !host.is_empty());
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !http || !host || user || uri.query().is_some() || text.contains('#') {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Time {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // Go writes no space and no word, the crate would take both.
        let go = text.chars().all(|c| c.is_ascii_digit() || "hmsun".contains(c));
        let parsed = humantime::parse_duration(text).ok().filter(|_| go);
        parsed.map(Self).ok_or_else(|| ValueError::Time(text.to_owned()))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Go knows no days.
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let parts = [
            (seconds / 3600, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (u64::from(nanos / 1_000_000), "ms"),
            (u64::from(nanos / 1000 % 1000), "us"),
            (u64::from(nanos % 1000), "ns"),
        ];
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        parts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}

macro_rules! text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

text!(ListenAddr, Url, Time);

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_crowd_is_connected_before_anybody_is_accepted() {
        // More than the 1 024 that is usual. What is beyond the backlog tries again, for longer than this waits.
        const CROWD: usize = 1500;
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        let listener = "127.0.0.1:0".parse::<ListenAddr>().unwrap().bind().await.unwrap();
        let address = listener.local_addr().unwrap();
        let crowd = futures::future::try_join_all((0..CROWD).map(|_| TcpStream::connect(address)));
        let crowd = tokio::time::timeout(Duration::from_secs(30), crowd).await;
        assert_eq!(crowd.expect("nobody waits").unwrap().len(), CROWD);
    }

    #[test]
    fn addresses_to_listen_on() {
        for text in [":8080", "127.0.0.1:0", "[::1]:80", "localhost:65535"] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
        }
        for text in ["", "8080", "::1:80", ":", ":65536", "[::1]", "[host]:1", "a b:1", "http://a:1", "a:-1"]
        {
            assert!(text.parse::<ListenAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_appended_to_addresses_without_their_last_slash() {
        for (text, want) in [
            ("https://factory.example/", "https://factory.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://example/factory/", "https://example/factory"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.base(), url.as_str()), (want, text));
        }
        for text in [
            "",
            "factory.example",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a/?b",
            "http://a/#b",
            "http://a b",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_as_go_writes_them() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5400), ("720h", 2_592_000)] {
            assert_eq!(text.parse::<Time>().unwrap().0, Duration::from_secs(seconds));
        }
        for text in ["", "5", "5 m", "1 day", "-1s", "1y", "1.5h", "99999999999999999999h"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        let millis = |count| Time(Duration::from_millis(count));
        for (time, text) in [
            (millis(0), "0s"),
            (millis(5_400_000), "1h30m"),
            (millis(86_400_000), "24h"),
            (millis(2_592_000_000), "720h"),
            (millis(90_061_001), "25h1m1s1ms"),
            (Time(Duration::from_nanos(1_001)), "1us1ns"),
        ] {
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse::<Time>().unwrap().0, time.0);
        }
    }
}
