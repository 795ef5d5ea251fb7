//! HTTP/2 on either side, gRPC through both, and clients that abuse it.

use std::{
    collections::HashSet,
    process::Command,
    sync::{Mutex, mpsc},
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use portcullis_tests::{
    certs,
    gateway::{Builder, Gateway, api},
    memory::{peak, resident},
    raw::{self, frame},
    upstream::{
        Upstream, acceptor,
        http2::{self, Http2Upstream},
        nginx::Nginx,
        ok,
    },
    wait::eventually,
    wire::Wire,
};
use serde_json::json;

/// How much a gateway may grow that keeps to its bounds.
const GROWTH: u64 = 16 * 1024 * 1024;

fn before(url: &str) -> Builder {
    Gateway::builder()
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}, "access_logs": {"enabled": true}}))
        .api("api", &api("api", "/api/", url))
}

fn h2c(upstream: &Http2Upstream) -> String {
    format!("h2c://{}", upstream.address())
}

/// Sends a request with a body and trailers; status, fields, body and trailers of its response.
async fn exchange(
    client: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: &[u8],
    trailers: Option<HeaderMap>,
) -> Result<(http::response::Parts, Bytes, Option<HeaderMap>), h2::Error> {
    let (response, mut stream) = client.send_request(request, false)?;
    stream.send_data(Bytes::copy_from_slice(body), trailers.is_none())?;
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers)?;
    }
    let (parts, body) = response.await?.into_parts();
    let (body, trailers) = http2::read(body).await?;
    Ok((parts, body, trailers))
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("https://localhost{path}"))
        .body(())
        .expect("a request")
}

fn one_trailer(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static(name),
        HeaderValue::from_static(value),
    )])
}

#[tokio::test]
async fn a_request_over_http2_reaches_an_http_1_upstream_and_back() {
    let upstream = Upstream::start(|talk| {
        while let Some(request) = talk.request() {
            assert_eq!(request.start, "POST /x?q=1 HTTP/1.1");
            assert_eq!(request.field("x-forwarded-proto"), Some("https"));
            assert_eq!(request.field("x-forwarded-host"), Some("localhost"));
            assert_eq!(request.field("te"), None);
            let text = format!(
                "{} {}",
                request.text(),
                request.trailer("x-sum").unwrap_or("none")
            );
            talk.send(format!(
                "HTTP/1.1 201 Fine\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-Stay: yes\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\nX-Back: 7\r\n\r\n",
                text.len()
            ));
        }
    });
    let gateway = before(&upstream.url()).start();
    let mut client = raw::http2(&gateway).await;
    for _ in 0..3 {
        let mut request = post("/api/x?q=1");
        request
            .headers_mut()
            .insert("te", HeaderValue::from_static("trailers"));
        let trailers = Some(one_trailer("x-sum", "42"));
        let (parts, body, trailers) = exchange(&mut client, request, b"content", trailers)
            .await
            .expect("a response");
        assert_eq!(
            (parts.status, &body[..]),
            (StatusCode::CREATED, &b"content 42"[..])
        );
        assert_eq!(parts.headers["x-stay"], "yes");
        for name in ["connection", "x-hop", "transfer-encoding", "keep-alive"] {
            assert!(!parts.headers.contains_key(name), "{name}");
        }
        assert_eq!(trailers.expect("trailers")["x-back"], "7");
    }
    assert!(
        upstream.connections() <= 2,
        "workers keep their connections"
    );
}

