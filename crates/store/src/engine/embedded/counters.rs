//! Counters that are at work: counted in memory, written behind.
//!
//! A limit is counted on every request, and no disk flushes that often. So a counter is read from the
//! file once, counted here, and written to the file by the writer within a second.
//!
//! Invariants:
//! - While a counter is here, this is its value; the file's is older.
//! - A counter that a transaction replaces or removes is `leaving` until that has succeeded or failed:
//!   it can be read, and is not counted, so no count falls between the two.
//! - What is `unwritten` is forgotten only once it has expired.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::clock::{is_over, left};
use crate::{Count, Lifetime, StoreError};

/// A counter that nobody counted on for so long is left to the file.
const IDLE: u64 = 60_000;

/// How many counters may be at work: some 150 bytes each.
const MOST: usize = 1_000_000;

/// The counters that are at work.
#[derive(Default)]
pub(super) struct Counters(Mutex<HashMap<String, Counter>>);

#[derive(Debug, Clone, Copy)]
struct Counter {
    value: i64,
    expires: u64,
    unwritten: bool,
    leaving: bool,
    used: u64,
}

/// What is known here about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Its value and expiry.
    Value(i64, u64),
    /// It has expired, whatever the file says.
    Expired,
    /// Nothing; the file knows.
    Nothing,
}

impl Counters {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Counter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known about an entry.
    pub(super) fn known(&self, key: &str, now: u64) -> Known {
        match self.lock().get(key) {
            None => Known::Nothing,
            Some(counter) if is_over(counter.expires, now) => Known::Expired,
            Some(counter) => Known::Value(counter.value, counter.expires),
        }
    }

    /// What is known about several entries; `None` when that is nothing about any.
    pub(super) fn known_of(&self, keys: &[String], now: u64) -> Option<Vec<Known>> {
        let counters = self.lock();
        if counters.is_empty() {
            return None;
        }
        drop(counters);
        Some(keys.iter().map(|key| self.known(key, now)).collect())
    }

    /// The names that begin with a prefix; whether each has not expired.
    pub(super) fn names(&self, prefix: &str, now: u64) -> Vec<(String, bool)> {
        let counters = self.lock();
        let named = counters.iter().filter(|(name, _)| name.starts_with(prefix));
        named
            .map(|(name, counter)| (name.clone(), !is_over(counter.expires, now)))
            .collect()
    }

    /// Counts; `None` when the counter is not here, or is leaving.
    pub(super) fn count(
        &self,
        key: &str,
        by: i64,
        window: Option<Duration>,
        now: u64,
        end: impl FnOnce(Lifetime) -> u64,
    ) -> Option<Result<Count, StoreError>> {
        let mut counters = self.lock();
        let counter = counters.get_mut(key).filter(|counter| !counter.leaving)?;
        if is_over(counter.expires, now) {
            counter.value = 0;
            counter.expires = end(window.map_or(Lifetime::Forever, Lifetime::For));
        }
        let Some(value) = counter.value.checked_add(by) else {
            return Some(Err(StoreError::entry(key, "has no room for that increase")));
        };
        (counter.value, counter.unwritten, counter.used) = (value, true, now);
        let renews_in = left(counter.expires, now);
        Some(Ok(Count { value, renews_in }))
    }

    /// Takes in a counter as the file has it; whether there was room.
    pub(super) fn take_in(&self, key: &str, value: i64, expires: u64, now: u64) -> bool {
        let mut counters = self.lock();
        if counters.len() >= MOST {
            return false;
        }
        counters.entry(key.to_owned()).or_insert(Counter {
            value,
            expires,
            unwritten: false,
            leaving: false,
            used: now,
        });
        true
    }

    /// Marks a counter that a transaction is about to replace; its value and expiry, when there was one
    /// and it was not marked yet.
    pub(super) fn leave(&self, key: &str) -> Option<(i64, u64)> {
        let mut counters = self.lock();
        let counter = counters.get_mut(key).filter(|counter| !counter.leaving)?;
        counter.leaving = true;
        Some((counter.value, counter.expires))
    }

    /// Ends what [`leave`](Self::leave) began: gone for good, or back at work.
    pub(super) fn left(&self, keys: Vec<String>, for_good: bool) {
        let mut counters = self.lock();
        for key in keys {
            if for_good {
                counters.remove(&key);
            } else if let Some(counter) = counters.get_mut(&key) {
                counter.leaving = false;
            }
        }
    }

