//! Bodies: whole, streamed, both ways at once, and never more of one in memory than a slow reader
//! can take.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use portcullis_tests::{
    gateway::{Builder, Gateway, api},
    memory::{peak, resident},
    raw,
    upstream::{Upstream, nginx::Nginx},
    wait::{eventually, within},
};
use serde_json::json;

const MIB: usize = 1024 * 1024;

/// More than all socket buffers between two programs on one machine can hold.
const MUCH: usize = 64 * MIB;

/// What may be on its way in those buffers.
const ON_THE_WAY: u64 = 32 * MIB as u64;

/// How much a gateway may grow that keeps to its bounds.
const GROWTH: u64 = 12 * MIB as u64;

/// One request answered by the gateway itself: what its first connection costs once is no growth.
fn warm_up(gateway: &Gateway) {
    gateway.get("/nowhere").expect(404);
}

fn before(url: &str) -> Builder {
    Gateway::builder().api("api", &api("api", "/api/", url))
}

/// Bytes that repeat seldom, so that a shifted or doubled block is seen.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// Waits until a count stops growing, which is what a full pipe does; where it stopped.
fn settled(count: &AtomicU64) -> u64 {
    let mut last = u64::MAX;
    let mut same = 0;
    eventually("the sender stops", || {
        let now = count.load(Ordering::Acquire);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        same >= 30
    });
    last
}

#[test]
fn ten_mebibytes_arrive_whole_in_both_directions_with_either_framing() {
    let upstream = Upstream::start(|talk| {
        while let Some(request) = talk.request() {
            let body = request.body;
            match request.start.contains("/chunked") {
                true => {
                    talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    for piece in body.chunks(70_000) {
                        talk.send(format!("{:x}\r\n", piece.len()));
                        talk.send(piece);
                        talk.send("\r\n");
                    }
                    talk.send("0\r\n\r\n");
                }
                false => {
                    talk.send(format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    ));
                    talk.send(body);
                }
            }
        }
    });
    let gateway = before(&upstream.url())
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .start();
    let content = pattern(10 * MIB);
    gateway.write("upload", "");
    std::fs::write(gateway.path("upload"), &content).expect("a file");
    let file = format!("@{}", gateway.path("upload").display());
    for (path, fields) in [
        ("length", "X-None: 1"),
        ("chunked", "Transfer-Encoding: chunked"),
    ] {
        for version in ["--http1.1", "--http2"] {
            let fields = if version == "--http2" {
                "X-None: 1"
            } else {
                fields
            };
            let arguments = [
                version,
                "--data-binary",
                &file,
                "-H",
                fields,
                "-H",
                "Expect:",
            ];
            let response = gateway
                .curl()
                .arguments(&arguments)
                .send(&gateway.url(&format!("/api/{path}")))
                .expect(200);
            assert!(
                response.body == content,
                "{version} {path}: {} bytes came back",
                response.body.len()
            );
        }
    }
    assert_eq!(upstream.requests(), 4);
}

#[test]
fn files_of_a_real_nginx_arrive_whole() {
    let nginx = Nginx::start(
        "location /zipped/ { alias www/; gzip on; gzip_types text/plain; gzip_min_length 1; gzip_proxied any; }
         location /partial/ { alias www/; }",
    );
    let content = pattern(10 * MIB);
    nginx.file("large.bin", &content);
    nginx.file("text.txt", "a line of text\n".repeat(20_000).as_bytes());
    let gateway = before(&nginx.url())
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .start();
    for version in ["--http1.1", "--http2"] {
        let curl = || gateway.curl().arguments(&[version]);
        let response = curl().send(&gateway.url("/api/large.bin")).expect(200);
        assert!(response.body == content, "{version}");
        let response = curl()
            .arguments(&["--compressed"])
            .send(&gateway.url("/api/zipped/text.txt"))
            .expect(200);
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        assert_eq!(response.text(), "a line of text\n".repeat(20_000));
        let response = curl()
            .header("Range", "bytes=1000-1999")
            .send(&gateway.url("/api/large.bin"))
            .expect(206);
        assert!(response.body == content[1000..2000], "{version}");
        let response = curl()
            .arguments(&["--head"])
            .send(&gateway.url("/api/large.bin"))
            .expect(200);
        assert_eq!(response.header("content-length"), Some("10485760"));
        let tag = response.header("etag").expect("a tag").to_owned();
        curl()
            .header("If-None-Match", &tag)
            .send(&gateway.url("/api/large.bin"))
            .expect(304);
        curl().send(&gateway.url("/api/none.bin")).expect(404);
    }
}

