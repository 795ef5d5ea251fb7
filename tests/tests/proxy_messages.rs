//! What an upstream sees of a request and a client of a response: methods, targets, fields,
//! versions of HTTP, and connections that carry several messages.

use portcullis_tests::{
    gateway::{Gateway, api, merge, with},
    raw,
    upstream::{Upstream, ok, websocket::WebSocketEcho},
    wire::Wire,
};
use serde_json::{Value, json};

/// A gateway in clear text with one API on `/api/`.
fn before(upstream: &Upstream) -> Gateway {
    Gateway::builder()
        .api("api", &api("api", "/api/", &upstream.url()))
        .start()
}

/// The value of a field in what the echo upstream says it saw; empty when it stood there not once.
#[track_caller]
fn seen<'v>(echoed: &'v Value, name: &str) -> &'v str {
    let fields = echoed["fields"].as_array().expect("a list of fields");
    let mut named = fields
        .iter()
        .filter(|field| {
            field[0]
                .as_str()
                .is_some_and(|known| known.eq_ignore_ascii_case(name))
        })
        .filter_map(|field| field[1].as_str());
    let first = named.next().unwrap_or("");
    assert!(named.next().is_none(), "{name} stands twice: {echoed}");
    first
}

#[test]
fn every_method_reaches_the_upstream_with_its_body() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "PROPFIND",
    ] {
        for body in ["", "some content"] {
            wire.send(raw::request(method, "/api/x", &[], body));
            let response = wire.message().expect("a response");
            assert_eq!(response.status(), 200, "{method}");
            let echoed = response.json();
            assert_eq!(
                (&echoed["method"], &echoed["body"]),
                (&method.into(), &body.into())
            );
        }
    }
}

#[test]
fn the_listen_path_is_removed_and_the_targets_path_and_query_are_put_before() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder()
        .api(
            "stripped",
            &api(
                "stripped",
                "/stripped/",
                &format!("{}/base?own=1", upstream.url()),
            ),
        )
        .api(
            "kept",
            &with(
                api("kept", "/kept/", &upstream.url()),
                json!({"proxy": {"strip_listen_path": false}}),
            ),
        )
        .start();
    for (path, target) in [
        ("/stripped/a/b?q=2&q=3", "/base/a/b?own=1&q=2&q=3"),
        ("/stripped/a%2Fb%20c", "/base/a%2Fb%20c?own=1"),
        ("/kept/a/b?q", "/kept/a/b?q"),
        ("/kept/a?x=%2e%2e/?&", "/kept/a?x=%2e%2e/?&"),
    ] {
        assert_eq!(
            raw::ask(&gateway, raw::get(path, &[])).json()["target"],
            target,
            "{path}"
        );
    }
}

#[test]
fn a_path_is_cleaned_before_it_is_routed() {
    let (one, two) = (Upstream::echo(), Upstream::echo());
    let gateway = Gateway::builder()
        .api("one", &api("one", "/one/", &one.url()))
        .api("two", &api("two", "/two/", &two.url()))
        .start();
    for (path, target) in [
        ("/two/a/../b", "/b"),
        ("/two//a///b", "/a/b"),
        ("/one/../two/b", "/b"),
        ("/one/%2e%2e/two/b", "/b"),
        ("/../../two/./b/.", "/b"),
    ] {
        assert_eq!(
            raw::ask(&gateway, raw::get(path, &[])).json()["target"],
            target,
            "{path}"
        );
    }
    for path in ["/two/..%2fone/", "/two/a%00b", "/two/%zz", "/two/..\\one"] {
        assert_eq!(
            raw::ask(&gateway, raw::get(path, &[])).status(),
            400,
            "{path}"
        );
    }
    assert_eq!(one.requests(), 0);
}

