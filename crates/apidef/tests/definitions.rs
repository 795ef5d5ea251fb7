//! What the two formats mean: from text to [`Api`].

use portcullis_apidef::*;
use serde_json::{Value, json};

fn classic() -> Value {
    json!({
        "name": "a", "api_id": "a1", "org_id": "default", "active": true, "use_keyless": true,
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default", "use_extended_paths": true}}
        },
        "proxy": {"listen_path": "/a/", "target_url": "http://127.0.0.1:9000/", "strip_listen_path": true}
    })
}

fn oas() -> Value {
    json!({
        "openapi": "3.0.3", "info": {"title": "a", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": "a1", "name": "a", "orgId": "default", "state": {"active": true}},
            "server": {"listenPath": {"value": "/a/", "strip": true}},
            "upstream": {"url": "http://127.0.0.1:9000/"}
        }
    })
}

/// The base with `value` put at a pointer such as `/proxy/transport`, objects made on the way.
fn with(mut base: Value, pointer: &str, value: Value) -> Value {
    let mut place = &mut base;
    for step in pointer.split('/').skip(1) {
        if let Value::Array(list) = place {
            place = &mut list[step.parse::<usize>().unwrap()];
            continue;
        }
        if place.is_null() {
            *place = json!({});
        }
        place = place
            .as_object_mut()
            .unwrap()
            .entry(step.replace("~1", "/"))
            .or_insert(Value::Null);
    }
    *place = value;
    base
}

