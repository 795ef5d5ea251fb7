//! Authentication, allow lists and plugins of an OAS document, as Classic members.

use serde_json::{Map, Value, json};

use super::{copy, enabled, list, not_disabled};
use crate::oas::access::is_protocol_member;

/// Writes everything that decides who may call the API.
pub(super) fn project(oas: &Value, extension: &Value, classic: &mut Map<String, Value>) {
    let server = &extension["server"];
    authentication(oas, &server["authentication"], classic);
    let certificates = &server["clientCertificates"];
    classic.insert(
        "use_mutual_tls_auth".into(),
        not_disabled(certificates).into(),
    );
    copy(
        certificates,
        &[("allowlist", "client_certificates")],
        classic,
    );
    addresses(&server["ipAccessControl"], classic);
    credentials(&extension["upstream"]["authentication"], classic);
    plugins(extension, classic);
    let (middleware, server) = (&extension["middleware"], &extension["server"]);
    for place in [
        extension,
        server,
        &extension["upstream"],
        middleware,
        &middleware["global"],
    ] {
        let mut members = place.as_object().into_iter().flatten();
        if members.any(|(name, value)| is_protocol_member(name) && !is_empty(value)) {
            classic.insert("application_protocol".into(), "mcp".into());
        }
    }
    let global = &extension["middleware"]["global"];
    copy(
        global,
        &[
            ("skipRateLimit", "disable_rate_limit"),
            ("skipQuota", "disable_quota"),
        ],
        classic,
    );
    let quiet = global["trafficLogs"]["enabled"] == false;
    classic.insert("do_not_track".into(), quiet.into());
    cors_and_cache(global, classic);
}

fn authentication(oas: &Value, authentication: &Value, classic: &mut Map<String, Value>) {
    classic.insert("use_keyless".into(), (!not_disabled(authentication)).into());
    copy(
        authentication,
        &[
            ("stripAuthorizationData", "strip_auth_data"),
            ("baseIdentityProvider", "base_identity_provided_by"),
        ],
        classic,
    );
    if authentication["securityProcessingMode"] == "compliant" {
        alternatives(oas, authentication, classic);
    }
    let lifetime = &authentication["customKeyLifetime"];
    if enabled(lifetime) {
        let seconds = lifetime["value"]
            .as_str()
            .and_then(crate::duration::seconds)
            .or_else(|| lifetime["value"].as_f64());
        let seconds = seconds.unwrap_or(0.0);
        classic.insert("session_lifetime".into(), json!(seconds.trunc() as i64));
        copy(
            lifetime,
            &[(
                "respectValidity",
                "session_lifetime_respects_key_expiration",
            )],
            classic,
        );
    }
    let mut configs = Map::new();
    for (name, switch, config) in [
        ("hmac", "enable_signature_checking", "hmac"),
        ("oidc", "use_openid", "oidc"),
        ("custom", "custom_plugin_auth_enabled", "coprocess"),
        ("jwt", "enable_jwt", "jwt"),
        ("basic", "use_basic_auth", "basic"),
        ("oauth", "use_oauth2", "oauth"),
        ("oauth2", "use_oauth2", "oauth"),
        ("externalOAuth", "", "externalOAuth"),
        ("token", "use_standard_auth", "authToken"),
    ] {
        let method = &authentication[name];
        if not_disabled(method) {
            switch_on(switch, method, classic);
            configs.insert(config.into(), sources(name, method));
        }
    }
    if not_disabled(&authentication["basic"]) {
        classic.insert("basic_auth".into(), passwords(&authentication["basic"]));
    }
    let hmac = &authentication["hmac"];
    copy(
        hmac,
        &[
            ("allowedAlgorithms", "hmac_allowed_algorithms"),
            ("allowedClockSkew", "hmac_allowed_clock_skew"),
        ],
        classic,
    );
    schemes(oas, authentication, classic, &mut configs);
    let certificates = &authentication["certificateAuth"];
    if not_disabled(certificates) {
        let token = configs.entry("authToken").or_insert_with(|| json!({}));
        token["use_certificate"] = true.into();
    }
    classic.insert("auth_configs".into(), configs.into());
}

