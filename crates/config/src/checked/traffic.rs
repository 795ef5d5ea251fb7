//! Traffic: listeners, TLS towards both sides, limits, secrets.

use std::net::IpAddr;
use std::time::Duration;

use crate::compound::{CertificatePair, ProxyProtocol};
use crate::ports::PortWhitelist;
use crate::secret::Secret;
use crate::settings::Settings;

/// Addresses, ports and host names.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// Address every listener binds to; `None` means every interface.
    pub address: Option<IpAddr>,
    /// Main port; 0 lets the operating system pick one.
    pub port: u16,
    /// Port of the Control API; `None` when it shares the main port.
    pub control_port: Option<u16>,
    /// Host name of APIs without a domain, lower case; `None` means any.
    pub hostname: Option<String>,
    /// Host name of the Control API, lower case.
    pub control_hostname: Option<String>,
    /// Whether the domain of a definition is used for routing.
    pub enable_custom_domains: bool,
    /// Close every client connection after one answer.
    pub close_connections: bool,
    /// Ports API definitions may open.
    pub ports: PortWhitelist,
    /// Listeners that expect a PROXY protocol header.
    pub proxy_protocol: ProxyProtocol,
}

impl Listen {
    /// Takes note of the main port that the operating system picked for port 0.
    pub fn port_was_chosen(&mut self, port: u16) {
        self.port = port;
        self.ports.allow_main(port);
    }

    pub(super) fn from_settings(settings: &Settings) -> Self {
        let port = settings.u16("listen_port");
        let control_port = settings.u16("control_api_port");
        Self {
            address: settings.address("listen_address"),
            port,
            control_port: Some(control_port).filter(|control| *control != 0 && *control != port),
            hostname: settings.host_name("hostname"),
            control_hostname: settings.host_name("control_api_hostname"),
            enable_custom_domains: settings.bool("enable_custom_domains"),
            close_connections: settings.bool("close_connections"),
            ports: PortWhitelist::new(
                settings.port_rules("ports_whitelist"),
                settings.bool("disable_ports_whitelist"),
                settings.bool("http_server_options.use_ssl"),
                port,
                control_port,
            ),
            proxy_protocol: settings.proxy_protocol("portcullis.proxy_protocol"),
        }
    }
}

/// TLS version numbers and cipher names as written. Which range and which suites they mean
/// is decided by the TLS engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsKeys {
    /// Lowest version, such as 771; `None` when unset.
    pub min_version: Option<u16>,
    /// Highest version, such as 772; `None` when unset.
    pub max_version: Option<u16>,
    /// Cipher suite names; empty when unset.
    pub ciphers: Vec<String>,
}

/// TLS and HTTP towards clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Main, control and unspecific API listeners speak TLS.
    pub use_ssl: bool,
    /// Server certificates as pairs of files. [`crate::BasePaths::resolve`] finds the files.
    pub certificates: Vec<CertificatePair>,
    /// Server certificates as references: a file, inline PEM or an id.
    pub ssl_certificates: Vec<String>,
    /// `server_name`, without any effect.
    pub server_name: String,
    /// Versions and cipher suites.
    pub tls: TlsKeys,
    /// Accept any certificate of the Dashboard.
    pub ssl_insecure_skip_verify: bool,
    /// Ask for client certificates without naming authorities.
    pub skip_client_ca_announcement: bool,
    /// Offer HTTP/2 over TLS.
    pub enable_http2: bool,
    /// Longest time to receive a request.
    pub read_timeout: Duration,
    /// Longest time to answer a request.
    pub write_timeout: Duration,
    /// Pass connection upgrades on.
    pub enable_websockets: bool,
    /// How long data of an answer may be collected; `None` sends at once.
    pub flush_interval: Option<Duration>,
    /// Bytes a request body may have; `None` means no limit.
    pub max_request_body_size: Option<u64>,
    /// Bytes an answer may have; `None` means no limit.
    pub max_response_body_size: Option<u64>,
    /// Entry of `X-Forwarded-For` that names the client, from the right; `None` means the first.
    pub xff_depth: Option<usize>,
    /// `/foo` does not answer `/foobar`.
    pub enable_strict_routes: bool,
    /// Endpoint patterns begin at the start of the path.
    pub enable_path_prefix_matching: bool,
    /// Endpoint patterns end at the end of the path.
    pub enable_path_suffix_matching: bool,
    /// Leave `//` and `..` in paths.
    pub skip_url_cleaning: bool,
    /// Send paths upstream as written.
    pub skip_target_path_escaping: bool,
    /// `override_defaults`, without any effect.
    pub override_defaults: bool,
    /// `use_ssl_le`, without any effect.
    pub use_ssl_le: bool,
}

