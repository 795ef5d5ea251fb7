//! Everything a handshake or a request needs, in one immutable value.
//!
//! A snapshot is built aside from configuration and definitions, checked, and swapped whole.
//! Workers read it without locks; a request that began under one finishes under it.
//!
//! Invariants:
//! - A route leads to an API that can be enforced as written, or to a quarantine that answers 503.
//! - Numbers of APIs and endpoints ([`Numbers`]) stay the same over reloads, so counters and pools
//!   of what did not change live on.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use portcullis_apidef::{Api, Protocol, Rate, Scheme, policies::PolicySet};
use portcullis_pki::Revocation;
use portcullis_policy::{RouteTable, TcpTable};
use portcullis_tls::server::ServerConfig;
use regex::Regex;

use crate::{
    access::{jwt::Verifier, window::Window},
    clients::{ClientList, InUse},
    events::Handlers,
    health::{Breaker, Health, Host},
    observe::CertificateExpiry,
    overrides::Overrides,
    proxy::{
        login::Login,
        pool::{Endpoint, Http2Use, TlsKey},
    },
};

/// The state of the whole gateway at one moment. Cheap to clone.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// Counts reloads, from 1.
    pub generation: u64,
    /// What each port does.
    pub ports: BTreeMap<u16, Port>,
    /// Policies of keys. The same value as long as they are the same.
    pub policies: Arc<PolicySet>,
    /// Whose certificates the Control API demands, where it does.
    pub control_list: Option<Arc<ClientList>>,
    /// Numbers of the endpoints that requests may go to.
    pub endpoints: Arc<HashSet<usize>>,
    /// What is watched of its upstreams.
    pub health: Arc<Health>,
}

impl Snapshot {
    /// Each server certificate once, with its expiry.
    pub fn server_certificates(&self) -> Vec<CertificateExpiry> {
        let mut seen = HashSet::new();
        self.ports
            .values()
            .filter_map(|port| port.tls.as_ref())
            .flat_map(|tls| tls.settings().serving.certificates())
            .filter(|key| seen.insert(key.facts().fingerprint))
            .map(|key| {
                let facts = key.facts();
                let name = facts.dns_names.first().unwrap_or(&facts.subject_cn).clone();
                CertificateExpiry {
                    role: "server",
                    id: facts.fingerprint.to_string(),
                    name,
                    not_after: facts.not_after,
                }
            })
            .collect()
    }
}

/// What one listening port does. Cheap to clone.
#[derive(Clone)]
pub struct Port {
    /// What is spoken.
    pub protocol: Protocol,
    /// TLS settings and certificates, when `protocol` is one that needs them.
    pub tls: Option<ServerConfig>,
    /// The Control API answers here.
    pub control: bool,
    /// A PROXY protocol header comes first.
    pub proxy_protocol: bool,
    /// Who answers.
    pub service: Arc<Service>,
}

/// Who answers on a port.
pub enum Service {
    /// APIs by host and path.
    Http(HttpService),
    /// One service by server name, bytes relayed.
    Tcp {
        /// Which one.
        table: TcpTable,
        /// By `api_id`.
        apis: HashMap<String, Arc<RunningApi>>,
    },
}

/// APIs of one HTTP port.
pub struct HttpService {
    /// Which route a request takes.
    pub table: RouteTable,
    /// The API of each route, by the route's index; `None` for a quarantined one.
    pub apis: Vec<Option<Arc<RunningApi>>>,
    /// Versions that routes may lead to, by `api_id`.
    pub versions: Arc<HashMap<String, Arc<RunningApi>>>,
}

/// An API with what a request needs of it at hand.
pub struct RunningApi {
    /// The definition.
    pub api: Arc<Api>,
    /// Its number for counters.
    pub slot: usize,
    /// Where each of its targets is, in their order.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The hosts of its targets, where those that are down are passed over; else none.
    pub hosts: Vec<Arc<Host>>,
    /// Deadlines by path, first match wins.
    pub timeouts: Vec<PathTimeout>,
    /// Circuit breakers by path, first match wins.
    pub breakers: Vec<PathBreaker>,
    /// Paths without authentication.
    pub open_paths: Vec<OpenPath>,
    /// How often all callers together may call it.
    pub rate: Option<ApiRate>,
    /// Whose client certificates pass, where it has an allow list.
    pub clients: Option<Arc<ClientList>>,
    /// What judges the tokens of others, where it takes some.
    pub tokens: Option<Arc<Verifier>>,
    /// What it proves itself with to its upstreams in a header field.
    pub login: Option<Arc<Login>>,
    /// Certificates shown to its upstreams, where their ends are watched.
    pub shown: Option<Arc<InUse>>,
    /// Which revocation lists count for its clients; the allow list, where it has one, asks them by itself.
    pub revocation: Arc<Revocation>,
    /// Rules that replace its error answers, where there are any.
    pub overrides: Option<Arc<Overrides>>,
    /// Who is told what happens to it.
    pub events: Arc<Handlers>,
}

