//! Client certificates towards upstreams: which is shown to whom, what happens where it cannot be, and how
//! it is renewed.
//!
//! The upstreams here demand a certificate of the tests' authority and answer with whose they got.

use std::{
    fs,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use openssl::{
    ssl::{SslAcceptorBuilder, SslVerifyMode, SslVersion},
    stack::Stack,
    x509::{X509Name, X509Ref},
};
use portcullis_pki::make::{self, Algorithm, Pair, Role, Template};
use portcullis_tests::{
    certs,
    gateway::{Builder, Gateway, api, with},
    mtls::{issued, upload},
    raw,
    upstream::{
        Talk, Upstream, acceptor,
        http2::{self, Http2Upstream},
    },
    wait::eventually,
};
use serde_json::{Value, json};

/// A client's pair that the tests' authority has signed.
fn client(name: &str) -> Pair {
    issued(certs::ca(), name)
}

fn common_name(certificate: &X509Ref) -> String {
    let mut names = certificate
        .subject_name()
        .entries_by_nid(openssl::nid::Nid::COMMONNAME);
    let name = names.next().expect("a common name");
    name.data().to_string().expect("text")
}

/// Answers with who the client is and how many certificates it sent.
fn tell_client(talk: &mut Talk) {
    while talk.request().is_some() {
        let session = talk.session();
        let text = match session.peer_certificate() {
            None => "nobody".to_owned(),
            Some(leaf) => {
                let chain = session.peer_cert_chain();
                let others = chain.map_or(0, |chain| {
                    chain
                        .iter()
                        .filter(|other| other.to_der().ok() != leaf.to_der().ok())
                        .count()
                });
                format!("{} {}", common_name(&leaf), 1 + others)
            }
        };
        talk.answer(&text);
    }
}

/// Settings of a server that asks clients for certificates of this authority.
fn asking(authority: &Pair, mode: SslVerifyMode) -> SslAcceptorBuilder {
    let mut server = acceptor(certs::localhost());
    let known = server.cert_store_mut();
    known
        .add_cert(authority.certificate.clone())
        .expect("added");
    server.set_verify(mode);
    server
}

fn demanding() -> Upstream {
    let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    Upstream::start_tls(asking(certs::ca(), mode).build(), tell_client)
}

fn url(upstream: &Upstream, host: &str) -> String {
    format!("https://{host}:{}", upstream.address().port())
}

/// An API on `/<name>/` that leads to a URL.
fn leading(name: &str, url: &str, more: Value) -> Value {
    with(api(name, &format!("/{name}/"), url), more)
}

/// A gateway that trusts the tests' authority.
fn trusting() -> Builder {
    let builder = Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "portcullis": {"workers": 1}}));
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

fn ask(gateway: &Gateway, name: &str) -> (u16, String) {
    let answer = raw::ask(gateway, raw::get(&format!("/{name}/"), &[]));
    (answer.status(), answer.text())
}

/// Whom the upstream of an API saw.
#[track_caller]
fn seen(gateway: &Gateway, name: &str) -> String {
    let (status, text) = ask(gateway, name);
    assert_eq!(status, 200, "{name}: {text}\n{}", gateway.log().text());
    text
}

