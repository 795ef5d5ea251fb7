//! What a worker remembers of tokens and certificates it has met: no lock, no store, one look into a map.
//!
//! Invariants:
//! - A session is used for [`Terms::fresh`] after it was read, and up to [`Terms::grace`] longer only
//!   while the store does not answer; never once it is marked stale.
//! - A token that nobody has is remembered for a second, until any key changes.
//! - No token is taken for a certificate, whatever it consists of.
//! - The number of entries is bounded.

use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

use portcullis_pki::Fingerprint;

use super::{live::LiveSession, window::Millis};

/// What a session is asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented<'p> {
    /// A token, or the name of a user.
    Token(&'p str),
    /// A certificate whose key was proven.
    Certificate(Fingerprint),
}

/// Most tokens a worker remembers.
const MOST: usize = 1 << 16;

/// How long a token is known to be nobody's.
const NOBODY: Duration = Duration::from_secs(1);

/// How long a certificate is taken to be stored that was, when nobody says otherwise.
const CERTIFICATE: Duration = Duration::from_secs(60);

/// How long sessions are used.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Without asking again; zero asks every time.
    pub fresh: Duration,
    /// On top of that while the store does not answer.
    pub grace: Duration,
}

impl Terms {
    /// How long this session is used without asking again. Whether its certificate is stored is asked
    /// now and then however long keys are remembered: a node of a fleet may have removed it in silence.
    pub fn fresh(&self, session: &LiveSession) -> Duration {
        match session.certificate {
            Some(_) => self.fresh.min(CERTIFICATE),
            None => self.fresh,
        }
    }
}

/// Tokens of one worker.
#[derive(Default)]
pub struct Memory {
    entries: RefCell<HashMap<Box<[u8]>, Entry>>,
    /// The key of the entry asked for, so that asking allocates nothing.
    key: RefCell<Vec<u8>>,
}

enum Entry {
    Session(Arc<LiveSession>),
    Nobody { at: Millis, epoch: u64 },
}

/// What is known of a token.
pub enum Known {
    /// Its session, good to use.
    Session(Arc<LiveSession>),
    /// Nobody has it.
    Nobody,
    /// Its session is too old to be used unless the store does not answer.
    Old(Arc<LiveSession>),
    /// Nothing.
    Nothing,
}

impl Memory {
    /// What is known of what is presented in an organisation. `epoch` counts changes of keys.
    pub fn look(
        &self,
        org: &str,
        presented: Presented<'_>,
        now: Millis,
        epoch: u64,
        terms: Terms,
    ) -> Known {
        let mut key = self.key.borrow_mut();
        write_key(&mut key, org, presented);
        match self.entries.borrow().get(key.as_slice()) {
            None => Known::Nothing,
            Some(Entry::Nobody { at, epoch: then }) => {
                if *then == epoch && now.since(*at) < NOBODY && !terms.fresh.is_zero() {
                    Known::Nobody
                } else {
                    Known::Nothing
                }
            }
            Some(Entry::Session(session)) => {
                let (age, fresh) = (now.since(session.loaded), terms.fresh(session));
                if session.is_stale() || age >= fresh + terms.grace {
                    Known::Nothing
                } else if age < fresh {
                    Known::Session(session.clone())
                } else {
                    Known::Old(session.clone())
                }
            }
        }
    }

    /// Remembers whose token it is.
    pub fn keep(
        &self,
        org: &str,
        presented: Presented<'_>,
        session: Arc<LiveSession>,
        now: Millis,
        terms: Terms,
    ) {
        self.put(org, presented, Entry::Session(session), now, terms);
    }

    /// Remembers that it is nobody's.
    pub fn keep_nobody(
        &self,
        org: &str,
        presented: Presented<'_>,
        now: Millis,
        epoch: u64,
        terms: Terms,
    ) {
        self.put(org, presented, Entry::Nobody { at: now, epoch }, now, terms);
    }

    /// Forgets what is of no use any more.
    pub fn sweep(&self, now: Millis, terms: Terms) {
        let mut entries = self.entries.borrow_mut();
        entries.retain(|_, entry| match entry {
            Entry::Nobody { at, .. } => now.since(*at) < NOBODY,
            Entry::Session(session) => {
                !session.is_stale() && now.since(session.loaded) < terms.fresh + terms.grace
            }
        });
        if entries.capacity() > 2 * entries.len() + 1024 {
            entries.shrink_to_fit();
        }
    }

    fn put(&self, org: &str, presented: Presented<'_>, entry: Entry, now: Millis, terms: Terms) {
        if self.entries.borrow().len() >= MOST {
            self.sweep(now, terms);
            let mut entries = self.entries.borrow_mut();
            if entries.len() >= MOST {
                // Whoever is asked for again is looked up again.
                entries.clear();
            }
        }
        let mut key = self.key.borrow_mut();
        write_key(&mut key, org, presented);
        self.entries
            .borrow_mut()
            .insert(key.as_slice().into(), entry);
    }
}

fn write_key(key: &mut Vec<u8>, org: &str, presented: Presented<'_>) {
    key.clear();
    key.extend_from_slice(&org.len().to_le_bytes());
    key.extend_from_slice(org.as_bytes());
    match presented {
        Presented::Token(token) => {
            key.push(0);
            key.extend_from_slice(token.as_bytes());
        }
        Presented::Certificate(fingerprint) => {
            key.push(1);
            key.extend_from_slice(fingerprint.as_bytes());
        }
    }
}
