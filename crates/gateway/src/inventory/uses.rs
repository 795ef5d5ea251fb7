//! Where configuration and definitions name certificates.

use std::{collections::HashMap, fmt, path::Path};

use portcullis_apidef::{Api, CertificateRole, SYSTEM_AUTHORITIES};
use portcullis_config::GatewayConfig;
use portcullis_store::token;
use serde::Serialize;

use crate::control::LoadedSet;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Shown to clients.
    Server,
    /// A client that shows it is let in, or an authority whose clients are.
    AllowList,
    /// A client that shows it may use the Control API.
    ControlApi,
    /// Shown to upstreams.
    UpstreamClient,
    /// The key an upstream must have.
    Pin,
    /// Shown to a service that the gateway itself calls.
    ServiceClient,
    /// An authority that verifies servers the gateway calls.
    Trust,
    /// A key (`/tyk/keys`) is its client's.
    Key,
}

impl Role {
    /// Its name in metrics, the same as in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::AllowList => "allow_list",
            Self::ControlApi => "control_api",
            Self::UpstreamClient => "upstream_client",
            Self::Pin => "pin",
            Self::ServiceClient => "service_client",
            Self::Trust => "trust",
            Self::Key => "key",
        }
    }
}

/// A place that names a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsedBy {
    /// What it is named for.
    pub role: Role,
    /// The configuration key, or the member of the definition or session.
    pub key: String,
    /// The API whose definition it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_id: Option<String>,
    /// The host it is meant for, or the `domain_name` beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The name of a key, as `GET /tyk/keys` lists it: where keys are not hashed, its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl UsedBy {
    /// The key that belongs to a certificate, by its name.
    pub(super) fn key_named(name: String) -> Self {
        Self {
            name: Some(name),
            ..user(Role::Key, "certificate", None)
        }
    }
}

/// As an operator would say it. The name of a key may be its token, so it is masked.
impl fmt::Display for UsedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.api_id, &self.name) {
            (Some(api), _) => write!(f, "API {api} ({})", self.key)?,
            (None, Some(name)) => write!(f, "the key {}", token::masked(name))?,
            (None, None) => f.write_str(&self.key)?,
        }
        match &self.host {
            Some(host) if !host.is_empty() => write!(f, " for {host}"),
            _ => Ok(()),
        }
    }
}

/// A reference with every place that names it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) reference: String,
    /// It may be an id of the store.
    pub(super) takes_ids: bool,
    /// Its key is in another file.
    pub(super) has_key: bool,
    pub(super) used_by: Vec<UsedBy>,
}

/// Collects references, each once.
#[derive(Default)]
struct Collected {
    list: Vec<Named>,
    places: HashMap<(String, bool), usize>,
}

impl Collected {
    fn add(&mut self, reference: &str, takes_ids: bool, has_key: bool, user: UsedBy) {
        let reference = reference.trim();
        if reference.is_empty() {
            return;
        }
        let next = self.list.len();
        let place = *self
            .places
            .entry((reference.to_owned(), has_key))
            .or_insert(next);
        if place == next {
            self.list.push(Named {
                reference: reference.to_owned(),
                takes_ids,
                has_key,
                used_by: Vec::new(),
            });
        }
        let named = &mut self.list[place];
        named.takes_ids |= takes_ids;
        if !named.used_by.contains(&user) {
            named.used_by.push(user);
        }
    }

    fn reference(&mut self, reference: &str, role: Role, key: &str, host: Option<&str>) {
        self.add(reference, true, false, user(role, key, host));
    }

    fn file(&mut self, path: Option<&Path>, role: Role, key: &str, has_key: bool) {
        if let Some(path) = path {
            let text = path.to_string_lossy();
            self.add(&text, false, has_key, user(role, key, None));
        }
    }
}

fn user(role: Role, key: &str, host: Option<&str>) -> UsedBy {
    UsedBy {
        role,
        key: key.to_owned(),
        api_id: None,
        host: host.map(str::to_owned),
        name: None,
    }
}

