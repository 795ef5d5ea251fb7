//! Breakers and tests of APIs: the same as before for as long as their definition asks for the same.

use std::{collections::HashMap, sync::Arc};

use portcullis_apidef::{Api, CircuitBreaker, Target, UptimeTest};
use portcullis_policy::path_pattern;
use regex::Regex;

use super::{Finding, warning};
use crate::{
    events::Handlers,
    health::{Breaker, Health, Host, Test, TestState, WatchedBreaker},
    proxy::pool::Endpoint,
    snapshot::PathBreaker,
};

/// What outlives builds.
#[derive(Default)]
pub(super) struct HealthParts {
    breakers: HashMap<BreakerKey, Kept>,
    /// Of the build before, until this one is done.
    before: HashMap<BreakerKey, Kept>,
    states: HashMap<TestKey, Arc<TestState>>,
    states_before: HashMap<TestKey, Arc<TestState>>,
    hosts: HashMap<HostKey, Arc<Host>>,
    hosts_before: HashMap<HostKey, Arc<Host>>,
    watched: Health,
}

/// API, what is asked.
type TestKey = (String, UptimeTest);

/// Host, port.
type HostKey = (String, u16);

/// API, path, method.
type BreakerKey = (String, String, Option<String>);

type Kept = (CircuitBreaker, Arc<Breaker>);

impl HealthParts {
    /// A build begins.
    pub(super) fn begin(&mut self) {
        self.before.extend(self.breakers.drain());
        self.states_before.extend(self.states.drain());
        self.hosts_before.extend(self.hosts.drain());
        self.watched = Health::default();
    }

    /// The build is done: what it did not ask for is forgotten.
    pub(super) fn finish(&mut self) -> Arc<Health> {
        self.before.clear();
        self.states_before.clear();
        self.hosts_before.clear();
        self.watched.hosts = self.hosts.values().cloned().collect();
        self.watched.hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Arc::new(std::mem::take(&mut self.watched))
    }

    /// A test of an API; `endpoint` where a raw connection speaks TLS.
    pub(super) fn test(
        &mut self,
        api: &Api,
        asked: &UptimeTest,
        endpoint: Option<Arc<Endpoint>>,
        handlers: &Arc<Handlers>,
    ) {
        let key = (api.id.clone(), asked.clone());
        let known = self
            .states
            .get(&key)
            .or_else(|| self.states_before.get(&key));
        let state = known.cloned().unwrap_or_default();
        self.states.insert(key, state.clone());
        let host = self.host(&asked.target);
        self.watched.tests.push(Arc::new(Test {
            api_id: api.id.clone(),
            asked: asked.clone(),
            host,
            endpoint,
            handlers: handlers.clone(),
            state,
        }));
    }

    /// The hosts of an API's targets, where those that are down are passed over.
    pub(super) fn hosts(&mut self, api: &Api) -> Vec<Arc<Host>> {
        if !api.upstream.skip_down {
            return Vec::new();
        }
        let targets = &api.upstream.targets;
        self.watched.balanced.push((api.id.clone(), targets.len()));
        targets.iter().map(|target| self.host(target)).collect()
    }

    fn host(&mut self, target: &Target) -> Arc<Host> {
        let key = (target.host.clone(), target.port);
        let known = self.hosts.get(&key).or_else(|| self.hosts_before.get(&key));
        let host = known.cloned().unwrap_or_else(|| {
            let (host, port) = &key;
            let name = match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            };
            Arc::new(Host::new(name))
        });
        self.hosts.insert(key, host.clone());
        host
    }

    /// Targets that are never passed over because nobody tests them.
    pub(super) fn advice(&self, balanced: &[(String, Vec<Arc<Host>>)]) -> Vec<Finding> {
        let is_tested = |host: &Arc<Host>| {
            self.watched
                .tests
                .iter()
                .any(|test| Arc::ptr_eq(&test.host, host))
        };
        let mut findings = Vec::new();
        for (api_id, hosts) in balanced {
            let mut untested: Vec<&str> = hosts
                .iter()
                .filter(|host| !is_tested(host))
                .map(|host| &*host.name)
                .collect();
            untested.sort_unstable();
            untested.dedup();
            if !untested.is_empty() {
                findings.push(warning(
                    &format!("API {api_id}"),
                    format!(
                        "targets are never passed over, because no uptime test is about their host and port: {}",
                        untested.join(", ")
                    ),
                ));
            }
        }
        findings
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