#[test]
fn a_client_that_reads_slowly_slows_the_upstream_instead_of_filling_memory() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let upstream = Upstream::start(move |talk| {
        if talk.request().is_none() {
            return;
        }
        talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n"));
        let piece = vec![7; MIB / 4];
        for _ in 0..MUCH / piece.len() {
            if talk.try_send(&piece).is_err() {
                return;
            }
            counted.fetch_add(piece.len() as u64, Ordering::AcqRel);
        }
        talk.stall();
    });
    let gateway = before(&upstream.url()).tls().start();
    warm_up(&gateway);
    let before = resident(&gateway);
    let mut wire = raw::secure(&gateway);
    wire.send(raw::get("/api/", &[]));
    let on_the_way = settled(&sent);
    assert!(
        on_the_way < ON_THE_WAY,
        "{on_the_way} bytes were taken from the upstream"
    );
    let grown = peak(&gateway).saturating_sub(before);
    assert!(grown < GROWTH, "grown by {grown}");
    let response = wire.message().expect("a response");
    assert!(response.complete && response.body.len() == MUCH);
}

#[test]
fn an_upstream_that_reads_slowly_slows_the_client_instead_of_filling_memory() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::start(move |talk| {
        let head = talk.head().expect("a head");
        let length: usize = head
            .field("content-length")
            .and_then(|length| length.parse().ok())
            .expect("a length");
        // The test says when to read on.
        let _ = wait.lock().expect("one connection").recv();
        let body = talk.exactly(length).expect("the body");
        talk.answer(&body.len().to_string());
        talk.stall();
    });
    let gateway = before(&upstream.url()).start();
    warm_up(&gateway);
    let before = resident(&gateway);
    let mut wire = raw::plain(&gateway);
    wire.send(format!(
        "POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: {MUCH}\r\n\r\n"
    ));
    let socket = wire.socket().try_clone().expect("a second handle");
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let sender = std::thread::spawn(move || {
        let piece = vec![7; MIB / 4];
        for _ in 0..MUCH / piece.len() {
            io::Write::write_all(&mut &socket, &piece).expect("sent");
            counted.fetch_add(piece.len() as u64, Ordering::AcqRel);
        }
    });
    let on_the_way = settled(&sent);
    assert!(
        on_the_way < ON_THE_WAY,
        "{on_the_way} bytes were taken from the client"
    );
    let grown = peak(&gateway).saturating_sub(before);
    assert!(grown < GROWTH, "grown by {grown}");
    go.send(()).expect("the upstream waits");
    sender.join().expect("all of it was sent");
    assert_eq!(wire.message().expect("a response").text(), MUCH.to_string());
}

#[tokio::test]
async fn an_http2_client_without_room_slows_the_upstream() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let upstream = Upstream::start(move |talk| {
        if talk.request().is_none() {
            return;
        }
        talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n"));
        let piece = vec![7; MIB / 4];
        for _ in 0..MUCH / piece.len() {
            if talk.try_send(&piece).is_err() {
                return;
            }
            counted.fetch_add(piece.len() as u64, Ordering::AcqRel);
        }
        talk.stall();
    });
    let gateway = before(&upstream.url()).start();
    warm_up(&gateway);
    let before = resident(&gateway);
    let mut client = raw::http2(&gateway).await;
    let request = http::Request::get("http://h/api/")
        .body(())
        .expect("a request");
    let (response, _) = client.send_request(request, true).expect("sent");
    let mut body = response.await.expect("a response").into_body();
    // Waiting blocks this thread, and with it the client: nothing is read meanwhile.
    let on_the_way = settled(&sent);
    assert!(
        on_the_way < ON_THE_WAY,
        "{on_the_way} bytes were taken from the upstream"
    );
    let grown = peak(&gateway).saturating_sub(before);
    assert!(grown < GROWTH, "grown by {grown}");
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        length += data.len();
        body.flow_control()
            .release_capacity(data.len())
            .expect("room");
    }
    assert_eq!(length, MUCH);
}

