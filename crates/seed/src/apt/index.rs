//! The package index: what apt's lists say of every package, the newest version of each.
//!
//! Reads the `Packages` files that apt has fetched and whose digests it has checked against the signed
//! release; keeps the fields the seed needs. Does not know what is installed anywhere.
//!
//! Source: Debian Policy 4.6.2, §5 (control fields), §7.1 (syntax of relationships).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read as _};

use extent::Digest;

use super::version;
use crate::Error;

/// The packages of one suite and architecture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    packages: BTreeMap<String, Package>,
    /// Virtual names, each with the packages that provide it.
    provided: BTreeMap<String, BTreeSet<String>>,
}

/// One package as its archive lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub name: String,
    pub version: String,
    /// Name of the maintainer, without the address.
    pub maintainer: String,
    /// The synopsis.
    pub description: String,
    /// `Pre-Depends` and `Depends`, as written: parsed for the few packages that matter, not for 60 000.
    depends: String,
    /// `Provides`, as written.
    provides: String,
    /// Size of the package file in bytes.
    pub len: u64,
    /// Digest of the package file.
    pub digest: Digest,
}

/// Alternatives, one of which has to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency(pub Vec<Alternative>);

/// A package name and perhaps a demand on its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alternative {
    pub name: String,
    pub version: Option<(Relation, String)>,
}

/// How a version has to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

/// Longest line of a list that is looked at. The longest in the archive is a `Provides` of some 200 KiB.
const LINE_LEN_MAX: u64 = 4 << 20;

impl Index {
    /// Reads one `Packages` file into the index. Of two versions of a package the greater one stays.
    ///
    /// # Errors
    /// `List` at an entry that lacks what every package has.
    pub fn read(&mut self, list: &str, mut input: impl BufRead) -> Result<(), Error> {
        let wrong = |reason: String| Error::List { list: list.to_owned(), reason };
        let mut fields = Fields::default();
        let mut line = String::new();
        loop {
            line.clear();
            let mut limited = (&mut input).take(LINE_LEN_MAX + 1);
            let len = limited.read_line(&mut line).map_err(|source| wrong(source.to_string()))?;
            if len as u64 > LINE_LEN_MAX {
                return Err(wrong(format!("a line of more than {LINE_LEN_MAX} bytes")));
            }
            let text = line.trim_end_matches('\n');
            if text.is_empty() {
                if let Some(package) = fields.package().map_err(wrong)? {
                    self.insert(package);
                }
                fields = Fields::default();
            } else {
                fields.take(text);
            }
            if len == 0 {
                return Ok(());
            }
        }
    }

    /// All packages.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// The package called `name`.
    pub fn get(&self, name: &str) -> Option<&Package> {
        self.packages.get(name)
    }

    /// The packages that provide the virtual name `name`, in order of their names.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = &Package> {
        self.provided.get(name).into_iter().flatten().filter_map(|provider| self.get(provider))
    }

    fn insert(&mut self, package: Package) {
        if let Some(other) = self.packages.get(&package.name) {
            if version::compare(&other.version, &package.version) != Ordering::Less {
                return;
            }
            for (name, _) in other.provides() {
                if let Some(providers) = self.provided.get_mut(&name) {
                    providers.remove(&package.name);
                }
            }
        }
        for (name, _) in package.provides() {
            self.provided.entry(name).or_default().insert(package.name.clone());
        }
        self.packages.insert(package.name.clone(), package);
    }
}

