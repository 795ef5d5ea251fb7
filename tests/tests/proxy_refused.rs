//! What is not forwarded: messages that two readers could understand differently, and those that
//! are larger than allowed. Each gets its status and the connection is closed, so nothing behind
//! it is taken for another request.

use portcullis_tests::{
    gateway::{Builder, Gateway, api},
    raw,
    upstream::Upstream,
};
use serde_json::json;

fn before(upstream: &Upstream) -> Builder {
    Gateway::builder().api("api", &api("api", "/api/", &upstream.url()))
}

/// A whole request that must never be seen by anybody.
const SMUGGLED: &str = "GET /api/smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_head_with_two_readings_is_refused_and_the_connection_closed() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream).start();
    for (head, status) in [
        // Two framings.
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            400,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            400,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello",
            400,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        // Lengths that are no numbers.
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello",
            400,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nhello",
            400,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello",
            400,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
            400,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\nhello",
            400,
        ),
        // Codings nobody here understands.
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST /api/ HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        // Lines that end or begin in another way.
        ("GET /api/ HTTP/1.1\nHost: h\n\n", 400),
        ("GET /api/ HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
        (
            "GET /api/ HTTP/1.1\r\nHost: h\r\nX: y\r\n folded\r\n\r\n",
            400,
        ),
        ("GET /api/ HTTP/1.1\r\n Host: h\r\n\r\n", 400),
        ("GET /api/ HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n", 400),
        (
            "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello",
            400,
        ),
        ("GET /api/ HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 400),
        ("GET /api/ HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400),
        ("GET /api/ HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400),
        ("GET  /api/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /api/ x HTTP/1.1\r\nHost: h\r\n\r\n", 505),
        ("G(T /api/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        // Hosts.
        ("GET /api/ HTTP/1.1\r\n\r\n", 400),
        ("GET /api/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /api/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /api/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET /api/ HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET /api/ HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        // Targets and versions that are not served.
        (
            "CONNECT upstream.test:443 HTTP/1.1\r\nHost: upstream.test:443\r\n\r\n",
            400,
        ),
        ("GET api/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET ftp://h/api/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /api/ HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("GET /api/ HTTP/1.2\r\nHost: h\r\n\r\n", 505),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x00", 400),
    ] {
        let mut wire = raw::plain(&gateway);
        wire.send(format!("{head}{SMUGGLED}"));
        let Some(response) = wire.message() else {
            panic!("no answer to {head:?}")
        };
        assert_eq!(response.status(), status, "{head:?}");
        assert_eq!(response.field("connection"), Some("close"), "{head:?}");
        assert!(wire.is_closed(), "{head:?}");
    }
    assert_eq!(upstream.requests(), 0, "{:?}", upstream.received());
}

#[test]
fn a_chunk_that_is_none_ends_the_connection_and_the_request_never_completes() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream).start();
    for body in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;\x01\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        let mut wire = raw::plain(&gateway);
        wire.send(format!(
            "POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}"
        ));
        let came = wire.rest();
        let text = String::from_utf8_lossy(&came);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 400 "),
            "{body:?}: {text}"
        );
        assert!(text.matches("HTTP/1.1 ").count() <= 1, "{body:?}: {text}");
    }
    assert_eq!(upstream.requests(), 0, "{:?}", upstream.received());
    assert!(
        upstream
            .received()
            .iter()
            .all(|seen| !seen.contains("smuggled")),
        "{:?}",
        upstream.received()
    );
}

#[test]
fn a_request_cut_short_never_completes_at_the_upstream() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream).start();
    for text in [
        "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello",
        "POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut wire = raw::plain(&gateway);
        wire.send(text);
        wire.finish();
        let came = wire.rest();
        let text = String::from_utf8_lossy(&came);
        assert!(!text.starts_with("HTTP/1.1 2"), "{text}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_body_larger_than_allowed_is_refused_announced_or_not() {
    let upstream = Upstream::echo();
    let config = json!({"http_server_options": {"max_request_body_size": 1000, "use_ssl": false}});
    let gateway = before(&upstream).config(config).start();
    let fits = "x".repeat(1000);
    assert_eq!(
        raw::ask(&gateway, raw::request("POST", "/api/", &[], &fits)).status(),
        200
    );
    let chunked = |length: usize| {
        let body = "x".repeat(length);
        format!(
            "POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    assert_eq!(raw::ask(&gateway, chunked(1000)).status(), 200);
    assert_eq!(upstream.requests(), 2);

    let announced =
        format!("POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n{fits}x{SMUGGLED}");
    for request in [
        announced,
        chunked(1001) + SMUGGLED,
        chunked(300_000) + SMUGGLED,
    ] {
        let mut wire = raw::plain(&gateway);
        wire.send(request);
        let response = wire.message().expect("a response");
        assert_eq!(
            (response.status(), response.field("connection")),
            (413, Some("close"))
        );
        assert!(wire.is_closed());
    }
    // Announced with `Expect`, the body never has to be sent.
    let mut wire = raw::plain(&gateway);
    wire.send(
        "POST /api/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n",
    );
    assert_eq!(wire.message().expect("a response").status(), 413);
    assert_eq!(upstream.requests(), 2);
    assert!(
        upstream
            .received()
            .iter()
            .all(|seen| !seen.contains("smuggled"))
    );
}

#[test]
fn a_head_with_too_many_or_too_long_fields_gets_431() {
    let upstream = Upstream::echo();
    let config = json!({"portcullis": {"max_header_bytes": 4096, "max_headers": 20}});
    let gateway = before(&upstream).config(config).start();
    let fields = |count: usize| "X: y\r\n".repeat(count);
    let head = |fields: &str| format!("GET /api/ HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    assert_eq!(raw::ask(&gateway, head(&fields(19))).status(), 200);
    let long = format!("X: {}\r\n", "y".repeat(3900));
    assert_eq!(raw::ask(&gateway, head(&long)).status(), 200);
    let too_long = format!("X: {}\r\n", "y".repeat(4096));
    let long_target = format!("GET /api/{} HTTP/1.1\r\nHost: h\r\n\r\n", "y".repeat(5000));
    for request in [head(&fields(20)), head(&too_long), long_target] {
        let mut wire = raw::plain(&gateway);
        wire.send(request + SMUGGLED);
        let response = wire.message().expect("a response");
        assert_eq!(
            (response.status(), response.field("connection")),
            (431, Some("close"))
        );
        assert!(wire.is_closed());
    }
    assert_eq!(upstream.requests(), 2);
}

#[test]
fn a_client_that_dribbles_its_head_is_cut_off_in_time() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream)
        .config(json!({"portcullis": {"header_timeout": 0.3}}))
        .start();
    let mut wire = raw::plain(&gateway);
    wire.send("GET /api/ HTTP/1.1\r\nHost:");
    assert!(wire.is_closed());
    assert_eq!(raw::ask(&gateway, raw::get("/api/", &[])).status(), 200);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream)
        .config(json!({"portcullis": {"idle_timeout": 0.3}}))
        .start();
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get("/api/", &[]));
    assert_eq!(wire.message().expect("a response").status(), 200);
    assert!(wire.is_closed());
}
