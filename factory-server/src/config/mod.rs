//! The configuration: the reference's keys, in files and in the environment.
//!
//!   sources ──▶ settings ──▶ keys, kinds ──▶ one tree ──▶ Config
//!
//! A later source goes before an earlier one, and the environment before every file. What is set must be a key; keys of
//! the reference that mean nothing here are taken, and said to have no effect.

mod artifacts;
mod document;
mod keys;
mod schema;
mod source;
mod sources;
mod value;

use std::io;
use std::path::PathBuf;

use serde_json::Value;

pub use artifacts::{
    Artifacts, Catalogue, Components, ContainerSignature, Core, Enterprise, External, ExtraExtensions,
    Installer, Manifest, Registry,
};
pub use document::document;
pub use keys::{Build, Cache, Config, Http, Log, LogFormat, Metrics, SecureBoot, SecureBootFile, Store};
pub use source::{Origin, PREFIX, Source};
pub use sources::SourcesError;
pub use value::{ListenAddr, Time, Url, ValueError};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is not there, or cannot be read.
    #[error("reading `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is too large to be a configuration.
    #[error("`{}` has more than {max} bytes, which no configuration has", path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// The most there may be.
        max: u64,
    },
    /// A file is no YAML.
    #[error("`{}`: {text}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What and where.
        text: String,
    },
    /// A line of a file of variables.
    #[error("{origin}: expected `NAME=VALUE`")]
    Dotenv {
        /// The line.
        origin: Origin,
    },
    /// A variable begins as JSON does and is none.
    #[error("{origin}: {text}")]
    Json {
        /// The variable.
        origin: Origin,
        /// What and where.
        text: String,
    },
    /// There is no such key.
    #[error("{origin}: there is no key `{name}`; did you mean `{nearest}`?")]
    Key {
        /// Where it stands.
        origin: Origin,
        /// The key.
        name: String,
        /// The nearest there is.
        nearest: String,
    },
    /// A key takes something else.
    #[error("{origin}: `{name}` takes {expected}")]
    Kind {
        /// Where it stands.
        origin: Origin,
        /// The key.
        name: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A value that is none for its key.
    #[error("{origin}: `{name}`: {text}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        name: String,
        /// What is wrong with it.
        text: String,
    },
    /// Authentication is asked for. A server that ignored that would be open to everyone.
    #[error(
        "{origin}: this server has no authentication; put it behind a proxy that has, and remove the key"
    )]
    Authentication {
        /// Where it stands.
        origin: Origin,
    },
    /// A time limit that nothing keeps.
    #[error("`{key}` must be longer than nothing, as `30s`")]
    NoTime {
        /// The key.
        key: &'static str,
    },
    /// One of certificate and key.
    #[error("`http.certFile` and `http.keyFile` are set together or not at all")]
    HalfTls,
}

/// What was read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// Keys that have no effect, where they stand, and why.
    pub unused: Vec<(String, Origin, &'static str)>,
    /// Whether anybody set anything.
    pub configured: bool,
}

/// Reads `sources` in order, then the variables that begin with [`PREFIX`].
///
/// # Errors
/// The first thing that is wrong, and where it stands.
pub fn load(
    sources: &[Source],
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Error> {
    let variables: Vec<(String, String)> = variables.into_iter().collect();
    let mut settings = Vec::new();
    for source in sources {
        settings.extend(source.settings(&variables)?);
    }
    settings.extend(Source::Environment(PREFIX.to_owned()).settings(&variables)?);
    let configured = !sources.is_empty() || !settings.is_empty();

    let keys = schema::keys();
    let defaults = if configured { Config::default() } else { Config::loopback() };
    let defaults = serde_json::to_value(defaults).expect("a configuration is JSON");
    let mut tree = defaults.clone();
    let mut unused = Vec::new();
    for setting in settings {
        let key = schema::find(&keys, &setting)?;
        if let Some(why) = key.unused {
            if key.name == "authentication.enabled" && !is_off(&setting.value) {
                return Err(Error::Authentication { origin: setting.origin });
            }
            unused.push((key.name.clone(), setting.origin, why));
            continue;
        }
        let mut value = schema::value(key, &setting)?;
        // As in the reference, empty is as if it were not set. Only this key says by it that it is switched off.
        if value == "" && key.name != "metrics.addr" {
            value = key.name.split('.').fold(&defaults, |value, part| &value[part]).clone();
        }
        let one = schema::tree(&key.name, value);
        // All else has a default, so what is wrong is this.
        if let Err(error) = serde_json::from_value::<Config>(one.clone()) {
            let (origin, name) = (setting.origin, key.name.clone());
            return Err(Error::Value { origin, name, text: error.to_string() });
        }
        schema::merge(&mut tree, one);
    }
    let config: Config = serde_json::from_value(tree).expect("each setting was tried");
    if config.http.cert_file.is_some() != config.http.key_file.is_some() {
        return Err(Error::HalfTls);
    }
    let http = &config.http;
    for (key, time) in [
        ("http.headerTimeout", http.header_timeout),
        ("http.bodyTimeout", http.body_timeout),
        ("http.sendTimeout", http.send_timeout),
    ] {
        if time.0.is_zero() {
            return Err(Error::NoTime { key });
        }
    }
    Ok(Loaded { config, unused, configured })
}

/// Whether a flag says no beyond doubt.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => ["", "0", "f", "false"].contains(&&*text.trim().to_ascii_lowercase()),
        Value::Array(_) | Value::Object(_) => false,
    }
}
