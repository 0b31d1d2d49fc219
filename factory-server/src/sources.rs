//! Sources of images, looked after while the server runs, and what answers say of them.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use imager::{Factory, Lists, Standing};
use tokio::time::MissedTickBehavior;

use crate::metrics::Metrics;

/// Says that a list is that of before.
///
/// Source: RFC 9211.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Asks the sources of `factory` again and again, the first time at once: which versions there are every `versions`, and
/// whether catalogues have changed every `catalogues`. Ends when it is dropped.
pub async fn refresh(factory: Factory, metrics: Metrics, versions: Duration, catalogues: Duration) {
    let every = |period: Duration| {
        let mut every = tokio::time::interval(period);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        every
    };
    let (mut versions, mut catalogues) = (every(versions), every(catalogues));
    loop {
        tokio::select! {
            _ = versions.tick() => {
                // How it stands is said below and, once, in the log.
                let _ = factory.refresh_versions().await;
            }
            _ = catalogues.tick() => factory.refresh_catalogues().await,
        }
        metrics.sources(&factory.standings());
    }
}

/// `response`, with a field that says so if what it lists may not be what its sources have now.
pub fn told(mut response: Response, standings: &[Standing], lists: Lists) -> Response {
    let mut of_these = standings.iter().filter(|standing| standing.lists == lists);
    let Some(failing) = of_these.find(|standing| standing.is_failing) else { return response };
    // How stale it is; without it, nothing was heard since the start.
    let age = failing.age().map(|age| format!("; ttl=-{}", age.as_secs())).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&format!("image-factory; hit{age}; detail=\"source-failing\"")) {
        response.headers_mut().insert(CACHE_STATUS, value);
    }
    response
}
