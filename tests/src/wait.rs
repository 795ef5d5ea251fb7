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