impl Server {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let key = |name: &str| format!("http_server_options.{name}");
        let flag = |name: &str| settings.bool(&key(name));
        let bytes = |name: &str| {
            u64::try_from(settings.integer(&key(name)))
                .ok()
                .filter(|limit| *limit > 0)
        };
        Self {
            use_ssl: flag("use_ssl"),
            certificates: settings.certificate_pairs(&key("certificates")),
            ssl_certificates: settings.list(&key("ssl_certificates")),
            server_name: settings.text(&key("server_name")),
            tls: TlsKeys {
                min_version: settings.tls_version(&key("min_version")),
                max_version: settings.tls_version(&key("max_version")),
                ciphers: settings.list(&key("ssl_ciphers")),
            },
            ssl_insecure_skip_verify: flag("ssl_insecure_skip_verify"),
            skip_client_ca_announcement: flag("skip_client_ca_announcement"),
            enable_http2: flag("enable_http2"),
            read_timeout: settings.duration_or_default(&key("read_timeout")),
            write_timeout: settings.duration_or_default(&key("write_timeout")),
            enable_websockets: flag("enable_websockets"),
            flush_interval: settings.duration(&key("flush_interval")),
            max_request_body_size: bytes("max_request_body_size"),
            max_response_body_size: bytes("max_response_body_size"),
            xff_depth: settings.limit(&key("xff_depth")),
            enable_strict_routes: flag("enable_strict_routes"),
            enable_path_prefix_matching: flag("enable_path_prefix_matching"),
            enable_path_suffix_matching: flag("enable_path_suffix_matching"),
            skip_url_cleaning: flag("skip_url_cleaning"),
            skip_target_path_escaping: flag("skip_target_path_escaping"),
            override_defaults: flag("override_defaults"),
            use_ssl_le: flag("use_ssl_le"),
        }
    }
}

/// Limits on connections and requests, our own keys.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficLimits {
    /// Longest time for a TLS handshake, and for a PROXY header before it.
    pub handshake_timeout: Duration,
    /// Handshakes one address may have under way per worker; `None` means no limit.
    pub max_handshakes_per_address: Option<usize>,
    /// Longest request head in bytes.
    pub max_header_bytes: usize,
    /// Most header fields of a request.
    pub max_headers: usize,
    /// Longest time to receive a request head once it began.
    pub header_timeout: Duration,
    /// How long a client connection may stay without a request.
    pub idle_timeout: Duration,
    /// Requests one HTTP/2 connection may have under way.
    pub max_concurrent_streams: u32,
    /// Age at which ticket keys are replaced; `None` switches resumption off.
    pub ticket_rotation: Option<Duration>,
}

impl TrafficLimits {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        Self {
            handshake_timeout: settings.duration_or_default("portcullis.handshake_timeout"),
            max_handshakes_per_address: settings.limit("portcullis.max_handshakes_per_address"),
            max_header_bytes: settings.count("portcullis.max_header_bytes"),
            max_headers: settings.count("portcullis.max_headers"),
            header_timeout: settings.duration_or_default("portcullis.header_timeout"),
            idle_timeout: settings
                .duration("portcullis.idle_timeout")
                .unwrap_or_else(|| {
                    settings.duration_or_default("http_server_options.read_timeout")
                }),
            max_concurrent_streams: u32::try_from(
                settings.integer("portcullis.max_concurrent_streams"),
            )
            .expect("the kind of the key limits it"),
            ticket_rotation: settings.duration("portcullis.ticket_rotation"),
        }
    }
}

