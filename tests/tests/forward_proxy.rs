//! Forward proxies on the way to upstreams: real squids, and scripts where a proxy must do what none does.

use portcullis_tests::{
    certs,
    forward::{
        PROBLEM, answering, ask, assert_failed, by, secure_echo, secure_url, trusting, tunnelling,
    },
    gateway::{api, with},
    ports, raw,
    squid::{CREDENTIALS, Squid},
    upstream::{Talk, Upstream, acceptor, echo},
    wire::Wire,
};
use serde_json::{Value, json};

/// OUT-92.
#[test]
fn an_https_target_is_reached_through_a_tunnel_that_is_kept_and_tls_goes_from_end_to_end() {
    let (squid, upstream) = (Squid::start(), secure_echo());
    let gateway = trusting(&by(&squid.url(), &secure_url(&upstream))).start();
    for _ in 0..3 {
        let response = ask(&gateway);
        assert_eq!(response.status(), 200, "{}", response.text());
        let seen = response.json();
        assert_eq!(seen["target"], "/x?q=1");
        assert!(
            !seen.to_string().to_lowercase().contains("proxy-"),
            "{seen}"
        );
    }
    assert_eq!((upstream.connections(), upstream.requests()), (1, 3));
    upstream.cut_all();
    let line = squid.wait("CONNECT ");
    let port = upstream.address().port();
    assert!(
        line.starts_with(&format!("CONNECT localhost:{port} 200 ")),
        "{line}"
    );
    assert_eq!(squid.tunnels(), 1);
    // A tunnel that was closed is not used again.
    assert_eq!(ask(&gateway).status(), 200);
    assert_eq!(upstream.connections(), 2);
}

/// OUT-93: with squid, and byte by byte.
#[test]
fn a_plain_target_is_asked_for_in_absolute_form() {
    let (squid, upstream) = (Squid::start(), Upstream::echo());
    let gateway = trusting(&by(&squid.url(), &upstream.url())).start();
    assert_eq!(ask(&gateway).json()["target"], "/x?q=1");
    let asked = format!("GET {}/x?q=1 200 ", upstream.url());
    squid.wait(&asked);

    let proxy = Upstream::echo();
    let definition = with(
        by(&proxy.url(), "http://Upstream.test:8081/base/"),
        json!({"proxy": {"preserve_host_header": true}}),
    );
    let gateway = trusting(&definition).start();
    let seen = ask(&gateway).json();
    assert_eq!(seen["target"], "http://Upstream.test:8081/base/x?q=1");
    // Another host beside the target's would let a client choose where the proxy goes.
    let hosts: Vec<&Value> = seen["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .filter(|field| {
            field[0]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case("host"))
        })
        .map(|field| &field[1])
        .collect();
    assert_eq!(hosts, ["Upstream.test:8081"]);
    gateway.wait_log("the client's Host is not preserved");
}

/// OUT-93: a connection to a proxy serves all its targets, but nobody with other credentials.
#[test]
fn connections_to_a_proxy_are_shared_between_targets_and_never_between_credentials() {
    let proxy = Upstream::echo();
    let named = |name: &str, url: &str, host: &str| {
        with(
            api(name, &format!("/{name}/"), &format!("http://{host}.test/")),
            json!({"proxy": {"transport": {"proxy_url": url}}}),
        )
    };
    let plain = proxy.url();
    let other = plain.replace("http://", "http://somebody:else@");
    let gateway = trusting(&named("api", &plain, "one"))
        .api("two", &named("two", &plain, "two"))
        .api("three", &named("three", &other, "one"))
        .start();
    for (path, target, connections) in [
        ("/api/", "http://one.test/", 1),
        ("/two/", "http://two.test/", 1),
        ("/three/", "http://one.test/", 2),
        ("/api/", "http://one.test/", 2),
        ("/three/", "http://one.test/", 2),
    ] {
        let seen = raw::ask(&gateway, raw::get(path, &[])).json();
        assert_eq!(seen["target"], target);
        assert_eq!(proxy.connections(), connections, "{path}");
    }
}

