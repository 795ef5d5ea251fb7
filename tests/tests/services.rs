//! Calls the gateway makes itself: which way they go, whom they believe, what they show, told by webhooks.

use std::fs;

use openssl::{
    ssl::{SslAcceptor, SslVerifyMode},
    x509::store::X509StoreBuilder,
};
use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Builder, Gateway},
    mtls::{authority, expired, id, issued, self_signed, upload},
    receiver::{Receiver, use_and_look, watched, webhook, webhooks},
    squid::{CREDENTIALS, Squid},
    upstream::acceptor,
    wait::eventually,
};
use serde_json::{Value, json};

/// A gateway with one API, whose webhook is at this address and is called with the first request. Its
/// directory holds `client.pem`, `client.key` and the test authority's `ca.pem`.
struct Site {
    client: Pair,
    echo: Echo,
}

impl Site {
    fn new() -> Self {
        Self {
            client: self_signed("good"),
            echo: Echo::start("up"),
        }
    }

    fn builder(&self, webhook_at: &str, external: &Value) -> Builder {
        let listed = [&self.client, &expired("over")];
        let handlers = [webhook(webhook_at, json!({}))];
        Gateway::builder()
            .tls()
            .config(json!({
                "external_services": external,
                "security": {"certificate_expiry_monitor": {
                    "check_cooldown_seconds": 1, "event_cooldown_seconds": 1,
                }},
            }))
            .api("a", &watched("a", &self.echo, &listed, &handlers))
    }

    /// A request that the webhook is told of.
    fn call(&self, gateway: &Gateway) {
        use_and_look(gateway, &self.client, "/a/");
    }

    /// Requests until the webhook was told once more.
    fn until_told(&self, gateway: &Gateway, receiver: &Receiver) {
        let before = receiver.got().len();
        eventually("the webhook is told again", || {
            self.call(gateway);
            receiver.got().len() > before
        });
    }
}

/// A receiver that lets in nobody without a certificate of this authority.
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

fn https(receiver: &Receiver) -> String {
    format!(
        "https://localhost:{}/hook?token=secret",
        receiver.server.address().port()
    )
}

fn mtls(more: &[(&str, &str)]) -> Value {
    let mut block = json!({"enabled": true});
    for (key, value) in more {
        block[key] = (*value).into();
    }
    json!({"webhooks": {"mtls": block}})
}

/// OUT-112
#[test]
fn a_webhook_that_asks_for_a_client_certificate_is_never_called_without() {
    let (site, receiver) = (
        Site::new(),
        Receiver::tls(acceptor(certs::localhost()).build()),
    );
    let files = mtls(&[
        ("cert_file", "none.pem"),
        ("key_file", "none.key"),
        ("ca_file", "ca.pem"),
    ]);
    let gateway = site.builder(&https(&receiver), &files).start();
    site.call(&gateway);
    let line = gateway.wait_log("Webhook delivery will be skipped to maintain security");
    for part in [
        "mTLS configuration failed for webhooks.",
        "failed to configure TLS: mTLS certificate loading failed: external_services.webhooks.mtls.cert_file",
        "none.pem",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    eventually("the failure is counted", || {
        webhooks(&gateway, "failed") == 1
    });
    assert_eq!(receiver.server.connections(), 0);
}

#[test]
fn with_mutual_tls_asked_for_a_plain_address_is_not_called_either() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let files = mtls(&[("ca_file", "ca.pem")]);
    let gateway = site.builder(&receiver.url(), &files).start();
    site.call(&gateway);
    let line = gateway.wait_log("mTLS configuration failed for webhooks.");
    assert!(
        line.contains("external_services.webhooks.mtls.enabled asks for TLS"),
        "{line}"
    );
    assert!(!line.contains("token=secret"), "{line}");
    eventually("the failure is counted", || {
        webhooks(&gateway, "failed") == 1
    });
    assert_eq!(receiver.server.connections(), 0);
}

#[test]
fn a_webhook_that_requires_a_client_certificate_sees_the_one_of_the_files_and_its_renewal() {
    let (site, old, new) = (Site::new(), authority("Old CA"), authority("New CA"));
    let (first, second) = (Receiver::tls(strict(&old)), Receiver::tls(strict(&new)));
    let files = mtls(&[
        ("cert_file", "client.pem"),
        ("key_file", "client.key"),
        ("ca_file", "ca.pem"),
    ]);
    let pair = issued(&old, "gateway");
    let gateway = site
        .builder(&https(&first), &files)
        .file("client.pem", &pair.certificate_pem())
        .file("client.key", &pair.key_pem())
        .start();
    site.call(&gateway);
    first.wait(1);
    // The receiver moves to another authority, the gateway's files follow; nobody restarts.
    let listed = [&site.client, &expired("over")];
    let handlers = [webhook(&https(&second), json!({}))];
    gateway.write_api("a", &watched("a", &site.echo, &listed, &handlers));
    gateway.reload();
    site.call(&gateway);
    let line = gateway.wait_log("webhook did not take the event");
    assert!(
        line.contains("it does not trust the authority of the client certificate"),
        "{line}"
    );
    let pair = issued(&new, "gateway");
    fs::write(gateway.path("client.pem"), pair.certificate_pem()).expect("a file");
    fs::write(gateway.path("client.key"), pair.key_pem()).expect("a file");
    site.until_told(&gateway, &second);
}

