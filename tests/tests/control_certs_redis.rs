//! One Redis between this gateway and a Tyk fleet: what a Tyk node stored is read, and what is stored here
//! a Tyk node finds where and as it would have written it.

use std::fs;

use portcullis_tests::{
    curl::Response,
    gateway::{Gateway, SECRET},
    openssl::{openssl, read, self_signed},
    redis::Redis,
};
use serde_json::json;

/// Of the private keys in the store.
const PASSPHRASE: &str = "shared by the fleet";

fn ask(gateway: &Gateway, path: &str, arguments: &[&str]) -> Response {
    gateway
        .curl()
        .header("X-Tyk-Authorization", SECRET)
        .arguments(arguments)
        .send(&gateway.url(path))
        .expect(200)
}

fn gateway(redis: &Redis) -> Gateway {
    Gateway::builder()
        .config(redis.configuration())
        .config(json!({"security": {"private_certificate_encoding_secret": PASSPHRASE}}))
        .start()
}

#[test]
fn a_pair_that_a_tyk_node_stored_is_listed_and_read_with_its_key() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().expect("a directory");
    let id = format!("5e9d{}", self_signed(dir.path(), "theirs", &["rsa:2048"]));
    let passphrase = format!("pass:{PASSPHRASE}");
    let sealed = openssl(
        dir.path(),
        &[
            "rsa",
            "-aes256",
            "-traditional",
            "-passout",
            &passphrase,
            "-in",
            "theirs.key",
        ],
    );
    let sealed = sealed.replace("RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let value = format!("{}\n{sealed}", read(dir.path(), "theirs.crt"));
    assert_eq!(redis.ask(&["SET", &format!("cert-raw-{id}"), &value]), "OK");
    assert_eq!(
        redis.ask(&["RPUSH", "cert-5e9d-index", &format!("raw-{id}")]),
        "1"
    );

    let gateway = gateway(&redis);
    let listed = ask(&gateway, "/tyk/certs?org_id=5e9d", &[]);
    assert_eq!(listed.text(), format!("{{\"certs\":[\"{id}\"]}}\n"));
    let shown = ask(&gateway, &format!("/tyk/certs/{id}"), &[]).json();
    assert_eq!(shown["has_private"], true);
    assert_eq!(shown["subject"]["CommonName"], "theirs.test");
    ask(&gateway, &format!("/tyk/certs/{id}"), &["-X", "DELETE"]);
    assert_eq!(
        redis.ask(&["EXISTS", &format!("cert-raw-{id}"), "cert-5e9d-index"]),
        "0"
    );
}

/// ST-2, ST-3
#[test]
fn a_pair_that_is_stored_here_has_the_entries_the_index_and_the_encryption_of_a_tyk_node() {
    let redis = Redis::start();
    let gateway = gateway(&redis);
    let dir = tempfile::tempdir().expect("a directory");
    let id = format!("1{}", self_signed(dir.path(), "ours", &["rsa:2048"]));
    let certificate = read(dir.path(), "ours.crt");
    // The key as the uploaded block had it is what is encrypted, so that openssl knows its kind.
    let key = openssl(dir.path(), &["rsa", "-traditional", "-in", "ours.key"]);
    let bundle = dir.path().join("ours.pem");
    fs::write(&bundle, certificate.clone() + &key).expect("a file of the test");
    let body = format!("@{}", bundle.display());
    let added = ask(&gateway, "/tyk/certs?org_id=1", &["--data-binary", &body]);
    assert_eq!(
        added.text(),
        format!("{{\"id\":\"{id}\",\"status\":\"ok\",\"message\":\"Certificate added\"}}\n")
    );

    let entry = format!("cert-raw-{id}");
    assert_eq!(redis.ask(&["TYPE", "cert-1-index"]), "list");
    assert_eq!(
        redis.ask(&["LRANGE", "cert-1-index", "0", "-1"]),
        format!("raw-{id}")
    );
    assert_eq!(redis.ask(&["TYPE", &entry]), "string");
    assert_eq!(redis.ask(&["TTL", &entry]), "-1");
    let stored = redis.ask(&["GET", &entry]);
    let sealed = stored
        .strip_prefix(&format!("{certificate}\n"))
        .expect("the certificate, an empty line, the key");
    assert!(sealed.starts_with(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,"
    ));
    fs::write(
        dir.path().join("sealed.key"),
        sealed.replace("ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY"),
    )
    .expect("a file of the test");
    let passphrase = format!("pass:{PASSPHRASE}");
    let opened = openssl(
        dir.path(),
        &[
            "rsa",
            "-traditional",
            "-passin",
            &passphrase,
            "-in",
            "sealed.key",
        ],
    );
    assert_eq!(opened, key);
    ask(&gateway, "/tyk/certs?org_id=1", &[]);
    assert_eq!(redis.ask(&["GET", "cert-1-index-migrated"]), "1");
}
