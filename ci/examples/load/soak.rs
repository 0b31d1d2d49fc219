//! Requests of every kind, round after round, each judged by its status and its length.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::response::{Request, Response};

/// Bytes that a client takes at once.
const CHUNK_LEN: usize = 64 << 10;
/// Of the disk that is asked for in ranges: the boot files are within.
const RANGED_LEN: u64 = 64 << 20;
const RANGE_LEN: u64 = 1 << 20;
/// What is taken of a download before it is given up.
const ABORT_AFTER: u64 = 3 << 20;
/// A checksum of a whole image is asked for in one round of so many: it reads all of it.
const HASH_EVERY: u64 = 16;

struct Soak {
    at: String,
    version: String,
    arch: String,
    salt: u128,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    bytes: u64,
    requests: BTreeMap<&'static str, u64>,
    unexpected: BTreeMap<String, u64>,
}

/// What of a body is taken.
#[derive(Clone, Copy)]
enum Take {
    Whole,
    Some(u64),
}

/// Asks on `clients` connections at once until the time is over.
pub async fn soak(at: &str, version: &str, arch: &str, clients: &str, seconds: &str) -> Fallible<Value> {
    let (clients, until): (u64, _) = (clients.parse()?, Duration::from_secs_f64(seconds.parse()?));
    let soak = Arc::new(Soak {
        at: at.to_owned(),
        version: version.to_owned(),
        arch: arch.to_owned(),
        salt: crate::salt()?,
        tally: Mutex::default(),
    });
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for client in 0..clients {
        let soak = Arc::clone(&soak);
        running.spawn(async move {
            for round in 0.. {
                if begun.elapsed() >= until {
                    return;
                }
                soak.round(round * clients + client).await;
            }
        });
    }
    while let Some(client) = running.join_next().await {
        client?;
    }
    let tally = std::mem::take(&mut *soak.tally.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(json!({
        "requests": tally.requests, "unexpected": tally.unexpected, "bytes": tally.bytes,
        "schematics": tally.requests.get("schematic"), "seconds": begun.elapsed().as_secs_f64(),
    }))
}

impl Soak {
    /// One schematic that nobody has seen, and what people do with it.
    async fn round(&self, n: u64) {
        let Self { version, arch, salt, .. } = self;
        let schematic = format!("customization: {{extraKernelArgs: [soak.{salt}={n}]}}");
        let answered = self.ask("schematic", 201, Request::post(&schematic), Take::Whole).await;
        let id = answered.and_then(|text| Some(text.split("\"id\":\"").nth(1)?.get(..64)?.to_owned()));
        let Some(id) = id else { return };
        let asset = |name: &str| format!("/image/{id}/{version}/{name}");
        let (disk, compressed) =
            (asset(&format!("metal-{arch}.raw")), asset(&format!("metal-{arch}.raw.zst")));

        self.get("whole", 200, &compressed).await;
        for path in [
            asset(&format!("cmdline-metal-{arch}")),
            asset(&format!("kernel-{arch}.sha256")),
            format!("{compressed}.lock.json"),
            format!("/pxe/{id}/{version}/metal-{arch}"),
            format!("/schematics/{id}"),
        ] {
            self.get("small", 200, &path).await;
        }
        if n.is_multiple_of(HASH_EVERY) {
            self.get("checksum", 200, &format!("{compressed}.sha256")).await;
        }
        for path in ["/versions", "/healthz", &format!("/version/{version}/extensions/official")] {
            self.get("list", 200, path).await;
        }
        self.ranges(n, &disk).await;
        self.aborts(n, &disk, &compressed).await;
        self.errors(&id, &disk).await;
    }

    async fn ranges(&self, n: u64, disk: &str) {
        // Spread by an odd factor, so that the rounds do not go through the disk side by side.
        let from = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (RANGED_LEN - RANGE_LEN);
        let one = format!("Range: bytes={from}-{}\r\n", from + RANGE_LEN - 1);
        let two = format!("Range: bytes={from}-{},-512\r\n", from + 511);
        for fields in [&one, &two] {
            let request = Request { fields, ..Request::get(disk) };
            self.ask("range", 206, request, Take::Whole).await;
        }
        let request = Request { fields: "If-None-Match: *\r\n", ..Request::get(disk) };
        self.ask("not modified", 304, request, Take::Whole).await;
    }

    /// Clients that go away: in the body, before the answer, within the header of the request.
    async fn aborts(&self, n: u64, disk: &str, compressed: &str) {
        for path in [disk, compressed] {
            self.ask("aborted", 200, Request::get(path), Take::Some(n % ABORT_AFTER)).await;
        }
        let request = Request::get(disk).text(&self.at);
        for text in [&request[..], &request[..request.len() / 2]] {
            let gone = async {
                TcpStream::connect(&self.at).await?.write_all(text.as_bytes()).await?;
                Fallible::Ok(())
            };
            self.note("aborted", gone.await.map_err(|error| format!("aborted: {error}")));
        }
    }

    async fn errors(&self, id: &str, disk: &str) {
        let Self { version, arch, .. } = self;
        let nobody = "0".repeat(64);
        for (status, path) in [
            (404, format!("/image/{nobody}/{version}/metal-{arch}.raw")),
            (404, format!("/image/{id}/v99.0.0/metal-{arch}.raw")),
            (400, format!("/image/{id}/vv/metal-{arch}.raw")),
            (404, "/nothing".to_owned()),
        ] {
            self.get("error", status, &path).await;
        }
        for (status, request) in [
            (400, Request::post("customization: [")),
            (405, Request { method: "DELETE", ..Request::get("/versions") }),
            (416, Request { fields: "Range: bytes=999999999999-\r\n", ..Request::get(disk) }),
            (412, Request { fields: "If-Match: \"another\"\r\n", ..Request::get(disk) }),
        ] {
            self.ask("error", status, request, Take::Whole).await;
        }
    }

    async fn get(&self, what: &'static str, status: u16, path: &str) {
        self.ask(what, status, Request::get(path), Take::Whole).await;
    }

    /// Asks on a connection of its own and notes what came. The beginning of the body.
    async fn ask(&self, what: &'static str, status: u16, request: Request<'_>, take: Take) -> Option<String> {
        let answer = self.answer(request, take).await;
        let judged = match answer {
            Ok((got, text)) if got == status => Ok(text),
            Ok((got, _)) => Err(format!("{what}: {} {}: {got}", request.method, kind(request.path))),
            Err(error) => Err(format!("{what}: {} {}: {error}", request.method, kind(request.path))),
        };
        self.note(what, judged)
    }

    async fn answer(&self, request: Request<'_>, take: Take) -> Fallible<(u16, String)> {
        let mut stream = TcpStream::connect(&self.at).await?;
        let mut response = Response::ask(&mut stream, &self.at, request).await?;
        let (mut chunk, mut taken, mut text) = (vec![0; CHUNK_LEN], 0, String::new());
        while !matches!(take, Take::Some(len) if taken >= len) {
            let len = response.body(&mut chunk).await?;
            if len == 0 {
                break;
            }
            if taken == 0 {
                text = String::from_utf8_lossy(&chunk[..len.min(1024)]).into_owned();
            }
            taken += len as u64;
        }
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).bytes += taken;
        Ok((response.status, text))
    }

    fn note<T>(&self, what: &'static str, judged: Result<T, String>) -> Option<T> {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        *tally.requests.entry(what).or_default() += 1;
        match judged {
            Ok(came) => Some(came),
            Err(unexpected) => {
                *tally.unexpected.entry(unexpected).or_default() += 1;
                None
            }
        }
    }
}

/// A path without what differs from round to round.
fn kind(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.len() == 64 { "…" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
