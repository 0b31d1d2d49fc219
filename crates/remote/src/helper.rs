//! Credential helpers: programs that hold logins, asked for one.
//!
//! ```text
//! docker-credential-<name> get   ◀── stdin: ghcr.io     stdout: {"Username":"u","Secret":"p"} ──▶
//! ```
//!
//! Source: docker-credential-helpers, protocol, `client` and `credentials`.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::credentials::{Basic, Secret, server};
use crate::error::excerpt;
use crate::{Error, Registry};

/// The longest answer. The tokens of cloud providers have a few KiB.
const MAX_ANSWER_LEN: u64 = 64 << 10;
/// The longest name of a helper.
const MAX_NAME_LEN: usize = 64;
/// What a helper says that has no login, with exit code 1.
const NOTHING: &str = "credentials not found in native keychain";
/// The user that stands for a token of another kind.
const TOKEN_USER: &str = "<token>";

/// How long an answer is good: helpers of cloud providers give tokens that expire.
const LIFETIME: Duration = Duration::from_mins(5);

/// What helpers have answered, by helper and server.
#[derive(Default)]
pub(crate) struct Helped(Mutex<HashMap<Asked, Answered>>);

/// The helper and the server.
type Asked = (String, String);
/// When, and what it has.
type Answered = (Instant, Option<Secret>);

impl Helped {
    /// What the helper `name` has for `registry`; asked once for everybody who waits.
    pub(crate) async fn get(
        &self,
        name: &str,
        registry: &Registry,
        patience: Duration,
    ) -> Result<Option<Secret>, Error> {
        let mut answers = self.0.lock().await;
        let server = server(registry);
        let key = (name.to_owned(), server.to_owned());
        if let Some((_, secret)) = answers.get(&key).filter(|(since, _)| since.elapsed() < LIFETIME) {
            return Ok(secret.clone());
        }
        let secret = get(name, server, patience).await?;
        answers.insert(key, (Instant::now(), secret.clone()));
        Ok(secret)
    }

    /// What it has said already.
    pub(crate) async fn known(&self, name: &str, registry: &Registry) -> Option<Secret> {
        let key = (name.to_owned(), server(registry).to_owned());
        self.0.lock().await.get(&key).and_then(|(_, secret)| secret.clone())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Whether `name` is the end of a program's name, and no path.
pub(crate) fn is_name(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    name.len() <= MAX_NAME_LEN
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(is_inner)
}

/// What the helper `name` has for `server`.
async fn get(name: &str, server: &str, patience: Duration) -> Result<Option<Secret>, Error> {
    let failed = |problem| Error::CredentialHelper { helper: excerpt(name), problem };
    if !is_name(name) {
        return Err(failed("has a name that is not of letters, digits, `.`, `_` and `-`"));
    }
    let mut command = Command::new(format!("docker-credential-{name}"));
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed("is not in `PATH`"),
        _ => failed("cannot be run"),
    })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, stdout) = stdin.zip(stdout).ok_or_else(|| failed("cannot be spoken to"))?;
    let conversation = async {
        // Who does not listen may have an answer all the same.
        let _ = stdin.write_all(server.as_bytes()).await;
        drop(stdin);
        let mut answer = Vec::new();
        let read = stdout.take(MAX_ANSWER_LEN + 1).read_to_end(&mut answer).await;
        read.map_err(|_| failed("breaks off"))?;
        if answer.len() as u64 > MAX_ANSWER_LEN {
            return Err(failed("says more than 64 KiB"));
        }
        let status = child.wait().await.map_err(|_| failed("cannot be waited for"))?;
        Ok((status, answer))
    };
    // Dropped, the helper is killed.
    let (status, answer) =
        timeout(patience, conversation).await.map_err(|_| failed("does not answer in time"))??;
    if !status.success() {
        return if String::from_utf8_lossy(&answer).contains(NOTHING) {
            Ok(None)
        } else {
            Err(failed("fails: ask it by hand, with `get` and the registry on its standard input"))
        };
    }
    // What the parser says could quote the secret.
    let Answer { username, secret } = serde_json::from_slice(&answer)
        .map_err(|_| failed("answers no JSON with `Username` and `Secret`"))?;
    Ok(match (username.as_str(), secret.as_str()) {
        (_, "") => None,
        (TOKEN_USER, _) => Some(Secret::Identity(secret)),
        _ => Some(Secret::Basic(Basic::new(username, secret))),
    })
}
