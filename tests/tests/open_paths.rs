//! Paths of protected APIs for which nobody has to prove anything (`ignored`, `ignoreAuthentication`).

use portcullis_tests::{
    echo::Echo,
    gateway::{Gateway, api, with},
    mtls::{call, self_signed},
};
use serde_json::{Value, json};

const REQUIRED: &str = "Client TLS certificate is required";

/// A definition with an open path and one with a segment of any name, by one method each.
fn opening(definition: Value) -> Value {
    with(
        definition,
        json!({"version_data": {"not_versioned": true, "versions": {"Default": {
            "name": "Default", "use_extended_paths": true,
            "extended_paths": {"ignored": [
                {"path": "/health", "method": "GET"},
                {"path": "/pets/{id}", "method_actions": {"GET": {"action": "no_action"}}},
            ]},
        }}}}),
    )
}

/// IN-50. The Control API is on the same port, so the handshake asks and does not require.
#[test]
fn an_open_path_needs_no_certificate_where_the_handshake_only_asks() {
    let echo = Echo::start("api");
    let listed = self_signed("listed");
    let definition = with(
        opening(api("a", "/a/", &echo.url())),
        json!({
            "use_mutual_tls_auth": true, "client_certificates": [listed.certificate_pem()],
            "portcullis": {"client_identity": ["Client-Cert"]},
        }),
    );
    let gateway = Gateway::builder().tls().api("a", &definition).start();
    let stranger = self_signed("stranger");
    for open in ["/a/health", "/a/pets/7"] {
        assert_eq!(call(&gateway).get(open).status(), 200, "{open}");
        // What nobody looked at is not told to the upstream.
        let answer = call(&gateway).with(&[&stranger]).get(open);
        assert_eq!(answer.status(), 200, "{open}");
        let told = format!("{answer:?}").to_ascii_lowercase();
        assert!(!told.contains("client-cert"), "{told}");
    }
    for closed in [
        "/a/",
        "/a/healthy",
        "/a/x/health",
        "/a/pets/7/8",
        "/a/health/",
    ] {
        let refused = call(&gateway).get(closed).refusal();
        assert_eq!(refused, (403, REQUIRED.to_owned()), "{closed}");
        assert_eq!(
            call(&gateway).with(&[&listed]).get(closed).status(),
            200,
            "{closed}"
        );
    }
    let head = gateway
        .curl()
        .arguments(&["--head"])
        .send(&gateway.url("/a/health"));
    head.expect(403);
}

#[test]
fn an_open_path_needs_no_key_and_its_neighbours_do() {
    let echo = Echo::start("api");
    let definition = with(
        opening(api("a", "/a/", &echo.url())),
        json!({"use_keyless": false}),
    );
    let gateway = Gateway::builder().api("a", &definition).start();
    let status = |method: &str, path: &str| {
        let curl = gateway.curl().arguments(&["--request", method]);
        curl.send(&gateway.url(path)).status
    };
    assert_eq!(status("GET", "/a/health"), 200);
    assert_eq!(status("GET", "/a/pets/7"), 200);
    assert_eq!(status("POST", "/a/health"), 401);
    assert_eq!(status("GET", "/a/healthy"), 401);
    assert_eq!(status("GET", "/a/pets/7/8"), 401);
}