#[test]
fn a_webhook_that_requires_a_client_certificate_sees_the_one_of_the_store() {
    let (site, ca) = (Site::new(), authority("Client CA"));
    let receiver = Receiver::tls(strict(&ca));
    let pair = issued(&ca, "stored");
    let ids = json!({"webhooks": {"mtls": {
        "enabled": true, "cert_id": id(&pair), "ca_cert_ids": [id(certs::ca())],
    }}});
    let gateway = site.builder(&https(&receiver), &ids).start();
    site.call(&gateway);
    let line = gateway.wait_log("certificate not found in store");
    assert!(line.contains(&id(&pair)), "{line}");
    assert_eq!(receiver.server.connections(), 0);
    upload(&gateway, gateway.port(), &certs::bundle(&pair));
    upload(&gateway, gateway.port(), &certs::ca().certificate_pem());
    site.until_told(&gateway, &receiver);
}

/// OUT-117: told by webhooks.
#[test]
fn authorities_that_are_given_replace_those_of_the_system() {
    let site = Site::new();
    let receiver = Receiver::tls(acceptor(certs::localhost()).build());
    let start = |external: &Value| {
        let builder = site.builder(&https(&receiver), external);
        let system = builder.path("ca.pem").display().to_string();
        builder
            .file("other.pem", &authority("Other CA").certificate_pem())
            .environment("SSL_CERT_FILE", &system)
            .start()
    };
    let gateway = start(&mtls(&[("ca_file", "other.pem")]));
    site.call(&gateway);
    let line = gateway.wait_log("webhook did not take the event");
    assert!(
        line.contains("TLS failed: nobody who is trusted issued its certificate"),
        "{line}"
    );
    assert!(receiver.got().is_empty());
    // The system's do where none are given.
    let gateway = start(&json!({}));
    site.call(&gateway);
    receiver.wait(1);
}

/// OUT-109, of webhooks.
#[test]
fn a_webhook_goes_through_the_proxy_of_all_services_unless_it_has_its_own() {
    let site = Site::new();
    let (global, own, oauth) = (Receiver::start(), Receiver::start(), Receiver::start());
    let proxies = |webhooks: Value| {
        json!({
            "global": {"enabled": true, "http_proxy": global.server.url()},
            "oauth": {"proxy": {"enabled": true, "http_proxy": oauth.server.url()}},
            "webhooks": {"proxy": webhooks},
        })
    };
    let target = "http://hooks.test/hook";
    let gateway = site.builder(target, &proxies(json!({}))).start();
    site.call(&gateway);
    let got = global.wait(1);
    assert_eq!(got[0].start, "POST http://hooks.test/hook HTTP/1.1");
    assert_eq!(got[0].field("host"), Some("hooks.test"));

    let address = own.server.address();
    let with_login = format!("http://user:word@{address}");
    let gateway = site
        .builder(target, &proxies(json!({"http_proxy": with_login})))
        .start();
    site.call(&gateway);
    let got = own.wait(1);
    assert_eq!(
        got[0].field("proxy-authorization"),
        Some("Basic dXNlcjp3b3Jk")
    );
    assert_eq!((global.got().len(), oauth.got().len()), (1, 0));
    assert!(!gateway.log().text().contains("user:word"));
}

#[test]
fn without_settings_the_environment_s_proxies_are_used_but_never_for_this_machine() {
    let (site, proxy, direct) = (Site::new(), Receiver::start(), Receiver::start());
    let start = |target: &str| {
        site.builder(target, &json!({}))
            .environment("HTTP_PROXY", &proxy.server.address().to_string())
            .environment("NO_PROXY", "")
            .start()
    };
    let gateway = start("http://hooks.test/hook");
    site.call(&gateway);
    assert_eq!(
        proxy.wait(1)[0].start,
        "POST http://hooks.test/hook HTTP/1.1"
    );
    let gateway = start(&direct.url());
    site.call(&gateway);
    assert!(direct.wait(1)[0].start.starts_with("POST /hook?"));
    assert_eq!(proxy.got().len(), 1);
}

#[test]
fn a_webhook_over_mutual_tls_goes_through_a_proxy_that_speaks_tls_and_asks_for_a_password() {
    let (site, ca) = (Site::new(), authority("Client CA"));
    let receiver = Receiver::tls(strict(&ca));
    let squid = Squid::builder()
        .tls(certs::localhost())
        .with_password()
        .start();
    let pair = issued(&ca, "gateway");
    let start = |proxy: &str| {
        let mut external = mtls(&[
            ("cert_file", "client.pem"),
            ("key_file", "client.key"),
            ("ca_file", "ca.pem"),
        ]);
        external["webhooks"]["proxy"] = json!({ "https_proxy": proxy });
        site.builder(&https(&receiver), &external)
            .file("client.pem", &pair.certificate_pem())
            .file("client.key", &pair.key_pem())
            .start()
    };
    let gateway = start(&squid.url_as(CREDENTIALS));
    site.call(&gateway);
    receiver.wait(1);
    drop(gateway);
    let target = format!("CONNECT localhost:{}", receiver.server.address().port());
    let line = squid.wait(&target);
    assert!(line.contains("us@er"), "{line}");

    let gateway = start(&squid.url());
    site.call(&gateway);
    let line = gateway.wait_log("webhook did not take the event");
    assert!(
        line.contains("the proxy localhost:") && line.contains("it refuses CONNECT"),
        "{line}"
    );
    assert!(line.contains(": 407 "), "{line}");
    assert_eq!(receiver.got().len(), 1);
}
