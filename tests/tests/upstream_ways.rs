//! What is asked of an upstream is asked whichever way leads to it and whatever it presents: pins and the common
//! name behind forward proxies and over HTTP/2, and chains that are endless, in circles or too large.

use openssl::{
    bn::BigNum,
    hash::MessageDigest,
    ssl::{SslAcceptorBuilder, SslVerifyMode},
    x509::{X509, extension::BasicConstraints},
};
use portcullis_pki::{
    make::{Algorithm, Pair, Role, Template, make, make_ca, make_server},
    names::AlternativeName,
};
use portcullis_tests::{
    certs,
    forward::PROBLEM,
    gateway::{Builder, Gateway, api, with},
    mtls::{issued, self_signed},
    raw,
    squid::Squid,
    upstream::{
        Upstream, acceptor, echo,
        http2::{self, Http2Upstream},
    },
    wire::Message,
};
use serde_json::{Value, json};

const PINS: &str = "certificate public key pinning error. Public keys do not match.";

fn server(pair: &Pair) -> Upstream {
    Upstream::start_tls(acceptor(pair).build(), echo)
}

fn url(upstream: &Upstream) -> String {
    format!("https://localhost:{}", upstream.address().port())
}

/// A gateway with one worker that trusts the tests' authority.
fn trusting() -> Builder {
    let builder = Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "portcullis": {"workers": 1}}));
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

/// An API on `/<name>/`.
fn leading(name: &str, url: &str, more: Value) -> Value {
    with(api(name, &format!("/{name}/"), url), more)
}

/// The same by way of a proxy.
fn behind(proxy: &Squid, name: &str, url: &str, more: Value) -> Value {
    let by = json!({"proxy": {"transport": {"proxy_url": proxy.url()}}});
    leading(name, url, with(by, more))
}

fn ask(gateway: &Gateway, name: &str) -> Message {
    raw::ask(gateway, raw::get(&format!("/{name}/"), &[]))
}

#[track_caller]
fn assert_passes(gateway: &Gateway, name: &str) {
    let answer = ask(gateway, name);
    assert_eq!(answer.status(), 200, "{name}: {}", gateway.log().text());
}

/// A request fails at the upstream with this flag, and the log says why.
#[track_caller]
fn assert_refused(gateway: &Gateway, name: &str, flag: &str, said: &str) {
    let mark = gateway.log().mark();
    let answer = ask(gateway, name);
    let line = gateway.log().wait_since(mark, "http: proxy error");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (500, PROBLEM),
        "{name}"
    );
    for part in [
        said,
        "hop=\"upstream\"",
        &format!("response_flag=\"{flag}\""),
    ] {
        assert!(line.contains(part), "{name}: {part} in {line}");
    }
}

/// The public key of a pair.
fn key(pair: &Pair) -> String {
    let pem = pair.key.public_key_to_pem().expect("a key");
    String::from_utf8(pem).expect("text")
}

fn pins(host: &str, keys: &[&Pair]) -> Value {
    // Text in PEM holds no comma.
    let keys: Vec<String> = keys.iter().map(|pair| key(pair)).collect();
    json!({"pinned_public_keys": {host: keys.join(",")}})
}

fn skipping(more: Value) -> Value {
    with(
        json!({"proxy": {"transport": {"ssl_insecure_skip_verify": true}}}),
        more,
    )
}

/// A proxy in clear text, and one behind TLS whose name and key are others than the upstream's.
fn proxies() -> [Squid; 2] {
    let pair = certs::server(&["squid.test", "localhost"]);
    [Squid::start(), Squid::builder().tls(&pair).start()]
}

