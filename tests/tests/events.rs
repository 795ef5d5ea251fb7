//! Events about certificates that end: who is told, how, how often, and what becomes of it when a receiver
//! is away.
//!
//! A request marks the list it meets; the list is looked at when a snapshot comes into force, which tests
//! ask for instead of waiting for the timer.

use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Builder, Gateway},
    mtls::{call, expired, expiring, self_signed},
    ports::free_port,
    receiver::{Receiver, fired, log, use_and_look, watched, webhook, webhooks},
    redis::Redis,
    upstream::{Upstream, acceptor},
    wait::eventually,
    wire::Message,
};
use serde_json::{Value, json};

const DAY: i64 = 86_400;

fn secure(monitor: &Value) -> Builder {
    Gateway::builder()
        .tls()
        .config(json!({"security": {"certificate_expiry_monitor": monitor}}))
}

/// IN-95, IN-96, IN-97, IN-98
#[test]
fn a_webhook_and_the_log_are_told_once_of_each_certificate_that_ends() {
    let (echo, receiver) = (Echo::start("up"), Receiver::start());
    let client = self_signed("good");
    let listed = [
        &client,
        &expiring("fortnight", 15 * DAY + 1800),
        &expiring("days", 5 * DAY + 2 * 3600 + 1800),
        &expired("over"),
    ];
    let handlers = [
        webhook(&receiver.url(), json!({"header_map": {"X-Token": "t"}})),
        log("certificates of partners"),
    ];
    let gateway = secure(&json!({"warning_threshold_days": 60}))
        .api("a", &watched("a", &echo, &listed, &handlers))
        .start();
    use_and_look(&gateway, &client, "/a/");
    let got = receiver.wait(3);
    let told = |name: &str| -> &Message {
        let mut all = got.iter().filter(|one| one.json()["cert_name"] == name);
        all.next()
            .unwrap_or_else(|| panic!("nothing of {name}: {got:?}"))
    };
    let days = told("days");
    assert_eq!(days.start, "POST /hook?token=secret HTTP/1.1");
    assert_eq!(days.field("user-agent"), Some("Tyk-Hookshot"));
    assert_eq!(days.field("content-type"), Some("application/json"));
    assert_eq!(days.field("x-token"), Some("t"));
    let body = days.json();
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "event",
            "message",
            "cert_id",
            "cert_name",
            "expires_at",
            "days_remaining",
            "cert_role",
            "api_id",
            "timestamp",
        ]
    );
    assert_eq!(body["event"], "CertificateExpiringSoon");
    assert_eq!(
        body["message"],
        "Certificate days is expiring in 5 days and 2 hours"
    );
    assert_eq!(body["cert_id"], certs::fingerprint(&listed[2].certificate));
    assert_eq!(body["days_remaining"], 5);
    assert_eq!(
        (&body["cert_role"], &body["api_id"]),
        (&json!("client"), &json!("a"))
    );
    let over = told("over").json();
    assert_eq!(over["message"], "Certificate over is expired since 1 days");
    assert_eq!(
        (&over["event"], &over["days_since_expiry"]),
        (&json!("CertificateExpired"), &json!(1))
    );
    assert!(over["expired_at"].as_str().unwrap().ends_with('Z'));
    told("fortnight");
    gateway.wait_log("certificates of partners: Certificate over is expired since 1 days");
    let line = gateway.wait_log("certificate expiring soon");
    assert!(line.contains("***[len=64]"), "{line}");

    use_and_look(&gateway, &client, "/a/");
    eventually("every call has ended", || {
        webhooks(&gateway, "delivered") == 3
    });
    assert_eq!(fired(&gateway, "CertificateExpiringSoon"), 2);
    assert_eq!(fired(&gateway, "CertificateExpired"), 1);
    assert_eq!(receiver.got().len(), 3);
    let log = gateway.log().text();
    assert!(
        !log.contains("token=secret"),
        "addresses of receivers are not shown"
    );
}