/// OUT-94.
#[test]
fn credentials_are_decoded_and_told_to_the_proxy_alone() {
    // `us@er:pa:ss`
    const AUTHORIZATION: &str = "Proxy-Authorization: Basic dXNAZXI6cGE6c3M=";
    let (squid, upstream) = (Squid::builder().with_password().start(), secure_echo());
    let proxy = squid.url_as(CREDENTIALS);
    let gateway = trusting(&by(&proxy, &secure_url(&upstream))).start();
    let claim = raw::get("/api/x", &["Proxy-Authorization: Basic bm9ib2R5Og=="]);
    for _ in 0..2 {
        let response = raw::ask(&gateway, claim.as_str());
        assert_eq!(response.status(), 200, "{}", response.text());
        assert!(
            !response
                .text()
                .to_lowercase()
                .contains("proxy-authorization")
        );
    }
    upstream.cut_all();
    let line = squid.wait("CONNECT ");
    assert!(
        line.contains("[us@er]") || line.contains("[us%40er]"),
        "{line}"
    );

    // In a tunnel's request, and nowhere else.
    let upstream = secure_echo();
    let proxy = Upstream::start(tunnelling(upstream.address()));
    let url = proxy
        .url()
        .replace("http://", &format!("http://{CREDENTIALS}@"));
    let gateway = trusting(&by(&url, &secure_url(&upstream))).start();
    assert_eq!(raw::ask(&gateway, claim.as_str()).status(), 200);
    let port = upstream.address().port();
    let asked = format!(
        "CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n{AUTHORIZATION}\r\n\r\n"
    );
    assert!(
        proxy.received().concat().starts_with(&asked),
        "{:?}",
        proxy.received()
    );
    assert!(
        !upstream
            .received()
            .concat()
            .to_lowercase()
            .contains("proxy-")
    );

    // With each request that a proxy forwards; what the client claims is not passed on.
    let proxy = Upstream::echo();
    let url = proxy
        .url()
        .replace("http://", &format!("http://{CREDENTIALS}@"));
    let gateway = trusting(&by(&url, "http://upstream.test/")).start();
    for _ in 0..2 {
        assert_eq!(raw::ask(&gateway, claim.as_str()).status(), 200);
    }
    let received = proxy.received().concat();
    assert_eq!(received.matches(AUTHORIZATION).count(), 2, "{received}");
    assert_eq!(
        received
            .to_lowercase()
            .matches("proxy-authorization")
            .count(),
        2,
        "{received}"
    );
    assert!(
        !gateway.log().text().contains("pa:ss"),
        "{}",
        gateway.log().text()
    );
}

/// OUT-95: for a tunnel and for a request that is forwarded.
#[test]
fn a_proxy_that_wants_a_password_is_a_500_and_the_log_says_so() {
    let squid = Squid::builder().with_password().start();
    let (secure, plain) = (secure_echo(), Upstream::echo());
    for (proxy, target) in [
        (squid.url(), secure_url(&secure)),
        (squid.url_as("us%40er:wrong"), secure_url(&secure)),
        (squid.url(), plain.url()),
    ] {
        let gateway = trusting(&by(&proxy, &target)).start();
        let error = assert_failed(&gateway, "UPE", "upstream_error", "proxy");
        assert!(
            error.contains("http: proxy error: Proxy Authentication Required (407 "),
            "{error}"
        );
        assert!(error.contains(&squid.url()), "{error}");
    }
    assert_eq!((secure.connections(), plain.connections()), (0, 0));
}

/// OUT-98.
#[test]
fn an_upstream_that_is_taken_for_a_proxy_is_a_500() {
    let (secure, plain) = (secure_echo(), answering("HTTP/1.1 404 Not Found\r\n\r\n"));
    let gateway = trusting(&by(&plain.url(), &secure_url(&secure))).start();
    let error = assert_failed(&gateway, "UPE", "upstream_error", "proxy");
    assert!(
        error.contains("Not Found (404 from proxy http://127.0.0.1:"),
        "{error}"
    );
    // Behind TLS, it is spoken to in clear text and says in an alert that it does not understand.
    let proxy = answering("\x15\x03\x03\0\x02\x02\x46");
    let gateway = trusting(&by(&proxy.url(), &secure_url(&secure))).start();
    assert_failed(&gateway, "URR", "connection_reset", "proxy");
    assert_eq!(secure.connections(), 0);
}

