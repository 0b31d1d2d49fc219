//! The entry point of the server.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use cosign::{Opened, SigningKey};
use factory_server::config::{self, Config, ListenAddr, Loaded, LogFormat, Source, Url};
use factory_server::{External, Metrics, Settings, Site, Tls};
use imager::Factory;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use store::Store;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

/// What the imager ends with when it was asked for the wrong thing.
const EXIT_USAGE: u8 = 2;
/// What a process that is told twice to stop ends with.
const EXIT_CUT: i32 = 1;
/// A few who scrape.
const METRICS_CONNECTIONS_MAX: usize = 64;

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
  factory-server --config factory.yaml --check-config

A store is filled with `imager seed debian`. Every key of the configuration is also a variable of the environment
(http.externalURL: IF_HTTP_EXTERNALURL); docs/configuration.md lists them."
)]
struct Flags {
    /// The configuration: YAML, JSON, a file of variables (.env), or env=PREFIX; a later one goes before an earlier one
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    config: Vec<String>,
    /// Say what the configuration means, and end
    #[arg(long)]
    check_config: bool,
    /// Address and port; port 0 takes a free one [default: http.httpListenAddr, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<ListenAddr>,
    /// The store [default: store.dir, else $IMAGER_STORE, else imager/store in the user's data directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// What is logged: error, warn, info, debug or trace, also by part [default: log.level, else info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The form of the log, on standard error [default: log.format, else text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<LogFormat>,
}

/// Threads for what blocks: reads, plans, hashes. The runtime starts another one whenever all are busy, and a thread that
/// has done its work but lost its processor counts as busy: on a full machine eight downloads had 512, the default, each
/// with a stack and a share of the heap.
const BLOCKING_THREADS_MAX: usize = 128;