fn read_classic(value: &Value) -> ParsedDefinition {
    parse_classic(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{value}: {e:?}"))
}

fn read_oas(value: &Value) -> ParsedDefinition {
    parse_oas(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{value}: {e:?}"))
}

fn classic_errors(value: &Value) -> Vec<String> {
    let errors = parse_classic(value.to_string().as_bytes()).expect_err("must be refused");
    errors.iter().map(ToString::to_string).collect()
}

fn oas_errors(value: &Value) -> Vec<String> {
    let errors = parse_oas(value.to_string().as_bytes()).expect_err("must be refused");
    errors.iter().map(ToString::to_string).collect()
}

const EXT: &str = "/x-tyk-api-gateway";

#[test]
fn the_smallest_documents_of_both_formats_are_the_same_api() {
    let (a, b) = (read_classic(&classic()), read_oas(&oas()));
    assert_eq!(a.api, b.api);
    assert_eq!(
        (a.warnings.len(), b.warnings.len()),
        (0, 0),
        "{:?} {:?}",
        a.warnings,
        b.warnings
    );
    let api = a.api;
    assert_eq!(
        (api.id.as_str(), api.org_id.as_str(), api.name.as_str()),
        ("a1", "default", "a")
    );
    assert!(api.active && !api.internal && api.strip_listen_path);
    assert_eq!(api.listen_path, "/a/");
    assert_eq!(api.upstream.targets.len(), 1);
    assert_eq!(api.upstream.targets[0].authority, "127.0.0.1:9000");
    assert!(api.protections.is_empty() && api.unsupported.is_empty());
}

#[test]
fn a_yaml_document_is_the_same_api_as_its_json() {
    let yaml = "
openapi: 3.1.0
info: {title: a, version: '1'}
paths: {}
x-tyk-api-gateway:
  info: {id: a1, name: a, orgId: default, state: {active: true}}
  server:
    listenPath: {value: /a/, strip: true}
  upstream: {url: 'http://127.0.0.1:9000/'}
";
    let parsed = parse_oas(yaml.as_bytes()).unwrap();
    assert_eq!(parsed.api, read_oas(&oas()).api);
    assert_eq!(parsed.document.value()["openapi"], "3.1.0");
}

#[test]
fn type_errors_name_the_key_path_and_all_of_them_are_told() {
    let mut broken = with(classic(), "/proxy/listen_path", json!(5));
    broken = with(broken, "/proxy/target_url", json!("nonsense"));
    broken = with(broken, "/active", json!("yes"));
    broken = with(broken, "/listen_port", json!(70000));
    broken = with(broken, "/org_id", json!(1));
    let errors = classic_errors(&broken);
    assert!(
        errors
            .iter()
            .any(|e| e.starts_with("proxy.listen_path: expected a string, found a number")),
        "{errors:?}"
    );
    assert!(
        errors
            .iter()
            .any(|e| e.starts_with("active: expected a boolean, found a string"))
    );
    assert!(
        errors
            .iter()
            .any(|e| e.starts_with("listen_port: 70000 is out of range"))
    );
    assert!(
        errors
            .iter()
            .any(|e| e.starts_with("org_id: expected a string"))
    );
    assert!(
        errors
            .iter()
            .any(|e| e.starts_with("proxy.target_url: no scheme"))
    );

    let errors = oas_errors(&with(oas(), &format!("{EXT}/server/port"), json!(0)));
    assert!(
        errors[0].starts_with("x-tyk-api-gateway.server.port: 0 is out of range"),
        "{errors:?}"
    );
}

#[test]
fn a_wrong_type_in_a_protection_is_an_error_and_never_means_off() {
    for (pointer, value) in [
        ("/use_mutual_tls_auth", json!("true")),
        ("/client_certificates", json!("abc")),
        ("/enable_ip_whitelisting", json!(1)),
        ("/enable_jwt", json!({})),
        ("/upstream_certificates", json!([])),
        ("/version_data/versions/Default/extended_paths", json!([])),
        (
            "/version_data/versions/Default/extended_paths",
            json!({"white_list": {}}),
        ),
        ("/global_rate_limit/rate", json!("5")),
        ("/use_keyless", json!("true")),
    ] {
        let value = with(classic(), pointer, value);
        assert!(
            parse_classic(value.to_string().as_bytes()).is_err(),
            "{pointer}"
        );
    }
    for (pointer, value) in [
        ("server/clientCertificates", json!(true)),
        ("server/clientCertificates/enabled", json!("false")),
        ("server/authentication/enabled", json!(0)),
        ("middleware/operations", json!([])),
        ("upstream/certificatePinning/enabled", json!("no")),
    ] {
        let value = with(oas(), &format!("{EXT}/{pointer}"), value);
        assert!(
            parse_oas(value.to_string().as_bytes()).is_err(),
            "{pointer}"
        );
    }
}

#[test]
fn every_protection_of_a_classic_definition_is_named() {
    use Protection as P;
    let default = "/version_data/versions/Default";
    let extended = format!("{default}/extended_paths");
    let entry = json!([{"path": "/x", "method": "GET"}]);
    let cases: Vec<(String, Value, P)> = vec![
        ("/enable_ip_whitelisting".into(), json!(true), P::IpAccess),
        (
            "/custom_middleware".into(),
            json!({"pre": [{"name": "x"}]}),
            P::Plugins,
        ),
        (
            "/custom_middleware_bundle".into(),
            json!("b.zip"),
            P::Plugins,
        ),
        (
            "/proxy/transport/proxy_url".into(),
            json!("socks5://p:1"),
            P::SocksProxy,
        ),
        (
            "/request_signing".into(),
            json!({"is_enabled": true}),
            P::UpstreamCredentials,
        ),
        (
            "/proxy/service_discovery".into(),
            json!({"use_discovery_service": true}),
            P::RequestRouting,
        ),
        (
            "/graphql".into(),
            json!({"enabled": true}),
            P::ProtocolRules,
        ),
        (
            "/application_protocol".into(),
            json!("mcp"),
            P::ProtocolRules,
        ),
        ("/expiration".into(), json!("2030-01-01 00:00"), P::Expiry),
        (
            format!("{default}/expires"),
            json!("2030-01-01 00:00"),
            P::Expiry,
        ),
        (
            format!("{default}/override_target"),
            json!("http://other"),
            P::RequestRouting,
        ),
        (
            format!("{default}/global_size_limit"),
            json!(1),
            P::RequestSizeLimit,
        ),
        (
            format!("{default}/paths"),
            json!({"white_list": ["/x"]}),
            P::PathAccess,
        ),
        (
            format!("{extended}/white_list"),
            entry.clone(),
            P::PathAccess,
        ),
        (
            format!("{extended}/black_list"),
            entry.clone(),
            P::PathAccess,
        ),
        (format!("{extended}/internal"), entry.clone(), P::PathAccess),
        (
            format!("{extended}/rate_limit"),
            entry.clone(),
            P::RateLimit,
        ),
        (
            format!("{extended}/size_limits"),
            entry.clone(),
            P::RequestSizeLimit,
        ),
        (
            format!("{extended}/validate_json"),
            entry.clone(),
            P::RequestValidation,
        ),
        (
            format!("{extended}/validate_request"),
            entry.clone(),
            P::RequestValidation,
        ),
        (format!("{extended}/virtual"), entry.clone(), P::Plugins),
        (format!("{extended}/go_plugin"), entry.clone(), P::Plugins),
        (
            format!("{extended}/persist_graphql"),
            entry.clone(),
            P::ProtocolRules,
        ),
        (
            format!("{extended}/url_rewrites"),
            entry.clone(),
            P::RequestRouting,
        ),
        (
            format!("{extended}/mock_response"),
            entry,
            P::RequestRouting,
        ),
        (
            "/version_data/not_versioned".into(),
            json!(false),
            P::InlineVersions,
        ),
    ];
    for (pointer, value, protection) in cases {
        let api = read_classic(&with(classic(), &pointer, value)).api;
        assert_eq!(api.protections, [protection], "{pointer}");
        assert!(!protection.to_string().is_empty());
    }
    let disabled = json!([{"path": "/x", "method": "GET", "disabled": true}]);
    let api = read_classic(&with(
        classic(),
        &format!("{extended}/white_list"),
        disabled,
    ))
    .api;
    assert!(api.protections.is_empty());
}

#[test]
fn every_protection_of_an_oas_definition_is_named() {
    use Protection as P;
    let on = json!({"enabled": true});
    let cases: Vec<(&str, Value, P)> = vec![
        ("server/ipAccessControl", on.clone(), P::IpAccess),
        ("info/expiration", json!("2030-01-01 00:00"), P::Expiry),
        (
            "upstream/authentication/requestSigning",
            on.clone(),
            P::UpstreamCredentials,
        ),
        (
            "upstream/proxy",
            json!({"enabled": true, "url": "socks5h://p"}),
            P::SocksProxy,
        ),
        ("upstream/serviceDiscovery", on.clone(), P::RequestRouting),
        ("middleware/global/prePlugins", json!([on]), P::Plugins),
        (
            "middleware/global/prePlugin/plugins",
            json!([on]),
            P::Plugins,
        ),
        (
            "middleware/global/pluginConfig/bundle",
            json!({"enabled": true, "path": "b"}),
            P::Plugins,
        ),
        (
            "middleware/global/requestSizeLimit",
            json!({"enabled": true, "value": 1}),
            P::RequestSizeLimit,
        ),
        ("middleware/mcpTools", json!({"t": {}}), P::ProtocolRules),
        ("middleware/operations/o/allow", on.clone(), P::PathAccess),
        ("middleware/operations/o/block", json!({}), P::PathAccess),
        (
            "middleware/operations/o/internal",
            on.clone(),
            P::PathAccess,
        ),
        (
            "middleware/operations/o/rateLimit",
            on.clone(),
            P::RateLimit,
        ),
        (
            "middleware/operations/o/requestSizeLimit",
            on.clone(),
            P::RequestSizeLimit,
        ),
        (
            "middleware/operations/o/validateRequest",
            on.clone(),
            P::RequestValidation,
        ),
        (
            "middleware/operations/o/virtualEndpoint",
            on.clone(),
            P::Plugins,
        ),
        (
            "middleware/operations/o/postPlugins",
            json!([on]),
            P::Plugins,
        ),
        (
            "middleware/operations/o/mockResponse",
            on.clone(),
            P::RequestRouting,
        ),
        ("middleware/operations/o/urlRewrite", on, P::RequestRouting),
    ];
    for (pointer, value, protection) in cases {
        let api = read_oas(&with(oas(), &format!("{EXT}/{pointer}"), value)).api;
        assert_eq!(api.protections, [protection], "{pointer}");
    }
    let api = read_oas(&with(oas(), "/x-tyk-streaming", json!({}))).api;
    assert_eq!(api.protections, [P::ProtocolRules]);
    let off = json!({"enabled": false});
    for pointer in [
        "server/clientCertificates",
        "upstream/proxy",
        "middleware/operations/o/allow",
    ] {
        let api = read_oas(&with(oas(), &format!("{EXT}/{pointer}"), off.clone())).api;
        assert!(api.protections.is_empty(), "{pointer}");
    }
}

fn methods(api: &Api) -> &Methods {
    match &api.authentication {
        Authentication::Required(methods) => methods,
        Authentication::Keyless => panic!("keyless"),
    }
}

#[test]
fn every_other_classic_authentication_method_is_a_protection() {
    use AuthMethod as M;
    let open = with(classic(), "/use_keyless", json!(false));
    for (pointer, value, method) in [
        ("/enable_signature_checking", json!(true), M::Hmac),
        ("/use_oauth2", json!(true), M::OAuth),
        ("/use_openid", json!(true), M::OpenId),
        ("/use_go_plugin_auth", json!(true), M::Custom),
        ("/enable_coprocess_auth", json!(true), M::Custom),
        ("/custom_plugin_auth_enabled", json!(true), M::Custom),
        (
            "/custom_middleware",
            json!({"auth_check": {"name": "f"}}),
            M::Custom,
        ),
    ] {
        let api = read_classic(&with(open.clone(), pointer, value)).api;
        assert_eq!(
            api.protections,
            [Protection::Authentication(method)],
            "{pointer}"
        );
        assert_eq!((&methods(&api).token, &methods(&api).basic), (&None, &None));
    }
}

/// Where Tyk looks for a token: header, then parameter, then cookie; a name counts as a switch.
#[test]
fn a_classic_token_stands_where_the_definition_says() {
    let open = with(classic(), "/use_keyless", json!(false));
    let places = |value: Value| methods(&read_classic(&value).api).token.clone().unwrap();
    let header = |name: &str| Places {
        header: Some(name.into()),
        query: None,
        cookie: None,
    };
    assert_eq!(places(open.clone()), header("authorization"));
    let older = with(open.clone(), "/auth/auth_header_name", json!("X-Key"));
    assert_eq!(places(older.clone()), header("x-key"));
    // `authToken` replaces `auth` as a whole.
    let newer = with(older, "/auth_configs/authToken", json!({"use_param": true}));
    let expected = Places {
        query: Some("authorization".into()),
        ..header("authorization")
    };
    assert_eq!(places(newer), expected);
    let everywhere = json!({
        "auth_header_name": "Key", "disable_header": true, "param_name": "k",
        "use_cookie": true, "cookie_name": "c",
    });
    let expected = Places {
        header: None,
        query: Some("k".into()),
        cookie: Some("c".into()),
    };
    assert_eq!(places(with(open.clone(), "/auth", everywhere)), expected);
    let errors = classic_errors(&with(open, "/auth/auth_header_name", json!("no name")));
    assert!(errors[0].starts_with("auth.auth_header_name"), "{errors:?}");
}

#[test]
fn basic_authentication_and_several_methods_are_read_from_both_formats() {
    let classic = with(classic(), "/use_keyless", json!(false));
    let classic = with(classic, "/use_basic_auth", json!(true));
    let alone = read_classic(&classic).api;
    assert_eq!(methods(&alone).token, None);
    assert_eq!(methods(&alone).basic, Some(Basic::default()));
    assert!(alone.protections.is_empty());
    let both = with(classic.clone(), "/use_standard_auth", json!(true));
    let both = with(both, "/base_identity_provided_by", json!("basic_auth_user"));
    let both = with(both, "/strip_auth_data", json!(true));
    let both = read_classic(&with(both, "/basic_auth/cache_ttl", json!(5))).api;
    let oas = with(
        oas(),
        "/components/securitySchemes",
        json!({"b": {"type": "http", "scheme": "basic"}, "t": {"type": "apiKey", "in": "header", "name": "Authorization"}}),
    );
    let oas = with(
        oas,
        &format!("{EXT}/server/authentication"),
        json!({
            "enabled": true, "stripAuthorizationData": true, "baseIdentityProvider": "basic_auth_user",
            "securitySchemes": {"b": {"enabled": true, "cacheTTL": 5}, "t": {"enabled": true}},
        }),
    );
    assert_eq!(both.authentication, read_oas(&oas).api.authentication);
    assert_eq!(methods(&both).identity, Identity::Basic);
    let body = read_classic(&with(
        classic.clone(),
        "/basic_auth/extract_from_body",
        json!(true),
    ));
    assert_eq!(
        body.api.protections,
        [Protection::Authentication(AuthMethod::BasicInBody)]
    );
    let nobody = read_classic(&with(
        classic,
        "/base_identity_provided_by",
        json!("jwt_claim"),
    ));
    assert_eq!(methods(&nobody.api).identity, Identity::Nobody);
    assert_eq!(nobody.warnings[0].path, "base_identity_provided_by");
    let compliant = with(
        oas,
        &format!("{EXT}/server/authentication/securityProcessingMode"),
        json!("compliant"),
    );
    assert_eq!(
        read_oas(&compliant).api.protections,
        [Protection::AuthenticationModes]
    );
}

#[test]
fn an_oas_token_stands_where_its_scheme_is_declared() {
    let places = |declared: Value, scheme: Value| {
        let value = with(oas(), "/components/securitySchemes/s", declared);
        let value = with(
            value,
            &format!("{EXT}/server/authentication"),
            json!({"enabled": true, "securitySchemes": {"s": scheme}}),
        );
        methods(&read_oas(&value).api).token.clone().unwrap()
    };
    let declared = |place: &str| json!({"type": "apiKey", "in": place, "name": "Key"});
    let on = json!({"enabled": true});
    let found = places(declared("header"), on.clone());
    assert_eq!((found.header.as_deref(), found.query), (Some("key"), None));
    let found = places(declared("query"), on);
    assert_eq!((found.query.as_deref(), found.header), (Some("Key"), None));
    let found = places(
        declared("cookie"),
        json!({"header": {"enabled": true, "name": "H"}}),
    );
    assert_eq!(
        (found.cookie.as_deref(), found.header.as_deref()),
        (Some("Key"), Some("h"))
    );
    let found = places(
        declared("header"),
        json!({"query": {"enabled": true, "name": "q"}, "cookie": {"enabled": false, "name": "c"}}),
    );
    assert_eq!((found.query.as_deref(), found.cookie), (Some("q"), None));
}

#[test]
fn rate_limits_of_an_api_are_the_same_in_both_formats() {
    let classic = with(
        classic(),
        "/global_rate_limit",
        json!({"rate": 5, "per": 60}),
    );
    let classic = with(classic, "/disable_quota", json!(true));
    let oas = with(
        oas(),
        &format!("{EXT}/upstream/rateLimit"),
        json!({"enabled": true, "rate": 5, "per": "1m"}),
    );
    let oas = with(
        oas,
        &format!("{EXT}/middleware/global/skipQuota"),
        json!(true),
    );
    let (a, b) = (read_classic(&classic).api, read_oas(&oas).api);
    assert_eq!(a.limits, b.limits);
    assert!(a.limits.ignore_key_quotas && !a.limits.ignore_key_rates);
    assert_eq!(
        a.limits.rate.unwrap(),
        Rate {
            requests: 5.0,
            per: 60.0
        }
    );
    for off in [
        json!({"rate": 0, "per": 60}),
        json!({"rate": 5, "per": 60, "disabled": true}),
    ] {
        let api = read_classic(&with(classic.clone(), "/global_rate_limit", off)).api;
        assert_eq!(api.limits.rate, None);
    }
    let errors = classic_errors(&with(classic, "/global_rate_limit/per", json!(0)));
    assert!(errors[0].starts_with("global_rate_limit"), "{errors:?}");
}

/// Certificate Auth is found in each of its spellings: a part of the token method, which it brings along.
#[test]
fn certificate_authentication_is_read_in_both_spellings_and_both_places() {
    let open = with(classic(), "/use_keyless", json!(false));
    for pointer in [
        "/auth/use_certificate",
        "/auth_configs/authToken/use_certificate",
        "/auth_configs/authToken/useCertificate",
    ] {
        let api = read_classic(&with(open.clone(), pointer, json!(true))).api;
        assert!(api.protections.is_empty(), "{pointer}");
        assert!(api.authentication.takes_certificates(), "{pointer}");
        assert!(methods(&api).token.is_some(), "{pointer}");
    }
}

/// Inbound sheet 6.1: beside another method alone, nobody would look at the certificate.
#[test]
fn certificate_authentication_without_the_token_method_is_not_enforceable() {
    let certificate = Protection::Authentication(AuthMethod::Certificate);
    let open = with(classic(), "/use_keyless", json!(false));
    let basic = with(open, "/use_basic_auth", json!(true));
    let alone = with(basic, "/auth/use_certificate", json!(true));
    assert_eq!(read_classic(&alone).api.protections, [certificate]);
    let both = with(alone, "/use_standard_auth", json!(true));
    assert!(read_classic(&both).api.protections.is_empty());

    let auth = format!("{EXT}/server/authentication");
    let on = json!({"enabled": true});
    let alone = with(
        oas(),
        &auth,
        json!({"enabled": true, "certificateAuth": on, "basic": on}),
    );
    assert_eq!(read_oas(&alone).api.protections, [certificate]);
    let both = with(alone, &format!("{auth}/token"), on);
    assert!(read_oas(&both).api.protections.is_empty());
}

/// Store sheet 3.3: what both formats call the settings of tokens.
#[test]
fn json_web_tokens_are_read_from_both_formats() {
    let classic = json!({
        "use_keyless": false, "enable_jwt": true, "jwt_signing_method": "rsa",
        "jwt_jwks_uris": [{"url": "https://a/keys", "cacheTimeout": "60s"}, {"url": "http://b:81/"}],
        "jwt_source": "aWdub3JlZA==", "jwt_identity_base_field": "user", "jwt_skip_kid": true,
        "jwt_policy_field_name": "pol", "jwt_client_base_field": "azp", "jwt_default_policies": ["d"],
        "scopes": {"jwt": {"scope_claim_name": "scp", "scope_to_policy": {"read": "r"}}},
        "jwt_expires_at_validation_skew": 1, "jwt_issued_at_validation_skew": 2,
        "jwt_not_before_validation_skew": 3, "idp_client_id_mapping_disabled": true,
        "auth_configs": {"jwt": {"auth_header_name": "X-Token", "use_param": true, "param_name": "jwt"}},
        "portcullis": {"certificate_bound_tokens": true},
    });
    let mut written = crate::classic();
    for (name, member) in classic.as_object().unwrap() {
        written[name] = member.clone();
    }
    let parsed = read_classic(&written);
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    let read = parsed.api;
    assert!(read.protections.is_empty() && read.authentication.asks_for_certificates());
    assert!(!read.authentication.takes_certificates());
    assert_eq!(methods(&read).token, None);
    let scheme = json!({
        "enabled": true, "header": {"enabled": true, "name": "X-Token"}, "query": {"enabled": true, "name": "jwt"},
        "signingMethod": "rsa", "source": "aWdub3JlZA==", "identityBaseField": "user", "skipKid": true,
        "jwksURIs": [{"url": "https://a/keys", "cacheTimeout": "1m"}, {"url": "http://b:81/"}],
        "policyFieldName": "pol", "clientBaseField": "azp", "defaultPolicies": ["d"],
        "scopes": {"claimName": "scp", "scopeToPolicyMapping": [{"scope": "read", "policyId": "r"}]},
        "expiresAtValidationSkew": 1, "issuedAtValidationSkew": 2, "notBeforeValidationSkew": 3,
        "idpClientIdMappingDisabled": true,
    });
    let value = with(
        oas(),
        "/components/securitySchemes/j",
        json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}),
    );
    let value = with(
        value,
        "/x-portcullis",
        json!({"certificate_bound_tokens": true}),
    );
    let auth = format!("{EXT}/server/authentication");
    let value = with(
        value,
        &auth,
        json!({"enabled": true, "securitySchemes": {"j": scheme}}),
    );
    let both = read_oas(&value);
    assert!(both.warnings.is_empty(), "{:?}", both.warnings);
    assert_eq!(both.api.authentication, read.authentication);

    // What only OAS has.
    let demanding = json!({
        "subjectClaims": ["u", "v"], "basePolicyClaims": ["p", "q"],
        "allowedIssuers": ["i"], "allowedAudiences": ["a"], "allowedSubjects": ["s"], "jtiValidation": {"enabled": true},
        "customClaimValidation": {"role": {"type": "contains", "allowedValues": ["x"], "nonBlocking": true}},
    });
    let mut value = value;
    for (name, member) in demanding.as_object().unwrap() {
        value = with(
            value,
            &format!("{auth}/securitySchemes/j/{name}"),
            member.clone(),
        );
    }
    let api = read_oas(&value).api;
    let jwt = api.authentication.jwt().unwrap();
    assert_eq!(
        (&jwt.identity[..], &jwt.policies.named[..]),
        (
            &["u".to_owned(), "v".into()][..],
            &["p".to_owned(), "q".into()][..]
        )
    );
    assert_eq!(
        jwt.demands,
        ClaimDemands {
            issuers: vec!["i".into()],
            audiences: vec!["a".into()],
            subjects: vec!["s".into()],
            id: true,
            rules: vec![ClaimRule {
                claim: "role".into(),
                test: ClaimTest::Contains(vec![json!("x")]),
                only_warns: true,
            }],
        }
    );
    let wrong = with(
        value,
        &format!("{auth}/securitySchemes/j/customClaimValidation/role/type"),
        json!("like"),
    );
    let errors = oas_errors(&wrong);
    assert!(
        errors[0].contains("customClaimValidation.role.type"),
        "{errors:?}"
    );
}

