//! What a running gateway says about itself: health, metrics, the access log.

use portcullis_tests::{
    gateway::{Builder, Gateway, SECRET, api, with},
    ports::free_port,
    raw,
    tls::{Client, s_client},
    upstream::{Upstream, ok},
    wait::eventually,
    wire::Message,
};
use serde_json::{Value, json};

fn logging() -> Builder {
    Gateway::builder().config(json!({"access_logs": {"enabled": true}}))
}

fn get(gateway: &Gateway, path: &str) -> Message {
    raw::ask(
        gateway,
        raw::get(path, &[&format!("X-Tyk-Authorization: {SECRET}")]),
    )
}

/// The access log's line about a path.
fn line(gateway: &Gateway, path: &str) -> Value {
    let line = gateway.output().wait(&format!("\"path\":{path:?}"));
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The sum of the samples whose line holds all of these texts.
fn sample(page: &str, texts: &[&str]) -> f64 {
    page.lines()
        .filter(|line| !line.starts_with('#') && texts.iter().all(|text| line.contains(text)))
        .map(|line| {
            line.rsplit(' ')
                .next()
                .and_then(|value| value.parse::<f64>().ok())
                .expect("a number")
        })
        .sum()
}

/// ST-75, ST-77 once loaded, ST-78
#[test]
fn health_is_told_to_everybody_and_only_to_be_read() {
    let gateway = Gateway::builder().start();
    for (path, description) in [
        ("/hello", "Tyk GW"),
        ("/livez", "Tyk GW"),
        ("/ready", "Tyk GW Ready"),
        ("/readyz", "Tyk GW Ready"),
    ] {
        let response = raw::ask(&gateway, raw::get(path, &[]));
        assert_eq!(
            (response.status(), response.field("content-type")),
            (200, Some("application/json"))
        );
        let body = response.json();
        assert_eq!(
            (&body["status"], &body["description"]),
            (&json!("pass"), &json!(description)),
            "{body}"
        );
        assert!(
            body["version"]
                .as_str()
                .is_some_and(|version| version.starts_with('v')),
            "{body}"
        );
    }
    for path in ["/hello", "/ready"] {
        let response = raw::ask(&gateway, raw::request("POST", path, &[], "x"));
        assert_eq!(response.status(), 405);
        assert_eq!(
            response.text(),
            "{\"status\":\"error\",\"message\":\"Method Not Allowed\"}\n"
        );
    }
}

#[test]
fn health_answers_to_the_names_it_is_given() {
    let config =
        json!({"health_check_endpoint_name": "alive", "readiness_check_endpoint_name": "go"});
    let gateway = Gateway::builder().config(config).start();
    for (path, status) in [
        ("/alive", 200),
        ("/go", 200),
        ("/hello", 404),
        ("/ready", 404),
        ("/livez", 200),
    ] {
        assert_eq!(
            raw::ask(&gateway, raw::get(path, &[])).status(),
            status,
            "{path}"
        );
    }
}

/// ST-79
#[test]
fn traffic_of_an_api_is_told_where_health_checks_are_on() {
    let upstream = Upstream::answering(ok("served"));
    let definition = api("test", "/test/", &upstream.url());
    let gateway = Gateway::builder().api("test", &definition).start();
    let response = get(&gateway, "/tyk/health?api_id=test");
    assert_eq!(response.status(), 400);
    assert_eq!(
        response.json()["message"],
        "Health checks are not enabled for this node"
    );

    let config = json!({"health_check": {"enable_health_checks": true}});
    let gateway = Gateway::builder()
        .config(config)
        .api("test", &definition)
        .start();
    assert_eq!(get(&gateway, "/tyk/health?api_id=none").status(), 404);
    for _ in 0..5 {
        assert_eq!(get(&gateway, "/test/").status(), 200);
    }
    eventually("requests are counted", || {
        let body = get(&gateway, "/tyk/health?api_id=test").json();
        body["average_requests_per_second"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0)
    });
}

#[test]
fn metrics_count_requests_failures_handshakes_and_reloads() {
    let port = free_port();
    let upstream = Upstream::answering(ok("served"));
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"control_api_port": port}))
        .api("good", &api("good", "/good/", &upstream.url()))
        .api("gone", &api("gone", "/gone/", "http://127.0.0.1:1"))
        .api(
            "bad",
            &with(
                api("bad", "/bad/", &upstream.url()),
                json!({"use_keyless": false, "enable_signature_checking": true}),
            ),
        )
        .start();
    for _ in 0..3 {
        gateway.get("/good/").expect(200);
    }
    gateway.get("/gone/").expect(500);
    // A client that offers nothing we speak.
    let refused = Client::new()
        .set(|builder| builder.set_max_proto_version(Some(openssl::ssl::SslVersion::TLS1_1)))
        .connect(gateway.address());
    assert!(refused.is_err());
    gateway
        .control_on(port, "/tyk/reload?block=true")
        .expect(200);
    let page = || {
        gateway
            .curl()
            .send(&gateway.url_on(port, "/metrics"))
            .expect(200)
    };
    let response = page();
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    eventually("everything is counted", || {
        let page = page().text();
        let count = |texts: &[&str]| sample(&page, texts);
        count(&["tyk_api_requests_total", "\"good\""]) == 3.0
            && count(&["tyk_api_requests_total", "\"gone\"", "UCF"]) == 1.0
            && count(&["tyk_gateway_apis_loaded"]) >= 2.0
            && count(&["tyk_gateway_config_reload_total"]) >= 1.0
            && count(&["portcullis_tls_handshakes_total", "\"success\""]) >= 5.0
            && count(&["portcullis_tls_handshakes_total", "\"failure\""]) == 1.0
            && count(&["http_server_request_duration_seconds_count"]) >= 4.0
            && count(&["portcullis_certificate_expiry_timestamp_seconds"]) > 1e9
    });
    // Every line is a comment or a sample: a name, labels, a number.
    for line in page().text().lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(
            name.starts_with(|first: char| first.is_ascii_lowercase()),
            "{line}"
        );
    }
}