#[test]
fn an_oas_definition_names_a_body_of_its_own_and_a_refused_request_counts() {
    let (echo, receiver) = (Echo::start("up"), Receiver::start());
    let over = expired("over");
    let template = "{{if eq .Type \"AuthFailure\"}}{{.Meta.Path}}{{else}}\
                    <b>{{.Meta.CertName}}</b> {{.Meta.DaysSinceExpiry}}{{end}}";
    let hook = |template: &str| {
        json!({"enabled": true, "trigger": "CertificateExpired", "type": "webhook", "method": "PUT",
               "url": receiver.url(), "name": template, "bodyTemplate": template,
               "headers": [{"name": "Content-Type", "value": "text/html"}]})
    };
    let definition = json!({
        "openapi": "3.0.3", "info": {"title": "a", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": "a", "name": "a", "orgId": "default", "state": {"active": true}},
            "upstream": {"url": echo.url()},
            "server": {
                "listenPath": {"value": "/a/", "strip": true},
                "clientCertificates": {"enabled": true, "allowlist": [over.certificate_pem()]},
                "eventHandlers": [hook("own.html"), hook("other.json")],
            },
        },
    });
    let gateway = secure(&json!({}))
        .file("own.html", template)
        .file("other.json", "{{with .Meta}}{{.Message}}{{end}}")
        .api("a", &definition)
        .start();
    let said = gateway.wait_log("template other.json: line 1: `{{with .Meta}}` is not supported");
    assert!(said.contains("own body is sent instead"), "{said}");
    let (status, error) = call(&gateway).get("/a/").refusal();
    assert_eq!(
        (status, &*error),
        (403, "Client TLS certificate is required")
    );
    gateway.reload();
    let got = receiver.wait(2);
    let bodies: Vec<String> = got.iter().map(Message::text).collect();
    assert!(bodies.contains(&"<b>over</b> 1".to_owned()), "{bodies:?}");
    let own = bodies.iter().find(|body| body.starts_with('{')).unwrap();
    let own: Value = serde_json::from_str(own).unwrap();
    assert_eq!(own["cert_name"], "over");
    assert!(
        got.iter()
            .all(|one| one.start.starts_with("PUT ")
                && one.field("content-type") == Some("text/html"))
    );
}

#[test]
fn while_a_receiver_is_away_traffic_goes_on_and_it_is_told_when_it_is_back() {
    let echo = Echo::start("up");
    let (client, port) = (self_signed("good"), free_port());
    let url = format!("http://127.0.0.1:{port}/hook");
    let handlers = [webhook(&url, json!({}))];
    let listed = [&client, &expired("over")];
    let gateway = secure(&json!({}))
        .api("a", &watched("a", &echo, &listed, &handlers))
        .start();
    use_and_look(&gateway, &client, "/a/");
    gateway.wait_log("webhook did not take the event");
    assert_eq!(call(&gateway).with(&[&client]).get("/a/").status(), 200);
    let receiver = Receiver::on(port);
    let got = receiver.wait(1);
    assert_eq!(got[0].json()["cert_name"], "over");
    eventually("the call has ended", || {
        webhooks(&gateway, "delivered") == 1
    });
    assert_eq!(webhooks(&gateway, "failed"), 0);
}

#[test]
fn a_receiver_that_refuses_for_good_is_not_called_again_and_the_next_event_is_not_suppressed() {
    let echo = Echo::start("up");
    let refusing = Upstream::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let client = self_signed("good");
    let handlers = [webhook(&refusing.url(), json!({"event_timeout": 3600}))];
    let listed = [&client, &expired("over")];
    let often = json!({"check_cooldown_seconds": 1, "event_cooldown_seconds": 1});
    let gateway = secure(&often)
        .api("a", &watched("a", &echo, &listed, &handlers))
        .start();
    eventually("both events have ended in a failure", || {
        use_and_look(&gateway, &client, "/a/");
        webhooks(&gateway, "failed") >= 2
    });
    gateway.wait_log("it answers 404");
    assert_eq!(webhooks(&gateway, "suppressed"), 0);
    assert_eq!(
        refusing.requests() as u64,
        fired(&gateway, "CertificateExpired")
    );
}

