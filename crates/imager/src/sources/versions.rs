//! The versions that there are: tags at the core source, kept in the store for the time when it is not there.
//!
//! The list is the blob that the tag `tags` of `sources/<registry>/<repository>` names. Nobody signs it: it says what may
//! be asked for, and what then comes must be signed.

use std::sync::Arc;
use std::time::Instant;

use oci_spec::image::MediaType;
use serde::{Deserialize, Serialize};

use super::{Lists, Place, Supply, lock};
use crate::resolve::IMAGER;
use crate::{Error, Version};

/// The longest list that is read: a hundred thousand tags of the greatest length.
const LIST_LEN_MAX: u64 = 16 << 20;
/// What names the list in the store.
const TAG: &str = "tags";

/// The versions that the source had when it was asked last. None is known to have been asked.
pub(super) type Listed = Arc<Vec<Version>>;

/// How the last question ended, and when.
pub(super) struct Answer {
    at: Instant,
    error: Option<Arc<remote::Error>>,
}

/// The list as it is kept.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    tags: Vec<Version>,
}

impl Supply {
    /// The versions at the core source, as far as they are known; none if nobody has asked yet. Blocks.
    pub fn listed(&self) -> Option<Listed> {
        if let Some(listed) = &*lock(&self.listed) {
            return Some(Arc::clone(listed));
        }
        let name = self.list_name()?;
        let kept = self.kept(&name).unwrap_or_else(|error| {
            tracing::warn!(%error, "the list of versions cannot be read");
            None
        })?;
        Some(Arc::clone(lock(&self.listed).get_or_insert_with(|| Arc::new(kept.tags))))
    }

    /// Asks the core source for its versions and keeps them. Who asks while somebody else does waits for their answer.
    ///
    /// # Errors
    /// `Source`. Then what was known before still is.
    pub async fn refresh_versions(self: &Arc<Self>) -> Result<(), Error> {
        let Some(core) = &self.sources.core else { return Ok(()) };
        let asked = Instant::now();
        let mut last = self.listing.lock().await;
        let answered = last.as_ref().filter(|answer| answer.at > asked);
        let error = if let Some(answer) = answered {
            answer.error.clone()
        } else {
            let error = self.ask(core).await.err().map(Arc::new);
            *last = Some(Answer { at: Instant::now(), error: error.clone() });
            self.stands(Place::Core, Lists::Versions, error.as_deref());
            error
        };
        match error {
            None => Ok(()),
            Some(source) => {
                // Named as the engine names it.
                let image = IMAGER.to_owned();
                Err(Error::Source { image, source })
            }
        }
    }

    async fn ask(self: &Arc<Self>, core: &super::Core) -> Result<(), remote::Error> {
        let origin = &core.origin;
        let text = format!("{}/{}", origin.registry, origin.path(&core.components.imager));
        let tags = origin.client.tags(&text.parse()?).await?;
        let mut versions: Vec<Version> = tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        versions.sort();
        versions.dedup();
        tracing::debug!(count = versions.len(), "the versions were listed");
        let supply = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || supply.keep(versions)).await;
        // What is not kept is known until the end all the same.
        if let Err(error) = kept.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            tracing::warn!(%error, "the list of versions is not kept");
        }
        Ok(())
    }

    /// The list in the store.
    fn kept(&self, name: &str) -> Result<Option<Kept>, store::Error> {
        let Some(descriptor) = self.store.resolve_tag(name, TAG)? else { return Ok(None) };
        let Ok(digest) = descriptor.digest().to_string().parse() else { return Ok(None) };
        let bytes = self.store.bytes(&digest, LIST_LEN_MAX)?;
        // Another program's, or another version's: the source will be asked.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    fn keep(&self, versions: Vec<Version>) -> Result<(), store::Error> {
        let listed = Arc::new(versions);
        *lock(&self.listed) = Some(Arc::clone(&listed));
        let Some(name) = self.list_name() else { return Ok(()) };
        let kept = Kept { tags: Vec::clone(&listed) };
        let text = serde_json::to_vec(&kept).expect("versions are text");
        let blob = self.store.put_bytes(&text)?.oci(MediaType::Other("application/json".to_owned()));
        if self.store.resolve_tag(&name, TAG)?.is_none_or(|before| before.digest() != blob.digest()) {
            self.store.tag(&name, TAG, &blob)?;
        }
        Ok(())
    }

    fn list_name(&self) -> Option<String> {
        let core = self.sources.core.as_ref()?;
        Some(core.origin.apart("sources", &core.components.imager))
    }
}
