//! Hosts of upstreams and the tests that say whether they are up.
//!
//! Invariant: a host is down while one of its tests is; a host that nobody tests is up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use portcullis_apidef::UptimeTest;
use tokio::{sync::Mutex, time::Instant};

use crate::{events::Handlers, proxy::pool::Endpoint};

/// Host and port, shared by all APIs that name them. Workers ask, the control side says.
pub struct Host {
    /// As logs and metrics call it.
    pub name: String,
    down: AtomicBool,
}

impl Host {
    /// One that nobody has tested.
    pub fn new(name: String) -> Self {
        Self {
            name,
            down: AtomicBool::new(false),
        }
    }

    /// Its tests fail.
    pub fn is_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    /// Says whether its tests fail.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Relaxed);
    }
}

/// A test of an API.
pub struct Test {
    /// The API.
    pub api_id: String,
    /// What is asked.
    pub asked: UptimeTest,
    /// Whom it is about.
    pub host: Arc<Host>,
    /// Where a raw connection leads, and how TLS is spoken on it: with the API's settings.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Who is told of it.
    pub handlers: Arc<Handlers>,
    /// What came of it so far.
    pub state: Arc<TestState>,
}

/// What came of a test so far. It outlives snapshots.
#[derive(Default)]
pub struct TestState {
    /// Results in a row that speak against what it says.
    against: AtomicU32,
    down: AtomicBool,
    /// When it is run next; held by whoever runs it.
    pub due: Mutex<Option<Instant>>,
}

/// What a result changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The test fails now.
    Down,
    /// It no longer does.
    Up,
}

impl TestState {
    /// It fails.
    pub fn is_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    /// Notes a result; so many in a row change what it says. One at a time calls this.
    pub fn note(&self, good: bool, in_a_row: u32) -> Option<Change> {
        if good != self.is_down() {
            self.against.store(0, Relaxed);
            return None;
        }
        let against = self.against.fetch_add(1, Relaxed) + 1;
        if against < in_a_row {
            return None;
        }
        self.against.store(0, Relaxed);
        self.down.store(!good, Relaxed);
        Some(if good { Change::Up } else { Change::Down })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_in_a_row_change_what_a_test_says() {
        let state = TestState::default();
        let note = |good| state.note(good, 3);
        for good in [true, false, false, true, false, false] {
            assert_eq!(note(good), None);
        }
        assert!(!state.is_down());
        assert_eq!(note(false), Some(Change::Down));
        for good in [false, true, true, false, true, true] {
            assert_eq!(note(good), None);
            assert!(state.is_down());
        }
        assert_eq!(note(true), Some(Change::Up));
        assert!(!state.is_down());
        let once = TestState::default();
        assert_eq!(once.note(false, 1), Some(Change::Down));
        assert_eq!(once.note(true, 1), Some(Change::Up));
    }
}