/// OUT-99.
#[test]
fn a_proxy_of_an_oas_definition_counts_unless_it_is_disabled() {
    let upstream = secure_echo();
    let proxy = Upstream::start(tunnelling(upstream.address()));
    let oas = |settings: Value| {
        json!({
            "openapi": "3.0.3", "info": {"title": "api", "version": "1"}, "paths": {},
            "x-tyk-api-gateway": {
                "info": {"name": "api", "id": "api", "orgId": "default", "state": {"active": true}},
                "server": {"listenPath": {"value": "/api/", "strip": true}},
                "upstream": {"url": secure_url(&upstream), "proxy": settings},
            },
        })
    };
    let gateway = trusting(&oas(json!({"enabled": false, "url": proxy.url()}))).start();
    assert_eq!(ask(&gateway).status(), 200);
    assert_eq!(proxy.connections(), 0);
    let gateway = trusting(&oas(json!({"enabled": true, "url": proxy.url()}))).start();
    assert_eq!(ask(&gateway).status(), 200);
    assert_eq!(proxy.connections(), 1);
}

/// OUT-100.
#[test]
fn a_proxy_that_does_not_listen_is_a_500() {
    let port = ports::free_port();
    for target in ["https://localhost:9/", "http://localhost:9/"] {
        let proxy = format!("http://{CREDENTIALS}@127.0.0.1:{port}");
        let gateway = trusting(&by(&proxy, target)).start();
        let error = assert_failed(&gateway, "UCF", "connection_refused", "proxy");
        assert!(
            error.contains("http: proxy error: proxyconnect tcp: "),
            "{error}"
        );
        assert!(
            error.contains(&format!("http://127.0.0.1:{port}")),
            "{error}"
        );
    }
    let gateway = trusting(&by("http://no-such-proxy.invalid:1", "http://localhost:9/")).start();
    assert!(ask(&gateway).text().contains("Upstream host lookup failed"));
    gateway.wait_log("proxyconnect tcp: cannot resolve `no-such-proxy.invalid`");
}

#[test]
fn answers_that_no_proxy_gives_open_no_tunnel() {
    let upstream = secure_echo();
    for (answer, flag, detail, told) in [
        (
            "",
            "URR",
            "connection_reset",
            "closed before it answered CONNECT",
        ),
        (
            "HTTP/1.1 200",
            "URR",
            "connection_reset",
            "closed before it answered CONNECT",
        ),
        (
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "UPE",
            "upstream_error",
            "does not answer CONNECT like a proxy",
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            "UPE",
            "upstream_error",
            "No Content (204 from proxy",
        ),
        (
            "HTTP/1.1 503 \r\n\r\n",
            "UPE",
            "upstream_error",
            "Service Unavailable (503 from proxy",
        ),
        (
            "HTTP/1.1 403 Not here\r\nContent-Length: 4\r\n\r\nlong",
            "UPE",
            "upstream_error",
            "Not here (403 from proxy",
        ),
    ] {
        let proxy = answering(answer);
        let gateway = trusting(&by(&proxy.url(), &secure_url(&upstream))).start();
        let error = assert_failed(&gateway, flag, detail, "proxy");
        assert!(error.contains(told), "{error}");
        assert!(error.contains(&proxy.url()), "{error}");
    }
    let endless = Upstream::start(|talk| {
        if talk.head().is_some() {
            talk.send("HTTP/1.1 200 OK\r\n");
            while talk
                .try_send("X-More: and more, and more, and more\r\n")
                .is_ok()
            {}
        }
    });
    let gateway = trusting(&by(&endless.url(), &secure_url(&upstream))).start();
    let error = assert_failed(&gateway, "UPE", "upstream_error", "proxy");
    assert!(
        error.contains("does not answer CONNECT like a proxy"),
        "{error}"
    );
    assert_eq!(upstream.connections(), 0);
}

/// A deadline for everything counts while a tunnel is waited for.
#[test]
fn a_proxy_that_does_not_answer_uses_up_no_more_than_the_time_of_the_request() {
    let proxy = Upstream::start(Talk::stall);
    let definition = with(
        by(&proxy.url(), "https://upstream.test/"),
        json!({"global_enforce_timeout": 1}),
    );
    let gateway = trusting(&definition).start();
    let response = ask(&gateway);
    assert_eq!(response.status(), 504);
    assert!(
        response
            .text()
            .contains("Upstream service reached hard timeout.")
    );
}