#[test]
fn settings_of_tokens_that_cannot_be_right_are_errors_and_weak_ones_are_warned_about() {
    let tokens = with(classic(), "/use_keyless", json!(false));
    let tokens = with(tokens, "/enable_jwt", json!(true));
    for (pointer, value) in [
        ("/jwt_signing_method", json!("none")),
        ("/jwt_signing_method", json!(1)),
        ("/jwt_source", json!(["x"])),
        ("/jwt_jwks_uris", json!([{"url": "file:///keys"}])),
        ("/jwt_expires_at_validation_skew", json!(-1)),
        ("/jwt_skip_kid", json!("yes")),
        ("/jwt_default_policies", json!("p")),
        ("/jwt_scope_to_policy_mapping", json!({"read": 1})),
    ] {
        let value = with(tokens.clone(), pointer, value);
        assert!(!classic_errors(&value).is_empty(), "{pointer}");
    }
    let hmac = with(tokens, "/jwt_signing_method", json!("hmac"));
    let jwt = |value: &Value| {
        read_classic(value)
            .api
            .authentication
            .jwt()
            .cloned()
            .unwrap()
    };
    assert_eq!(jwt(&hmac).keys, JwtKeys::OfEachKey);
    let off = with(
        hmac.clone(),
        "/jwt_disable_expires_at_validation",
        json!(true),
    );
    assert_eq!(jwt(&off).clock.expires, None);
    assert_eq!(
        read_classic(&off).warnings[0].path,
        "jwt_disable_expires_at_validation"
    );
    // `auth` says where the token stands when nothing else does, as with plain tokens.
    let older = with(hmac, "/auth/auth_header_name", json!("X-Token"));
    assert_eq!(jwt(&older).places.header.as_deref(), Some("x-token"));
    let useless = with(
        classic(),
        "/portcullis",
        json!({"certificate_bound_tokens": true}),
    );
    assert_eq!(
        read_classic(&useless).warnings[0].path,
        "portcullis.certificate_bound_tokens"
    );
}

