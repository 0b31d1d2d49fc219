//! Mirrors: where the host fetches Debian from.
//!
//! Reads both forms of apt's configuration, `sources.list` (one line each) and `*.sources` (deb822), and
//! takes from them the addresses of Debian's own archive. Entries of other vendors are passed over, also
//! where they call their suite `bookworm`: what counts is whose key signs it. Writes nothing.
//!
//! Source: sources.list(5), apt 2.6.

use std::path::Path;

use crate::{Error, Suite};

/// Where Debian's archive and its security updates are fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrors {
    /// Address of the archive, what `dists/` and `pool/` lie below.
    pub archive: String,
    /// Address of the security updates.
    pub security: String,
}

/// One entry of apt's configuration, whichever form it was written in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// Transports of apt that need nothing but an address. `cdrom:` wants a person to change disks.
const SCHEMES: [&str; 8] =
    ["http://", "https://", "file:", "copy:", "ftp://", "mirror:", "mirror+http://", "mirror+https://"];
/// Much longer than any address in use; a bound because it comes from files of others.
const URI_LEN_MAX: usize = 2048;

impl Mirrors {
    /// The mirrors in the apt configuration below `etc_apt` (`/etc/apt`). Files that cannot be read are passed over.
    ///
    /// # Errors
    /// `NoMirror` where no mirror of Debian is configured, as on a machine that does not run Debian.
    pub fn of_host(etc_apt: &Path) -> Result<Self, Error> {
        Self::of_sources(&sources(etc_apt))
    }

    /// The archive at `uri`, with its security updates beside it: `…/debian` has them at
    /// `…/debian-security`, as Debian's mirrors do. Any other address keeps the security updates of `host`.
    ///
    /// # Errors
    /// `Mirror` when `uri` is no address that apt can fetch from.
    pub fn at(uri: &str, host: Option<&Self>) -> Result<Self, Error> {
        if !is_fetchable(uri) {
            return Err(Error::Mirror { uri: uri.chars().take(200).collect() });
        }
        let archive = uri.trim_end_matches('/').to_owned();
        let security = match host {
            Some(host) if !archive.ends_with("/debian") => host.security.clone(),
            _ => beside(&archive),
        };
        Ok(Self { archive, security })
    }

    fn of_sources(sources: &[Source]) -> Result<Self, Error> {
        let uri = |suffix: &str| {
            sources.iter().filter(|source| source.is_debian(suffix)).find_map(|source| {
                let uri = source.uris.iter().find(|uri| is_fetchable(uri))?;
                Some(uri.trim_end_matches('/').to_owned())
            })
        };
        let archive = uri("").ok_or(Error::NoMirror)?;
        let security = uri("-security").unwrap_or_else(|| beside(&archive));
        Ok(Self { archive, security })
    }
}

/// Where Debian's mirrors have the security updates.
fn beside(archive: &str) -> String {
    format!("{archive}-security")
}

impl Source {
    /// Whether the entry is Debian's archive (`suffix` empty) or its security updates (`-security`): a suite
    /// of Debian's, component `main`, and Debian's key. Old entries name no key; then the address has to end
    /// as Debian's mirrors do, so that a vendor's `…/debian/12/prod bookworm main` is not mistaken for it.
    fn is_debian(&self, suffix: &str) -> bool {
        let symbolic = ["stable", "testing", "oldstable", "sid", "unstable", "forky", "bullseye"];
        let named = Suite::ALL.map(Suite::codename);
        let is_suite =
            |suite: &String| named.iter().chain(&symbolic).any(|name| *suite == format!("{name}{suffix}"));
        let is_signed = match &self.signed_by {
            Some(key) => key.contains("debian-archive"),
            None => self.uris.iter().any(|uri| {
                let uri = uri.trim_end_matches('/');
                uri.ends_with(if suffix.is_empty() { "/debian" } else { "/debian-security" })
                    || uri.ends_with("security.debian.org")
            }),
        };
        is_signed && self.suites.iter().any(is_suite) && self.components.iter().any(|name| name == "main")
    }
}

/// Whether apt can fetch from `uri` and it can stand in a configuration file: nothing that would end the
/// word or open an option.
fn is_fetchable(uri: &str) -> bool {
    uri.len() <= URI_LEN_MAX
        && SCHEMES.iter().any(|scheme| uri.starts_with(scheme))
        && uri.chars().all(|c| c.is_ascii_graphic() && !"[]\"'\\#;{}".contains(c))
}

/// All entries of binary packages below `etc_apt`, in apt's order.
fn sources(etc_apt: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    if let Ok(text) = std::fs::read_to_string(etc_apt.join("sources.list")) {
        found.extend(one_line(&text));
    }
    let Ok(dir) = std::fs::read_dir(etc_apt.join("sources.list.d")) else { return found };
    let mut files: Vec<_> = dir.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => found.extend(one_line(&text)),
            Some("sources") => found.extend(deb822(&text)),
            _ => {}
        }
    }
    found
}

