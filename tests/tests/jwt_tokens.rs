//! Callers with JSON Web Tokens: who gets in, as whom, and with which policies.

use std::thread;

use portcullis_tests::{
    echo::Echo,
    gateway::{Builder, Gateway, with},
    jwt::{Issuer, base64url, claims, jwt_api, now, policy},
    keys::{error_of, session},
    mtls::{id, self_signed, upload},
    wait::eventually,
};
use serde_json::{Value, json};

const INVALID: &str = "Key not authorized";
const METHOD: &str = "Key not authorized: Unexpected signing method";

/// A gateway to be with one policy `open` that opens the APIs `j` and `k`.
fn builder() -> Builder {
    Gateway::builder()
        .config(json!({"policies": {"policy_path": "policies"}}))
        .file(
            "policies/open.json",
            &policy("open", &["j", "k"], json!({})).to_string(),
        )
}

/// A gateway before an API `j` that takes tokens of an issuer, with what `more` says of it.
fn guarded(echo: &Echo, issuer: &Issuer, more: Value) -> Gateway {
    let definition = with(jwt_api("j", &echo.url(), issuer, &issuer.source()), more);
    builder().api("j", &definition).start()
}

/// Calls the API with a token.
fn call(gateway: &Gateway, token: &str) -> portcullis_tests::curl::Response {
    gateway.call("/j/", &format!("Bearer {token}"))
}

#[test]
fn a_token_signed_by_any_method_opens_an_api_over_both_protocols_and_nothing_is_logged_of_it() {
    let echo = Echo::start("up");
    let issuers = [
        Issuer::hmac(b"a secret of at least thirty-two bytes"),
        Issuer::rsa("r"),
        Issuer::pss("p"),
        Issuer::curve("c"),
        Issuer::ed25519("e"),
    ];
    for issuer in issuers {
        let gateway = guarded(&echo, &issuer, json!({}));
        let token = issuer.token(&claims("anna", json!({})));
        for protocol in ["--http1.1", "--http2-prior-knowledge"] {
            let ask = |credential: Option<&str>| {
                let curl = gateway.curl().arguments(&[protocol]);
                let curl = match credential {
                    Some(value) => curl.header("Authorization", value),
                    None => curl,
                };
                curl.send(&gateway.url("/j/"))
            };
            let missing = ask(None).expect(401);
            assert_eq!(error_of(&missing), "Authorization field missing");
            ask(Some(&token)).expect(200);
            ask(Some(&format!("bearer {token}"))).expect(200);
            let refused = ask(Some(&token[..token.len() - 4])).expect(403);
            assert_eq!(error_of(&refused), INVALID);
        }
        let log = gateway.log().text();
        let signature = token.rsplit('.').next().expect("a token");
        assert!(
            !log.contains(signature) && !log.contains("a secret"),
            "{log}"
        );
    }
    assert_eq!(echo.served(), 20, "nothing refused reached the upstream");
}

/// What has broken other verifiers: no algorithm, one of another family, the public key as a secret.
#[test]
fn a_token_that_names_another_algorithm_than_the_api_wants_is_refused() {
    let echo = Echo::start("up");
    let issuer = Issuer::rsa("r");
    let gateway = guarded(&echo, &issuer, json!({}));
    let anna = claims("anna", json!({}));
    let forged = Issuer::hmac(issuer.pem().as_bytes());
    let unsigned = {
        let part = |value: &Value| base64url(value.to_string().as_bytes());
        format!("{}.{}.", part(&json!({"alg": "none"})), part(&anna))
    };
    let other = Issuer::curve("r");
    for (token, message) in [
        (unsigned, METHOD),
        (forged.token(&anna), METHOD),
        (forged.token_of(&json!({"alg": "RS256"}), &anna), INVALID),
        (other.token(&anna), METHOD),
        (Issuer::rsa("r").token(&anna), INVALID),
        (issuer.token_of(&json!({"alg": "RS512"}), &anna), INVALID),
        (
            issuer.token_of(&json!({"alg": "RS256", "crit": ["exp"]}), &anna),
            INVALID,
        ),
        ("no.token".to_owned(), INVALID),
        ("anna".to_owned(), INVALID),
    ] {
        let refused = call(&gateway, &token).expect(403);
        assert_eq!(error_of(&refused), message, "{token}");
        assert_eq!(refused.header("www-authenticate"), None);
    }
    assert_eq!(echo.served(), 0);
}