#[test]
fn keyless_switches_methods_off_and_says_so() {
    let parsed = read_classic(&with(classic(), "/enable_jwt", json!(true)));
    assert!(parsed.api.protections.is_empty());
    assert_eq!(parsed.warnings[0].path, "use_keyless");
    // The static allow list is not authentication: it stays.
    let parsed = read_classic(&with(classic(), "/use_mutual_tls_auth", json!(true)));
    assert_eq!(parsed.api.client_certificates, Some(Vec::new()));
}

#[test]
fn oas_security_schemes_are_told_apart_by_their_declaration() {
    use AuthMethod as M;
    let base = with(
        oas(),
        &format!("{EXT}/server/authentication/enabled"),
        json!(true),
    );
    assert!(methods(&read_oas(&base).api).token.is_some());
    for (declared, method) in [
        (json!({"type": "oauth2"}), M::OAuth),
        (json!({"type": "openIdConnect"}), M::OpenId),
    ] {
        let value = with(base.clone(), "/components/securitySchemes/s", declared);
        let value = with(
            value,
            &format!("{EXT}/server/authentication/securitySchemes/s/enabled"),
            json!(true),
        );
        assert_eq!(
            read_oas(&value).api.protections,
            [Protection::Authentication(method)]
        );
    }
    for (name, method) in [
        ("hmac", M::Hmac),
        ("oidc", M::OpenId),
        ("custom", M::Custom),
    ] {
        let value = with(
            base.clone(),
            &format!("{EXT}/server/authentication/{name}/enabled"),
            json!(true),
        );
        assert_eq!(
            read_oas(&value).api.protections,
            [Protection::Authentication(method)]
        );
    }
    let off = with(
        oas(),
        &format!("{EXT}/server/authentication/enabled"),
        json!(false),
    );
    assert!(read_oas(&off).api.protections.is_empty());
}

