//! How it stands with sources: whether what is served of them is what they have.

use std::time::{Duration, Instant};

use super::pull::chain;
use super::{CORE, Place, Sources, Supply, lock};

/// How it stands with the lists of a source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Standing {
    /// Which source: [`CORE`], or the name of a further catalogue.
    pub source: String,
    /// Which lists.
    pub lists: Lists,
    /// Whether it failed when it was last asked for them. Then they are those of before.
    pub is_failing: bool,
    /// When it answered last, if it did since the start.
    good: Option<Instant>,
    place: Place,
}

/// What a source lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// The versions that there are.
    Versions,
    /// Extensions and overlays.
    Catalogues,
}

impl Standing {
    /// Of all sources, before any of them was asked.
    pub(super) fn all(sources: &Sources) -> Vec<Self> {
        let standing = |source: &str, place, lists| {
            let source = source.to_owned();
            Self { source, lists, is_failing: false, good: None, place }
        };
        let core = sources.core.iter().flat_map(|_| {
            [Lists::Versions, Lists::Catalogues].map(|lists| standing(CORE, Place::Core, lists))
        });
        let further =
            sources.catalogues.iter().enumerate().map(|(index, catalogue)| {
                standing(&catalogue.name, Place::Catalogue(index), Lists::Catalogues)
            });
        core.chain(further).collect()
    }

    /// How long ago it answered, if it did since the start.
    pub fn age(&self) -> Option<Duration> {
        self.good.map(|good| good.elapsed())
    }
}

impl Supply {
    /// How it stands with all sources, the core first.
    pub fn standings(&self) -> Vec<Standing> {
        lock(&self.standings).clone()
    }

    /// Takes down how the source answered when it was asked for `lists`. Said in the log when that changes.
    pub(super) fn stands(&self, place: Place, lists: Lists, error: Option<&remote::Error>) {
        let mut standings = lock(&self.standings);
        let found = standings.iter_mut().find(|standing| (standing.place, standing.lists) == (place, lists));
        let Some(standing) = found else { return };
        let failed = std::mem::replace(&mut standing.is_failing, error.is_some());
        let source = &standing.source;
        match error {
            None if failed => tracing::info!(source, ?lists, "a source answers again"),
            Some(error) if !failed => {
                let error = chain(error);
                tracing::warn!(source, ?lists, %error, "a source fails; what is known of it is served");
            }
            _ => {}
        }
        if error.is_none() {
            standing.good = Some(Instant::now());
        }
    }
}
