//! A load generator for `ci/bench`: many clients on few threads, over plain HTTP/1.1, so that what is measured is the
//! server and not the client.
//!
//! ```text
//! load first-byte  HOST:PORT VERSION ASSET COUNT IN_FLIGHT   never-seen schematics: milliseconds to the first byte
//! load throughput  HOST:PORT PATH CONNECTIONS SECONDS        bytes per second, whole downloads again and again
//! load slow        HOST:PORT PATH COUNT SECONDS              COUNT downloads that take a little now and then
//! ```
//!
//! Each prints one line of JSON.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes that a client takes at once.
const CHUNK_LEN: usize = 256 << 10;
/// What a slow client takes at once, and how often.
const SIP_LEN: usize = 4 << 10;
const SIP_EVERY: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let measured = match args[..] {
        ["first-byte", at, version, asset, count, in_flight] => {
            first_byte(at, version, asset, count, in_flight).await
        }
        ["throughput", at, path, connections, seconds] => throughput(at, path, connections, seconds).await,
        ["slow", at, path, count, seconds] => slow(at, path, count, seconds).await,
        _ => Err("usage: load first-byte|throughput|slow …: see the head of the file".into()),
    };
    match measured {
        Ok(value) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Registers `count` schematics that nobody has seen, then asks for the asset of each, `in_flight` at a time.
async fn first_byte(at: &str, version: &str, asset: &str, count: &str, in_flight: &str) -> Fallible<Value> {
    let (count, in_flight): (usize, usize) = (count.parse()?, in_flight.parse()?);
    // Another run must not find the schematics of this one.
    let salt = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let ids = Arc::new(Mutex::new(Vec::with_capacity(count)));
    each(count, in_flight, |n| {
        let (at, ids) = (at.to_owned(), Arc::clone(&ids));
        async move {
            let id =
                register(&at, &format!("customization: {{extraKernelArgs: [bench.{salt}={n}]}}")).await?;
            ids.lock().await.push(id);
            Ok(())
        }
    })
    .await?;
    let ids = Arc::new(std::mem::take(&mut *ids.lock().await));

    let begun = Instant::now();
    let times = Arc::new(Mutex::new(Vec::with_capacity(count)));
    each(count, in_flight, |n| {
        let (at, times) = (at.to_owned(), Arc::clone(&times));
        let path = format!("/image/{}/{version}/{asset}", ids[n]);
        async move {
            let mut stream = TcpStream::connect(&at).await?;
            stream.set_nodelay(true)?;
            let asked = Instant::now();
            let mut response = Response::ask(&mut stream, &at, &path).await?;
            response.body(&mut [0; SIP_LEN]).await?;
            times.lock().await.push(asked.elapsed().as_secs_f64() * 1e3);
            Ok(())
        }
    })
    .await?;
    let mut times = std::mem::take(&mut *times.lock().await);
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = ((times.len() as f64 * share) as usize).min(times.len() - 1);
        times[index]
    };
    Ok(json!({
        "count": times.len(), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0),
        "seconds": begun.elapsed().as_secs_f64(),
    }))
}

/// Runs `work` for each number below `count`, `in_flight` at a time.
async fn each<F>(count: usize, in_flight: usize, work: impl Fn(usize) -> F) -> Fallible<()>
where
    F: Future<Output = Fallible<()>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for n in 0..count {
        if running.len() >= in_flight {
            running.join_next().await.ok_or("nothing runs")???;
        }
        running.spawn(work(n));
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// The id of a schematic that the server has then.
async fn register(at: &str, schematic: &str) -> Fallible<String> {
    let len = schematic.len();
    let request = format!(
        "POST /schematics HTTP/1.1\r\nHost: {at}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{schematic}"
    );
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let id = answer.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..64)).ok_or("no id")?;
    Ok(id.to_owned())
}

