//! Upstreams that fail, and what the client and the access log are told about it.

use std::{
    collections::HashSet,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use portcullis_tests::{
    gateway::{Builder, Gateway, api, merge, with},
    ports::free_port,
    raw,
    upstream::{Talk, Upstream, ok},
    wait::eventually,
    wire::Message,
};
use serde_json::{Value, json};

const GENERIC: &str = "{\n    \"error\": \"There was a problem proxying the request\"\n}";
const TIMEOUT: &str = "{\n    \"error\": \"Upstream service reached hard timeout.\"\n}";

/// A gateway with one API on `/api/`, access log on, one worker, so that there is one pool.
fn before(url: &str) -> Builder {
    Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "portcullis": {"workers": 1}}))
        .api("api", &api("api", "/api/", url))
}

/// Asks for a path that is asked for once, and takes its line from the access log.
fn outcome(gateway: &Gateway, request: &str) -> (Message, Value) {
    let path = request.split(' ').nth(1).expect("a request line");
    let response = raw::ask(gateway, request);
    let line = gateway.output().wait(&format!("\"path\":{path:?}"));
    (
        response,
        serde_json::from_str(&line).expect("a line is JSON"),
    )
}

#[track_caller]
fn assert_failed(gateway: &Gateway, path: &str, status: u16, flag: &str, detail: &str) -> Value {
    let (response, line) = outcome(gateway, &raw::get(path, &[]));
    assert_eq!(response.status(), status, "{line}");
    assert_eq!(
        response.text(),
        if status == 504 { TIMEOUT } else { GENERIC }
    );
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(response.field("x-generator"), Some("portcullis"));
    assert_eq!(
        (&line["response_flag"], &line["response_code_details"]),
        (&flag.into(), &detail.into()),
        "{line}"
    );
    assert_eq!(
        (&line["status"], &line["error_source"]),
        (&status.into(), &"ReverseProxy".into()),
        "{line}"
    );
    line
}

/// OUT-10 nobody listens, in clear text as with TLS.
#[test]
fn an_upstream_where_nobody_listens_is_a_500_flagged_refused() {
    let port = free_port();
    let gateway = before(&format!("http://127.0.0.1:{port}"))
        .api(
            "tls",
            &api("tls", "/tls/", &format!("https://127.0.0.1:{port}")),
        )
        .start();
    let line = assert_failed(&gateway, "/api/a", 500, "UCF", "connection_refused");
    assert_eq!(line["error_target"], format!("127.0.0.1:{port}"));
    assert_failed(&gateway, "/tls/b", 500, "UCF", "connection_refused");
    let error = gateway.wait_log("http: proxy error");
    for part in ["UCF", "connection_refused", "api"] {
        assert!(error.contains(part), "{error}");
    }
}

/// OUT-11 a name without an address.
#[test]
fn a_name_that_does_not_resolve_is_told_to_the_client_as_such() {
    let gateway = before("http://no-such-host.invalid").start();
    let (response, line) = outcome(&gateway, &raw::get("/api/", &[]));
    assert_eq!(response.status(), 500);
    assert_eq!(
        response.text(),
        "{\n    \"error\": \"Upstream host lookup failed\"\n}"
    );
    assert_eq!(line["response_flag"], "DNS", "{line}");
}

