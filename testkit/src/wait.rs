//! Waiting for something that another process does.

use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Looks every 10 ms until the condition holds; says whether it came to hold in time.
///
/// ```
/// let begin = std::time::Instant::now();
/// let later = || begin.elapsed().as_millis() > 20;
/// assert!(testkit::wait_until(std::time::Duration::from_secs(5), later));
/// ```
pub fn wait_until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "tests look into other processes, which offer no event to wait on"
        )]
        std::thread::sleep(left.min(POLL_INTERVAL));
    }
}
