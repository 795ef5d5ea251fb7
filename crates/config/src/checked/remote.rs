//! Remote parts: Redis, Dashboard, bridge, external services.

use std::path::PathBuf;
use std::time::Duration;

use crate::proxy::ProxyAddress;
use crate::secret::Secret;
use crate::settings::Settings;

/// A connection to Redis or Valkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// `redis`, or empty, which means the same.
    pub kind: String,
    /// Nodes or sentinels, each `host:port`; never empty.
    pub addresses: Vec<String>,
    /// The nodes form a cluster.
    pub enable_cluster: bool,
    /// Name sentinels know the primary by; `None` means no sentinels.
    pub master_name: Option<String>,
    /// Password of the sentinels.
    pub sentinel_password: Secret,
    /// User name, may be empty.
    pub username: String,
    /// Password, may be empty.
    pub password: Secret,
    /// Number of the database.
    pub database: usize,
    /// Longest time to connect, read or write.
    pub timeout: Duration,
    /// Most connections per node.
    pub max_active: usize,
    /// Most idle connections per node.
    pub max_idle: usize,
    /// Speak TLS.
    pub use_ssl: bool,
    /// Accept any certificate.
    pub ssl_insecure_skip_verify: bool,
    /// Authorities that verify the server.
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub cert_file: Option<PathBuf>,
    /// Key of the client certificate.
    pub key_file: Option<PathBuf>,
    /// Lowest TLS version, such as `1.2`.
    pub tls_min_version: String,
    /// Highest TLS version, such as `1.3`.
    pub tls_max_version: String,
}

impl Redis {
    /// `None` when the connection is not wanted.
    pub(super) fn from_settings(settings: &Settings, block: &str, wanted: bool) -> Option<Self> {
        let key = |name: &str| format!("{block}.{name}");
        let mut addresses = settings.list(&key("addrs"));
        let hosts = settings.map(&key("hosts"));
        let single = format!(
            "{}:{}",
            settings.text(&key("host")),
            settings.u16(&key("port"))
        );
        if addresses.is_empty() {
            addresses = hosts
                .iter()
                .map(|(host, port)| format!("{host}:{port}"))
                .collect();
        }
        if addresses.is_empty() {
            addresses.push(single);
        }
        let redis = Self {
            kind: settings.text(&key("type")),
            addresses,
            enable_cluster: settings.bool(&key("enable_cluster")),
            master_name: settings.optional_text(&key("master_name")),
            sentinel_password: settings.secret(&key("sentinel_password")),
            username: settings.text(&key("username")),
            password: settings.secret(&key("password")),
            database: settings.count(&key("database")),
            timeout: settings.duration_or_default(&key("timeout")),
            max_active: settings
                .limit(&key("optimisation_max_active"))
                .unwrap_or(500),
            max_idle: settings.limit(&key("optimisation_max_idle")).unwrap_or(100),
            use_ssl: settings.bool(&key("use_ssl")),
            ssl_insecure_skip_verify: settings.bool(&key("ssl_insecure_skip_verify")),
            ca_file: settings.path(&key("ca_file")),
            cert_file: settings.path(&key("cert_file")),
            key_file: settings.path(&key("key_file")),
            tls_min_version: settings
                .optional_text(&key("tls_min_version"))
                .unwrap_or_else(|| "1.2".to_owned()),
            tls_max_version: settings
                .optional_text(&key("tls_max_version"))
                .unwrap_or_else(|| "1.3".to_owned()),
        };
        wanted.then_some(redis)
    }

    /// The same server, reached with a service's own certificates: they take the place of every TLS
    /// setting, nothing is mixed. `None` when the service has none, or the server speaks no TLS.
    pub fn with_certificates_of(&self, mtls: &MutualTls) -> Option<Self> {
        (self.use_ssl && mtls.enabled).then(|| Self {
            ssl_insecure_skip_verify: mtls.insecure_skip_verify,
            ca_file: mtls.ca_file.clone(),
            cert_file: mtls.cert_file.clone(),
            key_file: mtls.key_file.clone(),
            tls_min_version: mtls.tls_min_version.clone(),
            tls_max_version: mtls.tls_max_version.clone(),
            ..self.clone()
        })
    }
}

/// The Dashboard client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dashboard {
    /// API definitions come from the Dashboard.
    pub use_db_app_configs: bool,
    /// Address of the Dashboard.
    pub connection_string: Secret,
    /// Longest time for a call.
    pub connection_timeout: Duration,
    /// Load only APIs that carry one of the tags.
    pub node_is_segmented: bool,
    /// Tags of this node.
    pub tags: Vec<String>,
    /// Never learn the Dashboard's address from signals.
    pub disable_zeroconf: bool,
}

impl Dashboard {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        Self {
            use_db_app_configs: settings.bool("use_db_app_configs"),
            connection_string: settings.secret("db_app_conf_options.connection_string"),
            connection_timeout: settings
                .duration_or_default("db_app_conf_options.connection_timeout"),
            node_is_segmented: settings.bool("db_app_conf_options.node_is_segmented"),
            tags: settings.list("db_app_conf_options.tags"),
            disable_zeroconf: settings.bool("disable_dashboard_zeroconf"),
        }
    }
}

