//! What is asked of upstreams besides, or instead of, a chain to the system's authorities: pins, the common
//! name, authorities of one's own.
//!
//! Where the fact sheet and decision 16 differ, the decision counts: pins come on top of the verification of
//! the chain. What the sheet has, pins in its place, is `pin_only`.

use std::fs;

use openssl::ssl::SslAcceptorBuilder;
use portcullis_pki::make::{Algorithm, Pair, make_ca, make_server};
use portcullis_tests::{
    certs,
    gateway::{Builder, Gateway, api, with},
    mtls::{expired, self_signed, upload},
    raw,
    upstream::{Upstream, acceptor, echo},
    wait::eventually,
};
use serde_json::{Value, json};

fn server(pair: &Pair) -> Upstream {
    Upstream::start_tls(acceptor(pair).build(), echo)
}

fn url(upstream: &Upstream, host: &str) -> String {
    format!("https://{host}:{}", upstream.address().port())
}

fn trusting() -> Builder {
    let builder = Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "portcullis": {"workers": 1}}));
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

fn leading(name: &str, url: &str, more: Value) -> Value {
    with(api(name, &format!("/{name}/"), url), more)
}

fn status(gateway: &Gateway, name: &str) -> u16 {
    raw::ask(gateway, raw::get(&format!("/{name}/"), &[])).status()
}

/// The public key of a pair.
fn public_key(pair: &Pair) -> String {
    let pem = pair.key.public_key_to_pem().expect("a key");
    String::from_utf8(pem).expect("text")
}

/// A request fails by a check that is told in the log, and with the flag that stands for it.
#[track_caller]
fn assert_refused(gateway: &Gateway, name: &str, said: &str) {
    let mark = gateway.log().mark();
    let answer = raw::ask(gateway, raw::get(&format!("/{name}/"), &[]));
    assert_eq!(answer.status(), 500, "{name}");
    assert_eq!(
        answer.text(),
        "{\n    \"error\": \"There was a problem proxying the request\"\n}"
    );
    let line = gateway.log().wait_since(mark, "http: proxy error");
    assert!(line.contains(said), "{name}: {line}");
}

const PINS: &str = "certificate public key pinning error. Public keys do not match.";

/// OUT-71, OUT-73, OUT-75, OUT-76, OUT-83: pins of every form, by the gateway and by an API; and OUT-22 with
/// each that does not fit.
#[test]
fn a_pinned_upstream_must_have_one_of_the_keys() {
    let pair = certs::localhost();
    let other = self_signed("other");
    let upstream = server(pair);
    let target = url(&upstream, "localhost");
    let pinned = |name: &str, pins: &str| {
        leading(
            name,
            &target,
            json!({"pinned_public_keys": {"localhost": pins}}),
        )
    };
    let collapsed = public_key(pair).replace('\n', " ");
    let oas = json!({
        "openapi": "3.0.3", "info": {"title": "oas", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"name": "oas", "id": "oas", "orgId": "default", "state": {"active": true}},
            "server": {"listenPath": {"value": "/oas/", "strip": true}},
            "upstream": {"url": target, "certificatePinning": {"enabled": true, "domainToPublicKeysMapping": [
                {"domain": "localhost", "publicKeys": ["other.pem", "key.pem"]}]}},
        },
    });
    let gateway = trusting()
        .file("key.pem", &public_key(pair))
        .file("certificate.pem", &pair.certificate_pem())
        .file("other.pem", &public_key(&other))
        .api("key", &pinned("key", &public_key(pair)))
        .api("collapsed", &pinned("collapsed", &collapsed))
        .api("file", &pinned("file", "key.pem"))
        .api("certificate", &pinned("certificate", "certificate.pem"))
        .api(
            "authority",
            &pinned("authority", &certs::ca().certificate_pem()),
        )
        .api("several", &pinned("several", "other.pem , key.pem"))
        .api("oas", &oas)
        .api("wrong", &pinned("wrong", "other.pem"))
        .api("nothing", &pinned("nothing", "wrong"))
        .start();
    for name in [
        "key",
        "collapsed",
        "file",
        "certificate",
        "authority",
        "several",
        "oas",
    ] {
        assert_eq!(
            status(&gateway, name),
            200,
            "{name}\n{}",
            gateway.log().text()
        );
    }
    let requests = upstream.requests();
    for name in ["wrong", "nothing"] {
        assert_refused(&gateway, name, PINS);
        let line = gateway.output().wait(&format!("\"path\":\"/{name}/\""));
        assert!(line.contains("\"response_flag\":\"UPE\""), "{line}");
    }
    assert_eq!(upstream.requests(), requests);

    let gateway = trusting()
        .file("other.pem", &public_key(&other))
        .config(json!({"security": {"pinned_public_keys": {"localhost": "other.pem"}}}))
        .api("api", &leading("api", &target, json!({})))
        .start();
    assert_refused(&gateway, "api", PINS);
}