/// OUT-13, OUT-14, and OUT-12 in clear text: an API's own deadlines, then the gateway's.
#[test]
fn an_upstream_that_keeps_silent_is_a_504_after_the_shortest_deadline_that_applies() {
    let upstream = Upstream::start(Talk::stall);
    let url = upstream.url();
    let version = |more| json!({"version_data": {"versions": {"Default": more}}});
    let gateway = before(&url)
        .config(json!({"proxy_default_timeout": 2.5}))
        .api(
            "whole",
            &with(api("whole", "/whole/", &url), version(json!({"global_enforce_timeout": "200ms"}))),
        )
        .api(
            "endpoint",
            &with(
                api("endpoint", "/endpoint/", &url),
                version(json!({
                    "use_extended_paths": true,
                    "extended_paths": {"hard_timeouts": [{"path": "/slow", "method": "GET", "timeout": 1}]},
                })),
            ),
        )
        .start();
    let took = |path: &str| {
        let begun = Instant::now();
        assert_failed(&gateway, path, 504, "URT", "context_deadline_exceeded");
        begun.elapsed()
    };
    let (whole, endpoint, default) = (took("/whole/a"), took("/endpoint/slow"), took("/api/a"));
    assert!(
        whole >= Duration::from_millis(200) && whole < Duration::from_millis(2500),
        "{whole:?}"
    );
    assert!(
        endpoint >= Duration::from_millis(1000) && endpoint < Duration::from_millis(2500),
        "{endpoint:?}"
    );
    assert!(
        default >= Duration::from_millis(2500) && default < Duration::from_millis(10_000),
        "{default:?}"
    );
}

#[test]
fn a_deadline_for_the_whole_exchange_cuts_a_body_that_does_not_end() {
    let upstream = Upstream::start(|talk| {
        talk.request();
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        talk.stall();
    });
    let definition = with(
        api("api", "/api/", &upstream.url()),
        json!({"version_data": {"versions": {"Default": {"global_enforce_timeout": "300ms"}}}}),
    );
    let gateway = before(&upstream.url()).api("api", &definition).start();
    let (response, line) = outcome(&gateway, &raw::get("/api/", &[]));
    assert!(!response.complete, "{response:?}");
    assert_eq!(line["response_flag"], "URT", "{line}");
}

#[test]
fn connecting_takes_no_longer_than_the_default_timeout_and_is_a_500() {
    // A listener that accepts nobody, its queue full: the next SYN is not answered.
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    rustix::net::listen(&listener, 0).expect("a shorter queue");
    let address = listener.local_addr().expect("bound");
    let mut waiting = Vec::new();
    while let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(socket);
        assert!(waiting.len() < 50, "the queue does not fill");
    }
    let gateway = before(&format!("http://{address}"))
        .config(json!({"proxy_default_timeout": 0.3}))
        .start();
    assert_failed(&gateway, "/api/", 500, "URT", "request_timeout");
}

#[test]
fn an_upstream_that_closes_without_a_word_is_flagged_reset() {
    let upstream = Upstream::start(|talk| {
        talk.request();
    });
    let gateway = before(&upstream.url()).start();
    assert_failed(&gateway, "/api/", 500, "URR", "connection_reset");
    assert_eq!(
        upstream.requests(),
        1,
        "a new connection is not tried twice"
    );
}

#[test]
fn a_response_that_nobody_can_read_for_sure_is_a_500_and_its_connection_is_not_used_again() {
    let responses = [
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
        "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhi",
        "HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
    ];
    let upstream = Upstream::start(move |talk| {
        let Some(request) = talk.request() else {
            return;
        };
        let number: usize = request
            .target()
            .trim_matches('/')
            .parse()
            .expect("a number");
        talk.send(responses[number]);
        talk.stall();
    });
    let gateway = before(&upstream.url()).start();
    for number in 0..responses.len() {
        assert_failed(
            &gateway,
            &format!("/api/{number}"),
            500,
            "UPE",
            "upstream_error",
        );
    }
    assert_eq!(upstream.connections(), responses.len());
}

#[test]
fn bytes_after_a_response_are_never_taken_for_the_next_one() {
    let upstream = Upstream::start(|talk| {
        while talk.request().is_some() {
            // In one write, so that they are there when the next request goes out.
            let both = ok("mine") + &ok("poison");
            if talk.try_send(both).is_err() {
                return;
            }
        }
    });
    let gateway = before(&upstream.url()).start();
    let mut wire = raw::plain(&gateway);
    for _ in 0..10 {
        wire.send(raw::get("/api/", &[]));
        assert_eq!(wire.message().expect("a response").text(), "mine");
    }
}

