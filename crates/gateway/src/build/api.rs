//! One API as it runs: its endpoints, who may call it and how often, what is watched of it.
//!
//! Invariant: an API that cannot be enforced as written does not run; the reason is the error.

use std::{collections::HashSet, sync::Arc};

use portcullis_apidef::{Api, Authentication, Protocol, Rate, Scheme};
use portcullis_policy::path_pattern;
use portcullis_store::token;
use regex::Regex;

use super::{Builder, Finding, health::Part, hops, warning};
use crate::{
    access::jwt::Verifier,
    clients::{InUse, Watched},
    events::Handlers,
    overrides::Overrides,
    proxy::{
        dial::Way,
        login::Login,
        pool::{Endpoint, EndpointTls},
    },
    snapshot::{ApiRate, OpenPath, PathTimeout, RunningApi},
};

impl Builder {
    fn api_rate(&mut self, api: &Api, rate: Rate) -> ApiRate {
        let window = self.rates.entry(api.id.clone()).or_default().clone();
        let counted_as = format!("apilimiter-{}{}", api.org_id, api.id);
        let name = token::stored_name(&counted_as, self.config.identity.hash_keys);
        ApiRate {
            rate,
            window,
            name: format!("rate-limit-{name}"),
        }
    }

    /// What judges the tokens of others that an API takes, where it takes some: the same as before as long as its
    /// definition asks for the same.
    fn verifier(
        &mut self,
        api: &Api,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Arc<Verifier>>, String> {
        let Some(bearer) = api.authentication.bearer() else {
            return Ok(None);
        };
        let known = self.verifiers.get(&api.id).filter(|v| v.is_of(api, bearer));
        let verifier = match known {
            Some(known) => known.clone(),
            None => Arc::new(Verifier::of(api, bearer)?),
        };
        let advice = verifier.advice();
        findings.extend(advice.map(|advice| warning(&format!("API {}", api.id), advice)));
        self.verifiers.insert(api.id.clone(), verifier.clone());
        Ok(Some(verifier))
    }

    /// What an API proves itself with to its upstreams in a header field: the same as before as long as its
    /// definition asks for the same.
    fn login(&mut self, api: &Api) -> Result<Option<Arc<Login>>, String> {
        let Some(auth) = &api.upstream.auth else {
            self.logins.remove(&api.id);
            return Ok(None);
        };
        let known = self.logins.get(&api.id).filter(|login| login.is_of(auth));
        let login = match known {
            Some(known) => known.clone(),
            None => Arc::new(Login::of(api, auth)?),
        };
        self.logins.insert(api.id.clone(), login.clone());
        Ok(Some(login))
    }

    /// The certificates shown to an API's upstreams, where their ends are watched (outbound sheet 11).
    fn shown(&mut self, api: &Api, endpoints: &[Arc<Endpoint>]) -> Option<Arc<InUse>> {
        let identity = |endpoint: &Arc<Endpoint>| match &endpoint.tls {
            EndpointTls::Client(client, _) => client.settings().identity.clone(),
            EndpointTls::Clear | EndpointTls::Unready(_) => None,
        };
        let identities = endpoints.iter().filter_map(identity);
        let mut watched: Vec<Watched> = identities
            .map(|identity| Watched::of_facts(identity.facts()))
            .collect();
        watched.dedup();
        if watched.is_empty() || api.upstream.tls.certificates_disabled {
            self.shown.remove(&api.id);
            return None;
        }
        let before = self.shown.get(&api.id);
        if let Some(before) = before.filter(|before| before.watched() == watched) {
            return Some(before.clone());
        }
        let shown = Arc::new(InUse::new(watched));
        self.shown.insert(api.id.clone(), shown.clone());
        Some(shown)
    }

    /// An API ready to run, or why it must not.
    pub(super) fn run(
        &mut self,
        api: &Api,
        findings: &mut Vec<Finding>,
    ) -> Result<Arc<RunningApi>, String> {
        if !api.protections.is_empty() {
            let missing: Vec<String> = api.protections.iter().map(ToString::to_string).collect();
            return Err(format!(
                "it relies on what this version does not have yet: {}",
                missing.join(", ")
            ));
        }
        let raw = matches!(api.listener.protocol, Some(Protocol::Tcp | Protocol::Tls));
        if raw && (api.authentication != Authentication::Keyless || api.limits.rate.is_some()) {
            return Err(
                "keys and rate limits are for HTTP, its protocol is not; set use_keyless and leave \
                 global_rate_limit out if everybody may connect"
                    .into(),
            );
        }
        if raw && api.upstream.auth.is_some() {
            return Err(
                "credentials for its upstream stand in a header field of HTTP, and its protocol is not HTTP"
                    .into(),
            );
        }
        let upstream = self.endpoints.of_api(api)?;
        let hop_identity = self.endpoints.hop_identity(api, findings);
        let mut found = Vec::new();
        let mut endpoints = Vec::with_capacity(api.upstream.targets.len());
        for target in &api.upstream.targets {
            match (target.scheme, raw) {
                (Scheme::Loop, _) => {
                    return Err("targets inside the gateway (tyk://) are not supported yet".into());
                }
                (Scheme::Tcp | Scheme::Tls, false)
                | (Scheme::Http | Scheme::Https | Scheme::H2c, true) => {
                    return Err(format!(
                        "its protocol and its target {} do not fit together",
                        target.authority
                    ));
                }
                _ => {
                    let endpoint =
                        self.endpoints
                            .of(target, &upstream, &hop_identity, &mut found)?;
                    endpoints.push(endpoint);
                }
            }
        }
        findings.extend(hops::remarks(api, &endpoints));
        let timeouts = api
            .endpoint_timeouts
            .iter()
            .map(|rule| {
                let path = Regex::new(&path_pattern(&rule.path))
                    .map_err(|error| format!("timeout for path {:?}: {error}", rule.path))?;
                Ok(PathTimeout {
                    path,
                    method: rule.method.clone(),
                    timeout: rule.timeout,
                })
            })
            .collect::<Result<Vec<_>, String>>()?;
        let open_paths = api
            .open_paths
            .iter()
            .map(open_path)
            .collect::<Result<_, _>>()?;
        // Each once, however many targets there are.
        let mut seen = HashSet::new();
        findings.extend(
            found
                .into_iter()
                .filter(|finding| seen.insert(finding.to_string())),
        );
        let revocation = self.revocation(api, findings);
        let clients = self.client_list(api, &revocation, findings)?;
        let tokens = self.verifier(api, findings)?;
        let login = self.login(api)?;
        let events = Handlers::prepare(api, &self.config.base, findings);
        let mut part = Part::of(api);
        let breakers = self.health.breakers(&mut part, api, &events, findings)?;
        let mut proxied = false;
        for asked in &api.uptime_tests {
            let mut endpoint = None;
            if asked.is_raw() {
                let endpoints = &mut self.endpoints;
                let made =
                    endpoints.of(&asked.target, &upstream, &hop_identity, &mut Vec::new())?;
                proxied |= !matches!(made.way, Way::Direct);
                endpoint = Some(made);
            }
            self.health.test(&mut part, asked, endpoint, &events);
        }
        findings.extend(self.tests_that_fail(api, proxied));
        let hosts = self.health.hosts(&mut part, api);
        if api.upstream.auth.is_some() && endpoints.iter().any(|target| !target.tls.is_encrypted())
        {
            findings.push(warning(
                &format!("API {}", api.id),
                "what it proves itself with to its upstream travels in clear text: use an https:// target"
                    .to_owned(),
            ));
        }
        // Nothing can fail any more.
        self.health.watch(part);
        Ok(Arc::new(RunningApi {
            api: Arc::new(api.clone()),
            slot: self.registry.slot(&api.id),
            timeouts,
            breakers,
            hosts,
            open_paths,
            rate: api.limits.rate.map(|rate| self.api_rate(api, rate)),
            clients,
            revocation,
            tokens,
            login,
            shown: self.shown(api, &endpoints),
            endpoints,
            overrides: Overrides::of_api(&api.error_overrides, &self.overrides),
            events,
        }))
    }

    /// Uptime tests of an API that cannot succeed; `proxied` where a proxy leads to those of raw connections.
    fn tests_that_fail(&self, api: &Api, proxied: bool) -> Vec<Finding> {
        let mut tests = api.uptime_tests.iter();
        let clear = tests.any(|asked| asked.target.scheme == Scheme::Http);
        let fails = clear && self.config.external_services.health.mtls.enabled;
        let by_http = fails.then_some(
            "its uptime tests by http:// fail: external_services.health.mtls.enabled asks for TLS; \
             test by https://",
        );
        let raw = proxied.then_some(
            "its uptime tests by tcp:// and tls:// fail: connections are not tested through its proxy; \
             test by https://",
        );
        let place = format!("API {}", api.id);
        let said = by_http.into_iter().chain(raw);
        said.map(|said| warning(&place, said.to_owned())).collect()
    }
}

/// A path without authentication. The whole path has to match, so that no longer one is open by
/// accident.
fn open_path(rule: &portcullis_apidef::OpenPath) -> Result<OpenPath, String> {
    let case = if rule.ignore_case { "(?i)" } else { "" };
    let path = Regex::new(&format!("{case}^(?:{})$", path_pattern(&rule.path)))
        .map_err(|error| format!("path without authentication {:?}: {error}", rule.path))?;
    Ok(OpenPath {
        path,
        method: rule.method.clone(),
    })
}
