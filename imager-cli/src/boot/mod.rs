//! `imager boot`: starts an image in QEMU and judges by its serial console.

mod console;
mod machine;
mod medium;

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use console::{Console, Verdict};
use imager::Arch;
use machine::{Accel, Start};
use medium::Medium;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Tag as _, refuse, refuse_hint};
use crate::output::Output;

/// Starts an image in QEMU and judges by what its serial console says.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  imager boot metal-amd64.raw.zst
  imager boot --expect 'extensions=siderolabs/drbd@' --verbose metal-arm64.raw
  imager boot --arch amd64 --kernel kernel-amd64 --initrd initramfs-amd64.xz --append 'imager.test=poweroff'

The image is never written to. Each text of --expect must appear on a line of the console; the lines are printed. A
kernel panic, the firmware's shell and the like end the boot at once, as does the time limit (exit code 7).")]
pub struct Boot {
    /// A raw disk image, plain or compressed with zstd
    #[arg(value_name = "FILE", required_unless_present = "kernel", conflicts_with = "kernel")]
    file: Option<PathBuf>,
    /// A text that must appear on the console; may be repeated
    #[arg(long, value_name = "TEXT", default_value = "IMAGER-BOOT-OK")]
    expect: Vec<String>,
    /// Seconds after which the boot has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// amd64 or arm64 [default: by the file's name, else by the boot loader on the disk]
    #[arg(long)]
    arch: Option<Arch>,
    /// What runs the guest: tcg works everywhere, kvm only where a guest really runs
    #[arg(long, default_value = "tcg")]
    accel: Accel,
    /// Memory of the machine in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    memory: u32,
    /// Show the console while the machine runs
    #[arg(long, short)]
    verbose: bool,
    /// Write all of the console to this file as well
    #[arg(long, value_name = "FILE")]
    serial: Option<PathBuf>,
    /// Start this kernel without firmware or disk
    #[arg(long, value_name = "FILE", requires = "arch")]
    kernel: Option<PathBuf>,
    /// The initramfs of --kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel command line of --kernel, after the console's
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    append: Option<String>,
}

/// What the machine does, as it happens.
enum Event {
    Serial(Vec<u8>),
    Silent,
    Interrupted,
}

/// A boot that went well.
#[derive(serde::Serialize)]
struct Booted {
    /// The console's lines with the expected texts, in the order of the texts.
    lines: Vec<String>,
    seconds: f64,
}

impl Boot {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> anyhow::Result<()> {
        let scratch = tempfile::Builder::new()
            .prefix("imager-boot-")
            .tempdir()
            .context("making a directory")
            .exit(Exit::Io)?;
        let (arch, command) = match (&self.file, &self.kernel) {
            (_, Some(kernel)) => self.direct(kernel, scratch.path())?,
            (Some(file), None) => self.disk(file, scratch.path(), output)?,
            (None, None) => return refuse(Exit::Input, "there is nothing to boot"),
        };
        output.note(&format!("booting {arch} under {:?}", self.accel).to_lowercase());
        let booted = self.watch(command, output)?;
        output.value(&booted, |out| booted.lines.iter().try_for_each(|line| writeln!(out, "{line}")))
    }

    fn direct(&self, kernel: &Path, scratch: &Path) -> anyhow::Result<(Arch, std::process::Command)> {
        for file in [Some(kernel), self.initrd.as_deref()].into_iter().flatten() {
            File::open(file).with_context(|| format!("opening `{}`", file.display())).exit(Exit::Io)?;
        }
        let Some(arch) = self.arch else { return refuse(Exit::Input, "`--kernel` needs `--arch`") };
        let append = format!("{} {}", machine::console_of(arch), self.append.as_deref().unwrap_or_default());
        let start = Start::Kernel { kernel, initrd: self.initrd.as_deref(), append: append.trim_end() };
        Ok((arch, machine::command(arch, self.accel, self.memory, &start, scratch)?))
    }

    fn disk(
        &self,
        file: &Path,
        scratch: &Path,
        output: &Output,
    ) -> anyhow::Result<(Arch, std::process::Command)> {
        let shown = file.display();
        let progress = output.progress();
        progress.step(&format!("opening `{shown}`"));
        let medium = Medium::open(file, scratch)?;
        let named = || file.file_name().and_then(|name| machine::arch_of(&name.to_string_lossy()));
        let arch = match self.arch.or_else(named) {
            Some(arch) => arch,
            None => match medium.arch().with_context(|| format!("searching `{shown}`")).exit(Exit::Io)? {
                Some(arch) => arch,
                None => {
                    return refuse_hint(
                        Exit::Input,
                        format!("`{shown}` has no boot loader that tells its architecture"),
                        "say which with `--arch amd64` or `--arch arm64`",
                    );
                }
            },
        };
        progress.done();
        let start = Start::Disk { path: &medium.path, sector_size: medium.sector_size };
        Ok((arch, machine::command(arch, self.accel, self.memory, &start, scratch)?))
    }

