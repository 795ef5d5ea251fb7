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

mod endpoints;
mod keys;
mod tls_settings;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use portcullis_apidef::{Api, Authentication, DefinitionFile, Protocol, Scheme};
use portcullis_config::GatewayConfig;
use portcullis_pki::CertifiedKey;
use portcullis_policy::{
    Answer, Candidate, ExplainedRoute, Quarantined, RouteOptions, RouteTable, TcpTable,
    path_pattern, port_protocols,
};
use portcullis_tls::{
    CipherList, Policies, ServerConfig, ServerSettings, ServingSet, TicketKeys, VersionRange,
};
use regex::Regex;

use self::{endpoints::Endpoints, tls_settings::TlsSettings};
use crate::{
    certificates::{Certificates, Found},
    control::QuarantineEntry,
    definitions::UnreadableFile,
    observe::{CertificateExpiry, Registry},
    policies::LoadedPolicies,
    snapshot::{HttpService, PathTimeout, Port, RunningApi, Service, Snapshot},
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
    /// APIs that are served.
    pub served: usize,
    /// Certificates in use.
    pub certificates: Vec<CertificateExpiry>,
}

/// Builds snapshots, and remembers what is the same from one to the next.
pub struct Builder {
    config: Arc<GatewayConfig>,
    registry: Arc<Registry>,
    tickets: Arc<TicketKeys>,
    versions: VersionRange,
    ciphers: CipherList,
    endpoints: Endpoints,
    certificates: Certificates,
    servers: HashMap<u16, (ServingKey, ServerConfig)>,
    /// The last known place of each file, so that a file that turns bad keeps it.
    places: HashMap<String, Arc<Quarantined>>,
    /// What the TLS settings made us say; said with every build.
    settled: Vec<Finding>,
    explains: bool,
    generation: u64,
    policies: LoadedPolicies,
}

/// Identity of a port's certificates: the same list means the same TLS configuration.
type ServingKey = Vec<(String, usize)>;