#[test]
fn times_are_held_to_at_every_request_also_of_a_token_that_was_good_before() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let gateway = guarded(&echo, &issuer, json!({}));
    let told = |more: Value| {
        let refused = call(&gateway, &issuer.token(&claims("anna", more))).expect(401);
        assert_eq!(
            refused.header("www-authenticate"),
            Some("Bearer error=\"invalid_token\"")
        );
        error_of(&refused)
    };
    let expired = "Key not authorized: token has expired";
    assert_eq!(told(json!({"exp": now() - 1})), expired);
    assert_eq!(told(json!({"exp": "tomorrow"})), expired);
    assert_eq!(
        told(json!({"iat": now() + 60})),
        "Key not authorized: token used before issued"
    );
    assert_eq!(
        told(json!({"nbf": now() + 60})),
        "Key not authorized: token is not valid yet"
    );
    let short = issuer.token(&claims("anna", json!({"exp": now() + 3})));
    call(&gateway, &short).expect(200);
    eventually("the token ends", || call(&gateway, &short).status == 401);
    assert_eq!(error_of(&call(&gateway, &short)), expired);

    let skewed = guarded(
        &echo,
        &issuer,
        json!({"jwt_expires_at_validation_skew": 120, "jwt_issued_at_validation_skew": 120,
            "jwt_not_before_validation_skew": 120}),
    );
    for more in [
        json!({"exp": now() - 60}),
        json!({"iat": now() + 60}),
        json!({"nbf": now() + 60}),
    ] {
        call(&skewed, &issuer.token(&claims("anna", more))).expect(200);
    }
    call(
        &skewed,
        &issuer.token(&claims("anna", json!({"exp": now() - 121}))),
    )
    .expect(401);
}

#[test]
fn policies_come_from_a_claim_from_scopes_or_by_default_and_without_one_nothing_opens() {
    let echo = Echo::start("up");
    let issuer = Issuer::hmac(b"a secret of at least thirty-two bytes");
    let j = with(
        jwt_api("j", &echo.url(), &issuer, &issuer.source()),
        json!({"jwt_policy_field_name": "app.pol", "jwt_default_policies": [],
            "jwt_scope_claim_name": "scp", "jwt_scope_to_policy_mapping": {"read": "open", "other": "shut"}}),
    );
    let gateway = builder()
        .file(
            "policies/shut.json",
            &policy("shut", &["k"], json!({})).to_string(),
        )
        .api("j", &j)
        .start();
    let ask = |more: Value| call(&gateway, &issuer.token(&claims("anna", more)));
    ask(json!({"app": {"pol": "open"}})).expect(200);
    ask(json!({"scp": "read other"})).expect(200);
    ask(json!({"app": {"pol": "shut"}, "scp": ["read"]})).expect(200);
    for (more, message) in [
        (json!({}), "key not authorized: no matching policy found"),
        (
            json!({"app": {"pol": "nobody's"}}),
            "key not authorized: no matching policy",
        ),
        (
            json!({"scp": "write"}),
            "key not authorized: no matching policy found in scope claim",
        ),
        (
            json!({"scp": "other"}),
            "Access to this API has been disallowed",
        ),
        (
            json!({"sub": 1, "scp": "read"}),
            "no suitable claims for user ID were found",
        ),
        (
            json!({"sub": "", "scp": "read"}),
            "found an empty user ID in sub claim",
        ),
    ] {
        let refused = ask(more.clone()).expect(403);
        assert_eq!(error_of(&refused), message, "{more}");
    }
}

#[test]
fn tokens_of_one_person_share_a_rate_and_a_quota_and_others_have_their_own() {
    let echo = Echo::start("up");
    let issuer = Issuer::hmac(b"a secret of at least thirty-two bytes");
    let limited = json!({"quota_max": 3, "quota_renewal_rate": 3600});
    let gateway = Gateway::builder()
        .config(json!({"policies": {"policy_path": "policies"}}))
        .file(
            "policies/open.json",
            &policy("open", &["j"], limited).to_string(),
        )
        .api("j", &jwt_api("j", &echo.url(), &issuer, &issuer.source()))
        .start();
    let token = |who: &str, id: i32| issuer.token(&claims(who, json!({ "jti": id })));
    for id in 0..3 {
        call(&gateway, &token("anna", id)).expect(200);
    }
    let refused = call(&gateway, &token("anna", 3)).expect(403);
    assert_eq!(error_of(&refused), "Quota exceeded");
    call(&gateway, &token("bert", 4)).expect(200);
}

