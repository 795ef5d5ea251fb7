//! The Control API and the health endpoints: requests in, responses out, no transport.
//!
//! A request is taken in this order: an unclean path is sent to its clean form; health and metrics
//! answer under their own names; everything under `/tyk` needs the secret, then a client
//! certificate where one is demanded, and only then is anything said about what exists.
//!
//! Invariants:
//! - An empty secret lets nobody in.
//! - What is shown comes from the loaded set; what is changed are files, one change at a time.
//! - Nothing here runs on a worker, and files are touched where they hold nobody up.

mod answer;
mod cache;
mod certificates;
mod endpoint;
mod handshakes;
mod health;
mod inventory;
mod keys;
mod links;
mod org_keys;
mod policies;
mod reading;
mod runtime;
mod traffic;
mod writing;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{Arc, PoisonError},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use portcullis_apidef::control::Rejection;
use portcullis_config::{GatewayConfig, Resolver, Secret};
use portcullis_store::Signal;
use serde_json::json;
use tokio::sync::Mutex;

pub use self::runtime::{LoadedSet, QuarantineEntry, Readiness, Runtime};
use self::{
    answer::Answer,
    endpoint::{CacheCall, Endpoint, NoEndpoint},
    health::Health,
    keys::Keys,
    policies::Policies,
    traffic::TrafficWindow,
    writing::{Query, Writing},
};
use crate::{
    clients::Barred,
    definitions::DefinitionFiles,
    flight::{Check, Entry, FlightRecorder, Leaf, Stage},
    links::Links,
    observe::{Registry, WorkerCounters},
    policies::PolicyFiles,
    stores::Stores,
};

/// Content type of metrics.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The header that carries the secret.
const AUTHORIZATION: &str = "x-tyk-authorization";

/// A request to the Control API, its body read.
#[derive(Clone)]
pub struct ControlRequest {
    /// Method.
    pub method: Method,
    /// Path as sent.
    pub path: String,
    /// Query without `?`.
    pub query: Option<String>,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The client's address.
    pub peer: IpAddr,
    /// It came by TLS.
    pub tls: bool,
    /// What the Control API's list says of the client's certificate; `None` where nobody asked it.
    pub admitted: Option<Result<(), Barred>>,
    /// The client's certificate where that list does not let it pass.
    pub barred_leaf: Option<Leaf>,
}

/// The Control API.
pub struct ControlApi {
    config: Arc<GatewayConfig>,
    runtime: Arc<dyn Runtime>,
    registry: Arc<Registry>,
    stores: Stores,
    files: Arc<Mutex<DefinitionFiles>>,
    policy_files: Arc<Mutex<PolicyFiles>>,
    health: Health,
    traffic: TrafficWindow,
    flight: Arc<FlightRecorder>,
    links: Arc<Links>,
    /// Where it counts whom it refuses, beside the workers.
    refusals: std::sync::Mutex<Arc<WorkerCounters>>,
}

/// What a path outside `/tyk` leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    ControlApi,
    Live,
    Ready,
    Metrics,
}

impl ControlApi {
    /// The Control API of a gateway.
    pub fn new(
        config: Arc<GatewayConfig>,
        runtime: Arc<dyn Runtime>,
        registry: Arc<Registry>,
        stores: Stores,
        flight: Arc<FlightRecorder>,
        links: Links,
    ) -> Self {
        if config.secret_is_default() {
            tracing::warn!(
                key = "secret",
                "THE SECRET IS THE SHIPPED DEFAULT, WHICH EVERYBODY KNOWS: whoever reaches the Control API \
                 controls this gateway; set `secret` to a long random text"
            );
        }
        let app_path = &config.definitions.app_path;
        Self {
            runtime,
            refusals: std::sync::Mutex::new(registry.worker()),
            registry,
            files: Arc::new(Mutex::new(DefinitionFiles::new(app_path))),
            policy_files: Arc::new(Mutex::new(PolicyFiles::new(
                &config.definitions,
                &config.base,
            ))),
            health: Health::new(
                app_path.clone(),
                config.control.liveness_check_duration,
                stores.engine().health(),
                stores.engine().is_shared(),
            ),
            traffic: TrafficWindow::new(config.control.health_check_window),
            flight,
            links: Arc::new(links),
            stores,
            config,
        }
    }

    /// True when the Control API answers this path, which is as the client sent it.
    pub fn owns(&self, path: &str) -> bool {
        endpoint::readable(path).is_some_and(|path| self.place(&path).is_some())
    }

    /// Answers a request.
    pub async fn handle(&self, request: ControlRequest) -> Response<Bytes> {
        let Some(path) = endpoint::readable(&request.path) else {
            return answer::not_ours();
        };
        let Some(place) = self.place(&path) else {
            return answer::not_ours();
        };
        if let Some(clean) = endpoint::cleaned(&request.path) {
            let query = request
                .query
                .as_ref()
                .map_or(String::new(), |query| format!("?{query}"));
            return answer::moved(&format!("{clean}{query}"));
        }
        if place == Place::ControlApi {
            return match self.refusal(&request) {
                Some(refusal) => refusal,
                None => self.answer(&path, &request).await,
            };
        }
        if request.method != Method::GET {
            return answer::error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        }
        match place {
            Place::ControlApi | Place::Live => self.health.live(&request.headers).await,
            Place::Ready => {
                let loaded = self.runtime.loaded();
                self.health
                    .ready(self.runtime.readiness(), &loaded, &request.headers)
                    .await
            }
            Place::Metrics => self.metrics(&request).await,
        }
    }