/// Secrets and trust lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Security {
    /// What `X-Tyk-Authorization` must carry; never empty.
    pub secret: Secret,
    /// Passphrase of private keys at rest; see [`crate::GatewayConfig::key_passphrase`].
    pub private_certificate_encoding_secret: Secret,
    /// Demand a listed client certificate on the Control API.
    pub control_api_use_mutual_tls: bool,
    /// Let a token stand in for a client certificate.
    pub allow_unsafe_dynamic_mtls_token: bool,
    /// Public keys upstreams must show: host to references separated by commas.
    pub pinned_public_keys: Vec<(String, String)>,
    /// Client certificates added to every allow list.
    pub api_certificates: Vec<String>,
    /// Revocation lists for client certificates: paths and inline PEM.
    pub client_crls: Vec<String>,
    /// What becomes of a client about whom one of them cannot tell.
    pub crl_mode: CrlMode,
    /// Client certificates the Control API accepts.
    pub control_api_certificates: Vec<String>,
    /// Client certificates shown to upstreams: host to reference.
    pub upstream_certificates: Vec<(String, String)>,
    /// Authorities that verify the Dashboard.
    pub dashboard_certificates: Vec<String>,
    /// Client certificates for the bridge.
    pub mdcb_certificates: Vec<String>,
    /// When certificates in use are reported.
    pub expiry_monitor: ExpiryMonitor,
}

/// What becomes of a client about whom a revocation list that is there cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrlMode {
    /// It is refused.
    Strict,
    /// It passes.
    Lenient,
}

/// When certificates in use are reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiryMonitor {
    /// Days before expiry.
    pub warning_threshold_days: u32,
    /// Shortest time between two checks of one certificate.
    pub check_cooldown: Duration,
    /// Shortest time between two events for one certificate.
    pub event_cooldown: Duration,
}

impl Security {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let monitor = |name: &str| format!("security.certificate_expiry_monitor.{name}");
        let days = settings.integer(&monitor("warning_threshold_days"));
        Self {
            secret: settings.secret("secret"),
            private_certificate_encoding_secret: settings
                .secret("security.private_certificate_encoding_secret"),
            control_api_use_mutual_tls: settings.bool("security.control_api_use_mutual_tls"),
            allow_unsafe_dynamic_mtls_token: settings
                .bool("security.allow_unsafe_dynamic_mtls_token"),
            pinned_public_keys: settings.map("security.pinned_public_keys"),
            api_certificates: settings.list("security.certificates.apis"),
            client_crls: settings.list("portcullis.client_crls"),
            crl_mode: match settings.text("portcullis.crl_mode").as_str() {
                "lenient" => CrlMode::Lenient,
                _ => CrlMode::Strict,
            },
            control_api_certificates: settings.list("security.certificates.control_api"),
            upstream_certificates: settings.map("security.certificates.upstream"),
            dashboard_certificates: settings.list("security.certificates.dashboard_api"),
            mdcb_certificates: settings.list("security.certificates.mdcb_api"),
            expiry_monitor: ExpiryMonitor {
                warning_threshold_days: match u32::try_from(days) {
                    Ok(0) => 30,
                    Ok(days) => days,
                    Err(_) => u32::MAX,
                },
                check_cooldown: settings.duration_or_default(&monitor("check_cooldown_seconds")),
                event_cooldown: settings.duration_or_default(&monitor("event_cooldown_seconds")),
            },
        }
    }
}

/// How often an upstream may renegotiate a TLS 1.2 connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renegotiation {
    /// Not at all.
    Never,
    /// Once per connection.
    Once,
    /// As often as it asks.
    Freely,
}

