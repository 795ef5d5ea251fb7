//! Versions and suites towards upstreams, an API's over the gateway's; and what is told of the client
//! certificates that are shown to them when these end.

use openssl::ssl::{SslAcceptorBuilder, SslVersion};
use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs,
    gateway::{Builder, Gateway, api, with},
    mtls::expiring,
    raw,
    upstream::{Talk, Upstream, acceptor},
    wait::eventually,
};
use serde_json::{Value, json};

/// Answers with the TLS version and suite of the connection.
fn tell_session(talk: &mut Talk) {
    while talk.request().is_some() {
        let session = talk.session();
        let suite = session.current_cipher().map_or("", |cipher| cipher.name());
        let text = format!("{} {suite}", session.version_str());
        talk.answer(&text);
    }
}

fn open() -> SslAcceptorBuilder {
    let mut server = acceptor(certs::localhost());
    let newest = Some(SslVersion::TLS1_3);
    server.set_max_proto_version(newest).expect("a version");
    server
}

fn start(server: SslAcceptorBuilder) -> (Upstream, String) {
    let upstream = Upstream::start_tls(server.build(), tell_session);
    let url = format!("https://localhost:{}", upstream.address().port());
    (upstream, url)
}

fn trusting(config: Value) -> Builder {
    let builder = Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "portcullis": {"workers": 1}}))
        .config(config);
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

fn leading(name: &str, url: &str, transport: &Value) -> Value {
    let more = json!({"proxy": {"transport": transport}});
    with(api(name, &format!("/{name}/"), url), more)
}

fn ask(gateway: &Gateway, name: &str) -> (u16, String) {
    let answer = raw::ask(gateway, raw::get(&format!("/{name}/"), &[]));
    (answer.status(), answer.text())
}

/// OUT-28, OUT-29
#[test]
fn an_api_has_its_own_versions_and_where_none_is_left_its_requests_fail() {
    let (_upstream, url) = start(open());
    let gateway = trusting(json!({"proxy_ssl_max_version": 772}))
        .api("plain", &leading("plain", &url, &json!({})))
        .api(
            "older",
            &leading("older", &url, &json!({"ssl_max_version": 771})),
        )
        .start();
    assert!(ask(&gateway, "plain").1.starts_with("TLSv1.3 "));
    assert!(ask(&gateway, "older").1.starts_with("TLSv1.2 "));

    let gateway = trusting(json!({"proxy_ssl_min_version": 772, "proxy_ssl_max_version": 772}))
        .api("plain", &leading("plain", &url, &json!({})))
        .api(
            "older",
            &leading("older", &url, &json!({"ssl_max_version": 771})),
        )
        .start();
    assert_eq!(ask(&gateway, "older").0, 500);
    let line = gateway.output().wait("\"path\":\"/older/\"");
    assert!(line.contains("tls_protocol_version_error"), "{line}");
    assert_eq!(ask(&gateway, "plain").0, 200);
}