/// Outbound sheet 6: the API loads and fails, so that nobody is reached by another way.
#[test]
fn a_proxy_url_that_cannot_be_used_is_told_at_load_and_answered_with_500() {
    let upstream = Upstream::echo();
    for proxy in [
        "my-proxy:8080",
        "10.0.0.1:8080",
        "ftp://proxy.test",
        "http://",
    ] {
        let builder = trusting(&by(proxy, &upstream.url()));
        let checked = builder.run(&["check"]);
        assert!(!checked.status.success(), "{}", checked.log);
        assert!(
            checked
                .log
                .contains("the proxy towards its upstream cannot be used"),
            "{}",
            checked.log
        );
        let gateway = builder.start();
        gateway.wait_log("the proxy towards its upstream cannot be used");
        let error = assert_failed(&gateway, "UPE", "upstream_error", "proxy");
        assert!(error.contains("the proxy cannot be used"), "{error}");
    }
    // What is not built is not served at all.
    let gateway = trusting(&by("socks5://proxy.test:1080", &upstream.url())).start();
    assert_eq!(ask(&gateway).status(), 503);
    gateway.wait_log("SOCKS proxy towards the upstream");
    assert_eq!(upstream.connections(), 0);
}

/// A server may speak first, and what it says may come along with the proxy's answer.
#[test]
fn a_relayed_service_is_reached_through_a_tunnel_of_its_api() {
    let proxy = Upstream::start(|talk| {
        if talk.head().is_some() {
            talk.send("HTTP/1.1 200 OK\r\nVia: script\r\n\r\n220 welcome\r\n");
            let sent = talk.exactly(5).expect("five bytes");
            talk.send(sent);
        }
    });
    let port = ports::free_port();
    let definition = with(
        by(&proxy.url(), "tcp://upstream.test:2525"),
        json!({"protocol": "tcp", "listen_port": port}),
    );
    let gateway = trusting(&definition)
        .config(json!({"disable_ports_whitelist": true}))
        .start();
    let mut wire = Wire::new(gateway.connect_to(port));
    assert_eq!(wire.exactly(13).as_deref(), Some(&b"220 welcome\r\n"[..]));
    wire.send("hello");
    assert_eq!(wire.rest(), b"hello");
    assert!(proxy.received()[0].starts_with("CONNECT upstream.test:2525 HTTP/1.1\r\n"));
}

/// OUT-103: the environment's proxies, and who is reached without them.
#[test]
fn proxies_of_the_environment_are_for_other_machines_unless_no_proxy_names_them() {
    let plain = Upstream::echo();
    let secure = Upstream::start_tls(
        acceptor(&certs::server(&["upstream.test", "below.test"])).build(),
        echo,
    );
    let port = secure.address().port();
    let tunnels = Upstream::start(tunnelling(secure.address()));
    let to = |name: &str, url: &str| api(name, &format!("/{name}/"), url);
    let named = with(
        to("named", &format!("https://below.test:{port}/")),
        json!({"proxy": {"transport": {"proxy_url": tunnels.url()}}}),
    );
    let gateway = trusting(&to("api", &format!("https://upstream.test:{port}/")))
        .api("plain", &to("plain", "http://upstream.test/"))
        .api("here", &to("here", &format!("https://localhost:{port}/")))
        .api("spared", &to("spared", "https://a.below.test/"))
        .api("named", &named)
        .environment("HTTPS_PROXY", &tunnels.url())
        .environment("http_proxy", &plain.address().to_string())
        .environment("NO_PROXY", "below.test, 10.0.0.0/8")
        .start();
    let get = |path: &str| raw::ask(&gateway, raw::get(path, &[]));
    assert_eq!(get("/api/").status(), 200);
    assert_eq!(tunnels.connections(), 1);
    assert!(
        tunnels.received()[0].starts_with(&format!("CONNECT upstream.test:{port} HTTP/1.1\r\n"))
    );
    assert_eq!(get("/plain/").json()["target"], "http://upstream.test/");
    // This machine is reached straight; its certificate is for other names.
    assert_eq!(get("/here/").text(), PROBLEM);
    gateway.wait_log("tls_hostname_mismatch");
    // So is what the list names, and there is no such host.
    assert!(
        get("/spared/")
            .text()
            .contains("Upstream host lookup failed")
    );
    assert_eq!(tunnels.connections(), 1);
    // An API's own proxy does not care for the list.
    assert_eq!(get("/named/").status(), 200);
    assert_eq!(tunnels.connections(), 2);
}

#[test]
fn check_shows_the_proxy_of_an_api_without_its_password() {
    let builder = trusting(&by(
        &format!("http://{CREDENTIALS}@proxy.test:3128"),
        "https://upstream.test/",
    ));
    let checked = builder.run(&["check"]);
    assert!(checked.status.success(), "{}", checked.log);
    let told = "served -> https://upstream.test/ by http://proxy.test:3128\n";
    assert!(checked.output.contains(told), "{}", checked.output);
}
