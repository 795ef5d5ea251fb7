//! The members of an OAS definition's extensions. The OpenAPI part is free.

use crate::classic::token_members::{CREDENTIAL_HEADER, INTROSPECTION_CACHE, UPSTREAM_BASIC};
use crate::members::{Inner, Shape};

/// The whole document. OpenAPI's own members are listed so that capital letters in them do
/// not matter to us either; everything starting with `x-` is free but ours and Tyk's.
pub(crate) static ROOT: Shape = Shape {
    leaves: &[
        "components",
        "externalDocs",
        "info",
        "jsonSchemaDialect",
        "openapi",
        "paths",
        "security",
        "servers",
        "tags",
        "webhooks",
        "x-tyk-streaming",
    ],
    inner: &[
        (
            "x-portcullis",
            Inner::Object(&crate::classic::members::PORTCULLIS),
        ),
        ("x-tyk-api-gateway", Inner::Object(&EXTENSION)),
    ],
    foreign: &["x-"],
};

static EXTENSION: Shape = Shape {
    leaves: &[],
    inner: &[
        ("errorOverrides", Inner::Object(&ERROR_OVERRIDES)),
        ("info", Inner::Object(&INFO)),
        ("middleware", Inner::Object(&MIDDLEWARE)),
        ("server", Inner::Object(&SERVER)),
        ("upstream", Inner::Object(&UPSTREAM)),
    ],
    foreign: &["x-"],
};

static ERROR_OVERRIDES: Shape = Shape {
    leaves: &["enabled"],
    inner: &[(
        "value",
        Inner::MapOfLists(&crate::error_overrides::OAS_RULE),
    )],
    foreign: &["x-"],
};

static INFO: Shape = Shape {
    leaves: &["dbId", "expiration", "id", "name", "orgId"],
    inner: &[
        ("state", Inner::Object(&STATE)),
        ("versioning", Inner::Object(&VERSIONING)),
    ],
    foreign: &["x-"],
};

static STATE: Shape = Shape {
    leaves: &["active", "internal"],
    inner: &[],
    foreign: &["x-"],
};

static VERSIONING: Shape = Shape {
    leaves: &[
        "default",
        "enabled",
        "fallbackToDefault",
        "key",
        "location",
        "name",
        "stripVersioningData",
        "urlVersioningPattern",
    ],
    inner: &[("versions", Inner::List(&VERSION))],
    foreign: &["x-"],
};

static VERSION: Shape = Shape {
    leaves: &["id", "name"],
    inner: &[],
    foreign: &["x-"],
};

static SERVER: Shape = Shape {
    leaves: &[
        "batchProcessing",
        "contextVariables",
        "detailedActivityLogs",
        "detailedTracing",
        "eventHandlers",
        "gatewayTags",
        "port",
        "protocol",
        "slug",
    ],
    inner: &[
        ("authentication", Inner::Object(&AUTHENTICATION)),
        ("clientCertificates", Inner::Object(&CLIENT_CERTIFICATES)),
        ("customDomain", Inner::Object(&CUSTOM_DOMAIN)),
        ("ipAccessControl", Inner::Object(&IP_ACCESS)),
        ("listenPath", Inner::Object(&LISTEN_PATH)),
    ],
    foreign: &["x-"],
};

static LISTEN_PATH: Shape = Shape {
    leaves: &["strip", "value"],
    inner: &[],
    foreign: &["x-"],
};

static CLIENT_CERTIFICATES: Shape = Shape {
    leaves: &["allowlist", "enabled"],
    inner: &[],
    foreign: &["x-"],
};

static CUSTOM_DOMAIN: Shape = Shape {
    leaves: &["certificates", "enabled", "name"],
    inner: &[],
    foreign: &["x-"],
};

static IP_ACCESS: Shape = Shape {
    leaves: &["allow", "block", "enabled"],
    inner: &[],
    foreign: &["x-"],
};

static AUTHENTICATION: Shape = Shape {
    leaves: &[
        "baseIdentityProvider",
        "basic",
        "custom",
        "customKeyLifetime",
        "enabled",
        "hmac",
        "jwt",
        "oauth",
        "oauth2",
        "oidc",
        "security",
        "securityProcessingMode",
        "stripAuthorizationData",
        "token",
    ],
    inner: &[
        ("certificateAuth", Inner::Object(&SWITCH)),
        ("externalOAuth", Inner::Object(&SECURITY_SCHEME)),
        ("securitySchemes", Inner::Map(&SECURITY_SCHEME)),
    ],
    foreign: &["x-"],
};

