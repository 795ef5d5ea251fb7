//! Who may call, and how often: a request's way from its credentials to a pass or a refusal.
//!
//! ```text
//! credentials  what the request says about who sends it
//! certificate  what its certificate says
//! memory       what this worker remembers of tokens and certificates
//! check        the decision, at once where everything needed is at hand
//! settle       the same after asking the store, without holding a worker up
//! load         sessions read from the store, and the certificates they belong to
//! under_way    lookups that several requests wait for
//! known, live  sessions in use on this node
//! jwt          tokens of others, and the sessions they stand for      bearer  one at a request
//! window       rates counted in memory     share  how much of a rate is this node's
//! count        rates and quotas counted in the store
//! refusal      what is told
//! ```
//!
//! Order (store sheet 3.5): basic authentication, token of somebody else, certificate and token, bound certificates, inactive or expired, right for the API, right
//! for path and method, the key's rate, its quota, the API's rate.
//!
//! Invariants:
//! - Nobody passes because something could not be found out: a store that does not answer is a 503,
//!   except for a session that was read recently enough.
//! - A worker takes no lock and waits for no store; it hands questions over and goes on.
//! - Tokens and passwords are never logged; logs show the last four characters.

mod bearer;
pub mod certificate;
pub mod check;
pub mod count;
pub mod credentials;
pub mod jwt;
mod known;
mod link;
pub mod live;
mod load;
pub mod memory;
pub mod refusal;
pub mod settle;
pub mod share;
pub mod signals;
mod under_way;
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

use portcullis_apidef::session::{BasicAuthData, SecretText};
use portcullis_config::GatewayConfig;
use portcullis_store::{Certificates, Engine, hash::HashFunction, password, sessions::Sessions};
use tokio::sync::Semaphore;

pub use self::link::AccessLink;
use self::{
    count::{Counters, Counting, QuotaLeft},
    jwt::Judge,
    known::KnownSessions,
    live::{DigestKey, LiveSession},
    memory::Terms,
    refusal::{Messages, Refused},
    share::Share,
    under_way::{Sought, UnderWay},
    window::Clock,
};
use crate::{services::Client, stores::Stores};

/// Most sessions looked up at once: a flood of unknown tokens waits in line instead of drowning the
/// store.
const MOST_LOOKUPS: usize = 256;

/// After a store that did not answer, this long until a session is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// What all workers share.
pub struct Access {
    sessions: Sessions,
    certificates: Certificates,
    engine: Engine,
    limiter: Engine,
    known: KnownSessions,
    share: Share,
    epoch: AtomicU64,
    clock: Clock,
    key: DigestKey,
    under_way: UnderWay<Sought, Lookup>,
    tokens: Judge,
    lookups: Semaphore,
    hashing: Semaphore,
    settings: AccessSettings,
}

/// Settings that stay the same for the life of the process.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// How long sessions are used.
    pub terms: Terms,
    /// Tokens take the place of client certificates.
    pub tokens_stand_in: bool,
    /// A key without any right opens its whole organisation.
    pub master_keys: bool,
    /// Passwords are stored in a form that takes long to compare.
    pub slow_passwords: bool,
    /// Rates are always counted in the store.
    pub count_together: bool,
    /// A rate that is used up is blocked for its whole time.
    pub rates_block: bool,
    /// How often memories are swept.
    pub sweep: Duration,
    /// What the senders of refused requests are told.
    pub messages: Messages,
}

/// What came of looking for a session.
#[derive(Clone)]
pub enum Lookup {
    /// This one.
    Found(Arc<LiveSession>),
    /// Nobody has the token, or no key belongs to the certificate.
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
            tokens_stand_in: config.security.allow_unsafe_dynamic_mtls_token,
            master_keys: identity.allow_master_keys,
            slow_passwords: HashFunction::named(&identity.basic_auth_hash_key_function).is_none(),
            count_together: identity.enable_redis_rolling_limiter
                || identity.enable_sentinel_rate_limiter,
            rates_block: identity.enable_sentinel_rate_limiter,
            sweep: identity.session_cache_eviction,
            messages: Messages::of(&config.control.override_messages),
        }
    }
}

impl Access {
    /// Nothing is known yet. `providers` calls identity providers.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new(
        config: &GatewayConfig,
        stores: &Stores,
        providers: Client,
        cores: usize,
    ) -> Result<Arc<Self>, openssl::error::ErrorStack> {
        if config.security.allow_unsafe_dynamic_mtls_token {
            tracing::warn!(
                key = "security.allow_unsafe_dynamic_mtls_token",
                "A TOKEN IS ENOUGH WHERE CERTIFICATE AUTH ASKS FOR A CLIENT CERTIFICATE, and whoever knows a \
                 certificate can make up the token of its key: leave this off unless clients cannot do without"
            );
        }
        Ok(Arc::new(Self {
            sessions: stores.sessions().clone(),
            certificates: stores.certificates().clone(),
            engine: stores.engine().clone(),
            limiter: stores.limiter().clone(),
            known: KnownSessions::default(),
            share: Share::new(config.identity.drl_threshold),
            epoch: AtomicU64::new(0),
            clock: Clock::start(),
            key: DigestKey::random()?,
            under_way: UnderWay::default(),
            tokens: Judge::new(providers),
            lookups: Semaphore::new(MOST_LOOKUPS),
            hashing: Semaphore::new(cores.max(1)),
            settings: AccessSettings::of(config),
        }))
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
        let stored = self.compared_with(session);
        if !password::matches(&stored, presented.clone()).await {
            return false;
        }
        if let Some(memory) = memory {
            session.remember(&self.key, &presented, self.clock.now() + memory);
        }
        true
    }

    /// What a password is compared with: for a session that has none, something that nobody's password
    /// is and that takes as long as others do.
    fn compared_with(&self, session: &LiveSession) -> BasicAuthData {
        if session.password.password.is_empty() && self.settings.slow_passwords {
            password::nobodys()
        } else {
            session.password.clone()
        }
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
            blocks: self.settings.rates_block,
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
        self.tokens.keys_changed(names);
    }

    /// A certificate came into the store or left it.
    fn certificate_changed(&self, id: &str) {
        // A session that is being read meanwhile may have been told the opposite.
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.known.certificate_changed(id);
        self.tokens.certificate_changed(id);
    }

    /// Changes may have been missed.
    fn anything_changed(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.known.all_changed();
        self.tokens.anything_changed();
    }
}
