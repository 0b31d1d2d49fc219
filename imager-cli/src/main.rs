//! `imager`: the engine without a network.

mod boot;
mod exit;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use output::Output;

/// Describes, builds and boots images of a schematic.
#[derive(Parser)]
#[command(name = "imager", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
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
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json, cli.quiet);
    let result = match &cli.command {
        Command::Boot(command) => command.run(&output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(exit::report(&error)),
    }
}