#[test]
fn a_webhook_over_tls_is_told_only_where_its_certificate_is_trusted() {
    let echo = Echo::start("up");
    let client = self_signed("good");
    let trusted = Receiver::tls(acceptor(certs::localhost()).build());
    let stranger = Receiver::tls(acceptor(&self_signed("localhost")).build());
    let at = |receiver: &Receiver| {
        let port = receiver.server.address().port();
        webhook(&format!("https://localhost:{port}/"), json!({}))
    };
    let listed = [&client, &expired("over")];
    let handlers = [at(&stranger), at(&trusted)];
    let builder = secure(&json!({})).api("a", &watched("a", &echo, &listed, &handlers));
    let ca = builder.path("ca.pem").display().to_string();
    let gateway = builder.environment("SSL_CERT_FILE", &ca).start();
    use_and_look(&gateway, &client, "/a/");
    assert_eq!(trusted.wait(1)[0].json()["cert_name"], "over");
    let line = gateway.wait_log("webhook did not take the event");
    assert!(
        line.contains("TLS failed: its certificate is for another name"),
        "{line}"
    );
    assert!(stranger.got().is_empty());
}

/// IN-100
#[test]
fn within_its_cool_down_a_webhook_is_not_told_the_same_in_other_words() {
    let (echo, receiver) = (Echo::start("up"), Receiver::start());
    let client = self_signed("good");
    let handlers = [webhook(&receiver.url(), json!({"event_timeout": 3600}))];
    let listed = [&client, &expired("over")];
    let often = json!({"check_cooldown_seconds": 1, "event_cooldown_seconds": 1});
    let gateway = secure(&often)
        .api("a", &watched("a", &echo, &listed, &handlers))
        .start();
    eventually("a second event was fired", || {
        use_and_look(&gateway, &client, "/a/");
        fired(&gateway, "CertificateExpired") >= 2
    });
    eventually("the second was suppressed", || {
        webhooks(&gateway, "suppressed") >= 1
    });
    assert_eq!(webhooks(&gateway, "delivered"), 1);
    assert_eq!(receiver.got().len(), 1);
}

#[test]
fn nodes_of_one_redis_tell_once_together() {
    let (redis, echo, receiver) = (Redis::start(), Echo::start("up"), Receiver::start());
    let client = self_signed("good");
    let handlers = [webhook(&receiver.url(), json!({}))];
    let over = expired("over");
    let definition = watched("a", &echo, &[&client, &over], &handlers);
    let node = || {
        secure(&json!({}))
            .config(redis.configuration())
            .api("a", &definition)
            .start()
    };
    let nodes = [node(), node()];
    for node in &nodes {
        use_and_look(node, &client, "/a/");
    }
    let id = certs::fingerprint(&over.certificate);
    for kind in ["check", "expiry_event"] {
        let name = format!("cert-cooldown:cert_{kind}_cooldown:{id}");
        eventually("the cool-down has begun", || {
            redis.ask(&["GET", &name]).trim() == "1"
        });
        let left: i64 = redis.ask(&["TTL", &name]).trim().parse().unwrap();
        let whole = if kind == "check" { 3600 } else { DAY };
        assert!((whole - 60..=whole).contains(&left), "{kind}: {left}");
    }
    receiver.wait(1);
    // Each looks once more, so that whatever the first look did is over.
    for node in &nodes {
        use_and_look(node, &client, "/a/");
    }
    let told: u64 = nodes
        .iter()
        .map(|node| fired(node, "CertificateExpired"))
        .sum();
    assert_eq!(told, 1);
    assert_eq!(receiver.got().len(), 1);
}
