//! Programs: run, listened to, and quoted when they fail.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::Error;

/// How much of what a program wrote an error carries, in bytes: its last words.
const SAID_LEN_MAX: usize = 600;

/// Bytes done by a line of apt's status: `dlstatus:<file>:<percent>:<text>`.
pub(super) fn downloaded(line: &str, total: u64) -> Option<u64> {
    let percent = line.strip_prefix("dlstatus:")?.split(':').nth(1)?;
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, ""));
    let fraction: String = fraction.chars().chain("0000".chars()).take(4).collect();
    let millionths = whole.parse::<u64>().ok()?.checked_mul(10_000)? + fraction.parse::<u64>().ok()?;
    let done = u128::from(total) * u128::from(millionths.min(1_000_000)) / 1_000_000;
    u64::try_from(done).ok()
}

/// Runs `command`, hands on the lines it writes, and gives its last words if it fails.
pub(super) fn run(mut command: Command, mut on_line: impl FnMut(&str)) -> Result<Result<(), String>, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| not_started(&command, source))?;
    let mut errors = child.stderr.take().expect("stderr is a pipe");
    let lines = child.stdout.take().expect("stdout is a pipe");
    let said = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = errors.read_to_end(&mut said);
        said
    });
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        on_line(&line);
    }
    let status =
        child.wait().map_err(Error::io("wait for", command.get_program().to_string_lossy().as_ref()))?;
    let said = said.join().unwrap_or_default();
    Ok(if status.success() { Ok(()) } else { Err(last_words(&said)) })
}

/// What `command` writes.
pub(super) fn output(mut command: Command) -> Result<String, Error> {
    command.stdin(Stdio::null());
    let output = command.output().map_err(|source| not_started(&command, source))?;
    if !output.status.success() {
        return Err(Error::Tool { tool: "apt-get", said: last_words(&output.stderr) });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn not_started(command: &Command, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::NotFound {
        return Error::ToolMissing { tool: "apt-get", package: "apt" };
    }
    Error::io("run", command.get_program().to_string_lossy().as_ref())(source)
}

/// The end of what a program wrote to its standard error, on one line, errors before warnings.
pub(crate) fn last_words(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let mut lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.sort_by_key(|line| line.starts_with("W:"));
    let mut text = lines.join("; ");
    if text.len() > SAID_LEN_MAX {
        let cut = (0..=SAID_LEN_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    if text.is_empty() { "it said nothing".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_download_is_read() {
        for (line, expected) in [
            ("dlstatus:1:0.0000:Retrieving file 1 of 2", Some(0)),
            ("dlstatus:2:12.0546:Retrieving file 2 of 2", Some(1205)),
            ("dlstatus:2:100.0000:x", Some(10000)),
            ("dlstatus:2:100:x", Some(10000)),
            ("dlstatus:2:900.5:x", Some(10000)),
            ("dlstatus:2:-1:x", None),
            ("dlstatus:", None),
            ("Get:1 http://a", None),
        ] {
            assert_eq!(downloaded(line, 10_000), expected, "{line}");
        }
    }

    #[test]
    fn last_words_are_short_and_begin_with_the_error() {
        assert_eq!(last_words(b"W: a\nE: b\n\n"), "E: b; W: a");
        assert_eq!(last_words(b""), "it said nothing");
        let long = "ä".repeat(1000);
        assert!(last_words(long.as_bytes()).len() < 700);
    }
}
