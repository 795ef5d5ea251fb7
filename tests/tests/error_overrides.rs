//! Error answers that rules replace: the gateway's own, and those of upstreams.

use portcullis_tests::{
    certs,
    gateway::{Builder, Gateway, api, with},
    keys::token_api,
    ports::free_port,
    raw,
    upstream::{
        Upstream, acceptor, echo,
        http2::{self, Http2Upstream},
    },
    wire::Message,
};
use serde_json::{Value, json};

const GENERIC: &str = "{\n    \"error\": \"There was a problem proxying the request\"\n}";

/// A gateway that trusts the tests' authority, with these rules for all APIs.
fn gateway(rules: &Value) -> Builder {
    let builder = Gateway::builder().config(json!({
        "access_logs": {"enabled": true}, "portcullis": {"workers": 1}, "error_overrides": rules,
    }));
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

fn ask(gateway: &Gateway, path: &str) -> Message {
    raw::ask(gateway, raw::get(path, &[]))
}

/// A definition whose own rules are these.
fn ruled(name: &str, url: &str, rules: &Value) -> Value {
    with(
        api(name, &format!("/{name}/"), url),
        json!({"error_overrides": rules}),
    )
}

/// An upstream that answers every request with this status and body.
fn failing(status: &str, fields: &str, body: &str) -> Upstream {
    let length = body.len();
    Upstream::answering(format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nX-Theirs: kept\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ))
}

/// OUT-19: one flag of two that share a status.
#[test]
fn an_expired_upstream_is_told_as_the_rule_says_and_any_other_failure_as_ever() {
    let over = certs::made(Some("localhost"), false, (-30, -1), Some(certs::ca()));
    let unknown = certs::made(Some("localhost"), false, (-1, 30), None);
    let servers = [&over, &unknown].map(|pair| Upstream::start_tls(acceptor(pair).build(), echo));
    let url = |server: &Upstream| format!("https://localhost:{}", server.address().port());
    let rule =
        json!({"500": [{"match": {"flag": "TLE"}, "response": {"status_code": 502, "body": "x"}}]});
    let gateway = gateway(&rule)
        .api("expired", &api("expired", "/expired/", &url(&servers[0])))
        .api("unknown", &api("unknown", "/unknown/", &url(&servers[1])))
        .api("own", &ruled("own", &url(&servers[0]), &rule))
        .start();
    for path in ["/expired/", "/own/"] {
        let answer = ask(&gateway, path);
        assert_eq!(
            (answer.status(), &*answer.text()),
            (502, "x"),
            "{}",
            gateway.log().text()
        );
        assert_eq!(
            answer.field("content-type"),
            Some("application/json"),
            "it stays"
        );
        let line = gateway.output().wait(&format!("\"path\":\"{path}\""));
        for part in ["\"status\":502", "\"response_flag\":\"TLE\""] {
            assert!(line.contains(part), "{line}");
        }
    }
    let answer = ask(&gateway, "/unknown/");
    assert_eq!((answer.status(), &*answer.text()), (500, GENERIC));
}

