//! The flight recorder: who was refused, as `GET /tyk/handshakes` tells of it.

use std::io::Write;

use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Gateway, api, with},
    mtls::{
        Outcome, authority, bound, call, call_to, expired, issued, listing, not_allowed,
        self_signed, separate_on,
    },
    ports::free_port,
    wait::eventually,
};
use serde_json::{Value, json};

/// The entries that a query gives, once there are so many.
#[track_caller]
fn entries(gateway: &Gateway, control: u16, query: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    eventually(&format!("{count} entries for {query:?}"), || {
        let answer = gateway.control_on(control, &format!("/tyk/handshakes{query}"));
        let page = answer.expect(200).json();
        found = page["handshakes"].as_array().expect("a list").clone();
        found.len() == count
    });
    found
}

#[test]
fn a_certificate_without_a_key_is_told_and_counted() {
    let echo = Echo::start("api");
    let control = free_port();
    let definition = with(
        api("a", "/a/", &echo.url()),
        json!({"use_keyless": false, "auth_configs": {"authToken": {"use_certificate": true}}}),
    );
    let gateway = separate_on(control).api("a", &definition).start();
    let stranger = self_signed("stranger");
    assert_eq!(call(&gateway).with(&[&stranger]).get("/a/").status(), 401);
    assert_eq!(call(&gateway).get("/a/").status(), 401);

    let unknown = &entries(&gateway, control, "?reason=certificate_without_key", 1)[0];
    assert_eq!(unknown["stage"], "request");
    assert_eq!(unknown["api_id"], "a");
    let leaf = unknown["certificate"]["fingerprint"].as_str();
    assert_eq!(
        leaf,
        Some(certs::fingerprint(&stranger.certificate).as_str()),
        "{unknown}"
    );
    entries(&gateway, control, "?reason=certificate_required", 1);
    let metrics = gateway.control_on(control, "/metrics").text();
    for reason in ["certificate_without_key", "certificate_required"] {
        let line = format!("portcullis_client_refusals_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[test]
fn a_failed_handshake_is_told_with_what_was_offered_and_presented() {
    let echo = Echo::start("api");
    let control = free_port();
    let ca = authority("Listed CA");
    let stranger = issued(&authority("Other CA"), "stranger");
    let list = json!([ca.certificate_pem()]);
    let gateway = separate_on(control)
        .api("a", &bound(listing("a", "/", &echo, &list), "localhost"))
        .start();
    assert_eq!(call(&gateway).get("/"), Outcome::Alert(116));
    assert_eq!(
        call(&gateway).with(&[&stranger]).get("/"),
        Outcome::Alert(48)
    );
    assert_eq!(
        call(&gateway).tls12().with(&[&expired("old")]).get("/"),
        Outcome::Alert(45)
    );

    let told = entries(&gateway, control, "", 3);
    let mut reasons: Vec<&str> = told
        .iter()
        .filter_map(|entry| entry["reason"].as_str())
        .collect();
    reasons.sort_unstable();
    let refused = [
        "certificate_expired",
        "certificate_required",
        "certificate_untrusted",
    ];
    assert_eq!(reasons, refused);

    let untrusted = &entries(&gateway, control, "?reason=certificate_untrusted", 1)[0];
    assert_eq!(untrusted["stage"], "handshake");
    assert_eq!(untrusted["from"], "127.0.0.1");
    assert_eq!(untrusted["port"], gateway.port());
    assert_eq!(untrusted["server_name"], "localhost");
    let certificate = &untrusted["certificate"];
    assert_eq!(certificate["subject"], "CN=stranger");
    assert_eq!(certificate["issuer"], "CN=Other CA");
    assert_eq!(
        certificate["fingerprint"],
        certs::fingerprint(&stranger.certificate)
    );
    assert!(
        untrusted["detail"]
            .as_str()
            .unwrap()
            .contains("CN=stranger")
    );
    assert!(untrusted["remedy"].as_str().unwrap().contains("authority"));
    let offered = |list: &str, name: &str| {
        let list = untrusted["offered"][list].as_array().expect("a list");
        assert!(list.iter().any(|offer| offer == name), "{name}: {list:?}");
    };
    offered("versions", "TLSv1.3");
    offered("cipher_suites", "TLS_AES_128_GCM_SHA256");
    offered("groups", "x25519");
    offered("signature_algorithms", "ecdsa_secp256r1_sha256");

    let old = &entries(&gateway, control, "?reason=certificate_expired", 1)[0];
    assert_eq!(old["offered"]["versions"], json!(["TLSv1.2"]));
    assert!(old["certificate"]["not_after"].as_str() < untrusted["at"].as_str());

    let metrics = gateway.control_on(control, "/metrics").text();
    for reason in refused {
        let line = format!(
            r#"portcullis_tls_handshakes_total{{result="failure",reason="{reason}",version="",resumed=""}} 1"#
        );
        assert!(metrics.contains(&line), "{line}");
    }
}

#[test]
fn a_refused_request_is_told_with_its_path_and_without_its_query() {
    let echo = Echo::start("api");
    let control = free_port();
    let [listed, other] = ["listed", "other"].map(self_signed);
    let list = json!([listed.certificate_pem()]);
    let gateway = separate_on(control)
        .api(
            "open",
            &bound(api("open", "/open/", &echo.url()), "localhost"),
        )
        .api("a", &bound(listing("a", "/a/", &echo, &list), "localhost"))
        .start();
    let refused = call(&gateway).with(&[&other]).get("/a/orders?token=hidden");
    assert_eq!(refused.refusal(), (403, not_allowed(&other)));
    assert_eq!(call(&gateway).get("/a/").status(), 403);
    assert_eq!(call(&gateway).get("/open/").status(), 200);

    let entry = &entries(&gateway, control, "?reason=certificate_not_listed", 1)[0];
    assert_eq!(entry["stage"], "request");
    assert_eq!(entry["api_id"], "a");
    assert_eq!(entry["host"], "localhost");
    assert_eq!(entry["path"], "/a/orders");
    assert_eq!(entry["detail"], not_allowed(&other));
    assert_eq!(entry["certificate"]["subject"], "CN=other");
    assert_eq!(entry["negotiated"]["version"], "TLSv1.3");
    assert!(!entry.to_string().contains("hidden"));
    let bare = &entries(&gateway, control, "?reason=certificate_required", 1)[0];
    assert_eq!(bare["certificate"], Value::Null);
    entries(&gateway, control, "", 2);

    let metrics = gateway.control_on(control, "/metrics").text();
    for reason in ["certificate_not_listed", "certificate_required"] {
        let line = format!("portcullis_client_refusals_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&line), "{line}");
    }
}

#[test]
fn a_host_that_does_not_fit_the_handshake_is_told() {
    let echo = Echo::start("api");
    let control = free_port();
    let list = json!([self_signed("listed").certificate_pem()]);
    let gateway = separate_on(control)
        .api("open", &bound(api("open", "/", &echo.url()), "localhost"))
        .api("a", &bound(listing("a", "/", &echo, &list), "strict.test"))
        .start();
    assert_eq!(call(&gateway).host("strict.test").get("/").status(), 421);
    let entry = &entries(&gateway, control, "?reason=misdirected", 1)[0];
    assert_eq!(entry["server_name"], "localhost");
    assert_eq!(entry["host"], "strict.test");
    assert_eq!(
        entries(&gateway, control, "?server_name=LOCALHOST", 1)[0],
        *entry
    );
    entries(&gateway, control, "?server_name=strict.test", 0);
}

#[test]
fn a_client_of_a_raw_service_is_told() {
    let echo = Echo::start("raw");
    let (control, port) = (free_port(), free_port());
    let definition = with(
        listing(
            "raw",
            "/",
            &echo,
            &json!([self_signed("listed").certificate_pem()]),
        ),
        json!({"protocol": "tcp", "listen_port": port,
            "proxy": {"target_url": format!("tcp://{}", echo.address())}}),
    );
    let gateway = separate_on(control)
        .config(json!({"ports_whitelist": {"tcp": {"ports": [port]}}}))
        .api("raw", &definition)
        .start();
    let mut stream = gateway.connect_to(port);
    let _ = stream.write_all(b"hello");
    let entry = &entries(&gateway, control, "?reason=tls_required", 1)[0];
    assert_eq!(entry["stage"], "connection");
    assert_eq!(entry["port"], port);
    assert_eq!(entry["api_id"], "raw");
}

#[test]
fn the_recorder_needs_the_secret_and_a_sensible_limit() {
    let gateway = Gateway::builder().tls().start();
    gateway
        .curl()
        .send(&gateway.url("/tyk/handshakes"))
        .expect(403);
    gateway.control("/tyk/handshakes?limit=0").expect(400);
    gateway.control("/tyk/handshakes?limit=many").expect(400);
    let empty = gateway.control("/tyk/handshakes").expect(200).json();
    assert_eq!(empty, json!({"handshakes": [], "kept": 0, "dropped": 0}));
}

#[test]
fn a_flood_keeps_a_thousand_and_traffic_goes_on() {
    let echo = Echo::start("api");
    let gateway = Gateway::builder()
        .tls()
        .api("open", &api("open", "/", &echo.url()))
        .start();
    for _ in 0..1200 {
        // Whoever speaks like this is cut at once.
        let _ = gateway.connect().write_all(b"\x16\x03\x01\xff\xff garbage");
    }
    assert_eq!(call_to(gateway.address()).get("/").status(), 200);
    let page = |query: &str| {
        gateway
            .control(&format!("/tyk/handshakes{query}"))
            .expect(200)
            .json()
    };
    eventually("a full recorder", || page("?limit=1")["kept"] == 1000);
    assert_eq!(
        page("?limit=7")["handshakes"].as_array().map(Vec::len),
        Some(7)
    );
    assert_eq!(page("")["handshakes"].as_array().map(Vec::len), Some(1000));
}
