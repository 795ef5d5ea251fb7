//! The time that expiries are compared with.
//!
//! Invariant: it never goes back while the process runs, so what has expired stays expired, and it
//! goes on at the pace of the monotonic clock when the system's time is set back.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::super::Lifetime;

/// An expiry that never comes.
pub(super) const NEVER: u64 = 0;

/// Unix milliseconds that only grow.
pub(super) struct Clock {
    /// A moment and the time it was then.
    anchor: Mutex<(Instant, u64)>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            anchor: Mutex::new((Instant::now(), system())),
        }
    }

    /// Now.
    pub(super) fn now(&self) -> u64 {
        self.at(Instant::now(), system())
    }

    fn at(&self, moment: Instant, system: u64) -> u64 {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = millis(moment.saturating_duration_since(anchor.0));
        let counted = anchor.1.saturating_add(passed);
        if system > counted {
            *anchor = (moment, system);
        }
        system.max(counted)
    }

    /// When something that begins now ends.
    pub(super) fn end(&self, lifetime: Lifetime) -> u64 {
        match lifetime {
            Lifetime::Forever => NEVER,
            Lifetime::For(time) => self.now().saturating_add(millis(time).max(1)),
        }
    }
}

/// True once this expiry has come.
pub(super) fn is_over(expires: u64, now: u64) -> bool {
    expires != NEVER && expires <= now
}

/// Time until an expiry; `None` when it never comes.
pub(super) fn left(expires: u64, now: u64) -> Option<Duration> {
    (expires != NEVER).then(|| Duration::from_millis(expires.saturating_sub(now)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn system() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_though_the_system_is_set_back() {
        let clock = Clock::new();
        let begun = Instant::now();
        let base = clock.at(begun, 10_000_000_000_000);
        let later = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(clock.at(later(1), base - 3_600_000), base + 1_000);
        assert_eq!(clock.at(later(2), base - 3_600_000), base + 2_000);
        // Set forward, or right again: that is the time.
        assert_eq!(clock.at(later(3), base + 9_000), base + 9_000);
        assert_eq!(clock.at(later(4), base + 4_000), base + 10_000);
    }

    #[test]
    fn a_lifetime_has_an_end_and_no_lifetime_has_none() {
        let clock = Clock::new();
        let now = clock.now();
        assert_eq!(clock.end(Lifetime::Forever), NEVER);
        assert!(!is_over(NEVER, u64::MAX));
        let end = clock.end(Lifetime::For(Duration::from_secs(60)));
        assert!((now + 60_000..now + 70_000).contains(&end));
        assert!(is_over(end, end) && !is_over(end, end - 1));
        assert_eq!(left(NEVER, now), None);
        assert_eq!(left(now + 5, now), Some(Duration::from_millis(5)));
        assert_eq!(left(now, now + 5), Some(Duration::ZERO));
    }
}
