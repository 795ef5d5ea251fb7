//! Waiting for a condition.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Generous: machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(PATIENCE, condition), "gave up waiting: {what}");
}

/// [`eventually`] for a thread that drives connections meanwhile, and so must not be blocked.
///
/// # Panics
/// As [`eventually`].
pub async fn eventually_async(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() <= PATIENCE, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until `condition` holds, for `time` at most; whether it did.
pub fn within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun.elapsed() > time {
            return false;
        }
        // Asking again at once would take the time from what is waited for.
        std::thread::sleep(Duration::from_millis(10));
    }
}