/// OUT-33, OUT-34: an API's list replaces the gateway's. A name is good in any case; one that nobody knows
/// is an error (decision 4).
#[test]
fn the_suites_of_an_api_replace_those_of_the_gateway() {
    let mut server = acceptor(certs::localhost());
    let suite = "ECDHE-ECDSA-AES256-GCM-SHA384";
    server.set_cipher_list(suite).expect("a suite");
    server
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .expect("a version");
    let (_upstream, url) = start(server);
    let config = json!({"proxy_ssl_ciphers": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]});
    let own = json!({"ssl_ciphers": ["tls_ecdhe_ecdsa_with_aes_256_gcm_sha384"]});
    let unknown =
        json!({"ssl_ciphers": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_NOBODY_KNOWS"]});
    let gateway = trusting(config)
        .api("plain", &leading("plain", &url, &json!({})))
        .api("own", &leading("own", &url, &own))
        .api("unknown", &leading("unknown", &url, &unknown))
        .start();
    assert_eq!(ask(&gateway, "plain").0, 500);
    assert_eq!(ask(&gateway, "own"), (200, format!("TLSv1.2 {suite}")));
    assert_eq!(ask(&gateway, "unknown").0, 503);
    gateway.wait_log("TLS_NOBODY_KNOWS");
}

/// OUT-32 as decision 4 has it: a list that leaves nothing to offer is an error, never "as if unset".
#[test]
fn suites_of_tls_1_3_alone_leave_nothing_for_tls_1_2() {
    let ended = trusting(json!({"proxy_ssl_ciphers": ["TLS_AES_256_GCM_SHA384"]})).fail();
    assert!(
        ended.log.contains("only TLS 1.3 cipher suites are named"),
        "{}",
        ended.log
    );
    let (upstream, url) = start(open());
    let list = json!({"ssl_ciphers": ["TLS_AES_256_GCM_SHA384"]});
    let gateway = trusting(json!({}))
        .api("api", &leading("api", &url, &list))
        .start();
    assert_eq!(ask(&gateway, "api").0, 503);
    assert_eq!(upstream.connections(), 0);
}

fn told(gateway: &Gateway, event: &str) -> u64 {
    let page = gateway.control("/metrics").expect(200).text();
    let series = format!("portcullis_events_total{{event=\"{event}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&series));
    line.and_then(|value| value.parse().ok()).expect("a number")
}

const SOON: &str = "CertificateExpiringSoon";

fn shown(name: &str, url: &str, pair: &Pair, more: Value) -> Value {
    let log = json!([{"handler_name": "eh_log_handler", "handler_meta": {"prefix": "told"}}]);
    let api = with(
        leading(name, url, &json!({})),
        json!({
            "upstream_certificates": {"*": certs::bundle(pair)},
            "event_handlers": {"events": {(SOON): log, "CertificateExpired": log}},
        }),
    );
    with(api, more)
}

/// OUT-135, OUT-136: an upstream without any wish for it is called all the same.
#[test]
fn a_client_certificate_that_ends_soon_is_told_of_once_it_is_in_use_and_once_only() {
    let (_upstream, url) = start(open());
    let pair = expiring("shown.test", 15 * 86_400 - 3_600);
    let monitor = json!({"security": {"certificate_expiry_monitor":
        {"warning_threshold_days": 30, "event_cooldown_seconds": 3600}}});
    let gateway = trusting(monitor)
        .api("api", &shown("api", &url, &pair, json!({})))
        .start();
    assert_eq!(told(&gateway, SOON), 0);
    assert_eq!(ask(&gateway, "api").0, 200);
    gateway.reload();
    eventually("it is told of", || told(&gateway, SOON) == 1);
    let line = gateway.wait_log("certificate expiring soon");
    for part in ["upstream", "shown.test", "14"] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(ask(&gateway, "api").0, 200);
    gateway.reload();
    assert_eq!(told(&gateway, SOON), 1);
}

/// OUT-137, OUT-138
#[test]
fn certificates_of_the_gateway_are_watched_except_for_apis_that_have_theirs_switched_off() {
    let (_upstream, url) = start(open());
    let pair = expiring("shown.test", 15 * 86_400 - 3_600);
    let config = json!({"security": {"certificates": {"upstream": {"*": certs::bundle(&pair)}}}});
    let off = json!({"upstream_certificates_disabled": true});
    let gateway = trusting(config)
        .api("off", &shown("off", &url, &pair, off))
        .api("plain", &leading("plain", &url, &json!({})))
        .start();
    assert_eq!(ask(&gateway, "off").0, 200);
    gateway.reload();
    assert_eq!(told(&gateway, SOON), 0);
    assert_eq!(ask(&gateway, "plain").0, 200);
    gateway.reload();
    eventually("it is told of", || told(&gateway, SOON) == 1);
    gateway.wait_log("certificate expiring soon");
}
