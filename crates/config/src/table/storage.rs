//! The three Redis connections. They have one shape, so one macro writes their rows.

use super::{Section, at_least, tyk};
use crate::key::Kind;

const LATER: &str = "Redis; the embedded store is used";

macro_rules! redis_keys {
    ($path:literal, $env:literal) => {
        &[
            tyk(
                concat!($path, ".type"),
                concat!($env, "_TYPE"),
                Kind::Choice(&["", "redis"]),
                "\"redis\"",
                "Kind of the store; there is only this one.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".host"),
                concat!($env, "_HOST"),
                Kind::Text,
                "\"localhost\"",
                "Host of the server; used when `addrs` and `hosts` are empty.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".port"),
                concat!($env, "_PORT"),
                Kind::Port,
                "6379",
                "Port of the server.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".addrs"),
                concat!($env, "_ADDRS"),
                Kind::TextList,
                "[]",
                "All nodes or sentinels, each `host:port`.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".hosts"),
                concat!($env, "_HOSTS"),
                Kind::TextMap,
                "{}",
                "Older form of `addrs`: host to port.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".enable_cluster"),
                concat!($env, "_ENABLECLUSTER"),
                Kind::Bool,
                "false",
                "The nodes form a cluster.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".master_name"),
                concat!($env, "_MASTERNAME"),
                Kind::Text,
                "\"\"",
                "Name that sentinels know the primary by; setting it means sentinels.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".sentinel_password"),
                concat!($env, "_SENTINELPASSWORD"),
                Kind::Secret,
                "\"\"",
                "Password of the sentinels.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".username"),
                concat!($env, "_USERNAME"),
                Kind::Text,
                "\"\"",
                "User name at the server.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".password"),
                concat!($env, "_PASSWORD"),
                Kind::SecretOrReference,
                "\"\"",
                "Password at the server.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".database"),
                concat!($env, "_DATABASE"),
                at_least(0),
                "0",
                "Number of the database.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".timeout"),
                concat!($env, "_TIMEOUT"),
                Kind::Seconds(0),
                "5",
                "Longest time to connect, read or write; 0 means 5.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".optimisation_max_active"),
                concat!($env, "_MAXACTIVE"),
                at_least(0),
                "500",
                "Most connections per node; 0 means 500.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".optimisation_max_idle"),
                concat!($env, "_MAXIDLE"),
                at_least(0),
                "100",
                "Most idle connections per node.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".use_ssl"),
                concat!($env, "_USESSL"),
                Kind::Bool,
                "false",
                "Speaks TLS; the keys below need it.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".ssl_insecure_skip_verify"),
                concat!($env, "_SSLINSECURESKIPVERIFY"),
                Kind::Bool,
                "false",
                "Accepts any certificate of the server.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".ca_file"),
                concat!($env, "_CAFILE"),
                Kind::Path,
                "\"\"",
                "Authorities that verify the server; they replace the system's.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".cert_file"),
                concat!($env, "_CERTFILE"),
                Kind::Path,
                "\"\"",
                "Client certificate; needs `key_file`.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".key_file"),
                concat!($env, "_KEYFILE"),
                Kind::Path,
                "\"\"",
                "Key of the client certificate.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".tls_min_version"),
                concat!($env, "_TLSMINVERSION"),
                Kind::TlsVersionName,
                "\"1.2\"",
                "Lowest TLS version.",
            )
            .not_yet(LATER),
            tyk(
                concat!($path, ".tls_max_version"),
                concat!($env, "_TLSMAXVERSION"),
                Kind::TlsVersionName,
                "\"1.3\"",
                "Highest TLS version.",
            )
            .not_yet(LATER),
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
    keys: redis_keys!("cache_storage", "CACHESTORAGE"),
};

pub(super) const ANALYTICS_STORAGE: Section = Section {
    title: "Redis for analytics",
    about: "Used when `enable_separate_analytics_store` and analytics are set. Nothing is inherited from `storage`.",
    keys: redis_keys!("analytics_storage", "ANALYTICSSTORAGE"),
};