/// The rate of an API as a whole.
pub struct ApiRate {
    /// How many in what time.
    pub rate: Rate,
    /// Where this node counts.
    pub window: Arc<Window>,
    /// Where nodes count together.
    pub name: String,
}

/// A deadline for some requests of an API.
pub struct PathTimeout {
    /// On the path after the listen path.
    pub path: Regex,
    /// Upper-case method, `None` for every.
    pub method: Option<String>,
    /// The deadline.
    pub timeout: Duration,
}

/// A circuit breaker for some requests of an API.
pub struct PathBreaker {
    /// On the path after the listen path.
    pub path: Regex,
    /// Upper-case method, `None` for every.
    pub method: Option<String>,
    /// The breaker.
    pub breaker: Arc<Breaker>,
}

/// Requests of an API that nobody has to prove anything for.
pub struct OpenPath {
    /// On the whole path after the listen path.
    pub path: Regex,
    /// Upper-case method, `None` for every.
    pub method: Option<String>,
}

impl RunningApi {
    /// Whether a request is for a path without authentication. `path` is asked for only where there
    /// is any.
    pub fn is_open<P: AsRef<str>>(&self, method: &str, path: impl FnOnce() -> P) -> bool {
        if self.open_paths.is_empty() {
            return false;
        }
        let path = path();
        self.open_paths.iter().any(|open| {
            open.method.as_deref().is_none_or(|wanted| wanted == method)
                && open.path.is_match(path.as_ref())
        })
    }

    /// The place of the target whose turn it is, hosts that are down passed over; `None` when all are. `turn` is
    /// asked only where there are several.
    pub fn target(&self, turn: impl FnOnce() -> usize) -> Option<usize> {
        let count = self.endpoints.len();
        let first = if count > 1 { turn() % count } else { 0 };
        if self.hosts.is_empty() {
            return Some(first);
        }
        let mut places = (first..count).chain(0..first);
        places.find(|place| !self.hosts[*place].is_down())
    }

    /// It relays bytes instead of serving requests.
    pub fn is_raw(&self) -> bool {
        matches!(
            self.api.listener.protocol,
            Some(Protocol::Tcp | Protocol::Tls)
        )
    }

    /// The breaker a request has to pass.
    pub fn breaker(&self, method: &str, path: &str) -> Option<&Arc<Breaker>> {
        let rule = self.breakers.iter().find(|rule| {
            rule.method.as_deref().is_none_or(|wanted| wanted == method) && rule.path.is_match(path)
        });
        rule.map(|rule| &rule.breaker)
    }

    /// The deadline for a request: of its endpoint, else of the API.
    pub fn timeout(&self, method: &str, path: &str) -> Option<Duration> {
        self.timeouts
            .iter()
            .find(|rule| {
                rule.method.as_deref().is_none_or(|wanted| wanted == method)
                    && rule.path.is_match(path)
            })
            .map(|rule| rule.timeout)
            .or(self.api.enforce_timeout)
    }
}

/// Numbers given to things by name, once and for the life of the process.
#[derive(Default)]
pub struct Numbers {
    endpoints: HashMap<EndpointKey, usize>,
}

/// What makes connections to two endpoints interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// What is spoken.
    pub scheme: Scheme,
    /// Whether HTTP/2 is.
    pub http2: Http2Use,
    /// `Host` value.
    pub authority: String,
    /// Where.
    pub host: String,
    /// Where.
    pub port: u16,
    /// Everything about TLS.
    pub tls: TlsKey,
    /// By which way.
    pub way: WayKey,
}

/// What makes two ways to an endpoint differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WayKey {
    /// Straight.
    Direct,
    /// By the proxy with this number, which forwards requests.
    Forwarded(usize),
    /// Through a tunnel of the proxy with this number.
    Tunnelled(usize),
    /// Nowhere, for this reason.
    Barred(Arc<str>),
}

impl EndpointKey {
    /// What its connections depend on: where a proxy forwards requests they end at the proxy, whatever the
    /// requests are for.
    pub fn of_connections(self) -> Self {
        match self.way {
            WayKey::Forwarded(_) => Self {
                authority: String::new(),
                host: String::new(),
                port: 0,
                ..self
            },
            WayKey::Direct | WayKey::Tunnelled(_) | WayKey::Barred(_) => self,
        }
    }
}

impl Numbers {
    /// The number of an endpoint's connections.
    pub fn endpoint(&mut self, key: &EndpointKey) -> usize {
        let next = self.endpoints.len();
        let key = key.clone().of_connections();
        *self.endpoints.entry(key).or_insert(next)
    }
}