/// The name Tyk gives the key of an identity: its MD5 in hex.
#[test]
fn somebody_who_is_switched_off_in_the_store_stays_out_at_once_whatever_tokens_say() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let gateway = guarded(&echo, &issuer, json!({}));
    let anna = issuer.token(&claims("anna", json!({})));
    call(&gateway, &anna).expect(200);
    let key = "a70f9e38ff015afaa9ab0aacabee2e13";
    gateway.put_key(key, &session(&["j"], json!({"is_inactive": true})));
    let refused = call(&gateway, &anna).expect(403);
    assert_eq!(error_of(&refused), "Key is inactive, please renew");
    let bert = issuer.token(&claims("bert", json!({})));
    call(&gateway, &bert).expect(200);
    gateway.put_key(key, &session(&["j"], json!({})));
    call(&gateway, &anna).expect(200);
}

#[test]
fn an_open_exchange_ends_with_its_token_and_when_whoever_it_is_of_is_switched_off() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let gateway = guarded(&echo, &issuer, json!({}));
    echo.hold();
    thread::scope(|scope| {
        let held = |who: &str, seconds: i64| {
            let token = issuer.token(&claims(who, json!({"exp": now() + seconds})));
            let (gateway, before) = (&gateway, echo.waiting());
            let asking =
                scope.spawn(move || gateway.call("/j/held", &format!("Bearer {token}")).status);
            eventually("the upstream has the request", || echo.waiting() > before);
            asking
        };
        let goes_on = held("carl", 600);
        let short = held("anna", 10);
        let blocked = held("bert", 600);
        let key = "3de0746a7d2762a87add40dac2bc95a0";
        gateway.put_key(key, &session(&["j"], json!({"is_inactive": true})));
        gateway.wait_log("open exchange ended: the key is switched off");
        gateway.wait_log("open exchange ended: the key has expired");
        for ended in [short, blocked] {
            assert_ne!(ended.join().expect("it ends well"), 200);
        }
        echo.release();
        assert_eq!(goes_on.join().expect("it ends well"), 200);
    });
}

#[test]
fn a_policy_that_changes_is_in_force_for_tokens_that_are_known() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let gateway = guarded(&echo, &issuer, json!({}));
    let token = issuer.token(&claims("anna", json!({})));
    call(&gateway, &token).expect(200);
    gateway.write(
        "policies/open.json",
        &policy("open", &["k"], json!({})).to_string(),
    );
    gateway.reload();
    let refused = call(&gateway, &token).expect(403);
    assert_eq!(error_of(&refused), "Access to this API has been disallowed");
}

#[test]
fn without_a_source_each_key_of_the_store_has_a_secret_of_its_own() {
    let echo = Echo::start("up");
    let issuer = Issuer::hmac(b"anna's own secret");
    let definition = jwt_api("j", &echo.url(), &issuer, "");
    let gateway = Gateway::builder().api("j", &definition).start();
    let own = json!({"jwt_data": {"secret": "anna's own secret"}});
    gateway.put_key("anna", &session(&["j"], own));
    gateway.put_key("bert", &session(&["j"], json!({})));
    let anna = claims("whoever", json!({}));
    let of = |kid: &str| issuer.token_of(&json!({"alg": "HS256", "kid": kid}), &anna);
    call(&gateway, &of("anna")).expect(200);
    for kid in ["bert", "nobody"] {
        let refused = call(&gateway, &of(kid)).expect(403);
        assert_eq!(error_of(&refused), INVALID, "{kid}");
    }
    // Without `kid`, the claims say whose it is.
    let by_subject = issuer.token_of(&json!({"alg": "HS256"}), &claims("anna", json!({})));
    call(&gateway, &by_subject).expect(200);
}

#[test]
fn a_certificate_of_the_store_verifies_tokens_until_it_is_removed() {
    let echo = Echo::start("up");
    let pair = self_signed("tokens");
    let issuer = Issuer::curve("c").with_key(&pair.key);
    let id = id(&pair);
    let definition = jwt_api("j", &echo.url(), &issuer, &id);
    let gateway = builder().api("j", &definition).start();
    let token = issuer.token(&claims("anna", json!({})));
    let refused = call(&gateway, &token).expect(403);
    assert_eq!(error_of(&refused), INVALID);
    gateway.wait_log("the certificate store has no entry of this id");
    upload(&gateway, gateway.port(), &pair.certificate_pem());
    call(&gateway, &token).expect(200);
    gateway
        .change(
            "DELETE",
            &format!("/tyk/certs/{id}?org_id=default"),
            &Value::Null,
        )
        .expect(200);
    let refused = call(&gateway, &token).expect(403);
    assert_eq!(error_of(&refused), INVALID);
}