/// OUT-45, OUT-47, OUT-48, OUT-49, OUT-50, OUT-51, OUT-54, OUT-55, OUT-56, OUT-58 with hosts that can be
/// connected to here.
#[test]
fn the_most_specific_entry_of_the_api_then_of_the_gateway_is_shown() {
    let upstream = demanding();
    let port = upstream.address().port();
    let [a, b, c] = ["A", "B", "C"].map(|name| certs::bundle(&client(name)));
    let with_port = format!("localhost:{port}");
    let gateway = trusting()
        .config(json!({"security": {"certificates": {"upstream": {"localhost": c}}}}))
        .api(
            "own",
            &leading(
                "own",
                &url(&upstream, "localhost"),
                json!({
            "upstream_certificates": {"*": a, "localhost": b}}),
            ),
        )
        .api(
            "port",
            &leading(
                "port",
                &url(&upstream, "localhost"),
                json!({
            "upstream_certificates": {"localhost": a, (with_port.as_str()): b}}),
            ),
        )
        .api(
            "default",
            &leading(
                "default",
                &url(&upstream, "localhost"),
                json!({
            "upstream_certificates": {"*": a}}),
            ),
        )
        .api(
            "none",
            &leading("none", &url(&upstream, "localhost"), json!({})),
        )
        .api(
            "off",
            &leading(
                "off",
                &url(&upstream, "localhost"),
                json!({
            "upstream_certificates": {"*": a}, "upstream_certificates_disabled": true}),
            ),
        )
        .api(
            "address",
            &leading(
                "address",
                &url(&upstream, "127.0.0.1"),
                json!({
            "upstream_certificates": {"127.0.0.1": b}}),
            ),
        )
        .api(
            "stranger",
            &leading(
                "stranger",
                &url(&upstream, "127.0.0.1"),
                json!({
            "upstream_certificates": {"*": a}, "upstream_certificates_disabled": true}),
            ),
        )
        .api(
            "kept",
            &leading(
                "kept",
                &url(&upstream, "localhost"),
                json!({
            "upstream_certificates": {"localhost": a}, "proxy": {"preserve_host_header": true}}),
            ),
        )
        .start();
    for (name, expected) in [
        ("own", "B 1"),
        ("port", "B 1"),
        ("default", "A 1"),
        ("none", "C 1"),
        ("off", "C 1"),
        ("address", "B 1"),
        ("kept", "A 1"),
    ] {
        assert_eq!(seen(&gateway, name), expected, "{name}");
    }
    assert_eq!(ask(&gateway, "stranger").0, 500);
}

/// OUT-59
#[test]
fn an_ipv6_address_is_found_however_it_is_written() {
    let Ok(listener) = TcpListener::bind(("::1", 0)) else {
        // A machine without IPv6.
        return;
    };
    let port = listener.local_addr().expect("bound").port();
    let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    let acceptor = asking(certs::ca(), mode).build();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let Ok(mut stream) = acceptor.accept(socket) else {
                continue;
            };
            let mut head = [0; 4096];
            let _ = stream.ssl_read(&mut head);
            let name = stream
                .ssl()
                .peer_certificate()
                .map(|leaf| common_name(&leaf));
            let text = portcullis_tests::upstream::ok(&name.unwrap_or_default());
            let _ = stream.ssl_write(text.as_bytes());
        }
    });
    let six = certs::bundle(&client("six"));
    let target = format!("https://[::1]:{port}");
    let bracketed = format!("[::1]:{port}");
    let gateway = trusting()
        .api(
            "bare",
            &leading(
                "bare",
                &target,
                json!({"upstream_certificates": {"::1": six}}),
            ),
        )
        .api(
            "whole",
            &leading(
                "whole",
                &target,
                json!({"upstream_certificates": {(bracketed.as_str()): six}}),
            ),
        )
        .start();
    for name in ["bare", "whole"] {
        assert_eq!(seen(&gateway, name), "six");
    }
}

