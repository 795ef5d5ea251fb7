//! Whether upstreams are well, and what keeps requests from those that are not.
//!
//! ```text
//! Breaker     of a path: opened by requests that fail, asked by each before it is sent
//! Health      all of a snapshot, for those who watch: events, metrics, `check`
//! watch       tells what happened, four times a second
//! ```
//!
//! Invariants:
//! - What is asked on a request's way is an atomic that workers share; nobody waits for a lock.
//! - State outlives snapshots: a reload neither closes a breaker nor forgets what it counted.

mod breaker;
mod rolling;
mod watch;

use std::sync::Arc;

use portcullis_apidef::CircuitBreaker;

pub use self::{breaker::Breaker, watch::watch};
use crate::events::Handlers;

/// What of a snapshot is watched.
#[derive(Default)]
pub struct Health {
    /// Its breakers.
    pub breakers: Vec<WatchedBreaker>,
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
    /// What requests may meet, one line each, for people.
    pub fn told(&self) -> Vec<String> {
        self.breakers.iter().map(WatchedBreaker::told).collect()
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
