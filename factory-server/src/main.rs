//! The entry point of the server.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use factory_server::{Settings, Site};
use imager::Factory;
use store::Store;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Serves boot images of schematics over HTTP
#[derive(Parser)]
#[command(
    name = "factory-server",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  factory-server
  factory-server --listen '[::]:8080' --store /var/lib/imager --log-format json

A store is filled with `imager seed debian`. $RUST_LOG chooses what is logged (default: info)."
)]
struct Flags {
    /// Address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The store [default: $IMAGER_STORE, else imager/store in the user's data directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// The form of the log, on standard error
    #[arg(long, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    log(flags.log_format);
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(flags: Flags) -> anyhow::Result<()> {
    let dir = flags
        .store
        .or_else(store::default_dir)
        .context("there is no place for a store: use `--store DIR`")?;
    let store = Store::open(&dir).with_context(|| format!("opening the store `{}`", dir.display()))?;
    let listener =
        TcpListener::bind(flags.listen).await.with_context(|| format!("listening on {}", flags.listen))?;
    // Before the line that says it listens: whoever reads that may stop it at once.
    let stop = stop()?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr().context("asking for the address")?)
        .context("writing to standard output")?;
    factory_server::serve(
        listener,
        factory_server::routes(Factory::open(store), Site::default()),
        Settings::default(),
        stop,
    )
    .await
    .context("serving")
}

/// Ends with the first SIGINT or SIGTERM.
fn stop() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("waiting for signals")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
