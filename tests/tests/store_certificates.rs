//! Certificates of the store in service: uploads and deletions are in effect at once, without a reload.
//!
//! The Control API answers in the clear on the main port, so that it can be asked while there is no
//! certificate; what is looked at is a TLS port of an API.

use std::{net::SocketAddr, time::Duration};

use openssl::ssl::SslVersion;
use portcullis_pki::{Upload, make::Pair};
use portcullis_tests::{
    certs,
    curl::Response,
    echo::Echo,
    gateway::{Builder, Gateway, SECRET, api, with},
    ports::{free_port, free_ports},
    redis::Redis,
    tls::Client,
    wait::within,
};
use serde_json::{Value, json};

/// What an upload or a deletion may take until clients see it: generous, since machines that run tests are
/// busy, and yet far less than the half minute after which a node would look by itself.
const AT_ONCE: Duration = Duration::from_secs(15);

/// A gateway with these members of `tyk.conf`, which looks at files only when it is told to.
fn gateway(more: Value) -> Builder {
    Gateway::builder()
        .config(json!({
            "disable_ports_whitelist": true,
            "enable_custom_domains": true,
            "portcullis": {"watch_app_path": false},
        }))
        .config(more)
}

/// An open API that speaks TLS on a port of its own and brings these certificates.
fn tls_api(name: &str, port: u16, certificates: &[&str], echo: &Echo) -> Value {
    with(
        api(name, "/", &echo.url()),
        json!({"listen_port": port, "protocol": "https", "certificates": certificates}),
    )
}

/// The id that an upload of this pair gets.
fn id(org: &str, pair: &Pair) -> String {
    format!("{org}{}", certs::fingerprint(&pair.certificate))
}

fn upload(gateway: &Gateway, org: &str, text: &str) -> Response {
    gateway
        .curl()
        .header("X-Tyk-Authorization", SECRET)
        .arguments(&["--data-binary", text])
        .send(&gateway.url(&format!("/tyk/certs?org_id={org}")))
        .expect(200)
}

fn delete(gateway: &Gateway, id: &str) -> Response {
    gateway
        .curl()
        .header("X-Tyk-Authorization", SECRET)
        .arguments(&["-X", "DELETE"])
        .send(&gateway.url(&format!("/tyk/certs/{id}")))
        .expect(200)
}

/// What a client of this name gets on a port: the fingerprint of a certificate, or an alert.
fn shown(port: u16, name: &str) -> Result<String, Option<u8>> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    match Client::new().server_name(name).connect(address) {
        Ok(stream) => Ok(certs::fingerprint(
            &stream.ssl().peer_certificate().expect("servers have one"),
        )),
        Err(refused) => Err(refused.alert),
    }
}

#[track_caller]
fn at_once(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(AT_ONCE, condition), "not at once: {what}");
}

fn print(pair: &Pair) -> Result<String, Option<u8>> {
    Ok(certs::fingerprint(&pair.certificate))
}

/// IN-4, IN-6, ST-43 for a server certificate: named before it is there, then uploaded.
#[test]
fn an_upload_is_served_at_once_and_out_of_service_at_once_when_it_is_deleted() {
    let echo = Echo::start("open");
    let port = free_port();
    let pair = certs::server(&["localhost", "127.0.0.1"]);
    let id = id("default", &pair);
    let gateway = gateway(json!({}))
        .api("open", &tls_api("open", port, &[&id], &echo))
        .start();
    assert_eq!(shown(port, "localhost"), Err(Some(112)));
    let told = gateway.wait_log(&id);
    assert!(
        told.contains("the certificate store has no entry"),
        "{told}"
    );

    assert_eq!(
        upload(&gateway, "default", &certs::bundle(&pair)).json()["id"],
        id.as_str()
    );
    at_once("the upload", || shown(port, "localhost") == print(&pair));
    let tls12 = Client::new().set(|client| client.set_max_proto_version(Some(SslVersion::TLS1_2)));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(
        certs::fingerprint(&tls12.certificate(address)),
        print(&pair).unwrap()
    );
    let url = format!("https://localhost:{port}/");
    assert_eq!(
        gateway.curl().send(&url).expect(200).json()["upstream"],
        "open"
    );

    gateway.reload();
    assert_eq!(shown(port, "localhost"), print(&pair));

    let warned = delete(&gateway, &id);
    assert_eq!(
        warned.header("x-portcullis-warning"),
        Some("in use by API open (certificates)")
    );
    at_once("the deletion", || {
        shown(port, "localhost") == Err(Some(112))
    });
}

#[test]
fn a_deleted_certificate_gives_way_to_the_next_that_has_the_name() {
    let echo = Echo::start("open");
    let port = free_port();
    let [first, second] = [(); 2].map(|()| certs::server(&["localhost"]));
    let ids = [id("default", &first), id("default", &second)];
    let gateway = gateway(json!({"http_server_options": {"ssl_certificates": ids}}))
        .api("open", &tls_api("open", port, &[], &echo))
        .start();
    for pair in [&first, &second] {
        upload(&gateway, "default", &certs::bundle(pair));
        at_once("the upload", || shown(port, "localhost") == print(pair));
    }
    delete(&gateway, &ids[1]);
    at_once("the deletion", || shown(port, "localhost") == print(&first));
}

