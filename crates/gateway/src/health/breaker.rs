//! The circuit breaker of a path: it opens when too many of its requests fail, and then spares the upstream
//! all of them for a while (outbound sheet 7).
//!
//! ```text
//! closed ── enough requests in ten seconds, enough of them failed ──> open
//! open ──── its time is over, or a request let through succeeded ──> closed
//! ```
//!
//! All workers share it, and it outlives every snapshot. Its whole state is atomics: a request reads one
//! of them before it is sent and counts once when it is over.
//!
//! Invariant: of two threads that see the same reason to open or close it, one does.

use std::{
    sync::atomic::{
        AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
    },
    time::{Duration, Instant},
};

use portcullis_apidef::CircuitBreaker;

use super::rolling::Rolling;

/// How long an open breaker waits before it lets one request through to see, where it may.
const PROBE: Duration = Duration::from_millis(500);

/// A breaker at work.
pub struct Breaker {
    /// When its time began.
    epoch: Instant,
    threshold: f64,
    samples: u64,
    cooldown: Duration,
    probes: bool,
    counted: Rolling,
    /// When it opened, in milliseconds and one; 0 while it is closed.
    opened: AtomicU64,
    /// When the next request may be let through, in milliseconds.
    next_probe: AtomicU64,
    trips: AtomicU64,
    resets: AtomicU64,
    /// Trips and resets that were told of. Whoever tells is the only one to write them.
    told: [AtomicU64; 2],
}

/// Why a request may go to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The breaker is closed.
    Closed,
    /// It is open, and this request is let through to see.
    Probe,
}