impl Package {
    /// How the package is asked for and shown.
    pub fn spec(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    /// What the package depends on, before and after it is unpacked.
    pub fn depends(&self) -> Vec<Dependency> {
        dependencies(&self.depends)
    }

    /// Names that the package provides, each perhaps with a version.
    fn provides(&self) -> impl Iterator<Item = (String, Option<String>)> {
        dependencies(&self.provides).into_iter().filter_map(provision)
    }

    /// Whether this package, by its own name or by one it provides, is what `wanted` asks for.
    pub fn satisfies(&self, wanted: &Alternative) -> bool {
        if self.name == wanted.name {
            return wanted.version.as_ref().is_none_or(|(relation, v)| relation.holds(&self.version, v));
        }
        self.provides().any(|(name, provided)| {
            name == wanted.name
                && match (&wanted.version, provided) {
                    (None, _) => true,
                    // An unversioned provision satisfies no demand on a version (policy §7.5).
                    (Some(_), None) => false,
                    (Some((relation, v)), Some(provided)) => relation.holds(&provided, v),
                }
        })
    }
}

impl Relation {
    fn holds(self, found: &str, wanted: &str) -> bool {
        let order = version::compare(found, wanted);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }
}

impl std::fmt::Display for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

/// The fields of one paragraph, as far as they matter.
#[derive(Default)]
struct Fields {
    name: Option<String>,
    version: Option<String>,
    maintainer: String,
    description: String,
    depends: String,
    provides: String,
    len: Option<String>,
    digest: Option<String>,
}

impl Fields {
    fn take(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let value = value.trim();
        match name {
            "Package" => self.name = Some(value.to_owned()),
            "Version" => self.version = Some(value.to_owned()),
            "Maintainer" => value.split(" <").next().unwrap_or_default().clone_into(&mut self.maintainer),
            "Description" => value.clone_into(&mut self.description),
            "Pre-Depends" | "Depends" => {
                self.depends.push_str(if self.depends.is_empty() { "" } else { ", " });
                self.depends.push_str(value);
            }
            "Provides" => value.clone_into(&mut self.provides),
            "Size" => self.len = Some(value.to_owned()),
            "SHA256" => self.digest = Some(value.to_owned()),
            _ => {}
        }
    }

    fn package(&mut self) -> Result<Option<Package>, String> {
        let Some(name) = self.name.take() else { return Ok(None) };
        let lacks = |field: &str| format!("package `{name}` lacks a valid `{field}`");
        if !is_name(&name) {
            return Err(format!("`{name}` is no package name"));
        }
        let version = self.version.take().filter(|v| is_version(v)).ok_or_else(|| lacks("Version"))?;
        let len = self.len.take().and_then(|v| v.parse().ok()).ok_or_else(|| lacks("Size"))?;
        let digest =
            self.digest.take().and_then(|v| Digest::from_hex(&v).ok()).ok_or_else(|| lacks("SHA256"))?;
        let Self { maintainer, description, depends, provides, .. } = std::mem::take(self);
        Ok(Some(Package { name, version, maintainer, description, depends, provides, len, digest }))
    }
}

/// Source: Debian Policy 4.6.2, §5.6.1. Names go onto a command line, so this is also what keeps options out.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn is_version(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-:~".contains(c))
}

fn provision(dependency: Dependency) -> Option<(String, Option<String>)> {
    let alternative = dependency.0.into_iter().next()?;
    Some((alternative.name, alternative.version.map(|(_, version)| version)))
}

/// `a (>= 1) | b, c:any [amd64]`. What cannot be read is passed over: then nothing satisfies it.
fn dependencies(value: &str) -> Vec<Dependency> {
    let one = |text: &str| Dependency(text.split('|').filter_map(alternative).collect());
    value.split(',').filter(|text| !text.trim().is_empty()).map(one).collect()
}