/// TLS and connections towards upstreams.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Offer HTTP/2 to HTTPS upstreams.
    pub enable_http2: bool,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Versions and cipher suites.
    pub tls: TlsKeys,
    /// `proxy_ssl_disable_renegotiation` as written; `renegotiation` already follows it.
    pub disable_renegotiation: bool,
    /// How often an upstream may renegotiate.
    pub renegotiation: Renegotiation,
    /// The certificate must carry the host in its common name.
    pub force_common_name_check: bool,
    /// The common-name check verifies the chain as well.
    pub strict_common_name: bool,
    /// Pins take the place of other verification for the hosts they name.
    pub pin_only: bool,
    /// Authorities by host: references separated by commas.
    pub authorities: Vec<(String, String)>,
    /// TLS with proxies of the environment.
    pub proxy_tls: ProxyTls,
    /// Idle connections per API; `None` means no limit.
    pub max_idle_connections: Option<usize>,
    /// Idle connections per API and upstream; `None` means the built-in number.
    pub max_idle_connections_per_host: Option<usize>,
    /// Age at which connections are replaced; `None` means never, zero means at every request.
    pub max_connection_age: Option<Duration>,
    /// Longest time to connect, and to wait for the head of an answer.
    pub default_timeout: Duration,
    /// Use every connection for one request.
    pub close_connections: bool,
    /// Accept any certificate of a server that publishes keys for tokens.
    pub jwt_insecure_skip_verify: bool,
    /// Accept any certificate of the server that plugins come from.
    pub bundle_insecure_skip_verify: bool,
}

/// TLS with proxies of the environment, where an API says nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyTls {
    /// What is shown to them, a reference as written; empty for nothing.
    pub certificate: Secret,
    /// Who vouches for them instead of the system's authorities, references as written.
    pub authorities: Vec<String>,
}

impl ProxyTls {
    /// Whether anything is said.
    #[must_use]
    pub fn says_something(&self) -> bool {
        !self.certificate.reveal().is_empty() || !self.authorities.is_empty()
    }
}

impl Upstream {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let disable_renegotiation = settings.bool("proxy_ssl_disable_renegotiation");
        let renegotiation = match settings.text("portcullis.proxy_ssl_renegotiation").as_str() {
            "once" => Renegotiation::Once,
            "freely" => Renegotiation::Freely,
            _ => Renegotiation::Never,
        };
        let age = settings.integer("max_conn_time");
        Self {
            enable_http2: settings.bool("proxy_enable_http2"),
            insecure_skip_verify: settings.bool("proxy_ssl_insecure_skip_verify"),
            tls: TlsKeys {
                min_version: settings.tls_version("proxy_ssl_min_version"),
                max_version: settings.tls_version("proxy_ssl_max_version"),
                ciphers: settings.list("proxy_ssl_ciphers"),
            },
            disable_renegotiation,
            renegotiation: if disable_renegotiation {
                Renegotiation::Never
            } else {
                renegotiation
            },
            force_common_name_check: settings.bool("ssl_force_common_name_check"),
            strict_common_name: settings.bool("portcullis.strict_common_name"),
            pin_only: settings.bool("portcullis.pin_only"),
            authorities: settings.map("portcullis.upstream_ca"),
            proxy_tls: ProxyTls {
                certificate: settings.secret("portcullis.proxy_tls.certificate"),
                authorities: settings.list("portcullis.proxy_tls.ca"),
            },
            max_idle_connections: settings.limit("max_idle_connections"),
            max_idle_connections_per_host: settings.limit("max_idle_connections_per_host"),
            max_connection_age: match u64::try_from(age) {
                Ok(0) => None,
                Ok(seconds) => Some(Duration::from_secs(seconds)),
                Err(_) => Some(Duration::ZERO),
            },
            default_timeout: settings.duration_or_default("proxy_default_timeout"),
            close_connections: settings.bool("proxy_close_connections"),
            jwt_insecure_skip_verify: settings.bool("jwt_ssl_insecure_skip_verify"),
            bundle_insecure_skip_verify: settings.bool("bundle_insecure_skip_verify"),
        }
    }
}
