//! Upstreams behind TLS: verified against the roots of the system, spoken to in the versions and
//! suites that are allowed, and told nothing before that is settled.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use openssl::ssl::{SslAcceptorBuilder, SslVerifyMode, SslVersion};
use portcullis_pki::make::{Algorithm, Pair, make_ca, make_server};
use portcullis_tests::{
    certs,
    gateway::{Builder, Gateway, api, with},
    raw,
    upstream::{
        Talk, Upstream, acceptor,
        http2::{self, Http2Upstream},
    },
    wire::Message,
};
use serde_json::{Value, json};

/// Answers with the TLS version and suite of the connection.
fn tell_session(talk: &mut Talk) {
    while talk.request().is_some() {
        let session = talk.session();
        let suite = session.current_cipher().map_or("", |cipher| cipher.name());
        let text = format!("{} {suite}", session.version_str());
        talk.answer(&text);
    }
}

fn target(upstream: &Upstream) -> String {
    format!("https://localhost:{}", upstream.address().port())
}

/// A gateway that trusts the tests' CA, with one API on `/api/`.
fn trusting(url: &str) -> Builder {
    let builder = Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "portcullis": {"workers": 1}}))
        .api("api", &api("api", "/api/", url));
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

fn skipping(url: &str) -> Builder {
    trusting(url).config(json!({"proxy_ssl_insecure_skip_verify": true}))
}

fn ask(gateway: &Gateway) -> Message {
    raw::ask(gateway, raw::get("/api/", &[]))
}

/// The request fails with the generic error, which says nothing about certificates.
#[track_caller]
fn assert_failed(gateway: &Gateway, flag: &str, detail: &str) -> Value {
    let response = ask(gateway);
    let line: Value =
        serde_json::from_str(&gateway.output().wait("\"path\":\"/api/\"")).expect("a line is JSON");
    assert_eq!(response.status(), 500, "{line}");
    assert_eq!(
        response.text(),
        "{\n    \"error\": \"There was a problem proxying the request\"\n}"
    );
    assert_eq!(
        (&line["response_flag"], &line["response_code_details"]),
        (&flag.into(), &detail.into()),
        "{line}"
    );
    line
}

/// A certificate that signs itself.
fn self_signed() -> Pair {
    certs::made(Some("localhost"), false, (-1, 30), None)
}

/// A certificate of the tests' CA with just these properties.
fn unusual(names: Option<&str>, for_clients: bool, days: (i64, i64)) -> Pair {
    certs::made(names, for_clients, days, Some(certs::ca()))
}

/// OUT-1, OUT-5, OUT-6, OUT-7, OUT-8 and, with each of them, OUT-22.
#[test]
fn a_certificate_that_does_not_verify_is_flagged_by_its_fault_and_the_upstream_hears_nothing() {
    let other = make_ca("Nobody's CA", Algorithm::P256, 30).expect("a CA");
    let stranger = make_server(&other, &["localhost"], Algorithm::P256, 30).expect("a pair");
    for (pair, flag, detail) in [
        (self_signed(), "TLN", "tls_unknown_authority"),
        (stranger, "TLN", "tls_unknown_authority"),
        (
            unusual(None, false, (-1, 30)),
            "TLM",
            "tls_hostname_mismatch",
        ),
        (
            unusual(Some("elsewhere.test"), false, (-1, 30)),
            "TLM",
            "tls_hostname_mismatch",
        ),
        (
            unusual(Some("localhost"), false, (-30, -1)),
            "TLE",
            "tls_certificate_expired",
        ),
        (
            unusual(Some("localhost"), false, (1, 30)),
            "TLE",
            "tls_certificate_expired",
        ),
        (
            unusual(Some("localhost"), true, (-1, 30)),
            "TLI",
            "tls_certificate_invalid",
        ),
    ] {
        let upstream = Upstream::start_tls(acceptor(&pair).build(), tell_session);
        let gateway = trusting(&target(&upstream)).start();
        let line = assert_failed(&gateway, flag, detail);
        if flag == "TLE" {
            assert_eq!(line["tls_cert_subject"], "localhost");
            let expiry = line["tls_cert_expiry"].as_str().expect("a time");
            assert!(expiry.ends_with('Z') && expiry.contains('T'), "{expiry}");
        }
        assert_eq!(upstream.requests(), 0);
        assert!(
            upstream.received().iter().all(String::is_empty),
            "{flag}: {:?}",
            upstream.received()
        );
    }
}

#[test]
fn a_certificate_of_a_trusted_authority_is_accepted_for_its_names_only() {
    let upstream = Upstream::start_tls(acceptor(certs::localhost()).build(), tell_session);
    let gateway = trusting(&target(&upstream)).start();
    assert_eq!(ask(&gateway).status(), 200);
    // An address counts when the certificate carries it.
    let by_address = format!("https://127.0.0.1:{}", upstream.address().port());
    let gateway = trusting(&by_address).start();
    assert_eq!(ask(&gateway).status(), 200);
    let names_only = make_server(certs::ca(), &["localhost"], Algorithm::P256, 30).expect("a pair");
    let upstream = Upstream::start_tls(acceptor(&names_only).build(), tell_session);
    let gateway = trusting(&format!("https://127.0.0.1:{}", upstream.address().port())).start();
    assert_failed(&gateway, "TLM", "tls_hostname_mismatch");
}