/// OUT-41
#[test]
fn a_request_over_http_1_reaches_an_http2_upstream_in_clear_text_and_back() {
    let upstream = Http2Upstream::start(http2::echo);
    let gateway = before(&h2c(&upstream)).start();
    let mut wire = raw::secure(&gateway);
    wire.send("POST /api/x?q=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n");
    let response = wire.message().expect("a response");
    assert_eq!(
        (response.status(), response.text().as_str()),
        (200, "hello")
    );
    assert_eq!(
        (response.field("x-version"), response.field("x-path")),
        (Some("HTTP/2.0"), Some("/x?q=1"))
    );
    assert_eq!(response.trailer("x-sum"), Some("42"));
    // No body, a HEAD, and a body whose length is known.
    wire.send(raw::get("/api/none", &[]));
    assert_eq!(wire.message().expect("a response").text(), "");
    wire.send(raw::request("HEAD", "/api/head", &[], ""));
    assert_eq!(
        wire.message_to("HEAD").expect("a response").field("x-path"),
        Some("/head")
    );
    wire.send(raw::request("PUT", "/api/put", &[], "known"));
    assert_eq!(wire.message().expect("a response").text(), "known");
    let heads = upstream.requests();
    assert_eq!(heads[0].uri().scheme_str(), Some("http"));
    assert_eq!(heads[3].headers()["content-length"], "5");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_grpc_call_passes_with_its_trailers_to_an_upstream_in_clear_text_and_to_one_behind_tls() {
    let clear = Http2Upstream::start(http2::grpc);
    let secure = Http2Upstream::start_tls(acceptor(certs::localhost()), http2::grpc);
    let builder = before(&h2c(&clear))
        .config(json!({"proxy_enable_http2": true}))
        .api(
            "tls",
            &api(
                "tls",
                "/tls/",
                &format!("https://localhost:{}", secure.address().port()),
            ),
        );
    let roots = builder.path("ca.pem").display().to_string();
    let gateway = builder.environment("SSL_CERT_FILE", &roots).start();
    let mut client = raw::http2(&gateway).await;
    // A message of five bytes of prefix and its content.
    let message = b"\0\0\0\0\x05hello";
    for path in ["/api/echo.Echo/Unary", "/tls/echo.Echo/Unary"] {
        let mut request = post(path);
        request
            .headers_mut()
            .insert("content-type", HeaderValue::from_static("application/grpc"));
        request
            .headers_mut()
            .insert("te", HeaderValue::from_static("trailers"));
        let (parts, body, trailers) = exchange(&mut client, request, message, None)
            .await
            .expect("a response");
        assert_eq!(parts.headers["content-type"], "application/grpc");
        assert_eq!(&body[..], message);
        let trailers = trailers.expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["grpc-message"], "fine");
    }
    // An error is a response without a body; its status is among the fields.
    let (parts, body, _) = exchange(&mut client, post("/api/echo.Echo/Fail"), message, None)
        .await
        .expect("a response");
    assert_eq!(
        (&parts.headers["grpc-status"], body.len()),
        (&HeaderValue::from_static("5"), 0)
    );
    for upstream in [&clear, &secure] {
        let head = &upstream.requests()[0];
        assert_eq!(
            (head.uri().path(), &head.headers()["te"]),
            ("/echo.Echo/Unary", &HeaderValue::from_static("trailers"))
        );
    }
}

#[tokio::test]
async fn streams_do_not_wait_for_each_other() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::start(move |talk| {
        while let Some(request) = talk.request() {
            if request.target() == "/slow" {
                let _ = wait.lock().expect("one slow request").recv();
            }
            talk.answer(request.target());
        }
    });
    let gateway = before(&upstream.url()).start();
    let mut client = raw::http2(&gateway).await;
    let slow = client
        .send_request(post("/api/slow"), true)
        .expect("sent")
        .0;
    let mut fast = Vec::new();
    for number in 0..100 {
        client = client.ready().await.expect("room for a stream");
        fast.push(
            client
                .send_request(post(&format!("/api/{number}")), true)
                .expect("sent")
                .0,
        );
    }
    let mut seen = HashSet::new();
    for response in fast {
        let (body, _) = http2::read(response.await.expect("a response").into_body())
            .await
            .expect("a body");
        seen.insert(body);
    }
    assert_eq!(seen.len(), 100);
    go.send(()).expect("the upstream waits");
    let (body, _) = http2::read(slow.await.expect("a response").into_body())
        .await
        .expect("a body");
    assert_eq!(&body[..], b"/slow");
}