/// Downloads whole files on `connections` until the time is over.
async fn throughput(at: &str, path: &str, connections: &str, seconds: &str) -> Fallible<Value> {
    let until = Duration::from_secs_f64(seconds.parse()?);
    let begun = Instant::now();
    let taken = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..connections.parse()? {
        let (at, path, taken) = (at.to_owned(), path.to_owned(), Arc::clone(&taken));
        clients.spawn(async move {
            let mut chunk = vec![0; CHUNK_LEN];
            while begun.elapsed() < until {
                let mut stream = TcpStream::connect(&at).await?;
                let mut response = Response::ask(&mut stream, &at, &path).await?;
                loop {
                    let len = response.body(&mut chunk).await?;
                    taken.fetch_add(len as u64, Ordering::Relaxed);
                    if len == 0 || begun.elapsed() >= until {
                        break;
                    }
                }
            }
            Fallible::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let mib_per_s = taken.load(Ordering::Relaxed) as f64 / seconds / f64::from(1 << 20);
    Ok(json!({"mib_per_s": mib_per_s, "seconds": seconds}))
}

/// Holds `count` downloads open that take [`SIP_LEN`] bytes every second; how many were alive at the end.
async fn slow(at: &str, path: &str, count: &str, seconds: &str) -> Fallible<Value> {
    let until = Duration::from_secs_f64(seconds.parse()?);
    let begun = Instant::now();
    let (begun_count, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..count.parse()? {
        let (at, path) = (at.to_owned(), path.to_owned());
        let (begun_count, alive) = (Arc::clone(&begun_count), Arc::clone(&alive));
        clients.spawn(async move {
            let socket = tokio::net::TcpSocket::new_v4()?;
            // As a client on a bad link: little is on its way.
            socket.set_recv_buffer_size(16 << 10)?;
            let mut stream = socket.connect(at.parse()?).await?;
            let mut response = Response::ask(&mut stream, &at, &path).await?;
            begun_count.fetch_add(1, Ordering::Relaxed);
            let mut sip = vec![0; SIP_LEN];
            while begun.elapsed() < until {
                if response.body(&mut sip).await? == 0 {
                    return Fallible::Ok(());
                }
                tokio::time::sleep(SIP_EVERY).await;
            }
            alive.fetch_add(1, Ordering::Relaxed);
            Fallible::Ok(())
        });
    }
    let mut failed = 0;
    while let Some(client) = clients.join_next().await {
        failed += usize::from(client?.is_err());
    }
    Ok(json!({
        "begun": begun_count.load(Ordering::Relaxed), "alive": alive.load(Ordering::Relaxed), "failed": failed,
    }))
}

/// An answer being read.
struct Response<'a> {
    stream: &'a mut TcpStream,
    /// What came of the body with the header.
    ahead: Vec<u8>,
    left: u64,
}

impl<'a> Response<'a> {
    /// Asks for `path` and reads the header of the answer.
    async fn ask(stream: &'a mut TcpStream, host: &str, path: &str) -> Fallible<Self> {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
        let mut read = Vec::new();
        let end = loop {
            let mut chunk = [0; 2048];
            let len = stream.read(&mut chunk).await?;
            if len == 0 {
                return Err("the answer ended in its header".into());
            }
            read.extend_from_slice(&chunk[..len]);
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
        };
        let header = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        if !header.starts_with("http/1.1 200") {
            return Err(format!("{path}: {}", header.lines().next().unwrap_or_default()).into());
        }
        let len = header.lines().find_map(|line| line.strip_prefix("content-length: "));
        let left = len.ok_or("no content-length")?.trim().parse()?;
        Ok(Self { stream, ahead: read.split_off(end + 4), left })
    }

    /// Some of the body; 0 at its end.
    async fn body(&mut self, chunk: &mut [u8]) -> Fallible<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let len = if self.ahead.is_empty() {
            self.stream.read(chunk).await?
        } else {
            let len = self.ahead.len().min(chunk.len());
            chunk[..len].copy_from_slice(&self.ahead[..len]);
            self.ahead.drain(..len);
            len
        };
        if len == 0 {
            return Err("the answer is shorter than it said".into());
        }
        self.left = self.left.saturating_sub(len as u64);
        Ok(len)
    }
}