/// OUT-2, OUT-3, OUT-4
#[test]
fn verification_is_skipped_where_the_gateway_or_the_api_says_so_and_nowhere_else() {
    let upstream = Upstream::start_tls(acceptor(&self_signed()).build(), tell_session);
    let skipping_api = |skip: bool| {
        with(
            api("skipping", "/skipping/", &target(&upstream)),
            json!({"proxy": {"transport": {"ssl_insecure_skip_verify": skip}}}),
        )
    };
    let gateway = trusting(&target(&upstream))
        .api("skipping", &skipping_api(true))
        .start();
    assert_eq!(
        raw::ask(&gateway, raw::get("/skipping/", &[])).status(),
        200
    );
    assert_failed(&gateway, "TLN", "tls_unknown_authority");
    assert_eq!(
        raw::ask(&gateway, raw::get("/skipping/", &[])).status(),
        200
    );

    let gateway = skipping(&target(&upstream))
        .api("skipping", &skipping_api(false))
        .start();
    assert_eq!(ask(&gateway).status(), 200);
    assert_eq!(
        raw::ask(&gateway, raw::get("/skipping/", &[])).status(),
        200
    );
}

/// OUT-9 and OUT-22: a port without TLS sees a ClientHello and no request.
#[test]
fn an_upstream_that_does_not_speak_tls_is_flagged_and_sees_no_request() {
    let upstream = Upstream::start(|talk| {
        let _ = talk.fill();
        talk.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let gateway = trusting(&target(&upstream)).start();
    assert_failed(&gateway, "TLP", "tls_protocol_error");
    let received = upstream.received().concat();
    assert!(
        !received.is_empty() && !received.contains("HTTP/1.1"),
        "{received:?}"
    );
}

/// OUT-12 headers late behind a handshake that went well.
#[test]
fn a_late_response_after_a_good_handshake_is_a_504() {
    let upstream = Upstream::start_tls(acceptor(certs::localhost()).build(), Talk::stall);
    let gateway = trusting(&target(&upstream))
        .config(json!({"proxy_default_timeout": 0.4}))
        .start();
    let begun = Instant::now();
    let response = ask(&gateway);
    assert_eq!(response.status(), 504);
    assert!(
        response
            .text()
            .contains("Upstream service reached hard timeout.")
    );
    assert!(begun.elapsed() >= Duration::from_millis(400));
    let line = gateway.output().wait("\"path\":\"/api/\"");
    assert!(line.contains("\"response_flag\":\"URT\""), "{line}");
}

/// OUT-15
#[test]
fn an_upstream_that_never_answers_the_client_hello_is_a_500_after_ten_seconds() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let gateway = trusting(&format!("https://127.0.0.1:{port}")).start();
    let begun = Instant::now();
    assert_failed(&gateway, "URT", "request_timeout");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(10) && took < Duration::from_secs(20),
        "{took:?}"
    );
}

/// OUT-16
#[test]
fn an_upstream_that_wants_a_client_certificate_is_a_500() {
    let mut server = acceptor(certs::localhost());
    server.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    let upstream = Upstream::start_tls(server.build(), tell_session);
    let gateway = trusting(&target(&upstream)).start();
    assert_failed(&gateway, "TLH", "tls_handshake_failure");
    assert_eq!(upstream.requests(), 0);
}

/// OUT-18
#[test]
fn a_tls_failure_is_told_in_xml_to_those_who_speak_it() {
    let upstream = Upstream::start_tls(acceptor(&self_signed()).build(), tell_session);
    let gateway = trusting(&target(&upstream)).start();
    let response = raw::ask(
        &gateway,
        raw::get("/api/", &["Content-Type: application/xml"]),
    );
    assert_eq!(
        (response.status(), response.field("content-type")),
        (500, Some("application/xml"))
    );
    assert!(
        response
            .text()
            .starts_with("<?xml version = \"1.0\" encoding = \"UTF-8\"?>\n<error>"),
        "{response:?}"
    );
    for word in ["certificate", "authority", "self", "tls", "TLS"] {
        assert!(!response.text().contains(word), "{response:?}");
    }
}

fn open() -> SslAcceptorBuilder {
    let mut server = acceptor(certs::localhost());
    server
        .set_max_proto_version(Some(SslVersion::TLS1_3))
        .expect("a version");
    server
}

