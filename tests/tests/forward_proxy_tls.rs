//! Forward proxies behind TLS, and TLS through forward proxies: each hop has its own trust, and tells its own
//! failures.

use openssl::{
    nid::Nid,
    ssl::{SslAcceptorBuilder, SslVerifyMode},
    x509::X509,
};
use portcullis_pki::make::{Algorithm, make_ca, make_server};
use portcullis_tests::{
    certs,
    forward::{ask, assert_failed, by, secure_echo, secure_url, trusting},
    gateway::{Builder, with},
    mtls, raw,
    squid::Squid,
    upstream::{
        Talk, Upstream, acceptor, echo,
        http2::{self, Http2Upstream},
        ok,
        websocket::WebSocketEcho,
    },
    wait::eventually,
};
use serde_json::{Value, json};

/// OUT-96.
#[test]
fn a_proxy_behind_tls_is_not_verified_where_verification_is_skipped() {
    let stranger = make_ca("Nobody's CA", Algorithm::P256, 30).expect("a CA");
    let pair = make_server(&stranger, &["elsewhere.test"], Algorithm::P256, 30).expect("a pair");
    let squid = Squid::builder().tls(&pair).start();
    let (secure, plain) = (secure_echo(), Upstream::echo());
    for target in [secure_url(&secure), plain.url()] {
        let skipping = with(
            by(&squid.url(), &target),
            json!({"proxy": {"transport": {"ssl_insecure_skip_verify": true}}}),
        );
        let gateway = trusting(&skipping).start();
        assert_eq!(ask(&gateway).status(), 200);
    }
}

/// OUT-97.
#[test]
fn a_proxy_of_an_unknown_authority_is_a_500_and_nothing_reaches_the_target() {
    let stranger = make_ca("Nobody's CA", Algorithm::P256, 30).expect("a CA");
    let pair = |name| make_server(&stranger, &[name], Algorithm::P256, 30).expect("a pair");
    let elsewhere = certs::server(&["elsewhere.test"]);
    let (secure, plain) = (secure_echo(), Upstream::echo());
    for (pair, flag, detail) in [
        (&pair("localhost"), "TLN", "tls_unknown_authority"),
        (&elsewhere, "TLM", "tls_hostname_mismatch"),
    ] {
        let squid = Squid::builder().tls(pair).start();
        for target in [secure_url(&secure), plain.url()] {
            let gateway = trusting(&by(&squid.url(), &target)).start();
            let error = assert_failed(&gateway, flag, detail, "proxy");
            let told = format!(
                "proxyconnect tcp: TLS handshake with proxy {}: the proxy's",
                squid.url()
            );
            assert!(error.contains(&told), "{error}");
        }
        assert!(
            squid
                .seen()
                .iter()
                .all(|line| !line.starts_with("CONNECT l"))
        );
    }
    assert_eq!((secure.connections(), plain.connections()), (0, 0));
}

