//! Upstreams that speak HTTP/2 and misbehave, and HTTP/2 clients that try to say with frames what
//! HTTP/1 forbids.

use std::{
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderValue, Request, Response};
use portcullis_tests::{
    gateway::{Builder, Gateway, api},
    memory::{peak, resident},
    raw::{self, frame},
    upstream::{
        Talk, Upstream,
        http2::{Handling, Http2Upstream},
    },
    wait::PATIENCE,
    wire::{Message, Wire},
};
use serde_json::json;

/// One worker, so that there is one connection to an upstream.
fn before(url: &str) -> Builder {
    Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "portcullis": {"workers": 1}}))
        .api("api", &api("api", "/api/", url))
}

fn h2c(upstream: &Upstream) -> String {
    format!("h2c://{}", upstream.address())
}

/// Reads frames until HEADERS comes and answers what a peer must answer; the stream's number.
fn stream(talk: &mut Talk) -> Option<u32> {
    loop {
        let head = talk.exactly(9)?;
        let length = usize::from(head[1]) * 256 + usize::from(head[2]);
        talk.exactly(length)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], head[4] & 1) {
            (1, _) => return Some(stream),
            (4, 0) => talk.send(frame::any(4, 1, 0, b"")),
            _ => {}
        }
    }
}

fn begin(talk: &mut Talk) {
    talk.exactly(24).expect("a preface");
    talk.send(frame::settings());
}

/// A 200 without content: `:status 200` of the static table, and the end of the stream.
fn fine(stream: u32) -> Vec<u8> {
    frame::any(1, 0x5, stream, &[0x88])
}

fn goaway(last: u32) -> Vec<u8> {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend(0u32.to_be_bytes());
    frame::any(7, 0, 0, &payload)
}

fn ask(gateway: &Gateway, method: &str) -> Message {
    raw::ask(
        gateway,
        raw::request(
            method,
            "/api/",
            &[],
            if method == "POST" { "body" } else { "" },
        ),
    )
}

#[test]
fn an_http2_upstream_that_closed_or_said_goodbye_while_idle_is_connected_to_again() {
    for last_words in [Vec::new(), goaway(1)] {
        let (told, gone) = mpsc::channel();
        let told = Mutex::new(told);
        let upstream = Upstream::start(move |talk| {
            begin(talk);
            let Some(id) = stream(talk) else { return };
            talk.send(fine(id));
            match last_words.is_empty() {
                true => talk.finish(),
                false => talk.send(&last_words),
            }
            // The gateway has understood once it closes its side.
            talk.stall();
            told.lock()
                .expect("no panics")
                .send(())
                .expect("the test listens");
        });
        let gateway = before(&h2c(&upstream)).start();
        for (number, method) in ["GET", "POST", "GET", "POST"].into_iter().enumerate() {
            assert_eq!(ask(&gateway, method).status(), 200, "{method}");
            assert_eq!(upstream.connections(), number + 1);
            gone.recv_timeout(PATIENCE)
                .expect("the gateway closes its side");
        }
    }
}

#[test]
fn a_stream_that_an_upstream_breaks_off_is_repeated_only_where_that_is_safe() {
    // What the first connection does at its second stream: nothing more at all, or refuse it.
    for refuses in [false, true] {
        for (method, status) in [("GET", 200), ("POST", 500)] {
            let streams = Arc::new(AtomicUsize::new(0));
            let counted = streams.clone();
            let upstream = Upstream::start(move |talk| {
                begin(talk);
                let mut served = 0;
                while let Some(id) = stream(talk) {
                    counted.fetch_add(1, Ordering::AcqRel);
                    served += 1;
                    if talk.number > 0 || served == 1 {
                        talk.send(fine(id));
                    } else if refuses {
                        talk.send(frame::any(3, 0, id, &7u32.to_be_bytes()));
                    } else {
                        return;
                    }
                }
            });
            let gateway = before(&h2c(&upstream)).start();
            assert_eq!(ask(&gateway, "GET").status(), 200);
            assert_eq!(
                ask(&gateway, method).status(),
                status,
                "{method}, refuses: {refuses}"
            );
            let expected = if method == "GET" { 3 } else { 2 };
            assert_eq!(
                streams.load(Ordering::Acquire),
                expected,
                "{method}, refuses: {refuses}"
            );
        }
    }
}

/// Answers with more than anybody takes at once, or with a word for `/small`.
fn large(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) -> Handling {
    Box::pin(async move {
        let small = request.uri().path() == "/small";
        let mut stream = respond.send_response(Response::new(()), false)?;
        if small {
            return stream.send_data("small".into(), true);
        }
        for _ in 0..64 {
            stream.reserve_capacity(1024 * 1024);
            let mut left = 1024 * 1024;
            while left > 0 {
                let Some(capacity) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await
                else {
                    return Ok(());
                };
                let n = capacity?.min(left);
                stream.send_data(Bytes::from(vec![7; n]), false)?;
                left -= n;
            }
        }
        stream.send_data(Bytes::new(), true)
    })
}

