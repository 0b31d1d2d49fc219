//! Where settings come from: files and the environment.
//!
//!   factory.yaml ─┐
//!   factory.json ─┼─▶ settings, each a dotted name, a value and its origin
//!   IF_…=…       ─┘

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::Error;

/// One thing that somebody set.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The key as it was written, the names of its groups before it.
    pub name: String,
    pub value: Value,
    pub origin: Origin,
}

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// In a file.
    File {
        /// The file.
        path: Arc<Path>,
        /// Its line, from 1.
        line: u64,
        /// Its column, from 1.
        column: u64,
    },
    /// In the environment.
    Variable(String),
}

/// A source, as `--config` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// YAML or JSON, which is YAML.
    Yaml(PathBuf),
    /// A file of variables (`.env`).
    Dotenv(PathBuf),
    /// The variables of the environment that begin so.
    Environment(String),
}

/// The prefix of the reference.
pub const PREFIX: &str = "IF_";
/// A configuration has a few KiB; what is larger is another file.
const FILE_LEN_MAX: u64 = 1 << 20;

impl From<String> for Source {
    fn from(text: String) -> Self {
        if let Some(prefix) = text.strip_prefix("env=") {
            return Self::Environment(prefix.to_owned());
        }
        let path = PathBuf::from(text);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == ".env" || path.extension().is_some_and(|extension| extension == "env") {
            Self::Dotenv(path)
        } else {
            Self::Yaml(path)
        }
    }
}

impl Source {
    /// Its settings; `variables` are the environment's.
    pub(super) fn settings(&self, variables: &[(String, String)]) -> Result<Vec<Setting>, Error> {
        match self {
            Self::Yaml(path) => yaml(path, &read(path)?),
            Self::Dotenv(path) => dotenv(path, &read(path)?),
            Self::Environment(prefix) => {
                let known = variables.iter().filter(|(name, _)| name.starts_with(prefix));
                known.map(|(name, value)| variable(name, prefix, value)).collect()
            }
        }
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let len = std::fs::metadata(path).map_err(unreadable)?.len();
    if len > FILE_LEN_MAX {
        return Err(Error::Large { path: path.to_owned(), max: FILE_LEN_MAX });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn yaml(path: &Path, text: &str) -> Result<Vec<Setting>, Error> {
    // What consists of comments is empty, which the parser takes for a missing document.
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let root: Spanned<Node> = serde_saphyr::from_str(text)
        .map_err(|source| Error::Yaml { path: path.to_owned(), text: source.to_string() })?;
    let mut settings = Vec::new();
    flatten(&Arc::from(path), "", root, &mut settings);
    Ok(settings)
}

/// The leaves below `node`, in the order of the file.
fn flatten(path: &Arc<Path>, name: &str, node: Spanned<Node>, settings: &mut Vec<Setting>) {
    match node.value {
        Node::Group(members) => {
            for (key, mut node) in members {
                let name = if name.is_empty() { key.value.clone() } else { format!("{name}.{}", key.value) };
                // The place of the key is what a person looks for.
                node.referenced = key.referenced;
                flatten(path, &name, node, settings);
            }
        }
        // A group whose members are all commented out.
        Node::Leaf(Value::Null) => {}
        Node::Leaf(value) => {
            let (line, column) = (node.referenced.line(), node.referenced.column());
            let origin = Origin::File { path: Arc::clone(path), line, column };
            settings.push(Setting { name: name.to_owned(), value, origin });
        }
    }
}

fn dotenv(path: &Path, text: &str) -> Result<Vec<Setting>, Error> {
    let mut settings = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        let text = text.strip_prefix("export ").unwrap_or(text);
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let origin = Origin::File { path: Arc::from(path), line, column: 1 };
        let (name, value) = text.split_once('=').ok_or_else(|| Error::Dotenv { origin: origin.clone() })?;
        let value = value.trim();
        let quoted = |quote: char| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        // Variables for others may stand there too.
        if name.starts_with(PREFIX) {
            settings.push(Setting { origin, ..variable(name.trim(), PREFIX, value)? });
        }
    }
    Ok(settings)
}

/// `IF_HTTP_EXTERNALURL`: underscores part the groups, upper case says nothing, lists are JSON.
fn variable(name: &str, prefix: &str, text: &str) -> Result<Setting, Error> {
    let origin = Origin::Variable(name.to_owned());
    let key = name.strip_prefix(prefix).unwrap_or(name);
    let value = if text.starts_with(['[', '{']) {
        serde_json::from_str(text)
            .map_err(|source| Error::Json { origin: origin.clone(), text: source.to_string() })?
    } else {
        Value::String(text.to_owned())
    };
    Ok(Setting { name: key.replace('_', ".").to_lowercase(), value, origin })
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// A node of YAML.
enum Node {
    Leaf(Value),
    Group(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf(Value::Null))
            }

            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf(Value::Null))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                Node::deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                // What a list holds is text here; more is said to be wrong where its key is known.
                while let Some(item) = items.next_element::<Value>()? {
                    list.push(item);
                }
                Ok(Node::Leaf(list.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
                let mut group = Vec::new();
                while let Some(member) = members.next_entry()? {
                    group.push(member);
                }
                Ok(Node::Group(group))
            }
        }

        deserializer.deserialize_any(Shape)
    }
}
