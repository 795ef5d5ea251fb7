//! Proxies and certificates for services the gateway itself calls.
//!
//! The documentation of Tyk writes the environment names with `EXTERNAL_SERVICES`, its code
//! reads `EXTERNALSERVICES`; both are read here and the latter wins.

use super::{Section, tyk};
use crate::key::{Key, Kind};

const LATER: &str = "calls to external services";

/// A key of a service that is not called yet.
const fn later(key: Key) -> Key {
    key.not_yet(LATER)
}

/// A key of a service that is called.
const fn in_effect(key: Key) -> Key {
    key
}

/// A proxy of the rate-limit store.
const fn never_by_proxy(key: Key) -> Key {
    key.inert("proxies are never used for Redis")
}

macro_rules! row {
    ($service:literal . $key:literal, $env:literal, $kind:expr, $default:literal, $effect:literal) => {
        tyk(
            concat!("external_services.", $service, ".", $key),
            concat!("EXTERNALSERVICES_", $env),
            $kind,
            $default,
            $effect,
        )
        .also_env(&[concat!("EXTERNAL_SERVICES_", $env)])
    };
}

macro_rules! service {
    ($title:literal, $about:literal, $service:literal, $env:literal, $proxy:ident, $mtls:ident, $ids:ident) => {
        Section {
            title: $title,
            about: $about,
            keys: &[
                $proxy(service!(row $service . "proxy.enabled", $env, "_PROXY_ENABLED", Kind::Bool, "false", "Uses the proxies given here, or those of `global`, or of the environment.")),
                $proxy(service!(row $service . "proxy.http_proxy", $env, "_PROXY_HTTPPROXY", Kind::Secret, "\"\"", "Proxy for plain requests.")),
                $proxy(service!(row $service . "proxy.https_proxy", $env, "_PROXY_HTTPSPROXY", Kind::Secret, "\"\"", "Proxy for TLS requests; empty means `http_proxy`.")),
                $proxy(service!(row $service . "proxy.bypass_proxy", $env, "_PROXY_BYPASSPROXY", Kind::Text, "\"\"", "Hosts reached without a proxy: names, `.suffixes`, `*.wildcards`, addresses and networks, each with or without a port, separated by commas.")),
                $mtls(service!(row $service . "mtls.enabled", $env, "_MTLS_ENABLED", Kind::Bool, "false", "Uses the certificates given here; nothing is connected to without them.")),
                $mtls(service!(row $service . "mtls.cert_file", $env, "_MTLS_CERTFILE", Kind::Path, "\"\"", "Client certificate; needs `key_file`.")),
                $mtls(service!(row $service . "mtls.key_file", $env, "_MTLS_KEYFILE", Kind::Path, "\"\"", "Key of the client certificate.")),
                $mtls(service!(row $service . "mtls.ca_file", $env, "_MTLS_CAFILE", Kind::Path, "\"\"", "Authorities that verify the server; they replace the system's.")),
                $ids(service!(row $service . "mtls.cert_id", $env, "_MTLS_CERTID", Kind::Text, "\"\"", "Client certificate in the certificate store, instead of files.")),
                $ids(service!(row $service . "mtls.ca_cert_ids", $env, "_MTLS_CACERTIDS", Kind::TextList, "[]", "Authorities in the certificate store; they win over `ca_file`.")),
                $mtls(service!(row $service . "mtls.insecure_skip_verify", $env, "_MTLS_INSECURESKIPVERIFY", Kind::Bool, "false", "Accepts any certificate of the server.")),
                $mtls(service!(row $service . "mtls.tls_min_version", $env, "_MTLS_TLSMINVERSION", Kind::TlsVersionName, "\"1.2\"", "Lowest TLS version.")),
                $mtls(service!(row $service . "mtls.tls_max_version", $env, "_MTLS_TLSMAXVERSION", Kind::TlsVersionName, "\"1.3\"", "Highest TLS version.")),
            ],
        }
    };
    (row $service:literal . $key:literal, $env:literal, $tail:literal, $kind:expr, $default:literal, $effect:literal) => {
        tyk(
            concat!("external_services.", $service, ".", $key),
            concat!("EXTERNALSERVICES_", $env, $tail),
            $kind,
            $default,
            $effect,
        )
        .also_env(&[concat!("EXTERNAL_SERVICES_", $env, $tail)])
    };
}

pub(super) const GLOBAL: Section = Section {
    title: "External services: all",
    about: "Proxies for every service that has none of its own.",
    keys: &[
        row!("global"."enabled", "GLOBAL_ENABLED", Kind::Bool, "false", "Uses these proxies."),
        row!("global"."http_proxy", "GLOBAL_HTTPPROXY", Kind::Secret, "\"\"", "Proxy for plain requests."),
        row!("global"."https_proxy", "GLOBAL_HTTPSPROXY", Kind::Secret, "\"\"", "Proxy for TLS requests; empty means `http_proxy`."),
        row!("global"."bypass_proxy", "GLOBAL_BYPASSPROXY", Kind::Text, "\"\"", "Hosts reached without a proxy, as in the block of a service."),
    ],
};

pub(super) const OAUTH: Section = service!(
    "External services: identity providers",
    "Identity providers: key sets that tokens are verified with, introspection of tokens, and tokens for upstreams.",
    "oauth",
    "OAUTH",
    in_effect,
    in_effect,
    in_effect
);

pub(super) const STORAGE: Section = service!(
    "External services: rate-limit store",
    "The Redis connection that counts requests for rate limits. With `mtls.enabled`, and TLS on by `storage.use_ssl`, what is given here takes the place of every TLS setting of `storage` for it; proxies are never used.",
    "storage",
    "STORAGE",
    never_by_proxy,
    in_effect,
    in_effect
);

pub(super) const WEBHOOKS: Section = service!(
    "External services: webhooks",
    "Delivery of events.",
    "webhooks",
    "WEBHOOKS",
    in_effect,
    in_effect,
    in_effect
);

pub(super) const HEALTH: Section = service!(
    "External services: uptime tests",
    "Tests of upstreams. With `mtls.enabled`, and where what it asks for cannot be had, every test by HTTP fails.",
    "health",
    "HEALTH",
    in_effect,
    in_effect,
    in_effect
);

pub(super) const DISCOVERY: Section = service!(
    "External services: discovery",
    "Questions for an upstream's addresses.",
    "discovery",
    "DISCOVERY",
    later,
    later,
    later
);