/// Inbound sheet 6.7: `certificateAuth` present decides alone; absent, the old flag counts.
#[test]
fn certificate_auth_wins_over_the_old_flag_of_the_token_scheme() {
    let auth = format!("{EXT}/server/authentication");
    let legacy = with(
        oas(),
        &auth,
        json!({
            "enabled": true,
            "securitySchemes": {"t": {"enabled": true, "enableClientCertificate": true}}
        }),
    );
    let takes = |value: &Value| read_oas(value).api.authentication.takes_certificates();
    assert!(takes(&legacy));
    let off = with(
        legacy.clone(),
        &format!("{auth}/certificateAuth"),
        json!({"enabled": false}),
    );
    assert!(!takes(&off));
    let on = with(
        legacy,
        &format!("{auth}/certificateAuth"),
        json!({"enabled": true}),
    );
    assert!(takes(&on));
}

#[test]
fn paths_without_authentication_name_their_methods() {
    let default = "/version_data/versions/Default";
    let entries = json!([
        {"path": "/x/{id}", "method": "get", "ignore_case": true},
        {"path": "/y", "method_actions": {"PUT": {"action": "no_action"}}},
        {"path": "/off", "method": "GET", "disabled": true},
        {"path": "/none"},
    ]);
    let closed = with(classic(), "/use_keyless", json!(false));
    let listed = with(
        closed,
        &format!("{default}/extended_paths/ignored"),
        entries,
    );
    let plain = with(
        listed,
        &format!("{default}/paths"),
        json!({"ignored": ["/z"]}),
    );
    let open = |read: &ParsedDefinition| {
        let open = read.api.open_paths.iter();
        open.map(|open| (open.path.clone(), open.method.clone(), open.ignore_case))
            .collect::<Vec<_>>()
    };
    let of = |path: &str, method: &str, case| (path.to_owned(), Some(method.to_owned()), case);

    let extended = with(
        plain.clone(),
        &format!("{default}/use_extended_paths"),
        json!(true),
    );
    let read = read_classic(&extended);
    assert_eq!(
        open(&read),
        [of("/x/{id}", "GET", true), of("/y", "PUT", false)]
    );
    assert!(read.api.protections.is_empty());
    let warned = read
        .warnings
        .iter()
        .any(|warning| warning.to_string().contains("names no method"));
    assert!(warned, "{:?}", read.warnings);
    let read = read_classic(&with(
        plain,
        &format!("{default}/use_extended_paths"),
        json!(false),
    ));
    let names: Vec<_> = read.api.open_paths.iter().map(|open| &open.path).collect();
    assert!(names.contains(&&"/z".to_owned()), "{names:?}");

    let operation = format!("{EXT}/middleware/operations/o/ignoreAuthentication");
    let lost = read_oas(&with(oas(), &operation, json!({"enabled": true})));
    assert!(lost.api.open_paths.is_empty());
    let paths = json!({"/pets/{id}": {"get": {"operationId": "o"}}});
    let found = with(
        with(oas(), &operation, json!({"enabled": true})),
        "/paths",
        paths,
    );
    assert_eq!(open(&read_oas(&found)), [of("/pets/{id}", "GET", false)]);
}

#[test]
fn extras_are_named_and_do_not_count_as_protections() {
    let mut value = with(classic(), "/CORS/enable", json!(true));
    value = with(value, "/cache_options/enable_cache", json!(true));
    value = with(
        value,
        "/version_data/versions/Default/extended_paths",
        json!({
            "transform_headers": [{"path": "/x"}], "method_transforms": [{"path": "/x"}],
        }),
    );
    let api = read_classic(&value).api;
    assert!(api.protections.is_empty());
    assert_eq!(
        api.unsupported,
        [
            "CORS",
            "request header transform",
            "request method transform",
            "response cache"
        ]
    );
    let value = with(
        oas(),
        &format!("{EXT}/middleware/global/cors/enabled"),
        json!(true),
    );
    assert_eq!(read_oas(&value).api.unsupported, ["CORS"]);
}

