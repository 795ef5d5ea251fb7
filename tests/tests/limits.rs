//! What one client may take: time for a handshake or a request, handshakes at once, size of a head.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use portcullis_tests::{
    echo::Echo,
    gateway::{Gateway, api},
    raw,
    tls::Client,
    wait::{PATIENCE, eventually},
};
use serde_json::{Value, json};

/// A clear-text gateway with these settings of ours, before an open API.
fn limited(settings: &Value, echo: &Echo) -> Gateway {
    Gateway::builder()
        .config(json!({"portcullis": settings}))
        .api("main", &api("main", "/", &echo.url()))
        .start()
}

/// Waits until the gateway ends a connection, and how long it took.
fn ends_after(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    // Reset or closed, both are an end; a deadline of our own is not.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    begun.elapsed()
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"portcullis": {"handshake_timeout": 1}}))
        .start();
    let mut silent = gateway.connect();
    let mut hesitant = gateway.connect();
    hesitant.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    for stream in [&mut silent, &mut hesitant] {
        let took = ends_after(stream);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    let line = gateway.wait_log("TLS handshake failed");
    assert!(line.contains("timeout"), "{line}");
}

#[test]
fn a_proxy_header_that_does_not_come_ends_the_connection() {
    let gateway = Gateway::builder()
        .config(json!({"portcullis": {"handshake_timeout": 1, "proxy_protocol": true}}))
        .start();
    let took = ends_after(&mut gateway.connect());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn one_address_may_not_have_more_handshakes_under_way_than_allowed() {
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"portcullis": {"workers": 1, "max_handshakes_per_address": 3, "handshake_timeout": 60}}))
        .start();
    let waiting: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    eventually("the fourth is turned away", || {
        let mut stream = gateway.connect();
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        // Nothing and no end yet: the three before it were not counted yet, this one was in their place.
        matches!(stream.read(&mut [0; 1]), Ok(0))
    });
    gateway.wait_log("too many concurrent TLS handshakes from one address");
    drop(waiting);
    eventually("their places are free again", || {
        Client::new().over(gateway.connect()).is_ok()
    });
    // Connections whose handshake is over take no place.
    let open: Vec<_> = (0..5)
        .map(|_| Client::new().over(gateway.connect()).unwrap())
        .collect();
    drop(open);
}

#[test]
fn more_or_larger_header_fields_than_allowed_are_refused_with_431() {
    let echo = Echo::start("main");
    let gateway = limited(&json!({"max_headers": 10, "max_header_bytes": 2048}), &echo);
    let many: Vec<String> = (0..11).map(|i| format!("X-{i}: a")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let large = format!("X-Large: {}", "a".repeat(2048));
    for fields in [&many[..], &[large.as_str()]] {
        let mut wire = raw::plain(&gateway);
        wire.send(raw::get("/", fields));
        let answer = wire.message().expect("an answer");
        assert_eq!(answer.status(), 431);
        assert_eq!(answer.text(), "Request Header Fields Too Large");
        assert_eq!(wire.rest(), b"", "the connection ends");
    }
    assert_eq!(echo.served(), 0);
    // Host and nine more are ten.
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get("/", &many[..9]));
    assert_eq!(wire.message().expect("an answer").status(), 200);
}

#[test]
fn a_request_head_that_does_not_end_and_a_connection_without_requests_are_ended() {
    let echo = Echo::start("main");
    let gateway = limited(&json!({"header_timeout": 1, "idle_timeout": 1}), &echo);
    let mut slow = gateway.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    let mut silent = gateway.connect();
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get("/", &[]));
    assert_eq!(wire.message().expect("an answer").status(), 200);
    for stream in [&mut slow, &mut silent] {
        let took = ends_after(stream);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    assert_eq!(wire.rest(), b"", "also after a request");
}
