//! Keys of Tyk whose features this gateway does not have.
//!
//! A configuration that comes from a Tyk gateway carries some of them. They are known, so
//! the warning can name the feature instead of guessing at a typing error, and a key that
//! only says "off" is no reason for a warning at all.

use serde_json::Value as Json;

/// A feature that is not here, and the keys that belong to it.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// File key and environment name without its prefix. Both stand for everything below them too.
    keys: &'static [(&'static str, &'static str)],
}

const FEATURES: &[Feature] = &[
    Feature {
        name: "analytics records",
        keys: &[
            ("enable_analytics", "ENABLEANALYTICS"),
            ("analytics_config", "ANALYTICSCONFIG"),
            ("enforce_org_data_age", "ENFORCEORGDATAAGE"),
            (
                "enforce_org_data_detail_logging",
                "ENFORCEORGDATADETAILLOGGING",
            ),
        ],
    },
    Feature {
        name: "plugins",
        keys: &[
            ("enable_jsvm", "ENABLEJSVM"),
            ("jsvm_timeout", "JSVMTIMEOUT"),
            ("tyk_js_path", "TYKJSPATH"),
            ("middleware_path", "MIDDLEWAREPATH"),
            ("coprocess_options", "COPROCESSOPTIONS"),
            ("enable_bundle_downloader", "ENABLEBUNDLEDOWNLOADER"),
            ("bundle_base_url", "BUNDLEBASEURL"),
            (
                "skip_verify_existing_plugin_bundle",
                "SKIPVERIFYEXISTINGPLUGINBUNDLE",
            ),
            ("disable_virtual_path_blobs", "DISABLEVIRTUALPATHBLOBS"),
        ],
    },
    Feature {
        name: "distributed rate limiting",
        keys: &[
            ("drl_notification_frequency", "DRLNOTIFICATIONFREQUENCY"),
            (
                "drl_enable_sentinel_rate_limiter",
                "DRLENABLESENTINELRATELIMITER",
            ),
            (
                "enable_non_transactional_rate_limiter",
                "ENABLENONTRANSACTIONALRATELIMITER",
            ),
            (
                "enable_fixed_window_rate_limiter",
                "ENABLEFIXEDWINDOWRATELIMITER",
            ),
            ("enable_rate_limit_smoothing", "ENABLERATELIMITSMOOTHING"),
            ("rate_limit", "RATELIMIT"),
        ],
    },
    Feature {
        name: "organisation quotas and quota monitoring",
        keys: &[
            ("enforce_org_quotas", "ENFORCEORGQUOTAS"),
            (
                "experimental_process_org_off_thread",
                "EXPERIMENTALPROCESSORGOFFTHREAD",
            ),
            ("monitor", "MONITOR"),
            (
                "legacy_enable_allowance_countdown",
                "LEGACYENABLEALLOWANCECOUNTDOWN",
            ),
        ],
    },
    Feature {
        name: "an OAuth 2.0 authorisation server",
        keys: &[
            ("oauth_refresh_token_expire", "OAUTHREFRESHEXPIRE"),
            ("oauth_token_expire", "OAUTHTOKENEXPIRE"),
            (
                "oauth_token_expired_retain_period",
                "OAUTHTOKENEXPIREDRETAINPERIOD",
            ),
            ("oauth_redirect_uri_separator", "OAUTHREDIRECTURISEPARATOR"),
            ("oauth_error_status_code", "OAUTHERRORSTATUSCODE"),
        ],
    },
    Feature {
        name: "service discovery",
        keys: &[("service_discovery", "SERVICEDISCOVERY")],
    },
    Feature {
        name: "a DNS cache of its own",
        keys: &[("dns_cache", "DNSCACHE")],
    },
    Feature {
        name: "log shipping",
        keys: &[
            ("use_sentry", "USESENTRY"),
            ("sentry_code", "SENTRYCODE"),
            ("sentry_log_level", "SENTRYLOGLEVEL"),
            ("use_syslog", "USESYSLOG"),
            ("syslog_transport", "SYSLOGTRANSPORT"),
            ("syslog_network_addr", "SYSLOGNETWORKADDR"),
            ("use_graylog", "USEGRAYLOG"),
            ("graylog_network_addr", "GRAYLOGNETWORKADDR"),
            ("use_logstash", "USELOGSTASH"),
            ("logstash_transport", "LOGSTASHTRANSPORT"),
            ("logstash_network_addr", "LOGSTASHNETWORKADDR"),
            ("track_404_logs", "TRACK404LOGS"),
        ],
    },
    Feature {
        name: "trace and metric export",
        keys: &[
            ("tracing", "TRACER"),
            ("opentelemetry", "OPENTELEMETRY"),
            ("newrelic", "NEWRELIC"),
            ("statsd_connection_string", "STATSDCONNECTIONSTRING"),
            ("statsd_prefix", "STATSDPREFIX"),
            ("instrumentation", "INSTRUMENTATION"),
        ],
    },
    Feature {
        name: "profiling over HTTP",
        keys: &[("enable_http_profiler", "HTTPPROFILE")],
    },
    Feature {
        name: "key providers other than the store",
        keys: &[("auth_override", "AUTHOVERRIDE")],
    },
    Feature {
        name: "event triggers of old versions",
        keys: &[
            ("event_trigers_defunct", "EVENTTRIGGERS"),
            ("event_triggers_defunct", "EVENTTRIGGERSDEFUNCT"),
        ],
    },
    Feature {
        name: "endpoint rules that ignore case or header form",
        keys: &[
            ("ignore_endpoint_case", "IGNOREENDPOINTCASE"),
            (
                "ignore_canonical_mime_header_key",
                "IGNORECANONICALMIMEHEADERKEY",
            ),
            ("version_header", "VERSIONHEADER"),
        ],
    },
    Feature {
        name: "configuration sent by a Dashboard",
        keys: &[
            ("allow_remote_config", "ALLOWREMOTECONFIG"),
            ("resource_sync", "RESOURCESYNC"),
            ("cloud", "CLOUD"),
        ],
    },
    Feature {
        name: "validation of examples in OpenAPI documents",
        keys: &[("oas_config", "OAS")],
    },
    Feature {
        name: "event streaming and experiments",
        keys: &[
            ("streaming", "STREAMING"),
            ("labs", "LABS"),
            ("jwks", "JWKS"),
        ],
    },
    Feature {
        name: "tuning of a runtime that is not used here",
        keys: &[
            ("disable_regexp_cache", "DISABLEREGEXPCACHE"),
            ("regexp_cache_expire", "REGEXPCACHEEXPIRE"),
            ("close_idle_connections", "CLOSEIDLECONNECTIONS"),
            ("session_update_pool_size", "SESSIONUPDATEPOOLSIZE"),
            ("session_update_buffer_size", "SESSIONUPDATEBUFFERSIZE"),
            (
                "optimisations_use_async_session_write",
                "USEASYNCSESSIONWRITE",
            ),
            ("enable_api_segregation", "ENABLEAPISEGREGATION"),
            ("reload_wait_time", "RELOADWAITTIME"),
            ("pid_file_location", "PIDFILELOCATION"),
        ],
    },
];

