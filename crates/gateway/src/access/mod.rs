//! Who may call, and how often: a request's way from its credentials to a pass or a refusal.
//!
//! ```text
//! credentials  what the request says about who sends it
//! memory       what this worker remembers of tokens
//! check        the decision, at once where everything needed is at hand
//! settle       the same after asking the store, without holding a worker up
//! known, live  sessions in use on this node
//! window       rates counted in memory     share  how much of a rate is this node's
//! count        rates and quotas counted in the store
//! refusal      what is told
//! ```
//!
//! Order (store sheet 3.5): basic authentication, token, inactive or expired, right for the API, right
//! for path and method, the key's rate, its quota, the API's rate.
//!
//! Invariants:
//! - Nobody passes because something could not be found out: a store that does not answer is a 503,
//!   except for a session that was read recently enough.
//! - A worker takes no lock and waits for no store; it hands questions over and goes on.
//! - Tokens and passwords are never logged; logs show the last four characters.

pub mod check;
pub mod count;
pub mod credentials;
mod known;
mod link;
pub mod live;
pub mod memory;
pub mod refusal;
pub mod settle;
pub mod share;
pub mod signals;
pub mod window;

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use portcullis_apidef::{
    policies::{PolicySet, apply},
    session::{SecretText, Session},
};
use portcullis_config::GatewayConfig;
use portcullis_policy::Access as Rights;
use portcullis_store::{
    Engine, StoreError,
    hash::HashFunction,
    password,
    sessions::{Found, Sessions},
    token,
};
use tokio::sync::Semaphore;

pub use self::link::AccessLink;
use self::{
    count::{Counters, Counting, QuotaLeft},
    known::{KnownSessions, Names},
    live::{DigestKey, LiveSession, Marks},
    memory::Terms,
    refusal::{Messages, Refused},
    share::Share,
    window::Clock,
};
use crate::{stores::Stores, watch::Reading};

/// Most sessions looked up at once: a flood of unknown tokens waits in line instead of drowning the
/// store.
const MOST_LOOKUPS: usize = 256;

/// After a store that did not answer, this long until a session is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// What all workers share.
pub struct Access {
    sessions: Sessions,
    engine: Engine,
    limiter: Engine,
    known: KnownSessions,
    share: Share,
    epoch: AtomicU64,
    clock: Clock,
    key: DigestKey,
    lookups: Semaphore,
    hashing: Semaphore,
    settings: AccessSettings,
}

/// Settings that stay the same for the life of the process.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// How long sessions are used.
    pub terms: Terms,
    /// A key without any right opens its whole organisation.
    pub master_keys: bool,
    /// Passwords are stored in a form that takes long to compare.
    pub slow_passwords: bool,
    /// Rates are always counted in the store.
    pub count_together: bool,
    /// How often memories are swept.
    pub sweep: Duration,
    /// What the senders of refused requests are told.
    pub messages: Messages,
}

/// What came of looking for a session.
pub enum Lookup {
    /// This one.
    Found(Arc<LiveSession>),
    /// Nobody has the token.
    Nobody,
    /// Not known.
    Away,
}

impl AccessSettings {
    /// The settings a configuration asks for.
    pub fn of(config: &GatewayConfig) -> Self {
        let identity = &config.identity;
        Self {
            terms: Terms {
                fresh: identity.session_cache.unwrap_or_default(),
                grace: identity.session_grace,
            },
            master_keys: identity.allow_master_keys,
            slow_passwords: HashFunction::named(&identity.basic_auth_hash_key_function).is_none(),
            count_together: identity.enable_redis_rolling_limiter
                || identity.enable_sentinel_rate_limiter,
            sweep: identity.session_cache_eviction,
            messages: Messages::of(&config.control.override_messages),
        }
    }
}

impl Access {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new(
        config: &GatewayConfig,
        stores: &Stores,
        cores: usize,
    ) -> Result<Arc<Self>, openssl::error::ErrorStack> {
        Ok(Arc::new(Self {
            sessions: stores.sessions().clone(),
            engine: stores.engine().clone(),
            limiter: stores.limiter().clone(),
            known: KnownSessions::default(),
            share: Share::new(config.identity.drl_threshold),
            epoch: AtomicU64::new(0),
            clock: Clock::start(),
            key: DigestKey::random()?,
            lookups: Semaphore::new(MOST_LOOKUPS),
            hashing: Semaphore::new(cores.max(1)),
            settings: AccessSettings::of(config),
        }))
    }

    /// The session of a token, as far as it can be known.
    async fn find(&self, org: &str, presented: &str, policies: &Arc<PolicySet>) -> Lookup {
        // Never closed.
        let _place = self.lookups.acquire().await;
        let terms = self.settings.terms;
        let before = self
            .known
            .find(org, presented)
            .filter(|known| !known.is_stale());
        if let Some(known) = &before
            && self.clock.now().since(known.loaded) < terms.fresh
            && Arc::ptr_eq(&known.policies, policies)
        {
            return Lookup::Found(known.clone());
        }
        let epoch = self.epoch();
        match self.sessions.find(org, presented).await {
            Ok(None) => Lookup::Nobody,
            Ok(Some(found)) => self.take_in(org, presented, found, policies, epoch),
            Err(error) => match before {
                Some(known)
                    if !matches!(error, StoreError::Entry { .. })
                        && self.clock.now().since(known.loaded) < terms.fresh + terms.grace =>
                {
                    self.still(known, policies, &error)
                }
                _ => {
                    tracing::error!(%error, "a key could not be looked up");
                    Lookup::Away
                }
            },
        }
    }