/// OUT-61, OUT-62, OUT-69, and an entry of the store by its id; OAS says the same.
#[test]
fn a_certificate_is_named_by_its_text_its_file_or_its_id() {
    let upstream = demanding();
    let target = url(&upstream, "localhost");
    let text = certs::bundle(&client("text"));
    let collapsed = text.replace('\n', " ");
    let oas = json!({
        "openapi": "3.0.3", "info": {"title": "oas", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"name": "oas", "id": "oas", "orgId": "default", "state": {"active": true}},
            "server": {"listenPath": {"value": "/oas/", "strip": true}},
            "upstream": {"url": target, "mutualTLS": {"enabled": true, "domainToCertificateMapping": [
                {"domain": "localhost", "certificate": "client.pem"}]}},
        },
    });
    let builder = trusting();
    let file = builder.path("client.pem").display().to_string();
    let gateway = builder
        .file("client.pem", &certs::bundle(&client("file")))
        .environment(
            "TYK_GW_SECURITY_CERTIFICATES_UPSTREAM",
            &format!("*:{file}"),
        )
        .api(
            "text",
            &leading(
                "text",
                &target,
                json!({"upstream_certificates": {"*": text}}),
            ),
        )
        .api(
            "collapsed",
            &leading(
                "collapsed",
                &target,
                json!({"upstream_certificates": {"*": collapsed}}),
            ),
        )
        .api(
            "file",
            &leading(
                "file",
                &target,
                json!({"upstream_certificates": {"*": "client.pem"}}),
            ),
        )
        .api("environment", &leading("environment", &target, json!({})))
        .api("oas", &oas)
        .start();
    assert_eq!(seen(&gateway, "text"), "text 1");
    assert_eq!(seen(&gateway, "collapsed"), "text 1");
    for name in ["file", "environment", "oas"] {
        assert_eq!(seen(&gateway, name), "file 1", "{name}");
    }
    let id = upload(&gateway, gateway.port(), &certs::bundle(&client("stored")));
    let stored = leading(
        "stored",
        &target,
        json!({"upstream_certificates": {"*": id}}),
    );
    gateway.write_api("stored", &stored);
    gateway.reload();
    assert_eq!(seen(&gateway, "stored"), "stored 1");
}

/// OUT-63, but that a certificate that cannot be had fails the request also where the upstream could do
/// without it.
#[test]
fn a_mapped_certificate_that_cannot_be_used_fails_the_request_and_says_why() {
    let optional = Upstream::start_tls(
        asking(certs::ca(), SslVerifyMode::PEER).build(),
        tell_client,
    );
    let target = url(&optional, "localhost");
    let id = format!("default{}", "ab".repeat(32));
    let keyless = client("keyless").certificate_pem();
    let gateway = trusting()
        .file("keyless.pem", &keyless)
        .api("free", &leading("free", &target, json!({})))
        .api(
            "unknown",
            &leading(
                "unknown",
                &target,
                json!({"upstream_certificates": {"*": id}}),
            ),
        )
        .api(
            "keyless",
            &leading(
                "keyless",
                &target,
                json!({"upstream_certificates": {"*": "keyless.pem"}}),
            ),
        )
        .start();
    assert_eq!(seen(&gateway, "free"), "nobody");
    let requests = optional.requests();
    for (name, why) in [
        ("unknown", id.as_str()),
        ("keyless", "holds no private key"),
    ] {
        let (status, text) = ask(&gateway, name);
        assert_eq!(status, 500);
        assert!(
            text.contains("There was a problem proxying the request"),
            "{text}"
        );
        let line: Value =
            serde_json::from_str(&gateway.output().wait(&format!("\"path\":\"/{name}/\"")))
                .expect("JSON");
        assert_eq!(
            (&line["response_flag"], &line["response_code_details"]),
            (&"UPE".into(), &"upstream_error".into())
        );
        let said = gateway
            .wait_log("http: proxy error: no connection to upstream: the client certificate");
        assert!(said.contains("upstream_certificates"), "{said}");
        assert!(gateway.log().text().contains(why));
    }
    assert_eq!(optional.requests(), requests);
    let ended = gateway.control("/metrics").expect(200).text();
    assert!(
        ended.contains("portcullis_apis_upstream_unverified 0"),
        "{ended}"
    );
}

