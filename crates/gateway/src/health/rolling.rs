//! How many requests of the last ten seconds there were, and how many of them failed: counted by many
//! threads, read by any, without a lock.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Seconds that count (the window of Tyk's breakers).
pub const WINDOW: u64 = 10;

/// Counts by second. A place is taken over by the second that comes to it next; a count that is lost at that
/// moment, when two threads disagree about the second, is one of many.
pub struct Rolling {
    all: [Place; WINDOW as usize],
    failed: [Place; WINDOW as usize],
}

/// A second in the upper half, what was counted in it in the lower.
#[derive(Default)]
struct Place(AtomicU64);

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests.
    pub all: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Default for Rolling {
    fn default() -> Self {
        Self {
            all: array::from_fn(|_| Place::default()),
            failed: array::from_fn(|_| Place::default()),
        }
    }
}

impl Rolling {
    /// Counts a request that ended at this time since some beginning.
    pub fn add(&self, now: Duration, failed: bool) {
        let (second, place) = place(now);
        self.all[place].add(second);
        if failed {
            self.failed[place].add(second);
        }
    }

    /// What the last ten seconds brought.
    pub fn sum(&self, now: Duration) -> Counted {
        let (second, _) = place(now);
        let sum = |places: &[Place]| places.iter().map(|place| place.counted(second)).sum();
        Counted {
            all: sum(&self.all),
            failed: sum(&self.failed),
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for place in self.all.iter().chain(&self.failed) {
            place.0.store(0, Relaxed);
        }
    }
}

impl Place {
    fn add(&self, second: u64) {
        let (mut seen, fresh) = (self.0.load(Relaxed), second << 32);
        loop {
            let counted = match seen >> 32 == second {
                true => seen + 1,
                false => fresh + 1,
            };
            match self
                .0
                .compare_exchange_weak(seen, counted, Relaxed, Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn counted(&self, now: u64) -> u64 {
        let value = self.0.load(Relaxed);
        let (second, count) = (value >> 32, value & 0xffff_ffff);
        if second <= now && now - second < WINDOW {
            count
        } else {
            0
        }
    }
}

/// Seconds count from one, so that an empty place is of none that counts.
fn place(now: Duration) -> (u64, usize) {
    let second = now.as_secs() + WINDOW;
    (second, usize::try_from(second % WINDOW).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_is_older_than_the_window_no_longer_counts() {
        let rolling = Rolling::default();
        assert_eq!(rolling.sum(at(0)), Counted::default());
        rolling.add(at(0), true);
        rolling.add(at(500), false);
        rolling.add(at(9_999), true);
        assert_eq!(rolling.sum(at(9_999)), Counted { all: 3, failed: 2 });
        assert_eq!(rolling.sum(at(10_000)), Counted { all: 1, failed: 1 });
        assert_eq!(rolling.sum(at(19_999)), Counted::default());
        rolling.add(at(20_100), false);
        assert_eq!(rolling.sum(at(20_100)), Counted { all: 1, failed: 0 });
        rolling.clear();
        assert_eq!(rolling.sum(at(20_100)), Counted::default());
    }

    #[test]
    fn threads_lose_no_count_of_one_second() {
        let rolling = Arc::new(Rolling::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let rolling = rolling.clone();
                std::thread::spawn(move || {
                    (0..10_000).for_each(|n| rolling.add(at(3_000), n % 2 == 0));
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("it counts"));
        let expected = Counted {
            all: 40_000,
            failed: 20_000,
        };
        assert_eq!(rolling.sum(at(3_000)), expected);
    }
}