/// Signals between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signals {
    /// Signs signals.
    pub node_secret: Secret,
    /// Public key that verifies signals signed with a private key.
    pub public_key_path: Option<PathBuf>,
    /// Believe unsigned signals.
    pub allow_insecure_configs: bool,
    /// Do not listen to signals.
    pub suppress_reload: bool,
    /// Take no part in sharing rate limits.
    pub management_node: bool,
    /// Show log lines in the Dashboard.
    pub use_redis_log: bool,
    /// How often certificates in use are looked at, for changes that no signal told.
    pub certificate_check_interval: Duration,
}

impl Signals {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        Self {
            node_secret: settings.secret("node_secret"),
            public_key_path: settings.path("public_key_path"),
            allow_insecure_configs: settings.bool("allow_insecure_configs"),
            suppress_reload: settings.bool("suppress_redis_signal_reload"),
            management_node: settings.bool("management_node"),
            use_redis_log: settings.bool("use_redis_log"),
            certificate_check_interval: Duration::from_secs(
                u64::try_from(settings.integer("portcullis.certificate_check_interval"))
                    .expect("the kind of the key excludes negative numbers"),
            ),
        }
    }
}

/// The link to a control plane elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Bridge {
    /// This node belongs to a data plane.
    pub use_rpc: bool,
    /// Speak TLS.
    pub use_ssl: bool,
    /// Accept any certificate.
    pub ssl_insecure_skip_verify: bool,
    /// Address, `host:port`.
    pub connection_string: String,
    /// Organisation this node belongs to.
    pub rpc_key: Secret,
    /// Key that logs this node in.
    pub api_key: Secret,
    /// Remember fetched keys.
    pub enable_rpc_cache: bool,
    /// Route by slug.
    pub bind_to_slugs: bool,
    /// Do not follow changes of keys.
    pub disable_keyspace_sync: bool,
    /// Nodes that share one Redis.
    pub group_id: String,
    /// Longest time for a call.
    pub call_timeout: Duration,
    /// Longest time for a sign of life.
    pub ping_timeout: Duration,
    /// Connections.
    pub rpc_pool_size: usize,
    /// Time between two questions for changed keys.
    pub key_space_sync_interval: Duration,
    /// How long a fetched certificate is remembered.
    pub cert_cache_expiration: Duration,
    /// How long a fetched key is remembered.
    pub global_cache_expiration: Duration,
    /// Ask again for a certificate that could not be fetched.
    pub cert_fetch_retry_enabled: bool,
    /// Longest time to keep asking.
    pub cert_fetch_max_elapsed_time: Duration,
    /// First pause between two questions.
    pub cert_fetch_initial_interval: Duration,
    /// Longest pause between two questions.
    pub cert_fetch_max_interval: Duration,
    /// How often to ask again; `None` means without end.
    pub cert_fetch_max_retries: Option<u32>,
    /// Take part in the synchronisation of keys.
    pub synchroniser_enabled: bool,
    /// Fetch only certificates that an API names.
    pub sync_used_certs_only: bool,
    /// Watch the bridge's address.
    pub dns_monitor: DnsMonitor,
}

/// Watching the bridge's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsMonitor {
    /// Whether to.
    pub enabled: bool,
    /// Time between two looks, at least ten seconds.
    pub check_interval: Duration,
}

impl Bridge {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let key = |name: &str| format!("slave_options.{name}");
        let flag = |name: &str| settings.bool(&key(name));
        let time = |name: &str| settings.duration_or_default(&key(name));
        Self {
            use_rpc: flag("use_rpc"),
            use_ssl: flag("use_ssl"),
            ssl_insecure_skip_verify: flag("ssl_insecure_skip_verify"),
            connection_string: settings.text(&key("connection_string")),
            rpc_key: settings.secret(&key("rpc_key")),
            api_key: settings.secret(&key("api_key")),
            enable_rpc_cache: flag("enable_rpc_cache"),
            bind_to_slugs: flag("bind_to_slugs"),
            disable_keyspace_sync: flag("disable_keyspace_sync"),
            group_id: settings
                .optional_text(&key("group_id"))
                .unwrap_or_else(|| "ungrouped".to_owned()),
            call_timeout: time("call_timeout"),
            ping_timeout: time("ping_timeout"),
            rpc_pool_size: settings.limit(&key("rpc_pool_size")).unwrap_or(5),
            key_space_sync_interval: time("key_space_sync_interval"),
            cert_cache_expiration: time("rpc_cert_cache_expiration"),
            global_cache_expiration: time("rpc_global_cache_expiration"),
            cert_fetch_retry_enabled: flag("rpc_cert_fetch_retry_enabled"),
            cert_fetch_max_elapsed_time: time("rpc_cert_fetch_max_elapsed_time"),
            cert_fetch_initial_interval: time("rpc_cert_fetch_initial_interval"),
            cert_fetch_max_interval: time("rpc_cert_fetch_max_interval"),
            cert_fetch_max_retries: match settings.integer(&key("rpc_cert_fetch_max_retries")) {
                0 => None,
                retries if retries < 0 => Some(5),
                retries => Some(u32::try_from(retries).unwrap_or(u32::MAX)),
            },
            synchroniser_enabled: flag("synchroniser_enabled"),
            sync_used_certs_only: flag("sync_used_certs_only"),
            dns_monitor: DnsMonitor {
                enabled: flag("dns_monitor.enabled"),
                check_interval: time("dns_monitor.check_interval").max(Duration::from_secs(10)),
            },
        }
    }
}

