//! apt in a state of its own.
//!
//! Lists and packages are fetched by the host's `apt-get`, which checks Debian's signatures, but with every
//! directory it writes inside ours and no configuration of the host's except how to reach the network
//! (proxy, timeouts, `auth.conf`). Needs no root and installs nothing.
//!
//! ```text
//! <dir>/apt.conf                 named by APT_CONFIG; sends all of `Dir` here
//!       sources.list             the suite, its updates and its security updates, signed by Debian's keyring
//!       lists/                   what the archive has, as of the last `update`
//!       fetched                  the sources.list that the lists were fetched for
//!       status, cache/           apt's own
//! ```
//!
//! Source: apt.conf(5), apt-get(8) (`indextargets`, `APT::Status-Fd`), apt 2.6.

pub(crate) mod closure;
pub(crate) mod index;
pub(crate) mod process;
mod sources;
pub(crate) mod version;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use self::index::{Index, Package};
use self::process::{downloaded, output, run};
pub use self::sources::Mirrors;
use crate::progress::{OnProgress, Progress, Step};
use crate::{Arch, Error, Suite};

/// Components that packages are taken from. `main` has the system, `non-free-firmware` what devices load.
const COMPONENTS: &str = "main non-free-firmware";
/// Where Debian's keys are: `.gpg` before Debian 13, which has both names.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// apt for one suite and architecture.
pub(crate) struct Apt {
    dir: PathBuf,
    suite: Suite,
    arch: Arch,
    mirrors: Mirrors,
    keyring: PathBuf,
}

/// What the lists say.
pub(crate) struct Lists {
    pub index: Index,
    /// The point release, as the archive writes it: `13.2`.
    pub release: String,
}

