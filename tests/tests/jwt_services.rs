//! Keys of tokens, fetched the way `external_services.oauth` says: proxies, certificates, authorities,
//! versions; and not at all when that cannot be done.

use openssl::{
    ssl::{SslAcceptorBuilder, SslVerifyMode, SslVersion},
    x509::store::X509StoreBuilder,
};
use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Builder, Gateway},
    jwt::{Issuer, KeyServer, claims, jwt_api, policy},
    keys::error_of,
    mtls::{authority, id, issued, upload},
    upstream::acceptor,
};
use serde_json::{Value, json};

/// What reads keys, and an issuer who publishes them.
struct Site {
    echo: Echo,
    issuer: Issuer,
}

impl Site {
    fn new() -> Self {
        Self {
            echo: Echo::start("up"),
            issuer: Issuer::curve("c"),
        }
    }

    /// A server with TLS that publishes the issuer's key, with these settings beside its certificate.
    fn secure(&self, change: impl FnOnce(&mut SslAcceptorBuilder)) -> KeyServer {
        let mut settings = acceptor(certs::localhost());
        change(&mut settings);
        KeyServer::start_tls(&[&self.issuer], settings.build())
    }

    /// A gateway to be that reads keys at a URL, with these settings for `oauth`.
    fn builder(&self, url: &str, oauth: &Value) -> Builder {
        Gateway::builder()
            .config(json!({
                "policies": {"policy_path": "policies"},
                "external_services": {"oauth": oauth},
            }))
            .file(
                "policies/open.json",
                &policy("open", &["j"], json!({})).to_string(),
            )
            .api("j", &jwt_api("j", &self.echo.url(), &self.issuer, url))
    }

    fn status(&self, gateway: &Gateway) -> u16 {
        let token = self.issuer.token(&claims("anna", json!({})));
        let answer = gateway.call("/j/", &format!("Bearer {token}"));
        if answer.status != 200 {
            assert_eq!(error_of(&answer), "Key not authorized");
        }
        answer.status
    }
}

/// Lets in nobody without a certificate of this authority.
fn demand(settings: &mut SslAcceptorBuilder, authority: &portcullis_pki::make::Pair) {
    let mut trusted = X509StoreBuilder::new().expect("a store");
    trusted
        .add_cert(authority.certificate.clone())
        .expect("an authority");
    settings.set_cert_store(trusted.build());
    settings.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
}

fn mtls(more: &Value) -> Value {
    portcullis_tests::gateway::with(json!({"mtls": {"enabled": true}}), json!({ "mtls": more }))
}

/// OUT-107.
#[test]
fn keys_are_fetched_through_the_proxy_of_the_service() {
    let site = Site::new();
    let proxy = KeyServer::start(&[&site.issuer]);
    let oauth = json!({"proxy": {"enabled": true, "http_proxy": proxy.server().url()}});
    let gateway = site.builder("http://idp.test/keys", &oauth).start();
    assert_eq!(site.status(&gateway), 200);
    let received = proxy.server().received().concat();
    assert!(
        received.starts_with("GET http://idp.test/keys HTTP/1.1\r\n"),
        "{received}"
    );
}

/// OUT-110.
#[test]
fn a_provider_that_requires_a_client_certificate_sees_ours() {
    let site = Site::new();
    let ca = authority("Client CA");
    let keys = site.secure(|settings| demand(settings, &ca));
    let pair = issued(&ca, "gateway");
    let files = json!({"cert_file": "client.pem", "key_file": "client.key", "ca_file": "ca.pem"});
    let by_files = site
        .builder(&keys.url(), &mtls(&files))
        .file("client.pem", &pair.certificate_pem())
        .file("client.key", &pair.key_pem())
        .start();
    assert_eq!(site.status(&by_files), 200);
    let stored = json!({"cert_id": id(&pair), "ca_cert_ids": [id(certs::ca())]});
    let by_store = site.builder(&keys.url(), &mtls(&stored)).start();
    upload(&by_store, by_store.port(), &certs::bundle(&pair));
    upload(&by_store, by_store.port(), &certs::ca().certificate_pem());
    assert_eq!(site.status(&by_store), 200);
    // Whoever shows none gets nothing.
    let without = site
        .builder(&keys.url(), &mtls(&json!({"ca_file": "ca.pem"})))
        .start();
    assert_eq!(site.status(&without), 403);
}

/// OUT-111.
#[test]
fn where_our_certificate_cannot_be_had_no_keys_are_fetched_without_it() {
    let site = Site::new();
    let keys = site.secure(|_| {});
    let files = json!({"cert_file": "none.pem", "key_file": "none.key", "ca_file": "ca.pem"});
    let gateway = site.builder(&keys.url(), &mtls(&files)).start();
    assert_eq!(site.status(&gateway), 403);
    let line = gateway.wait_log("keys of tokens cannot be fetched");
    for part in ["mTLS certificate loading failed", "none.pem"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let plain = KeyServer::start(&[&site.issuer]);
    let gateway = site
        .builder(&plain.url(), &mtls(&json!({"ca_file": "ca.pem"})))
        .start();
    assert_eq!(site.status(&gateway), 403);
    gateway.wait_log("external_services.oauth.mtls.enabled asks for TLS");
    assert_eq!(
        (keys.server().connections(), plain.server().connections()),
        (0, 0)
    );
}

/// OUT-115, OUT-116, OUT-117.
#[test]
fn the_authorities_of_the_service_replace_the_system_s_or_none_is_asked() {
    let site = Site::new();
    let keys = site.secure(|_| {});
    let status = |settings: &Value| {
        let builder = site.builder(&keys.url(), &mtls(settings));
        let system = builder.path("ca.pem").display().to_string();
        let gateway = builder
            .file("other.pem", &authority("Other CA").certificate_pem())
            .environment("SSL_CERT_FILE", &system)
            .start();
        site.status(&gateway)
    };
    assert_eq!(status(&json!({"ca_file": "ca.pem"})), 200);
    assert_eq!(status(&json!({"ca_file": "other.pem"})), 403);
    assert_eq!(status(&json!({"insecure_skip_verify": true})), 200);
}

/// OUT-118.
#[test]
fn a_provider_whose_tls_is_too_old_for_the_service_is_refused() {
    let site = Site::new();
    let keys = site.secure(|settings| {
        settings
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .expect("a version");
    });
    let status = |lowest: &str| {
        let settings = json!({"ca_file": "ca.pem", "tls_min_version": lowest});
        site.status(&site.builder(&keys.url(), &mtls(&settings)).start())
    };
    assert_eq!(status("1.2"), 200);
    assert_eq!(status("1.3"), 403);
}

/// The older key counts only where the service has no settings.
#[test]
fn verification_that_is_switched_off_by_the_older_key_is_on_again_with_settings_of_the_service() {
    let site = Site::new();
    let keys = site.secure(|_| {});
    let older = json!({"jwt_ssl_insecure_skip_verify": true});
    let gateway = site
        .builder(&keys.url(), &mtls(&json!({"ca_file": "other.pem"})))
        .config(older.clone())
        .file("other.pem", &authority("Other CA").certificate_pem())
        .start();
    assert_eq!(site.status(&gateway), 403);
    let gateway = site.builder(&keys.url(), &json!({})).config(older).start();
    assert_eq!(site.status(&gateway), 200);
}
