//! Keys of tokens that providers publish: fetched, remembered, renewed, and what happens when they cannot be
//! had.

use std::thread;

use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Builder, Gateway, with},
    jwt::{Issuer, KeyServer, claims, jwt_api, policy},
    keys::error_of,
    upstream::acceptor,
    wait::eventually,
};
use serde_json::{Value, json};

const INVALID: &str = "Key not authorized";

/// A gateway to be with a policy that opens the API `j`, and that API, whose keys are published at a URL.
fn builder(echo: &Echo, issuer: &Issuer, url: &str) -> Builder {
    Gateway::builder()
        .config(json!({"policies": {"policy_path": "policies"}}))
        .file(
            "policies/open.json",
            &policy("open", &["j"], json!({})).to_string(),
        )
        .api("j", &jwt_api("j", &echo.url(), issuer, url))
}

fn call(gateway: &Gateway, token: &str) -> portcullis_tests::curl::Response {
    gateway.call("/j/", &format!("Bearer {token}"))
}

/// The status of a call by anna with a token of this issuer, a new one each time.
fn status(gateway: &Gateway, issuer: &Issuer, number: u32) -> u16 {
    call(
        gateway,
        &issuer.token(&claims("anna", json!({ "jti": number }))),
    )
    .status
}

#[test]
fn published_keys_are_fetched_once_for_many_tokens_and_chosen_by_their_id() {
    let echo = Echo::start("up");
    let (one, two) = (Issuer::rsa("one"), Issuer::rsa("two"));
    let keys = KeyServer::start(&[&one, &two]);
    let gateway = builder(&echo, &one, &keys.url()).start();
    thread::scope(|scope| {
        for number in 0..8 {
            let (gateway, issuer) = (&gateway, if number % 2 == 0 { &one } else { &two });
            scope.spawn(move || assert_eq!(status(gateway, issuer, number), 200));
        }
    });
    assert_eq!(keys.server().requests(), 1);
    let anna = claims("anna", json!({}));
    for header in [
        json!({"alg": "RS256", "kid": "two"}),
        json!({"alg": "RS256"}),
    ] {
        let refused = call(&gateway, &one.token_of(&header, &anna)).expect(403);
        assert_eq!(error_of(&refused), INVALID, "{header}");
    }
    assert_eq!(
        keys.server().requests(),
        1,
        "ids that are known need no asking"
    );
}

#[test]
fn a_key_that_is_new_is_fetched_when_a_token_names_it_and_one_that_is_withdrawn_counts_no_more() {
    let echo = Echo::start("up");
    let (old, new) = (Issuer::curve("old"), Issuer::curve("new"));
    let keys = KeyServer::start(&[&old]);
    let gateway = builder(&echo, &old, &keys.url()).start();
    let known = old.token(&claims("anna", json!({})));
    call(&gateway, &known).expect(200);
    keys.publish(&[&new]);
    // It is asked again a few seconds after it was asked last.
    eventually("the new key is known", || status(&gateway, &new, 1) == 200);
    // The token that was good before is not any more, although its time is not over.
    assert_eq!(error_of(&call(&gateway, &known).expect(403)), INVALID);
    let asked = keys.server().requests();
    assert!((2..=3).contains(&asked), "{asked}");
}

#[test]
fn who_forgets_key_sets_by_the_control_api_fetches_them_anew() {
    let echo = Echo::start("up");
    let (old, new) = (Issuer::curve("k"), Issuer::curve("k"));
    let keys = KeyServer::start(&[&old]);
    let gateway = builder(&echo, &old, &keys.url()).start();
    let known = old.token(&claims("anna", json!({})));
    call(&gateway, &known).expect(200);
    keys.publish(&[&new]);
    assert_eq!(
        status(&gateway, &new, 1),
        403,
        "the id is known, the key is not"
    );
    for path in ["/tyk/cache/jwks/j", "/tyk/cache/jwks"] {
        let told = gateway.change("DELETE", path, &Value::Null).expect(200);
        assert_eq!(told.json()["message"], "cache invalidated");
    }
    assert_eq!(status(&gateway, &new, 2), 200);
    call(&gateway, &known).expect(403);
}

