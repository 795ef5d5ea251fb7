//! The members of a Classic definition.

use super::token_members::{EXTERNAL_OAUTH, UPSTREAM_AUTH};
use crate::members::{Inner, Shape};

/// The whole document.
pub(crate) static ROOT: Shape = Shape {
    leaves: &[
        "_id",
        "active",
        "allowed_ips",
        "analytics_plugin",
        "api_id",
        "application_protocol",
        "auth_provider",
        "base_identity_provided_by",
        "basic_auth",
        "blacklisted_ips",
        "cache_options",
        "certificate_pairs",
        "certificate_pinning_disabled",
        "certificates",
        "client_certificates",
        "config_data",
        "config_data_disabled",
        "created_at",
        "custom_middleware_bundle",
        "custom_middleware_bundle_disabled",
        "custom_plugin_auth_enabled",
        "detailed_tracing",
        "disable_quota",
        "disable_rate_limit",
        "do_not_track",
        "domain",
        "domain_disabled",
        "dont_set_quota_on_create",
        "enable_batch_request_support",
        "enable_context_vars",
        "enable_coprocess_auth",
        "enable_detailed_recording",
        "enable_ip_blacklisting",
        "enable_ip_whitelisting",
        "enable_jsvm",
        "enable_jwt",
        "enable_proxy_protocol",
        "enable_signature_checking",
        "error_overrides_disabled",
        "event_handlers",
        "expiration",
        "expire_analytics_after",
        "global_enforce_timeout",
        "hmac_allowed_algorithms",
        "hmac_allowed_clock_skew",
        "hook_references",
        "id",
        "idp_client_id_mapping_disabled",
        "internal",
        "ip_access_control_disabled",
        "is_oas",
        "is_site",
        "json_rpc_version",
        "jwt_client_base_field",
        "jwt_default_policies",
        "jwt_disable_expires_at_validation",
        "jwt_disable_issued_at_validation",
        "jwt_disable_not_before_validation",
        "jwt_expires_at_validation_skew",
        "jwt_identity_base_field",
        "jwt_issued_at_validation_skew",
        "jwt_jwks_uris",
        "jwt_not_before_validation_skew",
        "jwt_policy_field_name",
        "jwt_scope_claim_name",
        "jwt_scope_to_policy_mapping",
        "jwt_signing_method",
        "jwt_skip_kid",
        "jwt_source",
        "listen_port",
        "name",
        "notifications",
        "oauth_meta",
        "openid_options",
        "org_id",
        "pinned_public_keys",
        "protocol",
        "response_processors",
        "scopes",
        "security_requirements",
        "session_lifetime",
        "session_lifetime_respects_key_expiration",
        "session_provider",
        "slug",
        "sort_by",
        "strip_auth_data",
        "tag_headers",
        "tags",
        "tags_disabled",
        "updated_at",
        "upstream_certificates",
        "upstream_certificates_disabled",
        "use_basic_auth",
        "use_go_plugin_auth",
        "use_keyless",
        "use_mutual_tls_auth",
        "use_oauth2",
        "use_openid",
        "use_standard_auth",
        "user_group_owners",
        "user_owners",
    ],
    inner: &[
        ("CORS", Inner::Object(&CORS)),
        ("auth", Inner::Object(&AUTH)),
        ("auth_configs", Inner::Map(&AUTH)),
        ("custom_middleware", Inner::Object(&CUSTOM_MIDDLEWARE)),
        ("definition", Inner::Object(&DEFINITION)),
        (
            "error_overrides",
            Inner::MapOfLists(&crate::error_overrides::CLASSIC_RULE),
        ),
        ("external_oauth", Inner::Object(&EXTERNAL_OAUTH)),
        ("global_rate_limit", Inner::Object(&GLOBAL_RATE_LIMIT)),
        ("graphql", Inner::Object(&SWITCH)),
        ("portcullis", Inner::Object(&PORTCULLIS)),
        ("proxy", Inner::Object(&PROXY)),
        ("request_signing", Inner::Object(&REQUEST_SIGNING)),
        ("upstream_auth", Inner::Object(&UPSTREAM_AUTH)),
        ("uptime_tests", Inner::Object(&UPTIME_TESTS)),
        ("version_data", Inner::Object(&VERSION_DATA)),
    ],
    foreign: &["x-"],
};

/// Our own keys; the same in both formats.
pub(crate) static PORTCULLIS: Shape = Shape {
    leaves: &[
        "certificate_bound_tokens",
        "client_certificate_authorities",
        "client_certificates",
        "client_crls",
        "client_identity",
        "crl_mode",
        "enable_proxy_protocol",
        "pin_only",
        "proxy_ssl_renegotiation",
        "strict_common_name",
        "upstream_ca",
    ],
    inner: &[("proxy", Inner::Object(&OUR_PROXY))],
    foreign: &[],
};

static OUR_PROXY: Shape = Shape {
    leaves: &[],
    inner: &[("tls", Inner::Object(&PROXY_TLS))],
    foreign: &[],
};

static PROXY_TLS: Shape = Shape {
    leaves: &[
        "ca",
        "certificate",
        "max_version",
        "min_version",
        "server_name",
    ],
    inner: &[],
    foreign: &[],
};

/// Anything with a switch; what else it holds is not looked into.
static SWITCH: Shape = Shape {
    leaves: &["enabled"],
    inner: &[],
    foreign: &[""],
};