/// How long work that was begun for a client may go on when the last download has ended.
const WORK_GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let flags = Flags::parse();
    let (loaded, filter) = match configured(&flags) {
        Ok(configured) => configured,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if flags.check_config {
        return match check(&loaded) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(EXIT_USAGE)
            }
        };
    }
    log(filter, loaded.config.log.format);
    let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build();
    let ended = runtime.context("starting threads").and_then(|runtime| {
        let ended = runtime.block_on(run(loaded));
        // What is hashed or derived for nobody does not hold the end up; a store outlives writers that are cut off.
        runtime.shutdown_timeout(WORK_GRACE);
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The configuration, the flags in it, and what it says of the log.
fn configured(flags: &Flags) -> anyhow::Result<(Loaded, EnvFilter)> {
    let sources: Vec<Source> = flags.config.iter().cloned().map(Source::from).collect();
    // A variable that is no text is none of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut loaded = config::load(&sources, variables).context("reading the configuration")?;
    let config = &mut loaded.config;
    config.http.http_listen_addr = flags.listen.clone().unwrap_or(config.http.http_listen_addr.clone());
    config.store.dir = flags.store.clone().or(config.store.dir.take());
    config.log.level = flags.log_level.clone().unwrap_or_else(|| config.log.level.clone());
    config.log.format = flags.log_format.unwrap_or(config.log.format);
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log.level.clone());
    let filter = filter.parse().with_context(|| format!("reading the log level `{filter}`"))?;
    Ok((loaded, filter))
}

async fn run(loaded: Loaded) -> anyhow::Result<()> {
    allow_open_files();
    let mut settings = settings(&loaded.config)?;
    let mut site = site(&loaded.config)?;
    settings.metrics = site.metrics.clone();
    for (key, origin, why) in &loaded.unused {
        tracing::warn!(key, %origin, why, "a key has no effect");
    }
    let sources = loaded.config.sources().context("configuring sources")?;
    let config = loaded.config;
    let dir = config
        .store
        .dir
        .or_else(store::default_dir)
        .context("there is no place for a store: use `--store DIR`")?;
    let store = Store::open(&dir).with_context(|| format!("opening the store `{}`", dir.display()))?;
    if site.signer.is_none() {
        site.signer = Some(Arc::new(own_key(&dir)?));
    }
    let addr = &config.http.http_listen_addr;
    let listener = addr.bind().await.with_context(|| format!("listening on {addr}"))?;
    // Before the line that says it listens: whoever reads that may stop it at once.
    let stop = stop()?;
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let bound = listener.local_addr().context("asking for the address")?;
    let url = if bound.ip().is_unspecified() {
        if config.http.external_url.is_none() {
            tracing::warn!(
                "machines are told to boot from `localhost`: set `http.externalURL` to what they know this server by"
            );
        }
        // Every address of the machine is none that a client could use.
        format!("{scheme}://localhost:{}", bound.port())
    } else {
        format!("{scheme}://{bound}")
    };
    writeln!(std::io::stdout(), "{url}").context("writing to standard output")?;
    let http = &config.http;
    let pxe_url = http.external_pxe_url.as_ref().map(Url::base);
    let site = site.known_by(http.external_url.as_ref().map_or(&url, Url::base), pxe_url);
    // Machines show it as the author of their schematic. Images of a factory that was told no address are those of the
    // imager.
    let factory = match &http.external_url {
        Some(url) => Factory::at(store, url.as_str()),
        None => Factory::open(store),
    };
    let factory = factory.with_sources(sources);
    let (versions, catalogues) =
        (config.artifacts.talos_version_recheck_interval, config.artifacts.refresh_interval);
    let refresh = factory_server::refresh(factory.clone(), site.metrics.clone(), versions.0, catalogues.0);
    let refreshing = (!factory.standings().is_empty()).then(|| tokio::spawn(refresh));
    let serving = serve_metrics(&config.metrics, loaded.configured, &site.metrics).await?;
    let routes = factory_server::routes(factory, site);
    let served = factory_server::serve(listener, routes, settings, stop).await.context("serving");
    // Until the last download ended, somebody may watch it.
    if let Some(serving) = serving {
        serving.abort();
    }
    if let Some(refreshing) = refreshing {
        refreshing.abort();
    }
    served
}

/// Serves the metrics on their own address, if they have one.
async fn serve_metrics(
    config: &config::Metrics,
    configured: bool,
    metrics: &Metrics,
) -> anyhow::Result<Option<JoinHandle<io::Result<()>>>> {
    let Some(addr) = &config.addr else { return Ok(None) };
    let listener = match addr.bind().await {
        Ok(listener) => listener,
        // Nobody asked for them, and another server of this machine has its own there.
        Err(error) if !configured => {
            tracing::warn!(%addr, %error, "metrics are not served");
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("listening on {addr} for metrics")),
    };
    tracing::info!(addr = %listener.local_addr().context("asking for the address")?, "metrics are served");
    let mut settings = Settings::default();
    settings.connections_max = METRICS_CONNECTIONS_MAX;
    let serving = factory_server::serve(listener, metrics.routes(), settings, std::future::pending());
    Ok(Some(tokio::spawn(serving)))
}

/// The key that is kept in the store, made if this is the first start.
fn own_key(store: &Path) -> anyhow::Result<SigningKey> {
    let dir = store.join("keys");
    std::fs::create_dir_all(&dir).with_context(|| format!("making `{}`", dir.display()))?;
    let path = dir.join("signing.pem");
    let (key, opened) = SigningKey::open_or_create(&path).context("opening the signing key")?;
    say_key(&path, &key, opened);
    Ok(key)
}

/// Whoever pulls images compares this.
fn say_key(path: &Path, key: &SigningKey, opened: Opened) {
    let (path, fingerprint) = (path.display(), key.fingerprint());
    match opened {
        Opened::Created => tracing::info!(%path, %fingerprint, "a signing key was made"),
        Opened::Exposed { mode } => {
            let mode = format!("{mode:04o}");
            tracing::warn!(%path, %fingerprint, mode, "others than its owner may read the signing key");
        }
        Opened::Found => tracing::info!(%path, %fingerprint, "images are signed"),
    }
}

/// How connections are treated.
fn settings(config: &Config) -> anyhow::Result<Settings> {
    let http = &config.http;
    let mut settings = Settings::default();
    settings.header_timeout = http.header_timeout.0;
    settings.send_timeout = http.send_timeout.0;
    settings.send_files = http.send_files;
    settings.connections_max = http.max_connections.get().min(Semaphore::MAX_PERMITS);
    settings.drain = http.drain_timeout.0;
    if let (Some(cert), Some(key)) = (&http.cert_file, &http.key_file) {
        settings.tls = Some(Tls::watch(cert.clone(), key.clone()).context("loading the certificate")?);
    }
    Ok(settings)
}

/// What the site decides, but for its addresses.
fn site(config: &Config) -> anyhow::Result<Site> {
    let mut site = Site::default();
    site.broken_versions.clone_from(&config.build.broken_talos_versions);
    site.min_version.clone_from(&config.build.min_talos_version);
    site.allowed_origins.clone_from(&config.http.allowed_origins);
    site.body_timeout = config.http.body_timeout.0;
    if let Some(path) = &config.cache.signing_key_path {
        let opened = SigningKey::open(path);
        let (key, opened) =
            opened.with_context(|| format!("reading the signing key `{}`", path.display()))?;
        say_key(path, &key, opened);
        site.signer = Some(Arc::new(key));
    }
    let external = &config.artifacts.installer.external;
    if !external.registry.is_empty() {
        let (registry, namespace) = (&external.registry, &external.namespace);
        let opened = External::new(registry, namespace, &external.repository, external.insecure);
        site.external = Some(Arc::new(opened.context("reading `artifacts.installer.external`")?));
    }
    if config.secure_boot.enabled
        && let Some(path) = &config.secure_boot.file.signing_cert_path
    {
        let pem = std::fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
        site.signing_cert = Some(Bytes::from(pem));
    }
    Ok(site)
}

/// Says what the configuration means, once the files that it names were read.
#[tokio::main]
async fn check(loaded: &Loaded) -> anyhow::Result<()> {
    settings(&loaded.config)?;
    site(&loaded.config)?;
    loaded.config.sources().context("configuring sources")?;
    let mut out = std::io::stdout().lock();
    let shown = serde_json::to_string_pretty(&loaded.config).context("writing the configuration")?;
    writeln!(out, "{shown}").context("writing to standard output")?;
    for (key, origin, why) in &loaded.unused {
        eprintln!("{origin}: `{key}` has no effect: {why}");
    }
    Ok(())
}

/// Allows as many open files as may be allowed. A connection is one, and programs are started with 1 024 for the sake
/// of those that call `select`.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, limit = limit.current, "the limit of open files stays");
    }
}

/// Ends with the first SIGINT or SIGTERM. The second ends the process.
fn stop() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("waiting for signals")?;
    let mut signal = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    Ok(async move {
        signal().await;
        tokio::spawn(async move {
            signal().await;
            tracing::warn!("downloads are cut: a second signal came");
            std::process::exit(EXIT_CUT);
        });
    })
}

fn log(filter: EnvFilter, format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
