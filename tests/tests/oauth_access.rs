//! Access tokens of OAuth providers (`external_oauth`): good because the provider says so when it is asked, or by
//! its signature; and what they open.

use std::thread;

use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs::fingerprint,
    curl::Response,
    echo::Echo,
    gateway::{Builder, Gateway, api, with},
    jwt::{Issuer, KeyServer, base64url, claims, now},
    keys::{error_of, session},
    mtls::{Outcome, authority, call, issued, self_signed},
    oauth::{CLIENT, CLIENT_SECRET, Provider, introspecting},
    ports::free_port,
    raw,
    wait::eventually,
};
use serde_json::{Value, json};

const INACTIVE: &str = "access token is not valid";
const FAILED: &str = "error happened during the access token validation";
const EXPIRED: &str = "Key not authorized: token has expired";
const OTHER_CERTIFICATE: &str = "Key not authorized: token is bound to another client certificate";

/// A gateway to be, whose API `o` asks a provider about tokens.
fn builder(echo: &Echo, provider: &Provider, more: Value) -> Builder {
    let url = provider.url("/introspect");
    Gateway::builder().api("o", &introspecting("o", &echo.url(), &url, more))
}

fn remembering(seconds: u32) -> Value {
    json!({"cache": {"enabled": true, "timeout": seconds}})
}

fn call_with(gateway: &Gateway, token: &str) -> Response {
    gateway.call("/o/", &format!("Bearer {token}"))
}

fn refused(gateway: &Gateway, token: &str) -> (u16, String) {
    let answer = call_with(gateway, token);
    (answer.status, error_of(&answer))
}

#[test]
fn a_token_is_good_while_its_issuer_says_so_and_opens_its_api_without_a_policy() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let gateway = builder(&echo, &provider, json!({})).start();
    provider.vouch("opaque", json!({"sub": "anna"}));
    call_with(&gateway, "opaque").expect(200);
    let form = provider.forms().remove(0);
    assert_eq!(
        (form.path.as_str(), form.field("token")),
        ("/introspect", Some("opaque"))
    );
    assert_eq!(
        (form.field("client_id"), form.field("client_secret")),
        (Some(CLIENT), Some(CLIENT_SECRET))
    );
    // Without a memory it is asked every time, so that a revocation counts at once.
    call_with(&gateway, "opaque").expect(200);
    assert_eq!(provider.forms().len(), 2);
    provider.revoke("opaque");
    assert_eq!(refused(&gateway, "opaque"), (401, INACTIVE.to_owned()));
    assert_eq!(refused(&gateway, "unknown"), (401, INACTIVE.to_owned()));
    let missing = gateway.get("/o/").expect(400);
    assert_eq!(error_of(&missing), "authorization field missing");
    assert_eq!(echo.served(), 2);
}

#[test]
fn an_answer_is_remembered_for_its_time_by_all_workers_and_asked_for_once_by_many() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let gateway = builder(&echo, &provider, remembering(600)).start();
    provider.vouch("opaque", json!({"sub": "anna", "exp": now() + 600}));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| call_with(&gateway, "opaque").expect(200));
        }
    });
    assert_eq!(refused(&gateway, "unknown").0, 401);
    assert_eq!(refused(&gateway, "unknown").0, 401);
    assert_eq!(provider.forms().len(), 2, "{:?}", provider.forms());
    // Another API asks for itself.
    let own = introspecting(
        "p",
        &echo.url(),
        &provider.url("/introspect"),
        remembering(1),
    );
    gateway.write_api("p", &own);
    gateway.reload();
    let own = || gateway.call("/p/", "opaque").status;
    assert_eq!(own(), 200);
    assert_eq!(provider.forms().len(), 3);
    call_with(&gateway, "opaque").expect(200);
    assert_eq!(provider.forms().len(), 3, "a reload forgets nothing");
    provider.revoke("opaque");
    eventually("the second is over", || own() == 401);
    // Where ten minutes are configured, ten minutes it is.
    call_with(&gateway, "opaque").expect(200);
}

