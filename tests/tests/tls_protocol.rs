//! Versions, suites, groups, ALPN, sessions, and what is said to those who do not speak TLS.

use std::io::{Read, Write};

use openssl::ssl::SslVersion;
use portcullis_tests::{
    certs::{self, Algorithm},
    echo::Echo,
    gateway::{Builder, Ended, Gateway, api},
    tls::{Client, Said, s_client},
};
use serde_json::{Value, json};

/// A TLS gateway with these server options before an open API.
fn with_options(options: impl Into<Value>, echo: &Echo) -> Builder {
    Gateway::builder()
        .tls()
        .config(json!({"http_server_options": options.into()}))
        .api("open", &api("open", "/", &echo.url()))
}

/// A gateway whose version limits are just these, 0 for none; it must not start.
fn refused_versions(min: u16, max: u16) -> Ended {
    Gateway::builder()
        .tls()
        .config(json!({"http_server_options": {"min_version": min, "max_version": max}}))
        .fail()
}

/// What a client that speaks one version gets: the alert that refuses it, if any.
fn refused(gateway: &Gateway, version: SslVersion) -> Option<u8> {
    let client = Client::new().set(|client| {
        client.set_min_proto_version(Some(version))?;
        client.set_max_proto_version(Some(version))
    });
    client
        .connect(gateway.address())
        .err()
        .map(|refused| refused.alert.expect("an alert"))
}

/// The suites of IN-86 before a server with an RSA key.
fn with_ciphers(ciphers: &[&str], echo: &Echo) -> Gateway {
    let rsa = certs::server_with(&["localhost", "127.0.0.1"], Algorithm::Rsa2048);
    let options = json!({"max_version": 771, "ssl_ciphers": ciphers});
    with_options(options, echo)
        .file("server.pem", &certs::bundle(&rsa))
        .start()
}

fn offering(gateway: &Gateway, ciphers: &str) -> Said {
    s_client(gateway.address(), &["-tls1_2", "-cipher", ciphers], "")
}

/// IN-86
#[test]
fn a_client_that_shares_a_named_suite_gets_a_handshake() {
    let echo = Echo::start("open");
    let names = [
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    ];
    let gateway = with_ciphers(&names, &echo);
    let said = offering(
        &gateway,
        "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA",
    );
    assert!(
        said.text.contains("Cipher is ECDHE-RSA-AES128-SHA\n"),
        "{said:?}"
    );
}

/// IN-87
#[test]
fn a_client_that_shares_no_named_suite_gets_handshake_failure() {
    let echo = Echo::start("open");
    let names = [
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    ];
    let gateway = with_ciphers(&names, &echo);
    assert_eq!(
        offering(&gateway, "ECDHE-RSA-CHACHA20-POLY1305").alert(),
        Some(40)
    );
}

