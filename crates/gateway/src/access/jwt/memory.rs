//! What a worker knows of tokens it has met: no lock, no signature, one look into a map.
//!
//! Invariants:
//! - A token is known to the API it was verified for, as its definition was then.
//! - Tokens themselves are not kept, only their SHA-256.
//! - What an issuer said of a token is used no longer than it may be, whoever is away.
//! - The number of entries is bounded.

use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

use openssl::sha::sha256;
use portcullis_apidef::policies::PolicySet;
use portcullis_pki::Fingerprint;

use super::{Verifier, claims::Validity, refusal::BearerProblem};
use crate::access::{certificate::Leaf, live::LiveSession, memory::Terms, window::Millis};

/// Most tokens a worker remembers.
const MOST: usize = 1 << 15;

/// How long a token is not verified again, whatever is configured for keys: its key may have been
/// withdrawn in silence.
const AGAIN: Duration = Duration::from_secs(60);

/// Tokens of one worker.
#[derive(Default)]
pub struct Memory(RefCell<HashMap<Known, Arc<Verified>>>);

/// A token and who verified it.
type Known = (u64, [u8; 32]);

/// A token that is good, and what it stands for.
pub struct Verified {
    /// Whose it is and what it opens.
    pub session: Arc<LiveSession>,
    /// When.
    pub at: Millis,
    /// When it is good.
    pub validity: Validity,
    /// The certificate it is bound to.
    pub certificate: Option<Fingerprint>,
    /// From then on its issuer has to be asked again; `None` for tokens that are good by a signature.
    pub ask_at: Option<Millis>,
}

/// What is known of a token.
pub enum Remembered {
    /// Good to use.
    Good(Arc<Verified>),
    /// Too old to be used unless nobody can be asked.
    Old(Arc<Verified>),
    /// Nothing.
    Nothing,
}

impl Verified {
    /// Whether nothing is known any more until its issuer is asked.
    pub fn is_over(&self, now: Millis) -> bool {
        self.ask_at.is_some_and(|at| now >= at)
    }

    /// Whether the token may be used now, by whoever presented this certificate.
    ///
    /// # Errors
    /// [`BearerProblem`].
    pub fn holds(&self, now: i64, leaf: Option<Leaf>) -> Result<(), BearerProblem> {
        self.validity.at(now)?;
        match self.certificate {
            Some(bound) if leaf.map(|leaf| leaf.fingerprint) != Some(bound) => {
                Err(BearerProblem::Certificate)
            }
            Some(_) if !leaf.is_some_and(|leaf| leaf.is_valid(now)) => {
                Err(BearerProblem::Certificate)
            }
            _ => Ok(()),
        }
    }
}

impl Memory {
    /// What is known of a token.
    pub fn look(
        &self,
        verifier: &Verifier,
        token: &str,
        policies: &Arc<PolicySet>,
        now: Millis,
        terms: Terms,
    ) -> Remembered {
        let key = (verifier.number, sha256(token.as_bytes()));
        let entries = self.0.borrow();
        let Some(verified) = entries.get(&key) else {
            return Remembered::Nothing;
        };
        let session = &verified.session;
        let age = now.since(verified.at);
        let fresh = terms.fresh(session).min(AGAIN);
        if session.is_stale()
            || verified.is_over(now)
            || !Arc::ptr_eq(&session.policies, policies)
            || age >= fresh + terms.grace
        {
            Remembered::Nothing
        } else if age < fresh || session.waits(now) {
            Remembered::Good(verified.clone())
        } else {
            Remembered::Old(verified.clone())
        }
    }

    /// Remembers a token.
    pub fn keep(
        &self,
        verifier: &Verifier,
        token: &str,
        verified: Arc<Verified>,
        now: Millis,
        terms: Terms,
    ) {
        if verified.is_over(now) {
            return;
        }
        if self.0.borrow().len() >= MOST {
            self.sweep(now, terms);
            let mut entries = self.0.borrow_mut();
            if entries.len() >= MOST {
                // Whoever comes again is verified again.
                entries.clear();
            }
        }
        let key = (verifier.number, sha256(token.as_bytes()));
        self.0.borrow_mut().insert(key, verified);
    }

    /// Forgets what is of no use any more.
    pub fn sweep(&self, now: Millis, terms: Terms) {
        let mut entries = self.0.borrow_mut();
        entries.retain(|_, verified| {
            let fresh = terms.fresh(&verified.session).min(AGAIN);
            !verified.session.is_stale()
                && !verified.is_over(now)
                && now.since(verified.at) < fresh + terms.grace
        });
        if entries.capacity() > 2 * entries.len() + 1024 {
            entries.shrink_to_fit();
        }
    }
}
