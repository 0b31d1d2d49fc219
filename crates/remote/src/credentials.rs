//! Logins: given, or from the configuration of Docker and podman.
//!
//! ```text
//! credHelpers of the registry ─▶ longest of `auths`: r.example/team/app, r.example/team, r.example ─▶ credsStore
//! ```
//!
//! Source: Docker CLI, configuration files, `config.json`; containers-auth.json(5).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::{Error, Reference, Registry, helper};

/// The longest configuration that is read. Real ones have a few hundred bytes for each registry.
const MAX_CONFIG_LEN: u64 = 1 << 20;
/// Docker Hub, as it was called when logins were first kept.
const HUB_SERVER: &str = "https://index.docker.io/v1/";

/// Logins by registry, and by parts of its repositories.
#[derive(Clone, Default)]
pub struct Credentials {
    logins: HashMap<String, Secret>,
    helpers: HashMap<String, String>,
    default_helper: Option<String>,
}

/// What opens a registry.
#[derive(Clone)]
pub(crate) enum Secret {
    Basic(Basic),
    /// What a realm exchanges for tokens: `identitytoken`, an OAuth 2 refresh token.
    Identity(String),
    /// What the registry itself takes: `registrytoken`.
    Token(String),
}

/// A user and a password.
#[derive(Clone)]
pub(crate) struct Basic {
    pub user: String,
    password: String,
}

/// What is known of a login.
pub(crate) enum Found<'a> {
    Secret(&'a Secret),
    /// A helper may have it.
    Helper(&'a str),
    Nothing,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: HashMap<String, Entry>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Credentials {
    /// No logins.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those that this user has: in `$REGISTRY_AUTH_FILE`, or `$DOCKER_CONFIG/config.json`, and nowhere else where one of
    /// these is set; otherwise in `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json` and
    /// `~/.docker/config.json`, the first that has one.
    ///
    /// # Errors
    /// `BadLogin` when a file is there and cannot be read as what it should be, or `$REGISTRY_AUTH_FILE` is not there.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// As [`Credentials::from_env`], with the variables whose values `get` gives.
    ///
    /// # Errors
    /// As [`Credentials::from_env`].
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let dir = |name| get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = dir("REGISTRY_AUTH_FILE") {
            if !path.exists() {
                return Err(Error::BadLogin {
                    path,
                    wanted: "it has to be there: `REGISTRY_AUTH_FILE` names it",
                });
            }
            return Self::from_docker_file(&path);
        }
        if let Some(dir) = dir("DOCKER_CONFIG") {
            return Self::from_docker_file(&dir.join("config.json"));
        }
        let home = dir("HOME");
        let config = dir("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let files = [
            dir("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            config.map(|dir| dir.join("containers/auth.json")),
            home.map(|dir| dir.join(".docker/config.json")),
        ];
        let mut all = Self::none();
        for file in files.into_iter().flatten() {
            let more = Self::from_docker_file(&file)?;
            for (key, login) in more.logins {
                all.logins.entry(key).or_insert(login);
            }
            for (key, helper) in more.helpers {
                all.helpers.entry(key).or_insert(helper);
            }
            all.default_helper = all.default_helper.or(more.default_helper);
        }
        Ok(all)
    }

    /// Those in the file `path`, Docker's or podman's; none if there is no such file.
    ///
    /// # Errors
    /// `BadLogin` when the file is there and cannot be read as what it should be.
    pub fn from_docker_file(path: &Path) -> Result<Self, Error> {
        let bad = |wanted| Error::BadLogin { path: path.to_owned(), wanted };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::none()),
            Ok(metadata) if metadata.len() > MAX_CONFIG_LEN => return Err(bad("it has at most 1 MiB")),
            _ => {}
        }
        let text = std::fs::read(path).map_err(|_| bad("it has to be readable"))?;
        Self::parse(&text).map_err(bad)
    }

    /// Those in a configuration; else what would be right.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        // What the parser says could quote a password.
        let config: Config = serde_json::from_slice(text)
            .map_err(|_| "it has to be JSON with an object `auths` of objects")?;
        let mut logins = HashMap::new();
        for (key, entry) in config.auths {
            if let Some(login) = entry.secret()? {
                logins.insert(key_of(&key), login);
            }
        }
        let helpers = config.cred_helpers.into_iter().map(|(key, helper)| (key_of(&key), helper));
        let default_helper = config.creds_store.filter(|name| !name.is_empty());
        // An empty name says that there is no helper for this registry.
        Ok(Self { logins, helpers: helpers.collect(), default_helper })
    }

    /// These, and `user` with `password` at `registry`.
    pub fn with_login(mut self, registry: &Registry, user: &str, password: &str) -> Self {
        let login = Basic::new(user.to_owned(), password.to_owned());
        self.logins.insert(key_of(registry.as_str()), Secret::Basic(login));
        self
    }

    /// The login for `repository`.
    pub(crate) fn find(&self, repository: &Reference) -> Found<'_> {
        let registry = key_of(repository.registry().as_str());
        let helper = self.helpers.get(&registry);
        if let Some(name) = helper.filter(|name| !name.is_empty()) {
            return Found::Helper(name);
        }
        let mut key = format!("{registry}/{}", repository.name());
        loop {
            if let Some(secret) = self.logins.get(&key) {
                return Found::Secret(secret);
            }
            match key.rsplit_once('/') {
                Some((shorter, _)) => key.truncate(shorter.len()),
                None => break,
            }
        }
        match &self.default_helper {
            Some(name) if helper.is_none() => Found::Helper(name),
            _ => Found::Nothing,
        }
    }
}

