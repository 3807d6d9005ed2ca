//! When somebody who is lost is tried again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Each wait is longer by up to one part in so many, so that the cameras of a recorder that was
/// restarted do not all come back in the same moment.
const JITTER_PART: u32 = 5;
/// The wait doubles so often at most: beyond that no number of milliseconds would hold it.
const DOUBLINGS_MAX: u32 = 16;

/// When and how often somebody who is lost is tried again: a source, or one to whom is pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetrySpec {
    /// Consecutive failures before it is given up; `None`: never.
    pub attempts: Option<u32>,
    /// Wait before the first retry, in milliseconds.
    pub interval_ms: u64,
    /// How the wait grows.
    pub backoff: Backoff,
    /// How far it grows; and the wait after each refusal, so that no account is locked by
    /// passwords that are tried too often.
    pub max_interval_ms: u64,
}

/// How the wait between retries grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// It does not.
    Fixed,
    /// It doubles each time, up to `max_interval_ms`.
    Exponential,
}

impl RetrySpec {
    /// The wait after the `failures`-th failure in a row, which is 1 or more; `who` sets it off
    /// from the waits of others.
    #[must_use]
    pub fn wait(&self, failures: u32, who: &str) -> Duration {
        let interval = Duration::from_millis(self.interval_ms);
        let wait = match self.backoff {
            Backoff::Fixed => interval,
            Backoff::Exponential => {
                let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
                interval.saturating_mul(1 << doublings).min(self.longest())
            }
        };
        jittered(wait, failures, who)
    }

    /// The wait after a refusal.
    #[must_use]
    pub fn wait_refused(&self, failures: u32, who: &str) -> Duration {
        jittered(self.longest(), failures, who)
    }

    fn longest(&self) -> Duration {
        Duration::from_millis(self.max_interval_ms.max(self.interval_ms))
    }
}

fn jittered(wait: Duration, failures: u32, who: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    (who, failures).hash(&mut hasher);
    let random = f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX);
    wait + (wait / JITTER_PART).mul_f64(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_minute_and_is_another_for_each() {
        let mut retry = RetrySpec {
            attempts: None,
            interval_ms: 5000,
            backoff: Backoff::Exponential,
            max_interval_ms: 60_000,
        };
        let is_about = |wait: Duration, seconds: u64| {
            let least = Duration::from_secs(seconds);
            (least..=least * 6 / 5).contains(&wait)
        };
        for (failures, seconds) in [(1, 5), (2, 10), (4, 40), (5, 60), (1000, 60)] {
            let wait = retry.wait(failures, "a");
            assert!(is_about(wait, seconds), "{failures}: {wait:?}");
        }
        assert!(is_about(retry.wait_refused(1, "a"), 60));
        retry.backoff = Backoff::Fixed;
        assert!(is_about(retry.wait(1000, "a"), 5));
        assert_ne!(retry.wait(1, "a"), retry.wait(1, "b"));
        // The longest that can be written does not overflow.
        retry.backoff = Backoff::Exponential;
        retry.interval_ms = u64::MAX;
        assert!(retry.wait(1000, "a") >= Duration::from_millis(u64::MAX));
    }
}
