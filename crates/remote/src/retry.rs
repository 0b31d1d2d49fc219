//! What failed may work a little later: how often it is tried, and how long is waited between.

use std::time::Duration;

use crate::Error;

/// How often something is tried and how long is waited between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Tries in all.
    pub tries: u32,
    /// The first wait; each is twice the one before.
    pub first: Duration,
    /// The longest wait of our own.
    pub longest: Duration,
    /// The longest wait that a registry may ask for with `Retry-After`.
    pub longest_asked: Duration,
}

/// The tries of one request.
pub(crate) struct Retry {
    patience: Patience,
    failed: u32,
}

impl Retry {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, failed: 0 }
    }

    /// Waits until the next try, or gives `error` back when there is none.
    pub(crate) async fn after(&mut self, error: Error) -> Result<(), Error> {
        self.failed += 1;
        if !error.is_transient() || self.failed >= self.patience.tries {
            return Err(error);
        }
        let asked = match &error {
            Error::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        let wait = self.wait(asked, fastrand::f64());
        tracing::debug!(%error, tries = self.failed, wait_ms = wait.as_millis(), "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// There was progress: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failed = 0;
    }

    /// Between half and all of the wait that is due, so that many clients do not come back at once; and not before
    /// the registry wants it.
    fn wait(&self, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.patience.first.saturating_mul(1 << self.failed.saturating_sub(1).min(20));
        let ours = doubled.min(self.patience.longest).mul_f64(f64::midpoint(1.0, chance));
        asked.map_or(ours, |asked| asked.min(self.patience.longest_asked).max(ours))
    }
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(value: &str, now: std::time::SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_do_as_the_registry_asks() {
        let ms = Duration::from_millis;
        let patience = Patience { tries: 9, first: ms(100), longest: ms(1000), longest_asked: ms(5000) };
        let wait = |failed, asked, chance| Retry { patience, failed }.wait(asked, chance);
        assert_eq!(wait(1, None, 1.0), ms(100));
        assert_eq!(wait(1, None, 0.0), ms(50));
        assert_eq!(wait(3, None, 1.0), ms(400));
        assert_eq!(wait(u32::MAX, None, 1.0), ms(1000));
        assert_eq!(wait(1, Some(ms(3000)), 0.5), ms(3000));
        assert_eq!(wait(1, Some(Duration::from_secs(u64::MAX)), 0.5), ms(5000));
        assert_eq!(wait(3, Some(ms(0)), 1.0), ms(400));
    }

    #[test]
    fn a_registry_asks_in_seconds_or_with_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_700);
        assert_eq!(retry_after("121", now), Some(Duration::from_secs(121)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(77)));
        assert_eq!(retry_after("Sun, 06 Nov 1983 08:49:37 GMT", now), Some(Duration::ZERO));
        for hostile in ["", "-1", "soon", "1e9", "99999999999999999999999"] {
            assert_eq!(retry_after(hostile, now), None, "{hostile}");
        }
    }
}
