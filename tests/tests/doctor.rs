//! `portcullis doctor`: what it foretells of a client is what the gateway does, and what it sees of a live
//! server is what is there.

use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs,
    doctor::{doctor, foretold, put, step},
    echo::Echo,
    gateway::{Gateway, api},
    mtls::{Outcome, authority, bound, call, expired, issued, listing, self_signed, separate},
    ports::free_port,
};
use serde_json::{Value, json};

#[test]
fn what_is_foretold_of_a_handshake_is_what_happens() {
    let echo = Echo::start("api");
    let ca = authority("Listed CA");
    let list = json!([ca.certificate_pem()]);
    let gateway = separate()
        .api("a", &bound(listing("a", "/", &echo, &list), "localhost"))
        .start();
    let good = issued(&ca, "good");
    let stranger = issued(&authority("Other CA"), "stranger");
    let old = expired("old");
    for (name, pair) in [("good", &good), ("stranger", &stranger), ("old", &old)] {
        put(&gateway, name, pair);
    }

    let (verdict, told) = foretold(&gateway, "localhost", "/", Some("good"));
    assert_eq!(verdict, "passes", "{told}");
    assert_eq!(call(&gateway).with(&[&good]).get("/").status(), 200);
    assert!(step(&told, "domain").contains("localhost decides"));
    assert!(step(&told, "list").contains("entry 1"), "{told}");
    assert!(step(&told, "key").contains("belongs"));

    for (client, pair, alert) in [
        (Some("stranger"), Some(&stranger), 48),
        (Some("old"), Some(&old), 45),
        (None, None, 116),
    ] {
        let (verdict, told) = foretold(&gateway, "localhost", "/", client);
        assert_eq!(verdict, "refused", "{told}");
        let alert_told = format!("alert {alert} ");
        assert!(step(&told, "handshake").contains(&alert_told), "{told}");
        assert!(told["change"].is_string(), "{told}");
        let chain: Vec<&Pair> = pair.into_iter().collect();
        assert_eq!(call(&gateway).with(&chain).get("/"), Outcome::Alert(alert));
    }
}

#[test]
fn what_is_foretold_of_a_request_is_what_happens() {
    let echo = Echo::start("api");
    let [listed, other] = ["listed", "other"].map(self_signed);
    let gateway = separate()
        .file("allowed.pem", &listed.certificate_pem())
        .api(
            "open",
            &bound(api("open", "/open/", &echo.url()), "localhost"),
        )
        .api(
            "a",
            &bound(
                listing("a", "/a/", &echo, &json!(["allowed.pem"])),
                "localhost",
            ),
        )
        .start();
    put(&gateway, "listed", &listed);
    put(&gateway, "other", &other);
    for (path, client, pair, passes) in [
        ("/a/x", Some("listed"), Some(&listed), true),
        ("/a/x", Some("other"), Some(&other), false),
        ("/a/x", None, None, false),
        ("/open/", None, None, true),
        ("/nowhere/", Some("listed"), Some(&listed), false),
    ] {
        let (verdict, told) = foretold(&gateway, "localhost", path, client);
        assert_eq!(verdict == "passes", passes, "{told}");
        let chain: Vec<&Pair> = pair.into_iter().collect();
        let status = call(&gateway).with(&chain).get(path).status();
        assert_eq!(status == 200, passes, "{path}: {status}");
    }
    let (_, told) = foretold(&gateway, "localhost", "/a/x", Some("listed"));
    assert!(step(&told, "list").contains("allowed.pem"), "{told}");
    assert!(step(&told, "weakened").contains("open"), "{told}");
    let (_, told) = foretold(&gateway, "localhost", "/a/x", Some("other"));
    let print = certs::fingerprint(&other.certificate);
    assert!(told["change"].as_str().unwrap().contains(&print), "{told}");
}

#[test]
fn a_key_of_another_certificate_is_found_out() {
    let echo = Echo::start("api");
    let [client, other] = ["client", "other"].map(self_signed);
    let gateway = separate()
        .api("open", &api("open", "/", &echo.url()))
        .start();
    put(&gateway, "client", &client);
    put(&gateway, "other", &other);
    let arguments = [
        "--conf",
        "tyk.conf",
        "--host",
        "any.test",
        "--cert",
        "client.pem",
        "--key",
        "other.key",
    ];
    let output = doctor(&gateway, &arguments);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("does not belong to the certificate"),
        "{text}"
    );
    assert!(text.contains("It does not pass."), "{text}");
    assert_eq!(doctor(&gateway, &["--path", "/"]).status.code(), Some(2));
}