/// OUT-64, OUT-65
#[test]
fn the_whole_chain_is_sent_whatever_authorities_the_upstream_names() {
    let middle = make::make(
        &Template {
            name: "Middle",
            alternatives: &[],
            role: Role::Authority { path_length: None },
            algorithm: Algorithm::P256,
            days: 30,
        },
        Some(certs::ca()),
    )
    .expect("an authority");
    let leaf = issued(&middle, "leaf");
    let text = leaf.certificate_pem() + &middle.certificate_pem() + &leaf.key_pem();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
        let mut server = asking(certs::ca(), mode);
        server
            .set_max_proto_version(Some(version))
            .expect("a version");
        let mut stranger = X509Name::builder().expect("a name");
        stranger
            .append_entry_by_text("CN", "Nobody's CA")
            .expect("an entry");
        let mut hints = Stack::new().expect("a list");
        hints.push(stranger.build()).expect("added");
        server.set_client_ca_list(hints);
        let upstream = Upstream::start_tls(server.build(), tell_client);
        let gateway = trusting()
            .config(json!({"proxy_ssl_max_version": 772}))
            .api(
                "api",
                &leading(
                    "api",
                    &url(&upstream, "localhost"),
                    json!({"upstream_certificates": {"*": text}}),
                ),
            )
            .start();
        assert_eq!(seen(&gateway, "api"), "leaf 2");
    }
}

/// OUT-17: with TLS 1.3 the refusal comes after the handshake.
#[test]
fn an_upstream_of_tls_1_3_that_wants_a_certificate_and_gets_none_is_a_500() {
    let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    let mut server = asking(certs::ca(), mode);
    server
        .set_min_proto_version(Some(SslVersion::TLS1_3))
        .expect("a version");
    server
        .set_max_proto_version(Some(SslVersion::TLS1_3))
        .expect("a version");
    let upstream = Upstream::start_tls(server.build(), tell_client);
    let gateway = trusting()
        .config(json!({"proxy_ssl_max_version": 772}))
        .api(
            "api",
            &leading("api", &url(&upstream, "localhost"), json!({})),
        )
        .start();
    assert_eq!(ask(&gateway, "api").0, 500);
    assert_eq!(upstream.requests(), 0);
}

/// OUT-40: a gRPC server behind mutual TLS, over HTTP/2.
#[test]
fn a_grpc_upstream_gets_the_certificate_over_http2() {
    let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    let upstream = Http2Upstream::start_tls(asking(certs::ca(), mode), http2::echo);
    let target = format!("https://localhost:{}", upstream.address().port());
    let c = certs::bundle(&client("grpc"));
    let gateway = trusting()
        .config(json!({"proxy_enable_http2": true}))
        .api(
            "api",
            &leading("api", &target, json!({"upstream_certificates": {"*": c}})),
        )
        .start();
    let answer = raw::ask(
        &gateway,
        raw::request("POST", "/api/", &["Content-Type: application/grpc"], "body"),
    );
    assert_eq!(
        (answer.status(), answer.field("x-version")),
        (200, Some("HTTP/2.0"))
    );
}

/// OUT-66: one gateway behind another that lets nobody else in.
#[test]
fn a_gateway_calls_another_that_lists_its_certificate() {
    let upstream = Upstream::echo();
    let caller = client("gateway");
    let listed = with(
        api("inner", "/", &upstream.url()),
        json!({
        "use_mutual_tls_auth": true, "client_certificates": [caller.certificate_pem()]}),
    );
    let inner = Gateway::builder().tls().api("inner", &listed).start();
    let target = format!("https://localhost:{}", inner.port());
    let outer = trusting()
        .api(
            "with",
            &leading(
                "with",
                &target,
                json!({"upstream_certificates": {"*": certs::bundle(&caller)}}),
            ),
        )
        .api("without", &leading("without", &target, json!({})))
        .start();
    assert_eq!(ask(&outer, "with").0, 200);
    assert_ne!(ask(&outer, "without").0, 200);
}