#[test]
fn the_end_of_a_token_counts_at_every_request_however_long_answers_are_remembered() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let gateway = builder(&echo, &provider, remembering(600)).start();
    provider.vouch("short", json!({"sub": "anna", "exp": now() + 6}));
    call_with(&gateway, "short").expect(200);
    eventually("its time is over", || {
        call_with(&gateway, "short").status != 200
    });
    assert_eq!(refused(&gateway, "short"), (401, EXPIRED.to_owned()));
    assert_eq!(provider.forms().len(), 1);
    let served = echo.served();
    for (token, more, told) in [
        ("past", json!({"exp": now() - 5}), EXPIRED),
        ("text", json!({"exp": "tomorrow"}), EXPIRED),
        (
            "future",
            json!({"nbf": now() + 600}),
            "Key not authorized: token is not valid yet",
        ),
    ] {
        provider.vouch(token, with(json!({"sub": "anna"}), more));
        assert_eq!(refused(&gateway, token), (401, told.to_owned()), "{token}");
    }
    assert_eq!(echo.served(), served);
}

#[test]
fn an_issuer_that_does_not_say_that_a_token_is_good_lets_nobody_in_and_the_log_says_why() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let gateway = builder(&echo, &provider, remembering(600)).start();
    for (number, (status, body, said)) in [
        ("500 No", "{}", "it answers 500"),
        ("302 Found", "{\"active\": true}", "it answers 302"),
        ("401 No", "{}", "look whether it knows the client id"),
        ("200 OK", "<html>", "no JSON object whose `active`"),
        (
            "200 OK",
            "{\"sub\": \"anna\"}",
            "no JSON object whose `active`",
        ),
        (
            "200 OK",
            "{\"active\": \"true\"}",
            "no JSON object whose `active`",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        provider.answer_instead(status, body);
        let mark = gateway.log().mark();
        let token = format!("secret-token-{number}");
        // An issuer that was away a moment ago is not asked, and nothing is told twice at once.
        eventually(said, || {
            assert_eq!(
                refused(&gateway, &token),
                (500, FAILED.to_owned()),
                "{status} {body}"
            );
            gateway.log().since(mark).contains(said)
        });
    }
    provider.recover();
    provider.vouch("nobody", json!({"username": "anna"}));
    assert_eq!(refused(&gateway, "nobody"), (500, FAILED.to_owned()));
    gateway.wait_log("the token does not say whose it is");
    // What failed is not remembered.
    provider.vouch("secret-token-0", json!({"sub": "anna"}));
    call_with(&gateway, "secret-token-0").expect(200);
    assert_eq!(echo.served(), 1);
    let log = gateway.log().text();
    for secret in ["secret-token", CLIENT_SECRET, "a+secret"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

#[test]
fn an_issuer_that_is_away_is_told_of_as_often_as_it_is_asked_however_many_tokens_are_made_up() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let gateway = builder(&echo, &provider, json!({})).start();
    provider.answer_instead("503 No", "");
    let tokens = 50;
    for number in 0..tokens {
        let token = format!("made-up-{number}");
        assert_eq!(refused(&gateway, &token), (500, FAILED.to_owned()));
    }
    let asked = provider.forms().len();
    assert!(asked < tokens, "{asked} questions in vain");
    let lines = || gateway.log().text().matches("it answers 503").count();
    eventually("each is told of", || lines() == asked);
    provider.recover();
    provider.vouch("opaque", json!({"sub": "anna"}));
    eventually("it is asked again", || {
        call_with(&gateway, "opaque").status == 200
    });
}

#[test]
fn an_issuer_that_is_silent_holds_up_no_other_s_tokens_and_is_asked_by_few_at_once() {
    let (echo, silent, other) = (Echo::start("up"), Provider::start(), Provider::start());
    silent.fall_silent();
    other.vouch("opaque", json!({"sub": "anna"}));
    let own = introspecting("p", &echo.url(), &other.url("/introspect"), json!({}));
    let gateway = builder(&echo, &silent, json!({})).api("p", &own).start();
    let waiting: Vec<_> = (0..80)
        .map(|number| {
            let mut wire = raw::plain(&gateway);
            let field = format!("Authorization: Bearer made-up-{number}");
            wire.send(raw::get("/o/", &[&field]));
            wire
        })
        .collect();
    gateway.wait_log("too many questions to it are open already");
    gateway.call("/p/", "opaque").expect(200);
    eventually("some are asked", || silent.forms().len() == 16);
    drop(waiting);
}

/// OUT-110 and OUT-111 for introspection: recommendation 29.
#[test]
fn an_issuer_is_asked_with_the_certificate_of_the_service_or_not_at_all() {
    let ca = authority("Client CA");
    let (echo, provider) = (Echo::start("up"), Provider::start_mutual(&ca));
    provider.vouch("opaque", json!({"sub": "anna"}));
    let pair = issued(&ca, "gateway");
    let mtls = json!({"external_services": {"oauth": {"mtls": {"enabled": true,
        "cert_file": "client.pem", "key_file": "client.key", "ca_file": "ca.pem"}}}});
    // A client that its certificate proves has no secret.
    let more = json!({"client_secret": ""});
    let gateway = builder(&echo, &provider, more.clone())
        .config(mtls.clone())
        .file("client.pem", &pair.certificate_pem())
        .file("client.key", &pair.key_pem())
        .start();
    call_with(&gateway, "opaque").expect(200);
    let form = provider.forms().remove(0);
    assert_eq!(
        (form.field("client_id"), form.field("client_secret")),
        (Some(CLIENT), None)
    );
    let before = provider.server().connections();
    let without = builder(&echo, &provider, more).config(mtls).start();
    assert_eq!(refused(&without, "opaque"), (500, FAILED.to_owned()));
    let line = without.wait_log("its issuer does not say whether it is good");
    for part in ["mTLS certificate loading failed", "client.pem"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(provider.server().connections(), before);
}

/// What becomes of a token that comes with a certificate or without.
fn outcome(gateway: &Gateway, token: &str, pair: Option<&Pair>) -> (u16, String) {
    let plain = call(gateway);
    let call = pair.map_or(plain.clone(), |pair| plain.with(&[pair]));
    match call
        .field("Authorization", &format!("Bearer {token}"))
        .get("/o/")
    {
        Outcome::Answer { status: 200, .. } => (200, String::new()),
        Outcome::Answer { status, body } => {
            let body: Value = serde_json::from_str(&body).expect("JSON");
            (status, body["error"].as_str().expect("an error").to_owned())
        }
        other => panic!("no answer: {other:?}"),
    }
}

fn bound_to(pair: &Pair) -> Value {
    let digits = fingerprint(&pair.certificate);
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits"))
        .collect();
    json!({"sub": "anna", "cnf": {"x5t#S256": base64url(&bytes)}})
}

/// RFC 8705, section 3.2.
#[test]
fn a_token_that_its_issuer_calls_bound_passes_with_its_certificate_alone_also_when_it_is_known() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let definition = with(
        introspecting(
            "o",
            &echo.url(),
            &provider.url("/introspect"),
            remembering(600),
        ),
        json!({"portcullis": {"certificate_bound_tokens": true}}),
    );
    let gateway = Gateway::builder().tls().api("o", &definition).start();
    let (own, other) = (self_signed("own"), self_signed("other"));
    provider.vouch("bound", bound_to(&own));
    let refused = (401, OTHER_CERTIFICATE.to_owned());
    assert_eq!(outcome(&gateway, "bound", None), refused);
    for _ in 0..2 {
        assert_eq!(outcome(&gateway, "bound", Some(&own)), (200, String::new()));
        assert_eq!(outcome(&gateway, "bound", Some(&other)), refused);
        assert_eq!(outcome(&gateway, "bound", None), refused);
    }
    assert_eq!(provider.forms().len(), 1);
    provider.vouch("otherwise", json!({"sub": "anna", "cnf": {"jkt": "x"}}));
    assert_eq!(
        outcome(&gateway, "otherwise", Some(&own)),
        (
            401,
            "Key not authorized: token is bound to a key that cannot be verified here".to_owned()
        )
    );
}

/// The name Tyk gives the key of an identity: its MD5 in hex.
#[test]
fn what_the_store_says_of_whoever_a_token_belongs_to_counts() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let gateway = builder(&echo, &provider, remembering(600)).start();
    provider.vouch("opaque", json!({"sub": "anna"}));
    call_with(&gateway, "opaque").expect(200);
    let key = "a70f9e38ff015afaa9ab0aacabee2e13";
    gateway.put_key(key, &session(&["o"], json!({"is_inactive": true})));
    assert_eq!(
        refused(&gateway, "opaque"),
        (403, "Key is inactive, please renew".to_owned())
    );
    gateway.put_key(key, &session(&["else"], json!({})));
    assert_eq!(refused(&gateway, "opaque").0, 403);
    assert_eq!(provider.forms().len(), 1, "keys that change need no asking");
    let bert = "3de0746a7d2762a87add40dac2bc95a0";
    gateway.put_key(bert, &session(&["o"], json!({"rate": 1, "per": 600})));
    provider.vouch("other", json!({"sub": "bert"}));
    call_with(&gateway, "other").expect(200);
    assert_eq!(refused(&gateway, "other").0, 429);
}

