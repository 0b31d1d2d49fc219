//! How long the first byte of an image takes that nobody has asked for before.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::response::{Response, register};

/// Registers `count` schematics that nobody has seen, then asks for the asset of each, `in_flight` at a time.
pub async fn first_byte(
    at: &str,
    version: &str,
    asset: &str,
    count: &str,
    in_flight: &str,
) -> Fallible<Value> {
    let (count, in_flight): (usize, usize) = (count.parse()?, in_flight.parse()?);
    let salt = crate::salt()?;
    let ids = Arc::new(Mutex::new(Vec::with_capacity(count)));
    each(count, in_flight, |n| {
        let (at, ids) = (at.to_owned(), Arc::clone(&ids));
        async move {
            let schematic = format!("customization: {{extraKernelArgs: [bench.{salt}={n}]}}");
            let id = register(&at, &schematic).await?;
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
            let mut response = Response::get(&mut stream, &at, &path).await?;
            response.body(&mut [0; 4 << 10]).await?;
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