/// OUT-70, OUT-75, OUT-83 with entries of the certificate store.
#[test]
fn a_pin_may_be_the_id_of_a_key_or_of_a_certificate() {
    let pair = certs::localhost();
    let upstream = server(pair);
    let target = url(&upstream, "localhost");
    let gateway = trusting().start();
    let key = upload(&gateway, gateway.port(), &public_key(pair));
    let certificate = upload(&gateway, gateway.port(), &pair.certificate_pem());
    let other = upload(&gateway, gateway.port(), &public_key(&self_signed("other")));
    for (name, pins) in [
        ("key", key.clone()),
        ("certificate", certificate),
        ("several", format!("{other},{key}")),
    ] {
        let pinned = leading(
            name,
            &target,
            json!({"pinned_public_keys": {"localhost": pins}}),
        );
        gateway.write_api(name, &pinned);
    }
    gateway.reload();
    for name in ["key", "certificate", "several"] {
        assert_eq!(
            status(&gateway, name),
            200,
            "{name}\n{}",
            gateway.log().text()
        );
    }
}

/// OUT-72, OUT-77, OUT-78, OUT-79, OUT-81
#[test]
fn pins_bind_the_hosts_they_name_and_those_of_an_api_win() {
    let pair = certs::localhost();
    let upstream = server(pair);
    let port = upstream.address().port();
    let target = url(&upstream, "localhost");
    let (right, wrong) = (public_key(pair), public_key(&self_signed("other")));
    let pinned =
        |name: &str, pins: Value| leading(name, &target, json!({"pinned_public_keys": pins}));
    let with_port = format!("localhost:{port}");
    let elsewhere = "localhost:1";
    let gateway = trusting()
        .config(json!({"security": {"pinned_public_keys": {"localhost": wrong}}}))
        .api("over", &pinned("over", json!({"localhost": right})))
        .api(
            "off",
            &with(
                pinned("off", json!({"localhost": right})),
                json!({"certificate_pinning_disabled": true}),
            ),
        )
        .start();
    assert_eq!(status(&gateway, "over"), 200);
    assert_refused(&gateway, "off", PINS);

    let gateway = trusting()
        .api(
            "specific",
            &pinned("specific", json!({"*": wrong, "localhost": right})),
        )
        .api(
            "general",
            &pinned("general", json!({"*": right, "localhost": wrong})),
        )
        .api(
            "port",
            &pinned(
                "port",
                json!({(with_port.as_str()): wrong, "localhost": right}),
            ),
        )
        .api(
            "other-port",
            &pinned("other-port", json!({elsewhere: wrong})),
        )
        .api(
            "other-host",
            &pinned("other-host", json!({"elsewhere.test": wrong})),
        )
        .api(
            "off",
            &with(
                pinned("off", json!({"*": wrong})),
                json!({"certificate_pinning_disabled": true}),
            ),
        )
        .start();
    for name in ["specific", "other-port", "other-host", "off"] {
        assert_eq!(status(&gateway, name), 200, "{name}");
    }
    for name in ["general", "port"] {
        assert_refused(&gateway, name, PINS);
    }
}

/// OUT-70, OUT-76 and OUT-80 as decision 16 has them: a pin does not make up for a chain, a validity or a
/// name, unless `pin_only` says so.
#[test]
fn a_pin_comes_on_top_of_the_chain_and_takes_its_place_only_where_that_is_asked_for() {
    let own = self_signed("elsewhere.test");
    let old = expired("elsewhere.test");
    let only = json!({"portcullis": {"pin_only": true}});
    let skip = json!({"proxy": {"transport": {"ssl_insecure_skip_verify": true}}});
    for pair in [&own, &old] {
        let upstream = server(pair);
        let target = url(&upstream, "localhost");
        let pins = json!({"pinned_public_keys": {"localhost": public_key(pair)}});
        let wrong = json!({"pinned_public_keys": {"localhost": public_key(certs::localhost())}});
        let gateway = trusting()
            .api("both", &leading("both", &target, pins.clone()))
            .api(
                "only",
                &leading("only", &target, with(pins.clone(), only.clone())),
            )
            .api(
                "only-wrong",
                &leading("only-wrong", &target, with(wrong.clone(), only.clone())),
            )
            .api("unpinned", &leading("unpinned", &target, only.clone()))
            .api("skip", &leading("skip", &target, with(pins, skip.clone())))
            .api(
                "skip-wrong",
                &leading("skip-wrong", &target, with(wrong, skip.clone())),
            )
            .start();
        assert_refused(&gateway, "both", "the upstream's certificate");
        assert_refused(&gateway, "unpinned", "the upstream's certificate");
        for name in ["only", "skip"] {
            assert_eq!(status(&gateway, name), 200, "{name}");
        }
        for name in ["only-wrong", "skip-wrong"] {
            assert_refused(&gateway, name, PINS);
        }
        gateway
            .wait_log("API only: pin_only: where a host has pins, nothing but the key is verified");
        gateway.wait_log("API skip: ssl_insecure_skip_verify");
        let page = gateway.control("/metrics").expect(200).text();
        assert!(
            page.contains("portcullis_apis_upstream_unverified 2"),
            "{page}"
        );
    }
}