/// OUT-74, OUT-82: by whichever proxy, a pin is asked of the target and never of the proxy, and binds the
/// hosts it names.
#[test]
fn pins_hold_behind_a_proxy_and_are_not_asked_of_it() {
    let pair = certs::localhost();
    let other = self_signed("other");
    for proxy in proxies() {
        let upstream = server(pair);
        let target = url(&upstream);
        let with_port = format!("localhost:{}", upstream.address().port());
        let pinned = |name: &str, more: Value| behind(&proxy, name, &target, more);
        let gateway = trusting()
            .api("right", &pinned("right", pins("localhost", &[pair])))
            .api("every", &pinned("every", skipping(pins("*", &[pair]))))
            .api(
                "elsewhere",
                &pinned("elsewhere", pins("other.test", &[&other])),
            )
            .api("wrong", &pinned("wrong", pins("localhost", &[&other])))
            .api("port", &pinned("port", pins(&with_port, &[&other])))
            .api(
                "every-wrong",
                &pinned("every-wrong", skipping(pins("*", &[&other]))),
            )
            .start();
        for name in ["right", "every", "elsewhere"] {
            assert_passes(&gateway, name);
        }
        let requests = upstream.requests();
        for name in ["wrong", "port", "every-wrong"] {
            assert_refused(&gateway, name, "UPE", PINS);
        }
        assert_eq!(upstream.requests(), requests);
    }
}

/// A certificate with this common name and no alternative name.
fn common_name_alone(authority: &Pair, name: &str) -> Pair {
    let role = Role::Leaf {
        server: true,
        client: false,
    };
    let template = Template {
        name,
        alternatives: &[],
        role,
        algorithm: Algorithm::P256,
        days: 30,
    };
    make(&template, Some(authority)).expect("a pair")
}

/// OUT-89, OUT-90: behind a proxy the chain is verified as well, and the proxy's common name is nobody's matter.
#[test]
fn behind_a_proxy_the_common_name_comes_on_top_of_the_chain() {
    let stranger = make_ca("Nobody's CA", Algorithm::P256, 30).expect("a CA");
    let [good, unknown, other] = [
        common_name_alone(certs::ca(), "localhost"),
        common_name_alone(&stranger, "localhost"),
        certs::server(&["other", "localhost"]),
    ]
    .map(|pair| server(&pair));
    let check = json!({"proxy": {"transport": {"ssl_force_common_name_check": true}}});
    for proxy in proxies() {
        let checked =
            |name: &str, upstream: &Upstream| behind(&proxy, name, &url(upstream), check.clone());
        let gateway = trusting()
            .api("good", &checked("good", &good))
            .api("unknown", &checked("unknown", &unknown))
            .api("other", &checked("other", &other))
            .start();
        assert_passes(&gateway, "good");
        assert_refused(&gateway, "unknown", "TLN", "cannot be verified");
        assert_refused(
            &gateway,
            "other",
            "UPE",
            "certificate had CN otherexpected localhost",
        );
    }
    assert_eq!((unknown.requests(), other.requests()), (0, 0));
}

/// OUT-91: nothing of the chain is verified, and both of the others are.
#[test]
fn behind_a_proxy_pins_and_the_common_name_are_both_asked_for_where_verification_is_skipped() {
    let own = self_signed("localhost");
    let elsewhere = self_signed("elsewhere");
    let (named, unnamed) = (server(&own), server(&elsewhere));
    let keys = [&own, certs::localhost(), &elsewhere];
    for proxy in proxies() {
        let checked = |name: &str, upstream: &Upstream, keys: &[&Pair]| {
            behind(&proxy, name, &url(upstream), pins("*", keys))
        };
        let gateway = trusting()
            .config(json!({
                "ssl_force_common_name_check": true, "proxy_ssl_insecure_skip_verify": true,
            }))
            .api("both", &checked("both", &named, &keys))
            .api("pin-wrong", &checked("pin-wrong", &named, &keys[1..2]))
            .api("name-wrong", &checked("name-wrong", &unnamed, &keys))
            .start();
        assert_passes(&gateway, "both");
        assert_refused(&gateway, "pin-wrong", "UPE", PINS);
        let said = "certificate had CN elsewhereexpected localhost";
        assert_refused(&gateway, "name-wrong", "UPE", said);
    }
    assert_eq!(unnamed.requests(), 0);
}