#[test]
fn an_apis_rules_come_before_the_gateways_and_one_status_before_its_class() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let answering = |body: &str| json!([{"response": {"body": body}}]);
    let oas = json!({
        "openapi": "3.0.3", "info": {"title": "oas", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"name": "oas", "id": "ruled-oas", "orgId": "default", "state": {"active": true}},
            "server": {"listenPath": {"value": "/oas/", "strip": true}},
            "upstream": {"url": nobody},
            "errorOverrides": {"enabled": true, "value": {"500": [
                {"match": {"flag": "UCT"}, "response": {"body": "never"}},
                {"match": {"messagePattern": "^There was a problem"}, "response": {
                    "statusCode": 503, "message": "busy", "body": "{{.StatusCode}} {{.Message}}",
                    "headers": {"Content-Type": "text/plain", "Retry-After": "7"}}},
            ]}},
        },
    });
    let mut off = oas.clone();
    off["x-tyk-api-gateway"]["errorOverrides"]["enabled"] = false.into();
    off["x-tyk-api-gateway"]["info"]["id"] = "off".into();
    off["x-tyk-api-gateway"]["server"]["listenPath"]["value"] = "/off/".into();
    let disabled = with(
        ruled("disabled", &nobody, &json!({"500": answering("own")})),
        json!({"error_overrides_disabled": true}),
    );
    let gateway =
        gateway(&json!({"5xx": answering("gateway 5xx"), "500": answering("gateway 500")}))
            .api(
                "own",
                &ruled("own", &nobody, &json!({"5xx": answering("api 5xx")})),
            )
            .api("none", &api("none", "/none/", &nobody))
            .api("disabled", &disabled)
            .api("oas", &oas)
            .api("off", &off)
            .start();
    for (path, body) in [
        ("/own/", "api 5xx"),
        ("/none/", "gateway 500"),
        ("/disabled/", "gateway 500"),
        ("/off/", "gateway 500"),
    ] {
        assert_eq!(ask(&gateway, path).text(), body, "{path}");
    }
    let answer = ask(&gateway, "/oas/");
    assert_eq!((answer.status(), &*answer.text()), (503, "503 busy"));
    assert_eq!(answer.field("content-type"), Some("text/plain"));
    assert_eq!(answer.field("retry-after"), Some("7"));
    // As the Control API shows it, the rule is the same in the other spelling.
    let shown = gateway.control("/tyk/apis/ruled-oas").json();
    assert_eq!(
        shown["error_overrides"]["500"][1]["match"]["message_pattern"],
        "^There was a problem"
    );
    assert_eq!(
        shown["error_overrides"]["500"][1]["response"]["status_code"],
        503
    );
    assert_eq!(shown["error_overrides_disabled"], false);
}

