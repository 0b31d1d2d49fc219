//! Progress: what the seed is doing, for whoever waits.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use extent::{Blobs, Digest};

/// How far one step of the work has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step, for people: `trixie/amd64: fetching 37 packages`. A new text is a new step.
    pub what: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; 0 where nobody knows.
    pub total: u64,
}

/// Who is told. Called often: up to a few hundred times a second.
pub type OnProgress<'a> = dyn Fn(&Progress) + Sync + 'a;

/// One step, and who is told of it.
pub(crate) struct Step<'a> {
    on_progress: &'a OnProgress<'a>,
    what: String,
    total: u64,
}

impl<'a> Step<'a> {
    /// Begins the step `what` of `total` bytes, and says so.
    pub fn begin(on_progress: &'a OnProgress<'a>, what: impl Into<String>, total: u64) -> Self {
        let step = Self { on_progress, what: what.into(), total };
        step.at(0);
        step
    }

    /// Says that `done` bytes are done.
    pub fn at(&self, done: u64) {
        let done = if self.total == 0 { done } else { done.min(self.total) };
        (self.on_progress)(&Progress { what: self.what.clone(), done, total: self.total });
    }

    /// Says that all is done.
    pub fn end(&self) {
        self.at(self.total);
    }
}

/// Blobs that tell how much of them was read: the progress of whatever reads them.
pub(crate) struct Watched<'a> {
    blobs: &'a dyn Blobs,
    step: &'a Step<'a>,
    done: AtomicU64,
    told: AtomicU64,
}

/// Reads below this many bytes since the last word are not worth one.
const TELL_EVERY: u64 = 1 << 20;

impl<'a> Watched<'a> {
    /// Tells `step` of what is read from `blobs`.
    pub fn new(blobs: &'a dyn Blobs, step: &'a Step<'a>) -> Self {
        Self { blobs, step, done: AtomicU64::new(0), told: AtomicU64::new(0) }
    }
}

impl Blobs for Watched<'_> {
    fn read_at(&self, digest: &Digest, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.blobs.read_at(digest, offset, buf)?;
        let len = buf.len() as u64;
        let done = self.done.fetch_add(len, Ordering::Relaxed) + len;
        let told = self.told.load(Ordering::Relaxed);
        if done - told.min(done) >= TELL_EVERY
            && self.told.compare_exchange(told, done, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.step.at(done);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_is_read_is_told_and_never_more_than_the_total() {
        let told = Mutex::new(Vec::new());
        let on_progress = |progress: &Progress| told.lock().unwrap().push(progress.done);
        let bytes = Bytes::from(vec![7; 3 << 20]);
        let digest = Digest::of(&bytes);
        let blobs = HashMap::from([(digest, bytes)]);
        let step = Step::begin(&on_progress, "reading", 2 << 20);
        let watched = Watched::new(&blobs, &step);
        for i in 0..3 {
            watched.read_at(&digest, i << 20, &mut vec![0; 1 << 20]).unwrap();
        }
        assert!(watched.read_at(&digest, 3 << 20, &mut [0]).is_err());
        step.end();
        assert_eq!(*told.lock().unwrap(), [0, 1 << 20, 2 << 20, 2 << 20, 2 << 20]);
    }
}
