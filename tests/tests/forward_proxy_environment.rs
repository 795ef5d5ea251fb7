//! TLS with proxies of the environment, whom the gateway shows a certificate and whom it believes as
//! `portcullis.proxy_tls` says.

use openssl::{
    nid::Nid,
    ssl::{SslAcceptorBuilder, SslVerifyMode},
};
use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs,
    forward::{PROBLEM, secure_url},
    gateway::{Builder, Gateway, api, with},
    mtls::{authority, id, issued, self_signed, upload},
    raw,
    upstream::{Talk, Upstream, acceptor},
    wait::eventually,
};
use serde_json::{Value, json};

/// A proxy behind TLS that answers requests for plain targets with the name its peer has proven.
fn proxy(clients: &Pair) -> Upstream {
    let mut settings: SslAcceptorBuilder = acceptor(certs::localhost());
    settings.set_verify(SslVerifyMode::PEER);
    let store = settings.cert_store_mut();
    store
        .add_cert(clients.certificate.clone())
        .expect("an authority");
    Upstream::start_tls(settings.build(), |talk: &mut Talk| {
        while talk.request().is_some() {
            let peer = talk.session().peer_certificate();
            let name = peer.map(|certificate| {
                let mut names = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
                let text = names.next().expect("a common name").data().to_string();
                text.expect("text")
            });
            talk.answer(name.as_deref().unwrap_or("nobody"));
        }
    })
}

/// A gateway to be whose system trusts nobody, with a proxy in its environment.
fn behind(proxy: &Upstream, proxy_tls: &Value) -> Builder {
    let builder = Gateway::builder()
        .config(json!({"portcullis": {"workers": 1, "proxy_tls": proxy_tls}}))
        .file("nobody.pem", &self_signed("nobody").certificate_pem())
        .api("api", &api("api", "/api/", "http://upstream.test/"));
    let nobody = builder.path("nobody.pem").display().to_string();
    builder
        .environment("SSL_CERT_FILE", &nobody)
        .environment("HTTP_PROXY", &secure_url(proxy))
}

fn seen(gateway: &Gateway, path: &str) -> String {
    raw::ask(gateway, raw::get(path, &[])).text()
}

#[test]
fn a_proxy_of_the_environment_is_shown_the_certificate_of_the_gateway_or_the_one_an_api_names() {
    let clients = authority("Client CA");
    let proxy = proxy(&clients);
    let [shared, own, stored] =
        ["shared", "own", "stored"].map(|name| certs::bundle(&issued(&clients, name)));
    let to = |name: &str, more: Value| {
        with(
            api(name, &format!("/{name}/"), "http://upstream.test/"),
            more,
        )
    };
    let with_own = to(
        "own",
        json!({"portcullis": {"proxy": {"tls": {"certificate": "own.pem"}}}}),
    );
    let named = to(
        "named",
        json!({"proxy": {"transport": {"proxy_url": secure_url(&proxy)}}}),
    );
    let settings = json!({"certificate": "shared.pem", "ca": ["ca.pem"]});
    let gateway = behind(&proxy, &settings)
        .file("shared.pem", &shared)
        .file("own.pem", &own)
        .api("own", &with_own)
        .api("named", &named)
        .start();
    assert_eq!(seen(&gateway, "/api/"), "shared");
    assert_eq!(seen(&gateway, "/own/"), "own");
    // Proxies that definitions name are verified as they say, here by nobody.
    assert_eq!(seen(&gateway, "/named/"), PROBLEM);
    gateway.wait_log("tls_unknown_authority");
    // Renewed without a restart.
    gateway.write("shared.pem", &stored);
    eventually("it is shown the renewed one", || {
        seen(&gateway, "/api/") == "stored"
    });
}

#[test]
fn a_certificate_for_proxies_of_the_environment_may_be_an_entry_of_the_store() {
    let clients = authority("Client CA");
    let proxy = proxy(&clients);
    let entry = issued(&clients, "entry");
    let settings = json!({"certificate": id(&entry), "ca": ["ca.pem"]});
    let gateway = behind(&proxy, &settings).start();
    // What is not there yet bars the way, and opens it when it comes.
    assert_eq!(seen(&gateway, "/api/"), PROBLEM);
    upload(&gateway, gateway.port(), &certs::bundle(&entry));
    eventually("the entry is in service", || {
        seen(&gateway, "/api/") == "entry"
    });
}

#[test]
fn what_a_proxy_of_the_environment_is_to_be_shown_is_never_left_out() {
    let proxy = proxy(&authority("Client CA"));
    for (settings, told) in [
        (
            json!({"certificate": "missing.pem", "ca": ["ca.pem"]}),
            "the certificate for it cannot be used",
        ),
        (
            json!({"ca": ["missing.pem"]}),
            "none of the authorities named for it can be used",
        ),
    ] {
        let gateway = behind(&proxy, &settings).start();
        let line = gateway.wait_log("missing.pem");
        assert!(line.contains("portcullis.proxy_tls."), "{line}");
        assert_eq!(seen(&gateway, "/api/"), PROBLEM);
        let line = gateway.wait_log("http: proxy error: ");
        assert!(line.contains(told), "{line}");
    }
    assert_eq!(proxy.requests(), 0);
    // Without authorities of its own, the system's count, who know nobody here.
    let gateway = behind(&proxy, &json!({})).start();
    assert_eq!(seen(&gateway, "/api/"), PROBLEM);
    gateway.wait_log("tls_unknown_authority");
}

#[test]
fn settings_for_a_proxy_that_is_not_there_are_warned_about() {
    let gateway = Gateway::builder()
        .config(json!({"portcullis": {"proxy_tls": {"ca": ["ca.pem"]}}}))
        .environment("HTTPS_PROXY", "http://proxy.test:1")
        .start();
    gateway.wait_log("portcullis.proxy_tls");
    gateway.wait_log("no proxy of the environment");
}
