//! Breakers and tests of APIs: the same as before for as long as their definition asks for the same.
//!
//! Invariant: only APIs that requests reach are watched; for one that is switched off or has no place nobody's
//! upstream is tested.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use portcullis_apidef::{Api, CircuitBreaker, Target, UptimeTest, VersionTarget};
use portcullis_policy::path_pattern;
use regex::Regex;

use super::{Finding, warning};
use crate::{
    events::Handlers,
    health::{Breaker, Health, Host, Test, TestState, WatchedBreaker},
    proxy::pool::Endpoint,
    snapshot::{PathBreaker, RunningApi},
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
    /// In the order of the definitions.
    parts: Vec<Part>,
}

/// What is to be watched of an API, if requests reach it.
pub(super) struct Part {
    api_id: String,
    breakers: Vec<WatchedBreaker>,
    tests: Vec<Arc<Test>>,
    /// Of its targets, in their order, where those that are down are passed over.
    hosts: Vec<Arc<Host>>,
}

impl Part {
    /// Nothing yet.
    pub(super) fn of(api: &Api) -> Self {
        Self {
            api_id: api.id.clone(),
            breakers: Vec::new(),
            tests: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

/// The APIs that requests reach: those that are switched on and have the place they ask for, and the versions of
/// those, which need no place of their own.
pub(super) fn reached(order: &[Arc<RunningApi>], displaced: &HashSet<String>) -> HashSet<String> {
    let placed = order
        .iter()
        .map(|running| &*running.api)
        .filter(|api| api.active && !displaced.contains(&api.id));
    let mut reached = HashSet::new();
    for api in placed {
        reached.insert(api.id.clone());
        let Some(versioning) = &api.versioning else {
            continue;
        };
        reached.extend(versioning.versions.iter().map(|(_, id)| id.clone()));
        if let Some(VersionTarget::Api(id)) = &versioning.default {
            reached.insert(id.clone());
        }
    }
    reached
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
        self.parts.clear();
    }

    /// The build is done: what it did not ask for is forgotten. What is to be watched of the APIs that are
    /// `reached`, and what there is to say of it.
    pub(super) fn finish(&mut self, reached: &HashSet<String>) -> (Arc<Health>, Vec<Finding>) {
        self.before.clear();
        self.states_before.clear();
        self.hosts_before.clear();
        let mut parts = std::mem::take(&mut self.parts);
        parts.retain(|part| reached.contains(&part.api_id));
        let findings = untested(&parts);
        let mut health = Health::default();
        for part in parts {
            health
                .hosts
                .extend(part.tests.iter().map(|test| test.host.clone()));
            if !part.hosts.is_empty() {
                health.balanced.push((part.api_id, part.hosts.len()));
            }
            health.hosts.extend(part.hosts);
            health.breakers.extend(part.breakers);
            health.tests.extend(part.tests);
        }
        health.hosts.sort_by(|a, b| a.name.cmp(&b.name));
        health.hosts.dedup_by(|a, b| Arc::ptr_eq(a, b));
        (Arc::new(health), findings)
    }

    /// This is to be watched, if requests reach the API.
    pub(super) fn watch(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// A test of an API; `endpoint` where it is a raw connection. One that is written twice is one test.
    pub(super) fn test(
        &mut self,
        part: &mut Part,
        asked: &UptimeTest,
        endpoint: Option<Arc<Endpoint>>,
        handlers: &Arc<Handlers>,
    ) {
        let key = (part.api_id.clone(), asked.clone());
        let known = self
            .states
            .get(&key)
            .or_else(|| self.states_before.get(&key));
        let state = known.cloned().unwrap_or_default();
        self.states.insert(key, state.clone());
        if part
            .tests
            .iter()
            .any(|test| Arc::ptr_eq(&test.state, &state))
        {
            return;
        }
        let host = self.host(&asked.target);
        part.tests.push(Arc::new(Test {
            api_id: part.api_id.clone(),
            asked: asked.clone(),
            host,
            endpoint,
            handlers: handlers.clone(),
            state,
        }));
    }

    /// The hosts of an API's targets, where those that are down are passed over.
    pub(super) fn hosts(&mut self, part: &mut Part, api: &Api) -> Vec<Arc<Host>> {
        if api.upstream.skip_down {
            let targets = api.upstream.targets.iter();
            part.hosts = targets.map(|target| self.host(target)).collect();
        }
        part.hosts.clone()
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

    /// The breakers of an API. Of several for the same requests the first is at work, as it would be met first.
    ///
    /// # Errors
    /// Why the API cannot be enforced as written.
    pub(super) fn breakers(
        &mut self,
        part: &mut Part,
        api: &Api,
        handlers: &Arc<Handlers>,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<PathBreaker>, String> {
        let mut known = HashSet::new();
        let mut found = Vec::with_capacity(api.breakers.len());
        for settings in &api.breakers {
            let (path, method) = (&settings.path, &settings.method);
            if !known.insert((path, method)) {
                findings.push(warning(
                    &format!("API {}", api.id),
                    format!(
                        "there are several circuit breakers for {} {path}: the first of them is in force",
                        method.as_deref().unwrap_or("any method")
                    ),
                ));
                continue;
            }
            let path = Regex::new(&path_pattern(path))
                .map_err(|error| format!("circuit breaker for path {path:?}: {error}"))?;
            let breaker = self.breaker(api, settings);
            part.breakers.push(WatchedBreaker {
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

/// Targets that are never passed over because nobody tests them.
fn untested(parts: &[Part]) -> Vec<Finding> {
    let tested: HashSet<_> = parts
        .iter()
        .flat_map(|part| &part.tests)
        .map(|test| Arc::as_ptr(&test.host))
        .collect();
    let mut findings = Vec::new();
    for part in parts {
        let mut untested: Vec<&str> = part
            .hosts
            .iter()
            .filter(|host| !tested.contains(&Arc::as_ptr(host)))
            .map(|host| &*host.name)
            .collect();
        untested.sort_unstable();
        untested.dedup();
        if !untested.is_empty() {
            findings.push(warning(
                &format!("API {}", part.api_id),
                format!(
                    "targets are never passed over, because no uptime test is about their host and port: {}",
                    untested.join(", ")
                ),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use portcullis_apidef::parse_classic;
    use serde_json::{Value, json};

    use super::*;

    fn api(breakers: &Value, tests: &Value) -> Api {
        let definition = json!({
            "api_id": "a", "use_keyless": true, "active": true,
            "proxy": {"listen_path": "/", "target_url": "http://up.test"},
            "version_data": {"not_versioned": true, "versions": {"Default": {
                "use_extended_paths": true, "extended_paths": {"circuit_breakers": breakers},
            }}},
            "uptime_tests": {"check_list": tests},
        });
        let parsed = parse_classic(definition.to_string().as_bytes());
        parsed.expect("a definition").api
    }

    fn breaker(path: &str, method: &str, cooldown: u64) -> Value {
        json!({
            "path": path, "method": method, "threshold_percent": 0.5, "samples": 1,
            "return_to_service_after": cooldown,
        })
    }

    /// As a build of one API that requests reach, or not.
    fn built(
        parts: &mut HealthParts,
        api: &Api,
        is_reached: bool,
    ) -> (Vec<PathBreaker>, Arc<Health>, Vec<Finding>) {
        let mut findings = Vec::new();
        parts.begin();
        let mut part = Part::of(api);
        let handlers = Arc::default();
        let breakers = parts
            .breakers(&mut part, api, &handlers, &mut findings)
            .expect("paths that compile");
        for asked in &api.uptime_tests {
            parts.test(&mut part, asked, None, &handlers);
        }
        parts.watch(part);
        let reached = HashSet::from([if is_reached { "a" } else { "b" }.to_owned()]);
        let (health, found) = parts.finish(&reached);
        findings.extend(found);
        (breakers, health, findings)
    }

    #[test]
    fn of_several_breakers_for_the_same_requests_the_first_is_in_force_and_a_reload_leaves_it() {
        let api = api(
            &json!([
                breaker("/x", "GET", 60),
                breaker("/x", "", 60),
                breaker("/x", "GET", 3600),
            ]),
            &json!([]),
        );
        let mut parts = HealthParts::default();
        let (before, health, findings) = built(&mut parts, &api, true);
        assert_eq!((before.len(), health.breakers.len()), (2, 2));
        assert_eq!(findings.len(), 1, "{findings:?}");
        let told = findings[0].to_string();
        assert!(
            told.contains("GET /x") && told.contains("the first"),
            "{told}"
        );
        assert_eq!(health.breakers[0].settings.cooldown.as_secs(), 60);
        let (after, ..) = built(&mut parts, &api, true);
        for (before, after) in before.iter().zip(&after) {
            assert!(Arc::ptr_eq(&before.breaker, &after.breaker));
        }
    }

    #[test]
    fn a_test_that_is_written_twice_is_one_and_nothing_is_watched_of_an_api_nobody_reaches() {
        let test = json!({"url": "http://up.test/health"});
        let tests = json!([test, test, {"url": "http://up.test/health", "method": "POST"}]);
        let api = api(&json!([breaker("/x", "GET", 60)]), &tests);
        let mut parts = HealthParts::default();
        let (_, health, _) = built(&mut parts, &api, true);
        assert_eq!((health.tests.len(), health.hosts.len()), (2, 1));
        let (breakers, health, _) = built(&mut parts, &api, false);
        assert_eq!(breakers.len(), 1);
        let watched = (
            health.breakers.len(),
            health.tests.len(),
            health.hosts.len(),
        );
        assert_eq!(watched, (0, 0, 0));
    }
}
