//! A rate counted in memory: a window of fixed length that begins with the first request.
//!
//! One word holds when the window began and how many requests it has seen, so every worker counts in
//! it without a lock, and no two of them can both take the last place.
//!
//! Invariant: within `per` of a window's first request, at most `most` requests pass.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Bits that count; the others hold the beginning.
const COUNT_BITS: u32 = 30;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// Milliseconds are counted modulo this.
const CYCLE: u64 = 1 << (64 - COUNT_BITS);
/// Windows are no longer than this: about 99 days.
const LONGEST: u64 = CYCLE / 2 - 1;

/// Milliseconds since a clock was started. Never 0, so that an untouched window is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(u64);

/// The clock that windows are measured by: it never goes back.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

/// A window under way, shared by all workers.
#[derive(Debug, Default)]
pub struct Window(AtomicU64);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time.
    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1)
    }
}

impl Millis {
    /// Time since `earlier`, zero when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The number, for a place that holds one.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The time of a number.
    pub fn of(number: u64) -> Self {
        Self(number)
    }
}

impl std::ops::Add<Duration> for Millis {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl Window {
    /// Takes a place in the window of `per` seconds, when fewer than `most` are taken.
    pub fn take(&self, now: Millis, per: f64, most: u64) -> bool {
        let length = length(per);
        let most = most.min(COUNT);
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let next = match taken(seen, now, length) {
                None => first(now),
                Some(count) if count < most => seen + 1,
                Some(_) => return false,
            };
            // Nothing else is published by this word, so no order with other memory is needed.
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return most > 0,
                Err(other) => seen = other,
            }
        }
    }

    /// True when no window of `per` seconds is under way.
    pub fn is_over(&self, now: Millis, per: f64) -> bool {
        taken(self.0.load(Ordering::Relaxed), now, length(per)).is_none()
    }
}

/// How many places are taken; `None` when no window is under way.
fn taken(state: u64, now: Millis, length: u64) -> Option<u64> {
    if state == 0 {
        return None;
    }
    let elapsed = (now.0 % CYCLE).wrapping_sub(state >> COUNT_BITS) % CYCLE;
    // Past the half, another thread's clock reading was ahead of this one.
    let over = elapsed >= length && elapsed < CYCLE / 2;
    (!over).then_some(state & COUNT)
}

fn first(now: Millis) -> u64 {
    ((now.0 % CYCLE) << COUNT_BITS) | 1
}

fn length(per: f64) -> u64 {
    let millis = Duration::try_from_secs_f64(per).map_or(u128::MAX, |span| span.as_millis());
    u64::try_from(millis).unwrap_or(LONGEST).clamp(1, LONGEST)
}

/// How many requests a rate means: at least one gets through in a window.
pub fn whole(requests: f64) -> u64 {
    const MOST: f64 = COUNT as f64;
    if requests.is_nan() {
        return 1;
    }
    // In range, so nothing is cut off but the fraction.
    requests.clamp(1.0, MOST) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Arc, Barrier, atomic::AtomicUsize};

    #[test]
    fn a_window_begins_with_its_first_request_and_starts_anew_after_its_time() {
        let window = Window::default();
        let at = |millis| window.take(Millis(millis), 1.0, 2);
        assert!(at(5_000) && at(5_400));
        assert!(!at(5_400) && !at(5_999));
        assert!(at(6_000) && at(6_999));
        assert!(!at(6_999));
        assert!(at(60_000));
    }

    #[test]
    fn a_clock_reading_a_little_older_than_the_window_belongs_to_it() {
        let window = Window::default();
        assert!(window.take(Millis(5_000), 1.0, 1));
        assert!(!window.take(Millis(4_999), 1.0, 1));
    }

    #[test]
    fn windows_go_on_where_the_milliseconds_wrap() {
        let window = Window::default();
        assert!(window.take(Millis(CYCLE - 1), 1.0, 1));
        assert!(!window.take(Millis(CYCLE + 500), 1.0, 1));
        assert!(window.take(Millis(CYCLE + 999), 1.0, 1));
    }

    #[test]
    fn a_rate_below_one_lets_one_through_and_absurd_ones_are_bounded() {
        for (requests, most) in [(0.2, 1), (1.9, 1), (5.0, 5), (1e30, COUNT), (f64::NAN, 1)] {
            assert_eq!(whole(requests), most);
        }
        assert_eq!(length(1e30), LONGEST);
        assert_eq!(length(0.000_1), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn threads_that_ask_at_once_get_exactly_as_many_places_as_there_are(
            most in 1_usize..200, threads in 2_usize..5, asks in 1_usize..200,
        ) {
            let window = Arc::new(Window::default());
            let passed = Arc::new(AtomicUsize::new(0));
            let start = Arc::new(Barrier::new(threads));
            let running: Vec<_> = (0..threads)
                .map(|_| {
                    let (window, passed, start) = (window.clone(), passed.clone(), start.clone());
                    std::thread::spawn(move || {
                        start.wait();
                        for _ in 0..asks {
                            if window.take(Millis(7), 1.0, most as u64) {
                                passed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            running.into_iter().for_each(|thread| thread.join().expect("a thread"));
            prop_assert_eq!(passed.load(Ordering::Relaxed), most.min(threads * asks));
        }
    }
}
