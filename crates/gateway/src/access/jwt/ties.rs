//! Which sessions in use hang on what: on the key they have in the store, on a certificate, on a key set.
//! When that changes, they are used no more and their tokens are verified anew.
//!
//! Control side only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::access::live::LiveSession;

/// Ties after which those of sessions that are gone are looked for, at least.
const SWEEP_FROM: usize = 4096;

/// What a session hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tie {
    /// A key, by a name that a change of it may be told under.
    Key(String),
    /// A certificate of the store, by its id.
    Certificate(String),
    /// The key set of a URL.
    KeySet(String),
}

/// Sessions by what they hang on.
#[derive(Default)]
pub struct Ties(Mutex<Table>);

#[derive(Default)]
struct Table {
    sessions: HashMap<Tie, Vec<Weak<LiveSession>>>,
    count: usize,
    sweep_at: usize,
}

impl Ties {
    /// A session hangs on these from now on.
    pub fn tie(&self, session: &Arc<LiveSession>, ties: impl IntoIterator<Item = Tie>) {
        let mut table = self.table();
        if table.count >= table.sweep_at.max(SWEEP_FROM) {
            table.sweep();
        }
        for tie in ties {
            table.count += 1;
            table
                .sessions
                .entry(tie)
                .or_default()
                .push(Arc::downgrade(session));
        }
    }

    /// What hangs on this is used no more.
    pub fn cut(&self, tie: &Tie) {
        let cut = self.table().sessions.remove(tie);
        for session in cut.iter().flatten().filter_map(Weak::upgrade) {
            session.mark_stale();
        }
    }

    /// Nothing is used any more.
    pub fn cut_all(&self) {
        let table = std::mem::take(&mut *self.table());
        let sessions = table.sessions.values().flatten();
        for session in sessions.filter_map(Weak::upgrade) {
            session.mark_stale();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change leaves the table usable at each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn sweep(&mut self) {
        self.sessions.retain(|_, sessions| {
            sessions.retain(|session| session.strong_count() > 0);
            !sessions.is_empty()
        });
        self.count = self.sessions.values().map(Vec::len).sum();
        self.sweep_at = 2 * self.count;
    }
}
