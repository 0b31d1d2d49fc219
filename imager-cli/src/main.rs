//! `imager`: the engine without a network.

mod boot;
mod exit;
mod output;
mod schematic;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use output::Output;

/// Describes, builds and boots images of a schematic
#[derive(Parser)]
#[command(name = "imager", version, max_term_width = 110)]
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
    Boot(boot::Boot),
    Schematic(schematic::Naming),
    Store(store::Care),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json, cli.quiet);
    match run(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(exit::report(&error)),
    }
}

fn run(cli: Cli, output: &Output) -> anyhow::Result<()> {
    let store = || store::open(cli.store);
    match cli.command {
        Command::Boot(command) => command.run(output),
        Command::Schematic(command) => command.run(output),
        Command::Store(command) => command.run(&store()?, output),
    }
}