#[test]
fn the_secret_of_a_provider_may_be_kept_elsewhere() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let gateway = builder(
        &echo,
        &provider,
        json!({"client_secret": "env://IDP_SECRET"}),
    )
    .environment("IDP_SECRET", CLIENT_SECRET)
    .start();
    provider.vouch("opaque", json!({"sub": "anna"}));
    call_with(&gateway, "opaque").expect(200);
}

/// An OAS definition whose tokens are signed by keys that are published at a URL.
fn signed(echo: &Echo, url: &str) -> Value {
    json!({
        "openapi": "3.0.3", "info": {"title": "o", "version": "1"}, "paths": {},
        "components": {"securitySchemes": {"idp": {"type": "oauth2", "flows": {}}}},
        "x-tyk-api-gateway": {
            "info": {"id": "o", "name": "o", "orgId": "default", "state": {"active": true}},
            "server": {
                "listenPath": {"value": "/o/", "strip": true},
                "authentication": {"enabled": true, "securitySchemes": {"idp": {
                    "enabled": true, "header": {"enabled": true, "name": "Authorization"},
                    "providers": [{"jwt": {
                        "enabled": true, "signingMethod": "ecdsa", "source": url,
                        "identityBaseField": "user", "expiresAtValidationSkew": 0,
                    }}],
                }}},
            },
            "upstream": {"url": echo.url()},
        }
    })
}

