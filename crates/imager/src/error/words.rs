//! Words of errors: what is repeated of a foreign text, and what it may have been meant for.

use crate::Version;

/// The longest part of a foreign text that an error repeats, in characters.
const SHOWN_MAX: usize = 80;

/// The beginning of `text`, short enough for an error.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// The at most `count` names that look most like `text`, the nearest first; none that look like something else.
pub(crate) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<String> {
    /// Below this similarity (of 1) a name is no help.
    const ALIKE: f64 = 0.75;
    let text = shown(text);
    let mut alike: Vec<(f64, &str)> =
        names.into_iter().map(|name| (strsim::jaro_winkler(&text, name), name)).collect();
    alike.retain(|(similarity, _)| *similarity >= ALIKE);
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    alike.into_iter().take(count).map(|(_, name)| name.to_owned()).collect()
}

/// What is put behind an error about a name: the names that are near, if any are.
pub(super) fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(", did you mean {}?", listed(nearest)) }
}

/// The same of versions.
pub(super) fn nearest_versions(nearest: &[Version]) -> String {
    match nearest {
        [] => String::new(),
        [one] => format!(", the nearest is `{one}`"),
        many => format!(", the nearest are {}", listed(many)),
    }
}

/// `a`, `b`, `c`.
pub(super) fn listed<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_come_first_and_strangers_not_at_all() {
        let names = ["siderolabs/qemu-guest-agent", "siderolabs/iscsi-tools", "other"];
        assert_eq!(nearest("siderolabs/qemu-guest", names, 1), ["siderolabs/qemu-guest-agent"]);
        assert_eq!(nearest("zz", names, 3), [""; 0]);
    }
}
