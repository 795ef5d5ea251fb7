//! The Dashboard and the bridge to another data centre.

use super::{ANY, Section, at_least, tyk};
use crate::key::Kind;

const DASHBOARD_LATER: &str = "the Dashboard client";
const BRIDGE_LATER: &str = "the bridge client";
const LOG_LATER: &str = "log lines in the Dashboard";
const REDIS_LATER: &str = "separate stores for caches and analytics";

pub(super) const DASHBOARD: Section = Section {
    title: "Dashboard and cluster",
    about: "Definitions from a Dashboard, and signals between nodes.",
    keys: &[
        tyk(
            "use_db_app_configs",
            "USEDBAPPCONFIGS",
            Kind::Bool,
            "false",
            "API definitions come from the Dashboard; the Control API cannot change them.",
        )
        .not_yet(DASHBOARD_LATER),
        tyk(
            "db_app_conf_options.connection_string",
            "DBAPPCONFOPTIONS_CONNECTIONSTRING",
            Kind::SecretOrReference,
            "\"\"",
            "Address of the Dashboard.",
        )
        .not_yet(DASHBOARD_LATER),
        tyk(
            "db_app_conf_options.connection_timeout",
            "DBAPPCONFOPTIONS_CONNECTIONTIMEOUT",
            Kind::Seconds(ANY),
            "30",
            "Longest time for a call to the Dashboard; less than 1 means 30.",
        )
        .not_yet(DASHBOARD_LATER),
        tyk(
            "db_app_conf_options.node_is_segmented",
            "DBAPPCONFOPTIONS_NODEISSEGMENTED",
            Kind::Bool,
            "false",
            "Loads only APIs that carry one of the tags.",
        )
        .not_yet(DASHBOARD_LATER),
        tyk(
            "db_app_conf_options.tags",
            "DBAPPCONFOPTIONS_TAGS",
            Kind::TextList,
            "[]",
            "Tags of this node.",
        )
        .not_yet(DASHBOARD_LATER),
        tyk(
            "disable_dashboard_zeroconf",
            "DISABLEDASHBOARDZEROCONF",
            Kind::Bool,
            "false",
            "Never learns the Dashboard's address from signals.",
        )
        .not_yet(DASHBOARD_LATER),
        tyk(
            "node_secret",
            "NODESECRET",
            Kind::SecretOrReference,
            "\"\"",
            "Shared with the Dashboard and the other nodes; signs signals.",
        ),
        tyk(
            "public_key_path",
            "PUBLICKEYPATH",
            Kind::Path,
            "\"\"",
            "Public key that verifies signals signed with a private key.",
        ),
        tyk(
            "allow_insecure_configs",
            "ALLOWINSECURECONFIGS",
            Kind::Bool,
            "false",
            "Believes unsigned signals.",
        ),
        tyk(
            "suppress_redis_signal_reload",
            "SUPPRESSREDISSIGNALRELOAD",
            Kind::Bool,
            "false",
            "Does not listen to signals at all.",
        ),
        tyk(
            "management_node",
            "MANAGEMENTNODE",
            Kind::Bool,
            "false",
            "This node carries no traffic: it takes no part in sharing rate limits.",
        ),
        tyk(
            "use_redis_log",
            "USEREDISLOG",
            Kind::Bool,
            "false",
            "Shows log lines of this node in the Dashboard.",
        )
        .not_yet(LOG_LATER),
        tyk(
            "enable_separate_cache_store",
            "ENABLESEPERATECACHESTORE",
            Kind::Bool,
            "false",
            "Caches live in `cache_storage`.",
        )
        .not_yet(REDIS_LATER),
        tyk(
            "enable_separate_analytics_store",
            "ENABLESEPERATEANALYTICSSTORE",
            Kind::Bool,
            "false",
            "Analytics live in `analytics_storage`.",
        )
        .not_yet(REDIS_LATER),
    ],
};

