//! The three Redis connections. They have one shape, so one macro writes their rows.

use super::{Section, at_least, tyk};
use crate::key::Kind;

const CACHE_LATER: &str = "caches in Redis";
const ANALYTICS_LATER: &str = "analytics in Redis";

macro_rules! redis_keys {
    ($path:literal, $env:literal $(, $later:ident)?) => {
        &[
            tyk(
                concat!($path, ".type"),
                concat!($env, "_TYPE"),
                Kind::Choice(&["", "redis"]),
                "\"redis\"",
                "Kind of the store; there is only this one.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".host"),
                concat!($env, "_HOST"),
                Kind::Text,
                "\"localhost\"",
                "Host of the server; used when `addrs` and `hosts` are empty.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".port"),
                concat!($env, "_PORT"),
                Kind::Port,
                "6379",
                "Port of the server.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".addrs"),
                concat!($env, "_ADDRS"),
                Kind::TextList,
                "[]",
                "All nodes or sentinels, each `host:port`.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".hosts"),
                concat!($env, "_HOSTS"),
                Kind::TextMap,
                "{}",
                "Older form of `addrs`: host to port.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".enable_cluster"),
                concat!($env, "_ENABLECLUSTER"),
                Kind::Bool,
                "false",
                "The nodes form a cluster.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".master_name"),
                concat!($env, "_MASTERNAME"),
                Kind::Text,
                "\"\"",
                "Name that sentinels know the primary by; setting it means sentinels.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".sentinel_password"),
                concat!($env, "_SENTINELPASSWORD"),
                Kind::Secret,
                "\"\"",
                "Password of the sentinels.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".username"),
                concat!($env, "_USERNAME"),
                Kind::Text,
                "\"\"",
                "User name at the server.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".password"),
                concat!($env, "_PASSWORD"),
                Kind::SecretOrReference,
                "\"\"",
                "Password at the server.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".database"),
                concat!($env, "_DATABASE"),
                at_least(0),
                "0",
                "Number of the database, 0 to 255; a cluster has 0 alone.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".timeout"),
                concat!($env, "_TIMEOUT"),
                Kind::Seconds(0),
                "5",
                "Longest time to connect, read or write; 0 means 5.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".optimisation_max_active"),
                concat!($env, "_MAXACTIVE"),
                at_least(0),
                "500",
                "Most connections per node; 0 means 500. Commands share connections: no more than 4 are made.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".optimisation_max_idle"),
                concat!($env, "_MAXIDLE"),
                at_least(0),
                "100",
                "Most connections per node that stay open; all of them do.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".use_ssl"),
                concat!($env, "_USESSL"),
                Kind::Bool,
                "false",
                "Speaks TLS; the keys below need it.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".ssl_insecure_skip_verify"),
                concat!($env, "_SSLINSECURESKIPVERIFY"),
                Kind::Bool,
                "false",
                "Accepts any certificate of the server.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".ca_file"),
                concat!($env, "_CAFILE"),
                Kind::Path,
                "\"\"",
                "Authorities that verify the server; they replace the system's.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".cert_file"),
                concat!($env, "_CERTFILE"),
                Kind::Path,
                "\"\"",
                "Client certificate; needs `key_file`. Files are read again when they change.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".key_file"),
                concat!($env, "_KEYFILE"),
                Kind::Path,
                "\"\"",
                "Key of the client certificate.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".tls_min_version"),
                concat!($env, "_TLSMINVERSION"),
                Kind::TlsVersionName,
                "\"1.2\"",
                "Lowest TLS version; 1.0 and 1.1 become 1.2.",
            )
            $(.not_yet($later))?,
            tyk(
                concat!($path, ".tls_max_version"),
                concat!($env, "_TLSMAXVERSION"),
                Kind::TlsVersionName,
                "\"1.3\"",
                "Highest TLS version; TLS 1.3 is spoken with a server that offers it.",
            )
            $(.not_yet($later))?,
        ]
    };
}

pub(super) const STORAGE: Section = Section {
    title: "Redis",
    about: "The store that the nodes of a cluster share. Without this object the gateway keeps its own under `portcullis.data_dir`.",
    keys: redis_keys!("storage", "STORAGE"),
};

pub(super) const CACHE_STORAGE: Section = Section {
    title: "Redis for caches",
    about: "Used when `enable_separate_cache_store` is set. Nothing is inherited from `storage`.",
    keys: redis_keys!("cache_storage", "CACHESTORAGE", CACHE_LATER),
};

pub(super) const ANALYTICS_STORAGE: Section = Section {
    title: "Redis for analytics",
    about: "Used when `enable_separate_analytics_store` and analytics are set. Nothing is inherited from `storage`.",
    keys: redis_keys!("analytics_storage", "ANALYTICSSTORAGE", ANALYTICS_LATER),
};
