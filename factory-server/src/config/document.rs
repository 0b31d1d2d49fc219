//! The documentation of the keys, made of them.

use std::fmt::Write as _;

use serde_json::Value;

use super::keys::{Config, UNUSED};
use super::schema::{Kind, keys};

const HEAD: &str = "\
# Configuration of the server

`factory-server` needs none: it listens on the loopback and keeps everything in one directory. The keys are those of the
Talos Image Factory, and mean the same; one thing is asked for beyond them: where `artifacts.core.registry` is set,
`containerSignature` has to say whose images are trusted.

    factory-server --config factory.yaml
    factory-server --config factory.yaml --check-config

`--config` takes YAML, JSON, a file of variables (`.env`), or `env=PREFIX`, several times or parted by commas; a later one goes
before an earlier one. Every key is also a variable of the environment: `http.externalURL` is `IF_HTTP_EXTERNALURL`; a list is JSON or
parted by commas. The environment goes before every file, and flags go before the environment. A key that is not there is an
error that names the nearest one.

## Keys

| Key | Takes | Default | Meaning |
| --- | --- | --- | --- |
";

const TAIL: &str = "
## Keys without an effect

They are taken, so that the same file serves both; the log names those that are set. `authentication.enabled` is
taken only if it says no: an open server must not look closed.

| Key | Why it has none |
| --- | --- |
";

/// The page `docs/configuration.md`.
pub fn document() -> String {
    let defaults = serde_json::to_value(Config::default()).expect("a configuration is JSON");
    let mut page = HEAD.to_owned();
    for key in keys().iter().filter(|key| key.unused.is_none()) {
        let default = default(&defaults, &key.name);
        let default = match key.kind {
            Kind::List | Kind::Groups if default.is_empty() => "`[]`".to_owned(),
            _ if default.is_empty() => String::new(),
            _ => format!("`{default}`"),
        };
        let text = key.text.replace('|', "\\|");
        writeln!(page, "| `{}` | {} | {default} | {text} |", key.name, key.kind.name())
            .expect("writing to a string");
    }
    page += TAIL;
    for (group, names, why) in UNUSED {
        let names: Vec<String> = names.iter().map(|name| format!("`{group}.{name}`")).collect();
        writeln!(page, "| {} | {why} |", names.join(", ")).expect("writing to a string");
    }
    page
}

/// The default of a key, as one writes it.
fn default(defaults: &Value, name: &str) -> String {
    let value = name.split('.').fold(defaults, |value, part| &value[part]);
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => String::new(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_DOCS=1 cargo test -p factory-server --lib` writes it anew.
    #[test]
    fn the_page_in_the_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), document());
    }

    #[test]
    fn every_key_says_what_it_means() {
        for key in keys() {
            assert!(key.unused.is_some() || key.text.len() > 10, "{key:?}");
        }
    }
}
