//! Circuit breakers of paths: what opens them, what an open one does, how it closes, who is told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use portcullis_tests::{
    certs,
    gateway::{Builder, Gateway, api, merge, with},
    ports::free_port,
    raw,
    receiver::{Receiver, fired, log, webhook},
    upstream::{Upstream, acceptor, echo, ok},
    wait::eventually,
    wire::Message,
};
use serde_json::{Value, json};

const UNAVAILABLE: &str = "{\n    \"error\": \"Service temporarily unavailable.\"\n}";

fn gateway() -> Builder {
    Gateway::builder().config(json!({"access_logs": {"enabled": true}}))
}

fn ask(gateway: &Gateway, path: &str) -> Message {
    raw::ask(gateway, raw::get(path, &[]))
}

/// A definition with a breaker on the path `/x`, as `more` says it.
fn broken(name: &str, url: &str, more: Value) -> Value {
    let mut breaker = json!({
        "path": "/x", "method": "GET", "threshold_percent": 0.5, "samples": 4, "return_to_service_after": 3600,
        "disable_half_open_state": true,
    });
    merge(&mut breaker, more);
    with(
        api(name, &format!("/{name}/"), url),
        json!({"version_data": {"versions": {"Default": {
            "use_extended_paths": true, "extended_paths": {"circuit_breakers": [breaker]},
        }}}}),
    )
}

fn gauge(gateway: &Gateway, name: &str, api: &str) -> Option<String> {
    let page = gateway.control("/metrics").expect(200).text();
    let begin = format!("{name}{{tyk_api_id=\"{api}\",path=\"/x\",method=\"GET\"}} ");
    page.lines()
        .find_map(|line| line.strip_prefix(&begin).map(str::to_owned))
}

/// OUT-20: TLS failures open the breaker of their path; other paths and methods are not its business, and a reload
/// does not close it.
#[test]
fn repeated_tls_failures_open_the_breaker_of_their_path_and_no_other() {
    let server = certs::made(Some("localhost"), false, (-1, 30), None);
    let upstream = Upstream::start_tls(acceptor(&server).build(), echo);
    let url = format!("https://localhost:{}", upstream.address().port());
    let gateway = gateway()
        .api("api", &broken("api", &url, json!({})))
        .start();
    assert_eq!(
        gauge(&gateway, "portcullis_circuit_breaker_open", "api").as_deref(),
        Some("0")
    );
    for n in 0..4 {
        let answer = ask(&gateway, "/api/x");
        assert_eq!(answer.status(), 500, "{n}");
    }
    let connections = upstream.connections();
    let answer = ask(&gateway, "/api/x?open");
    assert_eq!((answer.status(), &*answer.text()), (503, UNAVAILABLE));
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(
        upstream.connections(),
        connections,
        "the upstream is spared"
    );
    let line = gateway.output().wait("\"status\":503");
    for part in [
        "\"response_flag\":\"CBO\"",
        "\"response_code_details\":\"circuit_breaker_open\"",
        "\"circuit_breaker_state\":\"OPEN\"",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(ask(&gateway, "/api/y").status(), 500, "another path");
    let post = raw::request("POST", "/api/x", &[], "");
    assert_eq!(raw::ask(&gateway, post).status(), 500, "another method");
    gateway.write_api("other", &api("other", "/other/", "http://127.0.0.1:1"));
    gateway.reload();
    assert_eq!(ask(&gateway, "/other/").status(), 500, "it is loaded");
    assert_eq!(
        ask(&gateway, "/api/x").status(),
        503,
        "still open after a reload"
    );
    assert_eq!(
        gauge(&gateway, "portcullis_circuit_breaker_open", "api").as_deref(),
        Some("1")
    );
    assert_eq!(
        gauge(&gateway, "portcullis_circuit_breaker_trips_total", "api").as_deref(),
        Some("1")
    );
}

#[test]
fn failures_in_clear_text_and_5xx_of_the_upstream_count_and_other_answers_do_not() {
    let failing = Upstream::answering("HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nsorry");
    let missing = Upstream::answering("HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\ngone");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let few = json!({"samples": 2});
    let gateway = gateway()
        .api("failing", &broken("failing", &failing.url(), few.clone()))
        .api("missing", &broken("missing", &missing.url(), few.clone()))
        .api("nobody", &broken("nobody", &nobody, few))
        .start();
    for _ in 0..2 {
        let answer = ask(&gateway, "/failing/x");
        assert_eq!((answer.status(), &*answer.text()), (503, "sorry"));
        assert_eq!(ask(&gateway, "/nobody/x").status(), 500);
    }
    for path in ["/failing/x", "/nobody/x"] {
        assert_eq!(ask(&gateway, path).text(), UNAVAILABLE, "{path}");
    }
    for _ in 0..6 {
        assert_eq!(ask(&gateway, "/missing/x").text(), "gone");
    }
}

/// The response waits for the client until the gateway gives up: nothing of that is the upstream's doing.
#[tokio::test]
async fn a_client_that_does_not_read_opens_no_breaker() {
    let upstream = Upstream::answering(ok("well"));
    let gateway = gateway()
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true, "write_timeout": 1}}))
        .api(
            "api",
            &broken("api", &upstream.url(), json!({"samples": 1})),
        )
        .start();
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(0);
    let mut client = raw::http2_with(&gateway, &settings).await;
    let request = http::Request::get("https://localhost/api/x")
        .body(())
        .expect("a request");
    let (response, _) = client.send_request(request, true).expect("sent");
    let response = response.await.expect("its head needs no window");
    assert_eq!(response.status(), 200);
    let line = gateway.output().wait("\"path\":\"/api/x\"");
    assert!(line.contains("\"response_flag\":\"CDC\""), "{line}");
    for (name, value) in [
        ("portcullis_circuit_breaker_trips_total", "0"),
        ("portcullis_circuit_breaker_open", "0"),
    ] {
        assert_eq!(gauge(&gateway, name, "api").as_deref(), Some(value));
    }
}

