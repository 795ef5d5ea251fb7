//! Upstreams that are set in their ways: a real OpenSSL server that asks for renegotiation, or that speaks
//! nothing but suites from before 2008.

use std::thread;

use portcullis_tests::{
    certs::{self, Algorithm},
    gateway::{Builder, Gateway, api, with},
    raw,
    upstream::s_server::SServer,
    wire::Message,
};
use serde_json::{Value, json};

/// The answer, in one line, as the keyboard of a server gives it.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn gateway(url: &str, ours: &Value) -> Builder {
    let definition = with(api("api", "/api/", url), json!({"portcullis": ours}));
    let builder = Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "portcullis": {"workers": 1}}))
        .api("api", &definition);
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

fn asking() -> SServer {
    // One connection is looked at before: of the test that it listens.
    SServer::start(certs::localhost(), &["-tls1_2", "-msg"])
}

/// How many ClientHello messages of connections that got as far as a request the server has seen.
fn hellos(server: &SServer) -> usize {
    server.output().text().matches("ClientHello").count()
}

/// Sends a request; once the server has it, has the server ask for renegotiation.
fn ask_and_be_asked(
    gateway: Gateway,
    server: &mut SServer,
) -> (Gateway, thread::JoinHandle<Message>) {
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get("/api/", &[]));
    server.output().wait("GET / HTTP/1.1");
    server.say("r\n");
    (
        gateway,
        thread::spawn(move || wire.message().expect("an answer")),
    )
}

/// OUT-104, but for the warning alert, in whose place there is silence: an OpenSSL server would take it for
/// the end of the connection.
#[test]
fn an_upstream_that_asks_for_renegotiation_is_passed_over_and_answers_all_the_same() {
    let mut server = asking();
    let gateway = gateway(&server.url(), &json!({})).start();
    let (_gateway, answer) = ask_and_be_asked(gateway, &mut server);
    server.output().wait("HelloRequest");
    let before = hellos(&server);
    server.say(ANSWER);
    let answer = answer.join().expect("no panic");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert_eq!(hellos(&server), before);
}

#[test]
fn an_upstream_that_asks_again_and_again_is_let_go() {
    let mut server = asking();
    let gateway = gateway(&server.url(), &json!({})).start();
    let (gateway, answer) = ask_and_be_asked(gateway, &mut server);
    server.output().wait("HelloRequest");
    server.say("r\n");
    assert_eq!(answer.join().expect("no panic").status(), 500);
    server.output().wait("no_renegotiation");
    let line = gateway.output().wait("\"path\":\"/api/\"");
    assert!(line.contains("\"response_flag\":\"UPE\""), "{line}");
}

/// OUT-105; the key of Tyk wins over ours.
#[test]
fn where_renegotiation_is_disabled_the_first_wish_ends_the_request() {
    let mut server = asking();
    let gateway = gateway(&server.url(), &json!({"proxy_ssl_renegotiation": "freely"}))
        .config(json!({"proxy_ssl_disable_renegotiation": true}))
        .start();
    let before = hellos(&server);
    let (gateway, answer) = ask_and_be_asked(gateway, &mut server);
    assert_eq!(answer.join().expect("no panic").status(), 500);
    server.output().wait("no_renegotiation");
    assert_eq!(hellos(&server), before + 1);
    let line = gateway.output().wait("\"path\":\"/api/\"");
    assert!(line.contains("\"response_flag\":\"UPE\""), "{line}");
}

#[test]
fn an_api_may_grant_renegotiation_once_or_freely() {
    for (granted, wishes) in [("once", 1), ("freely", 3)] {
        let mut server = asking();
        let gateway = gateway(&server.url(), &json!({"proxy_ssl_renegotiation": granted})).start();
        let mut wire = raw::plain(&gateway);
        wire.send(raw::get("/api/", &[]));
        server.output().wait("GET / HTTP/1.1");
        for _ in 0..wishes {
            let mark = server.output().mark();
            server.say("r\n");
            server.output().wait_since(mark, "HelloRequest");
            // The handshake goes through to its end, which is the server's.
            server.output().wait_since(mark, "ClientHello");
            server
                .output()
                .wait_since(mark, ">>> TLS 1.2, Handshake [length 0010], Finished");
        }
        server.say(ANSWER);
        let answer = wire.message().expect("an answer");
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "ok"),
            "{granted}"
        );
    }
}

/// OUT-106
#[test]
fn tls_1_3_knows_no_renegotiation_and_the_key_changes_nothing() {
    let server = SServer::start(certs::localhost(), &["-tls1_3", "-www"]);
    let gateway = gateway(&server.url(), &json!({}))
        .config(json!({"proxy_ssl_max_version": 772, "proxy_ssl_disable_renegotiation": true}))
        .start();
    let answer = raw::ask(&gateway, raw::get("/api/", &[]));
    assert_eq!(answer.status(), 200);
    assert!(answer.text().contains("TLSv1.3"), "{}", answer.text());
}

/// CBC and RSA key exchange by Go's names, with a server that has nothing else.
#[test]
fn suites_from_before_2008_are_negotiated_where_an_api_names_them() {
    let rsa = certs::server_with(&["localhost"], Algorithm::Rsa2048);
    for (go, theirs) in [
        ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
        ("TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"),
        ("TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256"),
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"),
        ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"),
        (
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
            "ECDHE-RSA-AES128-SHA256",
        ),
    ] {
        let cipher = format!("{theirs}:@SECLEVEL=0");
        let server = SServer::start(&rsa, &["-tls1_2", "-www", "-cipher", &cipher]);
        let naming = json!({"proxy": {"transport": {"ssl_ciphers": [go]}}});
        let named = with(api("named", "/named/", &server.url()), naming);
        let gateway = gateway(&server.url(), &json!({}))
            .api("named", &named)
            .start();
        let answer = raw::ask(&gateway, raw::get("/named/", &[]));
        assert_eq!(answer.status(), 200, "{go}");
        assert!(
            answer.text().contains(&format!("Cipher is {theirs}")),
            "{go}: {}",
            answer.text()
        );
        // Of the built-in choice the server has the last two at most.
        let expected = if theirs.starts_with("ECDHE-RSA-AES") && theirs.ends_with("SHA") {
            200
        } else {
            500
        };
        assert_eq!(
            raw::ask(&gateway, raw::get("/api/", &[])).status(),
            expected,
            "{go}"
        );
    }
}
