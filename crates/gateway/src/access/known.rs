//! Sessions in use, for all workers of this node, and the windows their rates are counted in.
//!
//! A worker that needs a session another worker has just read gets that one, and a key that changes is
//! marked in one place. Control side only: a worker keeps what it was given.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    live::LiveSession,
    window::{Millis, Window},
};

/// Entries after which those of no use are looked for, at least.
const SWEEP_FROM: usize = 4096;

/// Sessions in use.
#[derive(Default)]
pub struct KnownSessions(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    /// By what follows `apikey-`.
    by_name: HashMap<String, Named>,
    /// Other names of the same: tokens and what was presented, with the organisation.
    aliases: HashMap<String, String>,
    windows: HashMap<String, (Arc<Window>, f64)>,
    sweep_at: usize,
    windows_sweep_at: usize,
}

/// What a session is known by.
pub struct Names<'n> {
    /// What follows `apikey-`.
    pub name: &'n str,
    /// The organisation it was asked for in.
    pub org: &'n str,
    /// What was presented.
    pub presented: &'n str,
    /// Names that a change of it may be told under.
    pub others: [String; 4],
}

struct Named {
    session: Arc<LiveSession>,
    aliases: Vec<String>,
}

impl KnownSessions {
    /// The session that was found for a token before.
    pub fn find(&self, org: &str, presented: &str) -> Option<Arc<LiveSession>> {
        let tables = self.tables();
        let name = tables.aliases.get(&presented_name(org, presented))?;
        tables.by_name.get(name).map(|named| named.session.clone())
    }

    /// The session of a name.
    pub fn named(&self, name: &str) -> Option<Arc<LiveSession>> {
        let tables = self.tables();
        tables.by_name.get(name).map(|named| named.session.clone())
    }

    /// Takes a session in; the one it replaces is used up.
    pub fn keep(
        &self,
        names: Names<'_>,
        session: &Arc<LiveSession>,
        now: Millis,
        lifetime: Duration,
    ) {
        let Names {
            name,
            org,
            presented,
            others,
        } = names;
        let mut tables = self.tables();
        if tables.by_name.len() >= tables.sweep_at.max(SWEEP_FROM) {
            tables.sweep(now, lifetime);
        }
        let wanted = std::iter::once(presented_name(org, presented)).chain(others);
        let mut aliases = match tables.by_name.remove(name) {
            Some(before) => {
                // Only the one that stands here is marked when the key changes.
                before.session.mark_stale();
                before.aliases
            }
            None => Vec::new(),
        };
        for alias in wanted {
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
        for alias in &aliases {
            tables.aliases.insert(alias.clone(), name.to_owned());
        }
        let session = session.clone();
        tables
            .by_name
            .insert(name.to_owned(), Named { session, aliases });
    }

    /// Keys have changed: whoever holds their sessions reads them again.
    pub fn changed(&self, names: &[String]) {
        let mut tables = self.tables();
        for name in names {
            let name = tables.aliases.get(name).cloned().unwrap_or(name.clone());
            tables.remove(&name);
        }
    }

    /// Changes may have been missed: everything is read again.
    pub fn all_changed(&self) {
        let mut tables = self.tables();
        for (_, named) in tables.by_name.drain() {
            named.session.mark_stale();
        }
        tables.aliases.clear();
    }

    /// The window of a counter of `per` seconds. It stays the same at least until its time is over,
    /// whatever becomes of the sessions that count in it.
    pub fn window(&self, name: &str, per: f64, now: Millis) -> Arc<Window> {
        let mut tables = self.tables();
        if let Some((window, longest)) = tables.windows.get_mut(name) {
            *longest = longest.max(per);
            return window.clone();
        }
        if tables.windows.len() >= tables.windows_sweep_at.max(SWEEP_FROM) {
            tables.windows.retain(|_, (window, longest)| {
                Arc::strong_count(window) > 1 || !window.is_over(now, *longest)
            });
            tables.windows_sweep_at = 2 * tables.windows.len();
        }
        let window = Arc::new(Window::default());
        tables
            .windows
            .insert(name.to_owned(), (window.clone(), per));
        window
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every change leaves the tables usable at each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn remove(&mut self, name: &str) {
        if let Some(named) = self.by_name.remove(name) {
            named.session.mark_stale();
            for alias in named.aliases {
                self.aliases.remove(&alias);
            }
        }
    }

    fn sweep(&mut self, now: Millis, lifetime: Duration) {
        let over: Vec<String> = self
            .by_name
            .iter()
            .filter(|(_, named)| now.since(named.session.loaded) >= lifetime)
            .map(|(name, _)| name.clone())
            .collect();
        over.iter().for_each(|name| self.remove(name));
        self.sweep_at = 2 * self.by_name.len();
    }
}

fn presented_name(org: &str, presented: &str) -> String {
    format!("{org}\n{presented}")
}
