//! Pulls: of one image there is one at a time, whoever waits for it.
//!
//! A pull belongs to nobody who asked: it goes on when they leave, and who comes later finds it in the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, ready};
use remote::{Platform, Pull};
use tracing::Instrument as _;

use super::{Place, Supply, Want, Wanted, lock};
use crate::Error;

/// How long a tag that a source does not have is not asked for again: nobody can make us ask for the same all the time.
const ABSENT: Duration = Duration::from_secs(30);
/// How long a failure is the answer for who asks for the same: clients that try again at once do not add to what is wrong.
const FAILED: Duration = Duration::from_secs(5);
/// How many ends are remembered: some 200 bytes each. Beyond it, all are forgotten.
const ENDS_MAX: usize = 10_000;

type Outcome = Result<(), Failure>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Why an image did not come.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The source has no such tag.
    Absent,
    /// Anything else.
    Failed(Arc<remote::Error>),
}

/// Which pulls are under way, and how those ended that ended of late.
#[derive(Default)]
pub(super) struct Board {
    flying: HashMap<Want, Flight>,
    ended: HashMap<Want, (Instant, Outcome)>,
}

/// Takes a pull from the board when it is over, however it ended.
struct Landing(Arc<Supply>, Want);

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.0.board).flying.remove(&self.1);
    }
}

impl Board {
    /// How the pull of `want` ended, if that answers who looked into the store at `asked`.
    fn outcome(&self, want: &Want, asked: Instant) -> Option<Outcome> {
        let (at, outcome) = self.ended.get(want)?;
        let holds = match outcome {
            // It came after they had looked.
            Ok(()) => *at > asked,
            Err(Failure::Absent) => at.elapsed() < ABSENT,
            Err(Failure::Failed(_)) => at.elapsed() < FAILED,
        };
        holds.then(|| outcome.clone())
    }

    /// Takes down how the pull of `want` ended; gives what is to be believed.
    fn end(&mut self, want: &Want, mut outcome: Outcome) -> Outcome {
        // A source that did not have it, and cannot be asked now, is taken at its last word.
        if let Err(Failure::Failed(error)) = &outcome
            && error.is_transient()
            && matches!(self.ended.get(want), Some((_, Err(Failure::Absent))))
        {
            outcome = Err(Failure::Absent);
        }
        if self.ended.len() >= ENDS_MAX {
            self.ended.clear();
        }
        self.ended.insert(want.clone(), (Instant::now(), outcome.clone()));
        outcome
    }
}

impl Supply {
    /// Whether the source is known not to have `want`.
    pub fn is_absent(&self, want: &Want) -> bool {
        matches!(lock(&self.board).outcome(want, Instant::now()), Some(Err(Failure::Absent)))
    }

    /// Pulls what is wanted, all at once, for who looked into the store at `asked`. Gives whether a source lacks some.
    ///
    /// # Errors
    /// `Source`, `Unverified`: of the first that failed; the others are pulled nevertheless.
    pub async fn pull(self: &Arc<Self>, wanted: &Wanted, asked: Instant) -> Result<bool, Error> {
        let flights: Vec<_> = wanted.iter().map(|want| (want, self.flight(want, asked))).collect();
        let mut is_absent = false;
        for (want, flight) in flights {
            match flight.await {
                Ok(()) => {}
                Err(Failure::Absent) => is_absent = true,
                Err(Failure::Failed(source)) => return Err(failed(want, source)),
            }
        }
        Ok(is_absent)
    }

    /// The pull of `want` that is under way, or one that begins now.
    pub(super) fn flight(self: &Arc<Self>, want: &Want, asked: Instant) -> Flight {
        let mut board = lock(&self.board);
        if let Some(flight) = board.flying.get(want) {
            return flight.clone();
        }
        if let Some(outcome) = board.outcome(want, asked) {
            return ready(outcome).boxed().shared();
        }
        let (supply, flown) = (Arc::clone(self), want.clone());
        let span = tracing::info_span!("pull", image = %want);
        let landing = Landing(Arc::clone(self), want.clone());
        let task = async move {
            let _landing = landing;
            let outcome = supply.pulled(&flown).await;
            say(&flown, &outcome);
            lock(&supply.board).end(&flown, outcome)
        };
        let task = tokio::spawn(task.instrument(span));
        let flight = async { task.await.expect("a pull does not panic") }.boxed().shared();
        board.flying.insert(want.clone(), flight.clone());
        flight
    }

