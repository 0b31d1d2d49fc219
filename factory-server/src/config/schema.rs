//! Which keys there are, and what they take.

use serde_json::{Map, Value};
use utoipa::PartialSchema as _;

use super::Error;
use super::keys::{Config, UNUSED};
use super::source::{Origin, Setting};

/// A key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    /// With the names of its groups, parted by dots.
    pub name: String,
    pub kind: Kind,
    /// What it means.
    pub text: String,
    /// Why it has no effect, if it has none.
    pub unused: Option<&'static str>,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    List,
    /// A list of groups.
    Groups,
}

impl Kind {
    /// As the documentation says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Flag => "true or false",
            Self::List => "list",
            Self::Groups => "list of groups",
        }
    }
}

/// All keys: those of [`Config`], in its order, then those without an effect.
pub(super) fn keys() -> Vec<Key> {
    let schema = serde_json::to_value(Config::schema()).expect("a schema is JSON");
    let mut keys = Vec::new();
    collect("", &schema, &mut keys);
    for (group, names, why) in UNUSED {
        for name in *names {
            let name = format!("{group}.{name}");
            keys.push(Key { name, kind: Kind::Text, text: String::new(), unused: Some(why) });
        }
    }
    keys
}

fn collect(group: &str, schema: &Value, keys: &mut Vec<Key>) {
    let members = schema["properties"].as_object().into_iter().flatten();
    for (name, member) in members {
        let name = if group.is_empty() { name.clone() } else { format!("{group}.{name}") };
        // A comment beside the group puts it into a list of one.
        let inner = [member, &member["allOf"][0], &member["oneOf"][0]];
        if let Some(group) = inner.into_iter().find(|inner| inner["properties"].is_object()) {
            collect(&name, group, keys);
            continue;
        }
        // An optional one is of type `["string", "null"]`.
        let kind = member["type"].as_str().or(member["type"][0].as_str());
        let kind = match kind {
            Some("integer") => Kind::Number,
            Some("boolean") => Kind::Flag,
            Some("array") if member["items"]["properties"].is_object() => Kind::Groups,
            Some("array") => Kind::List,
            _ => Kind::Text,
        };
        let text = member["description"].as_str().unwrap_or_default().replace('\n', " ");
        keys.push(Key { name, kind, text, unused: None });
    }
}

/// The key that `setting` means. Case says nothing, as in the reference.
pub(super) fn find<'a>(keys: &'a [Key], setting: &Setting) -> Result<&'a Key, Error> {
    let found = keys.iter().find(|key| key.name.eq_ignore_ascii_case(&setting.name));
    found.ok_or_else(|| {
        let near = |key: &&Key| strsim::jaro_winkler(&key.name.to_lowercase(), &setting.name.to_lowercase());
        let nearest = keys.iter().max_by(|a, b| near(a).total_cmp(&near(b))).expect("there are keys");
        // A name of the environment is answered by one.
        let nearest = match setting.origin {
            Origin::Variable(_) => format!("IF_{}", nearest.name.replace('.', "_").to_uppercase()),
            Origin::File { .. } => nearest.name.clone(),
        };
        Error::Key { origin: setting.origin.clone(), name: setting.name.clone(), nearest }
    })
}

/// The value of `setting` as `key` takes it. The environment has text only.
pub(super) fn value(key: &Key, setting: &Setting) -> Result<Value, Error> {
    let given = setting.value.clone();
    let wrong =
        || Error::Kind { origin: setting.origin.clone(), name: key.name.clone(), expected: key.kind.name() };
    match (key.kind, given) {
        (Kind::Text, value @ Value::String(_))
        | (Kind::Flag, value @ Value::Bool(_))
        | (Kind::Number, value @ Value::Number(_)) => Ok(value),
        (Kind::Flag, Value::String(text)) => text.parse().map(Value::Bool).map_err(|_| wrong()),
        (Kind::Number, Value::String(text)) => text.parse::<u64>().map(Value::from).map_err(|_| wrong()),
        // As the reference's decoder does: one is a list of one.
        (Kind::List, Value::String(text)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(items.map(Value::from).collect())
        }
        (Kind::List, Value::Array(items)) if items.iter().all(Value::is_string) => Ok(items.into()),
        (Kind::Groups, Value::Array(items)) if items.iter().all(Value::is_object) => Ok(items.into()),
        _ => Err(wrong()),
    }
}

/// A tree with nothing but `value` at `name`.
pub(super) fn tree(name: &str, value: Value) -> Value {
    name.rsplit('.').fold(value, |value, part| Value::Object(Map::from_iter([(part.to_owned(), value)])))
}

/// Puts what `from` has into `into`.
pub(super) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
