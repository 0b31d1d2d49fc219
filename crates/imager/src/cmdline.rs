//! Kernel command lines.
//!
//! An ordered list of keys, each with its values: a key that comes again joins the place where it was first.
//! Words are separated by white space; there is no quoting.
//!
//! Source: go-procfs and `pkg/imager/imager.go` of Talos, as facts.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::platform::NVME_TIMEOUT;
use crate::profile::OutputKind;
use crate::{Arch, Error, Platform, Profile, Quirks, Version, meta};

/// A kernel command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// One that was taken away has no values.
    parameters: Vec<Parameter>,
    /// Where among them each key is. A schematic can have a hundred thousand keys, so none is searched for.
    places: HashMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    key: String,
    /// An empty value is the bare key.
    values: Vec<String>,
}

/// Keys of which the last word counts, so that a user's replace the defaults.
const REPLACED: [&str; 2] = ["console", "talos.platform"];

impl CommandLine {
    /// The command line in `text`.
    pub fn parse(text: &str) -> Self {
        let mut line = Self::default();
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            line.append(key, value);
        }
        line
    }

    /// Adds a value to those of `key`.
    pub fn append(&mut self, key: &str, value: &str) {
        match self.find(key) {
            Some(index) => self.parameters[index].values.push(value.to_owned()),
            None => self.push(Parameter { key: key.to_owned(), values: vec![value.to_owned()] }),
        }
    }

    /// Adds every word of `words`.
    pub fn append_all(&mut self, words: &str) {
        for parameter in Self::parse(words).parameters {
            for value in &parameter.values {
                self.append(&parameter.key, value);
            }
        }
    }

    /// Puts the values of each key in `words` in place of those that are there.
    pub fn set_all(&mut self, words: &str) {
        for parameter in Self::parse(words).parameters {
            self.set(parameter);
        }
    }

    /// Adds what the user wants: `-key` takes a key away and `-key=value` one of its values; consoles and the
    /// platform replace what is there; all else is added. `-` alone is an argument like any other.
    pub fn extend(&mut self, words: &str) {
        for parameter in Self::parse(words).parameters {
            match parameter.key.strip_prefix('-') {
                Some(key) if !key.is_empty() => self.delete(key, &parameter.values),
                _ if REPLACED.contains(&parameter.key.as_str()) => self.set(parameter),
                _ => {
                    for value in &parameter.values {
                        self.append(&parameter.key, value);
                    }
                }
            }
        }
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.places.get(key).copied()
    }

    fn push(&mut self, parameter: Parameter) {
        self.places.insert(parameter.key.clone(), self.parameters.len());
        self.parameters.push(parameter);
    }

    fn set(&mut self, parameter: Parameter) {
        match self.find(&parameter.key) {
            Some(index) => self.parameters[index] = parameter,
            None => self.push(parameter),
        }
    }

    /// Takes away `values` of `key`; the whole key when the first of them is empty.
    fn delete(&mut self, key: &str, values: &[String]) {
        let Some(index) = self.find(key) else { return };
        if values.first().is_none_or(String::is_empty) {
            self.places.remove(key);
            self.parameters[index].values.clear();
        } else {
            let values: HashSet<&String> = values.iter().collect();
            self.parameters[index].values.retain(|value| !values.contains(value));
        }
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for Parameter { key, values } in &self.parameters {
            for value in values {
                write!(f, "{separator}{key}")?;
                if !value.is_empty() {
                    write!(f, "={value}")?;
                }
                separator = " ";
            }
        }
        Ok(())
    }
}

/// The command line of a resolved profile: platform, overlay, defaults, user, in that order.
///
/// # Errors
/// What a profile that is not resolved says; `meta::Error` when META is too large.
pub fn command_line(profile: &Profile, overlay_args: &[String]) -> Result<CommandLine, Error> {
    let version: Version = profile.version.parse()?;
    let quirks = crate::Distribution::of(&version)?.quirks(&version);
    let platform: Platform = profile.platform.parse()?;
    let arch: Arch = profile.arch.parse()?;
    let mut line = CommandLine::default();
    line.append("talos.platform", platform.name());
    line.set_all(&platform.kernel_args(arch, quirks).join(" "));
    if profile.output.kind == OutputKind::Iso && quirks.has_halt_if_installed() {
        line.append("talos.halt_if_installed", "1");
    }
    line.set_all(&overlay_args.join(" "));
    line.append_all(&defaults(quirks).join(" "));
    if profile.is_secure_boot() && quirks.has_lockdown_arg() {
        line.append("lockdown", "confidentiality");
    }
    let custom = &profile.customization;
    if !custom.meta_contents.is_empty() && profile.output.kind != OutputKind::Image {
        let encoded = meta::environment(&custom.meta_contents, quirks.reads_gzipped_meta());
        line.append("talos.environment", &format!("INSTALLER_META_BASE64={encoded}"));
    }
    line.extend(&custom.extra_kernel_args.join(" "));
    Ok(line)
}