#[test]
fn a_5xx_of_the_upstream_passes_through_and_is_flagged_as_its_own() {
    let upstream =
        Upstream::answering("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
    let gateway = before(&upstream.url()).start();
    let (response, line) = outcome(&gateway, &raw::get("/api/", &[]));
    assert_eq!((response.status(), response.text().as_str()), (503, "busy"));
    assert_eq!(
        (response.field("retry-after"), response.field("x-generator")),
        (Some("7"), None)
    );
    assert_eq!(
        (&line["response_flag"], &line["error_source"]),
        (&"URS".into(), &"Upstream".into())
    );
    assert_eq!(line["upstream_status"], 503);
}

#[test]
fn errors_are_xml_for_those_who_speak_xml_and_anonymous_on_demand() {
    let port = free_port();
    let gateway = before(&format!("http://127.0.0.1:{port}"))
        .config(json!({"hide_generator_header": true}))
        .start();
    for content_type in [
        "application/xml",
        "text/xml; charset=utf-8",
        "application/soap+xml",
    ] {
        let response = raw::ask(
            &gateway,
            raw::get("/api/", &[&format!("Content-Type: {content_type}")]),
        );
        assert_eq!(response.status(), 500);
        let media_type = content_type.split(';').next();
        assert_eq!(response.field("content-type"), media_type);
        assert_eq!(
            response.text(),
            "<?xml version = \"1.0\" encoding = \"UTF-8\"?>\n<error>There was a problem proxying the request</error>"
        );
        assert_eq!(response.field("x-generator"), None);
    }
}

/// OUT-43 in clear text: the second request finds the connection of the first.
#[test]
fn requests_one_after_another_share_an_upstream_connection() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream.url()).start();
    for _ in 0..5 {
        assert_eq!(raw::ask(&gateway, raw::get("/api/", &[])).status(), 200);
    }
    assert_eq!((upstream.connections(), upstream.requests()), (1, 5));
}

/// OUT-42 in clear text: one connection for a request, which says so.
#[test]
fn upstream_connections_are_not_kept_where_the_configuration_forbids_it() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream.url())
        .config(json!({"proxy_close_connections": true}))
        .start();
    for _ in 0..3 {
        let echoed = raw::ask(&gateway, raw::get("/api/", &[]))
            .json()
            .to_string();
        assert!(echoed.contains("[\"Connection\",\"close\"]"), "{echoed}");
    }
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn a_connection_that_the_upstream_wants_closed_is_not_used_again() {
    for response in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let upstream = Upstream::answering(response);
        let gateway = before(&upstream.url()).start();
        let mut wire = raw::plain(&gateway);
        for _ in 0..3 {
            wire.send(raw::get("/api/", &[]));
            let answer = wire.message().expect("a response");
            // The client's connection is another matter.
            assert_eq!(
                (answer.text().as_str(), answer.field("connection")),
                ("hi", None)
            );
        }
        assert_eq!(upstream.connections(), 3);
    }
}

#[test]
fn a_connection_that_closed_while_idle_is_replaced_before_any_request_notices() {
    let upstream = Upstream::start(|talk| {
        if talk.request().is_some() {
            talk.answer("once");
        }
    });
    let gateway = before(&upstream.url()).start();
    for method in ["GET", "POST", "POST", "GET"] {
        let sent = upstream.requests();
        assert_eq!(
            raw::ask(&gateway, raw::request(method, "/api/", &[], "body")).status(),
            200,
            "{method}"
        );
        assert_eq!(upstream.requests(), sent + 1);
        upstream.cut_all();
    }
}

/// An upstream that ends a connection at its second request instead of answering.
fn tired() -> (Upstream, Arc<Mutex<Vec<String>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let noted = requests.clone();
    let upstream = Upstream::start(move |talk| {
        let mut answered = false;
        while let Some(request) = talk.request() {
            noted.lock().expect("no panics").push(request.start.clone());
            if std::mem::replace(&mut answered, true) {
                return;
            }
            talk.answer("fresh");
        }
    });
    (upstream, requests)
}

