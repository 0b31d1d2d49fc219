//! Catalogues that the store has are looked after: a tag that names something else at its source is pulled again.

use std::sync::Arc;
use std::time::Instant;

use extent::Digest;

use super::{List, Lists, Place, Supply, Want};
use crate::Version;
use crate::resolve::{EXTENSIONS, OVERLAYS};

impl Supply {
    /// Asks every source what the tags of its catalogues name now, and pulls what has changed. What cannot be pulled, or is
    /// not signed as it should be, stays what it was.
    pub async fn refresh_catalogues(self: &Arc<Self>) {
        let places = self.sources.core.iter().map(|_| Place::Core);
        let places = places.chain((0..self.sources.catalogues.len()).map(Place::Catalogue));
        for place in places {
            match self.refresh(place).await {
                Ok(true) => self.stands(place, Lists::Catalogues, None),
                Ok(false) => {}
                Err(error) => self.stands(place, Lists::Catalogues, Some(&error)),
            }
        }
    }

    /// The catalogues of `place` that are in the store. The first failure ends it: the others would have to wait for the
    /// same. Gives whether there was anything to ask for.
    async fn refresh(self: &Arc<Self>, place: Place) -> Result<bool, Arc<remote::Error>> {
        let Some(origin) = self.origin(place) else { return Ok(false) };
        let supply = Arc::clone(self);
        let held = tokio::task::spawn_blocking(move || supply.held(place)).await;
        let held = held.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let held = held.map_err(remote::Error::Store)?;
        let is_asked = !held.is_empty();
        for (want, digest) in held {
            let reference = want.reference(origin)?;
            match origin.client.resolve(&reference).await {
                Ok(now) if now == digest => {}
                Ok(now) => {
                    tracing::info!(image = %want, %now, "a catalogue has changed");
                    match self.flight(&want.pinned(now), Instant::now()).await {
                        Ok(()) | Err(super::pull::Failure::Absent) => {}
                        Err(super::pull::Failure::Failed(error)) => return Err(error),
                    }
                }
                // Taken away there; here it serves on.
                Err(remote::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(is_asked)
    }

    /// The catalogues of `place` that the store has, and what they are there. Blocks.
    fn held(&self, place: Place) -> Result<Vec<(Want, Digest)>, store::Error> {
        let mut held = Vec::new();
        for (list, repository) in [(List::Extensions, EXTENSIONS), (List::Overlays, OVERLAYS)] {
            let want = |version: &Version| match place {
                Place::Core => self.core(repository, version),
                Place::Catalogue(_) => self.catalogue(place, list, version),
            };
            // Which version it is decides the tag alone.
            let Some(any) = want(&Version::new(0, 0, 0)) else { continue };
            let (name, _) = any.name();
            for tag in self.store.tags(name)? {
                let Some(want) = tag.parse().ok().and_then(|version| want(&version)) else { continue };
                let named = self.store.resolve_tag(name, &tag)?;
                let digest = named.and_then(|descriptor| descriptor.digest().to_string().parse().ok());
                held.extend(digest.map(|digest| (want, digest)));
            }
        }
        Ok(held)
    }
}
