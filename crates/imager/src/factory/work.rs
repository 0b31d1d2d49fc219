//! Where the work of a request is done: it may block, it may lack images, and what it derives takes long.
//!
//! ```text
//! work ──▶ looks things up ──▶ done
//!   ▲          ├── an image is not there ──▶ pulled, by whoever asked first ──┐
//!   │          └── not derived yet ──▶ waits for a turn ──▶ derives ──▶ done  │
//!   └─────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Threads that may block are few and everybody's. So who waits, for a network or for a turn, holds none: a thousand
//! machines that ask for an extension that nobody has asked for before take no more threads than there are turns.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tracing::Span;

use super::Factory;
use crate::Error;
use crate::resolve::Resolver;

/// How often a request is resolved anew because it wants more: tags, then what a catalogue lists, then what turned out not
/// to be complete.
const ROUNDS_MAX: usize = 8;

impl Factory {
    /// Runs `work` where it may block. What it wants is pulled, and then it is run again; nobody's turn passes with waiting
    /// for a network.
    pub(super) async fn supplied<T: Send + 'static>(
        &self,
        work: impl Fn(&Resolver) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let mut pulled = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let asked = Instant::now();
            let images = match self.derived(work.clone()).await {
                Err(Error::NotPulled { images }) if self.is_pulling => images,
                result => return result,
            };
            // What came and is not there now: somebody takes it away.
            let new = images.iter().filter(|want| pulled.insert((*want).clone())).count();
            if new == 0 {
                return Err(Error::NotPulled { images });
            }
            let is_absent = self.supply.pull(&images, asked).await?;
            if is_absent && let Err(error) = self.know_versions().await {
                // Fewer versions are offered instead of the one that is not there.
                tracing::debug!(%error, "the versions are not known");
            }
        }
        self.derived(work).await
    }

    /// Runs `work` where it may block. What it finds not derived yet it derives in a turn.
    pub(super) async fn derived<T: Send + 'static>(
        &self,
        work: impl Fn(&Resolver) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        match self.run(work.clone()).await {
            Err(error) if error.is_not_derived() => {}
            result => return result,
        }
        let deriver = Arc::clone(&self.deriver);
        in_turn(&self.deriving, move || work(&deriver)).await
    }

    /// Runs `work` where it may block, and derives nothing.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Resolver) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let resolver = Arc::clone(&self.resolver);
        blocking(move || work(&resolver)).await
    }
}

/// Runs `work` where it may block, in one of `turns`. The turn is the work's: it lasts as long, whether who asked is there to
/// hear of it or not.
pub(super) async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let turn = Arc::clone(turns).acquire_owned().await.expect("the semaphore is never closed");
    blocking(move || {
        let _turn = turn;
        work()
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    // What is logged there belongs to who asked here.
    let span = Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result,
        // Nothing cancels the task, so it panicked: so does who asked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_its_work() {
        let turns = Arc::new(Semaphore::new(1));
        let (begins, begun) = tokio::sync::oneshot::channel();
        let (release, held) = mpsc::channel::<()>();
        let asked = in_turn(&turns, move || {
            begins.send(()).unwrap();
            held.recv().unwrap();
            Ok(())
        });
        tokio::select! {
            result = asked => panic!("it is not done: {result:?}"),
            begun = begun => begun.unwrap(),
        }
        // Nobody waits for it any more.
        assert_eq!(turns.available_permits(), 0);
        release.send(()).unwrap();
        in_turn(&turns, || Ok(())).await.unwrap();
    }
}
