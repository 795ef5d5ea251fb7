//! A gateway that is told to stop: it says so, lets what is under way finish, and goes.

use std::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use portcullis_tests::{
    gateway::{Builder, Gateway, Signal, api},
    raw,
    upstream::{Upstream, http2},
    wait::eventually,
    wire::Wire,
};
use serde_json::json;

/// An upstream that answers `/slow` when it is told to, and everything else at once; and the means
/// to tell it, and to hear that a slow request has come.
fn held() -> (Upstream, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let ((go, wait), (told, begun)) = (mpsc::channel::<()>(), mpsc::channel());
    let (wait, told) = (Mutex::new(wait), Mutex::new(told));
    let upstream = Upstream::start(move |talk| {
        while let Some(request) = talk.request() {
            if request.target() == "/slow" {
                told.lock()
                    .expect("no panics")
                    .send(())
                    .expect("the test listens");
                if wait.lock().expect("no panics").recv().is_err() {
                    return;
                }
            }
            talk.answer("served");
        }
    });
    (upstream, go, begun)
}

fn before(upstream: &Upstream) -> Builder {
    Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "graceful_shutdown_timeout_duration": 20}))
        .api("api", &api("api", "/api/", &upstream.url()))
}

/// A connection whose request waits at the upstream.
fn under_way(gateway: &Gateway, begun: &mpsc::Receiver<()>) -> Wire {
    let mut wire = raw::plain(gateway);
    wire.send(raw::get("/api/slow", &[]));
    begun
        .recv_timeout(Duration::from_secs(20))
        .expect("the request reaches the upstream");
    wire
}

#[test]
fn a_request_under_way_is_finished_and_everything_else_is_let_go() {
    let (upstream, go, begun) = held();
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = before(&upstream).start();
        let mut idle = raw::plain(&gateway);
        idle.send(raw::get("/api/", &[]));
        assert_eq!(
            idle.message().expect("a response").field("connection"),
            None
        );
        let mut busy = under_way(&gateway, &begun);
        let began = Instant::now();
        gateway.signal(signal);
        assert!(idle.is_closed(), "an idle connection is closed at once");
        eventually("nobody is let in", || {
            TcpStream::connect(gateway.address()).is_err()
        });
        assert!(gateway.is_running());
        go.send(()).expect("the upstream waits");
        let response = busy.message().expect("a response");
        assert_eq!(
            (response.status(), response.text().as_str()),
            (200, "served")
        );
        assert!(busy.is_closed());
        let status = gateway.wait_exit();
        assert_eq!(status.code(), Some(0));
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it went when it was done"
        );
        // Nothing of the access log is lost.
        gateway.output().wait("\"path\":\"/api/slow\"");
    }
}

