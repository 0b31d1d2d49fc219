//! `imager`: the engine without a server.

mod boot;
mod build;
mod exit;
mod load;
mod mirror;
mod output;
mod plan;
mod policy;
mod push;
mod schematic;
mod seed;
mod source;
mod store;
mod transfer;
mod versions;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use output::Output;
use tracing_subscriber::EnvFilter;

/// Describes, builds and boots images of schematics
#[derive(Parser)]
#[command(
    name = "imager",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  imager seed debian                                        source images from Debian packages
  imager versions                                           what images can be made of
  imager build metal-amd64.raw.zst --version v13.1.0        a disk image
  imager boot metal-amd64.raw.zst                           does it boot?

Exit codes: 0 well, 1 unknown, 2 invalid input, 3 not supported, 4 the machine lacks something, 5 something that was
asked for help failed, 6 reading or writing, 7 the image cannot be assembled or does not boot."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The store [default: $IMAGER_STORE, else imager/store in the user's data directory]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Print one JSON value, and no progress
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Seed(seed::Seeding),
    Schematic(schematic::Naming),
    Versions(versions::Versions),
    Extensions(versions::Extensions),
    Build(build::Build),
    Push(push::Push),
    Mirror(mirror::Mirror),
    Plan(plan::Plan),
    Boot(boot::Boot),
    Store(store::Care),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json, cli.quiet);
    log(&output);
    match run(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(exit::report(&error)),
    }
}

fn run(cli: Cli, output: &Output) -> anyhow::Result<()> {
    let dir = cli.store;
    match cli.command {
        Command::Seed(command) => command.run(dir, output),
        Command::Schematic(command) => command.run(output),
        Command::Versions(command) => wait(command.run(dir, output)),
        Command::Extensions(command) => wait(command.run(dir, output)),
        Command::Build(command) => wait(command.run(dir, output)),
        Command::Mirror(command) => wait(command.run(dir, output)),
        Command::Push(command) => wait(command.run(dir, output)),
        Command::Plan(command) => wait(command.run(dir, output)),
        Command::Boot(command) => command.run(output),
        Command::Store(command) => command.run(&store::open(dir)?, output),
    }
}

/// Shows what the engine warns of; `$RUST_LOG` chooses otherwise.
fn log(output: &Output) {
    let usual = if output.is_quiet() { "error" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let stderr = std::io::stderr;
    let log = tracing_subscriber::fmt().with_env_filter(filter).without_time().with_target(false);
    log.with_ansi(stderr().is_terminal()).with_writer(stderr).init();
}

/// Runs what waits for the store or the network.
fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?;
    runtime.block_on(work)
}