/// IN-10: the same certificate by path, by id and inline.
#[test]
fn path_id_and_inline_pem_of_one_certificate_all_serve_it() {
    let echo = Echo::start("open");
    let first = free_ports(3);
    let pair = certs::localhost();
    let text = certs::bundle(pair);
    let id = id("default", pair);
    let references = ["pair.pem", &id, &text];
    let mut builder = gateway(json!({})).file("pair.pem", &text);
    for (port, reference) in (first..).zip(references) {
        let name = format!("api-{port}");
        builder = builder.api(&name, &tls_api(&name, port, &[reference], &echo));
    }
    let gateway = builder.start();
    upload(&gateway, "default", &text);
    for port in first..first + 3 {
        at_once("every reference", || {
            shown(port, "localhost") == print(pair)
        });
    }
}

/// ST-44
#[test]
fn a_file_whose_key_is_encrypted_with_the_secret_of_the_store_serves() {
    let echo = Echo::start("open");
    let port = free_port();
    let pair = certs::localhost();
    let upload = Upload::parse(certs::bundle(pair).as_bytes(), 0).expect("a pair");
    let text = upload
        .to_stored("of the store")
        .expect("it can be encrypted");
    assert!(text.contains("DEK-Info: AES-256-CBC,"), "{text}");
    let secret = json!({"security": {"private_certificate_encoding_secret": "of the store"}});
    let _gateway = gateway(secret)
        .file("encrypted.pem", &text)
        .api("open", &tls_api("open", port, &["encrypted.pem"], &echo))
        .start();
    assert_eq!(shown(port, "localhost"), print(pair));
}

#[test]
fn stored_certificates_outlive_the_process_and_are_not_used_under_another_secret() {
    let echo = Echo::start("open");
    let port = free_port();
    let data = tempfile::tempdir().expect("a directory");
    let pair = certs::localhost();
    let id = id("default", pair);
    let node = |secret: &str| {
        gateway(json!({
            "portcullis": {"data_dir": data.path()},
            "security": {"private_certificate_encoding_secret": secret},
        }))
        .api("open", &tls_api("open", port, &[&id], &echo))
        .start()
    };
    let first = node("the first");
    upload(&first, "default", &certs::bundle(pair));
    at_once("the upload", || shown(port, "localhost") == print(pair));
    drop(first);

    let again = node("the first");
    assert_eq!(shown(port, "localhost"), print(pair));
    drop(again);

    let other = node("another");
    assert_eq!(shown(port, "localhost"), Err(Some(112)));
    let told = other.wait_log("cannot be used");
    assert!(told.contains(&id), "{told}");
    assert!(
        told.contains("private_certificate_encoding_secret"),
        "{told}"
    );
    assert!(
        !told.contains("the first") && !told.contains("PRIVATE"),
        "{told}"
    );
}

#[test]
fn nodes_on_one_redis_serve_what_any_uploads_and_stop_serving_what_any_deletes() {
    let echo = Echo::start("open");
    let redis = Redis::start();
    let first_port = free_ports(2);
    let pair = certs::localhost();
    let id = id("default", pair);
    let node = |port| {
        gateway(redis.configuration())
            .api("open", &tls_api("open", port, &[&id], &echo))
            .start()
    };
    let (first, second) = (node(first_port), node(first_port + 1));
    let both = |wanted: &Result<String, Option<u8>>| {
        (first_port..first_port + 2).all(|port| shown(port, "localhost") == *wanted)
    };
    assert!(both(&Err(Some(112))));

    upload(&first, "default", &certs::bundle(pair));
    at_once("the upload, on both", || both(&print(pair)));
    delete(&second, &id);
    at_once("the deletion, on both", || both(&Err(Some(112))));
}

/// ST-42: the node hears no signals, and looks itself; at most a minute apart, here each second.
#[test]
fn a_deletion_on_another_node_is_honoured_without_signals_too() {
    let echo = Echo::start("open");
    let redis = Redis::start();
    let first_port = free_ports(2);
    let pair = certs::localhost();
    let id = id("default", pair);
    let node = |port, more: Value| {
        gateway(redis.configuration())
            .config(more)
            .api("open", &tls_api("open", port, &[&id], &echo))
            .start()
    };
    let teller = node(first_port, json!({}));
    upload(&teller, "default", &certs::bundle(pair));
    let _deaf = node(
        first_port + 1,
        json!({
            "suppress_redis_signal_reload": true,
            "portcullis": {"certificate_check_interval": 1},
        }),
    );
    let port = first_port + 1;
    assert_eq!(shown(port, "localhost"), print(pair));
    delete(&teller, &id);
    at_once("seen by looking", || {
        shown(port, "localhost") == Err(Some(112))
    });
}

#[test]
fn certificates_in_use_are_looked_at_once_a_minute_at_least() {
    let seldom = json!({"portcullis": {"certificate_check_interval": 61}});
    let ended = Gateway::builder().config(seldom).fail();
    assert!(
        ended.log.contains("portcullis.certificate_check_interval"),
        "{}",
        ended.log
    );
}