#[test]
fn refusals_are_told_apart_by_their_flags_and_xml_stays_xml() {
    let gateway = gateway(&json!({
        "401": [{"match": {"flag": "AMF"}, "response": {"status_code": 418, "headers": {"WWW-Authenticate": "Bearer"}}}],
        "4xx": [{"match": {"flag": "AKI"}, "response": {"message": "who & what?"}}],
    }))
    .api("api", &token_api("api", "/api/", "http://127.0.0.1:1"))
    .start();
    let answer = ask(&gateway, "/api/");
    assert_eq!(answer.status(), 418);
    assert!(
        answer.text().contains("Authorization field missing"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
    let request = raw::get(
        "/api/",
        &["Authorization: nobody", "Content-Type: application/xml"],
    );
    let answer = raw::ask(&gateway, request);
    assert_eq!(answer.status(), 403);
    assert_eq!(
        answer.text(),
        "<?xml version = \"1.0\" encoding = \"UTF-8\"?>\n<error>who &amp; what?</error>"
    );
}

#[test]
fn errors_of_upstreams_are_replaced_by_what_their_bodies_say() {
    let stock = failing(
        "503 Down",
        "ETag: \"a\"\r\nContent-Encoding: br\r\n",
        r#"{"error": {"code": "OUT_OF_STOCK"}}"#,
    );
    let broken = failing("503 Down", "", "maintenance until noon");
    let other = failing("503 Down", "ETag: \"a\"\r\n", "something else");
    let missing = failing("404 Gone", "", "<h1>not here</h1>");
    let rules = json!({
        "503": [
            {"match": {"flag": "URS", "body_field": "error.code", "body_value": "OUT_OF_STOCK"},
                "response": {"status_code": 409, "body": "sold out", "headers": {"X-Theirs": "", "X-Ours": "new"}}},
            {"match": {"message_pattern": "until (noon|midnight)"}, "response": {"status_code": 500}},
        ],
        "4xx": [{"response": {"message": "nothing there"}}],
    });
    let mut builder = gateway(&json!({}));
    for (name, upstream) in [
        ("stock", &stock),
        ("broken", &broken),
        ("other", &other),
        ("missing", &missing),
    ] {
        builder = builder.api(name, &ruled(name, &upstream.url(), &rules));
    }
    let gateway = builder.start();
    let mut client = raw::plain(&gateway);
    let mut ask = |method: &str, path: &str| {
        client.send(raw::request(method, path, &[], ""));
        client
            .message_to(method)
            .expect("an answer on the same connection")
    };

    let answer = ask("GET", "/stock/");
    assert_eq!((answer.status(), &*answer.text()), (409, "sold out"));
    assert_eq!(answer.field("x-ours"), Some("new"));
    for gone in ["x-theirs", "etag", "content-encoding"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    assert_eq!(answer.field("content-type"), Some("text/html"), "it stays");
    let line = gateway.output().wait("\"path\":\"/stock/\"");
    for part in [
        "\"status\":409",
        "\"response_flag\":\"URS\"",
        "\"upstream_status\":503",
    ] {
        assert!(line.contains(part), "{line}");
    }

    let answer = ask("GET", "/broken/");
    assert_eq!(
        (answer.status(), &*answer.text()),
        (500, "maintenance until noon")
    );
    assert_eq!(answer.field("x-theirs"), Some("kept"));

    let answer = ask("GET", "/other/");
    assert_eq!((answer.status(), &*answer.text()), (503, "something else"));
    assert_eq!(answer.field("etag"), Some("\"a\""), "nothing of it changes");

    let answer = ask("GET", "/missing/");
    assert_eq!(
        (answer.status(), &*answer.text()),
        (404, "{\n    \"error\": \"nothing there\"\n}")
    );
    assert_eq!(answer.field("content-type"), Some("application/json"));

    ask("GET", "/stock/");
    ask("GET", "/missing/");
    assert_eq!(
        stock.connections() + missing.connections(),
        2,
        "connections to upstreams are kept"
    );

    let answer = ask("HEAD", "/missing/");
    assert_eq!((answer.status(), &*answer.text()), (404, ""));
    assert_eq!(
        ask("GET", "/missing/").status(),
        404,
        "the connection is in step"
    );
}

#[test]
fn only_the_beginning_of_a_large_error_is_looked_at_and_all_of_it_passes() {
    let large = "a".repeat(200_000) + "needle";
    let upstream = failing("500 No", "", &large);
    let rules = |pattern: &str| json!({"500": [{"match": {"message_pattern": pattern}, "response": {"status_code": 502, "body": "short"}}]});
    let stock = failing(
        "500 No",
        "",
        &json!({"error": {"code": "OUT_OF_STOCK"}, "trace": large}).to_string(),
    );
    let member = json!({"500": [{
        "match": {"body_field": "error.code", "body_value": "OUT_OF_STOCK"},
        "response": {"status_code": 502, "body": "short"},
    }]});
    let gateway = gateway(&json!({}))
        .api("late", &ruled("late", &upstream.url(), &rules("needle")))
        .api("early", &ruled("early", &upstream.url(), &rules("^aaa")))
        .api("member", &ruled("member", &stock.url(), &member))
        .start();
    let answer = ask(&gateway, "/late/");
    assert_eq!((answer.status(), answer.text().len()), (500, large.len()));
    let answer = ask(&gateway, "/member/");
    assert_eq!((answer.status(), &*answer.text()), (502, "short"));
    let answer = ask(&gateway, "/early/");
    assert_eq!((answer.status(), &*answer.text()), (502, "short"));
}

#[test]
fn rules_hold_on_http2_as_well() {
    let upstream = Http2Upstream::start(|_, mut respond| {
        Box::pin(async move {
            let head = http::Response::builder()
                .status(500)
                .body(())
                .expect("a head");
            respond
                .send_response(head, false)?
                .send_data("because of reasons".into(), true)
        })
    });
    let rules = json!({"500": [{"match": {"message_pattern": "reasons"}, "response": {"status_code": 502, "body": "why"}}]});
    let gateway = gateway(&json!({"403": [{"response": {"body": "no"}}]}))
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .api(
            "api",
            &ruled("api", &format!("h2c://{}", upstream.address()), &rules),
        )
        .api("keys", &token_api("keys", "/keys/", "http://127.0.0.1:1"))
        .start();
    let curl = || gateway.curl().arguments(&["--http2"]);
    let answer = curl().send(&gateway.url("/api/")).expect(502);
    assert_eq!(answer.text(), "why");
    let answer = curl()
        .header("Authorization", "nobody")
        .send(&gateway.url("/keys/"))
        .expect(403);
    assert_eq!(answer.text(), "no");
}

/// All of the error is held back until it is over, and then nobody takes it.
#[tokio::test]
async fn a_client_that_does_not_read_an_error_is_not_waited_for_without_end() {
    let upstream = failing("503 Down", "", "maintenance until noon");
    let rules = json!({"503": [{"match": {"message_pattern": "until noon"}, "response": {"status_code": 500}}]});
    let gateway = gateway(&json!({}))
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true, "write_timeout": 1}}))
        .api("api", &ruled("api", &upstream.url(), &rules))
        .start();
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(0);
    let mut client = raw::http2_with(&gateway, &settings).await;
    let request = http::Request::get("https://localhost/api/")
        .body(())
        .expect("a request");
    let (response, _) = client.send_request(request, true).expect("sent");
    let response = response.await.expect("its head needs no window");
    assert_eq!(response.status(), 500);
    let line = gateway.output().wait("\"path\":\"/api/\"");
    assert!(line.contains("\"response_flag\":\"CDC\""), "{line}");
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_an_error_that_was_held_back() {
    let body = "maintenance until noon";
    let upstream = failing("503 Down", "", body);
    let rules = |pattern: &str| json!({"503": [{"match": {"message_pattern": pattern}, "response": {"status_code": 500}}]});
    let gateway = gateway(&json!({}))
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .api(
            "fits",
            &ruled("fits", &upstream.url(), &rules("until noon")),
        )
        .api("other", &ruled("other", &upstream.url(), &rules("needle")))
        .start();
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(3);
    let mut client = raw::http2_with(&gateway, &settings).await;
    for (path, status) in [("fits", 500), ("other", 503)] {
        let request = http::Request::get(format!("https://localhost/{path}/"))
            .body(())
            .expect("a request");
        let (response, _) = client.send_request(request, true).expect("sent");
        let response = response.await.expect("a response");
        assert_eq!(response.status(), status);
        let (content, _) = http2::read(response.into_body()).await.expect("a body");
        assert_eq!(content, body, "{path}");
    }
}

#[test]
fn rules_that_cannot_be_right_keep_a_gateway_from_starting_and_an_api_from_serving() {
    let broken = json!({"500": [{"match": {"message_pattern": "(a"}, "response": {}}]});
    let ended = gateway(&broken).fail();
    for part in ["error_overrides.500[0].match.message_pattern", "(a", "RE2"] {
        assert!(ended.log.contains(part), "{}", ended.log);
    }
    let gateway = gateway(&json!({}))
        .api("bad", &ruled("bad", "http://127.0.0.1:1", &broken))
        .start();
    let answer = ask(&gateway, "/bad/");
    assert_eq!(
        (
            answer.status(),
            answer.text().contains("API is not available")
        ),
        (503, true)
    );
    let quarantine = gateway.control("/tyk/apis/quarantine").text();
    for part in [
        "bad.json",
        "error_overrides.500[0].match.message_pattern",
        "(a",
    ] {
        assert!(quarantine.contains(part), "{quarantine}");
    }
}
