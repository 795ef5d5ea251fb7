//! Heads and trailers as upstreams get them: what ends at the gateway, and what it says itself.

use super::*;
use crate::http1::head;

fn forwarded(text: &str) -> String {
    let mut space = head::field_space();
    let limits = head::HeadLimits {
        bytes: 4096,
        fields: 64,
    };
    let head = head::request(text.as_bytes(), limits, &mut space)
        .expect("valid")
        .expect("complete");
    let view = RequestView {
        method: head.method,
        host: head.host,
        path: head.path,
        query: head.query,
        fields: &head.fields,
        framing: head.framing,
        upgrade: head.upgrade,
        protocol: "HTTP/1.1",
    };
    let address = std::net::IpAddr::from([192, 0, 2, 7]);
    let peer = Peer {
        address,
        address_text: "192.0.2.7".into(),
        tls: None,
        client: None,
        listener: 0,
    };
    let request = UpstreamRequest {
        view: &view,
        peer: &peer,
        identity: ClientIdentity::default(),
        scheme: "http",
        host: "up:1",
        forwarder: None,
        path: "/p",
        query: view.query,
        drop_fields: [None; 4],
        login_field: Some("x-token"),
        drop_cookies: [None; 2],
        upgrade: None,
        close: false,
    };
    let mut out = Vec::new();
    request.write_http1(&mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn fields_about_one_hop_and_those_named_by_connection_end_here() {
    let out = forwarded(
        "GET /x?q HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\nX-Stay: yes\r\n\r\n",
    );
    assert_eq!(
        out,
        "GET /p?q HTTP/1.1\r\nHost: up:1\r\nX-Stay: yes\r\nx-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\nx-forwarded-host: h\r\n\r\n"
    );
}

#[test]
fn the_forwarding_chain_is_continued_and_claims_about_it_are_replaced() {
    let out = forwarded(
        "POST / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nx-forwarded-host: evil\r\n\r\n",
    );
    assert!(
        out.contains("x-forwarded-for: 1.1.1.1, 192.0.2.7\r\n"),
        "{out}"
    );
    assert!(
        out.contains("x-forwarded-proto: http\r\n") && !out.contains("https"),
        "{out}"
    );
    assert!(
        out.contains("x-forwarded-host: h\r\n") && !out.contains("evil"),
        "{out}"
    );
    assert!(out.contains("Content-Length: 0\r\n"), "{out}");
}

#[test]
fn nobody_but_the_gateway_says_anything_in_the_field_it_proves_itself_in() {
    let out = forwarded(
        "GET / HTTP/1.1\r\nHost: h\r\nX-Token: 1\r\nx_token: 2\r\nX-Token-Kind: 3\r\n\r\n",
    );
    assert!(out.contains("X-Token-Kind: 3\r\n"), "{out}");
    assert_eq!(out.to_lowercase().matches("token").count(), 1, "{out}");
    let mut trailers = HeaderMap::new();
    for name in ["x-token", "x_token", "x-sum"] {
        trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    without_login_field(&mut trailers, &HeaderName::from_static("x_token"));
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
}