#[test]
fn clients_that_read_slowly_do_not_hold_up_others_on_the_same_upstream_connection() {
    let upstream = Http2Upstream::start(large);
    let gateway = before(&format!("h2c://{}", upstream.address())).start();
    let size = resident(&gateway);
    let mut slow = Vec::new();
    for _ in 0..16 {
        let mut wire = raw::plain(&gateway);
        wire.send(raw::get("/api/large", &[]));
        assert_eq!(wire.head().expect("a head").status(), 200);
        slow.push(wire);
    }
    for _ in 0..20 {
        let response = raw::ask(&gateway, raw::get("/api/small", &[]));
        assert_eq!(response.text(), "small");
    }
    assert_eq!(upstream.connections(), 1);
    let grown = peak(&gateway).saturating_sub(size);
    assert!(grown < 64 * 1024 * 1024, "grown by {grown}");
}

/// Sends HEADERS with extra fields, perhaps DATA, on a connection of its own and waits until the
/// stream is over; the frames that came for it.
fn say(gateway: &Gateway, fields: &[(&str, &str)], data: Option<&[u8]>) -> Vec<u8> {
    let mut block = frame::fields("/api/");
    for (name, value) in fields {
        // Literal, not indexed, name as text.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block
                .write_all(text.as_bytes())
                .expect("writing to memory cannot fail");
        }
    }
    let mut wire: Wire = raw::plain(gateway);
    wire.send(frame::opening());
    let flags = if data.is_some() { 0x4 } else { 0x5 };
    wire.send(frame::any(1, flags, 1, &block));
    if let Some(data) = data {
        wire.send(frame::any(0, 1, 1, data));
    }
    let mut kinds = Vec::new();
    loop {
        let Some(head) = wire.exactly(9) else {
            return kinds;
        };
        let length = usize::from(head[1]) * 256 + usize::from(head[2]);
        wire.exactly(length).expect("a whole frame");
        let (kind, flags, stream) = (head[3], head[4], head[8]);
        if stream == 1 || kind == 7 {
            kinds.push(kind);
            // RST_STREAM, GOAWAY, or the end of the stream.
            if kind == 3 || kind == 7 || kind <= 1 && flags & 1 == 1 {
                return kinds;
            }
        }
    }
}

#[test]
fn fields_that_frame_messages_in_http_1_cannot_be_brought_in_over_http2() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    let upstream = Upstream::start(move |talk| {
        while let Some(request) = talk.request() {
            seen.lock().expect("no panics").push(request);
            talk.answer("served");
        }
    });
    let gateway = before(&upstream.url()).start();
    for fields in [
        &[("transfer-encoding", "chunked")][..],
        &[("connection", "close")],
        &[("upgrade", "websocket")],
        &[("keep-alive", "timeout=5")],
        &[("te", "gzip")],
        &[("X-Upper", "case")],
        &[("x-line", "a\r\nX-Smuggled: 1")],
        &[("x-line", "a\nb")],
        &[("x-nul", "a\0b")],
        &[("x smuggled", "a")],
        &[("x-a: 1\r\nx-b", "a")],
        &[("content-length", "+5")],
        &[("content-length", "5"), ("content-length", "6")],
        &[(":path", "/api/other")],
        &[("x", "y"), (":scheme", "https")],
    ] {
        let kinds = say(&gateway, fields, None);
        assert!(
            kinds.contains(&3) || kinds.contains(&7),
            "{fields:?} was answered: {kinds:?}"
        );
    }
    let seen = requests.lock().expect("no panics").clone();
    assert!(seen.is_empty(), "{seen:?}");
    // The same way of asking with nothing wrong is served.
    assert_eq!(say(&gateway, &[("x-fine", "yes")], None).last(), Some(&0));
}

#[test]
fn a_body_of_another_length_than_announced_never_completes() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream.url()).start();
    for (length, data) in [("10", &b"short"[..]), ("3", b"too long"), ("5", b"")] {
        let kinds = say(&gateway, &[("content-length", length)], Some(data));
        assert!(
            kinds.contains(&3) || kinds.contains(&7),
            "{length}: {kinds:?}"
        );
    }
    assert_eq!(upstream.requests(), 0, "{:?}", upstream.received());
}

#[tokio::test]
async fn an_upstream_of_http_1_sees_one_host_whatever_the_client_sends() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream.url()).start();
    let mut client = raw::http2(&gateway).await;
    let mut request = Request::get("http://gateway.test/api/")
        .body(())
        .expect("a request");
    request
        .headers_mut()
        .insert("host", HeaderValue::from_static("gateway.test"));
    request
        .headers_mut()
        .append("cookie", HeaderValue::from_static("a=1"));
    request
        .headers_mut()
        .append("cookie", HeaderValue::from_static("b=2"));
    let (response, _) = client.send_request(request, true).expect("sent");
    assert_eq!(response.await.expect("a response").status(), 200);
    let received = upstream.received().concat();
    assert_eq!(
        received.to_lowercase().matches("\r\nhost:").count(),
        1,
        "{received}"
    );
    // RFC 9113, section 8.2.3: split cookies are joined again for HTTP/1.
    assert!(received.contains("cookie: a=1; b=2\r\n"), "{received}");
}