/// A certificate of the tests' authority with this common name and this alternative name.
fn named(common_name: &str) -> Pair {
    make_server(
        certs::ca(),
        &[common_name, "elsewhere.test"],
        Algorithm::P256,
        30,
    )
    .expect("a pair")
}

/// OUT-84, OUT-85, OUT-86, OUT-87, OUT-88
#[test]
fn the_common_name_is_checked_and_on_direct_connections_nothing_else() {
    let own = self_signed("localhost");
    let upstreams = [
        &own,
        &named("other"),
        &named("*.localhost"),
        &named("localhost"),
    ]
    .map(server);
    let [own, other, pattern, good] = upstreams
        .each_ref()
        .map(|upstream| url(upstream, "localhost"));
    let check = json!({"proxy": {"transport": {"ssl_force_common_name_check": true}}});
    let gateway = trusting()
        .api("own", &leading("own", &own, check.clone()))
        .api("unchecked", &leading("unchecked", &own, json!({})))
        .api("other", &leading("other", &other, check.clone()))
        .api("pattern", &leading("pattern", &pattern, check.clone()))
        .api("good", &leading("good", &good, check))
        .start();
    assert_eq!(status(&gateway, "own"), 200);
    assert_eq!(status(&gateway, "good"), 200);
    assert_refused(&gateway, "unchecked", "cannot be verified");
    assert_refused(
        &gateway,
        "other",
        "certificate had CN otherexpected localhost",
    );
    assert_refused(
        &gateway,
        "pattern",
        "certificate had CN *.localhostexpected localhost",
    );
    gateway.wait_log("API own: ssl_force_common_name_check");

    // For all APIs, and with skip-verify: the same.
    let gateway = trusting()
        .config(
            json!({"ssl_force_common_name_check": true, "proxy_ssl_insecure_skip_verify": true}),
        )
        .api("own", &leading("own", &own, json!({})))
        .api("other", &leading("other", &other, json!({})))
        .start();
    assert_eq!(status(&gateway, "own"), 200);
    assert_refused(
        &gateway,
        "other",
        "certificate had CN otherexpected localhost",
    );
    gateway.wait_log("proxy_ssl_insecure_skip_verify");
}

#[test]
fn a_strict_check_of_the_common_name_verifies_the_chain_as_well() {
    let (own, good) = (
        server(&self_signed("localhost")),
        server(&named("localhost")),
    );
    let gateway = trusting()
        .config(json!({"ssl_force_common_name_check": true, "portcullis": {"strict_common_name": true}}))
        .api("own", &leading("own", &url(&own, "localhost"), json!({})))
        .api("good", &leading("good", &url(&good, "localhost"), json!({})))
        .start();
    assert_eq!(status(&gateway, "good"), 200);
    assert_refused(&gateway, "own", "cannot be verified");
}

/// Pins and the common name: both count.
#[test]
fn pins_and_the_common_name_are_both_asked_for() {
    let pair = named("localhost");
    let upstream = server(&pair);
    let target = url(&upstream, "localhost");
    let pins = |of: &Pair| json!({"pinned_public_keys": {"*": public_key(of)}});
    let gateway = trusting()
        .config(json!({"ssl_force_common_name_check": true}))
        .api("right", &leading("right", &target, pins(&pair)))
        .api(
            "wrong",
            &leading("wrong", &target, pins(certs::localhost())),
        )
        .start();
    assert_eq!(status(&gateway, "right"), 200);
    assert_refused(&gateway, "wrong", PINS);
}

