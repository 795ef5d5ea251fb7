//! The members of a Classic definition that speak of access tokens and of credentials for upstreams.

use crate::members::{Inner, Shape};

pub(super) static EXTERNAL_OAUTH: Shape = Shape {
    leaves: &["enabled"],
    inner: &[("providers", Inner::List(&OAUTH_PROVIDER))],
    foreign: &[],
};

static OAUTH_PROVIDER: Shape = Shape {
    leaves: &[],
    inner: &[
        ("introspection", Inner::Object(&INTROSPECTION)),
        ("jwt", Inner::Object(&SIGNED_TOKENS)),
    ],
    foreign: &[],
};

static SIGNED_TOKENS: Shape = Shape {
    leaves: &[
        "enabled",
        "expires_at_validation_skew",
        "identity_base_field",
        "issued_at_validation_skew",
        "not_before_validation_skew",
        "signing_method",
        "source",
    ],
    inner: &[],
    foreign: &[],
};

static INTROSPECTION: Shape = Shape {
    leaves: &[
        "client_id",
        "client_secret",
        "enabled",
        "identity_base_field",
        "url",
    ],
    inner: &[("cache", Inner::Object(&INTROSPECTION_CACHE))],
    foreign: &[],
};

/// The same in both formats.
pub(crate) static INTROSPECTION_CACHE: Shape = Shape {
    leaves: &["enabled", "timeout"],
    inner: &[],
    foreign: &[],
};

pub(super) static UPSTREAM_AUTH: Shape = Shape {
    leaves: &["enabled"],
    inner: &[
        ("basic_auth", Inner::Object(&UPSTREAM_BASIC)),
        ("oauth", Inner::Object(&UPSTREAM_OAUTH)),
    ],
    foreign: &[],
};

/// The same in both formats.
pub(crate) static UPSTREAM_BASIC: Shape = Shape {
    leaves: &["enabled", "password", "username"],
    inner: &[("header", Inner::Object(&CREDENTIAL_HEADER))],
    foreign: &[],
};

/// The same in both formats.
pub(crate) static CREDENTIAL_HEADER: Shape = Shape {
    leaves: &["enabled", "name"],
    inner: &[],
    foreign: &[],
};

static UPSTREAM_OAUTH: Shape = Shape {
    leaves: &["allowed_authorize_types", "enabled"],
    inner: &[
        ("client_credentials", Inner::Object(&TOKEN_REQUEST)),
        ("password", Inner::Object(&TOKEN_REQUEST)),
    ],
    foreign: &[],
};

static TOKEN_REQUEST: Shape = Shape {
    leaves: &[
        "client_id",
        "client_secret",
        "extra_metadata",
        "password",
        "scopes",
        "token_url",
        "username",
    ],
    inner: &[("header", Inner::Object(&CREDENTIAL_HEADER))],
    foreign: &[],
};
