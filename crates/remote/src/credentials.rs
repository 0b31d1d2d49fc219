//! Logins: given, or from Docker's configuration.
//!
//! Credential helpers, programs that hold logins, are not asked; [`Login::Helper`] says where one would have been.
//!
//! Source: Docker CLI, configuration files, `config.json`.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::Login;
use crate::{Error, Registry};

/// The longest configuration that is read. Real ones have a few hundred bytes for each registry.
const MAX_CONFIG_LEN: u64 = 1 << 20;

/// Logins by registry.
#[derive(Clone, Default)]
pub struct Credentials {
    logins: HashMap<String, Basic>,
    helpers: HashMap<String, String>,
    default_helper: Option<String>,
}

/// A user and a password.
#[derive(Clone)]
pub(crate) struct Basic {
    pub user: String,
    password: String,
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
}

impl Credentials {
    /// No logins.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those in `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`; none if there is no such file.
    ///
    /// # Errors
    /// `BadLogin` when the file is there and cannot be read as what it should be.
    pub fn from_docker() -> Result<Self, Error> {
        let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
        match dir.filter(|dir| !dir.as_os_str().is_empty()).or_else(home) {
            Some(dir) => Self::from_docker_file(&dir.join("config.json")),
            None => Ok(Self::none()),
        }
    }

    /// Those in the file `path`; none if there is no such file.
    ///
    /// # Errors
    /// As [`Credentials::from_docker`].
    pub fn from_docker_file(path: &Path) -> Result<Self, Error> {
        let bad = |wanted| Error::BadLogin { path: path.to_owned(), wanted };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::none()),
            Ok(metadata) if metadata.len() > MAX_CONFIG_LEN => return Err(bad("it has at most 1 MiB")),
            _ => {}
        }
        let text = std::fs::read(path).map_err(|_| bad("it has to be readable"))?;
        // What the parser says could quote a password.
        let config: Config = serde_json::from_slice(&text)
            .map_err(|_| bad("it has to be JSON with an object `auths` of objects"))?;
        let mut logins = HashMap::new();
        for (key, entry) in config.auths {
            if entry.identitytoken.is_some_and(|token| !token.is_empty()) {
                tracing::warn!(registry = key, "an identity token is not used: only users and passwords are");
                continue;
            }
            let login = match (entry.auth.filter(|auth| !auth.is_empty()), entry.username, entry.password) {
                (Some(auth), ..) => {
                    Basic::decode(&auth).ok_or_else(|| bad("`auth` has to be base64 of `user:password`"))?
                }
                (None, Some(user), Some(password)) => Basic { user, password },
                // With a helper the entry is empty.
                _ => continue,
            };
            logins.insert(key_of(&key), login);
        }
        let helpers = config.cred_helpers.into_iter().map(|(key, helper)| (key_of(&key), helper)).collect();
        Ok(Self { logins, helpers, default_helper: config.creds_store })
    }

    /// These, and `user` with `password` at `registry`.
    pub fn with_login(mut self, registry: &Registry, user: &str, password: &str) -> Self {
        let login = Basic { user: user.to_owned(), password: password.to_owned() };
        self.logins.insert(key_of(registry.as_str()), login);
        self
    }

    /// The login at `registry`, or who we are without.
    pub(crate) fn find(&self, registry: &Registry) -> Result<&Basic, Login> {
        let key = key_of(registry.as_str());
        let helper = || self.helpers.get(&key).or(self.default_helper.as_ref());
        self.logins
            .get(&key)
            .ok_or_else(|| helper().map_or(Login::Anonymous, |name| Login::Helper(name.clone())))
    }
}

impl Basic {
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
        f.debug_struct("Credentials").field("registries", &self.logins.keys()).finish_non_exhaustive()
    }
}

/// `https://index.docker.io/v1/` and `ghcr.io` are both keys: the host and port alone decide.
fn key_of(key: &str) -> String {
    let rest = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Credentials, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        Credentials::from_docker_file(&path)
    }

    #[test]
    fn logins_are_found_by_host_and_port() {
        let auth = STANDARD.encode("robot$x:pass:word");
        let credentials = read(&format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}},"ghcr.io":{{}},
                "r.example:5000":{{"username":"u","password":"p"}},"quay.io":{{"identitytoken":"x"}}}},
                "credHelpers":{{"gcr.io":"gcloud"}},"credsStore":"desktop"}}"#
        ))
        .unwrap();
        let header = |registry: &str| credentials.find(&registry.parse().unwrap()).map(Basic::header);
        assert_eq!(header("docker.io"), Ok(format!("Basic {auth}")));
        assert_eq!(header("r.example:5000"), Ok(format!("Basic {}", STANDARD.encode("u:p"))));
        assert_eq!(header("gcr.io"), Err(Login::Helper("gcloud".into())));
        for other in ["r.example", "r.example:5001", "ghcr.io", "evil.r.example:5000", "quay.io"] {
            assert_eq!(header(other), Err(Login::Helper("desktop".into())), "{other}");
        }
        assert!(!format!("{credentials:?}").contains("pass"));
    }

    #[test]
    fn a_damaged_configuration_is_an_error_without_secrets_and_a_missing_one_is_none() {
        for text in ["", "{", "\"x\"", r#"{"auths":"secret"}"#, r#"{"auths":{"a.b":{"auth":"secret%"}}}"#] {
            let error = read(text).unwrap_err();
            assert!(
                matches!(error, Error::BadLogin { .. }) && !format!("{error:?}").contains("secret"),
                "{text}"
            );
        }
        let none = Credentials::from_docker_file(Path::new("/not/there")).unwrap();
        assert_eq!(none.find(&"ghcr.io".parse().unwrap()).map(Basic::header), Err(Login::Anonymous));
    }
}
