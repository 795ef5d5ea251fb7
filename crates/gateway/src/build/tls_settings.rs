//! TLS settings of configuration as the library takes them, judged once at start.

use std::{sync::Arc, time::SystemTime};

use portcullis_config::GatewayConfig;
use portcullis_tls::{CipherList, Side, TicketKeys, VersionRange, version::Version};

use super::{BuildError, Finding, error, warning};

/// What every listener has in common.
pub(super) struct TlsSettings {
    /// Versions spoken to clients.
    pub(super) versions: VersionRange,
    /// Suites of TLS 1.2.
    pub(super) ciphers: CipherList,
    /// Keys of session tickets.
    pub(super) tickets: Arc<TicketKeys>,
    /// What is odd about the settings.
    pub(super) findings: Vec<Finding>,
}

impl TlsSettings {
    /// Resolves versions and suites towards clients and upstreams.
    ///
    /// # Errors
    /// [`BuildError`] with everything that cannot be right.
    pub(super) fn resolve(config: &GatewayConfig) -> Result<Self, BuildError> {
        let mut problems = Vec::new();
        let mut findings = Vec::new();
        let mut side = |side: Side, names: [&str; 3], keys: &portcullis_config::TlsKeys| {
            let [range_key, min_key, ciphers_key] = names;
            let numbers = (keys.min_version.unwrap_or(0), keys.max_version.unwrap_or(0));
            let versions = match VersionRange::resolve(numbers.0, numbers.1, side) {
                Ok((versions, raised)) => {
                    findings.extend(raised.map(|raised| warning(min_key, raised.to_string())));
                    versions
                }
                Err(wrong) => {
                    problems.push(error(range_key, wrong.to_string()));
                    return None;
                }
            };
            match CipherList::resolve(&keys.ciphers, versions) {
                Ok((ciphers, left_out)) => {
                    findings.extend(
                        left_out
                            .iter()
                            .map(|suite| warning(ciphers_key, suite.to_string())),
                    );
                    Some((versions, ciphers))
                }
                Err(wrong) => {
                    problems.push(error(ciphers_key, wrong.to_string()));
                    None
                }
            }
        };
        let server = side(
            Side::Server,
            [
                "http_server_options",
                "http_server_options.min_version",
                "http_server_options.ssl_ciphers",
            ],
            &config.server.tls,
        );
        let upstream = side(
            Side::Upstream,
            [
                "proxy_ssl_min_version",
                "proxy_ssl_min_version",
                "proxy_ssl_ciphers",
            ],
            &config.upstream.tls,
        );
        let tickets = TicketKeys::rotated(SystemTime::now(), config.limits.ticket_rotation);
        let (Some((versions, ciphers)), Some(_), Ok(tickets)) = (server, upstream, tickets) else {
            if problems.is_empty() {
                let message = "the system gives no random numbers for session tickets".to_owned();
                problems.push(error("portcullis.ticket_rotation", message));
            }
            return Err(BuildError { problems });
        };
        if config.server.use_ssl && !versions.contains(Version::Tls13) {
            findings.push(warning(
                "http_server_options.max_version",
                "TLS 1.3 is off; set it to 772 to turn it on".to_owned(),
            ));
        }
        Ok(Self {
            versions,
            ciphers,
            tickets: Arc::new(tickets),
            findings,
        })
    }
}
