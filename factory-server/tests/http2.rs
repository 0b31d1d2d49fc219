//! HTTP/2: connections that hold a place and do nothing are ended, those that are slow are not.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
mod pulling;
#[path = "../../crates/remote/tests/support/mod.rs"]
mod registries;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::routing::get;
use bytes::Bytes;
use common::Server;
use cosign::SigningKey;
use factory_server::{Settings, Site};
use futures::StreamExt as _;
use h2::client::SendRequest;
use h2::{Ping, PingPong, RecvStream};
use imager::Factory;
use pulling::{Counted, core, image, origin};
use store::Store;
use support::complete;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// More than any of it takes on a full machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// What the connections of a test may do nothing for.
const LIMIT: Duration = Duration::from_secs(2);
/// Longer than a connection that does nothing lasts, with its last chance.
const LONG: Duration = Duration::from_secs(6);
/// What a client takes unless it opens the window further.
const WINDOW_LEN: usize = 65_535;
/// 2.3 GB, nearly all zeros: more than any buffer on the way holds.
const LARGE: &str = "metal-arm64.raw";

/// A client that speaks HTTP/2 without being asked to, and answers PINGs.
struct Client {
    url: String,
    requests: SendRequest<Bytes>,
    pings: PingPong,
    ended: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(url: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        let (requests, mut connection) = h2::client::handshake(stream).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        Self { url: url.to_owned(), requests, pings, ended: tokio::spawn(connection) }
    }

    /// The answer with status 200, whose body waits to be taken.
    async fn get(&mut self, path: &str) -> RecvStream {
        let request = Request::get(format!("{}{path}", self.url)).body(()).unwrap();
        let (response, _) = self.requests.send_request(request, true).unwrap();
        let response: Response<_> = timeout(PATIENCE, response).await.expect("an answer comes").unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.into_body()
    }

    /// The whole body of an answer.
    async fn bytes(&mut self, path: &str) -> Vec<u8> {
        taken(self.get(path).await).await
    }
}

