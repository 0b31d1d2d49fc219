//! What the factory plans, and remembers of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use extent::MapId;
use tracing::{Instrument as _, debug_span};

use super::work::in_turn;
use super::{Factory, Resolved};
use crate::{Artifact, Error, InstallerImage, Lock};

/// An asset, described and identified.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Planned {
    /// The description.
    pub artifact: Artifact,
    /// Its identity.
    pub id: MapId,
    /// What decided it.
    pub lock: Lock,
}

/// A plan, and what it took to get it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Planning {
    /// The plan.
    pub planned: Arc<Planned>,
    /// Whether it was there already.
    pub is_remembered: bool,
    /// How long it waited for its turn.
    pub waited: Duration,
}

/// How many plans are remembered: some 400 KiB each. Parts of a download, and downloads of a fleet, come soon after
/// each other.
pub(super) const PLANS_MAX: usize = 64;

/// The length of a canonical schematic up to which a plan is made on the thread of who asks. All that a client decides of a
/// plan's length is in it: what it embeds takes a millisecond to compress then; a machine configuration of 1 MiB, a fifth of
/// a second.
const BRIEF_MAX: usize = 4 << 10;

impl Factory {
    /// The asset that `resolved` describes, with its identity computed: about a millisecond of a processor, on the thread of
    /// who asks. Where much is embedded it takes longer: on another thread, and in the order of asking. Who asks for the same
    /// asset while it is remembered shares the description.
    ///
    /// # Errors
    /// Those of [`crate::plan`].
    pub async fn plan(&self, resolved: Resolved) -> Result<Arc<Planned>, Error> {
        Ok(self.planning(resolved).await?.planned)
    }

    /// The same, with what it took.
    ///
    /// # Errors
    /// Those of [`crate::plan`].
    pub async fn planning(&self, resolved: Resolved) -> Result<Planning, Error> {
        let span = debug_span!("plan", version = %resolved.lock.version, asset = %resolved.lock.asset);
        // A lock has kilobytes, which futures would copy into each other.
        self.planning_of(Box::new(resolved)).instrument(span).await
    }

    async fn planning_of(&self, resolved: Box<Resolved>) -> Result<Planning, Error> {
        let begun = Instant::now();
        let plans = self.plans.clone();
        let is_brief = is_brief(&resolved.lock);
        let plan = move |waited| {
            let mut is_remembered = true;
            let planned = plans.get(resolved.lock.digest(), || {
                is_remembered = false;
                let artifact = crate::plan(&resolved)?;
                Ok(Planned { id: artifact.extents.id(), artifact, lock: resolved.lock })
            })?;
            tracing::debug!(size_bytes = planned.artifact.extents.len(), is_remembered, "planned");
            Ok(Planning { planned, is_remembered, waited })
        };
        if is_brief {
            // To hand half a millisecond over to another thread and back takes longer than a part of it.
            return plan(Duration::ZERO);
        }
        // More at a time would take as long, and the last to begin would be as likely to end first.
        in_turn(&self.planning, move || plan(begun.elapsed())).await
    }

    /// The installer image of all that was resolved, in parts.
    ///
    /// # Errors
    /// Those of [`crate::installer`].
    pub async fn installer_image(&self, resolved: Vec<Resolved>) -> Result<InstallerImage, Error> {
        in_turn(&self.planning, move || {
            let installers: Result<_, Error> = resolved.iter().map(crate::installer).collect();
            Ok(InstallerImage::of(installers?))
        })
        .await
    }
}

/// Whether the plan of `lock` is known to be arithmetic alone. Where much is embedded it is compressed; and what has no
/// schematic of its own, as a command line, can be as long as one.
fn is_brief(lock: &Lock) -> bool {
    lock.schematic.as_ref().is_some_and(|schematic| schematic.canonical.len() <= BRIEF_MAX)
}