/// OUT-107 for external OAuth: keys are fetched through the proxy of the service.
#[test]
fn a_signed_access_token_opens_its_api_by_the_keys_of_its_provider() {
    let echo = Echo::start("up");
    let (issuer, stranger) = (Issuer::curve("c"), Issuer::curve("c"));
    let proxy = KeyServer::start(&[&issuer]);
    let gateway = Gateway::builder()
        .config(json!({"external_services": {"oauth": {"proxy": {
            "enabled": true, "http_proxy": proxy.server().url()}}}}))
        .api("o", &signed(&echo, "http://idp.test/keys"))
        .start();
    let anna = claims("anna", json!({}));
    call_with(&gateway, &issuer.token(&anna)).expect(200);
    let asked = proxy.server().received().concat();
    assert!(
        asked.starts_with("GET http://idp.test/keys HTTP/1.1\r\n"),
        "{asked}"
    );
    assert_eq!(
        refused(&gateway, &stranger.token(&anna)),
        (401, INACTIVE.to_owned())
    );
    assert_eq!(refused(&gateway, "opaque"), (401, INACTIVE.to_owned()));
    let over = issuer.token(&claims("anna", json!({"exp": now() - 5})));
    assert_eq!(refused(&gateway, &over), (401, EXPIRED.to_owned()));
    let nobody = issuer.token(&json!({"exp": now() + 600}));
    assert_eq!(refused(&gateway, &nobody), (500, FAILED.to_owned()));
    assert_eq!(echo.served(), 1);
    let away = Gateway::builder()
        .api(
            "o",
            &signed(&echo, &format!("http://127.0.0.1:{}/keys", free_port())),
        )
        .start();
    assert_eq!(
        refused(&away, &issuer.token(&anna)),
        (500, FAILED.to_owned())
    );
}

#[test]
fn a_provider_that_cannot_judge_quarantines_its_api_alone() {
    let echo = Echo::start("up");
    let broken = introspecting("o", &echo.url(), "idp.test", json!({}));
    let gateway = Gateway::builder()
        .api("o", &broken)
        .api("a", &api("a", "/a/", &echo.url()))
        .start();
    call_with(&gateway, "opaque").expect(503);
    gateway.get("/a/").expect(200);
    gateway.wait_log("external_oauth.providers[0].introspection.url");
}