#[test]
fn fields_about_one_hop_end_at_the_gateway_in_both_directions() {
    let upstream = Upstream::start(|talk| {
        while let Some(request) = talk.request() {
            let text = json!({"fields": request.fields}).to_string();
            talk.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: X-Internal\r\nX-Internal: secret\r\n\
                 Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nTrailer: x\r\nUpgrade: h2c\r\n\
                 X-Stay: yes\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n{text}",
                text.len()
            ));
        }
    });
    let gateway = before(&upstream);
    let response = raw::ask(
        &gateway,
        raw::get(
            "/api/",
            &[
                "Connection: keep-alive, X-Hop",
                "X-Hop: secret",
                "Keep-Alive: timeout=9",
                "Proxy-Connection: keep-alive",
                "Proxy-Authorization: Basic Zm9v",
                "TE: trailers, gzip",
                "Upgrade: h2c",
                "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
                "X-Stay: yes",
            ],
        ),
    );
    let echoed = response.json();
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "http2-settings",
        "te",
    ] {
        assert_eq!(seen(&echoed, name), "", "{name}: {echoed}");
    }
    assert_eq!(seen(&echoed, "x-stay"), "yes");
    for name in [
        "x-internal",
        "keep-alive",
        "proxy-authenticate",
        "trailer",
        "upgrade",
        "connection",
    ] {
        assert_eq!(response.field(name), None, "{name}");
    }
    assert_eq!(response.field("x-stay"), Some("yes"));
    let cookies: Vec<_> = response
        .fields
        .iter()
        .filter(|field| field.0 == "Set-Cookie")
        .collect();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
}

#[test]
fn the_upstream_learns_who_the_client_is_and_nobody_can_claim_otherwise() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder()
        .tls()
        .api("api", &api("api", "/api/", &upstream.url()))
        .start();
    let response = gateway
        .curl()
        .header("X-Forwarded-For", "192.0.2.1")
        .header("X-Forwarded-For", "192.0.2.2")
        .header("X-Forwarded-Proto", "gopher")
        .header("X-Forwarded-Host", "elsewhere.test")
        .send(&gateway.url("/api/"))
        .expect(200)
        .json();
    assert_eq!(
        seen(&response, "x-forwarded-for"),
        "192.0.2.1, 192.0.2.2, 127.0.0.1"
    );
    assert_eq!(seen(&response, "x-forwarded-proto"), "https");
    assert_eq!(
        seen(&response, "x-forwarded-host"),
        format!("127.0.0.1:{}", gateway.port())
    );
    assert_eq!(seen(&response, "host"), upstream.address().to_string());

    let clear = before(&upstream);
    let response = raw::ask(&clear, raw::get("/api/", &[])).json();
    assert_eq!(seen(&response, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen(&response, "x-forwarded-proto"), "http");
    assert_eq!(seen(&response, "x-forwarded-host"), "gateway.test");
}

#[test]
fn the_clients_host_goes_on_where_the_api_preserves_it() {
    let upstream = Upstream::echo();
    let mut definition = api("api", "/api/", &upstream.url());
    merge(
        &mut definition,
        json!({"proxy": {"preserve_host_header": true}}),
    );
    let gateway = Gateway::builder().api("api", &definition).start();
    let echoed = raw::ask(&gateway, raw::get("/api/", &[])).json();
    assert_eq!(seen(&echoed, "host"), "gateway.test");
}

#[test]
fn the_absolute_form_of_a_target_names_the_host() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let echoed = raw::ask(
        &gateway,
        "GET http://absolute.test/api/x?q HTTP/1.1\r\nHost: ignored.test\r\n\r\n",
    )
    .json();
    assert_eq!(echoed["target"], "/x?q");
    assert_eq!(seen(&echoed, "x-forwarded-host"), "absolute.test");
}

#[test]
fn targets_take_turns_as_often_as_they_are_listed() {
    let (one, two) = (
        Upstream::answering(ok("one")),
        Upstream::answering(ok("two")),
    );
    let mut definition = api("api", "/api/", "");
    merge(
        &mut definition,
        json!({"proxy": {"enable_load_balancing": true, "target_list": [one.url(), one.url(), two.url()]}}),
    );
    let config = json!({"portcullis": {"workers": 1}});
    let gateway = Gateway::builder()
        .config(config)
        .api("api", &definition)
        .start();
    let mut wire = raw::plain(&gateway);
    for _ in 0..30 {
        wire.send(raw::get("/api/", &[]));
        assert_eq!(wire.message().expect("a response").status(), 200);
    }
    assert_eq!((one.requests(), two.requests()), (20, 10));
}