#[test]
fn unknown_members_are_warnings_with_the_nearest_name() {
    let value = with(classic(), "/proxy/listenpath", json!("/b/"));
    let warnings = read_classic(&value).warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].unknown_member);
    assert_eq!(warnings[0].path, "proxy.listenpath");
    assert!(warnings[0].message.contains("`listen_path`"));
    let value = with(oas(), &format!("{EXT}/server/listenPaths"), json!({}));
    assert_eq!(
        read_oas(&value).warnings[0].path,
        "x-tyk-api-gateway.server.listenPaths"
    );
}

#[test]
fn listen_paths_are_normalised_and_hopeless_ones_refused() {
    for (written, expected) in [
        ("a", "/a"),
        ("//a/../b/", "/b/"),
        ("/{id:[0-9]+}/", "/{id:[0-9]+}/"),
    ] {
        let api = read_classic(&with(classic(), "/proxy/listen_path", json!(written))).api;
        assert_eq!(api.listen_path, expected);
    }
    for written in ["", "/a b/", "/{id", "/{id:(}/"] {
        assert!(
            classic_errors(&with(classic(), "/proxy/listen_path", json!(written)))[0]
                .starts_with("proxy.listen_path: ")
        );
    }
}

#[test]
fn raw_listeners_need_a_port_and_a_raw_upstream() {
    let tcp = with(classic(), "/protocol", json!("tcp"));
    assert!(
        classic_errors(&tcp)
            .iter()
            .any(|e| e.starts_with("listen_port: "))
    );
    let tcp = with(tcp, "/listen_port", json!(9001));
    assert!(
        classic_errors(&tcp)
            .iter()
            .any(|e| e.starts_with("proxy.target_url: "))
    );
    let tcp = with(tcp, "/proxy", json!({"target_url": "tcp://10.0.0.1:5432"}));
    let api = read_classic(&tcp).api;
    assert_eq!(api.listener.protocol, Some(Protocol::Tcp));
    assert_eq!(
        (api.listener.port, api.listen_path.as_str()),
        (Some(9001), "/")
    );
    assert!(!classic_errors(&with(classic(), "/protocol", json!("ftp"))).is_empty());
    let raw = with(classic(), "/proxy/target_url", json!("tcp://h:1"));
    assert!(!classic_errors(&raw).is_empty());
}

#[test]
fn load_balancing_repeats_targets_by_weight() {
    let value = with(classic(), "/proxy/enable_load_balancing", json!(true));
    assert!(classic_errors(&value)[0].contains(
        "all load balancing targets have weight 0, at least one target must have weight > 0"
    ));
    let value = with(
        value,
        "/proxy/target_list",
        json!(["http://a:1", "b:2", "b:2"]),
    );
    let hosts: Vec<_> = read_classic(&value)
        .api
        .upstream
        .targets
        .into_iter()
        .map(|t| t.host)
        .collect();
    assert_eq!(hosts, ["a", "b", "b"]);

    let balancing = |targets: Value| {
        with(
            oas(),
            &format!("{EXT}/upstream/loadBalancing"),
            json!({"enabled": true, "targets": targets}),
        )
    };
    let api = read_oas(&balancing(json!([
        {"url": "http://a:1", "weight": 2}, {"url": "http://b:1"}, {"url": "http://c:1", "weight": 0}
    ]))).api;
    let hosts: Vec<_> = api
        .upstream
        .targets
        .iter()
        .map(|t| t.host.as_str())
        .collect();
    assert_eq!(hosts, ["a", "a", "b"]);
    assert!(
        oas_errors(&balancing(json!([{"url": "http://a:1", "weight": 0}])))[0].contains("weight 0")
    );
    assert!(
        !oas_errors(&balancing(
            json!([{"url": "http://a:1", "weight": 1_000_000_000}])
        ))
        .is_empty()
    );
}

#[test]
fn an_unversioned_api_has_exactly_one_default_version() {
    for versions in [
        json!({}),
        json!({"Default": {}, "default": {}}),
        json!({"v1": {}}),
    ] {
        let value = with(classic(), "/version_data/versions", versions);
        assert!(classic_errors(&value)[0].starts_with("version_data.versions: "));
    }
    for name in ["Default", "default", ""] {
        read_classic(&with(
            classic(),
            "/version_data/versions",
            json!({name: {}}),
        ));
    }
    let mut value = classic();
    value.as_object_mut().unwrap().remove("version_data");
    assert!(read_classic(&value).api.protections.is_empty());
}

#[test]
fn version_maps_of_both_formats_are_read_alike() {
    let a = with(
        classic(),
        "/definition",
        json!({
            "enabled": true, "name": "v1", "default": "v2", "location": "header", "key": "X-Version",
            "strip_versioning_data": true, "fallback_to_default": true, "versions": {"v2": "a2"}
        }),
    );
    let b = with(
        oas(),
        &format!("{EXT}/info/versioning"),
        json!({
            "enabled": true, "name": "v1", "default": "v2", "location": "header", "key": "X-Version",
            "stripVersioningData": true, "fallbackToDefault": true, "versions": [{"name": "v2", "id": "a2"}]
        }),
    );
    let (a, b) = (read_classic(&a).api.versioning, read_oas(&b).api.versioning);
    assert_eq!(a, b);
    let versioning = a.unwrap();
    assert_eq!(
        versioning.location,
        VersionLocation::Header("x-version".into())
    );
    assert_eq!(versioning.default, Some(VersionTarget::Api("a2".into())));
    assert_eq!(versioning.versions, [("v2".to_owned(), "a2".to_owned())]);
    assert!(versioning.strip && versioning.fallback_to_default);

    let value = with(
        classic(),
        "/definition",
        json!({"enabled": true, "name": "v1", "default": "v9"}),
    );
    assert!(classic_errors(&value)[0].starts_with("definition.default: "));
    let value = with(
        classic(),
        "/definition",
        json!({"enabled": true, "name": "v1", "default": "self"}),
    );
    assert_eq!(
        read_classic(&value).api.versioning.unwrap().default,
        Some(VersionTarget::Base)
    );
}

#[test]
fn domains_bind_only_when_enabled_and_are_lower_cased_where_literal() {
    let value = with(classic(), "/domain", json!("{sub:[A-Z]+}.Example.COM."));
    let value = with(value, "/certificate_pairs", json!(["c1"]));
    let value = with(value, "/certificates", json!(["c0"]));
    let api = read_classic(&value).api;
    assert_eq!(api.domain.as_deref(), Some("{sub:[A-Z]+}.example.com"));
    assert_eq!(api.server_certificates, ["c0", "c1"]);
    let api = read_classic(&with(value, "/domain_disabled", json!(true))).api;
    assert_eq!((api.domain, api.server_certificates), (None, vec![]));
    let value = with(
        oas(),
        &format!("{EXT}/server/customDomain"),
        json!({
            "enabled": true, "name": "H.example", "certificates": ["c"]
        }),
    );
    let api = read_oas(&value).api;
    assert_eq!(
        (api.domain.as_deref(), api.server_certificates.len()),
        (Some("h.example"), 1)
    );
}

