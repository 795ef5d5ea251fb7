//! The members of a session.

use crate::members::{Inner, Shape};

pub(crate) const SESSION: Shape = Shape {
    leaves: &[
        "alias",
        "allowance",
        "apply_policies",
        "apply_policy_id",
        "certificate",
        "data_expires",
        "date_created",
        "enable_detail_recording",
        "enable_detailed_recording",
        "enable_http_signature_validation",
        "expires",
        "hmac_enabled",
        "hmac_string",
        "id_extractor_deadline",
        "is_inactive",
        "last_check",
        "last_updated",
        "max_query_depth",
        "meta_data",
        "mtls_static_certificate_bindings",
        "oauth_client_id",
        "oauth_keys",
        "org_id",
        "per",
        "post_expiry_action",
        "post_expiry_grace_period",
        "quota_max",
        "quota_remaining",
        "quota_renewal_rate",
        "quota_renews",
        "rate",
        "rsa_certificate_id",
        "session_lifetime",
        "smoothing",
        "tags",
        "throttle_interval",
        "throttle_retry_limit",
    ],
    inner: &[
        ("access_rights", Inner::Map(&RIGHT)),
        ("basic_auth_data", Inner::Object(&BASIC_AUTH)),
        ("jwt_data", Inner::Object(&JWT)),
        ("monitor", Inner::Object(&MONITOR)),
    ],
    foreign: &[],
};

pub(crate) const RIGHT: Shape = Shape {
    leaves: &[
        "allowance_scope",
        "allowed_types",
        "api_id",
        "api_name",
        "disable_introspection",
        "field_access_rights",
        "json_rpc_methods",
        "json_rpc_methods_access_rights",
        "mcp_access_rights",
        "mcp_primitives",
        "restricted_types",
        "versions",
    ],
    inner: &[
        ("allowed_urls", Inner::List(&ALLOWED_URL)),
        ("endpoints", Inner::List(&ENDPOINT)),
        ("limit", Inner::Object(&LIMIT)),
    ],
    foreign: &[],
};

const ALLOWED_URL: Shape = Shape {
    leaves: &["methods", "url"],
    inner: &[],
    foreign: &[],
};

const ENDPOINT: Shape = Shape {
    leaves: &["path"],
    inner: &[("methods", Inner::List(&METHOD))],
    foreign: &[],
};

const METHOD: Shape = Shape {
    leaves: &["name"],
    inner: &[("limit", Inner::Object(&LIMIT))],
    foreign: &[],
};

const LIMIT: Shape = Shape {
    leaves: &[
        "max_query_depth",
        "per",
        "quota_max",
        "quota_remaining",
        "quota_renewal_rate",
        "quota_renews",
        "rate",
        "smoothing",
        "throttle_interval",
        "throttle_retry_limit",
    ],
    inner: &[],
    foreign: &[],
};

const BASIC_AUTH: Shape = Shape {
    leaves: &["hash_type", "password"],
    inner: &[],
    foreign: &[],
};

const JWT: Shape = Shape {
    leaves: &["secret"],
    inner: &[],
    foreign: &[],
};

const MONITOR: Shape = Shape {
    leaves: &["trigger_limits"],
    inner: &[],
    foreign: &[],
};