/// Settings of a server that lets in nobody without a certificate of the tests' authority.
fn demanding() -> SslAcceptorBuilder {
    let mut server = acceptor(certs::localhost());
    let known = server.cert_store_mut();
    known
        .add_cert(certs::ca().certificate.clone())
        .expect("an authority");
    server.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    server
}

/// Over HTTP/2, straight and through a tunnel; and a gRPC method of a server that wants a client certificate.
#[test]
fn pins_hold_over_http2_and_before_a_grpc_server_that_wants_a_certificate() {
    let (right, wrong) = (certs::localhost(), self_signed("other"));
    let echoing = Http2Upstream::start_tls(acceptor(right), http2::echo);
    let calling = Http2Upstream::start_tls(demanding(), http2::grpc);
    let url = |upstream: &Http2Upstream| format!("https://localhost:{}", upstream.address().port());
    let client = json!({
        "upstream_certificates": {"localhost": certs::bundle(&issued(certs::ca(), "gateway"))},
    });
    let proxy = Squid::start();
    let pinned =
        |name: &str, pair: &Pair| leading(name, &url(&echoing), pins("localhost", &[pair]));
    let gateway = trusting()
        .config(json!({"proxy_enable_http2": true, "proxy_ssl_max_version": 772}))
        .api("right", &pinned("right", right))
        .api("wrong", &pinned("wrong", &wrong))
        .api(
            "tunnel-wrong",
            &behind(
                &proxy,
                "tunnel-wrong",
                &url(&echoing),
                pins("localhost", &[&wrong]),
            ),
        )
        .api(
            "grpc",
            &leading(
                "grpc",
                &url(&calling),
                with(client.clone(), pins("*", &[right])),
            ),
        )
        .api(
            "grpc-wrong",
            &leading(
                "grpc-wrong",
                &url(&calling),
                with(client, pins("*", &[&wrong])),
            ),
        )
        .start();
    let answer = raw::ask(&gateway, raw::request("POST", "/right/", &[], "hello"));
    assert_eq!(
        (answer.status(), answer.field("x-version")),
        (200, Some("HTTP/2.0"))
    );
    let message = "\0\0\0\0\u{5}hello";
    let call = |name: &str| {
        let fields = ["Content-Type: application/grpc", "TE: trailers"];
        let path = format!("/{name}/greeter/Hello");
        raw::ask(&gateway, raw::request("POST", &path, &fields, message))
    };
    let answer = call("grpc");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, message),
        "{}",
        gateway.log().text()
    );
    let (echoed, called) = (echoing.requests().len(), calling.requests().len());
    for name in ["wrong", "tunnel-wrong", "grpc-wrong"] {
        assert_refused(&gateway, name, "UPE", PINS);
    }
    assert_eq!(
        (echoing.requests().len(), calling.requests().len()),
        (echoed, called)
    );
}

/// The authority `of` with its own key, as another has signed it.
fn cross_signed(of: &Pair, by: &Pair) -> X509 {
    let build = || -> Result<X509, openssl::error::ErrorStack> {
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        let serial = BigNum::from_u32(7)?.to_asn1_integer()?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(of.certificate.subject_name())?;
        builder.set_issuer_name(by.certificate.subject_name())?;
        builder.set_pubkey(&of.key)?;
        builder.set_not_before(of.certificate.not_before())?;
        builder.set_not_after(of.certificate.not_after())?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.sign(&by.key, MessageDigest::sha256())?;
        Ok(builder.build())
    };
    build().expect("a certificate")
}

/// A server with a pair that sends these certificates along.
fn presenting<'c>(pair: &Pair, along: impl IntoIterator<Item = &'c X509>) -> Upstream {
    let mut settings = acceptor(pair);
    for certificate in along {
        settings
            .add_extra_chain_cert(certificate.clone())
            .expect("a certificate");
    }
    Upstream::start_tls(settings.build(), echo)
}