#[test]
fn a_live_server_is_seen_as_it_is() {
    let echo = Echo::start("api");
    let ca = authority("Client CA");
    let good = issued(&ca, "good");
    let list = json!([ca.certificate_pem()]);
    let gateway = separate()
        .api(
            "open",
            &bound(api("open", "/open/", &echo.url()), "localhost"),
        )
        .api("a", &bound(listing("a", "/a/", &echo, &list), "localhost"))
        .start();
    put(&gateway, "good", &good);
    let server = gateway.address().to_string();
    let seen = |more: &[&str]| {
        let mut arguments = vec!["--connect", &server, "--servername", "localhost", "--json"];
        arguments.extend(more);
        let output = doctor(&gateway, &arguments);
        let value: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), value)
    };
    let (status, told) = seen(&["--ca", "ca.pem"]);
    assert_eq!(status, Some(0), "{told}");
    assert_eq!(step(&told, "versions"), "it speaks TLSv1.2, TLSv1.3");
    assert!(
        step(&told, "handshake").starts_with("TLSv1.3 with TLS_"),
        "{told}"
    );
    assert!(step(&told, "chain").contains("localhost"), "{told}");
    assert!(step(&told, "client").contains("CN=Client CA"), "{told}");
    assert!(
        step(&told, "resumption").contains("resumes the session"),
        "{told}"
    );
    assert!(step(&told, "alpn").contains("chooses"), "{told}");
    let (status, told) = seen(&["--ca", "good.pem"]);
    assert_eq!(status, Some(1), "{told}");
    assert!(told["change"].is_string(), "{told}");
}

#[test]
fn a_live_server_that_refuses_a_client_is_told_with_its_alert() {
    let echo = Echo::start("api");
    let list = json!([authority("Client CA").certificate_pem()]);
    let gateway = separate()
        .api("a", &bound(listing("a", "/", &echo, &list), "localhost"))
        .start();
    put(&gateway, "other", &self_signed("other"));
    let server = gateway.address().to_string();
    for (more, alert) in [
        (&[][..], "116"),
        (&["--cert", "other.pem", "--key", "other.key"][..], "48"),
    ] {
        let mut arguments = vec![
            "--connect",
            &server,
            "--servername",
            "localhost",
            "--ca",
            "ca.pem",
        ];
        arguments.extend(more);
        let output = doctor(&gateway, &arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("({alert})")), "{text}");
    }
    let nobody = format!("127.0.0.1:{}", free_port());
    let output = doctor(&gateway, &["--connect", &nobody]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("cannot be reached"), "{text}");
}

#[test]
fn check_tells_what_is_asked_what_is_enforced_and_what_weakens_it() {
    let echo = Echo::start("api");
    let list = json!([self_signed("listed").certificate_pem()]);
    let builder = separate()
        .api(
            "open",
            &bound(api("open", "/open/", &echo.url()), "mixed.test"),
        )
        .api("a", &bound(listing("a", "/a/", &echo, &list), "mixed.test"))
        .api(
            "strict",
            &bound(listing("strict", "/", &echo, &list), "strict.test"),
        )
        .api(
            "closed",
            &bound(listing("closed", "/", &echo, &json!([])), "closed.test"),
        );
    let ended = builder.run(&["check"]);
    let told = &ended.output;
    for line in [
        "mixed.test: the handshake asks for a certificate (some of its APIs have an allow list)",
        "/a/  a (a): allow list: 1 certificate, 0 authorities",
        "/open/  open (open): open",
        "weakened: open without an allow list turns requiring into asking",
        "strict.test: the handshake requires a trusted certificate (all its APIs have an allow list)",
        "/  closed (closed): allow list: nobody can pass",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn readiness_names_apis_whose_list_lets_nobody_pass() {
    let echo = Echo::start("api");
    let gateway = Gateway::builder()
        .tls()
        .api("closed", &listing("closed", "/a/", &echo, &json!([])))
        .start();
    let ready = gateway.get("/ready").expect(200).json();
    let said = ready["details"]["allow_lists"]["output"].as_str();
    assert!(said.is_some_and(|said| said.contains("closed")), "{ready}");
}