    fn take_in(
        &self,
        org: &str,
        presented: &str,
        found: Found,
        policies: &Arc<PolicySet>,
        epoch: u64,
    ) -> Lookup {
        let now = self.clock.now();
        let before = self.known.named(&found.name);
        let Some(session) = self.prepare(
            &found.name,
            found.session,
            &found.token,
            policies,
            now,
            before.as_deref(),
        ) else {
            return Lookup::Nobody;
        };
        let session = Arc::new(session);
        let terms = self.settings.terms;
        let names = Names {
            name: &found.name,
            org,
            presented,
            others: [
                self.sessions.cached_name(presented),
                self.sessions.cached_name(&found.token),
                presented.to_owned(),
                found.token,
            ],
        };
        self.known
            .keep(names, &session, now, terms.fresh + terms.grace);
        if self.epoch() != epoch {
            // A key changed while this one was read; perhaps it was this one.
            session.mark_stale();
        }
        Lookup::Found(session)
    }

    /// A session that was read before and is good for a while longer.
    fn still(
        &self,
        known: Arc<LiveSession>,
        policies: &Arc<PolicySet>,
        error: &StoreError,
    ) -> Lookup {
        tracing::debug!(%error, key = known.masked, "the store is away, a known key goes on");
        let session = if Arc::ptr_eq(&known.policies, policies) {
            known
        } else {
            let renewed = self.renew(&known, policies);
            match renewed {
                Some(session) => Arc::new(session),
                None => return Lookup::Nobody,
            }
        };
        session.not_before(self.clock.now() + PAUSE);
        Lookup::Found(session)
    }

    /// What the store says of a session now.
    async fn read_again(&self, known: &LiveSession, policies: &Arc<PolicySet>) -> Reading {
        match self.sessions.stored(&known.name).await {
            Ok(None) => Reading::Gone,
            Ok(Some(stored)) => {
                let (name, now) = (&known.name, self.clock.now());
                let session = self.prepare(name, stored, &known.masked, policies, now, Some(known));
                session.map_or(Reading::Gone, |session| Reading::Session(Arc::new(session)))
            }
            Err(error) => {
                tracing::debug!(%error, key = known.masked, "a key in use could not be read again");
                Reading::Unknown
            }
        }
    }

    fn renew(&self, known: &LiveSession, policies: &Arc<PolicySet>) -> Option<LiveSession> {
        self.prepare(
            &known.name,
            known.stored.clone(),
            &known.masked,
            policies,
            known.loaded,
            Some(known),
        )
    }

    /// Applies policies and makes a session ready; `None` when it cannot be used.
    fn prepare(
        &self,
        name: &str,
        stored: Session,
        token: &str,
        policies: &Arc<PolicySet>,
        loaded: window::Millis,
        before: Option<&LiveSession>,
    ) -> Option<LiveSession> {
        let masked = before.map_or_else(|| token::masked(token), |before| before.masked.clone());
        let session = match apply(&stored, policies) {
            Ok(session) => session,
            Err(error) => {
                tracing::warn!(key = masked, "the key cannot be used: {error}");
                return None;
            }
        };
        let access = Rights::of(&session, self.settings.master_keys);
        for problem in access.problems() {
            tracing::warn!(key = masked, "{problem}");
        }
        // A developer with several keys has one set of counters.
        let counted_as = session
            .meta_data
            .get("tyk_developer_id")
            .and_then(|id| id.as_str())
            .unwrap_or(name)
            .to_owned();
        let now = self.clock.now();
        let rates = (0..access.counters())
            .map(|counter| {
                let name = access.counter_name(counter, &counted_as, short_hash);
                (self.known.window(&name, access.longest(counter), now), name)
            })
            .collect();
        Some(LiveSession {
            name: name.to_owned(),
            access,
            counted_as,
            rates,
            masked,
            marks: Marks::after(before, &session.basic_auth_data),
            alias: session.alias,
            password: session.basic_auth_data,
            stored,
            policies: policies.clone(),
            loaded,
        })
    }

    /// Whether a password is a session's.
    async fn verify(
        &self,
        session: &LiveSession,
        presented: SecretText,
        memory: Option<Duration>,
    ) -> bool {
        if memory.is_some() && session.knows(&self.key, &presented, self.clock.now()) {
            return true;
        }
        // Hashing is dear: no more at once than there are cores.
        let _place = self.hashing.acquire().await;
        if !password::matches(&session.password, presented.clone()).await {
            return false;
        }
        if let Some(memory) = memory {
            session.remember(&self.key, &presented, self.clock.now() + memory);
        }
        true
    }

    /// Judges a password of nobody, so that the time an answer takes does not tell who is a user. Without
    /// bcrypt there is nothing to tell.
    async fn verify_nobody(&self, presented: SecretText) {
        if self.settings.slow_passwords {
            let _place = self.hashing.acquire().await;
            password::matches(&password::nobodys(), presented).await;
        }
    }

    async fn count(&self, counting: Counting) -> Result<Option<QuotaLeft>, Refused> {
        let counters = Counters {
            rates: &self.limiter,
            quotas: &self.engine,
        };
        match count::count(counters, &counting, SystemTime::now()).await {
            Ok(counted) => counted,
            Err(error) => {
                tracing::error!(%error, "a limit could not be counted, the request is refused");
                Err(Refused::StoreAway)
            }
        }
    }

    /// Counts changes of keys.
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Keys have changed.
    fn keys_changed(&self, names: &[String]) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.known.changed(names);
    }

    /// Changes may have been missed.
    fn anything_changed(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.known.all_changed();
    }
}

/// Endpoints in names of counters.
fn short_hash(endpoint: &str) -> String {
    HashFunction::Murmur32.hex(endpoint)
}