#[test]
fn a_request_without_effects_that_met_a_dying_connection_is_sent_once_more() {
    let (upstream, requests) = tired();
    let gateway = before(&upstream.url()).start();
    for path in ["/api/1", "/api/2"] {
        let response = raw::ask(&gateway, raw::get(path, &[]));
        assert_eq!(
            (response.status(), response.text().as_str()),
            (200, "fresh")
        );
    }
    let seen = requests.lock().expect("no panics").clone();
    assert_eq!(
        seen,
        ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1", "GET /2 HTTP/1.1"]
    );
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn a_request_with_effects_is_never_sent_twice() {
    for body in ["", "body"] {
        let (upstream, requests) = tired();
        let gateway = before(&upstream.url()).start();
        assert_eq!(raw::ask(&gateway, raw::get("/api/1", &[])).status(), 200);
        let (response, line) = outcome(&gateway, &raw::request("POST", "/api/2", &[], body));
        assert_eq!(
            (response.status(), response.text().as_str()),
            (500, GENERIC)
        );
        assert_eq!(line["response_flag"], "URR", "{line}");
        let seen = requests.lock().expect("no panics").clone();
        assert_eq!(seen, ["GET /1 HTTP/1.1", "POST /2 HTTP/1.1"]);
        assert_eq!(upstream.connections(), 1);
    }
}

#[test]
fn a_retry_that_fails_is_the_last() {
    let upstream = Upstream::start(|talk| {
        // The first connection answers once; everything else is met with silence.
        let first = talk.number == 0;
        let mut answers = usize::from(first);
        while talk.request().is_some() && answers > 0 {
            answers -= 1;
            talk.answer("once");
        }
    });
    let gateway = before(&upstream.url()).start();
    assert_eq!(raw::ask(&gateway, raw::get("/api/1", &[])).status(), 200);
    assert_failed(&gateway, "/api/2", 500, "URR", "connection_reset");
    assert_eq!((upstream.connections(), upstream.requests()), (2, 3));
}

#[test]
fn an_answer_that_came_before_the_request_was_over_is_passed_on() {
    let upstream = Upstream::start(|talk| {
        talk.head().expect("a head");
        talk.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    });
    let gateway = before(&upstream.url()).start();
    let mut wire = raw::plain(&gateway);
    wire.send("POST /api/ HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nsome");
    let response = wire.message().expect("a response");
    assert_eq!((response.status(), response.text().as_str()), (413, "big"));
    assert_eq!(response.field("connection"), Some("close"));
    wire.finish();
    assert!(wire.is_closed());
}

#[test]
fn hundreds_of_clients_at_once_are_served_and_their_connections_shared_afterwards() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream.url())
        .config(json!({"max_idle_connections_per_host": 8}))
        .start();
    let clients: Vec<_> = (0..200)
        .map(|number| {
            let mut wire = raw::plain(&gateway);
            wire.send(raw::get(&format!("/api/{number}"), &[]));
            wire
        })
        .collect();
    let targets: HashSet<String> = clients
        .into_iter()
        .map(|mut wire| {
            wire.message().expect("a response").json()["target"]
                .as_str()
                .expect("text")
                .to_owned()
        })
        .collect();
    assert_eq!(targets.len(), 200);
    let so_far = upstream.connections();
    eventually("connections are shared", || {
        let before = upstream.connections();
        raw::ask(&gateway, raw::get("/api/again", &[]));
        before == upstream.connections()
    });
    assert!(so_far <= 200);
}

#[test]
fn a_definition_without_a_working_target_does_not_disturb_the_others() {
    let upstream = Upstream::echo();
    let mut broken = api("broken", "/broken/", "");
    merge(
        &mut broken,
        json!({"proxy": {"target_url": "http://127.0.0.1:1"}}),
    );
    let gateway = before(&upstream.url()).api("broken", &broken).start();
    assert_failed(&gateway, "/broken/", 500, "UCF", "connection_refused");
    assert_eq!(raw::ask(&gateway, raw::get("/api/", &[])).status(), 200);
}