/// Every reference of configuration and loaded definitions.
pub(super) fn all(config: &GatewayConfig, loaded: &LoadedSet) -> Vec<Named> {
    let mut found = Collected::default();
    for pair in &config.server.certificates {
        let host = Some(pair.domain_name.as_str());
        let user = user(Role::Server, "http_server_options.certificates", host);
        found.add(&pair.cert_file, false, true, user);
    }
    for reference in &config.server.ssl_certificates {
        let key = "http_server_options.ssl_certificates";
        found.reference(reference, Role::Server, key, None);
    }
    let security = &config.security;
    let lists = [
        ("apis", &security.api_certificates, Role::AllowList),
        (
            "control_api",
            &security.control_api_certificates,
            Role::ControlApi,
        ),
        (
            "dashboard_api",
            &security.dashboard_certificates,
            Role::Trust,
        ),
        ("mdcb_api", &security.mdcb_certificates, Role::ServiceClient),
    ];
    for (name, list, role) in lists {
        for reference in list {
            found.reference(
                reference,
                role,
                &format!("security.certificates.{name}"),
                None,
            );
        }
    }
    for (host, reference) in &security.upstream_certificates {
        let key = "security.certificates.upstream";
        found.reference(reference, Role::UpstreamClient, key, Some(host));
    }
    for (host, list) in &security.pinned_public_keys {
        for reference in list.split(',') {
            let key = "security.pinned_public_keys";
            found.reference(reference, Role::Pin, key, Some(host));
        }
    }
    for (host, list) in &config.upstream.authorities {
        let named = list.split(',').map(str::trim);
        for reference in named.filter(|reference| *reference != SYSTEM_AUTHORITIES) {
            let key = "portcullis.upstream_ca";
            found.reference(reference, Role::Trust, key, Some(host));
        }
    }
    let stores = [
        ("storage", &config.storage),
        ("cache_storage", &config.cache_storage),
        ("analytics_storage", &config.analytics_storage),
    ];
    for (block, redis) in stores {
        let Some(redis) = redis.as_ref().filter(|redis| redis.use_ssl) else {
            continue;
        };
        let own = format!("{block}.cert_file");
        let pair = redis.key_file.is_some();
        found.file(redis.cert_file.as_deref(), Role::ServiceClient, &own, pair);
        let trust = format!("{block}.ca_file");
        found.file(redis.ca_file.as_deref(), Role::Trust, &trust, false);
    }
    for (_, parsed) in loaded.parsed() {
        of_api(&mut found, &parsed.api);
    }
    found.list
}

fn of_api(found: &mut Collected, api: &Api) {
    for reference in &api.server_certificates {
        let user = UsedBy {
            role: Role::Server,
            key: "certificates".to_owned(),
            api_id: Some(api.id.clone()),
            host: api.domain.clone(),
            name: None,
        };
        found.add(reference, true, false, user);
    }
    for named in &api.named_certificates {
        let (role, key) = match named.role {
            CertificateRole::AllowList => (Role::AllowList, "client_certificates"),
            CertificateRole::UpstreamClient => (Role::UpstreamClient, "upstream_certificates"),
            CertificateRole::Pin => (Role::Pin, "pinned_public_keys"),
            CertificateRole::UpstreamAuthority => (Role::Trust, "upstream_ca"),
        };
        // A pin may list several keys. Inline PEM has no comma.
        for reference in named.reference.split(',') {
            let user = UsedBy {
                role,
                key: key.to_owned(),
                api_id: Some(api.id.clone()),
                host: named.host.clone(),
                name: None,
            };
            found.add(reference, true, false, user);
        }
    }
}

/// Who names this entry of the store.
pub fn users_of(id: &str, config: &GatewayConfig, loaded: &LoadedSet) -> Vec<UsedBy> {
    all(config, loaded)
        .into_iter()
        .filter(|named| named.takes_ids && named.reference == id)
        .flat_map(|named| named.used_by)
        .collect()
}