static SWITCH: Shape = Shape {
    leaves: &["enabled"],
    inner: &[],
    foreign: &["x-"],
};

static SECURITY_SCHEME: Shape = Shape {
    leaves: &[
        "allowedAudiences",
        "allowedAuthorizeTypes",
        "allowedIssuers",
        "allowedSubjects",
        "authLoginRedirect",
        "basePolicyClaims",
        "cacheTTL",
        "clientBaseField",
        "cookie",
        "customClaimValidation",
        "defaultPolicies",
        "disableCaching",
        "enableClientCertificate",
        "enabled",
        "expiresAtValidationSkew",
        "extractCredentialsFromBody",
        "header",
        "identityBaseField",
        "idpClientIdMappingDisabled",
        "issuedAtValidationSkew",
        "jtiValidation",
        "jwksURIs",
        "notBeforeValidationSkew",
        "notifications",
        "policyFieldName",
        "query",
        "refreshToken",
        "scopes",
        "signatureValidation",
        "signingMethod",
        "skipKid",
        "source",
        "subjectClaims",
    ],
    inner: &[("providers", Inner::List(&OAUTH_PROVIDER))],
    foreign: &["x-"],
};

static OAUTH_PROVIDER: Shape = Shape {
    leaves: &[],
    inner: &[
        ("introspection", Inner::Object(&INTROSPECTION)),
        ("jwt", Inner::Object(&SIGNED_TOKENS)),
    ],
    foreign: &["x-"],
};

static SIGNED_TOKENS: Shape = Shape {
    leaves: &[
        "enabled",
        "expiresAtValidationSkew",
        "identityBaseField",
        "issuedAtValidationSkew",
        "notBeforeValidationSkew",
        "signingMethod",
        "source",
    ],
    inner: &[],
    foreign: &["x-"],
};

static INTROSPECTION: Shape = Shape {
    leaves: &[
        "clientId",
        "clientSecret",
        "enabled",
        "identityBaseField",
        "url",
    ],
    inner: &[("cache", Inner::Object(&INTROSPECTION_CACHE))],
    foreign: &["x-"],
};

static UPSTREAM_OAUTH: Shape = Shape {
    leaves: &["allowedAuthorizeTypes", "enabled"],
    inner: &[
        ("clientCredentials", Inner::Object(&TOKEN_REQUEST)),
        ("password", Inner::Object(&TOKEN_REQUEST)),
    ],
    foreign: &["x-"],
};

static TOKEN_REQUEST: Shape = Shape {
    leaves: &[
        "clientId",
        "clientSecret",
        "extraMetadata",
        "password",
        "scopes",
        "tokenUrl",
        "username",
    ],
    inner: &[("header", Inner::Object(&CREDENTIAL_HEADER))],
    foreign: &["x-"],
};

static UPSTREAM: Shape = Shape {
    leaves: &["certificatePinning", "serviceDiscovery", "url"],
    inner: &[
        ("authentication", Inner::Object(&UPSTREAM_AUTHENTICATION)),
        ("certificatePinning", Inner::Object(&PINNING)),
        ("enforceTimeout", Inner::Object(&VALUE)),
        ("loadBalancing", Inner::Object(&LOAD_BALANCING)),
        ("mutualTLS", Inner::Object(&MUTUAL_TLS)),
        ("preserveHostHeader", Inner::Object(&SWITCH)),
        ("preserveTrailingSlash", Inner::Object(&SWITCH)),
        ("proxy", Inner::Object(&PROXY)),
        ("rateLimit", Inner::Object(&RATE_LIMIT)),
        ("tlsTransport", Inner::Object(&TLS_TRANSPORT)),
        ("uptimeTests", Inner::Object(&UPTIME_TESTS)),
    ],
    foreign: &["x-"],
};

static UPTIME_TESTS: Shape = Shape {
    leaves: &[
        "enabled",
        "hostDownRetestPeriod",
        "logRetentionPeriod",
        "serviceDiscovery",
    ],
    inner: &[("tests", Inner::List(&UPTIME_TEST))],
    foreign: &["x-"],
};

static UPTIME_TEST: Shape = Shape {
    leaves: &[
        "body",
        "enableProxyProtocol",
        "headers",
        "method",
        "timeout",
        "url",
    ],
    inner: &[(
        "commands",
        Inner::List(&crate::classic::members::UPTIME_COMMAND),
    )],
    foreign: &["x-"],
};