#[test]
fn a_response_streams_while_its_request_still_does() {
    let upstream = Upstream::start(|talk| {
        talk.head().expect("a head");
        talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Some(chunk) = talk.chunk() {
            talk.send(format!("{:x}\r\n", chunk.len()));
            talk.send(&chunk);
            talk.send("\r\n");
            if chunk.is_empty() {
                break;
            }
        }
        talk.stall();
    });
    let gateway = before(&upstream.url()).tls().start();
    let mut wire = raw::secure(&gateway);
    wire.send("POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(
        wire.head()
            .expect("a response before the request is over")
            .status(),
        200
    );
    for text in ["one", "two", "three"] {
        wire.send(format!("{:x}\r\n{text}\r\n", text.len()));
        let mut echoed = Vec::new();
        while echoed.len() < text.len() {
            echoed.extend(wire.chunk().expect("a chunk"));
        }
        assert_eq!(echoed, text.as_bytes());
    }
    wire.send("0\r\n\r\n");
    assert_eq!(wire.chunk().expect("the end"), b"");
}

#[tokio::test]
async fn an_http2_response_streams_while_its_request_still_does() {
    let upstream = Upstream::start(|talk| {
        talk.head().expect("a head");
        talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Some(chunk) = talk.chunk() {
            talk.send(format!("{:x}\r\n", chunk.len()));
            talk.send(&chunk);
            talk.send("\r\n");
            if chunk.is_empty() {
                break;
            }
        }
        talk.stall();
    });
    let gateway = before(&upstream.url())
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .start();
    let mut client = raw::http2(&gateway).await;
    let request = http::Request::post("https://localhost/api/")
        .body(())
        .expect("a request");
    let (response, mut stream) = client.send_request(request, false).expect("sent");
    let mut body = response
        .await
        .expect("a response before the request is over")
        .into_body();
    for text in ["one", "two", "three"] {
        stream.send_data(text.into(), false).expect("sent");
        let mut echoed = Vec::new();
        while echoed.len() < text.len() {
            echoed.extend_from_slice(&body.data().await.expect("more").expect("data"));
        }
        assert_eq!(echoed, text.as_bytes());
    }
    stream.send_data(bytes::Bytes::new(), true).expect("sent");
    // The end may come as a frame of its own.
    while let Some(data) = body.data().await {
        assert!(data.expect("data").is_empty());
    }
}

#[test]
fn server_sent_events_leave_the_moment_they_arrive() {
    for framing in ["Transfer-Encoding: chunked", "X-Until: the-end"] {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let upstream = Upstream::start(move |talk| {
            talk.request().expect("a request");
            talk.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n"
            ));
            let wait = wait.lock().expect("one connection");
            for number in 0..5 {
                let event = format!("data: {number}\n\n");
                match framing.starts_with("Transfer") {
                    true => talk.send(format!("{:x}\r\n{event}\r\n", event.len())),
                    false => talk.send(event),
                }
                // The next one is not sent before this one has been seen.
                if wait.recv().is_err() {
                    return;
                }
            }
        });
        let gateway = before(&upstream.url()).tls().start();
        let mut wire = raw::secure(&gateway);
        wire.send(raw::get("/api/events", &[]));
        assert_eq!(
            wire.head().expect("a head").field("content-type"),
            Some("text/event-stream")
        );
        for number in 0..5 {
            assert_eq!(
                wire.chunk().expect("an event"),
                format!("data: {number}\n\n").as_bytes(),
                "{framing}"
            );
            go.send(()).expect("the upstream waits");
        }
    }
}