/// Several groups mean that one of them is enough; with a group for each scheme none is lost.
fn alternatives(oas: &Value, authentication: &Value, classic: &mut Map<String, Value>) {
    let groups: Vec<Value> = list(&oas["security"])
        .iter()
        .filter_map(Value::as_object)
        .map(|group| group.keys().cloned().collect())
        .chain(list(&authentication["security"]).iter().cloned())
        .collect();
    let names = authentication["securitySchemes"].as_object();
    let groups = if groups.len() > 1 {
        groups
    } else {
        let names = names.into_iter().flat_map(Map::keys);
        names.map(|name| json!([name])).collect()
    };
    classic.insert("security_requirements".into(), groups.into());
}

fn schemes(
    oas: &Value,
    authentication: &Value,
    classic: &mut Map<String, Value>,
    configs: &mut Map<String, Value>,
) {
    let Some(schemes) = authentication["securitySchemes"].as_object() else {
        return;
    };
    for (name, scheme) in schemes {
        let declared = &oas["components"]["securitySchemes"][name];
        let kind = declared["type"].as_str().unwrap_or_default();
        let basic = declared["scheme"]
            .as_str()
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"));
        let (switch, config) = match kind {
            "http" if basic => ("use_basic_auth", "basic"),
            "http" => ("enable_jwt", "jwt"),
            "oauth2" if scheme.get("providers").is_some() => ("", "externalOAuth"),
            "oauth2" => ("use_oauth2", "oauth"),
            "openIdConnect" => ("use_openid", "oidc"),
            "apiKey" => ("use_standard_auth", "authToken"),
            _ if scheme.get("signingMethod").is_some() || scheme.get("jwksURIs").is_some() => {
                ("enable_jwt", "jwt")
            }
            _ if scheme.get("providers").is_some() => ("", "externalOAuth"),
            _ if scheme.get("allowedAuthorizeTypes").is_some() => ("use_oauth2", "oauth"),
            _ => ("use_standard_auth", "authToken"),
        };
        let legacy = scheme["enableClientCertificate"] == true
            && authentication["certificateAuth"].is_null();
        if !not_disabled(scheme) && !legacy {
            continue;
        }
        let mut written = sources(name, scheme);
        if config == "authToken" {
            declared_place(declared, scheme, &mut written);
        }
        if config == "basic" {
            classic.insert("basic_auth".into(), passwords(scheme));
        }
        if not_disabled(scheme) {
            switch_on(switch, scheme, classic);
            configs.insert(config.into(), written);
        }
        if legacy {
            let token = configs.entry("authToken").or_insert_with(|| json!({}));
            token["use_certificate"] = true.into();
        }
        copy(
            scheme,
            &[
                ("source", "jwt_source"),
                ("signingMethod", "jwt_signing_method"),
                ("identityBaseField", "jwt_identity_base_field"),
                ("policyFieldName", "jwt_policy_field_name"),
                ("clientBaseField", "jwt_client_base_field"),
                ("defaultPolicies", "jwt_default_policies"),
                ("jwksURIs", "jwt_jwks_uris"),
                ("skipKid", "jwt_skip_kid"),
                ("issuedAtValidationSkew", "jwt_issued_at_validation_skew"),
                ("notBeforeValidationSkew", "jwt_not_before_validation_skew"),
                ("expiresAtValidationSkew", "jwt_expires_at_validation_skew"),
            ],
            classic,
        );
    }
}

/// Switches a method on; the one without a switch of its own has an object.
fn switch_on(switch: &str, method: &Value, classic: &mut Map<String, Value>) {
    match switch {
        "" => classic.insert(
            "external_oauth".into(),
            json!({ "enabled": true, "providers": snake_case(&method["providers"]) }),
        ),
        switch => classic.insert(switch.into(), true.into()),
    };
}