    /// What a clean, decoded path leads to. Names are compared case by case.
    fn place(&self, path: &str) -> Option<Place> {
        let control = &self.config.control;
        if path == "/tyk" || path.starts_with("/tyk/") {
            Some(Place::ControlApi)
        } else if path == control.liveness_path || path == "/livez" {
            Some(Place::Live)
        } else if path == control.readiness_path || path == "/readyz" {
            Some(Place::Ready)
        } else if path == "/metrics" {
            Some(Place::Metrics)
        } else {
            None
        }
    }

    /// Why this request may not use the Control API; `None` when it may.
    fn refusal(&self, request: &ControlRequest) -> Option<Answer> {
        let forbidden = |message: &str| {
            tracing::warn!(client = %request.peer, path = ?request.path, "Control API: {message}");
            Some(answer::error(StatusCode::FORBIDDEN, message))
        };
        let security = &self.config.security;
        let given = request
            .headers
            .get(AUTHORIZATION)
            .map_or(&b""[..], |value| value.as_bytes());
        if !is_secret(&security.secret, given) {
            return forbidden("Attempted administrative access with invalid or missing key!");
        }
        if !security.control_api_use_mutual_tls {
            return None;
        }
        match &request.admitted {
            Some(Ok(())) => None,
            Some(Err(barred)) => {
                self.note(request, barred);
                forbidden(&barred.to_string())
            }
            None => forbidden(&Barred::NoCertificate.to_string()),
        }
    }

