//! `imager schematic`: the canonical form of a schematic and its id.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use schematics::Schematic;
use serde::Serialize;

use crate::exit::{Exit, Tag as _};
use crate::output::Output;

/// Reads a schematic strictly, and prints its id or its canonical form.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  imager schematic id schematic.yaml
  echo '{}' | imager schematic canonical -

A schematic's id is the SHA-256 of its canonical form, the same as a factory's.")]
pub struct Naming {
    #[command(subcommand)]
    form: Form,
}

#[derive(Subcommand)]
enum Form {
    /// Print the id: 64 hexadecimal digits
    Id(Input),
    /// Print the canonical YAML
    Canonical(Input),
}

#[derive(clap::Args)]
struct Input {
    /// YAML or JSON; `-` is standard input
    file: PathBuf,
}

/// The same as a factory answers.
#[derive(Serialize)]
struct Named {
    id: String,
    schematic: String,
}

/// The schematic in `file`; `-` is standard input.
pub fn read(file: &Path) -> anyhow::Result<Schematic> {
    let (shown, input): (_, Box<dyn Read>) = if file == Path::new("-") {
        ("standard input".to_owned(), Box::new(io::stdin()))
    } else {
        let shown = format!("`{}`", file.display());
        let opened = File::open(file).with_context(|| format!("opening {shown}")).exit(Exit::Io)?;
        (shown, Box::new(opened))
    };
    // One byte more than there may be: what is too long is refused as that.
    let mut body = Vec::new();
    input
        .take(schematics::MAX_LEN as u64 + 1)
        .read_to_end(&mut body)
        .with_context(|| format!("reading {shown}"))
        .exit(Exit::Io)?;
    Schematic::parse(&body).with_context(|| format!("reading {shown}")).exit(Exit::Input)
}

impl Naming {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> anyhow::Result<()> {
        let (Form::Id(input) | Form::Canonical(input)) = &self.form;
        let schematic = read(&input.file)?;
        let named = Named { id: schematic.id().to_string(), schematic: schematic.canonical() };
        output.value(&named, |out| match self.form {
            Form::Id(_) => writeln!(out, "{}", named.id),
            Form::Canonical(_) => out.write_all(named.schematic.as_bytes()),
        })
    }
}