/// The target's certificate is the target's matter, by whichever proxy it is reached.
#[test]
fn a_target_that_does_not_verify_is_told_apart_from_its_proxy() {
    let stranger = make_ca("Nobody's CA", Algorithm::P256, 30).expect("a CA");
    let pair = make_server(&stranger, &["localhost"], Algorithm::P256, 30).expect("a pair");
    let upstream = Upstream::start_tls(acceptor(&pair).build(), echo);
    for squid in [
        Squid::start(),
        Squid::builder().tls(certs::localhost()).start(),
    ] {
        let gateway = trusting(&by(&squid.url(), &secure_url(&upstream))).start();
        let error = assert_failed(&gateway, "TLN", "tls_unknown_authority", "upstream");
        assert!(!error.contains("proxyconnect"), "{error}");
        squid.wait("CONNECT localhost:");
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn bodies_of_any_size_pass_through_tls_inside_tls() {
    let squid = Squid::builder().tls(certs::localhost()).start();
    let upstream = Upstream::start_tls(acceptor(certs::localhost()).build(), |talk| {
        while let Some(request) = talk.request() {
            talk.send(ok(&request.text()));
        }
    });
    let gateway = trusting(&by(&squid.url(), &secure_url(&upstream))).start();
    for size in [1, 20_000, 3_000_000] {
        let body = "0123456789".repeat(size / 10 + 1);
        let response = raw::ask(&gateway, raw::request("POST", "/api/", &[], &body));
        assert_eq!(response.status(), 200);
        assert!(response.complete && response.text() == body, "{size}");
    }
    assert_eq!(upstream.connections(), 1);
    // A plain target is asked for over the same kind of connection, without a tunnel.
    let plain = Upstream::echo();
    let gateway = trusting(&by(&squid.url(), &plain.url())).start();
    assert_eq!(ask(&gateway).status(), 200);
    squid.wait(&format!("GET {}/x?q=1 200 ", plain.url()));
}

#[tokio::test]
async fn http_2_is_negotiated_with_the_target_and_never_with_the_proxy() {
    let upstream = Http2Upstream::start_tls(acceptor(certs::localhost()), http2::echo);
    for squid in [
        Squid::start(),
        Squid::builder().tls(certs::localhost()).start(),
    ] {
        let target = format!("https://localhost:{}", upstream.address().port());
        let gateway = trusting(&by(&squid.url(), &target))
            .config(json!({"proxy_enable_http2": true}))
            .start();
        for _ in 0..2 {
            let response = raw::ask(&gateway, raw::request("POST", "/api/x", &[], "hello"));
            assert_eq!(
                (response.status(), response.text().as_str()),
                (200, "hello")
            );
            assert_eq!(response.field("x-version"), Some("HTTP/2.0"));
        }
    }
}

#[tokio::test]
async fn a_websocket_goes_through_a_tunnel_whatever_its_scheme() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    let upstream = WebSocketEcho::start();
    for squid in [
        Squid::start(),
        Squid::builder().tls(certs::localhost()).start(),
    ] {
        let gateway = trusting(&by(&squid.url(), &upstream.url()))
            .config(json!({"http_server_options": {"enable_websockets": true}}))
            .start();
        let stream = tokio::net::TcpStream::connect(gateway.address())
            .await
            .expect("the gateway accepts");
        let (mut socket, _) = tokio_tungstenite::client_async("ws://gateway.test/api/", stream)
            .await
            .expect("the switch");
        for text in ["one", "two"] {
            socket.send(Message::text(text)).await.expect("sent");
            let back = socket.next().await.expect("a message").expect("a good one");
            assert_eq!(back, Message::text(text));
        }
        socket.close(None).await.expect("closed");
        while let Some(Ok(_)) = socket.next().await {}
        drop(socket);
        squid.wait(&format!(
            "CONNECT {} 200 ",
            upstream.url().replace("http://", "")
        ));
    }
}

/// A gateway whose system trusts nobody the tests know, and an API that trusts `proxy-ca.pem` for its proxy.
fn with_own_hop(squid: &Squid, upstream: &Upstream, proxy_ca: &str, tls: &Value) -> Builder {
    let definition = with(
        by(&squid.url(), &upstream.url()),
        json!({"portcullis": {"proxy": {"tls": tls}}}),
    );
    let builder = trusting(&definition)
        .file("proxy-ca.pem", proxy_ca)
        .file("nobody.pem", &mtls::self_signed("nobody").certificate_pem());
    let nobody = builder.path("nobody.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &nobody)
}

#[test]
fn a_proxy_is_shown_a_certificate_of_its_own_and_verified_by_authorities_of_its_own() {
    let authority = mtls::authority("The proxy's CA");
    let server = make_server(&authority, &["squid.test"], Algorithm::P256, 90).expect("a pair");
    let squid = Squid::builder().tls(&server).with_certificate().start();
    let upstream = Upstream::echo();
    let ca = authority.certificate_pem();
    let client = mtls::issued(certs::ca(), "gateway");
    let tls = |certificate: &str| {
        json!({
            "certificate": certificate, "ca": ["proxy-ca.pem"], "server_name": "squid.test",
            "min_version": 772, "max_version": 772,
        })
    };
    let url = format!("GET {}/x?q=1 200 ", upstream.url());
    // By path; when the file changes, new connections show what it holds now.
    let gateway = with_own_hop(&squid, &upstream, &ca, &tls("client.pem"))
        .file("client.pem", &certs::bundle(&client))
        .start();
    assert_eq!(ask(&gateway).status(), 200, "{}", gateway.log().text());
    assert!(
        squid.wait(&url).contains("CN=gateway]"),
        "{:?}",
        squid.seen()
    );
    let renewed = mtls::issued(certs::ca(), "renewed");
    gateway.write("client.pem", &certs::bundle(&renewed));
    gateway.reload();
    assert_eq!(ask(&gateway).status(), 200);
    eventually("squid sees the renewed certificate", || {
        squid.seen().iter().any(|line| line.contains("CN=renewed]"))
    });
    // Inline, and as an entry of the store.
    let gateway = with_own_hop(&squid, &upstream, &ca, &tls(&certs::bundle(&client))).start();
    assert_eq!(ask(&gateway).status(), 200);
    let inline = certs::bundle(&mtls::issued(certs::ca(), "stored"));
    let id = mtls::upload(&gateway, gateway.port(), &inline);
    gateway.write_api(
        "api",
        &with(
            by(&squid.url(), &upstream.url()),
            json!({"portcullis": {"proxy": {"tls": tls(&id)}}}),
        ),
    );
    gateway.reload();
    assert_eq!(ask(&gateway).status(), 200);
    eventually("squid sees the stored certificate", || {
        squid.seen().iter().any(|line| line.contains("CN=stored]"))
    });
}

#[test]
fn what_a_proxy_is_to_be_shown_is_never_left_out_and_its_authorities_are_never_others() {
    let authority = mtls::authority("The proxy's CA");
    let server = make_server(&authority, &["localhost"], Algorithm::P256, 90).expect("a pair");
    let squid = Squid::builder().tls(&server).with_certificate().start();
    let upstream = Upstream::echo();
    let ca = authority.certificate_pem();
    // A certificate is wanted and none is there to be shown: the proxy refuses.
    let gateway = with_own_hop(&squid, &upstream, &ca, &json!({"ca": ["proxy-ca.pem"]})).start();
    let error = assert_failed(&gateway, "TLH", "tls_handshake_failure", "proxy");
    assert!(
        error.contains("proxyconnect tcp: TLS handshake with proxy"),
        "{error}"
    );
    // One is to be shown and cannot be: nobody is asked.
    for (tls, told) in [
        (
            json!({"certificate": "missing.pem", "ca": ["proxy-ca.pem"]}),
            "the certificate for it cannot be used",
        ),
        (
            json!({"ca": ["missing.pem"]}),
            "none of the authorities named for it can be used",
        ),
    ] {
        let gateway = with_own_hop(&squid, &upstream, &ca, &tls).start();
        gateway.wait_log("missing.pem");
        let error = assert_failed(&gateway, "UPE", "upstream_error", "proxy");
        assert!(error.contains(told), "{error}");
    }
    // Authorities of its own take the place of the system's.
    let gateway = with_own_hop(&squid, &upstream, &ca, &json!({"ca": ["ca.pem"]})).start();
    assert_failed(&gateway, "TLN", "tls_unknown_authority", "proxy");
    // The other name it is verified by is the one that is asked for.
    let gateway = with_own_hop(
        &squid,
        &upstream,
        &ca,
        &json!({"ca": ["proxy-ca.pem"], "server_name": "elsewhere.test"}),
    )
    .start();
    assert_failed(&gateway, "TLM", "tls_hostname_mismatch", "proxy");
    assert_eq!(upstream.connections(), 0);
}

/// Whom a server's peer showed itself as.
fn shown(talk: &Talk) -> String {
    let name = |certificate: &X509| {
        let mut entries = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
        let text = entries.next().expect("a common name").data().to_string();
        text.expect("text")
    };
    talk.session()
        .peer_certificate()
        .as_ref()
        .map_or("nobody".to_owned(), name)
}

/// Settings of a server that asks for certificates of the tests' CA and takes none as well.
fn asking() -> SslAcceptorBuilder {
    let mut asking = acceptor(certs::localhost());
    asking.set_verify(SslVerifyMode::PEER);
    let store = asking.cert_store_mut();
    store
        .add_cert(certs::ca().certificate.clone())
        .expect("an authority");
    asking
}

/// OUT-101.
#[test]
fn a_mapped_certificate_is_shown_to_the_target_behind_a_proxy() {
    let upstream = Upstream::start_tls(asking().build(), |talk| {
        while talk.request().is_some() {
            let name = shown(talk);
            talk.answer(&name);
        }
    });
    let client = mtls::issued(certs::ca(), "gateway");
    for squid in [
        Squid::start(),
        Squid::builder().tls(certs::localhost()).start(),
    ] {
        let definition = with(
            by(&squid.url(), &secure_url(&upstream)),
            json!({"upstream_certificates": {"localhost": "client.pem"}}),
        );
        let gateway = trusting(&definition)
            .file("client.pem", &certs::bundle(&client))
            .start();
        assert_eq!(ask(&gateway).text(), "gateway");
    }
}

/// OUT-102: with a tunnel, and with a request that is forwarded.
#[test]
fn a_certificate_that_is_mapped_for_every_host_is_not_shown_to_a_proxy() {
    let proxy = Upstream::start_tls(asking().build(), |talk| {
        while let Some(request) = talk.request() {
            let name = shown(talk);
            if request.start.starts_with("CONNECT ") {
                return talk.send(format!("HTTP/1.1 403 came as {name}\r\n\r\n"));
            }
            talk.answer(&name);
        }
    });
    let client = mtls::issued(certs::ca(), "gateway");
    let to = |target: &str| {
        let definition = with(
            by(&secure_url(&proxy), target),
            json!({"upstream_certificates": {"*": "client.pem"}}),
        );
        trusting(&definition)
            .file("client.pem", &certs::bundle(&client))
            .start()
    };
    assert_eq!(ask(&to("http://upstream.test/")).text(), "nobody");
    let gateway = to("https://upstream.test/");
    assert_eq!(ask(&gateway).status(), 500);
    gateway.wait_log("came as nobody (403 from proxy");
}