/// Entries of the one-line form: `deb [option=value …] uri suite component …`.
fn one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_line_source).collect()
}

fn one_line_source(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    rest = rest.trim_start();
    let mut source = Source::default();
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
            if name.eq_ignore_ascii_case("signed-by") {
                source.signed_by = Some(value.to_owned());
            }
        }
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    source.uris = vec![words.next()?];
    source.suites = vec![words.next()?];
    source.components = words.collect();
    Some(source)
}

/// Entries of the deb822 form: fields of paragraphs; a line that begins with a blank continues the field
/// before it, and a comment may stand in the middle of one.
fn deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            found.extend(deb822_source(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

fn deb822_source(fields: &[(String, String)]) -> Option<Source> {
    let field =
        |name: &str| fields.iter().rev().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    let words = |name: &str| field(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let is_off = ["no", "false", "without", "off", "disable", "0"]
        .iter()
        .any(|word| field("enabled").eq_ignore_ascii_case(word));
    if is_off || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    let signed_by = Some(field("signed-by").to_owned()).filter(|value| !value.is_empty());
    Some(Source { uris: words("uris"), suites: words("suites"), components: words("components"), signed_by })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(files: &[(&str, &str)]) -> Result<Mirrors, Error> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Mirrors::of_host(dir.path())
    }

    fn both(archive: &str, security: &str) -> Mirrors {
        Mirrors { archive: archive.to_owned(), security: security.to_owned() }
    }

    #[test]
    fn both_forms_of_the_configuration_are_read() {
        let cases: &[(&[(&str, &str)], Mirrors)] = &[
            (
                &[(
                    "sources.list",
                    "# deb http://no.example/debian bookworm main\n\
                     deb http://ftp.example/debian/ bookworm main contrib # the main one\n\
                     deb-src http://src.example/debian bookworm main\n\
                     deb http://security.example/debian-security bookworm-security main\n",
                )],
                both("http://ftp.example/debian", "http://security.example/debian-security"),
            ),
            (
                &[(
                    "sources.list",
                    "deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] https://m.example/d trixie main\n",
                )],
                both("https://m.example/d", "https://m.example/d-security"),
            ),
            (
                &[(
                    "sources.list.d/debian.sources",
                    "Types: deb\n# a snapshot of old\nURIs: http://a.example/debian\n http://b.example/debian\n\
                     Suites: bookworm\n  bookworm-updates\nComponents: main\n\
                     Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                     types: deb deb-src\nuris: http://s.example/sec\nsuites: bookworm-security\ncomponents: main\n\
                     signed-by: /usr/share/keyrings/debian-archive-keyring.gpg",
                )],
                both("http://a.example/debian", "http://s.example/sec"),
            ),
            (
                &[(
                    "sources.list.d/debian.sources",
                    "Types: deb\nEnabled: no\nURIs: http://a.example/debian\nSuites: bookworm\nComponents: main\n\n\
                     Types: deb\nEnabled: yes\nURIs: http://b.example/debian\nSuites: bookworm\nComponents: main\n",
                )],
                both("http://b.example/debian", "http://b.example/debian-security"),
            ),
        ];
        for (files, expected) in cases {
            assert_eq!(mirrors(files).as_ref().unwrap(), expected, "{files:?}");
        }
    }

    #[test]
    fn entries_of_other_vendors_are_not_debian() {
        for text in [
            "",
            "deb https://packages.example/debian/12/prod bookworm main",
            "deb [signed-by=/etc/apt/keyrings/docker.gpg] https://download.example/linux/debian bookworm main",
            "deb https://packages.example/apt cloud-sdk-bookworm main",
            "deb https://download.example/debian bookworm stable",
            "deb cdrom:[Debian 12]/ bookworm main",
            "deb http://a.example/debian",
            "debx http://a.example/debian bookworm main",
            "deb [unclosed http://a.example/debian bookworm main",
        ] {
            assert!(matches!(mirrors(&[("sources.list", text)]), Err(Error::NoMirror)), "{text}");
        }
    }

    #[test]
    fn a_given_mirror_has_its_security_updates_beside_it() {
        let host = both("http://h.example/debian", "http://h.example/sec");
        let at = |uri| Mirrors::at(uri, Some(&host));
        assert_eq!(
            at("http://m.example/debian/").unwrap(),
            both("http://m.example/debian", "http://m.example/debian-security")
        );
        assert_eq!(at("file:/srv/d").unwrap(), both("file:/srv/d", "http://h.example/sec"));
        assert_eq!(Mirrors::at("file:/srv/d", None).unwrap(), both("file:/srv/d", "file:/srv/d-security"));
        for uri in
            ["", "m.example", "http://a b", "http://a/[x=y]", "gopher://a", "http://a\n deb", "cdrom:[a]/"]
        {
            assert!(matches!(at(uri), Err(Error::Mirror { .. })), "{uri}");
        }
    }
}