/// OUT-30: text versions of an OAS definition are the numbers of a Classic one; unknown text
/// inherits.
#[test]
fn tls_versions_of_both_formats_agree() {
    let value = with(
        oas(),
        &format!("{EXT}/upstream/tlsTransport"),
        json!({
            "minVersion": "1.2", "maxVersion": "1.3", "ciphers": ["X"], "insecureSkipVerify": true
        }),
    );
    let other = with(
        classic(),
        "/proxy/transport",
        json!({
            "ssl_min_version": 771, "ssl_max_version": 772, "ssl_ciphers": ["X"],
            "ssl_insecure_skip_verify": true
        }),
    );
    let tls = read_oas(&value).api.upstream.tls;
    assert_eq!(tls, read_classic(&other).api.upstream.tls);
    assert_eq!((tls.min_version, tls.max_version), (Some(771), Some(772)));
    let unknown = with(
        oas(),
        &format!("{EXT}/upstream/tlsTransport/minVersion"),
        json!("2.0"),
    );
    assert_eq!(read_oas(&unknown).api.upstream.tls.min_version, None);
    // A maximum below TLS 1.2 is raised, and never stays below the minimum.
    let low = with(
        classic(),
        "/proxy/transport",
        json!({"ssl_max_version": 769, "ssl_min_version": 772}),
    );
    assert_eq!(read_classic(&low).api.upstream.tls.max_version, Some(772));
}

#[test]
fn deadlines_are_read_in_seconds_and_as_text() {
    let value = with(
        classic(),
        "/version_data/versions/Default",
        json!({
            "use_extended_paths": true, "global_enforce_timeout": "200ms",
            "extended_paths": {"hard_timeouts": [
                {"path": "/x", "method": "get", "timeout": 2},
                {"path": "/y", "timeout": "1m"},
                {"path": "/z", "timeout": 1, "disabled": true}
            ]}
        }),
    );
    let api = read_classic(&value).api;
    assert_eq!(api.enforce_timeout.unwrap().as_millis(), 200);
    let read: Vec<_> = api
        .endpoint_timeouts
        .iter()
        .map(|t| (t.path.as_str(), t.method.as_deref(), t.timeout.as_secs()))
        .collect();
    assert_eq!(read, [("/x", Some("GET"), 2), ("/y", None, 60)]);

    let value = with(oas(), "/paths/~1pets~1{id}/get/operationId", json!("pet"));
    let value = with(
        value,
        &format!("{EXT}/middleware/operations/pet/enforceTimeout"),
        json!({"enabled": true, "value": 3}),
    );
    let api = read_oas(&value).api;
    assert_eq!(api.endpoint_timeouts[0].path, "/pets/{id}");
    assert_eq!(api.endpoint_timeouts[0].method.as_deref(), Some("GET"));
    let bad = with(
        classic(),
        "/version_data/versions/Default",
        json!({
            "use_extended_paths": true, "extended_paths": {"hard_timeouts": [{"path": "/x", "timeout": -1}]}
        }),
    );
    assert!(
        classic_errors(&bad)[0]
            .starts_with("version_data.versions.Default.extended_paths.hard_timeouts[0].timeout: ")
    );
}

#[test]
fn unknown_members_survive_the_round_trip() {
    let text = r#"{"name":"a","api_id":"a","my_own":{"x":[1]},"proxy":{"listen_path":"/a/","target_url":"http://h"}}"#;
    let document = parse_classic(text.as_bytes()).unwrap().document;
    assert_eq!(document.text(), text);
    assert_eq!(document.value()["my_own"]["x"][0], 1);
    assert!(!format!("{document:?}").contains("my_own"));
}

#[test]
fn an_open_api_document_without_the_extension_or_with_swagger_two_is_refused() {
    let mut value = oas();
    value.as_object_mut().unwrap().remove("x-tyk-api-gateway");
    assert!(oas_errors(&value)[0].starts_with("x-tyk-api-gateway: missing"));
    assert!(!oas_errors(&json!({"swagger": "2.0"})).is_empty());
}

/// Go reads member names without regard to case; a protection must not hide behind that.
#[test]
fn protections_are_found_whatever_the_case_of_their_names() {
    use Protection as P;
    for (pointer, value, protection) in [
        ("/GraphQL", json!({"Enabled": true}), P::ProtocolRules),
        (
            "/Request_Signing",
            json!({"Is_Enabled": true}),
            P::UpstreamCredentials,
        ),
        (
            "/proxy/Service_Discovery",
            json!({"Use_Discovery_Service": true}),
            P::RequestRouting,
        ),
        (
            "/version_data/versions/Default/Extended_Paths",
            json!({"White_List": [{}]}),
            P::PathAccess,
        ),
    ] {
        let api = read_classic(&with(classic(), pointer, value)).api;
        assert_eq!(api.protections, [protection], "{pointer}");
    }
    for (pointer, value, protection) in [
        (
            "middleware/Global/PluginConfig",
            json!({"Bundle": {"Enabled": true}}),
            P::Plugins,
        ),
        (
            "middleware/global/prePlugin",
            json!({"Plugins": [{}]}),
            P::Plugins,
        ),
        (
            "server/mcpServer",
            json!({"enabled": true}),
            P::ProtocolRules,
        ),
    ] {
        let api = read_oas(&with(oas(), &format!("{EXT}/{pointer}"), value)).api;
        assert_eq!(api.protections, [protection], "{pointer}");
    }
}