/// OUT-67
#[test]
fn a_tcp_service_shows_its_certificate_and_without_it_gets_nothing() {
    let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    let upstream = Upstream::start_tls(asking(certs::ca(), mode).build(), |talk| {
        while let Some(bytes) = talk.exactly(4) {
            talk.send(bytes);
        }
    });
    let port = portcullis_tests::ports::free_port();
    let service = |more: Value| {
        with(
            json!({
                "name": "tcp", "api_id": "tcp", "org_id": "default", "active": true, "use_keyless": true,
                "protocol": "tcp", "listen_port": port,
                "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
                "proxy": {"listen_path": "/", "target_url": format!("tls://127.0.0.1:{}", upstream.address().port()),
                    "transport": {"ssl_insecure_skip_verify": true}},
            }),
            more,
        )
    };
    let c = certs::bundle(&client("tcp"));
    let gateway = trusting()
        .config(json!({"disable_ports_whitelist": true}))
        .api("tcp", &service(json!({"upstream_certificates": {"*": c}})))
        .start();
    let echoed = || {
        use std::io::{Read, Write};
        let mut socket = gateway.connect_to(port);
        socket.write_all(b"ping").expect("written");
        let mut answer = Vec::new();
        let mut bytes = [0; 4];
        while answer.len() < 4 {
            match socket.read(&mut bytes) {
                Ok(n) if n > 0 => answer.extend_from_slice(&bytes[..n]),
                _ => break,
            }
        }
        answer
    };
    assert_eq!(echoed(), b"ping");
    gateway.write_api("tcp", &service(json!({})));
    gateway.reload();
    assert_eq!(echoed(), b"");
}

/// Two APIs with one upstream and two identities, at the same time: nobody is ever taken for the other.
#[test]
fn connections_of_two_identities_never_meet() {
    let upstream = demanding();
    let target = url(&upstream, "localhost");
    let mut builder = trusting().config(json!({"portcullis": {"workers": 2}}));
    for name in ["one", "two"] {
        let text = certs::bundle(&client(name));
        builder = builder.api(
            name,
            &leading(name, &target, json!({"upstream_certificates": {"*": text}})),
        );
    }
    let gateway = Arc::new(builder.start());
    let asking = ["one", "two", "one", "two"].map(|name| {
        let gateway = gateway.clone();
        thread::spawn(move || {
            for _ in 0..50 {
                assert_eq!(seen(&gateway, name), format!("{name} 1"));
            }
        })
    });
    for thread in asking {
        thread.join().expect("nobody was mistaken");
    }
    // And they are kept: far fewer than requests.
    assert!(upstream.connections() < 100, "{}", upstream.connections());
}

/// A new pair in the file, or in the store, is shown by new connections; requests go on meanwhile, and the
/// connections of the old one are closed.
#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_no_request_fails() {
    let upstream = demanding();
    let target = url(&upstream, "localhost");
    let gateway = trusting()
        .file("client.pem", &certs::bundle(&client("old")))
        .api(
            "api",
            &leading(
                "api",
                &target,
                json!({"upstream_certificates": {"localhost": "client.pem"}}),
            ),
        )
        .start();
    assert_eq!(seen(&gateway, "api"), "old 1");
    let gateway = Arc::new(gateway);
    let over = Arc::new(AtomicBool::new(false));
    let load = {
        let (gateway, over) = (gateway.clone(), over.clone());
        thread::spawn(move || {
            let mut failed = 0;
            while !over.load(Ordering::Acquire) {
                failed += usize::from(ask(&gateway, "api").0 != 200);
            }
            failed
        })
    };
    // As a renewal should be: written aside, then put in place.
    let aside = gateway.path("client.new");
    fs::write(&aside, certs::bundle(&client("new"))).expect("a file");
    fs::rename(&aside, gateway.path("client.pem")).expect("moved");
    eventually("the new certificate is shown", || {
        seen(&gateway, "api") == "new 1"
    });
    over.store(true, Ordering::Release);
    assert_eq!(load.join().expect("no panic"), 0);
    // From here on nobody is old.
    for _ in 0..5 {
        assert_eq!(seen(&gateway, "api"), "new 1");
    }
    // A file that turns bad leaves the good one in use, and that is said.
    fs::write(gateway.path("client.pem"), "no certificate").expect("a file");
    gateway.wait_log("the certificate read before stays in use");
    assert_eq!(seen(&gateway, "api"), "new 1");
}