#[test]
fn metrics_on_a_port_shared_with_apis_need_the_secret() {
    let gateway = Gateway::builder().start();
    assert_eq!(raw::ask(&gateway, raw::get("/metrics", &[])).status(), 403);
    assert_eq!(get(&gateway, "/metrics").status(), 200);
    let bearer = format!("Authorization: Bearer {SECRET}");
    assert_eq!(
        raw::ask(&gateway, raw::get("/metrics", &[&bearer])).status(),
        200
    );
}

#[test]
fn the_access_log_tells_who_asked_what_by_which_tls_and_how_long_it_took() {
    let upstream = Upstream::answering(ok("served"));
    let gateway = logging()
        .tls()
        .api("one", &api("one", "/one/", &upstream.url()))
        .start();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    gateway
        .curl()
        .at("localhost", gateway.address())
        .arguments(&[
            "--tlsv1.3",
            "-A",
            "a client",
            "-d",
            "body",
            "-H",
            &format!("traceparent: {trace}"),
        ])
        .send(&format!(
            "https://localhost:{}/one/first?token=hidden",
            gateway.port()
        ))
        .expect(200);
    let line = line(&gateway, "/one/first");
    for (key, value) in [
        ("prefix", json!("access-log")),
        ("api_id", json!("one")),
        ("org_id", json!("default")),
        ("client_ip", json!("127.0.0.1")),
        ("host", json!(format!("localhost:{}", gateway.port()))),
        ("method", json!("POST")),
        ("protocol", json!("HTTP/1.1")),
        ("status", json!(200)),
        ("user_agent", json!("a client")),
        ("trace_id", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
        ("request_bytes", json!(4)),
        ("response_bytes", json!(6)),
        ("tls_version", json!("TLSv1.3")),
        ("tls_server_name", json!("localhost")),
        ("tls_resumed", json!(false)),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert!(
        line["tls_cipher"]
            .as_str()
            .is_some_and(|suite| suite.starts_with("TLS_")),
        "{line}"
    );
    let micros = |key: &str| {
        line[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} in {line}"))
    };
    assert!(micros("upstream_latency_us") > 0, "{line}");
    assert!(
        micros("latency_total_us") >= micros("upstream_latency_us"),
        "{line}"
    );
    assert!(
        line["upstream_address"]
            .as_str()
            .is_some_and(|text| text.starts_with("http://127.0.0.1:")),
        "{line}"
    );
    assert!(line.get("response_flag").is_none());
    assert!(
        !gateway.output().text().contains("hidden"),
        "a query may hold tokens"
    );
}

#[test]
fn the_access_log_tells_resumed_sessions_and_http2() {
    let upstream = Upstream::answering(ok("served"));
    let gateway = logging()
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true, "max_version": 771}}))
        .api("one", &api("one", "/one/", &upstream.url()))
        .start();
    let session = gateway.path("session").display().to_string();
    for (path, option) in [("/one/full", "-sess_out"), ("/one/resumed", "-sess_in")] {
        let request = raw::get(path, &["Connection: close"]);
        let said = s_client(gateway.address(), &["-tls1_2", option, &session], &request);
        assert!(said.text.contains("served"), "{said:?}");
    }
    assert_eq!(line(&gateway, "/one/full")["tls_resumed"], false);
    let resumed = line(&gateway, "/one/resumed");
    assert_eq!(
        (&resumed["tls_resumed"], &resumed["tls_version"]),
        (&json!(true), &json!("TLSv1.2"))
    );
    gateway
        .curl()
        .arguments(&["--http2"])
        .send(&gateway.url("/one/two"))
        .expect(200);
    assert_eq!(line(&gateway, "/one/two")["protocol"], "HTTP/2.0");
}

#[test]
fn the_access_log_holds_the_fields_its_template_names_or_is_text() {
    let upstream = Upstream::answering(ok("served"));
    let definition = api("one", "/one/", &upstream.url());
    let config = json!({"access_logs": {"enabled": true, "template": ["path", "status"]}});
    let gateway = Gateway::builder()
        .config(config)
        .api("one", &definition)
        .start();
    get(&gateway, "/one/x");
    let line = line(&gateway, "/one/x");
    let keys: Vec<_> = line
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["time", "level", "prefix", "path", "status"]);

    let config = json!({"portcullis": {"access_log_format": "text"}});
    let gateway = logging().config(config).api("one", &definition).start();
    get(&gateway, "/one/x");
    let line = gateway.output().wait("/one/x");
    assert!(
        line.contains("status=200") && !line.starts_with('{'),
        "{line}"
    );
}

#[test]
fn without_an_access_log_standard_output_stays_silent() {
    let upstream = Upstream::answering(ok("served"));
    let gateway = Gateway::builder()
        .api("one", &api("one", "/one/", &upstream.url()))
        .start();
    for _ in 0..3 {
        assert_eq!(get(&gateway, "/one/").status(), 200);
    }
    assert_eq!(gateway.output().text(), "");
}