#[test]
fn trailers_pass_between_http_1_peers() {
    let upstream = Upstream::start(|talk| {
        while let Some(request) = talk.request() {
            let sum = request.trailer("x-sum").unwrap_or("none").to_owned();
            talk.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Back: {sum}\r\nHost: evil\r\n\r\n"
            ));
        }
    });
    let gateway = before(&upstream.url()).start();
    let mut wire = raw::plain(&gateway);
    for _ in 0..2 {
        wire.send(
            "POST /api/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\nX-Sum: 42\r\nContent-Length: 9\r\n\r\n",
        );
        let response = wire.message().expect("a response");
        assert_eq!(
            (response.text().as_str(), response.trailer("x-back")),
            ("hi", Some("42"))
        );
        assert_eq!(response.trailer("host"), None);
    }
    assert!(
        !upstream.received()[0].contains("Content-Length: 9"),
        "a trailer may not frame"
    );
}

#[test]
fn a_body_that_the_upstream_breaks_off_never_looks_complete() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly some",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly some\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly some\r\nzz\r\n",
    ] {
        let upstream = Upstream::start(move |talk| {
            if talk.request().is_some() {
                talk.send(response);
            }
        });
        let gateway = before(&upstream.url())
            .tls()
            .config(json!({"http_server_options": {"enable_http2": true}, "access_logs": {"enabled": true}}))
            .start();
        let mut wire = raw::secure(&gateway);
        wire.send(raw::get("/api/", &[]));
        let broken = wire.message().expect("a head");
        assert!(!broken.complete, "{response:?} became {broken:?}");
        assert_eq!(broken.text(), "only some");
        let line = gateway.output().wait("\"path\":\"/api/\"");
        assert!(line.contains("\"response_flag\":\"U"), "{line}");
        let curl = gateway
            .curl()
            .arguments(&["--http2"])
            .send(&gateway.url("/api/"));
        assert_ne!(curl.exit, 0, "{curl:?}");
    }
}

#[test]
fn a_client_that_leaves_cancels_the_request_at_the_upstream() {
    let (told, gone) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Upstream::start(move |talk| {
        talk.request().expect("a request");
        let told = told.lock().expect("one at a time");
        told.send("began").expect("the test listens");
        // Ends when the gateway closes the connection, which only the client's leaving causes.
        talk.stall();
        told.send("cancelled").expect("the test listens");
    });
    let gateway = before(&upstream.url())
        .config(json!({"access_logs": {"enabled": true}}))
        .start();
    let wait = || {
        gone.recv_timeout(Duration::from_secs(20))
            .expect("news from the upstream")
    };
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get("/api/left", &[]));
    assert_eq!(wait(), "began");
    drop(wire);
    assert_eq!(wait(), "cancelled");
    let line = gateway.output().wait("\"path\":\"/api/left\"");
    assert!(
        line.contains("\"response_flag\":\"CDC\"") && line.contains("\"status\":499"),
        "{line}"
    );
    assert!(
        line.contains("\"response_code_details\":\"client_disconnected\""),
        "{line}"
    );
}

#[test]
fn a_download_the_client_breaks_off_ends_at_the_upstream_too() {
    let stopped = Arc::new(AtomicU64::new(0));
    let noted = stopped.clone();
    let upstream = Upstream::start(move |talk| {
        talk.request().expect("a request");
        talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while talk.try_send("5\r\nhello\r\n").is_ok() {}
        noted.fetch_add(1, Ordering::AcqRel);
    });
    let gateway = before(&upstream.url()).start();
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get("/api/", &[]));
    assert_eq!(wire.head().expect("a head").status(), 200);
    drop(wire);
    assert!(
        within(Duration::from_secs(20), || stopped.load(Ordering::Acquire)
            == 1),
        "the upstream still sends"
    );
}
