//! Whether upstreams are well, and what keeps requests from those that are not.
//!
//! ```text
//! Breaker     of a path: opened by requests that fail, asked by each before it is sent
//! Host        of an upstream: down while a test of it fails, passed over then
//! tester      runs the tests (run)
//! ruling      says of hosts what the tests in force say
//! Health      all of a snapshot, for those who watch: events, metrics, `check`
//! watch       tells what happened to breakers, and hands new tests to the tester
//! ```
//!
//! Invariants:
//! - What is asked on a request's way is an atomic that workers share; nobody waits for a lock.
//! - State outlives snapshots: a reload neither closes a breaker nor forgets what it counted, nor how a host is.

mod breaker;
#[cfg(test)]
pub mod doubles;
mod host;
mod rolling;
mod ruling;
mod run;
mod tester;
mod watch;

use std::sync::Arc;

use portcullis_apidef::CircuitBreaker;
use portcullis_config::UptimeTests;

pub use self::{
    breaker::Breaker,
    host::{Change, Host, Test, TestState},
    run::Report,
    tester::Tester,
    watch::watch,
};
use crate::events::Handlers;

/// What of a snapshot is watched.
#[derive(Default)]
pub struct Health {
    /// Its breakers.
    pub breakers: Vec<WatchedBreaker>,
    /// Its tests.
    pub tests: Vec<Arc<Test>>,
    /// Hosts that are tested or whose state matters, each once.
    pub hosts: Vec<Arc<Host>>,
    /// APIs that pass over targets, and how many those have.
    pub balanced: Vec<(String, usize)>,
}

/// A breaker and whose it is.
pub struct WatchedBreaker {
    /// The API.
    pub api_id: String,
    /// What it was made of.
    pub settings: CircuitBreaker,
    /// At work.
    pub breaker: Arc<Breaker>,
    /// Who is told of it.
    pub handlers: Arc<Handlers>,
}

impl Health {
    /// Says of a host what its tests say; one at a time.
    fn recount(&self, host: &Arc<Host>) {
        let mut tests = self.tests.iter();
        let down = tests.any(|test| Arc::ptr_eq(&test.host, host) && test.state.is_down());
        host.set_down(down);
    }

    /// What requests may meet, one line each, for people.
    pub fn told(&self, settings: &UptimeTests) -> Vec<String> {
        let mut lines: Vec<String> = self.breakers.iter().map(WatchedBreaker::told).collect();
        for test in &self.tests {
            let (api_id, url, host) = (&test.api_id, test.asked.url(), &test.host.name);
            lines.push(match settings.disabled {
                true => format!("{api_id}: uptime test {url} is not run (uptime_tests.disable)"),
                false => format!(
                    "{api_id}: uptime test {url} every {} s; {host} is down after {} failures in a row",
                    settings.every.as_secs_f32(),
                    settings.in_a_row
                ),
            });
        }
        for (api_id, targets) in &self.balanced {
            lines.push(format!(
                "{api_id}: of {targets} shares of traffic those whose host is down are passed over"
            ));
        }
        lines
    }
}

impl WatchedBreaker {
    /// What metrics call it.
    pub fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("tyk_api_id", &self.api_id),
            ("path", &self.settings.path),
            ("method", self.settings.method.as_deref().unwrap_or("")),
        ]
    }

    fn told(&self) -> String {
        let CircuitBreaker {
            path,
            method,
            threshold,
            samples,
            cooldown,
            half_open,
        } = &self.settings;
        let method = method.as_deref().unwrap_or("any method");
        let probes = match half_open {
            true => ", single requests let through meanwhile",
            false => "",
        };
        format!(
            "{}: circuit breaker for {method} {path}: opens for {} s when {:.0} % of at least {samples} requests in \
             10 s fail{probes}",
            self.api_id,
            cooldown.as_secs(),
            threshold * 100.0,
        )
    }
}