    /// Notes who was refused by the Control API's list. Ids in its paths may be keys, so they are left out.
    fn note(&self, request: &ControlRequest, barred: &Barred) {
        let listen = &self.config.listen;
        let port = listen.control_port.unwrap_or(listen.port);
        let check = Check::barred(Stage::ControlApi, barred);
        let host = request.headers.get(http::header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path: String = request.path.split_inclusive('/').take(3).collect();
        let now = SystemTime::now();
        let entry = Entry::new(now, request.peer, port, check, &barred.detail());
        let entry = entry.of_request(host, &path);
        self.flight
            .keep(entry.presenting(request.barred_leaf.clone()));
        // Counters have one writer at a time.
        let refusals = self.refusals.lock();
        let refusals = refusals.unwrap_or_else(PoisonError::into_inner);
        refusals.client_refused(check.label());
    }

    /// Answers somebody who may ask.
    async fn answer(&self, path: &str, request: &ControlRequest) -> Answer {
        let path = path.strip_prefix("/tyk").unwrap_or(path).trim_matches('/');
        let edge = self.config.bridge.use_rpc;
        let (endpoint, id) = match endpoint::find(&request.method, path, edge) {
            Ok(found) => found,
            Err(NoEndpoint::UnknownPath) => return answer::unknown_path(),
            Err(NoEndpoint::OtherMethod) => {
                return answer::error(StatusCode::METHOD_NOT_ALLOWED, "Method not supported");
            }
        };
        let query = query(request.query.as_deref());
        match endpoint {
            Endpoint::Reload => {
                if parameter(&query, "block") == Some("true") {
                    self.runtime.reload_and_wait().await;
                } else {
                    self.runtime.request_reload();
                }
                answer::ok("")
            }
            // The signal goes to every node that shares the store, this one included.
            Endpoint::ReloadGroup => {
                if let Err(error) = self.stores.signals().send(&Signal::Reload).await {
                    tracing::error!(%error, "no other node could be asked to reload; this one does");
                    self.runtime.request_reload();
                }
                answer::ok("")
            }
            Endpoint::Schema => schema(&query),
            Endpoint::Health => self.api_health(&query),
            Endpoint::Certificates(call) => {
                certificates::answer(
                    call,
                    self.stores.certificates(),
                    &*self.runtime,
                    id.unwrap_or_default(),
                    &query,
                    &request.body,
                )
                .await
            }
            Endpoint::Inventory => {
                let loaded = self.runtime.loaded();
                inventory::answer(&self.config, &loaded, &self.stores, &query).await
            }
            Endpoint::Handshakes => handshakes::answer(&self.flight, &query),
            Endpoint::Links => {
                let links = self.links.clone();
                aside(move || Ok(links::answer(&links, &query))).await
            }
            Endpoint::Keys(call) => {
                let keys = Keys {
                    sessions: self.stores.sessions(),
                    certificates: self.stores.certificates(),
                    loaded: &self.runtime.loaded(),
                    query: &query,
                    body: &request.body,
                };
                // Boxed: these are large, and calls are few.
                Box::pin(keys.answer(call, id.unwrap_or_default())).await
            }
            Endpoint::Policies(call) => {
                let files = self.policy_files.clone().lock_owned().await;
                let loaded = self.runtime.loaded();
                let any_id = self.config.definitions.allow_unsafe_policy_ids;
                let (id, body) = (id.unwrap_or_default().to_owned(), request.body.clone());
                aside(move || {
                    let policies = Policies {
                        loaded: &loaded.policies,
                        files: &files,
                        any_id,
                    };
                    policies.answer(call, &id, &body)
                })
                .await
            }
            Endpoint::Organisations(call) => {
                let loaded = self.runtime.loaded();
                let org = id.unwrap_or_default();
                let sessions = self.stores.sessions();
                org_keys::answer(call, sessions, &loaded, org, &query, &request.body).await
            }
            Endpoint::Cache(CacheCall::Answers) => {
                cache::invalidate(self.stores.engine(), id.unwrap_or_default()).await
            }
            Endpoint::Cache(CacheCall::KeySets) => {
                cache::forget_key_sets(self.stores.signals(), id.unwrap_or_default()).await
            }
            Endpoint::Show(show) => {
                let loaded = self.runtime.loaded();
                let id = id.unwrap_or_default().to_owned();
                let public = parameter(&query, "mode") == Some("public");
                aside(move || reading::answer(show, &loaded, &id, public)).await
            }
            Endpoint::Change(change) => {
                let files = self.files.clone().lock_owned().await;
                let loaded = self.runtime.loaded();
                let dashboard = self.config.dashboard.use_db_app_configs;
                let (references, base) = (self.config.references.clone(), self.config.base.clone());
                let (id, body) = (id.unwrap_or_default().to_owned(), request.body.clone());
                aside(move || {
                    let writing = Writing {
                        files: &files,
                        loaded: &loaded,
                        dashboard,
                        // A call is a round of its own: what it is told is no older than itself.
                        resolver: Resolver::new(references, base, |name| std::env::var(name).ok())
                            .into(),
                    };
                    writing.answer(change, &id, &body, &query)
                })
                .await
            }
        }
    }

    /// `/tyk/health`
    fn api_health(&self, query: &Query) -> Answer {
        if !self.config.control.enable_health_checks {
            return answer::error(
                StatusCode::BAD_REQUEST,
                "Health checks are not enabled for this node",
            );
        }
        let Some(id) = parameter(query, "api_id").filter(|id| !id.is_empty()) else {
            return answer::error(StatusCode::BAD_REQUEST, "missing api_id parameter");
        };
        if self.runtime.loaded().find(id).is_none() {
            return answer::error(StatusCode::NOT_FOUND, "API ID not found");
        }
        answer::shown(
            &self
                .traffic
                .look(id, Instant::now(), self.registry.totals(id)),
        )
    }

    /// `/metrics`. On a port of its own the Control API is out of clients' reach, and a scraper
    /// needs no secret; on a port shared with APIs it does.
    async fn metrics(&self, request: &ControlRequest) -> Answer {
        let own_port = self.config.listen.control_port.is_some();
        let header = |name| {
            request
                .headers
                .get(name)
                .map(|value: &http::HeaderValue| value.as_bytes())
        };
        let bearer = header("authorization").and_then(|value| value.strip_prefix(b"Bearer "));
        let given = [header(AUTHORIZATION), bearer];
        let secret = &self.config.security.secret;
        if !own_port
            && !given
                .into_iter()
                .flatten()
                .any(|given| is_secret(secret, given))
        {
            let message = "Attempted administrative access with invalid or missing key!";
            return answer::error(StatusCode::FORBIDDEN, message);
        }
        let registry = self.registry.clone();
        // Ten thousand APIs make a long page, and `/proc` is files.
        let page = move || {
            Ok(answer::with_body(
                StatusCode::OK,
                METRICS,
                registry.render(),
            ))
        };
        aside(page).await
    }
}

/// Runs work on a thread that may wait for files.
async fn aside(work: impl FnOnce() -> Result<Answer, Rejection> + Send + 'static) -> Answer {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.unwrap_or_else(|rejection| answer::rejected(&rejection)),
        Err(error) => {
            tracing::error!(%error, "the Control API failed to answer");
            answer::error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}

/// Compares without telling by its time how much was right. An empty secret equals nothing.
fn is_secret(secret: &Secret, given: &[u8]) -> bool {
    let secret = secret.reveal().as_bytes();
    !secret.is_empty() && secret.len() == given.len() && openssl::memcmp::eq(secret, given)
}

/// `/tyk/schema`: this build carries no schema of OAS definitions, whatever the version.
fn schema(query: &Query) -> Answer {
    let version = parameter(query, "oasVersion").unwrap_or_default();
    let message = format!("Schema not found for version \"{version}\"");
    answer::json(
        StatusCode::NOT_FOUND,
        &json!({ "status": "Failed", "message": message }),
    )
}

fn query(text: Option<&str>) -> Query {
    form_urlencoded::parse(text.unwrap_or_default().as_bytes())
        .map(|(key, value): (Cow<'_, str>, Cow<'_, str>)| (key.into_owned(), value.into_owned()))
        .collect()
}

/// The first value of a parameter.
fn parameter<'q>(query: &'q Query, name: &str) -> Option<&'q str> {
    query
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}