/// The feature a key of the file belongs to. `path` is in lower case.
pub(crate) fn feature_of_key(path: &str) -> Option<&'static Feature> {
    FEATURES
        .iter()
        .find(|feature| feature.keys.iter().any(|(key, _)| covers(path, key, '.')))
}

/// The feature an environment variable belongs to, by its name without the prefix.
pub(crate) fn feature_of_env(tail: &str) -> Option<&'static Feature> {
    FEATURES
        .iter()
        .find(|feature| feature.keys.iter().any(|(_, env)| covers(tail, env, '_')))
}

/// Whether a path leads to foreign keys, such as `kv`.
pub(crate) fn is_group(path: &str) -> bool {
    FEATURES
        .iter()
        .flat_map(|feature| feature.keys)
        .any(|(key, _)| {
            key.strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('.'))
        })
}

/// Whether a value only says that the feature is off.
pub(crate) fn is_off(json: &Json) -> bool {
    match json {
        Json::Null | Json::Bool(false) => true,
        Json::Bool(true) => false,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        // Numbers and names beside a switch that is off mean nothing.
        Json::Object(members) => match switch(members) {
            Some(on) => !on,
            None => members.values().all(is_off),
        },
    }
}

/// Whether the members hold a switch, and how it stands. Any switch that is on counts.
fn switch(members: &serde_json::Map<String, Json>) -> Option<bool> {
    members
        .iter()
        .filter_map(|(name, value)| match (name.to_ascii_lowercase(), value) {
            (name, Json::Bool(off)) if name == "disable" => Some(!off),
            (name, Json::Bool(on)) if name.starts_with("enable") => Some(*on),
            _ => None,
        })
        .reduce(|one, other| one || other)
}

fn covers(name: &str, key: &str, separator: char) -> bool {
    name.strip_prefix(key)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(separator))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;
    use serde_json::json;

    #[test]
    fn no_key_is_both_read_and_foreign() {
        for key in table::keys() {
            assert!(feature_of_key(key.path).is_none(), "{}", key.path);
            assert!(key.env.and_then(feature_of_env).is_none(), "{:?}", key.env);
        }
    }

    #[test]
    fn a_value_that_switches_a_feature_off_is_recognised() {
        assert!(is_off(
            &json!({"enabled": false, "name": "", "options": {}, "size": 0})
        ));
        assert!(is_off(&json!({"enabled": false, "ttl": 3600})));
        assert!(is_off(
            &json!({"disable": true, "config": {"time_wait": 10}})
        ));
        assert!(!is_off(&json!({"enable_geo_ip": false, "enabled": true})));
        assert!(!is_off(&json!({"name": "x", "list": [0]})));
    }

    #[test]
    fn a_feature_is_found_by_key_and_by_variable() {
        let name = |feature: Option<&'static Feature>| feature.map(|feature| feature.name);
        assert_eq!(
            name(feature_of_key("analytics_config.type")),
            Some("analytics records")
        );
        assert_eq!(
            name(feature_of_env("ANALYTICSCONFIG_TYPE")),
            Some("analytics records")
        );
        assert_eq!(name(feature_of_key("analytics_configuration")), None);
        assert!(!is_group("kv") && !is_group("k"));
    }
}