/// All that comes of `body`.
async fn taken(mut body: RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = timeout(PATIENCE, body.data()).await.expect("the body goes on") {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// All that fits into the windows of `body`.
async fn fill(body: &mut RecvStream) {
    let mut rest = WINDOW_LEN;
    while rest > 0 {
        let piece = timeout(PATIENCE, body.data()).await.expect("the windows are filled");
        rest -= piece.unwrap().unwrap().len();
    }
}

/// What gives both kinds of stillness `limit`.
fn limited(limit: Duration) -> Settings {
    let mut settings = Settings::default();
    settings.header_timeout = limit;
    settings.send_timeout = limit;
    settings
}

/// Serves `routes`; gives back where.
async fn serve(routes: Router, settings: Settings) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(factory_server::serve(listener, routes, settings, std::future::pending()));
    url
}

#[tokio::test]
async fn who_asks_for_nothing_gives_its_place_up_though_it_answers_pings() {
    let dir = tempfile::tempdir().unwrap();
    let factory = Factory::open(Store::open(dir.path()).unwrap());
    let mut settings = Settings::default();
    settings.header_timeout = LIMIT;
    let server = Server::with(factory, Site::default(), settings).await;
    for count in [0, 1] {
        let begun = Instant::now();
        let mut client = Client::connect(&server.url).await;
        for _ in 0..count {
            client.bytes("/healthz").await;
        }
        let ended = timeout(PATIENCE, &mut client.ended).await.expect("the connection is ended").unwrap();
        ended.expect("it is told so");
        assert!(begun.elapsed() >= LIMIT, "after {count} requests: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_stop_ends_connections_that_do_nothing_and_lets_downloads_end() {
    let made = complete();
    let server = Server::over(made.factory.clone()).await;
    server.post("{}").await;
    let (mut idle, mut running) = (Client::connect(&server.url).await, Client::connect(&server.url).await);
    let whole = idle.bytes(&image("metal-amd64-uki.efi")).await;
    let body = running.get(&image("metal-amd64-uki.efi")).await;
    let stopped = tokio::spawn(server.stop());
    timeout(PATIENCE, idle.ended).await.expect("it ends").unwrap().expect("it is told so");
    assert!(taken(body).await == whole, "the running download ends");
    timeout(PATIENCE, running.ended).await.expect("it ends").unwrap().expect("it is told so");
    stopped.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_takes_nothing_is_cut_and_who_takes_slowly_is_not() {
    let made = complete();
    let mut settings = Settings::default();
    settings.send_timeout = LIMIT;
    let server = Server::with(made.factory.clone(), Site::default(), settings).await;
    server.post("{}").await;
    let stalls = async {
        let mut client = Client::connect(&server.url).await;
        let begun = Instant::now();
        let mut body = client.get(&image(LARGE)).await;
        fill(&mut body).await;
        // It lives, and says so.
        let alive = async { while client.pings.ping(Ping::opaque()).await.is_ok() {} };
        timeout(PATIENCE, alive).await.expect("the connection is ended");
        assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
        assert!(body.data().await.is_none_or(|piece| piece.is_err()), "the download has not ended well");
    };
    let takes = async {
        let mut client = Client::connect(&server.url).await;
        let mut body = client.get(&image(LARGE)).await;
        fill(&mut body).await;
        let begun = Instant::now();
        // Much less than a piece of the body in each time-out.
        while begun.elapsed() < LONG {
            body.flow_control().release_capacity(1 << 10).unwrap();
            let piece = timeout(PATIENCE, body.data()).await.expect("the download goes on");
            assert!(!piece.unwrap().unwrap().is_empty());
            sleep(LIMIT / 20).await;
        }
    };
    tokio::join!(stalls, takes);
}

#[tokio::test]
async fn an_answer_that_waits_to_be_sent_is_in_flight_though_its_body_has_ended() {
    let mut settings = Settings::default();
    settings.header_timeout = LIMIT;
    let url = serve(Router::new().route("/", get(async || vec![b'a'; 2 * WINDOW_LEN])), settings).await;
    let mut client = Client::connect(&url).await;
    let mut body = client.get("/").await;
    fill(&mut body).await;
    sleep(LONG).await;
    body.flow_control().release_capacity(WINDOW_LEN).unwrap();
    fill(&mut body).await;
    assert!(body.data().await.is_none());
}

#[tokio::test]
async fn what_takes_the_server_long_is_not_held_against_the_client() {
    let pauses = || async {
        let first = futures::stream::iter([Ok::<_, std::io::Error>("a")]);
        Body::from_stream(first.chain(futures::stream::once(async {
            sleep(LONG).await;
            Ok("b")
        })))
    };
    let thinks = || async {
        sleep(LONG).await;
        "ab"
    };
    let routes = Router::new().route("/thinks", get(thinks)).route("/pauses", get(pauses));
    let url = serve(routes, limited(LIMIT)).await;
    let answered = ["/thinks", "/pauses"].map(|path| {
        let url = url.clone();
        async move {
            let begun = Instant::now();
            assert_eq!(Client::connect(&url).await.bytes(path).await, b"ab", "{path}");
            assert!(begun.elapsed() >= LONG, "{path}");
        }
    });
    futures::future::join_all(answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_takes_longer_than_all_time_outs_is_waited_for() {
    let (made, key) = (complete(), SigningKey::generate().unwrap());
    let counted = Counted::slow(&made, &key, LIMIT / 2).await;
    let dir = tempfile::tempdir().unwrap();
    let factory = Factory::open(Store::open(dir.path()).unwrap());
    let factory = factory.with_sources(core(origin(&counted.host, "", Some(&key))));
    let server = Server::with(factory, Site::default(), limited(LIMIT)).await;
    server.post("{}").await;
    let begun = Instant::now();
    let bytes = Client::connect(&server.url).await.bytes(&image("kernel-amd64")).await;
    assert!(!bytes.is_empty());
    assert!(begun.elapsed() >= LONG, "it was too quick to show anything: {:?}", begun.elapsed());
}
