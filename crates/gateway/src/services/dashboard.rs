//! The way to a Dashboard (`security.certificates.dashboard_api`, outbound sheet 10).
//!
//! Invariant: authorities that are listed replace the system's; when none of them can be used, nothing is
//! trusted.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use portcullis_config::{BasePaths, GatewayConfig};
use portcullis_pki::Reference;
use portcullis_store::Certificates;
use portcullis_tls::{Side, VersionRange};

use super::{
    client::{Answer, Client},
    failure::CallError,
    proxies::{Environment, Proxies},
    settings::{IdentitySource, Keys, Limits, Settings, Tls, TrustSource},
};
use crate::links::{Contacts, Kind};

/// Longest answer, in bytes: a Dashboard sends every definition at once.
const LARGEST: usize = 256 * 1024 * 1024;

/// A client of the Dashboard. Cheap to clone.
#[derive(Clone)]
pub struct Dashboard(Client);

impl Dashboard {
    /// The client that a configuration describes. Nothing is read or connected to yet.
    pub fn new(config: &GatewayConfig, certificates: &Certificates, contacts: Contacts) -> Self {
        let listed = resolved(&config.security.dashboard_certificates, &config.base);
        let environment = Environment::of_process();
        let settings = Settings {
            kind: Kind::Dashboard,
            proxies: Proxies::of_environment(&environment),
            tls: Tls {
                required: false,
                identity: IdentitySource::None,
                trust: match listed.is_empty() {
                    true => TrustSource::System,
                    false => TrustSource::Listed(listed),
                },
                skip_verify: config.server.ssl_insecure_skip_verify,
                versions: versions(config),
                keys: Keys {
                    block: "security.certificates.dashboard_api".to_owned(),
                    certificate: "nothing: the Dashboard should ask for none".to_owned(),
                    authorities: "an entry of security.certificates.dashboard_api".to_owned(),
                    versions: VERSIONS.to_owned(),
                    skip_verify: "http_server_options.ssl_insecure_skip_verify".to_owned(),
                },
            },
            limits: Limits {
                total: config.dashboard.connection_timeout,
                handshake: Duration::from_secs(10),
                idle: Duration::from_secs(90),
                idle_per_host: 2,
                largest: LARGEST,
            },
        };
        let passphrase = config.key_passphrase().clone();
        Self(Client::new(
            settings,
            passphrase,
            certificates.clone(),
            contacts,
        ))
    }

    /// Sends a request, whose address is absolute, and waits for the whole answer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, request: Request<Bytes>) -> Result<Answer, CallError> {
        self.0.call(request).await
    }
}

/// What limits the versions spoken with a control plane.
pub(super) const VERSIONS: &str = "`min_version` and `max_version` in http_server_options";

/// The versions spoken with a control plane: those of the server side.
pub(super) fn versions(config: &GatewayConfig) -> Option<VersionRange> {
    let tls = &config.server.tls;
    let number = |version: Option<u16>| version.unwrap_or_default();
    let (min, max) = (number(tls.min_version), number(tls.max_version));
    VersionRange::resolve(min, max, Side::Server)
        .ok()
        .map(|(range, _)| range)
}

/// References whose paths are found from anywhere.
pub(super) fn resolved(references: &[String], base: &BasePaths) -> Vec<String> {
    let resolved = references
        .iter()
        .map(|reference| match Reference::classify(reference) {
            Reference::Path(path) => base.resolve(path).display().to_string(),
            Reference::StoreId(_) | Reference::Inline(_) => reference.clone(),
        });
    resolved.collect()
}
