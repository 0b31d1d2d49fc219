//! Stock cosign, and registries to show images to it.

#![allow(clippy::unwrap_used, reason = "only tests are built on this")]
#![allow(dead_code, reason = "not every test uses everything")]

pub mod der;
pub mod registry;
pub mod sigstore;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use cosign::SigningKey;
use tempfile::TempDir;

/// Stock cosign, at home in a directory of its own.
pub struct Cosign {
    tool: PathBuf,
    pub dir: TempDir,
}

impl Cosign {
    /// Cosign, if it is installed.
    pub fn find() -> Option<Self> {
        Some(Self { tool: ci::tool("cosign")?, dir: tempfile::tempdir().unwrap() })
    }

    /// The path of `name` in cosign's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `bytes` to the file `name`.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// What cosign says to `args`.
    ///
    /// A verification by a key alone asks nobody, with two flags:
    /// - `--key`, without which the roots of trust are fetched by TUF;
    /// - `--insecure-ignore-tlog=true`, without which they are fetched as well, to look for an entry of Rekor's. The
    ///   warning that follows is about that entry and means nothing where there is none on purpose.
    ///
    /// `--offline`, `--trusted-root` and `--use-signed-timestamps=false`, the default, are not needed. Signing takes
    /// `--use-signing-config=false --tlog-upload=false`; else the addresses of the log are fetched by TUF too.
    /// Whatever would be fetched fails here at once, at a proxy that is not there.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        Command::new(&self.tool)
            .args(args)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("COSIGN_PASSWORD", "")
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .env("HTTP_PROXY", "http://127.0.0.1:1")
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `args`, which have to succeed.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) {
        let output = self.run(args);
        assert!(output.status.success(), "{}", text(&output));
    }

    /// `args`, which have to fail for `reason` and not, say, for a flag that is not known.
    pub fn refuses<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, reason: &str) {
        let output = self.run(args);
        let text = text(&output);
        assert!(!output.status.success(), "{text}");
        assert!(text.contains(reason), "`{reason}` is not in: {text}");
    }

    /// A new key of ours, whose public half cosign has as `name`.
    pub fn key(&self, name: &str) -> SigningKey {
        let key = SigningKey::generate().unwrap();
        self.write(name, key.public_key_pem());
        key
    }
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}\n{out}{err}", output.status)
}