/// OUT-23
#[test]
fn the_version_is_tls_1_2_unless_more_is_asked_for() {
    let upstream = Upstream::start_tls(open().build(), tell_session);
    let gateway = trusting(&target(&upstream)).start();
    let session = ask(&gateway).text();
    assert!(session.starts_with("TLSv1.2 ECDHE-ECDSA-"), "{session}");
    let mut server = open();
    server
        .set_min_proto_version(Some(SslVersion::TLS1_3))
        .expect("a version");
    let upstream = Upstream::start_tls(server.build(), tell_session);
    let gateway = trusting(&target(&upstream)).start();
    assert_failed(&gateway, "TLP", "tls_protocol_version_error");
}

/// OUT-37, OUT-39
#[test]
fn http2_is_offered_only_where_it_is_enabled_and_may_be_declined() {
    for (enabled, offers) in [(false, 0), (true, 1)] {
        let offered = Arc::new(AtomicUsize::new(0));
        let noted = offered.clone();
        let mut server = open();
        server.set_alpn_select_callback(move |_, client| {
            noted.fetch_add(1, Ordering::AcqRel);
            assert_eq!(client, b"\x02h2\x08http/1.1");
            openssl::ssl::select_next_proto(b"\x08http/1.1", client)
                .ok_or(openssl::ssl::AlpnError::NOACK)
        });
        let upstream = Upstream::start_tls(server.build(), portcullis_tests::upstream::echo);
        let config = json!({"proxy_enable_http2": enabled});
        let gateway = trusting(&target(&upstream)).config(config).start();
        assert_eq!(ask(&gateway).status(), 200);
        assert_eq!(offered.load(Ordering::Acquire), offers);
        let received = upstream.received().concat();
        assert!(received.starts_with("GET / HTTP/1.1\r\n"), "{received}");
    }
}

/// OUT-38
#[test]
fn an_upstream_that_chooses_http2_is_spoken_to_in_http2() {
    let upstream = Http2Upstream::start_tls(open(), http2::echo);
    let url = format!("https://localhost:{}", upstream.address().port());
    let gateway = trusting(&url)
        .config(json!({"proxy_enable_http2": true}))
        .start();
    let mut wire = raw::plain(&gateway);
    for number in 0..5 {
        wire.send(raw::request(
            "POST",
            &format!("/api/{number}"),
            &["X-Up: 1"],
            "body",
        ));
        let response = wire.message().expect("a response");
        assert_eq!((response.status(), response.text().as_str()), (200, "body"));
        assert_eq!(response.field("x-version"), Some("HTTP/2.0"));
    }
    assert_eq!(upstream.connections(), 1);
    let head = &upstream.requests()[0];
    assert_eq!(head.uri().to_string(), format!("{url}/0"));
    for name in ["connection", "host", "transfer-encoding", "keep-alive"] {
        assert!(!head.headers().contains_key(name), "{name}");
    }
    assert_eq!(head.headers()["x-forwarded-host"], "gateway.test");
    assert_eq!(head.headers()["content-length"], "4");
}

/// OUT-42, OUT-43, OUT-44
#[test]
fn handshakes_are_as_many_as_the_configuration_asks_for() {
    for (config, connections) in [
        (json!({}), 1),
        (json!({"max_conn_time": -1}), 3),
        (json!({"max_conn_time": 100}), 1),
        (json!({"proxy_close_connections": true}), 3),
    ] {
        let upstream = Upstream::start_tls(open().build(), portcullis_tests::upstream::echo);
        let gateway = trusting(&target(&upstream)).config(config.clone()).start();
        for _ in 0..3 {
            let echoed = ask(&gateway).json().to_string();
            let closes = echoed.contains("[\"Connection\",\"close\"]");
            assert_eq!(
                closes,
                config.get("proxy_close_connections").is_some(),
                "{echoed}"
            );
        }
        assert_eq!(upstream.connections(), connections, "{config}");
    }
}

#[test]
fn a_protocol_is_switched_even_where_the_upstream_would_choose_http2() {
    let mut prefers_http2 = acceptor(certs::localhost());
    prefers_http2.set_alpn_select_callback(|_, offered| {
        openssl::ssl::select_next_proto(b"\x02h2\x08http/1.1", offered)
            .ok_or(openssl::ssl::AlpnError::NOACK)
    });
    let upstream = Upstream::start_tls(prefers_http2.build(), |talk| {
        let request = talk.head().expect("an HTTP/1 request");
        assert_eq!(request.field("upgrade"), Some("websocket"));
        talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        let sent = talk.exactly(4).expect("four bytes");
        talk.send(sent);
    });
    let gateway = trusting(&target(&upstream))
        .config(json!({
            "proxy_enable_http2": true,
            "http_server_options": {"enable_websockets": true}
        }))
        .start();
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get(
        "/api/",
        &["Connection: Upgrade", "Upgrade: websocket"],
    ));
    assert_eq!(wire.head().expect("a response").status(), 101);
    assert_eq!(wire.exactly(5).as_deref(), Some(&b"hello"[..]));
    wire.send("ping");
    assert_eq!(wire.rest(), b"ping");
}
