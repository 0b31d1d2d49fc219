//! A load generator for `ci/bench`: many clients on few threads, over plain HTTP/1.1, so that what is measured is the
//! server and not the client.
//!
//! ```text
//! load first-byte  HOST:PORT VERSION ASSET COUNT IN_FLIGHT   never-seen schematics: milliseconds to the first byte
//! load throughput  HOST:PORT PATH CONNECTIONS SECONDS        bytes per second, whole downloads again and again
//! load slow        HOST:PORT PATH COUNT SECONDS              COUNT downloads that take a little now and then
//! load soak        HOST:PORT VERSION ARCH CLIENTS SECONDS    requests of every kind, each judged by its status
//! ```
//!
//! Each prints one line of JSON.

mod downloads;
mod first_byte;
mod response;
mod soak;

use std::error::Error;
use std::process::ExitCode;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let measured = match args[..] {
        ["first-byte", at, version, asset, count, in_flight] => {
            first_byte::first_byte(at, version, asset, count, in_flight).await
        }
        ["throughput", at, path, connections, seconds] => {
            downloads::throughput(at, path, connections, seconds).await
        }
        ["slow", at, path, count, seconds] => downloads::slow(at, path, count, seconds).await,
        ["soak", at, version, arch, clients, seconds] => {
            soak::soak(at, version, arch, clients, seconds).await
        }
        _ => Err("usage: load first-byte|throughput|slow|soak …: see the head of the file".into()),
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

/// What tells the schematics of this run from those of every other.
fn salt() -> Fallible<u128> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos())
}