    /// Up to `limit` counters that the file does not have yet; they count as written from here on.
    pub(super) fn to_write(&self, limit: usize, now: u64) -> Vec<(String, i64, u64)> {
        let mut counters = self.lock();
        let unwritten = counters
            .iter_mut()
            .filter(|(_, counter)| counter.unwritten && !is_over(counter.expires, now));
        unwritten
            .take(limit)
            .map(|(name, counter)| {
                counter.unwritten = false;
                (name.clone(), counter.value, counter.expires)
            })
            .collect()
    }

    /// Takes back that these were written.
    pub(super) fn not_written(&self, keys: impl IntoIterator<Item = String>) {
        let mut counters = self.lock();
        for key in keys {
            if let Some(counter) = counters.get_mut(&key) {
                counter.unwritten = true;
            }
        }
    }

    /// Forgets what has expired, and what nobody counts on and the file has.
    pub(super) fn tidy(&self, now: u64) {
        self.lock().retain(|_, counter| {
            let idle = !counter.unwritten && now.saturating_sub(counter.used) > IDLE;
            counter.leaving || !(idle || is_over(counter.expires, now))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(counters: &Counters, now: u64) -> Option<i64> {
        let window = Some(Duration::from_millis(100));
        counters
            .count("n", 1, window, now, |_| now + 100)
            .map(|count| count.unwrap().value)
    }

    #[test]
    fn a_counter_is_counted_here_once_it_was_taken_in() {
        let counters = Counters::default();
        assert_eq!(add(&counters, 1_000), None);
        assert!(counters.take_in("n", 41, 1_050, 1_000));
        assert!(counters.to_write(9, 1_000).is_empty());
        assert_eq!(add(&counters, 1_000), Some(42));
        // Taken in twice: what is here stays.
        counters.take_in("n", 7, 2_000, 1_000);
        assert_eq!(counters.known("n", 1_049), Known::Value(42, 1_050));
        assert_eq!(counters.known("n", 1_050), Known::Expired);
        assert_eq!(counters.known("m", 1_050), Known::Nothing);
        assert_eq!(add(&counters, 1_060), Some(1));
        assert_eq!(counters.known("n", 1_060), Known::Value(1, 1_160));
    }

    #[test]
    fn what_is_counted_is_written_until_that_succeeds() {
        let counters = Counters::default();
        counters.take_in("n", 0, 5_000, 1_000);
        add(&counters, 1_000);
        let written = counters.to_write(9, 1_001);
        assert_eq!(written, [("n".to_owned(), 1, 5_000)]);
        assert!(counters.to_write(9, 1_001).is_empty());
        counters.not_written(["n".to_owned()]);
        assert_eq!(counters.to_write(9, 1_001).len(), 1);
        counters.not_written(["n".to_owned()]);
        // Neither idleness nor a full minute loses it; its expiry does.
        counters.tidy(4_999);
        assert!(matches!(counters.known("n", 4_999), Known::Value(..)));
        counters.tidy(5_000);
        assert_eq!(counters.known("n", 5_000), Known::Nothing);
    }

    #[test]
    fn an_idle_counter_is_left_to_the_file() {
        let counters = Counters::default();
        counters.take_in("n", 3, 0, 1_000);
        counters.tidy(1_000 + IDLE);
        assert_eq!(counters.known("n", 0), Known::Value(3, 0));
        counters.tidy(1_001 + IDLE);
        assert_eq!(counters.known("n", 0), Known::Nothing);
    }

    #[test]
    fn a_counter_that_leaves_is_read_and_not_counted() {
        let counters = Counters::default();
        counters.take_in("n", 3, 0, 1_000);
        assert_eq!(counters.leave("n"), Some((3, 0)));
        assert_eq!(counters.leave("n"), None);
        assert_eq!(add(&counters, 1_000), None);
        assert_eq!(counters.known("n", 1_000), Known::Value(3, 0));
        counters.left(vec!["n".to_owned()], false);
        assert_eq!(add(&counters, 1_000), Some(4));
        counters.leave("n");
        counters.left(vec!["n".to_owned()], true);
        assert_eq!(counters.known("n", 1_000), Known::Nothing);
    }
}