/// Where the OpenAPI part says that a token stands.
fn declared_place(declared: &Value, scheme: &Value, config: &mut Value) {
    let name = declared.get("name").filter(|name| name.is_string());
    let (switch, member) = match (declared["in"].as_str().unwrap_or_default(), name) {
        ("query", _) => ("use_param", "param_name"),
        ("cookie", _) => ("use_cookie", "cookie_name"),
        (_, Some(name)) => {
            config["auth_header_name"] = name.clone();
            return;
        }
        _ => return,
    };
    config[switch] = true.into();
    if let Some(name) = name {
        config[member] = name.clone();
    }
    if scheme["header"].is_null() {
        config["disable_header"] = true.into();
    }
}

/// How passwords of basic authentication are checked.
fn passwords(scheme: &Value) -> Value {
    let mut settings = Map::new();
    copy(
        scheme,
        &[
            ("disableCaching", "disable_caching"),
            ("cacheTTL", "cache_ttl"),
        ],
        &mut settings,
    );
    let body = &scheme["extractCredentialsFromBody"];
    settings.insert("extract_from_body".into(), enabled(body).into());
    copy(
        body,
        &[
            ("userRegexp", "body_user_regexp"),
            ("passwordRegexp", "body_password_regexp"),
        ],
        &mut settings,
    );
    settings.into()
}

/// Where a method finds its credential.
fn sources(name: &str, method: &Value) -> Value {
    let mut config = Map::new();
    config.insert("name".into(), name.into());
    let (header, query, cookie) = (&method["header"], &method["query"], &method["cookie"]);
    config.insert("disable_header".into(), (header["enabled"] == false).into());
    copy(header, &[("name", "auth_header_name")], &mut config);
    // A name counts as a switch in Classic.
    config.insert("use_param".into(), enabled(query).into());
    if enabled(query) {
        copy(query, &[("name", "param_name")], &mut config);
    }
    config.insert("use_cookie".into(), enabled(cookie).into());
    if enabled(cookie) {
        copy(cookie, &[("name", "cookie_name")], &mut config);
    }
    let signed = not_disabled(&method["signatureValidation"]);
    config.insert("validate_signature".into(), signed.into());
    config.into()
}

fn addresses(access: &Value, classic: &mut Map<String, Value>) {
    if access.is_null() {
        return;
    }
    let (allow, block) = (list(&access["allow"]), list(&access["block"]));
    classic.insert(
        "ip_access_control_disabled".into(),
        (!not_disabled(access)).into(),
    );
    // Switched on with two empty lists: still a rule, so it must not vanish.
    classic.insert(
        "enable_ip_whitelisting".into(),
        (!allow.is_empty() || block.is_empty()).into(),
    );
    classic.insert("allowed_ips".into(), allow.into());
    classic.insert("enable_ip_blacklisting".into(), (!block.is_empty()).into());
    classic.insert("blacklisted_ips".into(), block.into());
}

fn credentials(authentication: &Value, classic: &mut Map<String, Value>) {
    if authentication.is_null() {
        return;
    }
    let mut upstream = Map::new();
    upstream.insert("enabled".into(), not_disabled(authentication).into());
    let basic = &authentication["basicAuth"];
    if !basic.is_null() {
        let mut map = Map::new();
        copy(
            basic,
            &[
                ("username", "username"),
                ("password", "password"),
                ("header", "header"),
            ],
            &mut map,
        );
        map.insert("enabled".into(), not_disabled(basic).into());
        upstream.insert("basic_auth".into(), map.into());
    }
    let oauth = &authentication["oauth"];
    if !oauth.is_null() {
        let mut map = snake_case(oauth);
        if let Value::Object(map) = &mut map {
            map.insert("enabled".into(), not_disabled(oauth).into());
        }
        upstream.insert("oauth".into(), map);
    }
    classic.insert("upstream_auth".into(), upstream.into());
    let signing = &authentication["requestSigning"];
    if !signing.is_null() {
        let mut map = Map::new();
        copy(
            signing,
            &[
                ("secret", "secret"),
                ("keyId", "key_id"),
                ("algorithm", "algorithm"),
                ("headers", "header_list"),
                ("certificateId", "certificate_id"),
                ("signatureHeader", "signature_header"),
            ],
            &mut map,
        );
        map.insert("is_enabled".into(), not_disabled(signing).into());
        classic.insert("request_signing".into(), map.into());
    }
}