/// What an API shows its upstream and asks of it is the same in both formats.
#[test]
fn certificates_pins_and_authorities_of_upstreams_are_read_in_both_formats() {
    let ours = json!({"pin_only": true, "strict_common_name": true, "proxy_ssl_renegotiation": "once",
        "upstream_ca": {"*": "system, corp.pem", "db.test": ["a", "b"]}});
    let plain = with(
        classic(),
        "/upstream_certificates",
        json!({"*": "a", "up.test": "b"}),
    );
    let plain = with(plain, "/pinned_public_keys", json!({"up.test": "k, l"}));
    let plain = with(
        plain,
        "/proxy/transport/ssl_force_common_name_check",
        json!(true),
    );
    let classic = with(plain.clone(), "/portcullis", ours.clone());
    let upstream = format!("{EXT}/upstream");
    let maps = json!({"enabled": true, "domainToCertificateMapping": [
        {"domain": "*", "certificate": "a"}, {"domain": "up.test", "certificate": "b"}]});
    let oas = with(oas(), &format!("{upstream}/mutualTLS"), maps);
    let pins = json!({"enabled": true, "domainToPublicKeysMapping": [
        {"domain": "up.test", "publicKeys": ["k", "l"]}]});
    let oas = with(oas, &format!("{upstream}/certificatePinning"), pins);
    let oas = with(
        oas,
        &format!("{upstream}/tlsTransport/forceCommonNameCheck"),
        json!(true),
    );
    let oas = with(oas, "/x-portcullis", ours);
    let classic = read_classic(&classic).api;
    let oas = read_oas(&oas).api;
    assert_eq!(classic.upstream.tls, oas.upstream.tls);
    for api in [classic, oas] {
        let tls = &api.upstream.tls;
        assert!(api.protections.is_empty() && api.unsupported.is_empty());
        assert_eq!(
            (
                tls.certificates.len(),
                tls.pins.len(),
                tls.authorities.len()
            ),
            (2, 1, 2)
        );
        let pins: Vec<&str> = tls.pins[0].1.iter().map(|pin| pin.0.as_str()).collect();
        assert_eq!(pins, ["k", "l"]);
        assert!(tls.force_common_name_check && tls.strict_common_name);
        assert_eq!(
            (tls.pin_only, tls.renegotiation),
            (Some(true), Some(Renegotiation::Once))
        );
        // Two client certificates, two pins, and three authorities besides the system's.
        assert_eq!(api.named_certificates.len(), 7);
    }
    let off = with(plain, "/upstream_certificates_disabled", json!(true));
    let off = read_classic(&with(off, "/certificate_pinning_disabled", json!(true))).api;
    let tls = off.upstream.tls;
    assert!(tls.certificates.is_empty() && tls.pins.is_empty() && tls.certificates_disabled);
}

/// Typed entries are an allow list by themselves, also where the plain one is switched off.
#[test]
fn typed_entries_of_an_allow_list_are_read_in_both_formats() {
    let ours = json!({"client_certificates": [{"match": "dns:a.test"}],
        "client_certificate_authorities": ["ca.pem"]});
    let off = with(classic(), "/use_mutual_tls_auth", json!(false));
    let classic = read_classic(&with(off, "/portcullis", ours.clone())).api;
    let oas = read_oas(&with(oas(), "/x-portcullis", ours)).api;
    for api in [classic, oas] {
        assert_eq!(api.client_certificates, Some(Vec::new()));
        assert_eq!(api.client_rules.entries.len(), 1);
        assert_eq!(api.client_rules.vouching.len(), 1);
        assert_eq!(api.named_certificates.len(), 1);
    }
}

/// An allow list is on unless it is switched off, whatever the case of its name; an empty one is one.
#[test]
fn an_allow_list_of_client_certificates_is_read_and_never_overlooked() {
    let classic_list = |pointer: &str, on: bool| {
        let value = with(classic(), pointer, json!(on));
        let value = with(value, "/client_certificates", json!(["a", "b"]));
        read_classic(&value).api.client_certificates
    };
    let both = Some(vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(classic_list("/use_mutual_tls_auth", true), both);
    assert_eq!(classic_list("/Use_Mutual_TLS_Auth", true), both);
    assert_eq!(classic_list("/use_mutual_tls_auth", false), None);
    for (member, value, expected) in [
        ("clientCertificates", json!({"enabled": true}), Some(vec![])),
        ("clientCertificates", json!({"allowlist": []}), Some(vec![])),
        (
            "ClientCertificates",
            json!({"Enabled": true, "allowlist": ["a", "b"]}),
            both,
        ),
        (
            "clientCertificates",
            json!({"enabled": false, "allowlist": ["a"]}),
            None,
        ),
    ] {
        let definition = with(oas(), &format!("{EXT}/server/{member}"), value.clone());
        assert_eq!(
            read_oas(&definition).api.client_certificates,
            expected,
            "{value}"
        );
    }
}

#[test]
fn a_private_key_in_a_certificate_reference_is_never_printed() {
    let pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----";
    let parsed = read_classic(&with(classic(), "/certificates", json!([pem])));
    assert_eq!(parsed.api.server_certificates, [pem]);
    assert!(!format!("{parsed:?}").contains("c2VjcmV0"));
}

/// A small deterministic generator: the same trees every run, no two alike.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.next(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.next(2) == 0),
            2 => json!(self.next(100_000)),
            3 => json!(-1.5),
            4 => json!(
                [
                    "", "/", "//{", "http://", "tyk://x", "1.2", "x{y:(}", "µs1m"
                ][self.next(8)]
            ),
            5 => json!("ü b\u{0}"),
            6 => (0..self.next(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let mut object = serde_json::Map::new();
                for _ in 0..self.next(5) {
                    let name = ["enabled", "Default", "", "path", "x"][self.next(5)];
                    object.insert(name.to_owned(), self.value(depth - 1));
                }
                Value::Object(object)
            }
        }
    }

    /// Replaces one place somewhere in `value`.
    fn mutate(&mut self, value: &mut Value) {
        let children = match value {
            Value::Object(o) => o.len(),
            Value::Array(a) => a.len(),
            _ => 0,
        };
        if children == 0 || self.next(4) == 0 {
            *value = self.value(3);
            return;
        }
        let at = self.next(children);
        match value {
            Value::Object(o) => self.mutate(o.values_mut().nth(at).unwrap()),
            Value::Array(a) => self.mutate(&mut a[at]),
            _ => {}
        }
    }
}

#[test]
fn arbitrary_json_never_panics_and_never_yields_a_broken_api() {
    let mut noise = Noise(7);
    let rich = with(
        classic(),
        "/version_data/versions/Default/extended_paths",
        json!({
            "white_list": [{}], "hard_timeouts": [{"timeout": 1}], "url_rewrites": [{}]
        }),
    );
    let rich = with(
        rich,
        "/definition",
        json!({"enabled": true, "versions": {"a": "b"}}),
    );
    for round in 0..4000 {
        let mut value = [classic(), oas(), rich.clone(), noise.value(4)][round % 4].clone();
        for _ in 0..=noise.next(3) {
            noise.mutate(&mut value);
        }
        let text = value.to_string();
        for parsed in [parse_classic(text.as_bytes()), parse_oas(text.as_bytes())]
            .into_iter()
            .flatten()
        {
            assert!(parsed.api.listen_path.starts_with('/'), "{text}");
            assert!(
                !parsed.api.listen_path.contains(' ') && !parsed.api.upstream.targets.is_empty()
            );
        }
        let cut = noise.next(text.len() + 1);
        let _ = parse_classic(&text.as_bytes()[..cut]);
        let _ = parse_oas(&text.as_bytes()[..cut]);
        let _ = parse_oas(&text.as_bytes()[cut..]);
    }
}