/// Chains without an end, or too large to be one, are refused with a reason by every way of looking at them,
/// and the gateway serves on.
#[test]
fn endless_circular_and_oversized_chains_are_refused_with_a_reason() {
    let [a, b] = ["A", "B"].map(|name| make_ca(name, Algorithm::P256, 30).expect("a CA"));
    let leaf = make_server(&a, &["localhost"], Algorithm::P256, 30).expect("a pair");
    let circle = [cross_signed(&a, &b), cross_signed(&b, &a)];
    let circular = presenting(&leaf, &circle);
    let repeated = presenting(&leaf, circle.iter().cycle().take(60));

    // The tests' authority stands at the end of more authorities than anybody follows.
    let authority = |name: &str, issuer: &Pair| {
        let template = Template {
            name,
            alternatives: &[],
            role: Role::Authority { path_length: None },
            algorithm: Algorithm::P256,
            days: 30,
        };
        make(&template, Some(issuer)).expect("an authority")
    };
    let mut line = vec![authority("1", certs::ca())];
    while line.len() < 110 {
        let name = (line.len() + 1).to_string();
        line.push(authority(&name, line.last().expect("one")));
    }
    let end = make_server(
        line.last().expect("one"),
        &["localhost"],
        Algorithm::P256,
        30,
    )
    .expect("a pair");
    let endless = presenting(&end, line.iter().rev().map(|pair| &pair.certificate));

    let names: Vec<AlternativeName> = (0..4000)
        .map(|number| AlternativeName::Dns(format!("host-{number}.a-rather-long-name.test")))
        .collect();
    let template = Template {
        name: "localhost",
        alternatives: &names,
        role: Role::Leaf {
            server: true,
            client: false,
        },
        algorithm: Algorithm::P256,
        days: 30,
    };
    let huge = make(&template, Some(certs::ca())).expect("a pair");
    let oversized = server(&huge);

    let wrong = self_signed("other");
    let pinning = |pair: &Pair| skipping(pins("localhost", &[pair]));
    let plain = |name: &str, upstream: &Upstream| leading(name, &url(upstream), json!({}));
    let pinned =
        |name: &str, upstream: &Upstream, pair: &Pair| leading(name, &url(upstream), pinning(pair));
    let well = server(certs::localhost());
    let gateway = trusting()
        .api("well", &plain("well", &well))
        .api("circular", &plain("circular", &circular))
        .api("repeated", &plain("repeated", &repeated))
        .api("endless", &plain("endless", &endless))
        .api("oversized", &plain("oversized", &oversized))
        .api(
            "circular-right",
            &pinned("circular-right", &circular, &leaf),
        )
        .api(
            "circular-wrong",
            &pinned("circular-wrong", &circular, &wrong),
        )
        .api(
            "repeated-right",
            &pinned("repeated-right", &repeated, &leaf),
        )
        .api(
            "oversized-right",
            &pinned("oversized-right", &oversized, &huge),
        )
        .start();
    for name in ["circular", "repeated", "endless"] {
        assert_refused(&gateway, name, "TLN", "cannot be verified");
    }
    // A proven key that is pinned needs no chain.
    assert_passes(&gateway, "circular-right");
    assert_refused(&gateway, "circular-wrong", "UPE", PINS);
    let said = "61 certificates were presented, at most 10 are looked at";
    assert_refused(&gateway, "repeated-right", "TLI", said);
    for name in ["oversized", "oversized-right"] {
        assert_refused(&gateway, name, "TLI", "more than 100 KiB of certificates");
    }
    assert_passes(&gateway, "well");
    let requests = [&repeated, &endless, &oversized].map(Upstream::requests);
    assert_eq!((requests, circular.requests()), ([0, 0, 0], 1));
}
