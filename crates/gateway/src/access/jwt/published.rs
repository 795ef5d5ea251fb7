//! Key sets of identity providers: fetched when somebody needs them, remembered, and renewed in the background.
//!
//! Invariants:
//! - A key set is used for its lifetime; a provider that does not answer then lengthens that by
//!   [`GRACE`] at most, and every attempt that fails is logged with its reason.
//! - No provider is asked more often than every [`PAUSE`], whatever ids tokens name, and by one request at a
//!   time.
//! - Sessions hang on the key set that vouched for them: when it changes, they are verified anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use openssl::sha::sha256;
use portcullis_apidef::KeySetUrl;

use super::{
    fetch::Fetcher,
    jwk::KeySet,
    jws::Algorithm,
    ties::{Tie, Ties},
};

/// How long a key set is used that says nothing else about it; as long as Tyk does.
const LIFETIME: Duration = Duration::from_secs(240);

/// How much longer while its provider does not answer.
const GRACE: Duration = Duration::from_secs(3600);

/// From one attempt to the next.
const PAUSE: Duration = Duration::from_secs(5);

/// The key sets in use.
pub struct Published {
    fetcher: Fetcher,
    ties: Arc<Ties>,
    sets: Mutex<HashMap<String, Arc<Place>>>,
}

/// What came of looking for a key.
pub enum Found {
    /// This set has it; it is published there.
    In(Arc<KeySet>, String),
    /// No set has it.
    Nowhere,
    /// A set that might have it cannot be had.
    Away,
}

/// A place where keys are published.
struct Place {
    url: String,
    state: Mutex<State>,
    /// Held by whoever asks it.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    last: Option<Fetched>,
    /// When it was last asked, well or not.
    asked: Option<Instant>,
    /// The last attempt failed.
    failing: bool,
}

struct Fetched {
    set: Arc<KeySet>,
    digest: [u8; 32],
    at: Instant,
}

impl Published {
    /// Nothing is known yet.
    pub fn new(fetcher: Fetcher, ties: Arc<Ties>) -> Self {
        Self {
            fetcher,
            ties,
            sets: Mutex::default(),
        }
    }

    /// The key set that has a key of this id for this algorithm.
    pub async fn find(
        self: &Arc<Self>,
        places: &[KeySetUrl],
        id: &str,
        algorithm: Algorithm,
    ) -> Found {
        let has = |set: &KeySet| set.of(id, algorithm).next().is_some();
        let mut away = false;
        for wanted in places {
            let place = self.place(&wanted.url);
            if let Some(set) = self.at_hand(&place, lifetime(wanted))
                && has(&set)
            {
                return Found::In(set, wanted.url.clone());
            }
        }
        // It may be new: whoever publishes keys is asked, one after the other.
        for wanted in places {
            let place = self.place(&wanted.url);
            match self.renewed(&place, lifetime(wanted)).await {
                Some(set) if has(&set) => return Found::In(set, wanted.url.clone()),
                Some(_) => {}
                None => away = true,
            }
        }
        match away {
            true => Found::Away,
            false => Found::Nowhere,
        }
    }

    /// Forgets every key set.
    pub fn forget(&self) {
        let places = std::mem::take(&mut *self.sets());
        for url in places.into_keys() {
            self.ties.cut(&Tie::KeySet(url));
        }
    }

    /// What can be used without waiting. When its time is nearly over, it is renewed meanwhile.
    fn at_hand(self: &Arc<Self>, place: &Arc<Place>, lifetime: Duration) -> Option<Arc<KeySet>> {
        let (set, due) = {
            let state = place.state();
            let last = state.last.as_ref()?;
            let age = last.at.elapsed();
            if age >= lifetime && !(state.failing && age < lifetime + GRACE) {
                return None;
            }
            let due = age >= lifetime * 3 / 4 && state.may_ask();
            (last.set.clone(), due)
        };
        if due && place.asking.try_lock().is_ok() {
            let (published, place) = (self.clone(), place.clone());
            tokio::spawn(async move { published.renewed(&place, lifetime).await });
        }
        Some(set)
    }

    /// The set as it is published now, unless it was asked for a moment ago; then what is known.
    async fn renewed(&self, place: &Place, lifetime: Duration) -> Option<Arc<KeySet>> {
        let _asking = place.asking.lock().await;
        if place.state().may_ask() {
            let fetched = self.fetcher.fetch(&place.url).await;
            let fetched = fetched.and_then(|body| {
                let set = KeySet::parse(&body)
                    .map_err(|why| format!("what it answers is no key set: {why}"))?;
                Ok((set, sha256(&body)))
            });
            let changed = place.state().take_in(&place.url, fetched, lifetime);
            if changed {
                self.ties.cut(&Tie::KeySet(place.url.clone()));
            }
        }
        place.state().last.as_ref().map(|last| last.set.clone())
    }

    fn place(&self, url: &str) -> Arc<Place> {
        let mut sets = self.sets();
        if let Some(place) = sets.get(url) {
            return place.clone();
        }
        let place = Arc::new(Place {
            url: url.to_owned(),
            state: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        });
        sets.insert(url.to_owned(), place.clone());
        place
    }

    fn sets(&self) -> MutexGuard<'_, HashMap<String, Arc<Place>>> {
        // Every change is one step.
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_ask(&self) -> bool {
        self.asked.is_none_or(|at| at.elapsed() >= PAUSE)
    }

    /// Takes in what asking gave; whether what was known before counts no more.
    fn take_in(
        &mut self,
        url: &str,
        fetched: Result<(KeySet, [u8; 32]), String>,
        lifetime: Duration,
    ) -> bool {
        let now = Instant::now();
        self.asked = Some(now);
        match fetched {
            Ok((set, digest)) => {
                let changed = self.last.as_ref().is_none_or(|last| last.digest != digest);
                if changed {
                    tracing::info!(url = shown(url), keys = set.len(), "keys of tokens fetched");
                    for passed_over in &set.passed_over {
                        tracing::warn!(
                            url = shown(url),
                            "keys of tokens: {passed_over}; it is not used"
                        );
                    }
                }
                self.failing = false;
                self.last = Some(Fetched {
                    set: Arc::new(set),
                    digest,
                    at: now,
                });
                changed
            }
            Err(why) => {
                self.failing = true;
                let kept = self.last.as_ref().map(|last| last.at.elapsed());
                let usable = kept.is_some_and(|age| age < lifetime + GRACE);
                tracing::error!(
                    url = shown(url),
                    last_good_is_used = usable,
                    "keys of tokens cannot be fetched: {why}"
                );
                if kept.is_some() && !usable {
                    self.last = None;
                    return true;
                }
                false
            }
        }
    }
}

/// A URL as logs may show it: no user, no query.
pub(super) fn shown(url: &str) -> &str {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let start = url[..end].find("://").map_or(0, |at| at + 3);
    let authority = url[start..end].find('/').map_or(end, |at| start + at);
    match url[start..authority].rfind('@') {
        Some(at) => &url[start + at + 1..end],
        None => &url[..end],
    }
}

/// How long the keys of a place are used.
fn lifetime(place: &KeySetUrl) -> Duration {
    place.lifetime.unwrap_or(LIFETIME)
}
