//! How a command ends: exit codes, and what is said of a failure.
//!
//! The codes are the reference's public interface. Where several apply, the lowest but 1 wins, as there.

use std::error::Error;
use std::fmt;
use std::io;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Nothing else fits.
    Unknown = 1,
    /// The input is invalid: flags, schematic, names.
    Input = 2,
    /// The combination is not supported.
    Unsupported = 3,
    /// The machine lacks something.
    Environment = 4,
    /// Something asked for help failed: a package archive, an external tool.
    Dependency = 5,
    /// Reading or writing failed.
    Io = 6,
    /// The image cannot be assembled, or does not boot.
    Assembly = 7,
}

impl Exit {
    /// The exit code that is this number; the engine numbers as the reference does.
    const fn of(code: u8) -> Self {
        match code {
            2 => Self::Input,
            3 => Self::Unsupported,
            4 => Self::Environment,
            5 => Self::Dependency,
            6 => Self::Io,
            7 => Self::Assembly,
            _ => Self::Unknown,
        }
    }
}

/// An error whose exit code and next step are known.
struct Failure {
    exit: Exit,
    hint: Option<String>,
    error: anyhow::Error,
}

/// Standard output was closed by its reader, who has seen enough.
#[derive(Debug)]
pub struct Closed;

/// Says of the error in a result how the command ends.
pub trait Tag<T> {
    /// Gives the error an exit code.
    fn exit(self, exit: Exit) -> anyhow::Result<T>;
    /// Gives the error an exit code and the next step.
    fn exit_hint(self, exit: Exit, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Tag<T> for Result<T, E> {
    fn exit(self, exit: Exit) -> anyhow::Result<T> {
        self.map_err(|error| Failure { exit, hint: None, error: error.into() }.into())
    }

    fn exit_hint(self, exit: Exit, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| Failure { exit, hint: Some(hint.into()), error: error.into() }.into())
    }
}

/// The failure `message`.
pub fn refuse<T>(exit: Exit, message: impl Into<String>) -> anyhow::Result<T> {
    Err(anyhow::Error::msg(message.into())).exit(exit)
}

/// The failure `message`, with the next step.
pub fn refuse_hint<T>(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T> {
    Err(anyhow::Error::msg(message.into())).exit_hint(exit, hint)
}

/// Says what went wrong on standard error; the exit code for it.
pub fn report(error: &anyhow::Error) -> u8 {
    if error.chain().any(<dyn Error>::is::<Closed>) {
        return 0;
    }
    let mut causes = error.chain();
    if let Some(first) = causes.next() {
        eprintln!("error: {first}");
    }
    for cause in causes {
        eprintln!("  caused by: {cause}");
    }
    if let Some(hint) = error.chain().find_map(hint) {
        eprintln!("hint: {hint}");
    }
    code(error) as u8
}

/// The exit code of `error`: of those found along its chain the lowest, but 1 only if there is no other.
fn code(error: &anyhow::Error) -> Exit {
    error.chain().filter_map(exit).filter(|exit| *exit != Exit::Unknown).min().unwrap_or(Exit::Unknown)
}

/// The exit code of one error of a chain.
fn exit(error: &(dyn Error + 'static)) -> Option<Exit> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if let Some(error) = error.downcast_ref::<imager::Error>() {
        return Some(Exit::of(error.exit_code()));
    }
    if error.is::<schematics::Error>() {
        return Some(Exit::Input);
    }
    (error.is::<io::Error>() || error.is::<store::Error>()).then_some(Exit::Io)
}

/// The next step after one error of a chain.
fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.hint.clone();
    }
    if let Some(error) = error.downcast_ref::<imager::Error>() {
        return match error {
            imager::Error::VersionNotAvailable { .. } => Some(
                "`imager versions` lists those that are there, `imager seed debian` makes more".to_owned(),
            ),
            imager::Error::ExtensionNotAvailable { version, .. } => {
                Some(format!("`imager extensions {version}` lists those that are there"))
            }
            imager::Error::Store(error) => hint(error),
            _ => None,
        };
    }
    match error.downcast_ref::<store::Error>()? {
        store::Error::Corrupt { .. } => Some(
            "`imager store verify` names every corrupt blob, `imager seed debian` puts them again".to_owned(),
        ),
        store::Error::NotFound { .. } => {
            Some("`imager seed debian` puts the blobs of source images again".to_owned())
        }
        store::Error::NoSpace { .. } => Some("make room, or choose another place".to_owned()),
        _ => None,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl Error for Closed {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn io_error() -> io::Error {
        io::ErrorKind::PermissionDenied.into()
    }

    #[test]
    fn the_lowest_code_of_the_chain_wins_but_one() {
        let table: Vec<(anyhow::Result<()>, Exit)> = vec![
            (Err(anyhow::anyhow!("?")), Exit::Unknown),
            (Err(io_error().into()), Exit::Io),
            (Err(io_error()).context("reading `x`"), Exit::Io),
            (Err(io_error()).context("reading `x`").exit(Exit::Assembly), Exit::Io),
            (Err(io_error()).exit(Exit::Input), Exit::Input),
            (refuse(Exit::Input, "no").context("more").exit(Exit::Assembly), Exit::Input),
            (refuse(Exit::Unknown, "no").context("more").exit(Exit::Assembly), Exit::Assembly),
        ];
        for (result, expected) in table {
            let error = result.unwrap_err();
            assert_eq!(code(&error), expected, "{error:#}");
        }
    }

    #[test]
    fn a_tag_adds_no_line_to_the_chain() {
        let error = Err::<(), _>(io_error()).context("reading `x`").exit_hint(Exit::Input, "do").unwrap_err();
        assert_eq!(error.chain().count(), 2);
        assert_eq!(error.to_string(), "reading `x`");
        assert_eq!(error.chain().find_map(hint).as_deref(), Some("do"));
    }
}