#[test]
fn responses_without_a_body_leave_the_connection_in_order() {
    let upstream = Upstream::start(|talk| {
        while let Some(request) = talk.request() {
            match request.target() {
                "/none" => talk.send("HTTP/1.1 204 No Content\r\nX-Is: none\r\n\r\n"),
                "/same" => {
                    talk.send(
                        "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n",
                    );
                }
                "/chunked" if request.start.starts_with("HEAD") => {
                    talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                }
                _ if request.start.starts_with("HEAD") => {
                    talk.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
                }
                _ => talk.answer("whole"),
            }
        }
    });
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    for (method, path, status) in [
        ("HEAD", "/api/", 200),
        ("GET", "/api/none", 204),
        ("HEAD", "/api/chunked", 200),
        ("GET", "/api/same", 304),
        ("GET", "/api/", 200),
    ] {
        wire.send(raw::request(method, path, &[], ""));
        let response = wire.message_to(method).expect("a response");
        assert_eq!(response.status(), status, "{method} {path}");
        if method == "HEAD" && path == "/api/" {
            assert_eq!(
                response.field("content-length"),
                Some("5"),
                "HEAD tells the length of GET"
            );
        }
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    let mut requests = String::new();
    for number in 0..50 {
        requests += &raw::get(&format!("/api/{number}"), &[]);
        requests += &raw::request("POST", &format!("/api/{number}/post"), &[], "body");
    }
    wire.send(requests);
    for number in 0..50 {
        assert_eq!(
            wire.message().expect("a response").json()["target"],
            format!("/{number}")
        );
        assert_eq!(
            wire.message().expect("a response").json()["target"],
            format!("/{number}/post")
        );
    }
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    for byte in raw::request("POST", "/api/slow", &[], "body").bytes() {
        wire.send([byte]);
    }
    assert_eq!(wire.message().expect("a response").json()["body"], "body");
}

#[test]
fn a_client_of_http_1_0_gets_a_body_it_can_read() {
    let upstream = Upstream::start(|talk| {
        while let Some(request) = talk.request() {
            match request.target() {
                "/chunked" => {
                    talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
                }
                _ => talk.answer("whole"),
            }
        }
    });
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    wire.send("GET /api/chunked HTTP/1.0\r\n\r\n");
    let response = wire.message().expect("a response");
    assert_eq!(
        (
            response.field("transfer-encoding"),
            response.text().as_str()
        ),
        (None, "hello")
    );
    assert_eq!(response.field("connection"), Some("close"));
    assert!(wire.is_closed());

    // One that asks for it keeps its connection when the length is known.
    let mut wire = raw::plain(&gateway);
    for _ in 0..2 {
        wire.send("GET /api/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = wire.message().expect("a response");
        assert_eq!(
            (response.field("connection"), response.text().as_str()),
            (Some("keep-alive"), "whole")
        );
    }
    wire.send("GET /api/ HTTP/1.0\r\n\r\n");
    assert_eq!(wire.message().expect("a response").text(), "whole");
    assert!(wire.is_closed());
    let request = &upstream.received()[0];
    assert!(
        request.starts_with("GET /chunked HTTP/1.1\r\n"),
        "{request}"
    );
}

#[test]
fn a_client_that_says_close_is_answered_and_let_go() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get("/api/", &["Connection: close"]));
    let response = wire.message().expect("a response");
    assert_eq!(
        (response.status(), response.field("connection")),
        (200, Some("close"))
    );
    assert!(wire.is_closed());
    // That was about the client's connection: the upstream's is kept.
    assert_eq!(raw::ask(&gateway, raw::get("/api/", &[])).status(), 200);
    assert_eq!(seen(&response.json(), "connection"), "");
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    wire.send(
        "POST /api/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_eq!(wire.head().expect("an interim response").status(), 100);
    wire.send("body");
    let echoed = wire.message().expect("a response").json();
    assert_eq!(
        (seen(&echoed, "expect"), &echoed["body"]),
        ("", &"body".into())
    );

    // One that does not wait is not made to.
    wire.send(
        "POST /api/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
    );
    let response = wire.message().expect("a response");
    let response = if response.status() == 100 {
        wire.message().expect("another")
    } else {
        response
    };
    assert_eq!(response.json()["body"], "body");
}

#[test]
fn an_answer_given_at_once_needs_no_body_that_was_only_announced() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    wire.send(
        "POST /nowhere HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    let response = wire.message().expect("a response");
    assert_eq!(
        (response.status(), response.field("connection")),
        (404, Some("close"))
    );
}

#[test]
fn interim_responses_of_the_upstream_do_not_confuse_the_exchange() {
    let upstream = Upstream::start(|talk| {
        while talk.request().is_some() {
            talk.send(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
            );
            talk.answer("final");
        }
    });
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    for _ in 0..2 {
        wire.send(raw::get("/api/", &[]));
        let response =
            std::iter::from_fn(|| wire.message()).find(|response| response.status() >= 200);
        assert_eq!(response.expect("a final response").text(), "final");
    }
}

#[test]
fn trace_context_is_passed_on_and_an_invalid_one_is_not() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream);
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let field = format!("traceparent: {valid}");
    let echoed = raw::ask(&gateway, raw::get("/api/", &[&field, "tracestate: a=1"])).json();
    assert_eq!(
        (seen(&echoed, "traceparent"), seen(&echoed, "tracestate")),
        (valid, "a=1")
    );
    let echoed = raw::ask(&gateway, raw::get("/api/", &["traceparent: 00-zz-00-01"])).json();
    assert_eq!(seen(&echoed, "traceparent"), "");
}