/// Services the gateway calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalServices {
    /// Proxies for every service that has none of its own.
    pub global: ExternalProxies,
    /// Identity providers.
    pub oauth: ExternalService,
    /// The Redis connection of rate limits.
    pub storage: ExternalService,
    /// Delivery of events.
    pub webhooks: ExternalService,
    /// Uptime tests.
    pub health: ExternalService,
    /// Discovery of upstreams.
    pub discovery: ExternalService,
}

/// Proxies of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalProxies {
    /// Use proxies even when none is named here.
    pub enabled: bool,
    /// Proxy for plain requests, and for TLS requests when there is no other for them.
    pub http_proxy: Option<ProxyAddress>,
    /// Proxy for TLS requests.
    pub https_proxy: Option<ProxyAddress>,
    /// Something is written where an address belongs, even if it is none.
    pub names_any: bool,
    /// Hosts reached without a proxy, as written.
    pub bypass_proxy: String,
}

/// Proxies and certificates of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalService {
    /// Its proxies.
    pub proxy: ExternalProxies,
    /// Its certificates.
    pub mtls: MutualTls,
}

/// Certificates of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutualTls {
    /// Use them.
    pub enabled: bool,
    /// Client certificate.
    pub cert_file: Option<PathBuf>,
    /// Key of the client certificate.
    pub key_file: Option<PathBuf>,
    /// Authorities that verify the server.
    pub ca_file: Option<PathBuf>,
    /// Client certificate in the certificate store.
    pub cert_id: Option<String>,
    /// Authorities in the certificate store.
    pub ca_cert_ids: Vec<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Lowest TLS version, such as `1.2`.
    pub tls_min_version: String,
    /// Highest TLS version, such as `1.3`.
    pub tls_max_version: String,
}

impl ExternalServices {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let service = |name: &str| {
            ExternalService::from_settings(settings, &format!("external_services.{name}"))
        };
        Self {
            global: ExternalProxies::from_settings(settings, "external_services.global"),
            oauth: service("oauth"),
            storage: service("storage"),
            webhooks: service("webhooks"),
            health: service("health"),
            discovery: service("discovery"),
        }
    }
}

impl ExternalProxies {
    fn from_settings(settings: &Settings, block: &str) -> Self {
        let written = |name: &str| settings.secret(&format!("{block}.{name}"));
        let (http, https) = (written("http_proxy"), written("https_proxy"));
        // What is no address was reported when the keys were looked at together.
        let address = |text: &Secret| ProxyAddress::parse(text.reveal()).ok();
        Self {
            enabled: settings.bool(&format!("{block}.enabled")),
            http_proxy: address(&http),
            https_proxy: address(&https),
            names_any: !http.is_empty() || !https.is_empty(),
            bypass_proxy: settings.text(&format!("{block}.bypass_proxy")),
        }
    }
}

impl ExternalServices {
    /// Whether a service has settings of its own or shares those of `global`. One that has none is called as
    /// if this part of the configuration were not there.
    #[must_use]
    pub fn is_configured(&self, service: &ExternalService) -> bool {
        let proxy = &service.proxy;
        self.global.enabled || proxy.enabled || proxy.names_any || service.mtls.enabled
    }
}

impl ExternalService {
    fn from_settings(settings: &Settings, block: &str) -> Self {
        let key = |name: &str| format!("{block}.mtls.{name}");
        let version = |name: &str, default: &str| {
            settings
                .optional_text(&key(name))
                .unwrap_or_else(|| default.to_owned())
        };
        Self {
            proxy: ExternalProxies::from_settings(settings, &format!("{block}.proxy")),
            mtls: MutualTls {
                enabled: settings.bool(&key("enabled")),
                cert_file: settings.path(&key("cert_file")),
                key_file: settings.path(&key("key_file")),
                ca_file: settings.path(&key("ca_file")),
                cert_id: settings.optional_text(&key("cert_id")),
                ca_cert_ids: settings.list(&key("ca_cert_ids")),
                insecure_skip_verify: settings.bool(&key("insecure_skip_verify")),
                tls_min_version: version("tls_min_version", "1.2"),
                tls_max_version: version("tls_max_version", "1.3"),
            },
        }
    }
}