    async fn pulled(&self, want: &Want) -> Outcome {
        let origin = self.origin(want.place).ok_or(Failure::Absent)?;
        let _turn = self.turns(want.place).acquire().await.expect("the semaphore is never closed");
        let failed = |error| Failure::Failed(Arc::new(error));
        let mut reference = want.reference(origin).map_err(failed)?;
        if want.digest.is_none() {
            let digest = origin.client.resolve(&reference).await.map_err(|error| match error {
                remote::Error::NotFound { .. } => Failure::Absent,
                error => failed(error),
            })?;
            // From here on the digest decides: something else that is not there is no version that is not there.
            reference = want.clone().pinned(digest).reference(origin).map_err(failed)?;
        }
        let amd64 = [Platform { os: "linux".to_owned(), architecture: "amd64".to_owned() }];
        let mut pull = Pull::new(&self.store, &origin.client, &reference).named(&want.name);
        if want.is_amd64 {
            pull = pull.platforms(&amd64);
        }
        if let Some(policy) = &origin.policy {
            pull = pull.verified_by(policy);
        }
        pull.run().await.map(drop).map_err(failed)
    }
}

/// Says in the log how a pull ended, if that was not well.
fn say(want: &Want, outcome: &Outcome) {
    match outcome {
        Ok(()) => {}
        Err(Failure::Absent) if want.place == Place::Core => {
            tracing::debug!("the source does not have it");
        }
        Err(Failure::Absent) => {
            tracing::warn!(image = %want, "a further catalogue does not have the version");
        }
        Err(Failure::Failed(error)) => {
            tracing::warn!(image = %want, error = %chain(&**error), "an image cannot be pulled");
        }
    }
}

/// Why `want` did not come.
pub(super) fn failed(want: &Want, source: Arc<remote::Error>) -> Error {
    let image = want.to_string();
    match &*source {
        remote::Error::Unverified { refusals, .. } => {
            // Words of the verification alone: where a registry is, is nobody's business.
            let verdict = refusals.iter().find_map(|refusal| match refusal {
                remote::Error::Signature { source, .. } => Some(source.to_string()),
                _ => None,
            });
            let reason = verdict.unwrap_or_else(|| {
                let nothing = refusals.is_empty();
                if nothing {
                    "it is not signed".to_owned()
                } else {
                    "its signatures cannot be read".to_owned()
                }
            });
            Error::Unverified { image, reason, source }
        }
        _ => Error::Source { image, source },
    }
}

/// `error` and what is behind it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        text = format!("{text}: {error}");
        behind = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;
    use crate::resolve::EXTENSIONS;

    fn want() -> Want {
        let name = EXTENSIONS.to_owned();
        let tag = Some(Version::new(1, 2, 3).to_string());
        Want { place: Place::Core, repository: name.clone(), tag, digest: None, name, is_amd64: true }
    }

    fn down() -> Outcome {
        let at = "https://r.example/v2/a".to_owned();
        Err(Failure::Failed(Arc::new(remote::Error::Truncated { at, len: 0, wanted: 1 })))
    }

    #[test]
    fn what_came_answers_only_those_who_looked_before() {
        let mut board = Board::default();
        let before = Instant::now();
        board.end(&want(), Ok(())).unwrap();
        assert!(matches!(board.outcome(&want(), before), Some(Ok(()))));
        assert!(board.outcome(&want(), Instant::now()).is_none());
        let pinned = want().pinned(extent::Digest::of(b""));
        assert!(board.outcome(&pinned, before).is_none());
    }

    #[test]
    fn a_source_that_is_down_is_taken_at_its_last_word() {
        let mut board = Board::default();
        assert!(matches!(board.end(&want(), down()), Err(Failure::Failed(_))));
        assert!(matches!(board.outcome(&want(), Instant::now()), Some(Err(Failure::Failed(_)))));
        board.end(&want(), Err(Failure::Absent)).unwrap_err();
        assert!(matches!(board.end(&want(), down()), Err(Failure::Absent)));
        let refused = remote::Error::Unverified { digest: extent::Digest::of(b""), refusals: Vec::new() };
        let refused = board.end(&want(), Err(Failure::Failed(Arc::new(refused))));
        assert!(matches!(refused, Err(Failure::Failed(_))), "it answered");
    }
}
