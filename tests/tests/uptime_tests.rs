//! Uptime tests of upstreams, and load balancing that passes over hosts that fail them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use openssl::{
    ssl::{SslAcceptor, SslVerifyMode},
    x509::store::X509StoreBuilder,
};
use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs,
    gateway::{Builder, Gateway, api, with},
    mtls::{authority, issued, self_signed},
    ports::free_port,
    raw,
    receiver::{Receiver, fired, log, webhook},
    upstream::{Talk, Upstream, acceptor, echo, ok},
    wait::eventually,
    wire::Message,
};
use serde_json::{Value, json};

/// A gateway that tests every second and believes each result.
fn gateway() -> Builder {
    let builder = Gateway::builder().config(json!({
        "access_logs": {"enabled": true}, "portcullis": {"workers": 1},
        "uptime_tests": {"config": {"failure_trigger_sample_size": 1, "time_wait": 1}},
    }));
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

fn ask(gateway: &Gateway, path: &str) -> Message {
    raw::ask(gateway, raw::get(path, &[]))
}

/// An API that balances over these upstreams, passing over those that fail these tests.
fn balanced(name: &str, targets: &[String], tests: &Value) -> Value {
    with(
        api(name, &format!("/{name}/"), ""),
        json!({
            "proxy": {
                "enable_load_balancing": true, "target_list": targets, "check_host_against_uptime_tests": true,
            },
            "uptime_tests": {"check_list": tests},
        }),
    )
}

/// An API of one upstream that nobody passes over; its tests are told of in the log and by metrics.
fn tested(name: &str, test: &Value) -> Value {
    with(
        api(name, &format!("/{name}/"), "http://127.0.0.1:1"),
        json!({"uptime_tests": {"check_list": [test]}}),
    )
}

/// The value of the gauge of an API's only test.
fn is_up(gateway: &Gateway, api: &str) -> bool {
    let page = gateway.control("/metrics").expect(200).text();
    let begin = format!("portcullis_uptime_test_up{{tyk_api_id=\"{api}\",");
    let line = page.lines().find(|line| line.starts_with(&begin));
    line.unwrap_or_else(|| panic!("no test of {api} in {page}"))
        .ends_with(" 1")
}

/// A server that can fall ill: `/health` tells, everything else is answered with its name.
struct Patient {
    well: Arc<AtomicBool>,
    server: Upstream,
}

impl Patient {
    fn new(name: &'static str) -> Self {
        let well = Arc::new(AtomicBool::new(true));
        let seen = well.clone();
        let server = Upstream::start(move |talk| {
            while let Some(request) = talk.request() {
                match request.target() {
                    "/health" if !seen.load(Ordering::Acquire) => {
                        talk.send("HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n");
                    }
                    _ => talk.answer(name),
                }
            }
        });
        Self { well, server }
    }

    fn set(&self, well: bool) {
        self.well.store(well, Ordering::Release);
    }

    fn test(&self) -> Value {
        json!({"url": format!("{}/health", self.server.url())})
    }
}

/// OUT-21, and what comes before and after: hosts that fail are passed over, with none left it is a 503, and one
/// that recovers is used again. A reload forgets nothing of it.
#[test]
fn hosts_that_fail_their_tests_are_passed_over_and_with_none_left_it_is_a_503() {
    let (one, two) = (Patient::new("one"), Patient::new("two"));
    let targets = [one.server.url(), two.server.url()];
    let gateway = gateway()
        .api(
            "api",
            &balanced("api", &targets, &json!([one.test(), two.test()])),
        )
        .start();
    let heard = |gateway: &Gateway| {
        let mut names: Vec<String> = (0..6).map(|_| ask(gateway, "/api/x").text()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    assert_eq!(heard(&gateway), ["one", "two"]);
    one.set(false);
    eventually("the first host is passed over", || {
        heard(&gateway) == ["two"]
    });
    gateway.wait_log("host is down: it answers 503, and only 200 is well");
    gateway.write_api("other", &api("other", "/other/", "http://127.0.0.1:1"));
    gateway.reload();
    assert_eq!(heard(&gateway), ["two"], "a reload does not bring it back");
    two.set(false);
    eventually("no host is left", || {
        ask(&gateway, "/api/x").status() == 503
    });
    let answer = ask(&gateway, "/api/nowhere");
    assert_eq!(
        (answer.status(), &*answer.text()),
        (503, "all hosts are down\n")
    );
    assert_eq!(
        answer.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let line = gateway.output().wait("\"path\":\"/api/nowhere\"");
    for part in [
        "\"response_flag\":\"NHU\"",
        "\"response_code_details\":\"no_healthy_upstreams\"",
        "\"status\":503",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let name = format!("127.0.0.1:{}", one.server.address().port());
    let page = gateway.control("/metrics").expect(200).text();
    let line = format!("portcullis_upstream_host_up{{host=\"{name}\"}} 0\n");
    assert!(page.contains(&line), "{page}");
    one.set(true);
    eventually("the first host is used again", || {
        heard(&gateway) == ["one"]
    });
    gateway.wait_log("host is up again");
}

#[test]
fn an_oas_definition_balances_and_tests_the_same_way() {
    let (one, two) = (Patient::new("one"), Patient::new("two"));
    let oas = json!({
        "openapi": "3.0.3", "info": {"title": "oas", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"name": "oas", "id": "oas", "orgId": "default", "state": {"active": true}},
            "server": {"listenPath": {"value": "/oas/", "strip": true}},
            "upstream": {
                "url": one.server.url(),
                "loadBalancing": {"enabled": true, "skipUnavailableHosts": true, "targets": [
                    {"url": one.server.url(), "weight": 2}, {"url": two.server.url(), "weight": 1},
                ]},
                "uptimeTests": {"enabled": true, "tests": [
                    {"url": format!("{}/health", one.server.url()), "timeout": "2s", "method": "GET"},
                    {"url": format!("{}/health", two.server.url()), "timeout": "2s", "method": "GET"},
                ]},
            },
        },
    });
    let gateway = gateway().api("oas", &oas).start();
    let count = |name: &str| {
        (0..6)
            .filter(|_| ask(&gateway, "/oas/x").text() == name)
            .count()
    };
    assert_eq!(count("one"), 4, "two of three shares");
    two.set(false);
    eventually("the second host is passed over", || count("one") == 6);
    one.set(false);
    eventually("no host is left", || {
        ask(&gateway, "/oas/x").text() == "all hosts are down\n"
    });
}

#[test]
fn a_host_is_down_after_so_many_failures_in_a_row_and_handlers_are_told() {
    let receiver = Receiver::start();
    let patient = Patient::new("one");
    let definition = with(
        tested("api", &patient.test()),
        json!({"event_handlers": {"events": {
            "HostDown": [webhook(&receiver.url(), json!({})), log("down")],
            "HostUp": [webhook(&receiver.url(), json!({}))],
        }}}),
    );
    let gateway = gateway()
        .config(json!({"uptime_tests": {"config": {"failure_trigger_sample_size": 2}}}))
        .api("api", &definition)
        .start();
    patient.set(false);
    let first = receiver.wait(1);
    assert!(!is_up(&gateway, "api"));
    patient.set(true);
    receiver.wait(2);
    assert!(is_up(&gateway, "api"));
    let body = first[0].json();
    let url = format!("{}/health", patient.server.url());
    assert_eq!(
        (
            &body["event"],
            &body["message"],
            &body["check_url"],
            &body["response_code"],
            &body["api_id"]
        ),
        (
            &"HostDown".into(),
            &"Uptime test failed".into(),
            &url.into(),
            &503.into(),
            &"api".into()
        ),
        "{body}"
    );
    assert_eq!(receiver.got()[1].json()["event"], "HostUp");
    gateway.wait_log("down: Uptime test failed");
    assert_eq!(
        (fired(&gateway, "HostDown"), fired(&gateway, "HostUp")),
        (1, 1)
    );
}

/// OUT-121: the test's own time counts, not the client's ten seconds.
#[test]
fn a_test_takes_no_longer_than_it_may() {
    let upstream = Upstream::start(Talk::stall);
    let health = json!({"external_services": {"health": {"proxy": {"enabled": true}}}});
    let gateway = gateway()
        .config(health)
        .api(
            "http",
            &tested("http", &json!({"url": upstream.url(), "timeout": 100})),
        )
        .api(
            "raw",
            &tested(
                "raw",
                &json!({
                    "url": format!("tcp://{}", upstream.address()), "timeout": "100ms",
                    "commands": [{"name": "expect", "message": "+PONG"}],
                }),
            ),
        )
        .start();
    gateway.wait_log("host is down: 127.0.0.1:");
    gateway.wait_log("no whole answer within 0.1 s");
    gateway.wait_log("host is down: not done within 0.1 s");
    assert!(!is_up(&gateway, "http") && !is_up(&gateway, "raw"));
}

/// OUT-108: what is written there is no proxy, so there is none; the test is done straight and succeeds.
#[test]
fn a_proxy_of_tests_that_is_none_does_not_take_upstreams_down() {
    let patient = Patient::new("one");
    let gateway = gateway()
        .config(
            json!({"external_services": {"health": {"proxy": {"http_proxy": "://invalid-proxy"}}}}),
        )
        .api(
            "api",
            &balanced("api", &[patient.server.url()], &json!([patient.test()])),
        )
        .start();
    eventually("the upstream is tested more than once", || {
        patient.server.requests() > 1
    });
    assert!(is_up(&gateway, "api"));
    assert_eq!(ask(&gateway, "/api/x").text(), "one");
}

/// A server that lets in nobody without a certificate of this authority.
fn strict(authority: &Pair) -> SslAcceptor {
    let mut acceptor = acceptor(certs::localhost());
    let mut trusted = X509StoreBuilder::new().expect("a store");
    trusted
        .add_cert(authority.certificate.clone())
        .expect("an authority");
    acceptor.set_cert_store(trusted.build());
    acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    acceptor.build()
}

#[test]
fn tests_show_the_certificate_that_is_asked_for_and_fail_without_a_connection_where_it_cannot_be_had()
 {
    let clients = authority("Clients");
    let client = issued(&clients, "tester");
    let upstream = Upstream::start_tls(strict(&clients), echo);
    let url = format!("https://localhost:{}/", upstream.address().port());
    let mtls = json!({"external_services": {"health": {"mtls": {
        "enabled": true, "cert_file": "client.pem", "key_file": "client.key", "ca_file": "ca.pem",
    }}}});
    let builder = || {
        gateway()
            .config(mtls.clone())
            .api("api", &tested("api", &json!({"url": url, "timeout": 5000})))
    };
    let good = builder()
        .file("client.pem", &client.certificate_pem())
        .file("client.key", &client.key_pem())
        .start();
    eventually("the upstream is tested more than once", || {
        upstream.requests() > 1
    });
    assert!(is_up(&good, "api"), "{}", good.log().text());
    drop(good);
    let connections = upstream.connections();
    let without = builder().start();
    without.wait_log("host is down: failed to configure TLS: mTLS certificate loading failed");
    assert!(!is_up(&without, "api"));
    assert_eq!(
        upstream.connections(),
        connections,
        "nothing is connected to without"
    );
}

#[test]
fn raw_connections_are_tested_by_what_is_said_on_them_and_with_the_tls_of_the_api() {
    let pong = |talk: &mut Talk| {
        if talk.exactly(6).is_some_and(|came| came == b"PING\r\n") {
            talk.send("+PONG\r\n");
        }
        talk.stall();
    };
    let clear = Upstream::start(pong);
    let pair = self_signed("redis");
    let secure = Upstream::start_tls(acceptor(&pair).build(), pong);
    let steps = |expected: &str| json!([{"name": "send", "message": "PING\r\n"}, {"name": "expect", "message": expected}]);
    let tcp = |expected: &str| json!({"url": clear.address().to_string(), "protocol": "tcp", "timeout": 3000, "commands": steps(expected)});
    let tls = json!({
        "url": format!("tls://localhost:{}", secure.address().port()), "timeout": 3000, "commands": steps("+PONG"),
    });
    let trusting = with(
        tested("trusting", &tls),
        json!({"proxy": {"transport": {"ssl_insecure_skip_verify": true}}}),
    );
    let header = Upstream::start(|talk| {
        let came = talk.exactly(11).unwrap_or_default();
        if came == b"PROXY TCP4 " {
            talk.send("ok");
        }
        talk.stall();
    });
    let announced = json!({
        "url": format!("tcp://{}", header.address()), "timeout": 3000, "enable_proxy_protocol": true,
        "commands": [{"name": "expect", "message": "ok"}],
    });
    let gateway = gateway()
        .api("good", &tested("good", &tcp("+PONG")))
        .api("wrong", &tested("wrong", &tcp("-PONG")))
        .api(
            "nobody",
            &tested(
                "nobody",
                &json!({"url": format!("tcp://127.0.0.1:{}", free_port())}),
            ),
        )
        .api("trusting", &trusting)
        .api("doubting", &tested("doubting", &tls))
        .api("announced", &tested("announced", &announced))
        .start();
    for (name, said) in [
        ("wrong", "it says something else than is expected"),
        ("nobody", "cannot connect"),
        ("doubting", "TLS failed"),
    ] {
        eventually("the test fails", || !is_up(&gateway, name));
        gateway.wait_log(said);
    }
    let seen = (
        clear.connections(),
        secure.connections(),
        header.connections(),
    );
    eventually("everything is tested once more", || {
        clear.connections() > seen.0 + 2
            && secure.connections() > seen.1 + 2
            && header.connections() > seen.2 + 1
    });
    for name in ["good", "trusting", "announced"] {
        assert!(is_up(&gateway, name), "{name}: {}", gateway.log().text());
    }
}

#[test]
fn a_raw_connection_of_an_api_that_has_a_proxy_is_not_tested_straight() {
    let upstream = Upstream::start(Talk::stall);
    let proxy =
        json!({"proxy": {"transport": {"proxy_url": format!("http://127.0.0.1:{}", free_port())}}});
    let test = json!({"url": format!("tcp://{}", upstream.address())});
    let gateway = gateway()
        .api("api", &with(tested("api", &test), proxy))
        .start();
    gateway.wait_log("its uptime tests by tcp:// and tls:// fail");
    gateway.wait_log("host is down: connections are not tested through the proxy of the API");
    assert_eq!(upstream.connections(), 0);
}

/// The identity towards a target is the target's own, also where it is the turn of another that is down.
#[test]
fn each_target_is_shown_its_own_certificate_whoever_is_down() {
    let clients = authority("Clients");
    let names = |talk: &mut Talk| {
        while talk.request().is_some() {
            let leaf = talk.session().peer_certificate().expect("it is required");
            let subject = format!("{:?}", leaf.subject_name());
            talk.answer(if subject.contains("first") {
                "first"
            } else {
                "second"
            });
        }
    };
    let servers = [0, 1].map(|_| Upstream::start_tls(strict(&clients), names));
    let places = servers
        .each_ref()
        .map(|server| format!("localhost:{}", server.address().port()));
    let definition = with(
        balanced(
            "api",
            &places.each_ref().map(|place| format!("https://{place}")),
            &json!([]),
        ),
        json!({"upstream_certificates": {&*places[0]: "first.pem", &*places[1]: "second.pem"}}),
    );
    let mut builder = gateway().api("api", &definition);
    for name in ["first", "second"] {
        builder = builder.file(
            &format!("{name}.pem"),
            &certs::bundle(&issued(&clients, name)),
        );
    }
    let gateway = builder.start();
    let heard = || {
        let mut names: Vec<String> = (0..4).map(|_| ask(&gateway, "/api/").text()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(
        heard(),
        ["first", "first", "second", "second"],
        "{}",
        gateway.log().text()
    );
    // A test about one of the two takes it out: its certificate is not shown to the other.
    let down = with(
        definition,
        json!({"uptime_tests": {"check_list": [{"url": format!("https://{}", places[0]), "timeout": 2000}]}}),
    );
    gateway.write_api("api", &down);
    gateway.reload();
    eventually("the first is passed over", || heard() == ["second"; 4]);
}

#[test]
fn check_tells_of_tests_and_of_targets_that_nobody_tests() {
    let patient = Patient::new("one");
    let other = Upstream::answering(ok("two"));
    let ended = gateway()
        .api(
            "api",
            &balanced(
                "api",
                &[patient.server.url(), other.url()],
                &json!([patient.test()]),
            ),
        )
        .run(&["check"]);
    let (one, two) = (patient.server.address(), other.address());
    for part in [
        format!(
            "api: uptime test http://{one}/health every 1 s; {one} is down after 1 failures in a row"
        ),
        "api: of 2 shares of traffic those whose host is down are passed over".to_owned(),
    ] {
        assert!(ended.output.contains(&part), "{}", ended.output);
    }
    let warning = format!("no uptime test is about their host and port: {two}");
    assert!(ended.log.contains(&warning), "{}", ended.log);
    assert!(ended.status.success());
}

/// Two gateways: what the one does in two rounds, the other has had the time for.
#[test]
fn where_tests_are_switched_off_nobody_is_tested_and_every_host_counts_as_up() {
    let (spared, tested) = (Patient::new("spared"), Patient::new("tested"));
    spared.set(false);
    let of = |patient: &Patient| {
        balanced(
            "api",
            &[patient.server.url()],
            &Value::from_iter([patient.test()]),
        )
    };
    let disabled = gateway()
        .config(json!({"uptime_tests": {"disable": true}}))
        .api("api", &of(&spared));
    let ended = disabled.run(&["check"]);
    let line = format!(
        "api: uptime test {}/health is not run (uptime_tests.disable)",
        spared.server.url()
    );
    assert!(ended.output.contains(&line), "{}", ended.output);
    let off = disabled.start();
    let _on = gateway().api("api", &of(&tested)).start();
    eventually("two rounds", || tested.server.requests() > 1);
    assert_eq!(spared.server.connections(), 0);
    assert_eq!(ask(&off, "/api/x").text(), "spared");
    assert!(is_up(&off, "api"));
}

/// Switched off, without what it relies on, without a place: none of them is served, so none is tested. A version
/// that has no place of its own is served by its base.
#[test]
fn only_apis_that_requests_reach_have_their_upstreams_tested() {
    let [on, off, broken, displaced, version] =
        ["on", "off", "broken", "displaced", "version"].map(Patient::new);
    let of = |name: &str, patient: &Patient, more: Value| with(tested(name, &patient.test()), more);
    let base = json!({"definition": {
        "enabled": true, "name": "v1", "default": "self", "location": "header", "key": "x-version",
        "versions": {"v2": "version"},
    }});
    let gateway = gateway()
        .api("on", &of("on", &on, base))
        .api("off", &of("off", &off, json!({"active": false})))
        .api(
            "broken",
            &of(
                "broken",
                &broken,
                json!({"proxy": {"target_url": "tyk://other"}}),
            ),
        )
        .api(
            "displaced",
            &of(
                "displaced",
                &displaced,
                json!({"proxy": {"listen_path": "/displaced/{id:(}/"}}),
            ),
        )
        .api(
            "version",
            &of("version", &version, json!({"active": false})),
        )
        .start();
    eventually("two rounds", || {
        on.server.requests() > 1 && version.server.requests() > 1
    });
    for (name, patient) in [
        ("off", &off),
        ("broken", &broken),
        ("displaced", &displaced),
    ] {
        assert_eq!(patient.server.connections(), 0, "{name}");
    }
    let page = gateway.control("/metrics").expect(200).text();
    let series: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("portcullis_uptime_test_up{"))
        .collect();
    assert_eq!(series.len(), 2, "{series:?}");
}
