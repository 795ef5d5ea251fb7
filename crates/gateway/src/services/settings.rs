//! What a client of a service is made of: its part of the configuration as types that say what is meant.

use std::{path::PathBuf, time::Duration};

use portcullis_config::{GatewayConfig, MutualTls};
use portcullis_tls::VersionRange;

use super::{
    Service,
    proxies::{Environment, Proxies},
};
use crate::links::Kind;

/// Longest answer of a service, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// Everything about the client of a service.
pub struct Settings {
    /// What its links are called.
    pub kind: Kind,
    /// Its proxies.
    pub proxies: Proxies,
    /// How TLS is spoken.
    pub tls: Tls,
    /// How long and how much.
    pub limits: Limits,
}

/// How TLS is spoken with a service.
pub struct Tls {
    /// Calls without TLS are refused.
    pub required: bool,
    /// Who we are.
    pub identity: IdentitySource,
    /// Whom we believe.
    pub trust: TrustSource,
    /// Believe anybody.
    pub skip_verify: bool,
    /// The versions; `None` when none is left.
    pub versions: Option<VersionRange>,
    /// What the keys are called.
    pub keys: Keys,
}

/// Where a client's certificate comes from.
pub enum IdentitySource {
    /// There is none.
    None,
    /// A certificate and its key.
    Files {
        /// Certificate, and whatever is sent along with it.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// An entry of the certificate store.
    Stored(String),
    /// References, of which the server's announcement chooses one at a time; those that lead nowhere are
    /// left out.
    Any(Vec<String>),
}

/// Where authorities come from. Any but the system's replace the system's.
pub enum TrustSource {
    /// The operating system.
    System,
    /// Everything in a file.
    File(PathBuf),
    /// Entries of the certificate store; those that are not there are left out.
    Stored(Vec<String>),
    /// References; those that lead nowhere are left out.
    Listed(Vec<String>),
}

/// Names of keys, for messages.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Whose they are.
    pub block: String,
    /// What names the client's certificate, as in "name one by …".
    pub certificate: String,
    /// What names authorities.
    pub authorities: String,
    /// What limits versions.
    pub versions: String,
    /// What lets anybody be believed.
    pub skip_verify: String,
}

/// How long a call may take, how much it may bring, and how many connections are kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a call as a whole.
    pub total: Duration,
    /// For one TLS handshake.
    pub handshake: Duration,
    /// How long a connection is kept that nobody uses.
    pub idle: Duration,
    /// How many are kept for one server.
    pub idle_per_host: usize,
    /// Bytes of an answer's body.
    pub largest: usize,
}

impl Limits {
    /// Those of a service (the table of sheet 8).
    const fn of(service: Service) -> Self {
        let (total, handshake, idle, idle_per_host) = match service {
            Service::Oauth => (15, 10, 30, 10),
            Service::Webhooks => (30, 10, 30, 10),
            Service::Health => (10, 5, 15, 5),
            Service::Discovery => (10, 5, 20, 5),
        };
        Self {
            total: Duration::from_secs(total),
            handshake: Duration::from_secs(handshake),
            idle: Duration::from_secs(idle),
            idle_per_host,
            largest: LARGEST,
        }
    }
}

impl Settings {
    /// The settings of a service.
    pub fn of(service: Service, config: &GatewayConfig, environment: &Environment) -> Self {
        let all = &config.external_services;
        let own = match service {
            Service::Oauth => &all.oauth,
            Service::Webhooks => &all.webhooks,
            Service::Health => &all.health,
            Service::Discovery => &all.discovery,
        };
        let block = format!("external_services.{}.mtls", service.name());
        let own_key = format!("{block}.insecure_skip_verify");
        // Where the service has no settings, the older key for its kind of call is in force.
        let (skip_verify, skip_key) = match (all.is_configured(own), service) {
            (true, _) => (own.mtls.insecure_skip_verify, own_key),
            (false, Service::Oauth) => (
                config.upstream.jwt_insecure_skip_verify,
                "jwt_ssl_insecure_skip_verify".to_owned(),
            ),
            (false, Service::Health) => (
                config.upstream.insecure_skip_verify,
                "proxy_ssl_insecure_skip_verify".to_owned(),
            ),
            (false, _) => (false, own_key),
        };
        let keys = Keys {
            certificate: format!("`cert_file` and `key_file`, or `cert_id`, in {block}"),
            authorities: format!("`ca_file` or `ca_cert_ids` in {block}"),
            versions: format!("`tls_min_version` and `tls_max_version` in {block}"),
            skip_verify: skip_key,
            block,
        };
        Self {
            kind: service.into(),
            proxies: Proxies::of(&own.proxy, &all.global, environment),
            tls: Tls::of(&own.mtls, skip_verify, keys),
            limits: Limits::of(service),
        }
    }
}

impl Tls {
    fn of(mtls: &MutualTls, skip_verify: bool, keys: Keys) -> Self {
        let versions = (number(&mtls.tls_min_version), number(&mtls.tls_max_version));
        let (identity, trust) = match mtls.enabled {
            true => (identity(mtls), trust(mtls)),
            false => (IdentitySource::None, TrustSource::System),
        };
        Self {
            required: mtls.enabled,
            identity,
            trust,
            skip_verify,
            versions: VersionRange::for_api(versions, (0, 0)).ok(),
            keys,
        }
    }
}

/// One of the two at most is written: the configuration would not have been accepted.
fn identity(mtls: &MutualTls) -> IdentitySource {
    match (&mtls.cert_id, &mtls.cert_file, &mtls.key_file) {
        (Some(id), _, _) => IdentitySource::Stored(id.clone()),
        (None, Some(certificate), Some(key)) => IdentitySource::Files {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        (None, _, _) => IdentitySource::None,
    }
}

fn trust(mtls: &MutualTls) -> TrustSource {
    match (&mtls.ca_cert_ids[..], &mtls.ca_file) {
        ([], None) => TrustSource::System,
        ([], Some(file)) => TrustSource::File(file.clone()),
        (ids, _) => TrustSource::Stored(ids.to_vec()),
    }
}

/// A version's number; zero for one that is not written.
fn number(version: &str) -> u16 {
    match version {
        "1.0" => 769,
        "1.1" => 770,
        "1.2" => 771,
        "1.3" => 772,
        _ => 0,
    }
}
