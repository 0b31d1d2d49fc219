//! Searches for digests that were not put together here: another process gave them out, or nobody did.
//!
//! ```text
//! digest ──▶ search of its image ─┬─ seen in a version already ──▶ that version
//!                                 └─ versions left, the newest first ──put together, one a turn──▶ seen
//! ```
//!
//! Anybody may ask for any digest, and to go through all versions is work of seconds. So an image is gone through once,
//! however many digests are asked for: the next one goes on where the last one stopped. And the turn is taken anew for every
//! version: whose digest is in one of the newest, as most are, does not wait until others have found nothing in any.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use extent::Digest;
use imager::{InstallerName, Version};
use schematics::SchematicId;
use tokio::sync::{Semaphore, SemaphorePermit};

/// An installer image, of all versions.
pub type Image = (SchematicId, InstallerName);

/// How long what was seen counts: images may be pulled, or seeded anew, meanwhile.
const SEEN_FOR: Duration = Duration::from_secs(30);
/// Searches that are remembered, each with some 3 KiB for a version that it went through.
const SEARCHES_MAX: usize = 64;

/// What is searched of late.
#[derive(Debug)]
pub struct Searches {
    searches: Mutex<HashMap<Image, Remembered>>,
    turns: Semaphore,
}

/// A search of one image.
#[derive(Debug)]
pub struct Search {
    /// The versions to go through, the newest last.
    left: Vec<Version>,
    /// What those had that were gone through.
    seen: HashMap<Digest, Version>,
}

#[derive(Debug)]
struct Remembered {
    since: Instant,
    versions: Vec<Version>,
    search: Arc<tokio::sync::Mutex<Search>>,
}

impl Default for Searches {
    fn default() -> Self {
        Self { searches: Mutex::default(), turns: Semaphore::new(1) }
    }
}

impl Searches {
    /// The search of `image` in `versions`, which ascend. Another one than before if these are others, or it was before
    /// `now` for too long.
    pub fn of(&self, image: &Image, versions: &[Version], now: Instant) -> Arc<tokio::sync::Mutex<Search>> {
        // Nothing that can panic happens under the lock.
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = searches.get(image)
            && now.saturating_duration_since(known.since) < SEEN_FOR
            && known.versions == versions
        {
            return Arc::clone(&known.search);
        }
        if searches.len() >= SEARCHES_MAX && !searches.contains_key(image) {
            let oldest = searches.iter().min_by_key(|(_, one)| one.since).map(|(image, _)| image.clone());
            // Who goes on with it keeps it.
            oldest.and_then(|image| searches.remove(&image));
        }
        let search = Search { left: versions.to_vec(), seen: HashMap::new() };
        let search = Arc::new(tokio::sync::Mutex::new(search));
        let known = Remembered { since: now, versions: versions.to_vec(), search: Arc::clone(&search) };
        searches.insert(image.clone(), known);
        search
    }

    /// The turn to go through one version.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("the semaphore is never closed")
    }
}

impl Search {
    /// The version that was seen to have `digest`.
    pub fn seen(&self, digest: &Digest) -> Option<&Version> {
        self.seen.get(digest)
    }

    /// The version to go through next.
    pub fn next(&self) -> Option<Version> {
        self.left.last().cloned()
    }

    /// Takes down that the next version was gone through, and has `digests`.
    pub fn passed(&mut self, digests: impl IntoIterator<Item = Digest>) {
        if let Some(version) = self.left.pop() {
            self.seen.extend(digests.into_iter().map(|digest| (digest, version.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(patches: std::ops::Range<u64>) -> Vec<Version> {
        patches.map(|patch| Version::new(1, 0, patch)).collect()
    }

    fn image(n: usize) -> Image {
        (Digest::of(&n.to_le_bytes()).into(), InstallerName::parse("installer").unwrap())
    }

    #[tokio::test]
    async fn a_search_goes_on_where_it_stopped_the_newest_first() {
        let (searches, now) = (Searches::default(), Instant::now());
        let (newest, older) = (Digest::of(b"newest"), Digest::of(b"older"));
        {
            let search = searches.of(&image(0), &versions(0..2), now);
            let mut search = search.lock().await;
            assert_eq!(search.next(), Some(Version::new(1, 0, 1)));
            search.passed([newest]);
            assert_eq!(search.next(), Some(Version::new(1, 0, 0)));
        }
        let search = searches.of(&image(0), &versions(0..2), now + SEEN_FOR / 2);
        let mut search = search.lock().await;
        assert_eq!(search.next(), Some(Version::new(1, 0, 0)));
        search.passed([older]);
        assert_eq!(search.next(), None);
        assert_eq!(search.seen(&newest), Some(&Version::new(1, 0, 1)));
        assert_eq!(search.seen(&older), Some(&Version::new(1, 0, 0)));
        assert_eq!(search.seen(&Digest::of(b"nobody's")), None);
    }

    #[tokio::test]
    async fn it_begins_anew_after_a_while_and_when_versions_come() {
        let (searches, now) = (Searches::default(), Instant::now());
        let left = async |patches, now| {
            let search = searches.of(&image(0), &versions(patches), now);
            let mut search = search.lock().await;
            let left = search.left.len();
            search.passed([]);
            left
        };
        assert_eq!(left(0..2, now).await, 2);
        assert_eq!(left(0..2, now).await, 1);
        assert_eq!(left(0..2, now + SEEN_FOR).await, 2);
        assert_eq!(left(0..2, now + SEEN_FOR).await, 1);
        assert_eq!(left(0..3, now + SEEN_FOR).await, 3);
    }

    #[tokio::test]
    async fn so_many_are_remembered_and_the_oldest_goes() {
        let (searches, now) = (Searches::default(), Instant::now());
        for n in 0..=SEARCHES_MAX {
            let search = searches.of(&image(n), &versions(0..1), now + Duration::from_millis(n as u64));
            search.lock().await.passed([]);
        }
        assert_eq!(searches.searches.lock().unwrap().len(), SEARCHES_MAX);
        let now = now + Duration::from_secs(1);
        let is_known = async |n| searches.of(&image(n), &versions(0..1), now).lock().await.next().is_none();
        assert!(is_known(1).await && is_known(SEARCHES_MAX).await);
        assert!(!is_known(0).await);
    }
}
