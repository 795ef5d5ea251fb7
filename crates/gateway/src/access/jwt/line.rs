//! The line before one issuer of tokens: how many questions it is asked at once, how long others wait for their
//! turn, and when it is left in peace.
//!
//! Invariants:
//! - Every verifier has a line of its own, which goes when it goes: an issuer that is silent holds up nobody
//!   else's tokens.
//! - Nobody waits longer than [`PATIENCE`], and nobody asks within [`PAUSE`] of a question that found the issuer
//!   away.
//! - One thing is told once in [`PAUSE`], however many tokens are made up meanwhile.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Most questions that one issuer is asked at once.
const AT_ONCE: usize = 16;

/// How long a question waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an issuer that is away is not asked.
const PAUSE: Duration = Duration::from_secs(1);

/// The line before one issuer.
pub struct Line {
    places: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When it was found to be away.
    away: Option<Instant>,
    /// What was told of it a moment ago.
    told: Vec<(Instant, String)>,
}

/// Why an issuer is not asked now.
#[derive(Debug, PartialEq, Eq)]
pub enum Barred {
    /// It was away a moment ago; that was told then.
    Away,
    /// Too many questions to it are open.
    Full,
}

impl Line {
    /// Nobody waits in it.
    pub fn new() -> Self {
        Self {
            places: Semaphore::new(AT_ONCE),
            state: Mutex::default(),
        }
    }

    /// Waits for a turn, which lasts as long as the value.
    ///
    /// # Errors
    /// [`Barred`].
    pub async fn turn(&self) -> Result<SemaphorePermit<'_>, Barred> {
        if self.is_barred(Instant::now()) {
            return Err(Barred::Away);
        }
        let turn = tokio::time::timeout(PATIENCE, self.places.acquire()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Barred::Full);
        };
        // Whoever was before may have found it away.
        match self.is_barred(Instant::now()) {
            true => Err(Barred::Away),
            false => Ok(turn),
        }
    }

    /// The issuer was found to be away.
    pub fn was_away(&self, now: Instant) {
        self.state().away = Some(now);
    }

    /// Whether what is wrong is to be told: it was not a moment ago.
    pub fn is_news(&self, why: &str, now: Instant) -> bool {
        let mut state = self.state();
        state.told.retain(|(at, _)| is_within_pause(*at, now));
        let is_new = state.told.iter().all(|(_, told)| told != why);
        if is_new {
            state.told.push((now, why.to_owned()));
        }
        is_new
    }

    fn is_barred(&self, now: Instant) -> bool {
        self.state().away.is_some_and(|at| is_within_pause(at, now))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_within_pause(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < PAUSE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_issuer_that_was_away_is_left_in_peace_and_told_of_once() {
        let line = Line::new();
        assert!(line.turn().await.is_ok());
        let now = Instant::now();
        // So that it is over for no machine, however slow.
        line.was_away(now + Duration::from_secs(600));
        assert_eq!(line.turn().await.err(), Some(Barred::Away));
        line.was_away(now);
        assert!(line.is_barred(now + PAUSE / 2) && !line.is_barred(now + PAUSE));
        assert!(line.is_news("it answers 503", now));
        assert!(!line.is_news("it answers 503", now + PAUSE / 2));
        assert!(line.is_news("it answers 401", now + PAUSE / 2));
        assert!(!line.is_news("it answers 503", now + PAUSE / 2));
        assert!(!line.is_news("it answers 401", now + PAUSE));
        assert!(line.is_news("it answers 503", now + PAUSE));
    }

    #[tokio::test]
    async fn whoever_waits_learns_that_the_one_before_found_it_away() {
        let line = std::sync::Arc::new(Line::new());
        let mut turns = Vec::new();
        for _ in 0..AT_ONCE {
            turns.push(line.turn().await.expect("a place"));
        }
        let waiting = tokio::spawn({
            let line = line.clone();
            async move { line.turn().await.err() }
        });
        tokio::task::yield_now().await;
        line.was_away(Instant::now() + Duration::from_secs(600));
        turns.clear();
        assert_eq!(waiting.await.expect("it ends well"), Some(Barred::Away));
    }
}