#[test]
fn a_response_that_begins_after_the_signal_says_that_the_connection_closes() {
    let (upstream, go, begun) = held();
    let mut gateway = before(&upstream)
        .config(json!({"graceful_shutdown_delay_seconds": 1}))
        .start();
    let mut busy = under_way(&gateway, &begun);
    gateway.signal(Signal::TERM);
    // Still open to everybody, as load balancers need time to notice.
    assert_eq!(raw::ask(&gateway, raw::get("/api/", &[])).status(), 200);
    eventually("the delay is over", || {
        TcpStream::connect(gateway.address()).is_err()
    });
    go.send(()).expect("the upstream waits");
    let response = busy.message().expect("a response");
    assert_eq!(
        (response.status(), response.field("connection")),
        (200, Some("close"))
    );
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

/// ST-77 during the delay before a stop.
#[test]
fn readiness_ends_first_and_traffic_goes_on_through_the_delay() {
    let (upstream, ..) = held();
    let mut gateway = before(&upstream)
        .config(json!({"graceful_shutdown_delay_seconds": 1}))
        .start();
    let mut watcher = raw::plain(&gateway);
    let mut ready = |path: &str| {
        watcher.send(raw::get(path, &[]));
        watcher.message().expect("a response")
    };
    assert_eq!(ready("/ready").status(), 200);
    let begun = Instant::now();
    gateway.signal(Signal::TERM);
    gateway.wait_log("stopping");
    let response = ready("/ready");
    assert_eq!(response.status(), 503);
    assert_eq!(
        response.text(),
        "{\"status\":\"error\",\"message\":\"Gateway is shutting down\"}\n"
    );
    assert_eq!(ready("/readyz").status(), 503);
    assert_eq!(ready("/hello").status(), 200);
    assert_eq!(raw::ask(&gateway, raw::get("/api/", &[])).status(), 200);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_http2_client_is_told_to_go_and_its_streams_finish() {
    let (upstream, go, begun) = held();
    let mut gateway = before(&upstream).start();
    let mut client = raw::http2(&gateway).await;
    let get = |path: &str| {
        http::Request::get(format!("http://h{path}"))
            .body(())
            .expect("a request")
    };
    let (response, _) = client.send_request(get("/api/slow"), true).expect("sent");
    let waiting = tokio::spawn(response);
    // Letting the connection's task run until the request has been sent.
    while begun.try_recv().is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.signal(Signal::TERM);
    let refused = loop {
        // Requests are taken until GOAWAY has come; then the client itself refuses them.
        match client.clone().ready().await {
            Err(error) => break error,
            Ok(mut place) => match place.send_request(get("/api/"), true) {
                Err(error) => break error,
                Ok((response, _)) => match response.await {
                    Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    Err(error) => break error,
                },
            },
        }
    };
    assert!(refused.is_go_away(), "{refused}");
    assert_eq!(refused.reason(), Some(h2::Reason::NO_ERROR));
    go.send(()).expect("the upstream waits");
    let response = waiting.await.expect("no panic").expect("a response");
    let (body, _) = http2::read(response.into_body()).await.expect("a body");
    assert_eq!(&body[..], b"served");
    drop(client);
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn a_request_that_does_not_finish_is_cut_at_the_deadline() {
    let (upstream, _go, begun) = held();
    let mut gateway = before(&upstream)
        .config(json!({"graceful_shutdown_timeout_duration": 1}))
        .start();
    let mut stuck = under_way(&gateway, &begun);
    let signalled = Instant::now();
    gateway.signal(Signal::TERM);
    assert!(stuck.is_closed());
    assert_eq!(gateway.wait_exit().code(), Some(0));
    let took = signalled.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(10),
        "{took:?}"
    );
    gateway.wait_log("deadline for stopping has passed");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (upstream, _go, begun) = held();
    let mut gateway = before(&upstream).start();
    let mut stuck = under_way(&gateway, &begun);
    gateway.signal(Signal::TERM);
    gateway.wait_log("a second signal ends at once");
    let signalled = Instant::now();
    gateway.signal(Signal::TERM);
    gateway.wait_exit();
    assert!(signalled.elapsed() < Duration::from_secs(5));
    assert!(stuck.is_closed());
}

#[test]
fn an_open_websocket_ends_with_the_deadline_and_not_before() {
    let upstream = Upstream::start(|talk| {
        talk.head().expect("a head");
        talk.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        while let Some(bytes) = talk.exactly(1) {
            talk.send(bytes);
        }
    });
    let mut gateway = before(&upstream)
        .config(json!({
            "http_server_options": {"enable_websockets": true},
            "graceful_shutdown_timeout_duration": 2,
        }))
        .start();
    let mut wire = raw::plain(&gateway);
    wire.send(raw::get(
        "/api/",
        &["Connection: Upgrade", "Upgrade: websocket"],
    ));
    assert_eq!(wire.head().expect("a head").status(), 101);
    gateway.signal(Signal::TERM);
    eventually("nobody is let in", || {
        TcpStream::connect(gateway.address()).is_err()
    });
    wire.send("x");
    assert_eq!(wire.exactly(1).as_deref(), Some(&b"x"[..]));
    assert!(wire.is_closed());
    gateway.wait_exit();
}
