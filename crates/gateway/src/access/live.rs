//! A session as workers use it: loaded from the store, policies applied, ready for questions.
//!
//! One value for all workers. What changes in it are marks: that the store holds something newer, and
//! since when its password is known to be right. Counters are held by name elsewhere, so they outlive it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use openssl::sha::Sha256;
use portcullis_apidef::{
    policies::PolicySet,
    session::{BasicAuthData, SecretText, Session},
};
use portcullis_policy::Access;

use super::{
    jwt::Grant,
    window::{Millis, Window},
};

/// A session in use.
pub struct LiveSession {
    /// What follows `apikey-` in its name in the store.
    pub name: String,
    /// What it opens.
    pub access: Access,
    /// What its counters are named after, without what stands before it.
    pub counted_as: String,
    /// Its counters in memory and their names in the store, by their number in [`Access`].
    pub rates: Vec<(Arc<Window>, String)>,
    /// Its token as logs may show it.
    pub masked: String,
    /// Its human name.
    pub alias: String,
    /// Its password at rest.
    pub password: BasicAuthData,
    /// As it is stored.
    pub stored: Session,
    /// What a JSON Web Token brought, where the session is such a token's.
    pub grant: Option<Arc<Grant>>,
    /// The certificate it belongs to, where it does.
    pub certificate: Option<OwnCertificate>,
    /// The policies that were applied.
    pub policies: Arc<PolicySet>,
    /// When it was read.
    pub loaded: Millis,
    /// What has been learned since.
    pub marks: Marks,
}

/// The certificate a session belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// Its id in the certificate store.
    pub id: String,
    /// It was there when the session was read.
    pub stored: bool,
}

/// What is learned of a session after it was read.
#[derive(Default)]
pub struct Marks {
    stale: AtomicBool,
    retry: AtomicU64,
    verified: ArcSwapOption<Verified>,
}

/// A password that was right.
struct Verified {
    /// Hashed with a key of this process.
    digest: [u8; 32],
    until: Millis,
}

/// The key that remembered passwords are hashed with: useless outside this process.
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

impl Marks {
    /// Of a session just read that replaces `before`: the same password is still known.
    pub fn after(before: Option<&LiveSession>, password: &BasicAuthData) -> Self {
        let verified = before
            .filter(|before| before.password == *password)
            .and_then(|before| before.marks.verified.load_full());
        Self {
            verified: ArcSwapOption::new(verified),
            ..Self::default()
        }
    }
}

impl LiveSession {
    /// The store holds something else now.
    pub fn mark_stale(&self) {
        self.marks.stale.store(true, Ordering::Release);
    }

    /// True when it must not be used again.
    pub fn is_stale(&self) -> bool {
        self.marks.stale.load(Ordering::Acquire)
    }

    /// The store did not answer: it is not asked again before `at`.
    pub fn not_before(&self, at: Millis) {
        self.marks.retry.store(at.number(), Ordering::Relaxed);
    }

    /// True while the store need not be asked again.
    pub fn waits(&self, now: Millis) -> bool {
        now < Millis::of(self.marks.retry.load(Ordering::Relaxed))
    }

    /// A password was right; it is known until then.
    pub fn remember(&self, key: &DigestKey, password: &SecretText, until: Millis) {
        self.marks.verified.store(Some(Arc::new(Verified {
            digest: key.digest(password),
            until,
        })));
    }

    /// True when this password is known to be right.
    pub fn knows(&self, key: &DigestKey, password: &SecretText, now: Millis) -> bool {
        self.marks.verified.load().as_ref().is_some_and(|known| {
            now < known.until && openssl::memcmp::eq(&known.digest, &key.digest(password))
        })
    }
}

impl DigestKey {
    /// A random key.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, openssl::error::ErrorStack> {
        let mut key = [0; 32];
        openssl::rand::rand_bytes(&mut key)?;
        Ok(Self(key))
    }

    fn digest(&self, password: &SecretText) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(&self.0);
        hash.update(password.reveal().as_bytes());
        hash.finish()
    }
}
