//! Of the same blob there is one fetch at a time in a process: who comes second waits, and finds it in the store.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use extent::Digest;
use tokio::sync::OwnedMutexGuard;

type Flights = HashMap<Digest, Weak<tokio::sync::Mutex<()>>>;

static FLIGHTS: LazyLock<Mutex<Flights>> = LazyLock::new(Mutex::default);

/// Waits for the fetch of `digest` that is under way, if there is one; the next waits for the guard to be dropped.
pub(crate) async fn board(digest: Digest) -> OwnedMutexGuard<()> {
    let flight = {
        let mut flights = FLIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = flights.get(&digest).and_then(Weak::upgrade).unwrap_or_default();
        flights.insert(digest, Arc::downgrade(&flight));
        flight
    };
    flight.lock_owned().await
}
