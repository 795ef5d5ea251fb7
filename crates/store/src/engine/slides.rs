//! Sliding windows in memory, for the engine that has one process: a restart begins anew.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::Slide;

/// Windows that are empty are looked for when there are this many more than the last time.
const SWEEP: usize = 1024;

/// Windows by name.
#[derive(Default)]
pub(super) struct Slides(Mutex<Windows>);

#[derive(Default)]
struct Windows {
    by_name: HashMap<String, Window>,
    swept: usize,
}

struct Window {
    per: Duration,
    requests: VecDeque<SystemTime>,
}

impl Slides {
    pub(super) fn slide(&self, key: &str, now: SystemTime, per: Duration, most: u64) -> Slide {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.by_name.len() > windows.swept + SWEEP {
            windows.by_name.retain(|_, window| window.forget(now));
            windows.swept = windows.by_name.len();
        }
        let window = windows
            .by_name
            .entry(key.to_owned())
            .or_insert_with(|| Window {
                per,
                requests: VecDeque::new(),
            });
        window.per = per;
        window.forget(now);
        let allowed = (window.requests.len() as u64) < most;
        if allowed {
            window.requests.push_back(now);
        }
        Slide {
            allowed,
            in_window: window.requests.len() as u64,
        }
    }
}

impl Window {
    /// Drops what has left the window; whether anything is in it.
    fn forget(&mut self, now: SystemTime) -> bool {
        while let Some(first) = self.requests.front()
            && first
                .checked_add(self.per)
                .is_some_and(|leaves| leaves <= now)
        {
            self.requests.pop_front();
        }
        !self.requests.is_empty()
    }
}