#[tokio::test]
async fn websocket_messages_pass_both_ways_over_tls() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    let upstream = WebSocketEcho::start();
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"http_server_options": {"enable_websockets": true}}))
        .api("ws", &api("ws", "/ws/", &upstream.url()))
        .start();
    let stream = raw::secure_async(&gateway, b"\x08http/1.1").await;
    let (mut socket, response) =
        tokio_tungstenite::client_async("ws://gateway.test/ws/chat", stream)
            .await
            .expect("the switch");
    assert_eq!(response.status(), 101);
    let long = "x".repeat(300_000);
    for text in ["one", "two", &long] {
        socket.send(Message::text(text)).await.expect("sent");
        let back = socket.next().await.expect("a message").expect("a good one");
        assert_eq!(back, Message::text(text));
    }
    // A request on another connection is not disturbed by the one that is no longer HTTP.
    assert_eq!(gateway.get("/nowhere").status, 404);
    socket.close(None).await.expect("closed");
    assert!(matches!(
        socket.next().await,
        Some(Ok(Message::Close(_))) | None
    ));
}

#[test]
fn an_upgrade_is_an_ordinary_request_unless_websockets_are_enabled() {
    let upstream = Upstream::echo();
    let fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
    ];
    let gateway = before(&upstream);
    let echoed = raw::ask(&gateway, raw::get("/api/", &fields)).json();
    assert_eq!(
        (seen(&echoed, "upgrade"), seen(&echoed, "connection")),
        ("", "")
    );

    let config = json!({"http_server_options": {"enable_websockets": true}});
    let gateway = Gateway::builder()
        .config(config)
        .api("api", &api("api", "/api/", &upstream.url()))
        .start();
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get("/api/", &fields));
    let response = wire.message().expect("a response");
    assert_eq!(seen(&response.json(), "upgrade"), "websocket");
    // The upstream answered without switching, so the connection still carries HTTP.
    wire.send(raw::get(
        "/api/",
        &["Connection: Upgrade", "Upgrade: something-else"],
    ));
    assert_eq!(
        seen(&wire.message().expect("a response").json(), "upgrade"),
        ""
    );
}

#[test]
fn bytes_sent_with_a_protocol_switch_reach_the_other_side() {
    let upstream = Upstream::start(|talk| {
        let request = talk.head().expect("a request");
        assert_eq!(request.field("connection"), Some("Upgrade"));
        // The first bytes of the new protocol ride with the response.
        talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        let sent = talk.exactly(4).expect("four bytes");
        talk.send(sent);
    });
    let config = json!({"http_server_options": {"enable_websockets": true}});
    let gateway = Gateway::builder()
        .config(config)
        .api("api", &api("api", "/api/", &upstream.url()))
        .start();
    let mut wire: Wire = raw::plain(&gateway);
    wire.send(raw::get(
        "/api/",
        &["Connection: Upgrade", "Upgrade: websocket"],
    ));
    let response = wire.head().expect("a response");
    assert_eq!(
        (response.status(), response.field("upgrade")),
        (101, Some("websocket"))
    );
    assert_eq!(wire.exactly(5).as_deref(), Some(&b"hello"[..]));
    wire.send("ping");
    assert_eq!(wire.rest(), b"ping");
}

#[test]
fn a_switch_that_nobody_asked_for_is_not_passed_on() {
    let upstream = Upstream::start(|talk| {
        if talk.request().is_some() {
            talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nsmuggled");
            talk.stall();
        }
    });
    let gateway = before(&upstream);
    let mut wire = raw::plain(&gateway);
    for _ in 0..2 {
        wire.send(raw::get("/api/", &[]));
        let response = wire.message().expect("a response");
        assert_eq!(response.status(), 500);
        assert!(
            response
                .text()
                .contains("There was a problem proxying the request")
        );
    }
    assert_eq!(upstream.connections(), 2);
}
