//! What a program writes while it runs.

use std::{
    io::Read,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::wait::PATIENCE;

/// Text that grows while a program runs.
#[derive(Clone, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    text: String,
    ended: bool,
}

impl Log {
    /// Collects everything that comes from `source`.
    pub fn of(mut source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let shared = log.shared.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let n = source.read(&mut buffer).unwrap_or(0);
                let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.text.push_str(&String::from_utf8_lossy(&buffer[..n]));
                state.ended = n == 0;
                shared.grown.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        log
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .text
            .clone()
    }

    /// How much there is; [`Log::since`] tells what came after.
    pub fn mark(&self) -> usize {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .text
            .len()
    }

    /// What came after a mark.
    pub fn since(&self, mark: usize) -> String {
        self.text().split_off(mark)
    }

    /// Everything, once the writer has ended.
    ///
    /// # Panics
    /// When it goes on.
    pub fn whole(&self) -> String {
        let state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .shared
            .grown
            .wait_timeout_while(state, PATIENCE, |state| !state.ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(state.ended, "the writer goes on");
        state.text.clone()
    }

    /// Waits for a line after `mark` that holds `needle`; the line. `None` when the writer ended or
    /// `time` passed without it.
    pub fn find(&self, mark: usize, needle: &str, time: Duration) -> Option<String> {
        let deadline = Instant::now() + time;
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            // A line counts once it is whole.
            let whole = state.text.rfind('\n').map_or(0, |end| end + 1).max(mark);
            if let Some(line) = state.text[mark..whole]
                .lines()
                .find(|line| line.contains(needle))
            {
                return Some(line.to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self
                .shared
                .grown
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for a line that holds `needle`; the line.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait(&self, needle: &str) -> String {
        self.wait_since(0, needle)
    }

    /// Waits for a line after `mark` that holds `needle`; the line.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_since(&self, mark: usize, needle: &str) -> String {
        self.find(mark, needle, PATIENCE).unwrap_or_else(|| {
            panic!(
                "no line with {needle:?} came; there is:\n{}",
                self.since(mark)
            );
        })
    }
}
