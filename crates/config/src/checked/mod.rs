//! The configuration as the gateway uses it.
//!
//! Invariant: a value that got here has been judged. Zeros that mean "default" or "no limit"
//! are resolved, host names are in the form they are compared in, secrets redact themselves.

mod operation;
mod remote;
mod traffic;
mod uptime;

pub use operation::{Control, Definitions, Identity, LogFormat, LogLevel, Logs, PolicySource};
pub use remote::{
    Bridge, Dashboard, DnsMonitor, ExternalProxies, ExternalService, ExternalServices, MutualTls,
    Redis, Signals,
};
pub use traffic::{
    CrlMode, ExpiryMonitor, Listen, ProxyTls, Renegotiation, Security, Server, TlsKeys,
    TrafficLimits, Upstream,
};

pub use uptime::UptimeTests;

use crate::paths::BasePaths;
use crate::references::References;
use crate::secret::Secret;
use crate::settings::Settings;

/// The `secret` every installation has until somebody changes it.
const DEFAULT_SECRET: &str = "352d20ee67be67f6340b4c0605b044b7";

/// Everything `tyk.conf` and the environment say, as checked types.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// Addresses, ports and host names.
    pub listen: Listen,
    /// TLS and HTTP towards clients (`http_server_options`).
    pub server: Server,
    /// Limits on connections and requests (`portcullis`).
    pub limits: TrafficLimits,
    /// Secrets and trust lists.
    pub security: Security,
    /// Where values are kept that references stand for.
    pub references: References,
    /// TLS and connections towards upstreams.
    pub upstream: Upstream,
    /// Tests of upstreams.
    pub uptime: UptimeTests,
    /// API definitions and policies.
    pub definitions: Definitions,
    /// Control API, health and life cycle.
    pub control: Control,
    /// What is logged, and how.
    pub logs: Logs,
    /// Keys and sessions.
    pub identity: Identity,
    /// The shared store; `None` when nothing of `storage` is written, which means the embedded one.
    pub storage: Option<Redis>,
    /// The store of caches, when it is separate.
    pub cache_storage: Option<Redis>,
    /// The store of analytics, when it is separate.
    pub analytics_storage: Option<Redis>,
    /// The Dashboard client.
    pub dashboard: Dashboard,
    /// Signals between nodes.
    pub signals: Signals,
    /// The link to a control plane elsewhere (`slave_options`).
    pub bridge: Bridge,
    /// Services the gateway calls itself.
    pub external_services: ExternalServices,
    /// Worker threads that carry traffic (`portcullis.workers`); `None` means one per core.
    pub workers: Option<usize>,
    /// What relative paths are relative to; certificate references need it too.
    pub base: BasePaths,
}

impl GatewayConfig {
    /// Whether `secret` is still the one everybody knows.
    #[must_use]
    pub fn secret_is_default(&self) -> bool {
        self.security.secret.reveal() == DEFAULT_SECRET
    }

    /// The passphrase of private keys at rest.
    #[must_use]
    pub fn key_passphrase(&self) -> &Secret {
        let own = &self.security.private_certificate_encoding_secret;
        if own.is_empty() {
            &self.security.secret
        } else {
            own
        }
    }

    /// Whether private keys at rest are encrypted with the secret everybody knows.
    #[must_use]
    pub fn key_passphrase_is_default(&self) -> bool {
        self.key_passphrase().reveal() == DEFAULT_SECRET
    }

    pub(crate) fn from_settings(settings: &Settings) -> Self {
        Self {
            listen: Listen::from_settings(settings),
            server: Server::from_settings(settings),
            limits: TrafficLimits::from_settings(settings),
            security: Security::from_settings(settings),
            references: References::from_settings(settings),
            upstream: Upstream::from_settings(settings),
            uptime: UptimeTests::from_settings(settings),
            definitions: Definitions::from_settings(settings),
            control: Control::from_settings(settings),
            logs: Logs::from_settings(settings),
            identity: Identity::from_settings(settings),
            storage: Redis::from_settings(settings, "storage", settings.any_written("storage.")),
            cache_storage: Redis::from_settings(
                settings,
                "cache_storage",
                settings.bool("enable_separate_cache_store"),
            ),
            analytics_storage: Redis::from_settings(
                settings,
                "analytics_storage",
                settings.bool("enable_separate_analytics_store"),
            ),
            dashboard: Dashboard::from_settings(settings),
            signals: Signals::from_settings(settings),
            bridge: Bridge::from_settings(settings),
            external_services: ExternalServices::from_settings(settings),
            workers: settings
                .optional_integer("portcullis.workers")
                .map(|number| {
                    usize::try_from(number).expect("the kind of the key excludes negative numbers")
                }),
            base: settings.base.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_table_reaches_the_checked_configuration() {
        let base = BasePaths {
            working_dir: "/".into(),
            config_dir: "/".into(),
        };
        let settings = Settings::defaults(base);
        let _ = GatewayConfig::from_settings(&settings);
        assert_eq!(settings.never_asked(), Vec::<&str>::new());
    }
}