static UPSTREAM_AUTHENTICATION: Shape = Shape {
    leaves: &["enabled", "requestSigning"],
    inner: &[
        ("basicAuth", Inner::Object(&UPSTREAM_BASIC)),
        ("oauth", Inner::Object(&UPSTREAM_OAUTH)),
    ],
    foreign: &["x-"],
};

static VALUE: Shape = Shape {
    leaves: &["enabled", "value"],
    inner: &[],
    foreign: &["x-"],
};

static LOAD_BALANCING: Shape = Shape {
    leaves: &["enabled", "skipUnavailableHosts"],
    inner: &[("targets", Inner::List(&BALANCED))],
    foreign: &["x-"],
};

static BALANCED: Shape = Shape {
    leaves: &["url", "weight"],
    inner: &[],
    foreign: &["x-"],
};

static MUTUAL_TLS: Shape = Shape {
    leaves: &["enabled"],
    inner: &[(
        "domainToCertificateMapping",
        Inner::List(&MAPPED_CERTIFICATE),
    )],
    foreign: &["x-"],
};

static MAPPED_CERTIFICATE: Shape = Shape {
    leaves: &["certificate", "domain"],
    inner: &[],
    foreign: &["x-"],
};

static PINNING: Shape = Shape {
    leaves: &["enabled"],
    inner: &[("domainToPublicKeysMapping", Inner::List(&MAPPED_KEYS))],
    foreign: &["x-"],
};

static MAPPED_KEYS: Shape = Shape {
    leaves: &["domain", "publicKeys"],
    inner: &[],
    foreign: &["x-"],
};

static PROXY: Shape = Shape {
    leaves: &["enabled", "url"],
    inner: &[],
    foreign: &["x-"],
};

static RATE_LIMIT: Shape = Shape {
    leaves: &["enabled", "per", "rate"],
    inner: &[],
    foreign: &["x-"],
};

static TLS_TRANSPORT: Shape = Shape {
    leaves: &[
        "ciphers",
        "forceCommonNameCheck",
        "insecureSkipVerify",
        "maxVersion",
        "minVersion",
    ],
    inner: &[],
    foreign: &["x-"],
};

static MIDDLEWARE: Shape = Shape {
    leaves: &["mcpOperations", "mcpPrompts", "mcpResources", "mcpTools"],
    inner: &[
        ("global", Inner::Object(&GLOBAL)),
        ("operations", Inner::Map(&OPERATION)),
    ],
    foreign: &["x-"],
};

static GLOBAL: Shape = Shape {
    leaves: &[
        "cache",
        "contextVariables",
        "cors",
        "ignoreCase",
        "postAuthenticationPlugins",
        "postPlugins",
        "prePlugins",
        "requestSizeLimit",
        "responsePlugins",
        "skipQuota",
        "skipQuotaReset",
        "skipRateLimit",
        "trafficLogs",
        "transformRequestHeaders",
        "transformResponseHeaders",
    ],
    inner: &[
        ("pluginConfig", Inner::Object(&PLUGIN_CONFIG)),
        ("postAuthenticationPlugin", Inner::Object(&PLUGINS)),
        ("postPlugin", Inner::Object(&PLUGINS)),
        ("prePlugin", Inner::Object(&PLUGINS)),
        ("responsePlugin", Inner::Object(&PLUGINS)),
    ],
    foreign: &["x-"],
};

static PLUGIN_CONFIG: Shape = Shape {
    leaves: &["bundle", "data", "driver"],
    inner: &[],
    foreign: &["x-"],
};

static PLUGINS: Shape = Shape {
    leaves: &["plugins"],
    inner: &[],
    foreign: &["x-"],
};

static OPERATION: Shape = Shape {
    leaves: &[
        "allow",
        "block",
        "cache",
        "circuitBreaker",
        "doNotTrackEndpoint",
        "enforceTimeout",
        "ignoreAuthentication",
        "internal",
        "mockResponse",
        "postPlugins",
        "rateLimit",
        "requestSizeLimit",
        "trackEndpoint",
        "transformRequestBody",
        "transformRequestHeaders",
        "transformRequestMethod",
        "transformResponseBody",
        "transformResponseHeaders",
        "urlRewrite",
        "validateRequest",
        "virtualEndpoint",
    ],
    inner: &[],
    foreign: &["x-"],
};
