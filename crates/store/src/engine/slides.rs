//! Sliding windows in memory, for the engine that has one process: a restart begins anew.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::{Slide, Window};

/// Windows that are empty are looked for when there are this many more than the last time.
const SWEEP: usize = 1024;

/// The name of the marker that a window is used up.
pub(crate) fn marker_of(window: &str) -> String {
    format!("{window}{MARKER}")
}

const MARKER: &str = ".BLOCKED";

/// Windows by name.
#[derive(Default)]
pub(super) struct Slides(Mutex<Windows>);

#[derive(Default)]
struct Windows {
    by_name: HashMap<String, Log>,
    swept: usize,
}

struct Log {
    per: Duration,
    requests: VecDeque<SystemTime>,
    blocked_until: Option<SystemTime>,
}

impl Slides {
    pub(super) fn slide(&self, key: &str, now: SystemTime, window: Window) -> Slide {
        let Window { per, most, blocks } = window;
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.by_name.len() > windows.swept + SWEEP {
            windows.by_name.retain(|_, log| log.forget(now));
            windows.swept = windows.by_name.len();
        }
        let log = windows
            .by_name
            .entry(key.to_owned())
            .or_insert_with(|| Log {
                per,
                requests: VecDeque::new(),
                blocked_until: None,
            });
        log.per = per;
        log.forget(now);
        let within = log.requests.len() as u64;
        let allowed = within < most && !(blocks && log.blocked_until.is_some());
        if allowed {
            log.requests.push_back(now);
            if blocks && within + 1 >= most {
                log.blocked_until = now.checked_add(per);
            }
        }
        Slide {
            allowed,
            in_window: log.requests.len() as u64,
        }
    }

    /// Takes away the markers among entries that are removed; how many there were.
    pub(super) fn unmark(&self, keys: &[String], now: SystemTime) -> u64 {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unmarked = 0;
        for window in keys.iter().filter_map(|key| key.strip_suffix(MARKER)) {
            if let Some(log) = windows.by_name.get_mut(window) {
                log.forget(now);
                unmarked += u64::from(log.blocked_until.take().is_some());
            }
        }
        unmarked
    }
}

impl Log {
    /// Drops what has left the window and a marker whose time is over; whether anything is left.
    fn forget(&mut self, now: SystemTime) -> bool {
        while let Some(first) = self.requests.front()
            && first
                .checked_add(self.per)
                .is_some_and(|leaves| leaves <= now)
        {
            self.requests.pop_front();
        }
        self.blocked_until = self.blocked_until.filter(|until| *until > now);
        !self.requests.is_empty() || self.blocked_until.is_some()
    }
}