static REQUEST_SIGNING: Shape = Shape {
    leaves: &["is_enabled"],
    inner: &[],
    foreign: &[""],
};

static SERVICE_DISCOVERY: Shape = Shape {
    leaves: &["use_discovery_service"],
    inner: &[],
    foreign: &[""],
};

static CORS: Shape = Shape {
    leaves: &[
        "allow_credentials",
        "allowed_headers",
        "allowed_methods",
        "allowed_origins",
        "debug",
        "enable",
        "exposed_headers",
        "max_age",
        "options_passthrough",
    ],
    inner: &[],
    foreign: &[],
};

static AUTH: Shape = Shape {
    leaves: &[
        "authHeaderName",
        "auth_header_name",
        "cookie_name",
        "disable_header",
        "name",
        "param_name",
        "signature",
        "useCertificate",
        "use_certificate",
        "use_cookie",
        "use_param",
        "validate_signature",
    ],
    inner: &[],
    foreign: &[],
};

static CUSTOM_MIDDLEWARE: Shape = Shape {
    leaves: &[
        "auth_check",
        "driver",
        "id_extractor",
        "post",
        "post_key_auth",
        "pre",
        "response",
    ],
    inner: &[("auth_check", Inner::Object(&PLUGIN))],
    foreign: &[],
};

static PLUGIN: Shape = Shape {
    leaves: &["disabled", "name"],
    inner: &[],
    foreign: &[""],
};

static DEFINITION: Shape = Shape {
    leaves: &[
        "base_id",
        "default",
        "enabled",
        "fallback_to_default",
        "key",
        "location",
        "name",
        "strip_path",
        "strip_versioning_data",
        "url_versioning_pattern",
        "versions",
    ],
    inner: &[],
    foreign: &[],
};

static GLOBAL_RATE_LIMIT: Shape = Shape {
    leaves: &["disabled", "per", "rate"],
    inner: &[],
    foreign: &[],
};

static PROXY: Shape = Shape {
    leaves: &[
        "check_host_against_uptime_tests",
        "disable_strip_slash",
        "enable_load_balancing",
        "listen_path",
        "preserve_host_header",
        "proxy_url",
        "strip_listen_path",
        "structured_target_list",
        "target_list",
        "target_url",
    ],
    inner: &[
        ("service_discovery", Inner::Object(&SERVICE_DISCOVERY)),
        ("transport", Inner::Object(&TRANSPORT)),
    ],
    foreign: &[],
};

static TRANSPORT: Shape = Shape {
    leaves: &[
        "SSLForceCommonNameCheck",
        "proxy_url",
        "ssl_ciphers",
        "ssl_force_common_name_check",
        "ssl_insecure_skip_verify",
        "ssl_max_version",
        "ssl_min_version",
    ],
    inner: &[],
    foreign: &[],
};

static VERSION_DATA: Shape = Shape {
    leaves: &["default_version", "not_versioned"],
    inner: &[("versions", Inner::Map(&VERSION))],
    foreign: &[],
};

static VERSION: Shape = Shape {
    leaves: &[
        "expires",
        "global_enforce_timeout",
        "global_enforce_timeout_disabled",
        "global_headers",
        "global_headers_disabled",
        "global_headers_remove",
        "global_response_headers",
        "global_response_headers_disabled",
        "global_response_headers_remove",
        "global_size_limit",
        "global_size_limit_disabled",
        "ignore_endpoint_case",
        "name",
        "override_target",
        "use_extended_paths",
    ],
    inner: &[
        ("extended_paths", Inner::Object(&EXTENDED_PATHS)),
        ("paths", Inner::Object(&PATHS)),
    ],
    foreign: &[],
};

static UPTIME_TESTS: Shape = Shape {
    leaves: &["disabled"],
    inner: &[
        ("check_list", Inner::List(&UPTIME_TEST)),
        ("config", Inner::Object(&UPTIME_CONFIG)),
    ],
    foreign: &[],
};

static UPTIME_TEST: Shape = Shape {
    leaves: &[
        "body",
        "enable_proxy_protocol",
        "headers",
        "method",
        "protocol",
        "timeout",
        "url",
    ],
    inner: &[("commands", Inner::List(&UPTIME_COMMAND))],
    foreign: &[],
};

/// What is said on a raw connection; the same in both formats.
pub(crate) static UPTIME_COMMAND: Shape = Shape {
    leaves: &["message", "name"],
    inner: &[],
    foreign: &[],
};

static UPTIME_CONFIG: Shape = Shape {
    leaves: &["expire_utime_after", "recheck_wait", "service_discovery"],
    inner: &[],
    foreign: &[],
};

static PATHS: Shape = Shape {
    leaves: &["black_list", "ignored", "white_list"],
    inner: &[],
    foreign: &[],
};

static EXTENDED_PATHS: Shape = Shape {
    leaves: &[
        "advance_cache_config",
        "black_list",
        "cache",
        "circuit_breakers",
        "do_not_track_endpoints",
        "go_plugin",
        "hard_timeouts",
        "ignored",
        "internal",
        "method_transforms",
        "mock_response",
        "oas_mock_response",
        "oas_validate_request",
        "persist_graphql",
        "rate_limit",
        "size_limits",
        "track_endpoints",
        "transform",
        "transform_headers",
        "transform_jq",
        "transform_jq_response",
        "transform_response",
        "transform_response_headers",
        "url_rewrites",
        "validate_json",
        "validate_request",
        "virtual",
        "white_list",
    ],
    inner: &[],
    foreign: &[],
};