#[tokio::test]
async fn a_stream_the_client_resets_is_cancelled_at_the_upstream() {
    let (told, gone) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Upstream::start(move |talk| {
        talk.request().expect("a request");
        let told = told.lock().expect("one at a time");
        told.send("began").expect("the test listens");
        talk.stall();
        told.send("cancelled").expect("the test listens");
    });
    let gateway = before(&upstream.url()).start();
    let mut client = raw::http2(&gateway).await;
    let (response, mut stream) = client.send_request(post("/api/left"), false).expect("sent");
    stream.send_data(Bytes::new(), true).expect("sent");
    let news = || {
        // The client's connection is driven by this thread: it must not be blocked.
        async {
            loop {
                if let Ok(news) = gone.try_recv() {
                    break news;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    assert_eq!(news().await, "began");
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    assert_eq!(news().await, "cancelled");
    let line = gateway.output().wait("\"path\":\"/api/left\"");
    assert!(line.contains("\"response_flag\":\"CDC\""), "{line}");
}

#[tokio::test]
async fn what_http_1_refuses_is_refused_over_http2_and_other_streams_go_on() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream.url())
        .config(json!({"http_server_options": {"max_request_body_size": 1000}, "portcullis": {"max_header_bytes": 4096}}))
        .start();
    let mut client = raw::http2(&gateway).await;
    let mut two_hosts = post("/api/");
    two_hosts
        .headers_mut()
        .insert("host", HeaderValue::from_static("other.test"));
    let tunnel = Request::connect("elsewhere.test:443")
        .body(())
        .expect("a request");
    for request in [two_hosts, tunnel] {
        let (response, _) = client.send_request(request, true).expect("sent");
        assert_eq!(response.await.expect("a response").status(), 400);
    }
    let (response, _) = client.send_request(post("/nowhere"), true).expect("sent");
    assert_eq!(response.await.expect("a response").status(), 404);
    let large = vec![b'x'; 1001];
    let (response, mut stream) = client.send_request(post("/api/"), false).expect("sent");
    stream.send_data(large.into(), true).expect("sent");
    assert_eq!(response.await.expect("a response").status(), 413);
    let mut many = post("/api/");
    many.headers_mut().insert(
        "x-large",
        HeaderValue::from_str(&"y".repeat(8000)).expect("a value"),
    );
    let (response, _) = client.send_request(many, true).expect("sent");
    match response.await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
    assert_eq!(upstream.requests(), 0);
    let (parts, ..) = exchange(&mut client, post("/api/"), b"fits", None)
        .await
        .expect("a response");
    assert_eq!(parts.status, 200);
}

/// Sends `attack` again and again until the gateway ends the connection.
fn flood(gateway: &Gateway, attack: impl Fn(u32) -> Vec<u8>) {
    let mut wire: Wire = raw::plain(gateway);
    let mut reader = Wire::new(wire.socket().try_clone().expect("a second handle"));
    // What it says is taken from it, so that it has no other reason to stop.
    std::thread::spawn(move || reader.rest());
    wire.send(frame::opening());
    for round in 0..200_000 {
        if wire.try_send(attack(round)).is_err() {
            return;
        }
    }
    panic!("the gateway takes it all");
}

/// The gateway still serves others, at its old size.
fn assert_well(gateway: &Gateway, size: u64) {
    for _ in 0..10 {
        assert_eq!(raw::ask(gateway, raw::get("/api/", &[])).status(), 200);
    }
    let grown = peak(gateway).saturating_sub(size);
    assert!(grown < GROWTH, "grown by {grown}");
}

#[test]
fn a_client_that_opens_and_resets_streams_without_end_is_cut_off() {
    let upstream = Upstream::answering(ok("fine"));
    let gateway = Gateway::builder()
        .api("api", &api("api", "/api/", &upstream.url()))
        .start();
    let size = resident(&gateway);
    flood(&gateway, |round| {
        let mut bytes = Vec::new();
        for stream in 0..20 {
            let id = (round * 20 + stream) * 2 + 1;
            bytes.extend(frame::get(id, "/api/"));
            bytes.extend(frame::reset(id));
        }
        bytes
    });
    assert_well(&gateway, size);
}

#[test]
fn a_head_that_continues_without_end_is_cut_off() {
    let upstream = Upstream::answering(ok("fine"));
    let gateway = Gateway::builder()
        .api("api", &api("api", "/api/", &upstream.url()))
        .start();
    let size = resident(&gateway);
    // HEADERS without END_HEADERS, then CONTINUATION for ever: with fields, and with nothing at all.
    for piece in [b"\0\x01a\x01b".repeat(1000), Vec::new()] {
        flood(&gateway, |round| match round {
            0 => frame::any(1, 0x1, 1, &frame::fields("/api/")),
            _ => frame::any(9, 0, 1, &piece),
        });
    }
    assert_well(&gateway, size);
    assert_eq!(upstream.requests(), 10);
}

#[test]
fn settings_and_pings_without_end_do_not_fill_memory() {
    let upstream = Upstream::answering(ok("fine"));
    let gateway = Gateway::builder()
        .api("api", &api("api", "/api/", &upstream.url()))
        .start();
    let size = resident(&gateway);
    for attack in [frame::settings as fn() -> Vec<u8>, frame::ping] {
        let mut wire: Wire = raw::plain(&gateway);
        wire.socket()
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("a deadline");
        wire.send(frame::opening());
        // Each asks for an answer, and none of them is read.
        let burst = attack().repeat(10_000);
        let mut sent = 0;
        while sent < 400 && wire.try_send(&burst).is_ok() {
            sent += 1;
        }
        assert!(sent < 400, "answers to {sent} bursts are waiting somewhere");
        let grown = peak(&gateway).saturating_sub(size);
        assert!(grown < GROWTH, "grown by {grown}");
    }
    assert_well(&gateway, size);
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_rest_are_served() {
    let upstream = Upstream::answering(ok("fine"));
    let gateway = Gateway::builder()
        .config(json!({"portcullis": {"max_concurrent_streams": 10}}))
        .api("api", &api("api", "/api/", &upstream.url()))
        .start();
    let output = h2load(&["-n", "500", "-c", "2", "-m", "10", &gateway.url("/api/")]);
    assert!(
        output.contains("500 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{output}"
    );
}

fn h2load(arguments: &[&str]) -> String {
    let output = Command::new("h2load")
        .args(arguments)
        .output()
        .expect("h2load is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn load_over_http2_and_http_1_on_kept_connections_finishes_without_an_error() {
    let nginx = Nginx::start("");
    nginx.file("small.txt", b"some text");
    let gateway = before(&nginx.url()).start();
    let url = gateway.url("/api/small.txt");
    for version in [&["--npn-list=h2"][..], &["--npn-list=http/1.1"]] {
        let mut arguments = version.to_vec();
        arguments.extend(["-n", "4000", "-c", "16", "-m", "8", &url]);
        let output = h2load(&arguments);
        assert!(
            output.contains("4000 succeeded, 0 failed, 0 errored, 0 timeout"),
            "{output}"
        );
        assert!(
            output.contains("status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx"),
            "{output}"
        );
    }
    eventually("every request is in the access log", || {
        gateway.output().text().lines().count() >= 8000
    });
    assert!(!gateway.output().text().contains("response_flag"));
}
