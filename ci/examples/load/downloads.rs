//! Downloads of one file: as fast as they go, or slow ones by the thousand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::Fallible;
use crate::response::Response;

/// Bytes that a client takes at once.
const CHUNK_LEN: usize = 256 << 10;
/// What a slow client takes at once, and how often.
const SIP_LEN: usize = 4 << 10;
const SIP_EVERY: Duration = Duration::from_secs(1);
/// What is on its way to a slow client, as on a bad link: little.
const RECEIVE_LEN: u32 = 16 << 10;

/// Downloads whole files on `connections` until the time is over.
pub async fn throughput(at: &str, path: &str, connections: &str, seconds: &str) -> Fallible<Value> {
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
                let mut response = Response::get(&mut stream, &at, &path).await?;
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
    let bytes = taken.load(Ordering::Relaxed);
    #[allow(clippy::cast_precision_loss)]
    let mib_per_s = bytes as f64 / seconds / f64::from(1 << 20);
    Ok(json!({"mib_per_s": mib_per_s, "bytes": bytes, "seconds": seconds}))
}

/// Holds `count` downloads open that take [`SIP_LEN`] bytes every second; how many were alive at the end.
pub async fn slow(at: &str, path: &str, count: &str, seconds: &str) -> Fallible<Value> {
    let until = Duration::from_secs_f64(seconds.parse()?);
    let begun = Instant::now();
    let (begun_count, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..count.parse()? {
        let (at, path) = (at.to_owned(), path.to_owned());
        let (begun_count, alive) = (Arc::clone(&begun_count), Arc::clone(&alive));
        clients.spawn(async move {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(RECEIVE_LEN)?;
            let mut stream = socket.connect(at.parse()?).await?;
            let mut response = Response::get(&mut stream, &at, &path).await?;
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
    let (mut failed, mut first_failure) = (0, None);
    while let Some(client) = clients.join_next().await {
        if let Err(error) = client? {
            failed += 1;
            first_failure.get_or_insert_with(|| error.to_string());
        }
    }
    Ok(json!({
        "begun": begun_count.load(Ordering::Relaxed), "alive": alive.load(Ordering::Relaxed), "failed": failed,
        "first_failure": first_failure,
    }))
}
