//! From configuration and definitions to a snapshot.
//!
//! Everything that can be wrong with an API in the light of the rest of the system is found here:
//! protections this build lacks, certificates that cannot be read, ports that are not allowed, paths
//! that are taken. `portcullis check` calls the same function, so what it says is what happens.
//!
//! Invariants:
//! - An API that relies on a protection this build lacks is quarantined, never served without it.
//! - A certificate that was usable stays in use when its file turns bad; the error says so.
//! - Building changes nothing that is being served.

mod api;
mod by_host;
mod clients;
mod endpoints;
mod explained;
mod health;
mod hop_identity;
mod hops;
mod keys;
mod revocation;
mod serving;
mod tls_settings;
mod upstream_settings;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use portcullis_apidef::{DefinitionFile, Protocol};
use portcullis_config::GatewayConfig;
use portcullis_pki::{CertifiedKey, Reference};
use portcullis_policy::{
    Answer, Candidate, ExplainedRoute, Quarantined, RouteOptions, RouteTable, TcpTable,
    port_protocols,
};
use portcullis_tls::{CipherList, TicketKeys, VersionRange};

use self::{
    endpoints::Endpoints, health::HealthParts, revocation::Crls, serving::Served,
    tls_settings::TlsSettings,
};
pub use self::{
    explained::{Entries, ExplainedDomain, ExplainedPort, asked},
    revocation::CrlInUse,
    serving::Update,
};
use crate::{
    access::{jwt::Verifier, window::Window},
    certificates::{Certificates, ListedCertificates, StoreAccess},
    clients::{ClientList, InUse},
    control::QuarantineEntry,
    definitions::UnreadableFile,
    observe::Registry,
    overrides::Overrides,
    policies::LoadedPolicies,
    proxy::login::Login,
    snapshot::{HttpService, Port, RunningApi, Service, Snapshot},
};

/// Something worth saying about a snapshot that stands all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// It keeps something from working as written.
    pub is_error: bool,
    /// Where: a file, a key, an API.
    pub place: String,
    /// What.
    pub message: String,
}

/// Why a configuration makes no snapshot at all: every reason there is.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct BuildError {
    /// The reasons, each with the key it is about.
    pub problems: Vec<Finding>,
}

