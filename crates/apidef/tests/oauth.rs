//! Access tokens in definitions: those that callers bring (`external_oauth`), and those the gateway shows its
//! upstreams (`upstream_auth`).

use std::time::Duration;

use portcullis_apidef::*;
use serde_json::{Value, json};

fn classic(more: Value) -> Value {
    merged(
        json!({
            "name": "a", "api_id": "a1", "org_id": "default", "active": true, "use_keyless": true,
            "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
            "proxy": {"listen_path": "/a/", "target_url": "http://127.0.0.1:9000/", "strip_listen_path": true},
        }),
        more,
    )
}

fn oas(server: Value, upstream: Value) -> Value {
    json!({
        "openapi": "3.0.3", "info": {"title": "a", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": "a1", "name": "a", "orgId": "default", "state": {"active": true}},
            "server": merged(json!({"listenPath": {"value": "/a/", "strip": true}}), server),
            "upstream": merged(json!({"url": "http://127.0.0.1:9000/"}), upstream),
        }
    })
}

fn merged(mut value: Value, more: Value) -> Value {
    let Value::Object(more) = more else {
        panic!("an object, not {more}");
    };
    for (name, member) in more {
        value[name] = member;
    }
    value
}

fn of_classic(value: &Value) -> ParsedDefinition {
    parse_classic(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{value}: {e:?}"))
}

fn of_oas(value: &Value) -> ParsedDefinition {
    parse_oas(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{value}: {e:?}"))
}

fn errors(value: &Value) -> Vec<String> {
    let errors = parse_classic(value.to_string().as_bytes()).expect_err("must be refused");
    errors.iter().map(ToString::to_string).collect()
}

fn external(api: &Api) -> &ExternalOauth {
    match api.authentication.bearer() {
        Some(Bearer::Oauth(oauth)) => oauth,
        other => panic!("no external OAuth: {other:?}"),
    }
}

/// A Classic definition whose callers have a token that this provider judges.
fn provided(provider: &Value) -> Value {
    classic(json!({
        "use_keyless": false,
        "external_oauth": {"enabled": true, "providers": [provider]},
    }))
}

fn asked() -> Value {
    json!({
        "enabled": true, "url": "https://idp.test/introspect", "client_id": "gateway",
        "client_secret": "a secret", "identity_base_field": "username",
        "cache": {"enabled": true, "timeout": 7},
    })
}

#[test]
fn external_oauth_means_the_same_in_both_formats() {
    let written = merged(
        provided(&json!({"introspection": asked()})),
        json!({
            "auth_configs": {"externalOAuth": {"auth_header_name": "X-Token"}},
            "portcullis": {"certificate_bound_tokens": true},
        }),
    );
    let read = of_classic(&written);
    assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    assert!(read.api.protections.is_empty());
    let oauth = external(&read.api);
    assert_eq!(oauth.places.header.as_deref(), Some("x-token"));
    assert_eq!(oauth.identity.as_deref(), Some("username"));
    assert!(oauth.asks_for_certificates);
    let TokenJudge::Issuer(introspection) = &oauth.judged else {
        panic!("{:?}", oauth.judged);
    };
    assert_eq!(
        (introspection.url.reveal(), introspection.client_id.as_str()),
        ("https://idp.test/introspect", "gateway")
    );
    assert_eq!(introspection.client_secret.reveal(), "a secret");
    assert_eq!(introspection.memory, Some(Duration::from_secs(7)));
    assert!(!format!("{:?}", read.api).contains("a secret"));

    let mut both = oas(
        json!({"authentication": {"enabled": true, "securitySchemes": {"o": {
            "enabled": true, "header": {"enabled": true, "name": "X-Token"},
            "providers": [{"introspection": {
                "enabled": true, "url": "https://idp.test/introspect", "clientId": "gateway",
                "clientSecret": "a secret", "identityBaseField": "username",
                "cache": {"enabled": true, "timeout": 7},
            }}],
        }}}}),
        json!({}),
    );
    both["components"] = json!({"securitySchemes": {"o": {"type": "oauth2", "flows": {}}}});
    both["x-portcullis"] = json!({"certificate_bound_tokens": true});
    let both = of_oas(&both);
    assert!(both.warnings.is_empty(), "{:?}", both.warnings);
    assert_eq!(both.api.authentication, read.api.authentication);
}

#[test]
fn signed_access_tokens_have_keys_a_method_and_skews() {
    let read = of_classic(&provided(&json!({"jwt": {
        "enabled": true, "signing_method": "ecdsa", "source": "https://idp.test/keys",
        "issued_at_validation_skew": 1, "not_before_validation_skew": 2,
        "expires_at_validation_skew": 3, "identity_base_field": "user",
    }})));
    assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    let oauth = external(&read.api);
    assert_eq!(oauth.places.header.as_deref(), Some("authorization"));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(
        oauth.judged,
        TokenJudge::Signature(SignedTokens {
            keys: JwtKeys::Source(session::SecretText::new("https://idp.test/keys")),
            method: SigningMethod::Ecdsa,
            clock: ClockRules {
                expires: seconds(3),
                issued: seconds(1),
                not_before: seconds(2),
            },
        })
    );
}

#[test]
fn a_provider_that_cannot_judge_is_an_error_and_two_methods_of_one_kind_are_a_protection() {
    let with_asked = |more: Value| provided(&json!({"introspection": merged(asked(), more)}));
    let jwt = json!({"enabled": true, "signing_method": "rsa", "source": "https://idp.test/keys"});
    for (value, said) in [
        (
            classic(json!({"use_keyless": false, "external_oauth": {"enabled": true}})),
            "no provider is named",
        ),
        (provided(&json!({})), "neither `jwt` nor `introspection`"),
        (
            provided(&json!({"jwt": jwt, "introspection": asked()})),
            "only one can decide",
        ),
        (
            provided(&json!({"jwt": {"enabled": true, "signing_method": "rsa"}})),
            "nothing says which keys sign tokens",
        ),
        (
            with_asked(json!({"url": "idp.test"})),
            "no URL that can be called",
        ),
        (
            with_asked(json!({"cache": {"enabled": true, "timeout": -1}})),
            "out of range",
        ),
    ] {
        let errors = errors(&value);
        assert!(
            errors.iter().any(|e| e.contains(said)),
            "{said}: {errors:?}"
        );
    }
    let forever = of_classic(&with_asked(json!({"cache": {"enabled": true}})));
    assert!(
        forever.warnings[0].message.contains("60 seconds"),
        "{:?}",
        forever.warnings
    );
    let clear = of_classic(&with_asked(json!({"url": "http://idp.test/"})));
    assert!(
        clear.warnings[0].message.contains("clear text"),
        "{:?}",
        clear.warnings
    );
    let off = of_classic(&with_asked(
        json!({"cache": {"enabled": false, "timeout": 9}}),
    ));
    let TokenJudge::Issuer(introspection) = &external(&off.api).judged else {
        panic!("asked");
    };
    assert_eq!(introspection.memory, None);
    let two = merged(
        provided(&json!({"introspection": asked()})),
        json!({"enable_jwt": true, "jwt_signing_method": "rsa", "jwt_source": "https://idp.test/keys"}),
    );
    assert_eq!(
        of_classic(&two).api.protections,
        [Protection::AuthenticationModes]
    );
}

#[test]
fn a_credential_for_the_upstream_means_the_same_in_both_formats() {
    let request = json!({
        "client_id": "i", "client_secret": "s", "token_url": "https://idp.test/token",
        "scopes": ["a", "b"], "header": {"enabled": true, "name": "X-Token"},
    });
    let read = of_classic(&classic(
        json!({"upstream_auth": {"enabled": true, "oauth": {
            "enabled": true, "allowed_authorize_types": ["clientCredentials"],
            "client_credentials": request,
        }}}),
    ));
    assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    assert!(read.api.protections.is_empty() && read.api.unsupported.is_empty());
    let auth = read.api.upstream.auth.as_ref().expect("a credential");
    assert_eq!(auth.header, "x-token");
    assert_eq!(
        auth.credential,
        UpstreamCredential::Token(Box::new(TokenRequest {
            url: session::SecretText::new("https://idp.test/token"),
            client_id: "i".into(),
            client_secret: session::SecretText::new("s"),
            scopes: vec!["a".into(), "b".into()],
            grant: TokenGrant::ClientCredentials,
        }))
    );
    let both = of_oas(&oas(
        json!({}),
        json!({"authentication": {"enabled": true, "oauth": {
            "enabled": true, "allowedAuthorizeTypes": ["clientCredentials"],
            "clientCredentials": {
                "clientId": "i", "clientSecret": "s", "tokenUrl": "https://idp.test/token",
                "scopes": ["a", "b"], "header": {"enabled": true, "name": "X-Token"},
            },
        }}}),
    ));
    assert_eq!(both.api.upstream.auth, read.api.upstream.auth);

    let basic = of_oas(&oas(
        json!({}),
        json!({"authentication": {"basicAuth": {"username": "u", "password": "p"}}}),
    ));
    let auth = basic
        .api
        .upstream
        .auth
        .expect("written down is switched on");
    assert_eq!(auth.header, "authorization");
    assert!(matches!(auth.credential, UpstreamCredential::Basic { user, .. } if user == "u"));
}

#[test]
fn a_credential_that_cannot_be_used_is_an_error_and_a_signature_is_a_protection() {
    let oauth = |more: Value| {
        let oauth = json!({"enabled": true, "allowed_authorize_types": ["password"],
            "password": {"client_id": "i", "token_url": "https://t", "username": "u", "password": "p"}});
        classic(json!({"upstream_auth": {"enabled": true, "oauth": merged(oauth, more)}}))
    };
    let read = of_classic(&oauth(json!({})));
    let auth = read.api.upstream.auth.expect("a credential");
    assert!(!format!("{auth:?}").contains("\"p\""), "{auth:?}");
    for (value, said) in [
        (
            oauth(json!({"allowed_authorize_types": []})),
            "which one way",
        ),
        (
            oauth(json!({"allowed_authorize_types": ["password", "clientCredentials"]})),
            "which one way",
        ),
        (
            oauth(json!({"password": {"token_url": "t"}})),
            "no URL that can be called",
        ),
        (
            oauth(json!({"password": {"token_url": "https://t",
                "header": {"enabled": true, "name": "Host"}}})),
            "frames or routes",
        ),
        (
            classic(json!({"upstream_auth": {"enabled": true,
                "basic_auth": {"enabled": true, "username": "a:b"}}})),
            "without a colon",
        ),
        (
            classic(json!({"upstream_auth": {"enabled": true,
                "basic_auth": {"enabled": true, "username": "a"}, "oauth": {"enabled": true}}})),
            "switched on both",
        ),
    ] {
        let errors = errors(&value);
        assert!(
            errors.iter().any(|e| e.contains(said)),
            "{said}: {errors:?}"
        );
    }
    for name in [
        "Proxy-Authorization",
        "Proxy-Connection",
        "HTTP2-Settings",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Forwarded-Client-Cert",
        "X_Forwarded_For",
    ] {
        let errors = errors(&classic(
            json!({"upstream_auth": {"enabled": true, "basic_auth": {
            "enabled": true, "username": "a", "header": {"enabled": true, "name": name}}}}),
        ));
        assert!(
            errors.iter().any(|e| e.contains("written by the gateway")),
            "{name}: {errors:?}"
        );
    }
    let signed = of_classic(&classic(json!({"request_signing": {"is_enabled": true}})));
    assert_eq!(signed.api.protections, [Protection::UpstreamCredentials]);
    let off = of_classic(&classic(json!({"upstream_auth": {"enabled": false,
        "basic_auth": {"enabled": true, "username": "a"}}})));
    assert_eq!(off.api.upstream.auth, None);
}
