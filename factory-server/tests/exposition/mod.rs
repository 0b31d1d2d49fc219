//! A reader of OpenMetrics text that takes nothing but what the specification has.
//!
//! Source: OpenMetrics 1.0, text format.

// Test code may unwrap.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

/// Labels by name.
type Labels = Vec<(String, String)>;

/// All that is exposed at one time.
#[derive(Debug)]
pub struct Exposition {
    families: Vec<Family>,
    samples: BTreeMap<(String, Labels), f64>,
}

/// A metric in all its label sets.
#[derive(Clone, Debug)]
pub struct Family {
    /// What queries call it.
    pub name: String,
    /// The type.
    pub kind: String,
    /// The text about it, without its full stop.
    pub help: String,
    /// The labels that its samples have, without `le`.
    pub labels: BTreeSet<String>,
}

impl Exposition {
    /// Reads `text`; panics at the first line that is wrong.
    pub fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends");
        let mut it = Self { families: Vec::new(), samples: BTreeMap::new() };
        let mut stem = String::new();
        for line in body.lines() {
            if let Some(line) = line.strip_prefix("# HELP ") {
                let (name, help) = line.split_once(' ').unwrap();
                assert!(it.families.iter().all(|family| family.name != name), "`{name}` comes twice");
                assert!(is_name(name), "{line}");
                name.clone_into(&mut stem);
                let help = help.strip_suffix('.').unwrap().to_owned();
                let (kind, labels) = (String::new(), BTreeSet::new());
                it.families.push(Family { name: name.to_owned(), kind, help, labels });
            } else if let Some(line) = line.strip_prefix("# TYPE ") {
                let (name, kind) = line.split_once(' ').unwrap();
                let family = it.families.last_mut().unwrap();
                assert!(name == stem && family.kind.is_empty(), "{line}");
                kind.clone_into(&mut family.kind);
                family.name += match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    "gauge" | "histogram" => "",
                    _ => panic!("{line}"),
                };
            } else {
                it.sample(&stem, line);
            }
        }
        it.check_histograms();
        it
    }

    fn sample(&mut self, stem: &str, line: &str) {
        let family = self.families.last_mut().unwrap();
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let (name, mut labels) = match series.split_once('{') {
            Some((name, labels)) => (name, read_labels(labels.strip_suffix('}').expect(line))),
            None => (series, Vec::new()),
        };
        let endings: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(endings.iter().any(|ending| format!("{stem}{ending}") == name), "{line}");
        assert!(is_name(name) && (family.kind == "gauge" || value >= 0.0), "{line}");
        family.labels.extend(labels.iter().map(|(key, _)| key.clone()).filter(|key| key != "le"));
        labels.sort();
        let before = self.samples.insert((name.to_owned(), labels), value);
        assert!(before.is_none(), "twice: {line}");
    }

    /// Buckets grow to the count.
    fn check_histograms(&self) {
        let mut histograms: BTreeMap<(&str, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.samples {
            let Some(stem) = name.strip_suffix("_bucket") else { continue };
            let (bound, others): (Labels, Labels) = labels.iter().cloned().partition(|(key, _)| key == "le");
            histograms.entry((stem, others)).or_default().push((bound[0].1.parse().unwrap(), *value));
        }
        for ((stem, labels), mut buckets) in histograms {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{stem}: {buckets:?}");
            let count = self.samples[&(format!("{stem}_count"), labels.clone())];
            assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, count), "{stem}");
            assert!(self.samples.contains_key(&(format!("{stem}_sum"), labels)), "{stem}");
        }
    }

    /// The sum of the samples `name` that have these labels, which are whole numbers.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let has = |all: &Labels| {
            labels
                .iter()
                .all(|wanted| all.iter().any(|(key, value)| (key.as_str(), value.as_str()) == *wanted))
        };
        let samples = self.samples.iter().filter(|((n, l), _)| n == name && has(l));
        samples.map(|(_, value)| value.to_string().parse::<u64>().expect(name)).sum()
    }

    /// The metrics, by name.
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.families.clone();
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// `key="value",…`, with its escapes.
fn read_labels(text: &str) -> Labels {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        let (key, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("{text}"));
        assert!(is_name(key), "{text}");
        let mut value = String::new();
        let mut chars = behind.char_indices();
        let end = loop {
            match chars.next().unwrap_or_else(|| panic!("{text}")) {
                (end, '"') => break end,
                (_, '\\') => value.push(chars.next().unwrap().1),
                (_, c) => value.push(c),
            }
        };
        labels.push((key.to_owned(), value));
        match &behind[end + 1..] {
            "" => return labels,
            more => rest = more.strip_prefix(',').unwrap_or_else(|| panic!("{text}")),
        }
    }
}