/// What helpers call `registry`.
pub(crate) fn server(registry: &Registry) -> &str {
    match registry.as_str() {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB_SERVER,
        other => other,
    }
}

impl Entry {
    fn secret(self) -> Result<Option<Secret>, &'static str> {
        let present = |text: Option<String>| text.filter(|text| !text.is_empty());
        let is_token = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if let Some(token) = present(self.identitytoken) {
            return Ok(Some(Secret::Identity(token)));
        }
        if let Some(token) = present(self.registrytoken) {
            return if is_token(&token) {
                Ok(Some(Secret::Token(token)))
            } else {
                Err("`registrytoken` has to be without blanks and control characters")
            };
        }
        Ok(match (present(self.auth), self.username, self.password) {
            (Some(auth), ..) => {
                Some(Secret::Basic(Basic::decode(&auth).ok_or("`auth` has to be base64 of `user:password`")?))
            }
            (None, Some(user), Some(password)) => Some(Secret::Basic(Basic::new(user, password))),
            // With a helper the entry is empty.
            _ => None,
        })
    }
}

impl Basic {
    pub(crate) fn new(user: String, password: String) -> Self {
        Self { user, password }
    }

    fn decode(auth: &str) -> Option<Self> {
        // Docker pads the password with zeros in old versions.
        let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Self { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
    }

    /// The value of `Authorization`.
    pub(crate) fn header(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let helpers = self.helpers.iter().filter(|(_, name)| helper::is_name(name)).collect::<Vec<_>>();
        let mut shown = f.debug_struct("Credentials");
        shown.field("registries", &self.logins.keys()).field("helpers", &helpers).finish_non_exhaustive()
    }
}

/// `https://index.docker.io/v1/`, `ghcr.io` and `ghcr.io/team` are all keys. With a scheme the host and port alone decide,
/// as Docker has it; without, a path counts, as podman has it.
fn key_of(key: &str) -> String {
    let rest = key.strip_prefix("https://").or(key.strip_prefix("http://"));
    let (host, path) = rest.unwrap_or(key).split_once('/').unwrap_or((rest.unwrap_or(key), ""));
    let host = match host.to_ascii_lowercase() {
        host if matches!(&*host, "index.docker.io" | "registry-1.docker.io") => "docker.io".to_owned(),
        host => host,
    };
    match path.trim_end_matches('/') {
        "" | "v1" | "v2" => host,
        _ if rest.is_some() => host,
        path => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests;