/// IN-88
#[test]
fn names_of_suites_may_be_in_small_letters_or_short() {
    let echo = Echo::start("open");
    let small = with_ciphers(&["tls_ecdhe_rsa_with_aes_256_gcm_sha384"], &echo);
    let said = offering(&small, "ECDHE-RSA-AES256-GCM-SHA384");
    assert!(
        said.text
            .contains("Cipher is ECDHE-RSA-AES256-GCM-SHA384\n"),
        "{said:?}"
    );
    assert_eq!(
        offering(&small, "ECDHE-RSA-AES128-GCM-SHA256").alert(),
        Some(40)
    );

    let short = with_ciphers(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"], &echo);
    let said = offering(&short, "ECDHE-RSA-CHACHA20-POLY1305");
    assert!(
        said.text
            .contains("Cipher is ECDHE-RSA-CHACHA20-POLY1305\n"),
        "{said:?}"
    );
}

#[test]
fn a_suite_that_does_not_exist_stops_the_start_with_the_nearest_that_does() {
    let ended = Gateway::builder()
        .tls()
        .config(json!({"http_server_options": {"ssl_ciphers": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA257"]}}))
        .fail();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.log.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        "{}",
        ended.log
    );
    assert!(ended.log.contains("ssl_ciphers"), "{}", ended.log);
}

#[test]
fn a_suite_the_library_lacks_is_left_out_with_a_warning_and_a_list_of_nothing_else_stops_the_start()
{
    let echo = Echo::start("open");
    let gateway = with_ciphers(
        &[
            "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ],
        &echo,
    );
    let line = gateway.wait_log("TLS_ECDHE_RSA_WITH_RC4_128_SHA");
    assert!(line.contains("WARN"), "{line}");

    let ended = Gateway::builder()
        .tls()
        .config(json!({"http_server_options": {"ssl_ciphers": ["TLS_ECDHE_RSA_WITH_RC4_128_SHA"]}}))
        .fail();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.log.contains("TLS_ECDHE_RSA_WITH_RC4_128_SHA"),
        "{}",
        ended.log
    );
}

/// IN-89, with the default range of 771 to 771 that decision 2 asks for.
#[test]
fn the_range_of_versions_is_what_is_set_over_tls_12_alone() {
    let echo = Echo::start("open");
    for (min, max, speaks_12, speaks_13) in [
        (0, 0, true, false),
        (770, 0, true, false),
        (0, 772, true, true),
        (771, 771, true, false),
        (772, 772, false, true),
    ] {
        let gateway = with_options(json!({"min_version": min, "max_version": max}), &echo).start();
        let expected = |speaks: bool| if speaks { None } else { Some(70) };
        assert_eq!(
            refused(&gateway, SslVersion::TLS1_2),
            expected(speaks_12),
            "TLS 1.2 with {min} to {max}"
        );
        assert_eq!(
            refused(&gateway, SslVersion::TLS1_3),
            expected(speaks_13),
            "TLS 1.3 with {min} to {max}"
        );
        assert_eq!(
            refused(&gateway, SslVersion::TLS1_1),
            Some(70),
            "TLS 1.1 with {min} to {max}"
        );
    }
}

#[test]
fn a_gateway_without_tls_13_says_so_once_and_a_minimum_below_tls_12_is_raised_with_a_warning() {
    let echo = Echo::start("open");
    let gateway = with_options(json!({"min_version": 769, "max_version": 0}), &echo).start();
    let hint = gateway.wait_log("TLS 1.3 is off");
    assert!(hint.contains("772"), "{hint}");
    let raised = gateway.wait_log("http_server_options.min_version");
    assert!(
        raised.contains("WARN") && raised.contains("769"),
        "{raised}"
    );
    gateway.reload();
    assert_eq!(gateway.log().text().matches("TLS 1.3 is off").count(), 1);
}

/// IN-90
#[test]
fn version_limits_that_leave_nothing_stop_the_start() {
    for (min, max, said) in [
        (0, 770, "provided maxTLS"),
        (
            773,
            0,
            "exceeds the default maximum TLS version (TLS 1.2); provide both versions explicitly",
        ),
        (
            772,
            771,
            "minTLS (0x304 / TLS 1.3) cannot be greater than maxTLS (0x303 / TLS 1.2)",
        ),
        (
            772,
            0,
            "exceeds the default maximum TLS version (TLS 1.2); provide both versions explicitly",
        ),
    ] {
        let ended = refused_versions(min, max);
        assert_eq!(ended.status.code(), Some(1), "{min} to {max}");
        assert!(ended.log.contains(said), "{min} to {max}: {}", ended.log);
    }
}

/// OUT-26
#[test]
fn a_minimum_above_the_maximum_ends_the_process_with_both_versions_named() {
    let ended = refused_versions(772, 771);
    let said = "minTLS (0x304 / TLS 1.3) cannot be greater than maxTLS (0x303 / TLS 1.2)";
    assert!(ended.log.contains(said), "{}", ended.log);
}

/// OUT-27
#[test]
fn a_maximum_below_the_default_minimum_ends_the_process_with_a_hint() {
    let ended = refused_versions(0, 770);
    let said =
        "is lower than the default minimum TLS version (TLS 1.2); provide both versions explicitly";
    assert!(ended.log.contains(said), "{}", ended.log);
}

/// IN-91
#[test]
fn an_http2_client_is_answered_in_http2_when_it_is_enabled() {
    let echo = Echo::start("open");
    let gateway = with_options(json!({"enable_http2": true}), &echo).start();
    let response = gateway
        .curl()
        .arguments(&["--http2"])
        .send(&gateway.url("/"))
        .expect(200);
    assert_eq!(response.http_version, "2");
    let tls12 = gateway
        .curl()
        .arguments(&["--http2", "--tls-max", "1.2"])
        .send(&gateway.url("/"))
        .expect(200);
    assert_eq!(tls12.http_version, "2");
}

#[test]
fn alpn_answers_h2_when_it_is_offered_nothing_to_http11_and_an_alert_to_anything_else() {
    let echo = Echo::start("open");
    let gateway = with_options(json!({"enable_http2": true}), &echo).start();
    let chosen = |names: &[&str]| {
        let stream = Client::new().alpn(names).connect(gateway.address())?;
        Ok::<_, portcullis_tests::tls::Refused>(
            stream.ssl().selected_alpn_protocol().map(<[u8]>::to_vec),
        )
    };
    assert_eq!(
        chosen(&["http/1.1", "h2"]).unwrap().as_deref(),
        Some(&b"h2"[..])
    );
    assert_eq!(chosen(&["http/1.1"]).unwrap(), None);
    assert_eq!(chosen(&["spdy/3"]).unwrap_err().alert, Some(120));
    assert_eq!(chosen(&[]).unwrap(), None);
}

#[test]
fn without_enable_http2_no_protocol_is_chosen_and_http11_is_spoken() {
    let echo = Echo::start("open");
    let gateway = with_options(json!({"enable_http2": false}), &echo).start();
    let stream = Client::new()
        .alpn(&["h2", "http/1.1"])
        .connect(gateway.address())
        .unwrap();
    assert_eq!(stream.ssl().selected_alpn_protocol(), None);
    let response = gateway
        .curl()
        .arguments(&["--http2"])
        .send(&gateway.url("/"))
        .expect(200);
    assert_eq!(response.http_version, "1.1");
}

#[test]
fn the_hybrid_key_agreement_is_offered_whenever_tls_13_is() {
    let echo = Echo::start("open");
    let on = with_options(json!({"max_version": 772}), &echo).start();
    let only = || Client::new().set(|client| client.set_groups_list("X25519MLKEM768"));
    let stream = only().connect(on.address()).expect("the group is shared");
    assert_eq!(stream.ssl().version_str(), "TLSv1.3");

    let off = with_options(json!({"max_version": 771}), &echo).start();
    assert!(
        only().connect(off.address()).is_err(),
        "TLS 1.2 has no such group"
    );
}

#[test]
fn clear_text_http_to_a_tls_port_is_told_so_and_the_connection_closed() {
    let echo = Echo::start("open");
    let gateway = with_options(json!({}), &echo).start();
    let mut stream = gateway.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 400 Bad Request\r\n"),
        "{answer:?}"
    );
    assert!(
        answer.ends_with("\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"),
        "{answer:?}"
    );
    let curl = gateway
        .curl()
        .send(&gateway.url("/").replace("https:", "http:"));
    assert_eq!(curl.status, 400);
}

/// Connects with `s_client`, which writes its session down or resumes from what it wrote.
fn session(gateway: &Gateway, version: &str, verb: &str) -> Said {
    let file = gateway.path("session.pem");
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let arguments = [
        "-servername",
        "localhost",
        version,
        verb,
        file.to_str().unwrap(),
    ];
    let said = s_client(gateway.address(), &arguments, request);
    assert!(said.text.contains("HTTP/1.1 200 OK"), "{said:?}");
    said
}

fn is_resumed(said: &Said) -> bool {
    assert!(
        said.text.contains("\nNew, TLSv1") || said.text.contains("\nReused, TLSv1"),
        "{said:?}"
    );
    said.text.contains("\nReused, TLSv1")
}

#[test]
fn sessions_resume_with_both_versions_also_across_a_reload() {
    let echo = Echo::start("open");
    let gateway = with_options(json!({}), &echo).start();
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(
            !is_resumed(&session(&gateway, version, "-sess_out")),
            "{version}"
        );
        assert!(
            is_resumed(&session(&gateway, version, "-sess_in")),
            "{version}"
        );
        gateway.reload();
        assert!(
            is_resumed(&session(&gateway, version, "-sess_in")),
            "{version} after a reload"
        );
        // Ports that are built anew keep the ticket keys as well.
        gateway.write(
            "server.pem",
            &certs::bundle(&certs::server(&["localhost", "127.0.0.1"])),
        );
        gateway.reload();
        assert!(
            is_resumed(&session(&gateway, version, "-sess_in")),
            "{version} after a new certificate"
        );
    }
}

#[test]
fn without_ticket_rotation_there_is_no_resumption() {
    let echo = Echo::start("open");
    let gateway = with_options(json!({}), &echo)
        .config(json!({"portcullis": {"ticket_rotation": 0}}))
        .start();
    for version in ["-tls1_2", "-tls1_3"] {
        session(&gateway, version, "-sess_out");
        let file = gateway.path("session.pem");
        assert!(
            !file.exists(),
            "{version}: there is a session to write down"
        );
    }
}
