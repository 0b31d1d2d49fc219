//! The serial console and what it says of a boot.
//!
//! The console alone is the judge: QEMU exits 0 after a panic as it does after a power off. Pure: takes bytes as
//! they come, in whatever pieces.

use std::collections::VecDeque;

/// How many lines are kept to show when a boot fails.
const KEPT_LINES: usize = 30;
/// The longest line. Firmware that draws a screen ends few lines; a longer one is cut in two.
const MAX_LINE_LEN: usize = 8 << 10;

/// Texts that end a boot early, with what they mean.
pub const FAILURES: &[(&str, &str)] = &[
    ("Kernel panic", "the kernel panicked"),
    ("IMAGER-BOOT-FAIL", "the system came up wrong"),
    ("IMAGER-MODULE-FAIL", "a kernel module that was asked for did not load"),
    ("Shell>", "the firmware found nothing to boot and started its shell"),
    ("No bootable option", "the firmware found nothing to boot"),
];

/// What the console has said so far.
pub struct Console {
    /// Texts of which each must appear on a line.
    expected: Vec<String>,
    /// The line that carried it, for each expected text.
    found: Vec<Option<String>>,
    partial: Vec<u8>,
    escape: Escape,
    last: VecDeque<String>,
}

/// What the console says of the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Each expected text has appeared; these are the lines, in the order of the texts.
    Booted(Vec<String>),
    /// A failure text appeared.
    Failed {
        /// What it means.
        meaning: String,
        /// The line as far as it had come.
        line: String,
    },
}

/// Where in a terminal control sequence the console is (ECMA-48 §5.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// After `ESC`.
    Begun,
    /// After `ESC [`, up to a final byte.
    Sequence,
}

impl Console {
    /// A console on which each text of `expected` must appear.
    pub fn new(expected: &[String]) -> Self {
        Self {
            expected: expected.to_vec(),
            found: vec![None; expected.len()],
            partial: Vec::new(),
            escape: Escape::None,
            last: VecDeque::new(),
        }
    }

    /// Takes the next bytes; a verdict ends the boot.
    ///
    /// An expected text counts once its line is complete, so that the line can be shown whole. A failure counts at
    /// once: the firmware's shell waits behind its prompt and never ends the line.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Verdict> {
        for &byte in bytes {
            let verdict = match self.visible(byte) {
                Some(b'\n' | b'\r') => self.end_line(),
                Some(byte) => {
                    self.partial.push(byte);
                    if self.partial.len() >= MAX_LINE_LEN { self.end_line() } else { None }
                }
                None => None,
            };
            if verdict.is_some() {
                return verdict;
            }
        }
        self.failure(&String::from_utf8_lossy(&self.partial))
    }

    /// The last lines, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.last.iter().cloned().collect();
        if !self.partial.is_empty() {
            lines.push(String::from_utf8_lossy(&self.partial).into_owned());
        }
        lines
    }

    /// The expected texts that have not appeared.
    pub fn missing(&self) -> Vec<&str> {
        let pairs = self.expected.iter().zip(&self.found);
        pairs.filter(|(_, found)| found.is_none()).map(|(text, _)| text.as_str()).collect()
    }

    fn end_line(&mut self) -> Option<Verdict> {
        let line = String::from_utf8_lossy(&self.partial).trim().to_owned();
        self.partial.clear();
        if line.is_empty() {
            return None;
        }
        if self.last.len() == KEPT_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        for (text, found) in self.expected.iter().zip(&mut self.found) {
            if found.is_none() && line.contains(text.as_str()) {
                *found = Some(line.clone());
            }
        }
        // An expected text wins over a failure on the same line: a test may wait for a panic.
        if self.found.iter().all(Option::is_some) {
            return Some(Verdict::Booted(self.found.iter().flatten().cloned().collect()));
        }
        self.failure(&line)
    }

    fn failure(&self, line: &str) -> Option<Verdict> {
        let expected = |text: &str| self.expected.iter().any(|e| e.contains(text));
        let (_, meaning) = FAILURES.iter().find(|(text, _)| line.contains(text) && !expected(text))?;
        Some(Verdict::Failed { meaning: (*meaning).to_owned(), line: line.trim().to_owned() })
    }

    /// `byte`, unless it belongs to a terminal control sequence or is a control character that ends no line.
    fn visible(&mut self, byte: u8) -> Option<u8> {
        match (self.escape, byte) {
            (Escape::None, 0x1b) => self.escape = Escape::Begun,
            (Escape::None, b'\n' | b'\r' | b'\t' | 0x20..) if byte != 0x7f => return Some(byte),
            (Escape::Begun, b'[') => self.escape = Escape::Sequence,
            (Escape::Begun, _) | (Escape::Sequence, 0x40..=0x7e) => self.escape = Escape::None,
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(expected: &[&str], text: &str) -> Option<Verdict> {
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        let whole = Console::new(&expected).take(text.as_bytes());
        // However the bytes are cut, the verdict is the same.
        let mut console = Console::new(&expected);
        let bytewise = text.as_bytes().chunks(1).find_map(|byte| console.take(byte));
        assert_eq!(whole.is_some(), bytewise.is_some(), "{text:?}");
        bytewise
    }

    fn booted(lines: &[&str]) -> Verdict {
        Verdict::Booted(lines.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_whole_line_of_the_expected_text_is_the_verdict() {
        let text = "[    1.0] noise\r\nIMAGER-BOOT-OK schematic=ab extensions=\r\n[    2.0] more\r\n";
        assert_eq!(
            verdict(&["IMAGER-BOOT-OK"], text),
            Some(booted(&["IMAGER-BOOT-OK schematic=ab extensions="]))
        );
    }

    #[test]
    fn half_a_line_is_no_verdict() {
        assert_eq!(verdict(&["IMAGER-BOOT-OK"], "noise\nIMAGER-BOOT-OK schematic="), None);
    }

    #[test]
    fn every_expected_text_must_appear() {
        assert_eq!(verdict(&["A-OK", "B-OK"], "B-OK 1\nB-OK 2\n"), None);
        assert_eq!(verdict(&["A-OK", "B-OK"], "B-OK 1\nA-OK\n"), Some(booted(&["A-OK", "B-OK 1"])));
    }

    #[test]
    fn failures_are_seen_before_their_line_ends() {
        for (text, _) in FAILURES {
            let found = verdict(&["IMAGER-BOOT-OK"], &format!("noise\n\x1b[2J\x1b[01;01H{text} ..."));
            assert!(matches!(found, Some(Verdict::Failed { line, .. }) if line.starts_with(text)), "{text}");
        }
    }

    #[test]
    fn an_expected_failure_is_a_success() {
        let text = "Kernel panic - not syncing: VFS\n";
        assert_eq!(verdict(&["Kernel panic"], text), Some(booted(&["Kernel panic - not syncing: VFS"])));
    }

    #[test]
    fn control_sequences_are_not_text() {
        assert_eq!(verdict(&["A-OK"], "\x1b[0;37mA-\x1b[1mOK\x07\x1b(\r\n"), Some(booted(&["A-OK"])));
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut console = Console::new(&["never".to_owned()]);
        for _ in 0..100 {
            assert_eq!(console.take(&[b'x'; 1000]), None);
        }
        assert!(console.last_lines().iter().all(|line| line.len() <= MAX_LINE_LEN));
        assert!(console.last_lines().len() <= KEPT_LINES + 1);
        assert_eq!(console.missing(), ["never"]);
    }
}
