//! Sessions in use, for all workers of this node, and the windows their rates are counted in.
//!
//! A worker that needs a session another worker has just read gets that one, and a key that changes is
//! marked in one place. Control side only: a worker keeps what it was given.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    live::LiveSession,
    memory::Presented,
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
    /// Other names of the same.
    aliases: HashMap<Alias, String>,
    /// Names of those that belong to a certificate, by its id.
    by_certificate: HashMap<String, HashSet<String>>,
    windows: HashMap<String, (Arc<Window>, f64)>,
    sweep_at: usize,
    windows_sweep_at: usize,
}

/// What a session is asked for by, beyond the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Claim {
    /// A token, or the name of a user.
    Token(String),
    /// A certificate, by its id in the store.
    Certificate(String),
}

/// A name of a session beside that of its entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Alias {
    /// What was presented in an organisation.
    Presented(String, Claim),
    /// What a change of it may be told under.
    Told(String),
}

/// What a session is known by beside the name of its entry.
pub struct Names<'n> {
    /// The organisation it was asked for in.
    pub org: &'n str,
    /// What was presented.
    pub presented: &'n Claim,
    /// Names that a change of it may be told under.
    pub others: [String; 4],
}

struct Named {
    session: Arc<LiveSession>,
    aliases: Vec<Alias>,
}

impl Claim {
    /// What is presented to an API of an organisation.
    pub fn of(org: &str, presented: Presented<'_>) -> Self {
        match presented {
            Presented::Token(token) => Self::Token(token.to_owned()),
            Presented::Certificate(fingerprint) => Self::Certificate(format!("{org}{fingerprint}")),
        }
    }

    /// The token, or the id.
    pub fn text(&self) -> &str {
        match self {
            Self::Token(text) | Self::Certificate(text) => text,
        }
    }
}

impl KnownSessions {
    /// The session that was found for this before.
    pub fn find(&self, org: &str, presented: &Claim) -> Option<Arc<LiveSession>> {
        let alias = Alias::Presented(org.to_owned(), presented.clone());
        let tables = self.tables();
        let name = tables.aliases.get(&alias)?;
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
            org,
            presented,
            others,
        } = names;
        let asked_by = Alias::Presented(org.to_owned(), presented.clone());
        let aliases = std::iter::once(asked_by).chain(others.map(Alias::Told));
        self.tables().keep(session, aliases, now, lifetime);
    }

    /// Takes in a session that was read again, under the names it has.
    pub fn keep_again(&self, session: &Arc<LiveSession>, now: Millis, lifetime: Duration) {
        self.tables()
            .keep(session, std::iter::empty(), now, lifetime);
    }

    /// Keys have changed: whoever holds their sessions reads them again.
    pub fn changed(&self, names: &[String]) {
        let mut tables = self.tables();
        for name in names {
            let told = Alias::Told(name.clone());
            let name = tables.aliases.get(&told).cloned().unwrap_or(name.clone());
            tables.remove(&name);
        }
    }

    /// A certificate came into the store or left it: the sessions that belong to it are read again.
    pub fn certificate_changed(&self, id: &str) {
        let mut tables = self.tables();
        for name in tables.by_certificate.remove(id).unwrap_or_default() {
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
        tables.by_certificate.clear();
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
    fn keep(
        &mut self,
        session: &Arc<LiveSession>,
        wanted: impl Iterator<Item = Alias>,
        now: Millis,
        lifetime: Duration,
    ) {
        if self.by_name.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.sweep(now, lifetime);
        }
        let name = &session.name;
        let mut aliases = match self.by_name.remove(name) {
            Some(before) => {
                // Only the one that stands here is marked when the key changes.
                before.session.mark_stale();
                self.leaves_certificate(name, &before.session);
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
            self.aliases.insert(alias.clone(), name.clone());
        }
        if let Some(certificate) = &session.certificate {
            let holders = self.by_certificate.entry(certificate.id.clone());
            holders.or_default().insert(name.clone());
        }
        let (name, session) = (name.clone(), session.clone());
        self.by_name.insert(name, Named { session, aliases });
    }

    fn remove(&mut self, name: &str) {
        if let Some(named) = self.by_name.remove(name) {
            named.session.mark_stale();
            self.leaves_certificate(name, &named.session);
            for alias in named.aliases {
                self.aliases.remove(&alias);
            }
        }
    }

    fn leaves_certificate(&mut self, name: &str, session: &LiveSession) {
        if let Some(certificate) = &session.certificate
            && let Some(holders) = self.by_certificate.get_mut(&certificate.id)
        {
            holders.remove(name);
            if holders.is_empty() {
                self.by_certificate.remove(&certificate.id);
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