/// What has happened to a breaker since this was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct News {
    /// How often it opened.
    pub trips: u64,
    /// How often it closed.
    pub resets: u64,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: &CircuitBreaker) -> Self {
        Self {
            epoch: Instant::now(),
            threshold: settings.threshold,
            samples: settings.samples,
            cooldown: settings.cooldown,
            probes: settings.half_open,
            counted: Rolling::default(),
            opened: AtomicU64::new(0),
            next_probe: AtomicU64::new(0),
            trips: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            told: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    /// Whether a request may go to the upstream, and why.
    pub fn admit(&self) -> Option<Pass> {
        // Closed: no look at the clock.
        if self.opened.load(Acquire) == 0 {
            return Some(Pass::Closed);
        }
        self.admit_at(self.epoch.elapsed())
    }

    /// Counts a request that went to the upstream.
    pub fn note(&self, pass: Pass, failed: bool) {
        self.note_at(self.epoch.elapsed(), pass, failed);
    }

    /// Whether it is open; closes it when its time is over.
    pub fn is_open(&self) -> bool {
        self.is_open_at(self.epoch.elapsed())
    }

    /// How often it has opened.
    pub fn trips(&self) -> u64 {
        self.trips.load(Relaxed)
    }

    /// What nobody was told of yet.
    pub fn take_news(&self) -> News {
        let news = |count: &AtomicU64, told: &AtomicU64| {
            let count = count.load(Relaxed);
            count - told.swap(count, Relaxed)
        };
        News {
            trips: news(&self.trips, &self.told[0]),
            resets: news(&self.resets, &self.told[1]),
        }
    }

    fn admit_at(&self, now: Duration) -> Option<Pass> {
        if !self.is_open_at(now) {
            return Some(Pass::Closed);
        }
        let now = millis(now);
        let due = self.next_probe.load(Acquire);
        if !self.probes || now < due {
            return None;
        }
        // Of several the one that moves the time is let through.
        let moved = self
            .next_probe
            .compare_exchange(due, now + millis(PROBE), AcqRel, Relaxed);
        moved.is_ok().then_some(Pass::Probe)
    }

    fn note_at(&self, now: Duration, pass: Pass, failed: bool) {
        if self.is_open_at(now) {
            // What was sent before it opened says nothing about now.
            if pass == Pass::Probe && !failed {
                self.close();
            }
            return;
        }
        self.counted.add(now, failed);
        if !failed {
            return;
        }
        let counted = self.counted.sum(now);
        // Counts far below 2^52, so nothing is lost.
        let enough = counted.failed as f64 >= self.threshold * counted.all as f64;
        if counted.all >= self.samples && enough {
            self.next_probe.store(millis(now + PROBE), Release);
            let opened = self
                .opened
                .compare_exchange(0, millis(now) + 1, AcqRel, Relaxed);
            if opened.is_ok() {
                self.counted.clear();
                self.trips.fetch_add(1, Relaxed);
            }
        }
    }

    fn is_open_at(&self, now: Duration) -> bool {
        let opened = self.opened.load(Acquire);
        if opened == 0 {
            return false;
        }
        if millis(now) + 1 < opened + millis(self.cooldown) {
            return true;
        }
        if self
            .opened
            .compare_exchange(opened, 0, AcqRel, Relaxed)
            .is_ok()
        {
            self.closed();
        }
        false
    }

    fn close(&self) {
        if self.opened.swap(0, AcqRel) != 0 {
            self.closed();
        }
    }

    fn closed(&self) {
        self.counted.clear();
        self.resets.fetch_add(1, Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicUsize};

    use super::{
        Pass::{Closed, Probe},
        *,
    };

    impl Breaker {
        fn admits(&self, now: Duration) -> bool {
            self.admit_at(now).is_some()
        }
    }

    fn breaker(threshold: f64, samples: u64, half_open: bool) -> Breaker {
        Breaker::new(&CircuitBreaker {
            path: "/x".to_owned(),
            method: None,
            threshold,
            samples,
            cooldown: Duration::from_secs(60),
            half_open,
        })
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_when_enough_requests_of_ten_seconds_failed_and_not_before() {
        let breaker = breaker(0.5, 4, false);
        breaker.note_at(at(0), Closed, true);
        breaker.note_at(at(0), Closed, false);
        breaker.note_at(at(1), Closed, true);
        assert!(breaker.admits(at(1)), "three are not enough");
        breaker.note_at(at(1), Closed, false);
        assert!(breaker.admits(at(1)), "a success opens nothing");
        breaker.note_at(at(1), Closed, false);
        breaker.note_at(at(2), Closed, true);
        assert!(!breaker.admits(at(2)), "three of six");
        assert_eq!(
            breaker.take_news(),
            News {
                trips: 1,
                resets: 0
            }
        );

        let breaker = self::breaker(0.5, 4, false);
        for second in [0, 11, 22, 33, 44] {
            breaker.note_at(at(second), Closed, true);
        }
        assert!(breaker.admits(at(44)), "never four at a time");
    }

    #[test]
    fn without_half_open_it_stays_open_for_its_time_and_starts_anew() {
        let breaker = breaker(1.0, 2, false);
        breaker.note_at(at(5), Closed, true);
        breaker.note_at(at(5), Closed, true);
        for second in [5, 6, 30, 64] {
            assert!(!breaker.admits(at(second)), "{second}");
        }
        breaker.note_at(at(6), Closed, false);
        assert!(
            !breaker.admits(at(6)),
            "a late success of before closes nothing"
        );
        assert!(breaker.admits(at(65)));
        breaker.note_at(at(65), Closed, true);
        assert!(breaker.admits(at(65)), "one failure is one");
        assert_eq!(
            breaker.take_news(),
            News {
                trips: 1,
                resets: 1
            }
        );
        assert_eq!(breaker.take_news(), News::default());
        breaker.note_at(at(66), Closed, true);
        assert!(
            !breaker.is_open_at(at(200)),
            "it closes though nobody comes"
        );
        assert_eq!(
            breaker.take_news(),
            News {
                trips: 1,
                resets: 1
            }
        );
    }

    #[test]
    fn half_open_lets_one_request_through_at_a_time_until_one_succeeds() {
        let breaker = breaker(0.0, 1, true);
        breaker.note_at(at(0), Closed, true);
        assert!(!breaker.admits(Duration::from_millis(499)));
        assert_eq!(breaker.admit_at(Duration::from_millis(500)), Some(Probe));
        assert!(
            !breaker.admits(Duration::from_millis(500)),
            "one is under way"
        );
        breaker.note_at(Duration::from_millis(600), Probe, true);
        breaker.note_at(Duration::from_millis(700), Closed, false);
        assert!(
            !breaker.admits(Duration::from_millis(999)),
            "sent before it opened"
        );
        assert!(breaker.admits(Duration::from_millis(1_000)));
        breaker.note_at(Duration::from_millis(1_100), Probe, false);
        assert!(breaker.admits(Duration::from_millis(1_100)));
        assert_eq!(
            breaker.take_news(),
            News {
                trips: 1,
                resets: 1
            }
        );
    }

    #[test]
    fn a_request_let_through_that_tells_nothing_holds_up_the_next_one_no_longer_than_a_failure() {
        let breaker = breaker(0.0, 1, true);
        breaker.note_at(at(0), Closed, true);
        assert_eq!(breaker.admit_at(at(1)), Some(Probe));
        // Nothing is said of that one.
        assert!(!breaker.admits(Duration::from_millis(1_499)));
        assert_eq!(breaker.admit_at(Duration::from_millis(1_500)), Some(Probe));
        breaker.note_at(at(2), Probe, false);
        assert_eq!(breaker.admit_at(at(2)), Some(Closed));
    }

    #[test]
    fn many_threads_open_it_once_and_one_of_them_is_let_through() {
        let breaker = Arc::new(breaker(0.5, 100, true));
        let through = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (breaker, through) = (breaker.clone(), through.clone());
                std::thread::spawn(move || {
                    (0..1_000).for_each(|_| breaker.note_at(at(1), Closed, true));
                    for _ in 0..1_000 {
                        if breaker.admits(at(2)) {
                            through.fetch_add(1, Relaxed);
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("it counts"));
        assert_eq!(
            breaker.take_news(),
            News {
                trips: 1,
                resets: 0
            }
        );
        assert_eq!(through.load(Relaxed), 1);
    }
}