#[test]
fn a_token_beside_other_methods_is_demanded_like_them_and_goes_no_further_where_it_is_stripped() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let gateway = guarded(
        &echo,
        &issuer,
        json!({
            "use_standard_auth": true, "strip_auth_data": true, "base_identity_provided_by": "jwt_claim",
            "auth_configs": {
                "authToken": {"auth_header_name": "X-Key", "use_param": true, "param_name": "key"},
                "jwt": {"disable_header": true, "use_param": true, "param_name": "token",
                    "use_cookie": true, "cookie_name": "token"},
            },
        }),
    );
    gateway.put_key("mykey", &session(&["j"], json!({})));
    let token = issuer.token(&claims("anna", json!({})));
    let ask = |query: &str, field: (&str, &str)| {
        let curl = gateway.curl().header(field.0, field.1);
        curl.send(&gateway.url(&format!("/j/x?{query}")))
    };
    let both = ask(&format!("a=b&token={token}&key=mykey"), ("X-Y", "z"))
        .expect(200)
        .json();
    assert_eq!(both["path"], "/x?a=b");
    let cookie = format!("a=b; token={token}");
    let by_cookie = gateway
        .curl()
        .header("Cookie", &cookie)
        .header("X-Key", "mykey");
    let by_cookie = by_cookie.send(&gateway.url("/j/x")).expect(200).json();
    assert_eq!(by_cookie["headers"]["cookie"], "a=b");
    assert_eq!(by_cookie["headers"].get("x-key"), None);
    // Each alone is not enough, and the token comes first.
    ask("", ("X-Key", "mykey")).expect(401);
    ask(&format!("token={token}"), ("X-Y", "z")).expect(401);
    ask(&format!("token={token}&key=nobody-has-this"), ("X-Y", "z")).expect(403);
    let wrong = ask("token=x&key=nobody-has-this", ("X-Y", "z")).expect(403);
    assert_eq!(error_of(&wrong), INVALID);
}

#[test]
fn what_an_oas_definition_demands_of_claims_is_enforced() {
    let echo = Echo::start("up");
    let issuer = Issuer::rsa("r");
    let definition = json!({
        "openapi": "3.0.3", "info": {"title": "j", "version": "1"}, "paths": {},
        "components": {"securitySchemes": {"s": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}},
        "x-tyk-api-gateway": {
            "info": {"id": "j", "name": "j", "orgId": "default", "state": {"active": true}},
            "server": {
                "listenPath": {"value": "/j/", "strip": true},
                "authentication": {"enabled": true, "securitySchemes": {"s": {
                    "enabled": true, "header": {"enabled": true, "name": "Authorization"},
                    "source": issuer.source(), "signingMethod": "rsa", "skipKid": true, "defaultPolicies": ["open"],
                    "allowedIssuers": ["https://idp"], "allowedAudiences": ["api"], "allowedSubjects": ["anna"],
                    "jtiValidation": {"enabled": true},
                    "customClaimValidation": {"user.role": {"type": "exact_match", "allowedValues": ["admin"]}},
                }}},
            },
            "upstream": {"url": echo.url()},
        },
    });
    let gateway = builder().api("j", &definition).start();
    let good = json!({"iss": "https://idp", "aud": ["api"], "jti": "1", "user": {"role": "admin"}});
    let ask = |more: Value| {
        let token = issuer.token(&claims("anna", with(good.clone(), more)));
        call(&gateway, &token)
    };
    ask(json!({})).expect(200);
    for (more, message) in [
        (
            json!({"iss": "https://other"}),
            "Key not authorized: invalid issuer claim",
        ),
        (
            json!({"aud": "apis"}),
            "Key not authorized: no matching audience found in token",
        ),
        (
            json!({"sub": "bert"}),
            "Key not authorized: invalid subject value",
        ),
        (
            json!({"user": {"role": "user"}}),
            "Key not authorized: a claim does not match any expected values",
        ),
    ] {
        let refused = ask(more.clone()).expect(401);
        assert_eq!(error_of(&refused), message, "{more}");
    }
    let anonymous = issuer.token(&claims("anna", json!({"iss": "https://idp", "aud": "api"})));
    call(&gateway, &anonymous).expect(401);
}

#[test]
fn an_api_whose_key_cannot_be_used_is_quarantined_with_the_reason() {
    let echo = Echo::start("up");
    let issuer = Issuer::rsa("r");
    let hmac = Issuer::hmac(b"x");
    let ended = builder()
        .api("j", &jwt_api("j", &echo.url(), &hmac, &issuer.source()))
        .run(&["check"]);
    let said = format!("{}{}", ended.output, ended.log);
    assert!(said.contains("set jwt_signing_method to rsa"), "{said}");
    let gateway = builder()
        .api("j", &jwt_api("j", &echo.url(), &hmac, &issuer.source()))
        .start();
    let refused = call(&gateway, &hmac.token(&claims("anna", json!({})))).expect(503);
    assert_eq!(error_of(&refused), "API is not available");
}
