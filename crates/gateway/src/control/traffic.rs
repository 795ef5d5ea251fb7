//! The numbers of `/tyk/health`: how much traffic an API had lately.
//!
//! Counters only grow, so a rate needs an earlier look. Each question leaves one behind; the
//! numbers are those since the oldest look within the window, or since the start.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::observe::ApiTotals;

/// Looks kept for one API.
const LOOKS: u32 = 60;

/// Member names are Tyk's, spelling included.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Traffic {
    /// Nothing limits rates yet, so nothing is refused for it.
    throttle_reqests_per_second: f64,
    /// Nor are there quotas.
    quota_violations_per_second: f64,
    /// Nor keys.
    key_failures_per_second: f64,
    /// Milliseconds.
    average_upstream_latency: f64,
    average_requests_per_second: f64,
}

/// Earlier looks at APIs.
pub(super) struct TrafficWindow {
    window: Duration,
    start: Instant,
    looks: Mutex<HashMap<String, VecDeque<(Instant, ApiTotals)>>>,
}

impl TrafficWindow {
    /// Numbers over this window.
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            start: Instant::now(),
            looks: Mutex::default(),
        }
    }

    /// The traffic of an API whose totals are these at this time.
    pub(super) fn look(&self, api_id: &str, now: Instant, totals: ApiTotals) -> Traffic {
        let mut all = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = all.entry(api_id.to_owned()).or_default();
        // The oldest look that is kept may be a little outside, so that the window is covered.
        while looks
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= self.window)
        {
            looks.pop_front();
        }
        let (since, before) = looks
            .front()
            .copied()
            .unwrap_or((self.start, ApiTotals::default()));
        let due = looks
            .back()
            .is_none_or(|(at, _)| now.duration_since(*at) >= self.window / LOOKS);
        if due {
            looks.push_back((now, totals));
        }
        let requests = totals.requests.saturating_sub(before.requests);
        let micros = totals
            .upstream_micros
            .saturating_sub(before.upstream_micros);
        let seconds = now.duration_since(since).as_secs_f64();
        let ratio = |value: f64, by: f64| if by > 0.0 { value / by } else { 0.0 };
        Traffic {
            throttle_reqests_per_second: 0.0,
            quota_violations_per_second: 0.0,
            key_failures_per_second: 0.0,
            average_upstream_latency: ratio(as_float(micros) / 1_000.0, as_float(requests)),
            average_requests_per_second: ratio(as_float(requests), seconds),
        }
    }
}

/// Exact up to 2^53, which no window reaches.
#[expect(
    clippy::cast_precision_loss,
    reason = "averages are shown, not counted with"
)]
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: u64, upstream_micros: u64) -> ApiTotals {
        ApiTotals {
            requests,
            upstream_micros,
        }
    }

    #[test]
    fn rates_are_those_since_the_oldest_look_in_the_window() {
        let window = TrafficWindow::new(Duration::from_secs(60));
        let at = |seconds| window.start + Duration::from_secs(seconds);
        let first = window.look("a", at(10), totals(100, 200_000));
        assert_eq!(
            (
                first.average_requests_per_second,
                first.average_upstream_latency
            ),
            (10.0, 2.0)
        );
        let second = window.look("a", at(30), totals(140, 200_000 + 40 * 5_000));
        assert_eq!(
            (
                second.average_requests_per_second,
                second.average_upstream_latency
            ),
            (2.0, 5.0)
        );
        // The look at 10 s has left the window, the one at 30 s begins it.
        let third = window.look("a", at(90), totals(200, 400_000));
        assert_eq!(
            (
                third.average_requests_per_second,
                third.average_upstream_latency
            ),
            (1.0, 0.0)
        );
        assert_eq!(
            window
                .look("b", at(90), totals(0, 0))
                .average_upstream_latency,
            0.0
        );
    }

    #[test]
    fn questions_in_quick_succession_leave_few_looks() {
        let window = TrafficWindow::new(Duration::from_secs(60));
        for millis in 0..2_000 {
            window.look(
                "a",
                window.start + Duration::from_millis(millis * 10),
                totals(millis, 0),
            );
        }
        assert!(window.looks.lock().unwrap()["a"].len() <= 21);
    }
}
