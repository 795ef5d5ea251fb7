//! Clients of services against real servers: what they show, whom they believe, how long they wait, and what
//! they say when it does not work.

mod control_plane;
mod peers;
mod ways;

use std::{fs, net::TcpListener, path::Path, time::Duration};

use bytes::Bytes;
use http::Request;
use portcullis_config::{GatewayConfig, load_text};
use portcullis_pki::make::{Algorithm, Pair, make_ca, make_client, make_server};
use portcullis_store::{Embedded, Engine};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::peers::{SServer, Server};
use super::{Answer, CallError, Client, Service, Services};
use crate::stores::Stores;

/// The services of a gateway whose configuration says nothing about them.
pub fn services_on(dir: &Path, engine: &Engine) -> Services {
    let (config, stores) = configured(dir, engine, json!({}));
    Services::new(&config, stores.certificates())
}

fn configured(dir: &Path, engine: &Engine, mut text: Value) -> (GatewayConfig, Stores) {
    text["secret"] = "a secret of the tests".into();
    let config = load_text(&dir.join("tyk.conf"), &text.to_string(), [])
        .expect("the configuration is right")
        .config;
    let stores = Stores::on(engine.clone(), &config);
    (config, stores)
}

/// A directory with an authority, a server's pair and a client's.
struct Site {
    dir: TempDir,
    engine: Engine,
    ca: Pair,
    server: Pair,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::Embedded(Embedded::open(dir.path()).unwrap());
        let ca = make_ca("Services CA", Algorithm::P256, 30).unwrap();
        let server = make_server(&ca, &["localhost", "127.0.0.1"], Algorithm::P256, 30).unwrap();
        let site = Self {
            dir,
            engine,
            ca,
            server,
        };
        site.write("ca.pem", &site.ca.certificate_pem());
        site.write("server.pem", &site.server.certificate_pem());
        site.write("server.key", &site.server.key_pem());
        site.write_client("gateway");
        site
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A new client pair at `client.pem` and `client.key`.
    fn write_client(&self, name: &str) {
        let client = make_client(&self.ca, name, Algorithm::P256, 30).unwrap();
        self.write("client.pem", &client.certificate_pem());
        self.write("client.key", &client.key_pem());
    }

    /// Its `oauth` client, with this block of `mtls`.
    fn client(&self, mtls: &Value) -> Client {
        self.client_of(&json!({"oauth": {"mtls": mtls}}))
    }

    fn configured(&self, text: &Value) -> (GatewayConfig, Stores) {
        configured(self.dir.path(), &self.engine, text.clone())
    }

    fn client_of(&self, external: &Value) -> Client {
        self.client_for(Service::Oauth, external)
    }

    fn client_for(&self, service: Service, external: &Value) -> Client {
        let (config, stores) = self.configured(&json!({ "external_services": external }));
        let services = Services::new(&config, stores.certificates());
        services.client(service).clone()
    }

    fn files(&self) -> Value {
        json!({
            "enabled": true, "ca_file": self.path("ca.pem"),
            "cert_file": self.path("client.pem"), "key_file": self.path("client.key"),
        })
    }

    async fn store(&self, pem: &str) -> String {
        let (_, stores) = self.configured(&json!({}));
        stores.certificates().add("", pem.as_bytes()).await.unwrap()
    }

    /// A real server that lets in nobody without a certificate of the authority.
    fn strict(&self) -> SServer {
        SServer::start(
            self.dir.path(),
            &["-Verify", "1", "-verify_return_error", "-CAfile", "ca.pem"],
        )
    }
}

fn get(address: &str) -> Request<Bytes> {
    Request::get(address).body(Bytes::new()).unwrap()
}

async fn text(client: &Client, address: &str) -> String {
    let Answer { status, body, .. } = client.call(get(address)).await.unwrap();
    assert_eq!(status, 200);
    String::from_utf8(body.to_vec()).unwrap()
}