fn private() -> (Pair, SslAcceptorBuilder) {
    let authority = make_ca("Private CA", Algorithm::P256, 30).expect("an authority");
    let pair = make_server(&authority, &["localhost"], Algorithm::P256, 30).expect("a pair");
    (authority, acceptor(&pair))
}

/// Authorities of one's own: for a host, beside the system's or in their place, by the gateway or an API.
#[test]
fn authorities_of_ones_own_are_trusted_for_the_hosts_they_are_given_for() {
    let (authority, settings) = private();
    let upstream = Upstream::start_tls(settings.build(), echo);
    let public = server(certs::localhost());
    let (private_url, public_url) = (url(&upstream, "localhost"), url(&public, "localhost"));
    let ours = |list: Value| json!({"portcullis": {"upstream_ca": list}});
    let gateway = trusting()
        .file("private.pem", &authority.certificate_pem())
        .api("plain", &leading("plain", &private_url, json!({})))
        .api(
            "own",
            &leading("own", &private_url, ours(json!({"*": "private.pem"}))),
        )
        .api(
            "host",
            &leading(
                "host",
                &private_url,
                ours(json!({"localhost": ["private.pem"]})),
            ),
        )
        .api(
            "inline",
            &leading(
                "inline",
                &private_url,
                ours(json!({"*": authority.certificate_pem()})),
            ),
        )
        .api(
            "other-host",
            &leading(
                "other-host",
                &private_url,
                ours(json!({"else.test": "private.pem"})),
            ),
        )
        .api(
            "instead",
            &leading("instead", &public_url, ours(json!({"*": "private.pem"}))),
        )
        .api(
            "beside",
            &leading(
                "beside",
                &public_url,
                ours(json!({"*": "system, private.pem"})),
            ),
        )
        .api(
            "unreadable",
            &leading("unreadable", &private_url, ours(json!({"*": "none.pem"}))),
        )
        .start();
    for name in ["own", "host", "inline", "beside"] {
        assert_eq!(
            status(&gateway, name),
            200,
            "{name}\n{}",
            gateway.log().text()
        );
    }
    for name in ["plain", "other-host", "instead"] {
        assert_refused(&gateway, name, "cannot be verified");
    }
    // Nobody is trusted rather than everybody the system trusts.
    assert_refused(&gateway, "unreadable", "no trusted certificate authorities");
    gateway.wait_log("upstream_ca");

    let gateway = trusting()
        .file("private.pem", &authority.certificate_pem())
        .config(json!({"portcullis": {"upstream_ca": {"localhost": "private.pem"}}}))
        .api("private", &leading("private", &private_url, json!({})))
        .api("public", &leading("public", &public_url, json!({})))
        .api(
            "system",
            &leading("system", &public_url, ours(json!({"*": "system"}))),
        )
        .start();
    assert_eq!(status(&gateway, "private"), 200);
    assert_eq!(status(&gateway, "system"), 200);
    assert_refused(&gateway, "public", "cannot be verified");
}

#[test]
fn a_changed_authority_counts_for_new_connections() {
    let (authority, settings) = private();
    let upstream = Upstream::start_tls(settings.build(), echo);
    let ours = json!({"portcullis": {"upstream_ca": {"*": "private.pem"}}});
    let gateway = trusting()
        .file("private.pem", &certs::ca().certificate_pem())
        .api("api", &leading("api", &url(&upstream, "localhost"), ours))
        .start();
    assert_eq!(status(&gateway, "api"), 500);
    fs::write(gateway.path("private.pem"), authority.certificate_pem()).expect("a file");
    eventually("the authority is trusted", || {
        status(&gateway, "api") == 200
    });
    fs::write(gateway.path("private.pem"), certs::ca().certificate_pem()).expect("a file");
    eventually("the authority is trusted no more", || {
        status(&gateway, "api") == 500
    });
}

/// A pattern that fits no host would be a check that is never made.
#[test]
fn a_pattern_that_fits_no_host_is_refused() {
    let upstream = server(certs::localhost());
    let target = url(&upstream, "localhost");
    let pins = json!({"pinned_public_keys": {"https://localhost": "key.pem"}});
    let gateway = trusting()
        .api("api", &leading("api", &target, pins))
        .start();
    assert_eq!(status(&gateway, "api"), 503);
    gateway.wait_log("fits no host");
    let ended = trusting()
        .config(json!({"security": {"pinned_public_keys": {"a*.test": "key.pem"}}}))
        .fail();
    assert!(
        ended.log.contains("security.pinned_public_keys"),
        "{}",
        ended.log
    );
}
