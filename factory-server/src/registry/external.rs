//! Installer images that were asked for are written through to another registry, where one is named.
//!
//! ```text
//! tag asked for ──▶ answered from here, at once
//!        └──▶ in the background: layers, manifests, signatures, the tag last
//! ```
//!
//! Of one image there is one push at a time, and few of all; of the others as many wait as memory allows. What failed, or
//! found no place to wait, is tried again when it is asked for again: nobody waits for it, and nobody's answer depends on it.
//!
//! Source: the reference pushes what it has built to its installer repository, as facts.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use cosign::SigningKey;
use extent::Digest;
use remote::{Client, Credentials, Options, PlainHttp, Proxies, Push, Reference, Signatures};
use store::Store;
use tokio::sync::Semaphore;

use super::published::Published;
use crate::metrics::{Metrics, Outcome};

/// Pushes at a time. Each sends several blobs at once; the downloads of clients go before.
const PUSHES_MAX: usize = 2;
/// Pushes that have begun or wait: each keeps its image in memory, some 800 KiB.
const PLACES_MAX: usize = 64;
/// Images that are known to be there: some 200 bytes each. Of one that was forgotten the registry is asked.
const KNOWN_MAX: usize = 10_000;

/// Another registry, to which installer images go.
#[derive(Debug)]
pub struct External {
    client: Client,
    /// The registry and what is before the names of images.
    prefix: String,
    turns: Semaphore,
    /// Of those who wait for a turn or have it.
    places: Arc<Semaphore>,
    /// Images by their names, pushed or on their way.
    known: Mutex<HashSet<(String, Digest)>>,
}

/// Why a registry cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ExternalError(#[from] remote::Error);

impl External {
    /// The `registry` with `namespace` and `repository` before the names of images, where these are not empty. Logins and proxies are those of the
    /// environment; plain HTTP is spoken on the loopback, and elsewhere where it is `insecure`.
    ///
    /// # Errors
    /// Where these make no name of a repository; where Docker's configuration cannot be used.
    pub fn new(
        registry: &str,
        namespace: &str,
        repository: &str,
        insecure: bool,
    ) -> Result<Self, ExternalError> {
        let parts = [registry, namespace, repository].map(|part| part.trim_matches('/'));
        let prefix = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        // Now, and not when it is first written to.
        format!("{prefix}/installer:v1").parse::<Reference>()?;
        let mut options = Options::default();
        options.credentials = Credentials::from_env()?;
        options.proxies = Proxies::from_env()?;
        if insecure {
            options.plain_http = PlainHttp::Always;
        }
        let (turns, places) = (Semaphore::new(PUSHES_MAX), Arc::new(Semaphore::new(PLACES_MAX)));
        Ok(Self { client: Client::new(options), prefix, turns, places, known: Mutex::default() })
    }

    /// Begins to push `published` as `<image>/<schematic>:<version>`, unless it is there or on its way.
    pub(super) fn publish(
        self: &Arc<Self>,
        store: &Store,
        metrics: &Metrics,
        signer: Option<&Arc<SigningKey>>,
        published: &Arc<Published>,
        name: &str,
    ) {
        let key = (name.to_owned(), published.index);
        let place = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.contains(&key) {
                return;
            }
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                metrics.pushed(Outcome::Deferred);
                tracing::debug!(image = name, "too many installers wait to be written through");
                return;
            };
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(key.clone());
            place
        };
        let (external, store, metrics) = (Arc::clone(self), store.clone(), metrics.clone());
        let (signer, published) = (signer.cloned(), Arc::clone(published));
        tokio::spawn(async move {
            let _place = place;
            let _turn = external.turns.acquire().await;
            let pushed = external.push(&store, signer.as_deref(), &published, &key.0).await;
            metrics.pushed(if pushed.is_ok() { Outcome::Done } else { Outcome::Failed });
            if let Err(error) = pushed {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(image = key.0, error, "an installer was not written through");
                external.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            }
        });
    }

    async fn push(
        &self,
        store: &Store,
        signer: Option<&SigningKey>,
        published: &Published,
        name: &str,
    ) -> Result<(), remote::Error> {
        let reference: Reference = format!("{}/{name}", self.prefix).parse()?;
        let repository = format!("{}/{}", reference.registry(), reference.name());
        let described = published.described();
        let signatures: Vec<(Digest, Signatures)> = signer
            .into_iter()
            .flat_map(|key| {
                published.images.iter().map(|(media_type, bytes)| {
                    let signatures = Signatures::by(key, &repository, &(*media_type).into(), bytes);
                    (Digest::of(bytes), signatures)
                })
            })
            .collect();
        let mut push = Push::new(store, &self.client, &reference, &described);
        for (subject, signatures) in &signatures {
            push = push.signed(*subject, signatures);
        }
        push.run().await.map(|_| ())
    }
}
