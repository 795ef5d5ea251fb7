//! What became of the connections to one place elsewhere: how many were made, with whom the last one was, and why
//! the last that was not made was not.
//!
//! Whoever connects notes it, whoever shows it looks when asked. A note takes the place of the one before: what
//! there is to know of a place is the same whether it was connected to once or a million times, so nothing is queued
//! and nothing can be dropped.
//!
//! Invariants:
//! - Noting takes no lock and waits for nobody. A connection to a server that is as it was last time leaves
//!   everything but two numbers as it is.
//! - Certificates are kept in DER and taken apart by whoever looks.
//! - No key and no ticket is kept, and a reason no longer than [`LONGEST`].

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use openssl::ssl::SslRef;

use crate::{cipher, identity, sys};

/// Longest reason that is kept, in bytes.
pub const LONGEST: usize = 512;

/// The connections to one place.
#[derive(Debug, Default)]
pub struct Contact {
    made: AtomicU64,
    /// In milliseconds since 1970; 0 for never.
    made_at: AtomicU64,
    failed: AtomicU64,
    /// What was tried last failed.
    failing: AtomicBool,
    session: ArcSwapOption<Session>,
    failure: ArcSwapOption<Failure>,
}

/// What a handshake came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What was agreed on; `None` where the library that spoke does not tell.
    pub agreed: Option<Agreed>,
    /// The server's certificate, in DER.
    pub peer: Option<Box<[u8]>>,
    /// Ours, in DER, if the server asked for one and there was one.
    pub shown: Option<Arc<[u8]>>,
}

/// What both sides speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The suite by its IANA name.
    pub cipher: &'static str,
    /// The group keys were agreed with, such as `X25519MLKEM768`.
    pub group: Option<&'static str>,
    /// The protocol by ALPN, `h2` or `http/1.1`.
    pub protocol: Option<&'static str>,
}

/// A connection that was not made, or did not last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// Why.
    pub reason: Box<str>,
}

/// What is known of a place.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Connections that were made.
    pub made: u64,
    /// When the last of them was.
    pub made_at: Option<SystemTime>,
    /// What its handshake came to; `None` in clear text.
    pub session: Option<Arc<Session>>,
    /// Connections that were not.
    pub failed: u64,
    /// The last of these.
    pub failure: Option<Arc<Failure>>,
    /// What was tried last failed.
    pub failing: bool,
}

impl Contact {
    /// A connection in clear text was made.
    pub fn made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        self.made_at.store(now, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
    }

    /// A connection was made whose handshake, on our side a client's, is over.
    pub fn made_by(&self, ssl: &SslRef) {
        self.made();
        let last = self.session.load();
        sys::with_peer_certificates(ssl, |ders| {
            let now = (
                Some(Agreed::of(ssl)),
                ders.first().copied(),
                identity::shown(ssl),
            );
            let was = last
                .as_ref()
                .map(|last| (last.agreed, last.peer.as_deref(), last.shown.as_ref()));
            if was != Some(now) {
                let (agreed, peer, shown) = now;
                self.session.store(Some(Arc::new(Session {
                    agreed,
                    peer: peer.map(Into::into),
                    shown: shown.cloned(),
                })));
            }
        });
    }

    /// A connection was made by a library that tells this of it.
    pub fn made_telling(&self, session: Session) {
        self.made();
        if self.session.load().as_deref() != Some(&session) {
            self.session.store(Some(Arc::new(session)));
        }
    }

    /// A connection was not made, or ended before it was of use.
    pub fn failed(&self, reason: &dyn Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
        let mut reason = reason.to_string();
        let mut end = reason.len().min(LONGEST);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        self.failure.store(Some(Arc::new(Failure {
            at: SystemTime::now(),
            reason: reason.into(),
        })));
    }

    /// What is known.
    pub fn look(&self) -> Seen {
        let made_at = self.made_at.load(Ordering::Relaxed);
        Seen {
            made: self.made.load(Ordering::Relaxed),
            made_at: (made_at > 0).then(|| UNIX_EPOCH + Duration::from_millis(made_at)),
            session: self.session.load_full(),
            failed: self.failed.load(Ordering::Relaxed),
            failure: self.failure.load_full(),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }
}

impl Agreed {
    fn of(ssl: &SslRef) -> Agreed {
        let suite = sys::cipher_id(ssl).and_then(cipher::by_id);
        Agreed {
            version: ssl.version_str(),
            // Only suites of the table are ever offered.
            cipher: suite.map_or("", |suite| suite.name),
            group: sys::group_name(ssl),
            protocol: match ssl.selected_alpn_protocol() {
                Some(b"h2") => Some("h2"),
                Some(b"http/1.1") => Some("http/1.1"),
                // Nothing else is offered.
                Some(_) | None => None,
            },
        }
    }
}

impl Seen {
    /// Nothing has been tried yet.
    pub fn is_nothing(&self) -> bool {
        self.made == 0 && self.failed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_connection_and_the_last_failure_are_known_and_how_many_there_were() {
        let contact = Contact::default();
        assert!(contact.look().is_nothing() && !contact.look().failing);
        contact.failed(&"no route");
        contact.failed(&"\u{fc}".repeat(LONGEST));
        let seen = contact.look();
        assert!(seen.failing && !seen.is_nothing());
        assert_eq!((seen.made, seen.failed), (0, 2));
        let reason = &seen.failure.expect("the last").reason;
        assert!(reason.len() <= LONGEST && reason.starts_with('\u{fc}'));

        let session = |peer: u8| Session {
            agreed: None,
            peer: Some([peer].into()),
            shown: None,
        };
        contact.made_telling(session(1));
        let first = contact.look().session.expect("a session");
        contact.made_telling(session(1));
        let same = contact.look().session.expect("a session");
        assert!(Arc::ptr_eq(&first, &same), "what is the same is kept");
        contact.made_telling(session(2));
        let seen = contact.look();
        assert_eq!(seen.session.as_deref(), Some(&session(2)));
        assert_eq!((seen.made, seen.failed, seen.failing), (3, 2, false));
    }
}