/// The definition in the other format, half open: the first request that succeeds closes it.
#[test]
fn a_half_open_breaker_lets_requests_through_one_by_one_and_closes_with_the_first_that_succeeds() {
    let well = Arc::new(AtomicBool::new(false));
    let seen = well.clone();
    let upstream = Upstream::start(move |talk| {
        while talk.request().is_some() {
            match seen.load(Ordering::Acquire) {
                true => talk.answer("well"),
                false => talk.send("HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nill"),
            }
        }
    });
    let oas = json!({
        "openapi": "3.0.3", "info": {"title": "oas", "version": "1"},
        "paths": {"/x/{id}": {"get": {"operationId": "x", "responses": {"200": {"description": ""}}}}},
        "x-tyk-api-gateway": {
            "info": {"name": "oas", "id": "oas", "orgId": "default", "state": {"active": true}},
            "server": {"listenPath": {"value": "/oas/", "strip": true}},
            "upstream": {"url": upstream.url()},
            "middleware": {"operations": {"x": {"circuitBreaker": {
                "enabled": true, "threshold": 1.0, "sampleSize": 2, "coolDownPeriod": 3600, "halfOpenStateEnabled": true,
            }}}},
        },
    });
    let gateway = gateway().api("oas", &oas).start();
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "/oas/x/1").text(), "ill");
    }
    eventually("a request is not let through", || {
        ask(&gateway, "/oas/x/1").text() == UNAVAILABLE
    });
    eventually("a request is let through and fails", || {
        ask(&gateway, "/oas/x/1").text() == "ill"
    });
    well.store(true, Ordering::Release);
    eventually("a request is let through and succeeds", || {
        ask(&gateway, "/oas/x/1").text() == "well"
    });
    for _ in 0..5 {
        assert_eq!(ask(&gateway, "/oas/x/1").text(), "well", "it is closed");
    }
}

#[test]
fn a_breaker_closes_when_its_time_is_over_and_handlers_are_told_of_both() {
    let receiver = Receiver::start();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let definition = with(
        broken(
            "api",
            &nobody,
            json!({"samples": 1, "return_to_service_after": 3}),
        ),
        json!({"event_handlers": {"events": {
            "BreakerTripped": [webhook(&receiver.url(), json!({})), log("tripped")],
            "BreakerReset": [webhook(&receiver.url(), json!({}))],
            "BreakerTriggered": [log("triggered")],
        }}}),
    );
    let gateway = gateway().api("api", &definition).start();
    assert_eq!(ask(&gateway, "/api/x").status(), 500);
    assert_eq!(ask(&gateway, "/api/x").text(), UNAVAILABLE);
    gateway.wait_log("circuit breaker reset");
    let got = receiver.wait(2);
    assert_eq!(
        ask(&gateway, "/api/x").status(),
        500,
        "the upstream is asked again"
    );
    let mut bodies: Vec<Value> = got.iter().take(2).map(Message::json).collect();
    bodies.sort_by_key(|body| body["event"].as_str().map(str::to_owned));
    for (body, (event, change)) in bodies
        .iter()
        .zip([("BreakerReset", 1), ("BreakerTripped", 0)])
    {
        assert_eq!(
            (
                &body["event"],
                &body["path"],
                &body["api_id"],
                &body["circuit_event"]
            ),
            (&event.into(), &"/x".into(), &"api".into(), &change.into()),
            "{body}"
        );
    }
    for line in ["tripped: Breaker Tripped", "triggered: Breaker Reset"] {
        gateway.wait_log(line);
    }
    assert!(fired(&gateway, "BreakerTriggered") >= 2);
}

#[test]
fn a_share_that_is_none_is_an_error_and_check_tells_of_breakers() {
    let upstream = Upstream::answering(ok("fine"));
    let builder = gateway()
        .api(
            "good",
            &broken(
                "good",
                &upstream.url(),
                json!({"disable_half_open_state": false}),
            ),
        )
        .api(
            "bad",
            &broken("bad", &upstream.url(), json!({"threshold_percent": 50})),
        );
    let ended = builder.run(&["check"]);
    let breaker = "good: circuit breaker for GET /x: opens for 3600 s when 50 % of at least 4 requests in 10 s fail, \
                   single requests let through meanwhile";
    assert!(ended.output.contains(breaker), "{}", ended.output);
    for part in [
        "circuit_breakers[0].threshold_percent",
        "50 is no share",
        "0.5 for one half",
    ] {
        assert!(ended.log.contains(part), "{}", ended.log);
    }
    let gateway = builder.start();
    assert_eq!(ask(&gateway, "/bad/x").status(), 503);
    assert_eq!(ask(&gateway, "/good/x").text(), "fine");
}