async fn failure(client: &Client, address: &str) -> String {
    client.call(get(address)).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_the_one_of_the_files() {
    let site = Site::new();
    let server = site.strict();
    let page = text(&site.client(&site.files()), &server.at("localhost")).await;
    assert!(
        page.contains("CN = gateway") || page.contains("CN=gateway"),
        "{page}"
    );

    let without = site.client(&json!({"enabled": true, "ca_file": site.path("ca.pem")}));
    let said = failure(&without, &server.at("localhost")).await;
    assert!(
        said.contains("certificate_required (116)")
            && said.contains("name one by `cert_file` and `key_file`, or `cert_id`, in external_services.oauth.mtls"),
        "{said}"
    );
}

/// OUT-115, of the client.
#[tokio::test]
async fn an_authority_alone_verifies_the_server_without_showing_anything() {
    let site = Site::new();
    let server = SServer::start(site.dir.path(), &[]);
    let client = site.client(&json!({"enabled": true, "ca_file": site.path("ca.pem")}));
    let page = text(&client, &server.at("localhost")).await;
    assert!(page.contains("no client certificate available"), "{page}");

    let other = make_ca("Other CA", Algorithm::P256, 30).unwrap();
    let other = site.write("other.pem", &other.certificate_pem());
    let client = site.client(&json!({"enabled": true, "ca_file": other}));
    let said = failure(&client, &server.at("localhost")).await;
    assert!(
        said.contains("TLS failed: nobody who is trusted issued its certificate")
            && said.contains("`ca_file` or `ca_cert_ids` in external_services.oauth.mtls"),
        "{said}"
    );
    let client = site.client(&json!({"enabled": true, "ca_file": site.path("ca.pem")}));
    let elsewhere = server.at("127.0.0.2");
    let said = failure(&client, &elsewhere).await;
    assert!(
        said.contains("its certificate is for another name"),
        "{said}"
    );
}

/// OUT-116, of the client.
#[tokio::test]
async fn a_block_that_only_skips_verification_is_allowed_and_skips_it() {
    let site = Site::new();
    let server = SServer::start(site.dir.path(), &[]);
    let skipping = site.client(&json!({"enabled": true, "insecure_skip_verify": true}));
    text(&skipping, &server.at("localhost")).await;
    // Without the block being enabled, and nothing else configured, the switch is not in force.
    let off = site.client(&json!({"insecure_skip_verify": true}));
    let said = failure(&off, &server.at("localhost")).await;
    assert!(said.contains("TLS failed"), "{said}");
}

/// OUT-118, of the client, and the same for the highest version.
#[tokio::test]
async fn the_versions_are_those_of_the_block() {
    let site = Site::new();
    let (old, new) = (
        SServer::start(site.dir.path(), &["-tls1_2"]),
        SServer::start(site.dir.path(), &["-tls1_3"]),
    );
    let bounded = |key: &str, version: &str| {
        let mut block = site.files();
        block[key] = version.into();
        site.client(&block)
    };
    let (min, max) = (
        bounded("tls_min_version", "1.3"),
        bounded("tls_max_version", "1.2"),
    );
    for (client, refused, accepted) in [(&min, &old, &new), (&max, &new, &old)] {
        let said = failure(client, &refused.at("localhost")).await;
        assert!(
            said.contains("no TLS version in common") && said.contains("`tls_min_version`"),
            "{said}"
        );
        text(client, &accepted.at("localhost")).await;
    }
    let both = site.client(&site.files());
    text(&both, &old.at("localhost")).await;
    text(&both, &new.at("localhost")).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_end_in_an_error_and_no_connection() {
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("https://{}/", listener.local_addr().unwrap());
    let cases = [
        (
            "cert_file",
            "none.pem",
            "mTLS certificate loading failed: external_services.oauth.mtls.cert_file",
        ),
        (
            "key_file",
            "server.key",
            "does not belong to the certificate",
        ),
        (
            "ca_file",
            "none.pem",
            "mTLS CA certificate loading failed: external_services.oauth.mtls.ca_file",
        ),
        ("ca_file", "client.key", "failed to parse CA certificate"),
    ];
    for (key, file, expected) in cases {
        let mut block = site.files();
        block[key] = site.path(file).into();
        let error = site.client(&block).call(get(&address)).await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, CallError::Settings(_)), "{said}");
        assert!(said.starts_with("failed to configure TLS: "), "{said}");
        assert!(said.contains(expected) && said.contains(file), "{said}");
    }
    let plain = format!("http://{}/", listener.local_addr().unwrap());
    let said = failure(&site.client(&site.files()), &plain).await;
    assert!(
        said.contains("enabled asks for TLS, and http://127.0.0.1:"),
        "{said}"
    );
    assert!(listener.accept().is_err(), "nobody connected");
}