/// What every machine gets.
fn defaults(quirks: Quirks) -> Vec<&'static str> {
    let mut args = Vec::new();
    let mut when = |condition: bool, words: &[&'static str]| {
        if condition {
            args.extend(words);
        }
    };
    when(quirks.has_init_on_alloc(), &["init_on_alloc=1"]);
    when(true, &["slab_nomerge", "pti=on", "consoleblank=0"]);
    when(!quirks.limits_nvme_timeout_to_aws(), &[NVME_TIMEOUT]);
    when(true, &["printk.devkmsg=on"]);
    when(quirks.has_ima(), &["ima_template=ima-ng", "ima_appraise=fix", "ima_hash=sha512"]);
    when(quirks.has_selinux(), &["selinux=1"]);
    when(quirks.enforces_module_signatures(), &["module.sig_enforce=1"]);
    when(quirks.protects_proc_mem(), &["proc_mem.force_override=never"]);
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{MetaContent, Output};

    #[test]
    fn words_of_one_key_stand_together_at_the_first() {
        let line = CommandLine::parse(" a=1  b a=2=3\tc= \n b=x");
        assert_eq!(line.to_string(), "a=1 a=2=3 b b=x c");
    }

    #[test]
    fn setting_replaces_in_place_and_appending_joins() {
        let mut line = CommandLine::parse("root=/dev/sdb root=/dev/sdc aye=sir");
        line.set_all("root=/dev/mmcblk0 new=1");
        assert_eq!(line.to_string(), "root=/dev/mmcblk0 aye=sir new=1");
        line.append_all("root=/dev/sda nogui");
        assert_eq!(line.to_string(), "root=/dev/mmcblk0 root=/dev/sda aye=sir new=1 nogui");
    }

    /// As many words as a schematic can have. To search for each among the others would take minutes.
    #[test]
    fn a_megabyte_of_words_is_no_matter() {
        let words = |prefix: &str| (0..100_000).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>().join(" ");
        let mut line = CommandLine::parse("first");
        line.extend(&words("k"));
        line.extend(&words("-k"));
        line.extend(&words("v="));
        line.extend(&words("-v="));
        line.extend("k1 last");
        assert_eq!(line.to_string(), "first k1 last");
    }

    #[test]
    fn users_add_replace_and_delete() {
        for (initial, words, expected) in [
            (
                "ip=dhcp console=x root=/dev/sdc",
                "root=/dev/sda",
                "ip=dhcp console=x root=/dev/sdc root=/dev/sda",
            ),
            (
                "console=tty0 root=/dev/sdb",
                "console=ttyS0 nogui console=ttyS1,1",
                "console=ttyS0 console=ttyS1,1 root=/dev/sdb nogui",
            ),
            ("console=tty0 console=ttyS0 root=/dev/sdb", "-console nogui", "root=/dev/sdb nogui"),
            ("console=tty0 console=ttyS0,9600 a", "-console=ttyS0,9600 nogui", "console=tty0 a nogui"),
            ("console=tty0 console=ttyS0 a", "-console nogui console=ttyAMA0", "a nogui console=ttyAMA0"),
            ("console=tty0 console=ttyS0 a", "-console=tty0 console=ttyAMA0", "console=ttyAMA0 a"),
            ("a=1 a=2 a=3", "-a=1 -a=3", "a=2"),
            ("a=1 a=2 b", "-a -a=1", "b"),
            ("a=1 b", "-a=1", "b"),
            ("a=1", "-b -b=2", "a=1"),
            ("a", "- -", "a - -"),
            ("talos.platform=metal a", "talos.platform=aws", "talos.platform=aws a"),
            ("a", "--b", "a"),
            ("", "", ""),
        ] {
            let mut line = CommandLine::parse(initial);
            line.extend(words);
            assert_eq!(line.to_string(), expected, "{initial} + {words}");
        }
    }

    fn profile(platform: &str, version: &str, kind: OutputKind) -> Profile {
        Profile {
            arch: "amd64".to_owned(),
            platform: platform.to_owned(),
            version: version.to_owned(),
            output: Output { kind, ..Output::default() },
            ..Profile::default()
        }
    }

    #[test]
    fn overlay_and_iso_and_secure_boot_have_their_places() {
        let mut iso = profile("metal", "1.13.0", OutputKind::Iso);
        iso.secure_boot = Some(true);
        let overlay = ["console=ttyS2".to_owned(), "board=x".to_owned()];
        assert_eq!(
            command_line(&iso, &overlay).unwrap().to_string(),
            "talos.platform=metal console=ttyS2 talos.halt_if_installed=1 board=x init_on_alloc=1 slab_nomerge \
             pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 \
             module.sig_enforce=1 proc_mem.force_override=never lockdown=confidentiality"
        );
    }

    #[test]
    fn meta_is_in_the_environment_of_everything_but_disks() {
        let mut profile = profile("equinixMetal", "1.14.0", OutputKind::Cmdline);
        profile.customization.meta_contents = vec![MetaContent { key: 10, value: "foo".to_owned() }];
        profile.customization.extra_kernel_args = vec!["noapic".to_owned(), "-pti".to_owned()];
        let start = "talos.platform=equinixMetal console=ttyS1,115200n8 slab_nomerge";
        let rest =
            "consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never";
        let environment = "talos.environment=INSTALLER_META_BASE64=MHhhPWZvbw==";
        assert_eq!(
            command_line(&profile, &[]).unwrap().to_string(),
            format!("{start} {rest} {environment} noapic")
        );
        profile.output.kind = OutputKind::Image;
        assert_eq!(command_line(&profile, &[]).unwrap().to_string(), format!("{start} {rest} noapic"));
    }

    #[test]
    fn debian_has_the_newest_defaults() {
        assert_eq!(
            command_line(&profile("metal", "v13.1.0", OutputKind::Cmdline), &[]).unwrap().to_string(),
            "talos.platform=metal console=tty0 slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 \
             module.sig_enforce=1 proc_mem.force_override=never"
        );
    }
}
