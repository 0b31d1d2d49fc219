//! Package files from a small archive of our own, signed by a key of our own, through the real apt.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use extent::{Digest, read_all};

use super::*;
use crate::apt::Mirrors;
use crate::{Arch, Suite};

/// An archive in a directory, and what fetches from it.
struct World {
    dir: tempfile::TempDir,
}

/// The packages: a name and the text of the one file in it.
const CONTENT: [(&str, &str); 2] = [("tool", "a tool"), ("library", "a library")];

fn pipe(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

impl World {
    /// None, said aloud, where a tool is missing.
    fn new() -> Option<Self> {
        ci::tool("apt-get")?;
        ci::tool("gpg")?;
        // Short: a socket of gpg's goes below it.
        let world = Self { dir: tempfile::Builder::new().prefix("s").tempdir().unwrap() };
        for name in ["ours", "theirs"] {
            fs::create_dir(world.path(name)).unwrap();
            let user = format!("{name} <{name}@seed.example>");
            let args = ["--batch", "--passphrase", "", "--quick-gen-key", &user, "ed25519", "sign", "never"];
            pipe(world.gpg(name).args(args), b"");
            let keys = pipe(world.gpg(name).arg("--export"), b"");
            fs::write(world.path(name).join("keyring.gpg"), keys).unwrap();
        }
        fs::create_dir_all(world.path("archive/pool")).unwrap();
        world.publish(&world.list(), "ours");
        Some(world)
    }

    /// Puts the packages into the pool and gives the list of them.
    fn list(&self) -> String {
        let mut list = String::new();
        for (name, text) in CONTENT {
            let deb = crate::deb::tests::package(&[(&format!("./usr/bin/{name}"), text.as_bytes())]);
            fs::write(self.pool(name), &deb).unwrap();
            let (len, digest) = (deb.len(), Digest::of(&deb).hex());
            let _ = write!(
                list,
                "Package: {name}\nVersion: 1:1.0-1\nArchitecture: amd64\nMaintainer: A <a@b>\nDescription: d\n\
                 Filename: pool/{name}.deb\nSize: {len}\nSHA256: {digest}\n\n"
            );
        }
        list
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pool(&self, name: &str) -> PathBuf {
        self.path(&format!("archive/pool/{name}.deb"))
    }

    fn gpg(&self, whose: &str) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.arg("--no-permission-warning").arg("--homedir").arg(self.path(whose));
        gpg
    }

    /// Writes the three suites with `list` in the first, signed by `signer`.
    fn publish(&self, list: &str, signer: &str) {
        for (suite, list) in [("trixie", list), ("trixie-updates", ""), ("trixie-security", "")] {
            let dir = self.path(&format!("archive/dists/{suite}"));
            let mut release = format!(
                "Origin: Debian\nSuite: stable\nVersion: 13.2\nCodename: {suite}\nArchitectures: amd64\n\
                 Components: main non-free-firmware\nDate: Sat, 12 Sep 2020 07:55:41 UTC\nSHA256:\n"
            );
            for (component, list) in [("main", list), ("non-free-firmware", "")] {
                let path = format!("{component}/binary-amd64/Packages");
                fs::create_dir_all(dir.join(&path).parent().unwrap()).unwrap();
                fs::write(dir.join(&path), list).unwrap();
                let _ = writeln!(release, " {} {} {path}", Digest::of(list.as_bytes()).hex(), list.len());
            }
            let signed = pipe(self.gpg(signer).args(["--batch", "--clearsign"]), release.as_bytes());
            fs::write(dir.join("InRelease"), signed).unwrap();
        }
    }

    fn apt(&self) -> Apt {
        let uri = format!("file:{}", self.path("archive").display());
        let mirrors = Mirrors { archive: uri.clone(), security: uri };
        let keyring = self.path("ours/keyring.gpg");
        Apt::prepare(self.path("state"), Suite::Trixie, Arch::Amd64, &mirrors, &keyring).unwrap()
    }

    /// Fetches all packages by what the lists say, and gives the texts in them.
    fn run(&self) -> Result<Vec<String>, Error> {
        fs::create_dir_all(self.path("scratch")).unwrap();
        let (apt, scratch) = (self.apt(), Scratch::new(&self.path("scratch"))?);
        let packages = Packages::open(self.path("packages"))?;
        apt.update(&|_| {})?;
        let lists = apt.lists()?;
        assert_eq!(lists.release, "13.2");
        let wanted: Vec<_> = CONTENT.iter().map(|(name, _)| lists.index.get(name).unwrap()).collect();
        packages.fetch(&apt, &wanted, &scratch, &|_| {})?;
        let mut texts = Vec::new();
        for package in wanted {
            let tree = packages.unpack(package, &scratch)?;
            let content = tree.content(&format!("usr/bin/{}", package.name)).unwrap();
            texts.push(String::from_utf8(read_all(content, &scratch, 100).unwrap()).unwrap());
        }
        Ok(texts)
    }

    /// The names of the package files that are kept.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("packages")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn texts() -> Vec<String> {
    CONTENT.iter().map(|(_, text)| (*text).to_owned()).collect()
}

#[test]
fn what_was_fetched_once_needs_no_archive_any_more() {
    let Some(world) = World::new() else { return };
    assert_eq!(world.run().unwrap(), texts());
    assert_eq!(world.names().len(), 2);
    for name in world.names() {
        assert!(!fs::symlink_metadata(world.path("packages").join(name)).unwrap().is_symlink());
    }
    fs::rename(world.path("archive"), world.path("gone")).unwrap();
    assert_eq!(world.run().unwrap(), texts());

    // Only the lists are left: the error says what is missing.
    fs::remove_dir_all(world.path("packages")).unwrap();
    let error = world.run().unwrap_err();
    assert!(matches!(&error, Error::Download { packages, .. } if packages.len() == 2), "{error}");
    assert_eq!(world.names(), [""; 0]);
    // Not even those.
    fs::remove_dir_all(world.path("state")).unwrap();
    let error = world.run().unwrap_err();
    assert!(matches!(error, Error::Lists { .. }), "{error}");
}

#[test]
fn a_package_that_is_not_what_the_list_says_is_not_kept() {
    let Some(world) = World::new() else { return };
    let whole = fs::read(world.pool("library")).unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    for changed in [&flipped[..], &whole[..whole.len() / 2], b""] {
        fs::write(world.pool("library"), changed).unwrap();
        let error = world.run().unwrap_err();
        assert!(matches!(error, Error::Download { .. }), "{error}");
        assert!(error.to_string().contains("library=1:1.0-1"), "{error}");
        assert!(world.names().len() <= 1, "at most the other one");
    }
    fs::write(world.pool("library"), whole).unwrap();
    assert_eq!(world.run().unwrap(), texts());
}

#[test]
fn a_kept_package_that_changed_is_named_once_and_fetched_again() {
    let Some(world) = World::new() else { return };
    world.run().unwrap();
    let name = world.names().remove(0);
    let path = world.path("packages").join(name);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    for changed in [&whole[..whole.len() / 2], &flipped[..], b""] {
        fs::write(&path, changed).unwrap();
        let error = world.run().unwrap_err();
        let Error::PackageCorrupt { found, expected, moved_to, .. } = &error else { panic!("{error}") };
        assert_eq!((*found, *expected), (Digest::of(changed), Digest::of(&whole)));
        assert_eq!(fs::read(moved_to).unwrap(), changed);
        assert_eq!(world.run().unwrap(), texts());
    }
}

#[test]
fn lists_that_debian_did_not_sign_are_refused_even_where_older_ones_are_there() {
    let Some(world) = World::new() else { return };
    world.run().unwrap();
    let list = world.list();
    world.publish(&list, "theirs");
    let error = world.run().unwrap_err();
    assert!(matches!(error, Error::KeyMissing { suite: Suite::Trixie, .. }), "{error}");
    // Signed by the right key, and changed since.
    world.publish(&list, "ours");
    let path = world.path("archive/dists/trixie/InRelease");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("Version: 13.2", "Version: 13.9")).unwrap();
    let error = world.run().unwrap_err();
    assert!(matches!(error, Error::Signature { suite: Suite::Trixie, .. }), "{error}");
    // Not signed at all.
    fs::rename(&path, world.path("archive/dists/trixie/Release")).unwrap();
    let error = world.run().unwrap_err();
    assert!(matches!(error, Error::Signature { .. }), "{error}");
}
