//! How the gateway reaches upstreams.

use super::{ANY, Section, at_least, tyk};
use crate::key::Kind;

pub(super) const UPSTREAM: Section = Section {
    title: "Upstreams",
    about: "TLS and connections towards upstreams. Each key may also be written inside an object `proxy`, without `proxy_` in its name.",
    keys: &[
        tyk("proxy_enable_http2", "PROXYENABLEHTTP2", Kind::Bool, "false", "Offers HTTP/2 to HTTPS upstreams.").also(&["proxy.enable_http2"]),
        tyk("proxy_ssl_insecure_skip_verify", "PROXYSSLINSECURESKIPVERIFY", Kind::Bool, "false", "Accepts any certificate of any upstream, so whoever sits in between can read and change everything; an API cannot switch it back on.")
            .also(&["proxy.ssl_insecure_skip_verify"]),
        tyk("proxy_ssl_min_version", "PROXYSSLMINVERSION", Kind::TlsVersion, "0", "Lowest TLS version towards upstreams: 771 is 1.2, 772 is 1.3; 0 means 771.")
            .also(&["proxy.ssl_min_version"]),
        tyk("proxy_ssl_max_version", "PROXYSSLMAXVERSION", Kind::TlsVersion, "0", "Highest TLS version towards upstreams: 771 is 1.2, 772 is 1.3; 0 means 771.")
            .also(&["proxy.ssl_max_version"]),
        tyk("proxy_ssl_ciphers", "PROXYSSLCIPHERSUITES", Kind::TextList, "[]", "Cipher suites of TLS 1.2 towards upstreams; empty means the built-in choice.")
            .also(&["proxy.ssl_ciphers"]),
        tyk("proxy_ssl_disable_renegotiation", "PROXYSSLDISABLERENEGOTIATION", Kind::Bool, "false", "Forces `portcullis.proxy_ssl_renegotiation` to `never`.").also(&["proxy.ssl_disable_renegotiation"]),
        tyk("ssl_force_common_name_check", "SSLFORCECOMMONNAMECHECK", Kind::Bool, "false", "An upstream's certificate must carry the host in its common name. On direct connections that is all that is verified, unless `portcullis.strict_common_name` is set.")
            .also(&["SSLForceCommonNameCheck"]),
        tyk("max_idle_connections", "MAXIDLECONNS", at_least(0), "0", "Idle upstream connections kept per API; 0 means no limit.").not_yet("a limit per API; `max_idle_connections_per_host` is the one in force"),
        tyk("max_idle_connections_per_host", "MAXIDLECONNSPERHOST", at_least(0), "0", "Idle connections each worker keeps to an upstream; 0 means 1000."),
        tyk("max_conn_time", "MAXCONNTIME", Kind::Seconds(ANY), "0", "Age at which upstream connections are replaced; 0 means never, less than 0 at every request."),
        tyk("proxy_default_timeout", "PROXYDEFAULTTIMEOUT", Kind::DecimalSeconds(ANY), "30", "Longest time to connect to an upstream, and to wait for the head of its answer; 0 or less means 30.").also(&["proxy.default_timeout"]),
        tyk("proxy_close_connections", "PROXYCLOSECONNECTIONS", Kind::Bool, "false", "Uses every upstream connection for one request.").also(&["proxy.close_connections"]),
        tyk("jwt_ssl_insecure_skip_verify", "JWTSSLINSECURESKIPVERIFY", Kind::Bool, "false", "Accepts any certificate of a server that publishes keys for tokens, where `external_services.oauth` says nothing about it."),
        tyk("bundle_insecure_skip_verify", "BUNDLEINSECURESKIPVERIFY", Kind::Bool, "false", "Accepts any certificate of the server that plugins come from.").not_yet("plugin bundles"),
    ],
};