    /// Runs the machine until its console has said enough, or the time is up.
    fn watch(&self, mut command: std::process::Command, output: &Output) -> anyhow::Result<Booted> {
        let mut log = match &self.serial {
            Some(path) => Some(
                File::create(path)
                    .with_context(|| format!("creating `{}`", path.display()))
                    .exit(Exit::Io)?,
            ),
            None => None,
        };
        let begun = Instant::now();
        let limit = Duration::from_secs(self.timeout);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut machine = Machine(command.spawn().context("starting QEMU").exit(Exit::Dependency)?);
        let (events, happened) = mpsc::channel();
        let said = machine.listen(&events);
        interrupts(events);

        let mut console = Console::new(&self.expect);
        let progress = Output::new(false, self.verbose || output.is_quiet()).progress();
        progress.step("waiting for the console");
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            match happened.recv_timeout(left) {
                Ok(Event::Serial(bytes)) => {
                    if self.verbose {
                        // A closed standard error is no reason to end a boot.
                        let _ = std::io::stderr().write_all(&bytes);
                    }
                    if let Some(log) = &mut log {
                        log.write_all(&bytes).context("writing the console's log").exit(Exit::Io)?;
                    }
                    match console.take(&bytes) {
                        Some(Verdict::Booted(lines)) => {
                            progress.done();
                            return Ok(Booted { lines, seconds: begun.elapsed().as_secs_f64() });
                        }
                        Some(Verdict::Failed { meaning, line }) => {
                            return failed(&format!("{meaning}: `{line}`"), &console);
                        }
                        None => {}
                    }
                }
                Ok(Event::Silent) | Err(RecvTimeoutError::Disconnected) => {
                    drop(machine);
                    let said = said.join().unwrap_or_default();
                    if console.last_lines().is_empty() && !said.is_empty() {
                        return refuse(Exit::Dependency, format!("QEMU did not start: {said}"));
                    }
                    return failed(&format!("the machine stopped before {}", wanted(&console)), &console);
                }
                Ok(Event::Interrupted) => return refuse(Exit::Unknown, "interrupted"),
                Err(RecvTimeoutError::Timeout) => {
                    return failed(
                        &format!("{} s passed before {}", self.timeout, wanted(&console)),
                        &console,
                    );
                }
            }
        }
    }
}

/// The expected texts that have not appeared.
fn wanted(console: &Console) -> String {
    let texts: Vec<String> = console.missing().iter().map(|text| format!("`{text}`")).collect();
    texts.join(" and ")
}

fn failed<T>(reason: &str, console: &Console) -> anyhow::Result<T> {
    let lines = console.last_lines();
    let shown = if lines.is_empty() {
        "; its console said nothing".to_owned()
    } else {
        format!("; its console ended with\n    {}", lines.join("\n    "))
    };
    refuse(Exit::Assembly, format!("the image does not boot: {reason}{shown}"))
}

/// A running QEMU, killed when it goes out of scope.
struct Machine(Child);

impl Machine {
    /// Passes the console on; gives back what QEMU itself says once it has ended.
    fn listen(&mut self, events: &Sender<Event>) -> thread::JoinHandle<String> {
        let mut serial = self.0.stdout.take().expect("standard output is piped");
        let mut errors = self.0.stderr.take().expect("standard error is piped");
        let events = events.clone();
        thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(len @ 1..) = serial.read(&mut buf) {
                if events.send(Event::Serial(buf[..len].to_vec())).is_err() {
                    return;
                }
            }
            // Nobody listens any more once there is a verdict.
            let _ = events.send(Event::Silent);
        });
        thread::spawn(move || {
            let mut said = Vec::new();
            // What is not UTF-8 or comes after an error is not worth another error.
            let _ = errors.read_to_end(&mut said);
            String::from_utf8_lossy(&said).trim().to_owned()
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Turns SIGINT and SIGTERM into events, so that the machine and the scratch files go before the process does.
fn interrupts(events: Sender<Event>) {
    thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            let _ = events.send(Event::Interrupted);
        });
    });
}
