//! Breakers of APIs: the same as before for as long as their definition asks for the same.

use std::{collections::HashMap, sync::Arc};

use portcullis_apidef::{Api, CircuitBreaker};
use portcullis_policy::path_pattern;
use regex::Regex;

use crate::{
    events::Handlers,
    health::{Breaker, Health, WatchedBreaker},
    snapshot::PathBreaker,
};

/// What outlives builds.
#[derive(Default)]
pub(super) struct HealthParts {
    breakers: HashMap<BreakerKey, Kept>,
    /// Of the build before, until this one is done.
    before: HashMap<BreakerKey, Kept>,
    watched: Health,
}

/// API, path, method.
type BreakerKey = (String, String, Option<String>);

type Kept = (CircuitBreaker, Arc<Breaker>);

impl HealthParts {
    /// A build begins.
    pub(super) fn begin(&mut self) {
        self.before.extend(self.breakers.drain());
        self.watched = Health::default();
    }

    /// The build is done: what it did not ask for is forgotten.
    pub(super) fn finish(&mut self) -> Arc<Health> {
        self.before.clear();
        Arc::new(std::mem::take(&mut self.watched))
    }

    /// The breakers of an API.
    pub(super) fn breakers(
        &mut self,
        api: &Api,
        handlers: &Arc<Handlers>,
    ) -> Result<Vec<PathBreaker>, String> {
        let mut found = Vec::with_capacity(api.breakers.len());
        for settings in &api.breakers {
            let path = Regex::new(&path_pattern(&settings.path)).map_err(|error| {
                format!("circuit breaker for path {:?}: {error}", settings.path)
            })?;
            let breaker = self.breaker(api, settings);
            self.watched.breakers.push(WatchedBreaker {
                api_id: api.id.clone(),
                settings: settings.clone(),
                breaker: breaker.clone(),
                handlers: handlers.clone(),
            });
            found.push(PathBreaker {
                path,
                method: settings.method.clone(),
                breaker,
            });
        }
        Ok(found)
    }

    fn breaker(&mut self, api: &Api, settings: &CircuitBreaker) -> Arc<Breaker> {
        let key = (
            api.id.clone(),
            settings.path.clone(),
            settings.method.clone(),
        );
        let before = self.before.get(&key).filter(|(known, _)| known == settings);
        let breaker = before.map_or_else(
            || Arc::new(Breaker::new(settings)),
            |(_, known)| known.clone(),
        );
        self.breakers
            .insert(key, (settings.clone(), breaker.clone()));
        breaker
    }
}
