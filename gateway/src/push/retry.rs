//! When somebody who is lost is tried again, as with sources. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use contract::spec::{Backoff, RetrySpec};

/// The wait is longer by up to a fifth, so that not all come back at once.
const JITTER_PART: u32 = 5;

/// The wait after the `failures`-th failure in a row, which is 1 or more; `who` sets it off from others.
pub(super) fn wait(retry: &RetrySpec, failures: u32, who: &str) -> Duration {
    let interval = Duration::from_millis(retry.interval_ms);
    let wait = match retry.backoff {
        Backoff::Fixed => interval,
        Backoff::Exponential => {
            let doublings = failures.saturating_sub(1).min(16);
            let longest = Duration::from_millis(retry.max_interval_ms).max(interval);
            interval.saturating_mul(1 << doublings).min(longest)
        }
    };
    let mut hasher = DefaultHasher::new();
    (who, failures).hash(&mut hasher);
    let random = f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX);
    wait + (wait / JITTER_PART).mul_f64(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_minute() {
        let mut retry = RetrySpec {
            attempts: None,
            interval_ms: 5000,
            backoff: Backoff::Exponential,
            max_interval_ms: 60_000,
        };
        for (failures, seconds) in [(1, 5), (2, 10), (4, 40), (5, 60), (1000, 60)] {
            let least = Duration::from_secs(seconds);
            let wait = wait(&retry, failures, "a");
            assert!(
                (least..=least * 6 / 5).contains(&wait),
                "{failures}: {wait:?}"
            );
        }
        retry.backoff = Backoff::Fixed;
        assert!(wait(&retry, 1000, "a") <= Duration::from_secs(6));
        assert_ne!(wait(&retry, 1, "a"), wait(&retry, 1, "b"));
    }
}