#[tokio::test]
async fn renewed_files_act_at_the_next_call_and_kept_connections_of_the_old_ones_are_left() {
    let site = Site::new();
    let server = Server::mutual(&site.server, &site.ca);
    let address = format!("https://localhost:{}/", server.address.port());
    let client = site.client(&site.files());
    assert_eq!(text(&client, &address).await, "gateway 0");
    assert_eq!(text(&client, &address).await, "gateway 0");
    site.write_client("renewed");
    assert_eq!(text(&client, &address).await, "renewed 1");
    assert_eq!(text(&client, &address).await, "renewed 1");
    // Half a renewal: the one from before stays in use.
    let next = make_client(&site.ca, "next", Algorithm::P256, 30).unwrap();
    site.write("client.pem", &next.certificate_pem());
    assert!(text(&client, &address).await.starts_with("renewed "));
    site.write("client.key", &next.key_pem());
    assert!(text(&client, &address).await.starts_with("next "));
    // Whoever takes the authorities away takes the trust away.
    fs::remove_file(site.path("ca.pem")).unwrap();
    let said = failure(&client, &address).await;
    assert!(said.contains("ca_file"), "{said}");
}

#[tokio::test]
async fn certificates_of_the_store_are_shown_and_trusted_until_they_are_removed() {
    let site = Site::new();
    let server = site.strict();
    let address = server.at("localhost");
    let pair = make_client(&site.ca, "stored", Algorithm::P256, 30).unwrap();
    let id = site
        .store(&(pair.certificate_pem() + &pair.key_pem()))
        .await;
    let authority = site.store(&site.ca.certificate_pem()).await;
    let unknown = "0".repeat(64);
    let block = json!({"enabled": true, "cert_id": id, "ca_cert_ids": [unknown, authority]});
    let client = site.client(&block);
    let page = text(&client, &address).await;
    assert!(
        page.contains("CN = stored") || page.contains("CN=stored"),
        "{page}"
    );

    let nobody = site.client(&json!({"enabled": true, "cert_id": id, "ca_cert_ids": [unknown]}));
    let said = failure(&nobody, &address).await;
    assert!(
        said.starts_with(
            "failed to configure TLS: mTLS CA certificate loading failed: none of the entries"
        ),
        "{said}"
    );

    let (_, stores) = site.configured(&json!({}));
    stores.certificates().remove(&id, None).await.unwrap();
    let said = failure(&client, &address).await;
    let expected = format!(
        "failed to configure TLS: mTLS certificate store access failed: certificate not found in store: {id}"
    );
    assert!(said.starts_with(&expected), "{said}");
}

#[tokio::test]
async fn a_call_ends_in_time_and_an_answer_has_bounds() {
    let site = Site::new();
    let client = site.client(&json!({}));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", silent.local_addr().unwrap());
    let limit = Duration::from_millis(100);
    let error = client.call_within(get(&address), limit).await.unwrap_err();
    assert!(matches!(error, CallError::Slow { .. }), "{error}");

    let large = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", large.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::Write;
        let (mut socket, _) = large.accept().unwrap();
        peers::head(&mut socket).unwrap();
        let _ = socket.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        while socket.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    let error = client.call(get(&address)).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge { .. }), "{error}");
}