impl Apt {
    /// Lays out the state below `dir`. What `keyring` has no key for is not trusted.
    ///
    /// # Errors
    /// `ToolMissing`, `Io`.
    pub fn prepare(
        dir: PathBuf,
        suite: Suite,
        arch: Arch,
        mirrors: &Mirrors,
        keyring: &Path,
    ) -> Result<Self, Error> {
        let apt = Self { dir, suite, arch, mirrors: mirrors.clone(), keyring: keyring.to_owned() };
        for name in ["lists/partial", "cache/archives/partial", "etc"] {
            let path = apt.dir.join(name);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        apt.write("status", "")?;
        apt.write("sources.list", &apt.sources_list())?;
        apt.write("apt.conf", &apt.configuration(&network_of_host()?)?)?;
        Ok(apt)
    }

    /// Fetches the lists anew. Where the archive cannot be reached and lists for the same sources are there
    /// from an earlier run, those do, and the step says so.
    ///
    /// # Errors
    /// `KeyMissing`, `Signature`: never worked around by older lists. `Lists`.
    pub fn update(&self, on_progress: &OnProgress<'_>) -> Result<(), Error> {
        let step = Step::begin(on_progress, format!("{}: fetching package lists", self.name()), 0);
        let mut command = self.command("apt-get");
        command.args(["-q", "--error-on=any", "update"]);
        let outcome = run(command, |_| step.at(0))?;
        let fetched = self.dir.join("fetched");
        let Err(said) = outcome else {
            step.end();
            return self.write("fetched", &self.sources_list());
        };
        self.check_signature(&said)?;
        if fs::read_to_string(&fetched).is_ok_and(|sources| sources == self.sources_list()) {
            tracing::warn!(suite = %self.suite, arch = %self.arch, said, "using package lists of an earlier run");
            on_progress(&Progress {
                what: format!(
                    "{}: archive not reached, using the package lists of an earlier run",
                    self.name()
                ),
                done: 0,
                total: 0,
            });
            return Ok(());
        }
        Err(Error::Lists { suite: self.suite, arch: self.arch, mirror: self.mirrors.archive.clone(), said })
    }

    /// Reads the lists.
    ///
    /// # Errors
    /// `List` when one is unreadable or the suite's own is not there.
    pub fn lists(&self) -> Result<Lists, Error> {
        let mut command = self.command("apt-get");
        command.args([
            "indextargets",
            "--format",
            "$(RELEASE)|$(VERSION)|$(FILENAME)",
            "Created-By: Packages",
        ]);
        let said = output(command)?;
        let mut lists = Lists { index: Index::default(), release: String::new() };
        for line in said.lines() {
            let mut fields = line.splitn(3, '|');
            let (Some(release), Some(version), Some(file)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if release == self.suite.codename() {
                version.clone_into(&mut lists.release);
            }
            let input = File::open(file).map_err(Error::io("open", file))?;
            lists.index.read(file, BufReader::with_capacity(1 << 20, input))?;
        }
        if lists.release.is_empty() {
            return Err(Error::List {
                list: self.suite.to_string(),
                reason: "it names no version".to_owned(),
            });
        }
        Ok(lists)
    }

    /// Fetches `packages` into the directory `into`, which is there. Those that came before a failure stay.
    ///
    /// # Errors
    /// `Download` with what apt said.
    pub fn download(&self, packages: &[&Package], into: &Path, step: &Step<'_>) -> Result<(), Error> {
        let total: u64 = packages.iter().map(|package| package.len).sum();
        let mut command = self.command("apt-get");
        command.args(["-qq", "-o", "APT::Status-Fd=1", "download", "--"]);
        command.args(packages.iter().map(|package| package.spec())).current_dir(into);
        let outcome = run(command, |line| {
            if let Some(done) = downloaded(line, total) {
                step.at(done);
            }
        })?;
        outcome
            .map_err(|said| Error::Download { packages: packages.iter().map(|p| p.spec()).collect(), said })
    }

    /// `trixie/amd64`, as steps are called.
    pub fn name(&self) -> String {
        format!("{}/{}", self.suite, self.arch)
    }

    fn sources_list(&self) -> String {
        let (suite, keyring) = (self.suite, self.keyring.display());
        let Mirrors { archive, security } = &self.mirrors;
        let line = |uri: &str, suite: String| {
            // By `file:` apt links to the archive instead of keeping what it read there.
            let uri = uri.strip_prefix("file:").map_or_else(|| uri.to_owned(), |path| format!("copy:{path}"));
            format!("deb [arch={} signed-by={keyring}] {uri} {suite} {COMPONENTS}\n", self.arch)
        };
        line(archive, suite.to_string())
            + &line(archive, format!("{suite}-updates"))
            + &line(security, format!("{suite}-security"))
    }

    fn configuration(&self, network: &str) -> Result<String, Error> {
        let dir = self.dir.to_str().filter(|dir| !dir.contains(['"', '\n', '\\'])).ok_or_else(|| {
            let unfit = io::Error::new(io::ErrorKind::InvalidInput, "apt cannot write this path down");
            Error::io("use", &self.dir)(unfit)
        })?;
        let mut text = network.to_owned();
        for (name, value) in [
            ("Dir", "/"),
            ("Dir::Etc", "etc"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State", ""),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::State::extended_states", "extended_states"),
            ("Dir::Cache", "cache"),
            ("Dir::Log", "log"),
        ] {
            let path = if value == "/" { "/".to_owned() } else { format!("{dir}/{value}") };
            let _ = writeln!(text, "{name} \"{path}\";");
        }
        // Of the host's files only the passwords of its mirrors are read.
        for name in
            ["sourceparts", "main", "parts", "preferences", "preferencesparts", "trusted", "trustedparts"]
        {
            let _ = writeln!(text, "Dir::Etc::{name} \"/dev/null\";");
        }
        text.push_str(
            "Dir::Etc::netrc \"/etc/apt/auth.conf\";\nDir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n",
        );
        let _ = writeln!(text, "APT::Architecture \"{0}\";\nAPT::Architectures {{ \"{0}\"; }};", self.arch);
        // Root's apt would fetch as a user who cannot write here. Lists are read as they are, not compressed.
        text.push_str(
            "APT::Sandbox::User \"\";\nAcquire::Languages \"none\";\nAcquire::GzipIndexes \"false\";\n\
             Acquire::PDiffs \"false\";\nAcquire::Retries \"2\";\n",
        );
        Ok(text)
    }

    fn check_signature(&self, said: &str) -> Result<(), Error> {
        let suite = self.suite;
        let said = said.to_owned();
        // The first is gpgv's word, the second sqv's, which apt uses from Debian 13 on.
        if said.contains("NO_PUBKEY") || said.contains("Missing key") {
            return Err(Error::KeyMissing { suite, keyring: self.keyring.clone(), said });
        }
        let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
        let is_bad = has(&["GPG error", "OpenPGP signature verification failed", "not valid yet"]);
        // apt calls unsigned also what it could not fetch.
        let is_unsigned = has(&["is not signed", "no longer signed"]) && !said.contains("Failed to fetch");
        if is_bad || is_unsigned {
            return Err(Error::Signature { suite, said });
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.env("APT_CONFIG", self.dir.join("apt.conf")).env("LC_ALL", "C");
        command
    }
}

/// The file of the keys of Debian's archive.
///
/// # Errors
/// `KeyringMissing`.
pub(crate) fn keyring() -> Result<PathBuf, Error> {
    let found = KEYRINGS.iter().map(PathBuf::from).find(|path| path.is_file());
    found.ok_or_else(|| Error::KeyringMissing { path: KEYRINGS[0].into() })
}

/// How the host's apt reaches the network, in the syntax of its configuration.
fn network_of_host() -> Result<String, Error> {
    let mut command = Command::new("apt-config");
    command.arg("dump").env("LC_ALL", "C");
    Ok(network(&output(command)?))
}

fn network(dump: &str) -> String {
    let names = ["http", "https", "ftp", "socks5h", "ForceIPv4", "ForceIPv6"];
    let is_network = |line: &&str| {
        let name = line.strip_prefix("Acquire::").and_then(|rest| rest.split([':', ' ']).next());
        name.is_some_and(|name| names.contains(&name))
    };
    dump.lines().filter(is_network).fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apt(dir: &Path) -> Apt {
        let (mirrors, keyring) = (Mirrors::at("http://m.example/debian", None).unwrap(), Path::new("/k.gpg"));
        Apt::prepare(dir.to_owned(), Suite::Trixie, Arch::Arm64, &mirrors, keyring).unwrap()
    }

    #[test]
    fn apt_writes_only_below_its_directory() {
        if ci::tool("apt-get").is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let apt = apt(dir.path());
        let mut command = apt.command("apt-config");
        command.arg("dump");
        let dump = output(command).unwrap();
        let value = |name: &str| {
            let prefix = format!("{name} \"");
            dump.lines().find_map(|line| line.strip_prefix(&prefix)?.strip_suffix("\";")).map(str::to_owned)
        };
        for name in
            ["Dir::State", "Dir::State::lists", "Dir::State::status", "Dir::Cache", "Dir::Etc", "Dir::Log"]
        {
            let path = value(name).unwrap_or_default();
            assert!(path.starts_with(dir.path().to_str().unwrap()), "{name} is `{path}`");
        }
        for name in ["Dir::Etc::parts", "Dir::Etc::main", "Dir::Etc::sourceparts", "Dir::Etc::trustedparts"] {
            assert_eq!(value(name).as_deref(), Some("/dev/null"), "{name}");
        }
        assert_eq!(value("APT::Architecture").as_deref(), Some("arm64"));
        assert!(!dump.contains("Post-Invoke"), "{dump}");
    }

    #[test]
    fn the_sources_name_all_three_archives_and_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let apt = Apt {
            dir: dir.path().to_owned(),
            suite: Suite::Bookworm,
            arch: Arch::Amd64,
            mirrors: Mirrors { archive: "http://a/debian".to_owned(), security: "http://s/sec".to_owned() },
            keyring: "/k.gpg".into(),
        };
        assert_eq!(
            apt.sources_list(),
            "deb [arch=amd64 signed-by=/k.gpg] http://a/debian bookworm main non-free-firmware\n\
             deb [arch=amd64 signed-by=/k.gpg] http://a/debian bookworm-updates main non-free-firmware\n\
             deb [arch=amd64 signed-by=/k.gpg] http://s/sec bookworm-security main non-free-firmware\n"
        );
    }

    #[test]
    fn a_directory_that_would_change_the_configuration_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let unfit = dir.path().join("a\";APT::x \"");
        let (mirrors, keyring) = (Mirrors::at("http://m.example/debian", None).unwrap(), Path::new("/k.gpg"));
        let result = Apt::prepare(unfit, Suite::Trixie, Arch::Amd64, &mirrors, keyring);
        assert!(matches!(result, Err(Error::Io { .. } | Error::ToolMissing { .. })));
    }

    #[test]
    fn only_the_way_to_the_network_is_taken_from_the_host() {
        let dump = "APT \"\";\nAPT::Architecture \"amd64\";\nAcquire \"\";\nAcquire::Languages:: \"de\";\n\
                    Acquire::http \"\";\nAcquire::http::Proxy \"http://p.example:3128\";\nAcquire::httpx::y \"1\";\n\
                    Acquire::https::Verify-Peer \"true\";\nDPkg::Post-Invoke:: \"rm\";\nAcquire::ForceIPv4 \"true\";\n";
        assert_eq!(
            network(dump),
            "Acquire::http \"\";\nAcquire::http::Proxy \"http://p.example:3128\";\n\
             Acquire::https::Verify-Peer \"true\";\nAcquire::ForceIPv4 \"true\";\n"
        );
    }

    #[test]
    fn missing_keys_and_bad_signatures_are_told_apart_from_a_dead_network() {
        let dir = tempfile::tempdir().unwrap();
        if ci::tool("apt-get").is_none() {
            return;
        }
        let apt = apt(dir.path());
        let check = |said: &str| apt.check_signature(said);
        assert!(matches!(check("W: GPG error: x: NO_PUBKEY 6ED0E7B8"), Err(Error::KeyMissing { .. })));
        assert!(matches!(
            check(
                "OpenPGP signature verification failed: http://x: Sub-process /usr/bin/sqv returned an error code (1): Missing key 4CB5"
            ),
            Err(Error::KeyMissing { .. })
        ));
        assert!(matches!(check("W: GPG error: x: BADSIG 6ED0E7B8"), Err(Error::Signature { .. })));
        assert!(matches!(check("E: The repository 'x' is not signed."), Err(Error::Signature { .. })));
        for said in [
            "E: Failed to fetch x  Could not resolve 'x'",
            "E: Failed to fetch x  400  Bad Request; E: The repository 'x' is not signed.",
            "E: The repository 'x' does not have a Release file.",
        ] {
            assert!(check(said).is_ok(), "{said}");
        }
    }
}