impl Builder {
    /// A builder for a configuration.
    ///
    /// # Errors
    /// [`BuildError`] for TLS settings that cannot be right: no snapshot can be built with them.
    pub fn new(config: Arc<GatewayConfig>, registry: Arc<Registry>) -> Result<Self, BuildError> {
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
        let certificates = Certificates::new(config.key_passphrase().clone(), config.base.clone());
        Ok(Self {
            registry,
            tickets,
            versions,
            ciphers,
            endpoints: Endpoints::new(config.clone()),
            certificates,
            servers: HashMap::new(),
            places: HashMap::new(),
            settled: findings,
            explains: false,
            generation: 0,
            policies: LoadedPolicies::default(),
            config,
        })
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
        let mut quarantine = Vec::new();
        let default = if config.server.use_ssl {
            Protocol::Https
        } else {
            Protocol::Http
        };
        let main_port = config.listen.port;

        let mut candidates = Vec::new();
        let mut running: HashMap<String, Arc<RunningApi>> = HashMap::new();
        let mut order: Vec<Arc<Api>> = Vec::new();
        for file in files {
            match &file.result {
                Ok(parsed) => {
                    for note in &parsed.warnings {
                        findings.push(warning(&file.name, note.to_string()));
                    }
                    let place = Arc::new(Quarantined::of(&parsed.api, ""));
                    self.places.insert(file.name.clone(), place);
                    match self.run(&parsed.api) {
                        Ok(api) => {
                            order.push(api.api.clone());
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
                        routes.extend(table.explain());
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
        self.certificates.forget_unused();
        self.generation += 1;
        let served = running.values().filter(|api| api.api.active).count();
        let certificates = certificates_in_use(&ports);
        let snapshot = Snapshot {
            generation: self.generation,
            ports,
            policies: self.policies.set.clone(),
        };
        Ok(Built {
            snapshot,
            findings,
            quarantine,
            routes,
            served,
            certificates,
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
        order: &[Arc<Api>],
        findings: &mut Vec<Finding>,
    ) -> Result<Port, BuildError> {
        let tls = match protocol {
            Protocol::Https | Protocol::Tls => Some(self.server(port, protocol, order, findings)?),
            Protocol::Http | Protocol::H2c | Protocol::Tcp => None,
        };
        let by_api = order.iter().any(|api| {
            api.listener.proxy_protocol
                && api.listener.port.unwrap_or(self.config.listen.port) == port
        });
        let proxy_protocol = by_api || self.config.listen.proxy_protocol.expected_on(port);
        Ok(Port {
            protocol,
            tls,
            control,
            proxy_protocol,
            service,
        })
    }

    /// The TLS settings of a port: the same as before when its certificates are.
    fn server(
        &mut self,
        port: u16,
        protocol: Protocol,
        order: &[Arc<Api>],
        findings: &mut Vec<Finding>,
    ) -> Result<ServerConfig, BuildError> {
        let config = self.config.clone();
        let mut serving = ServingSet::builder();
        let mut identity: ServingKey = Vec::new();
        for pair in &config.server.certificates {
            let found = self.certificates.of_pair(pair);
            if let Some(key) = self.noted(
                "http_server_options.certificates",
                &pair.cert_file,
                found,
                findings,
            ) {
                identity.push((pair.domain_name.clone(), Arc::as_ptr(&key).addr()));
                serving.pair(&pair.domain_name, key);
            }
        }
        for reference in &config.server.ssl_certificates {
            let found = self.certificates.of_reference(reference);
            if let Some(key) = self.noted(
                "http_server_options.ssl_certificates",
                reference,
                found,
                findings,
            ) {
                identity.push(("ssl_certificates".to_owned(), Arc::as_ptr(&key).addr()));
                serving.listed(key);
            }
        }
        let here =
            |api: &&Arc<Api>| api.active && api.listener.port.unwrap_or(config.listen.port) == port;
        for api in order.iter().filter(here) {
            for reference in &api.server_certificates {
                let found = self.certificates.of_reference(reference);
                if let Some(key) =
                    self.noted(&format!("API {}", api.id), reference, found, findings)
                {
                    identity.push((api.id.clone(), Arc::as_ptr(&key).addr()));
                    serving.of_api(key);
                }
            }
        }
        if let Some((same, server)) = self.servers.get(&port)
            && *same == identity
        {
            return Ok(server.clone());
        }
        let server = ServerConfig::new(ServerSettings {
            versions: self.versions,
            ciphers: self.ciphers.clone(),
            http2: config.server.enable_http2 && protocol == Protocol::Https,
            serving: serving.build(),
            policies: Policies::open(),
            tickets: self.tickets.clone(),
        })
        .map_err(|failure| BuildError {
            problems: vec![error(&format!("TLS on port {port}"), failure.to_string())],
        })?;
        if server.settings().serving.is_empty() {
            findings.push(error(
                &format!("port {port}"),
                "no usable certificate: every TLS handshake is refused (alert 112); name one in \
                 http_server_options.ssl_certificates or certificates"
                    .to_owned(),
            ));
        }
        self.servers.insert(port, (identity, server.clone()));
        Ok(server)
    }

    /// Says what is wrong with a certificate and hands out what can be used.
    fn noted(
        &self,
        place: &str,
        reference: &str,
        found: Found,
        findings: &mut Vec<Finding>,
    ) -> Option<Arc<CertifiedKey>> {
        if let Some(failure) = found.failure {
            let consequence = match &found.key {
                Some(_) => "the certificate read before stays in use",
                None => "it is left out",
            };
            findings.push(error(place, format!("{failure}; {consequence}")));
        }
        if found.repaired {
            findings.push(warning(
                place,
                "inline PEM had lost its line breaks and was repaired".to_owned(),
            ));
        }
        let key = found.key?;
        let days = key.facts().days_left(unix_now());
        if days < i64::from(self.config.security.expiry_monitor.warning_threshold_days) {
            let name = if reference.contains("-----BEGIN") {
                "inline PEM"
            } else {
                reference
            };
            findings.push(warning(
                place,
                format!(
                    "Server certificate expiring soon: cert_name={} days_remaining={days} ({name})",
                    key.facts().subject_cn
                ),
            ));
        }
        Some(key)
    }

    /// An API ready to run, or why it must not.
    fn run(&mut self, api: &Api) -> Result<Arc<RunningApi>, String> {
        if !api.protections.is_empty() {
            let missing: Vec<String> = api.protections.iter().map(ToString::to_string).collect();
            return Err(format!(
                "it relies on what this version does not have yet: {}",
                missing.join(", ")
            ));
        }
        if api.authentication != Authentication::Keyless || api.limits.rate.is_some() {
            return Err("its authentication or rate limit is not enforced by this version".into());
        }
        let raw = matches!(api.listener.protocol, Some(Protocol::Tcp | Protocol::Tls));
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
                _ => endpoints.push(self.endpoints.of(target, &api.upstream.tls)?),
            }
        }
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
        let slot = self.registry.slot(&api.id);
        Ok(Arc::new(RunningApi {
            api: Arc::new(api.clone()),
            slot,
            endpoints,
            timeouts,
        }))
    }
}

/// Each server certificate once, with its expiry.
fn certificates_in_use(ports: &BTreeMap<u16, Port>) -> Vec<CertificateExpiry> {
    let mut seen = HashSet::new();
    ports
        .values()
        .filter_map(|port| port.tls.as_ref())
        .flat_map(|tls| tls.settings().serving.certificates())
        .filter(|key| seen.insert(key.facts().fingerprint.to_string()))
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

/// What a port white list calls a protocol.
fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http | Protocol::H2c => "http",
        Protocol::Https => "https",
        Protocol::Tcp => "tcp",
        Protocol::Tls => "tls",
    }
}

fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
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