fn lines(problems: &[Finding]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A snapshot and what was found while it was built.
pub struct Built {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Everything worth saying, once each.
    pub findings: Vec<Finding>,
    /// APIs that answer 503, and files that became no API.
    pub quarantine: Vec<QuarantineEntry>,
    /// What each host and listen path does, from a builder that explains.
    pub routes: Vec<ExplainedRoute>,
    /// What each port asks of clients, from a builder that explains.
    pub clients: Vec<ExplainedPort>,
    /// Ids of APIs whose allow list lets nobody pass.
    pub closed: Vec<String>,
    /// Revocation lists for client certificates.
    pub crls: Vec<CrlInUse>,
    /// APIs that are served.
    pub served: usize,
    /// APIs that are served and accept any certificate of their upstreams.
    pub unverified: usize,
    /// References to entries of the certificate store that cannot be used.
    pub unreadable: usize,
}

/// Builds snapshots, and remembers what is the same from one to the next.
pub struct Builder {
    config: Arc<GatewayConfig>,
    registry: Arc<Registry>,
    tickets: Arc<TicketKeys>,
    versions: VersionRange,
    ciphers: CipherList,
    endpoints: Endpoints,
    certificates: Certificates<CertifiedKey>,
    /// Certificates that lists name.
    listed: Certificates<ListedCertificates>,
    crls: Crls,
    /// Allow lists by API; the Control API's has no name.
    lists: HashMap<String, Arc<ClientList>>,
    control_list: Option<Arc<ClientList>>,
    /// What APIs show their upstreams; the same value as long as it is the same.
    shown: HashMap<String, Arc<InUse>>,
    servers: HashMap<u16, Served>,
    /// The last known place of each file, so that a file that turns bad keeps it.
    places: HashMap<String, Arc<Quarantined>>,
    /// What the TLS settings made us say; said with every build.
    settled: Vec<Finding>,
    explains: bool,
    explained: Vec<ExplainedPort>,
    generation: u64,
    policies: LoadedPolicies,
    /// What judges the tokens of others that APIs take, which outlives snapshots.
    verifiers: HashMap<String, Arc<Verifier>>,
    /// What APIs prove themselves with to their upstreams, which outlives snapshots.
    logins: HashMap<String, Arc<Login>>,
    /// Counters of APIs as a whole, which outlive snapshots.
    rates: HashMap<String, Arc<Window>>,
    /// Rules for the error answers of all APIs.
    overrides: Arc<Overrides>,
    health: HealthParts,
}

impl Builder {
    /// A builder for a configuration. Without `store`, nobody looks into the certificate store.
    ///
    /// # Errors
    /// [`BuildError`] for TLS settings that cannot be right: no snapshot can be built with them.
    pub fn new(
        config: Arc<GatewayConfig>,
        registry: Arc<Registry>,
        store: Option<StoreAccess>,
    ) -> Result<Self, BuildError> {
        if let Some(problem) = keys::refusal(&config) {
            return Err(BuildError {
                problems: vec![problem],
            });
        }
        let TlsSettings {
            versions,
            ciphers,
            tickets,
            mut findings,
        } = TlsSettings::resolve(&config)?;
        findings.extend(keys::advice(&config));
        let overrides = keys::error_overrides(&config, &mut findings)?;
        let passphrase = config.key_passphrase().clone();
        let listed = Certificates::new(passphrase.clone(), config.base.clone(), store.clone());
        let crls = Crls::new(passphrase.clone(), config.base.clone());
        let certificates = Certificates::new(passphrase, config.base.clone(), store.clone());
        Ok(Self {
            registry,
            tickets,
            versions,
            ciphers,
            endpoints: Endpoints::new(config.clone(), store)?,
            certificates,
            listed,
            crls,
            lists: HashMap::new(),
            control_list: None,
            shown: HashMap::new(),
            servers: HashMap::new(),
            places: HashMap::new(),
            settled: findings,
            explains: false,
            explained: Vec::new(),
            generation: 0,
            policies: LoadedPolicies::default(),
            verifiers: HashMap::new(),
            logins: HashMap::new(),
            rates: HashMap::new(),
            overrides,
            health: HealthParts::default(),
            config,
        })
    }

    /// References to entries of the certificate store that cannot be used.
    fn unreadable(&self) -> usize {
        self.certificates.unreadable()
            + self.listed.unreadable()
            + self.endpoints.references.unreadable()
    }

    /// The same builder, which also says what each host and listen path does.
    #[must_use]
    pub fn explaining(self) -> Self {
        Self {
            explains: true,
            ..self
        }
    }

    /// The policies of the builds that follow.
    pub fn set_policies(&mut self, policies: LoadedPolicies) {
        self.policies = policies;
    }

    /// The keys of session tickets, which outlive every snapshot.
    pub fn tickets(&self) -> &Arc<TicketKeys> {
        &self.tickets
    }

    /// True when a certificate file has changed since the last build.
    pub fn certificates_changed(&self) -> bool {
        self.certificates.have_changed()
            || self.listed.have_changed()
            || self.endpoints.references.have_changed()
            || self.revocations_changed()
    }

    /// Builds the snapshot of these definitions.
    ///
    /// # Errors
    /// [`BuildError`] when no snapshot can be built at all; the last one stays good.
    pub fn build(
        &mut self,
        files: &[DefinitionFile],
        unreadable: &[UnreadableFile],
    ) -> Result<Built, BuildError> {
        let config = self.config.clone();
        let mut findings = self.settled.clone();
        findings.extend(self.policies.findings.iter().cloned());
        self.certificates.ask_again();
        self.listed.ask_again();
        self.endpoints.begin(&mut findings);
        self.health.begin();
        self.crls_everywhere();
        self.control_list = self.control_list(&mut findings)?;
        let mut quarantine = Vec::new();
        let default = if config.server.use_ssl {
            Protocol::Https
        } else {
            Protocol::Http
        };
        let main_port = config.listen.port;

        let mut candidates = Vec::new();
        let mut running: HashMap<String, Arc<RunningApi>> = HashMap::new();
        let mut order: Vec<Arc<RunningApi>> = Vec::new();
        for file in files {
            match &file.result {
                Ok(parsed) => {
                    for note in &parsed.warnings {
                        findings.push(warning(&file.name, note.to_string()));
                    }
                    for feature in &parsed.api.unsupported {
                        findings.push(warning(&file.name, without_effect(feature)));
                    }
                    let place = Arc::new(Quarantined::of(&parsed.api, ""));
                    self.places.insert(file.name.clone(), place);
                    match self.run(&parsed.api, &mut findings) {
                        Ok(api) => {
                            order.push(api.clone());
                            candidates.push(Candidate::Ready(api.api.clone()));
                            running.insert(api.api.id.clone(), api);
                        }
                        Err(reason) => {
                            quarantine.push(QuarantineEntry {
                                api_id: parsed.api.id.clone(),
                                name: parsed.api.name.clone(),
                                file: file.name.clone(),
                                reason: reason.clone(),
                            });
                            candidates.push(Quarantined::of(&parsed.api, reason).into());
                        }
                    }
                }
                Err(errors) => {
                    let reason = errors
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join("; ");
                    if let Some(place) = &file.place {
                        let place = Arc::new(Quarantined::at(place, ""));
                        self.places.insert(file.name.clone(), place);
                    }
                    self.keep_place(&file.name, reason, &mut candidates, &mut quarantine);
                }
            }
        }
        for file in unreadable {
            self.keep_place(
                &file.name,
                file.reason.clone(),
                &mut candidates,
                &mut quarantine,
            );
        }
        let names: HashSet<&str> = files
            .iter()
            .map(|file| &*file.name)
            .chain(unreadable.iter().map(|file| &*file.name))
            .collect();
        self.places.retain(|name, _| names.contains(name.as_str()));

        let running = Arc::new(running);
        let mut ports = BTreeMap::new();
        let mut routes = Vec::new();
        let mut problems = Vec::new();
        for (port, protocol) in port_protocols(&candidates, main_port, default) {
            if let Err(refused) = config.listen.ports.permits(protocol_name(protocol), port) {
                findings.push(error(&format!("port {port}"), refused.to_string()));
                continue;
            }
            let service = match protocol {
                Protocol::Tcp | Protocol::Tls => {
                    let (table, found) = TcpTable::build(&candidates, port, main_port, default);
                    problems.extend(found);
                    let apis = table
                        .routes()
                        .iter()
                        .filter_map(|route| {
                            Some((
                                route.api_id().to_owned(),
                                running.get(route.api_id())?.clone(),
                            ))
                        })
                        .collect();
                    Service::Tcp { table, apis }
                }
                Protocol::Http | Protocol::Https | Protocol::H2c => {
                    let (table, found) =
                        RouteTable::build(&candidates, &self.route_options(port, default));
                    problems.extend(found);
                    if self.explains {
                        let explained = table.explain().into_iter();
                        routes.extend(explained.map(|route| hops::with_proxy(route, &running)));
                    }
                    Service::Http(self.service(table, &running))
                }
            };
            let control = port == main_port
                && config
                    .listen
                    .control_port
                    .is_none_or(|own| own == main_port);
            let port_state = self.port(port, protocol, control, service, &order, &mut findings)?;
            ports.insert(port, port_state);
        }
        if let Some(port) = config.listen.control_port.filter(|port| *port != main_port) {
            if ports.contains_key(&port) {
                findings.push(error(
                    "control_api_port",
                    format!("an API wants port {port} as well; it is the Control API's alone"),
                ));
            }
            let (table, _) = RouteTable::build(&[], &self.route_options(port, default));
            let service = Service::Http(self.service(table, &running));
            let port_state = self.port(port, default, true, service, &order, &mut findings)?;
            ports.insert(port, port_state);
        }

        let displaced = problems.iter().filter(|problem| problem.quarantines());
        let displaced = displaced.filter_map(|problem| Some(problem.api_id()?.to_owned()));
        let reached = health::reached(&order, &displaced.collect());
        let mut reported = HashSet::new();
        for problem in problems {
            if !reported.insert(problem.to_string()) {
                continue;
            }
            let id = problem.api_id().unwrap_or("gateway").to_owned();
            if problem.quarantines() {
                let name = running
                    .get(&id)
                    .map_or(String::new(), |api| api.api.name.clone());
                let file = files
                    .iter()
                    .find(|file| file.result.as_ref().is_ok_and(|parsed| parsed.api.id == id))
                    .map_or(String::new(), |file| file.name.clone());
                quarantine.push(QuarantineEntry {
                    api_id: id,
                    name,
                    file,
                    reason: problem.to_string(),
                });
            } else {
                findings.push(error("routing", problem.to_string()));
            }
        }
        for entry in &quarantine {
            findings.push(error(
                &entry.file,
                format!("API is quarantined: {}", entry.reason),
            ));
        }
        let crls = self.crls_in_use(&mut findings);
        findings.extend(self.store_away());
        self.servers.retain(|port, _| ports.contains_key(port));
        self.certificates.forget_unused();
        self.listed.forget_unused();
        self.verifiers
            .retain(|owner, _| running.contains_key(owner));
        self.logins.retain(|owner, _| running.contains_key(owner));
        self.endpoints.end();
        self.lists
            .retain(|owner, _| owner.is_empty() || running.contains_key(owner));
        self.shown.retain(|id, _| running.contains_key(id));
        let (health, advice) = self.health.finish(&reached);
        findings.extend(advice);
        self.generation += 1;
        let served = running.values().filter(|api| api.api.active).count();
        let snapshot = Snapshot {
            generation: self.generation,
            ports,
            policies: self.policies.set.clone(),
            control_list: self.control_list.clone(),
            endpoints: Arc::new(self.endpoints.numbers().collect()),
            health,
        };
        let is_unverified = |api: &&Arc<RunningApi>| {
            let tls = &api.api.upstream.tls;
            let encrypted = api
                .endpoints
                .iter()
                .any(|endpoint| endpoint.tls.is_encrypted());
            api.api.active
                && encrypted
                && (config.upstream.insecure_skip_verify || tls.insecure_skip_verify)
        };
        let unverified = running.values().filter(is_unverified).count();
        let is_closed = |api: &&Arc<RunningApi>| {
            let list = api.clients.as_ref();
            api.api.active && list.is_some_and(|list| list.allow_list().is_empty())
        };
        let closed = running.values().filter(is_closed);
        let mut closed: Vec<String> = closed.map(|api| api.api.id.clone()).collect();
        closed.sort_unstable();
        Ok(Built {
            closed,
            crls,
            clients: std::mem::take(&mut self.explained),
            snapshot,
            findings,
            quarantine,
            routes,
            served,
            unverified,
            unreadable: self.unreadable(),
        })
    }

    /// A file that says nothing usable: its API keeps the place it asks for, else the one it had,
    /// and answers 503.
    fn keep_place(
        &self,
        file: &str,
        reason: String,
        candidates: &mut Vec<Candidate>,
        quarantine: &mut Vec<QuarantineEntry>,
    ) {
        let place = self.places.get(file);
        quarantine.push(QuarantineEntry {
            api_id: place.map_or(String::new(), |place| place.id.clone()),
            name: place.map_or(String::new(), |place| place.name.clone()),
            file: file.to_owned(),
            reason: reason.clone(),
        });
        if let Some(place) = place {
            candidates.push(Candidate::Quarantined(Arc::new(Quarantined {
                reason,
                ..(**place).clone()
            })));
        }
    }

    fn route_options(&self, port: u16, default: Protocol) -> RouteOptions {
        RouteOptions {
            port,
            main_port: self.config.listen.port,
            default_protocol: default,
            custom_domains: self.config.listen.enable_custom_domains,
            hostname: self.config.listen.hostname.clone(),
            strict_routes: self.config.server.enable_strict_routes,
            api_id_paths: self.config.definitions.api_id_paths,
        }
    }

    fn service(
        &self,
        table: RouteTable,
        running: &Arc<HashMap<String, Arc<RunningApi>>>,
    ) -> HttpService {
        let apis = table
            .routes()
            .iter()
            .map(|route| match &route.answer {
                Answer::Serve(api) => running.get(&api.id).cloned(),
                Answer::Quarantined(_) => None,
            })
            .collect();
        HttpService {
            table,
            apis,
            versions: running.clone(),
        }
    }

    /// A port with its TLS settings.
    fn port(
        &mut self,
        port: u16,
        protocol: Protocol,
        control: bool,
        service: Service,
        order: &[Arc<RunningApi>],
        findings: &mut Vec<Finding>,
    ) -> Result<Port, BuildError> {
        let tls = match protocol {
            Protocol::Https | Protocol::Tls => Some(self.server(port, protocol, order, findings)?),
            Protocol::Http | Protocol::H2c | Protocol::Tcp => None,
        };
        if self.explains {
            let explained = self.explain_clients(port, tls.as_ref(), control, order);
            self.explained.push(explained);
        }
        let by_api = order.iter().map(|running| &running.api).any(|api| {
            api.listener.proxy_protocol
                && api.listener.port.unwrap_or(self.config.listen.port) == port
        });
        let proxy_protocol = by_api || self.config.listen.proxy_protocol.expected_on(port);
        Ok(Port {
            protocol,
            tls,
            control,
            proxy_protocol,
            service: Arc::new(service),
        })
    }
}

/// A reference as it may be said.
pub(crate) fn told(reference: &str) -> &str {
    match Reference::classify(reference) {
        Reference::Inline(_) => "inline PEM",
        _ => reference,
    }
}

/// What a port white list calls a protocol.
fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http | Protocol::H2c => "http",
        Protocol::Https => "https",
        Protocol::Tcp => "tcp",
        Protocol::Tls => "tls",
    }
}

/// What is said of an extra that a definition asks for and this build lacks.
fn without_effect(feature: &str) -> String {
    format!(
        "asks for {feature}, which this gateway does not have yet; the API is served without it"
    )
}

pub(crate) fn warning(place: &str, message: String) -> Finding {
    Finding {
        is_error: false,
        place: place.to_owned(),
        message,
    }
}

pub(crate) fn error(place: &str, message: String) -> Finding {
    Finding {
        is_error: true,
        place: place.to_owned(),
        message,
    }
}