#[test]
fn keys_that_were_good_are_used_while_their_provider_fails_and_nobody_is_let_in_without_any() {
    let echo = Echo::start("up");
    let issuer = Issuer::ed25519("e");
    let keys = KeyServer::start(&[&issuer]);
    let source =
        json!({"jwt_source": "", "jwt_jwks_uris": [{"url": keys.url(), "cacheTimeout": "1s"}]});
    let definition = with(jwt_api("j", &echo.url(), &issuer, ""), source);
    let gateway = builder(&echo, &issuer, "").api("j", &definition).start();
    assert_eq!(status(&gateway, &issuer, 0), 200);
    keys.fail();
    // A second later its time is over; it is asked again, and what it said last counts.
    let mut number = 0;
    eventually("it is asked and fails", || {
        number += 1;
        assert_eq!(status(&gateway, &issuer, number), 200);
        gateway.log().text().contains("it answers 500")
    });
    assert_eq!(status(&gateway, &issuer, 1000), 200);
    let log = gateway.wait_log("keys of tokens cannot be fetched");
    assert!(log.contains("last_good_is_used"), "{log}");

    let stranger = builder(&echo, &issuer, &keys.url()).start();
    let refused = call(&stranger, &issuer.token(&claims("anna", json!({})))).expect(403);
    assert_eq!(error_of(&refused), INVALID);
    keys.publish_text("<html>");
    let confused = builder(&echo, &issuer, &keys.url()).start();
    assert_eq!(status(&confused, &issuer, 0), 403);
    confused.wait_log("what it answers is no key set");
}

/// OUT-120.
#[test]
fn a_provider_that_does_not_answer_is_given_up_and_holds_up_nobody_else() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let keys = KeyServer::start(&[&issuer]);
    keys.fall_silent();
    let open = portcullis_tests::gateway::api("open", "/open/", &echo.url());
    let gateway = builder(&echo, &issuer, &keys.url())
        .api("open", &open)
        .start();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| call(&gateway, &issuer.token(&claims("anna", json!({})))));
        eventually("it is asked", || keys.server().requests() == 1);
        gateway.get("/open/").expect(200);
        let refused = waiting.join().expect("it ends well").expect(403);
        assert_eq!(error_of(&refused), INVALID);
    });
    gateway.wait_log("within 15 s");
}

#[test]
fn several_providers_are_asked_and_one_that_fails_does_not_stand_in_the_way() {
    let echo = Echo::start("up");
    let (one, two) = (Issuer::curve("one"), Issuer::curve("two"));
    let (broken, first, second) = (
        KeyServer::start(&[]),
        KeyServer::start(&[&one]),
        KeyServer::start(&[&two]),
    );
    broken.fail();
    let urls = [&broken, &first, &second].map(|server| json!({"url": server.url()}));
    let definition = with(
        jwt_api("j", &echo.url(), &one, ""),
        json!({"jwt_jwks_uris": urls}),
    );
    let gateway = builder(&echo, &one, "").api("j", &definition).start();
    assert_eq!(status(&gateway, &one, 0), 200);
    assert_eq!(status(&gateway, &two, 0), 200);
    assert_eq!(status(&gateway, &Issuer::curve("three"), 0), 403);
}

#[test]
fn a_provider_behind_tls_is_verified_unless_the_gateway_is_told_not_to() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let keys = KeyServer::start_tls(&[&issuer], acceptor(certs::localhost()).build());
    let trusting = builder(&echo, &issuer, &keys.url());
    let ca = trusting.path("ca.pem");
    let trusting = trusting
        .environment("SSL_CERT_FILE", ca.to_str().expect("text"))
        .start();
    assert_eq!(status(&trusting, &issuer, 0), 200);
    let strict = builder(&echo, &issuer, &keys.url()).start();
    assert_eq!(status(&strict, &issuer, 0), 403);
    strict.wait_log("keys of tokens cannot be fetched");
    let lenient = builder(&echo, &issuer, &keys.url())
        .config(json!({"jwt_ssl_insecure_skip_verify": true}))
        .start();
    assert_eq!(status(&lenient, &issuer, 0), 200);
    lenient.wait_log("ARE NOT VERIFIED");
}