/// The same tree with `memberName` spelled `member_name`.
fn snake_case(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| {
                let mut spelled = String::new();
                for c in name.chars() {
                    if c.is_ascii_uppercase() {
                        spelled.push('_');
                    }
                    spelled.push(c.to_ascii_lowercase());
                }
                (spelled, snake_case(value))
            })
            .collect::<Map<String, Value>>()
            .into(),
        Value::Array(list) => list.iter().map(snake_case).collect(),
        other => other.clone(),
    }
}

fn plugins(extension: &Value, classic: &mut Map<String, Value>) {
    let global = &extension["middleware"]["global"];
    let mut custom = Map::new();
    for (newer, older, hook) in [
        ("prePlugins", "prePlugin", "pre"),
        (
            "postAuthenticationPlugins",
            "postAuthenticationPlugin",
            "post_key_auth",
        ),
        ("postPlugins", "postPlugin", "post"),
        ("responsePlugins", "responsePlugin", "response"),
    ] {
        let hooks: Vec<Value> = list(&global[newer])
            .iter()
            .chain(list(&global[older]["plugins"]))
            .map(plugin)
            .collect();
        if !hooks.is_empty() {
            custom.insert(hook.into(), hooks.into());
        }
    }
    let auth = &extension["server"]["authentication"]["custom"];
    if not_disabled(auth) && !auth["config"].is_null() {
        custom.insert("auth_check".into(), plugin(&auth["config"]));
    }
    copy(
        &global["pluginConfig"],
        &[("driver", "driver")],
        &mut custom,
    );
    if !custom.is_empty() {
        classic.insert("custom_middleware".into(), custom.into());
    }
    let bundle = &global["pluginConfig"]["bundle"];
    copy(bundle, &[("path", "custom_middleware_bundle")], classic);
    classic.insert(
        "custom_middleware_bundle_disabled".into(),
        (!not_disabled(bundle)).into(),
    );
}

fn plugin(plugin: &Value) -> Value {
    let mut map = Map::new();
    copy(
        plugin,
        &[
            ("functionName", "name"),
            ("path", "path"),
            ("rawBodyOnly", "raw_body_only"),
            ("requireSession", "require_session"),
        ],
        &mut map,
    );
    map.insert("disabled".into(), (!not_disabled(plugin)).into());
    map.into()
}

fn cors_and_cache(global: &Value, classic: &mut Map<String, Value>) {
    let cors = &global["cors"];
    if !cors.is_null() {
        let mut map = Map::new();
        copy(
            cors,
            &[
                ("enabled", "enable"),
                ("allowedOrigins", "allowed_origins"),
                ("allowedMethods", "allowed_methods"),
                ("allowedHeaders", "allowed_headers"),
                ("exposedHeaders", "exposed_headers"),
                ("allowCredentials", "allow_credentials"),
                ("maxAge", "max_age"),
                ("optionsPassthrough", "options_passthrough"),
                ("debug", "debug"),
            ],
            &mut map,
        );
        classic.insert("CORS".into(), map.into());
    }
    let cache = &global["cache"];
    if !cache.is_null() {
        let mut map = Map::new();
        copy(
            cache,
            &[
                ("enabled", "enable_cache"),
                ("timeout", "cache_timeout"),
                ("cacheAllSafeRequests", "cache_all_safe_requests"),
                ("cacheResponseCodes", "cache_response_codes"),
                ("cacheByHeaders", "cache_by_headers"),
                (
                    "enableUpstreamCacheControl",
                    "enable_upstream_cache_control",
                ),
                ("controlTTLHeaderName", "cache_control_ttl_header"),
            ],
            &mut map,
        );
        classic.insert("cache_options".into(), map.into());
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(o) => o.is_empty(),
        Value::Array(a) => a.is_empty(),
        _ => false,
    }
}