pub(super) const BRIDGE: Section = Section {
    title: "Bridge",
    about: "A data-plane node that takes everything from a control plane elsewhere.",
    keys: &[
        tyk(
            "slave_options.use_rpc",
            "SLAVEOPTIONS_USERPC",
            Kind::Bool,
            "false",
            "This node belongs to a data plane.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.use_ssl",
            "SLAVEOPTIONS_USESSL",
            Kind::Bool,
            "false",
            "Speaks TLS to the bridge.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.ssl_insecure_skip_verify",
            "SLAVEOPTIONS_SSLINSECURESKIPVERIFY",
            Kind::Bool,
            "false",
            "Accepts any certificate of the bridge.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.connection_string",
            "SLAVEOPTIONS_CONNECTIONSTRING",
            Kind::Text,
            "\"\"",
            "Address of the bridge, `host:port`.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.rpc_key",
            "SLAVEOPTIONS_RPCKEY",
            Kind::Secret,
            "\"\"",
            "Organisation this node belongs to.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.api_key",
            "SLAVEOPTIONS_APIKEY",
            Kind::SecretOrReference,
            "\"\"",
            "Key that logs this node in.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.enable_rpc_cache",
            "SLAVEOPTIONS_ENABLERPCCACHE",
            Kind::Bool,
            "false",
            "Remembers keys that were fetched.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.bind_to_slugs",
            "SLAVEOPTIONS_BINDTOSLUGSINSTEADOFLISTENPATHS",
            Kind::Bool,
            "false",
            "Routes by an API's slug instead of its listen path.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.disable_keyspace_sync",
            "SLAVEOPTIONS_DISABLEKEYSPACESYNC",
            Kind::Bool,
            "false",
            "Does not follow changes of keys.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.group_id",
            "SLAVEOPTIONS_GROUPID",
            Kind::Text,
            "\"ungrouped\"",
            "Nodes that share one Redis share one group.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.call_timeout",
            "SLAVEOPTIONS_CALLTIMEOUT",
            Kind::Seconds(0),
            "30",
            "Longest time for a call; 0 means 30.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.ping_timeout",
            "SLAVEOPTIONS_PINGTIMEOUT",
            Kind::Seconds(0),
            "60",
            "Longest time for a sign of life; 0 means 60.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.rpc_pool_size",
            "SLAVEOPTIONS_RPCPOOLSIZE",
            at_least(0),
            "5",
            "Connections to the bridge; 0 means 5.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.key_space_sync_interval",
            "SLAVEOPTIONS_KEYSPACESYNCINTERVAL",
            Kind::DecimalSeconds(0),
            "10",
            "Time between two questions for changed keys; 0 means 10.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.rpc_cert_cache_expiration",
            "SLAVEOPTIONS_RPCCERTCACHEEXPIRATION",
            Kind::DecimalSeconds(0),
            "3600",
            "How long a fetched certificate is remembered; 0 means 3600.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.rpc_global_cache_expiration",
            "SLAVEOPTIONS_RPCGLOBALCACHEEXPIRATION",
            Kind::DecimalSeconds(0),
            "30",
            "How long a fetched key is remembered; 0 means 30.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.rpc_cert_fetch_retry_enabled",
            "SLAVEOPTIONS_RPCCERTFETCHRETRYENABLED",
            Kind::Bool,
            "true",
            "Asks again for a certificate that could not be fetched.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.rpc_cert_fetch_max_elapsed_time",
            "SLAVEOPTIONS_RPCCERTFETCHMAXELAPSEDTIME",
            Kind::DecimalSeconds(0),
            "30",
            "Longest time to keep asking; 0 means 30.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.rpc_cert_fetch_initial_interval",
            "SLAVEOPTIONS_RPCCERTFETCHINITIALINTERVAL",
            Kind::DecimalSeconds(0),
            "0.1",
            "First pause between two questions; 0 means 0.1.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.rpc_cert_fetch_max_interval",
            "SLAVEOPTIONS_RPCCERTFETCHMAXINTERVAL",
            Kind::DecimalSeconds(0),
            "2",
            "Longest pause between two questions; 0 means 2.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.rpc_cert_fetch_max_retries",
            "SLAVEOPTIONS_RPCCERTFETCHMAXRETRIES",
            at_least(ANY),
            "5",
            "How often to ask again; 0 means without end, less than 0 means 5.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.synchroniser_enabled",
            "SLAVEOPTIONS_SYNCHRONISERENABLED",
            Kind::Bool,
            "false",
            "Takes part in the synchronisation of keys.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.sync_used_certs_only",
            "SLAVEOPTIONS_SYNCUSEDCERTSONLY",
            Kind::Bool,
            "false",
            "Fetches only certificates that an API names.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.dns_monitor.enabled",
            "SLAVEOPTIONS_DNSMONITOR_ENABLED",
            Kind::Bool,
            "false",
            "Connects anew when the bridge's name gets another address.",
        )
        .not_yet(BRIDGE_LATER),
        tyk(
            "slave_options.dns_monitor.check_interval",
            "SLAVEOPTIONS_DNSMONITOR_CHECKINTERVAL",
            Kind::Seconds(0),
            "30",
            "Time between two looks at that name; at least 10, 0 means 30.",
        )
        .not_yet(BRIDGE_LATER),
    ],
};