fn alternative(text: &str) -> Option<Alternative> {
    let text = text.trim();
    let end = text.find([' ', '(', '[', '<', ':']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let version = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inside, _)| {
        let inside = inside.trim();
        let digits = inside.trim_start_matches(['<', '>', '=']);
        let relation = match &inside[..inside.len() - digits.len()] {
            "<<" => Relation::Earlier,
            "<=" | "<" => Relation::EarlierOrEqual,
            ">=" | ">" => Relation::LaterOrEqual,
            ">>" => Relation::Later,
            _ => Relation::Equal,
        };
        (relation, digits.trim().to_owned())
    });
    (!name.is_empty()).then(|| Alternative { name: name.to_owned(), version })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// An index of packages written as `name version | depends | provides`.
    pub(crate) fn index(packages: &[&str]) -> Index {
        let mut list = String::new();
        for package in packages {
            let mut parts = package.split('|').map(str::trim);
            let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
            let (depends, provides) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let depends = depends.replace('/', "|");
            let _ = write!(
                list,
                "Package: {name}\nVersion: {version}\nDepends: {depends}\nProvides: {provides}\nSize: 1\nSHA256: {}\n\n",
                "0".repeat(64)
            );
        }
        let mut index = Index::default();
        index.read("test", list.as_bytes()).unwrap();
        index
    }

    #[test]
    fn a_paragraph_is_read_as_written() {
        let list = format!(
            "Package: open-iscsi\nArchitecture: amd64\nVersion: 2.1.11-1\nMaintainer: Debian iSCSI <a@b.example>\n\
             Provides: initiator (= 2.1), other\nPre-Depends: debconf (>= 0.5) | debconf-2.0\n\
             Depends: libc6 (>= 2.38), python3:any, libx [amd64] <!nocheck>\nSize: 320816\nDescription: iSCSI initiator tools\n longer\n\
             SHA256: {}\n",
            "ab".repeat(32)
        );
        let mut index = Index::default();
        index.read("test", list.as_bytes()).unwrap();
        let package = index.get("open-iscsi").unwrap();
        assert_eq!(package.maintainer, "Debian iSCSI");
        assert_eq!(package.description, "iSCSI initiator tools");
        assert_eq!(package.len, 320_816);
        assert_eq!(package.digest.hex(), "ab".repeat(32));
        assert_eq!(package.spec(), "open-iscsi=2.1.11-1");
        let plain = |name: &str| Alternative { name: name.to_owned(), version: None };
        let later = |name: &str, version: &str| Alternative {
            name: name.to_owned(),
            version: Some((Relation::LaterOrEqual, version.to_owned())),
        };
        assert_eq!(
            package.depends(),
            [
                Dependency(vec![later("debconf", "0.5"), plain("debconf-2.0")]),
                Dependency(vec![later("libc6", "2.38")]),
                Dependency(vec![plain("python3")]),
                Dependency(vec![plain("libx")]),
            ]
        );
        assert_eq!(index.providers("initiator").next(), Some(package));
        assert!(package.satisfies(&later("initiator", "2.0")));
        assert!(!package.satisfies(&later("initiator", "2.2")));
        assert!(package.satisfies(&plain("other")));
        assert!(!package.satisfies(&later("other", "0")));
    }

    #[test]
    fn the_greatest_version_stays_whatever_the_order() {
        for packages in [["a 6.1.99-1 | | old", "a 6.1.192-2"], ["a 6.1.192-2", "a 6.1.99-1 | | old"]] {
            let index = index(&packages);
            assert_eq!(index.get("a").unwrap().version, "6.1.192-2");
            assert_eq!(index.providers("old").count(), 0);
        }
    }

    #[test]
    fn an_entry_that_lacks_something_is_refused() {
        let zeros = "0".repeat(64);
        for list in [
            format!("Package: a\nSize: 1\nSHA256: {zeros}\n"),
            format!("Package: a\nVersion: 1\nSHA256: {zeros}\n"),
            format!("Package: a\nVersion: 1\nSize: -1\nSHA256: {zeros}\n"),
            "Package: a\nVersion: 1\nSize: 1\nSHA256: xyz\n".to_owned(),
            format!("Package: -o=x\nVersion: 1\nSize: 1\nSHA256: {zeros}\n"),
            format!("Package: a\nVersion: 1 2\nSize: 1\nSHA256: {zeros}\n"),
        ] {
            let result = Index::default().read("test", list.as_bytes());
            assert!(matches!(result, Err(Error::List { .. })), "{list}");
        }
        assert!(Index::default().read("test", &b"\xff\n"[..]).is_err());
    }
}
