//! The certificate store of a running gateway: certificates that openssl made come, are seen, survive a
//! restart and go, all by curl.

use std::path::Path;

use portcullis_tests::{
    curl::{Curl, Response},
    gateway::{Gateway, SECRET},
    openssl::{read, self_signed},
};
use serde_json::{Value, json};

const NOT_FOUND: &str =
    "{\"status\":\"error\",\"message\":\"Certificate with given SHA256 fingerprint not found\"}\n";

fn call(gateway: &Gateway, method: &str) -> Curl {
    gateway
        .curl()
        .header("X-Tyk-Authorization", SECRET)
        .arguments(&["-X", method])
}

fn send(gateway: &Gateway, method: &str, path: &str) -> Response {
    call(gateway, method).send(&gateway.url(path))
}

fn upload(gateway: &Gateway, org: &str, file: &Path) -> Response {
    let path = format!("/tyk/certs?org_id={org}");
    let file = format!("@{}", file.display());
    call(gateway, "POST")
        .arguments(&["--data-binary", &file])
        .send(&gateway.url(&path))
}

fn has_private(gateway: &Gateway, id: &str) -> Value {
    send(gateway, "GET", &format!("/tyk/certs/{id}"))
        .expect(200)
        .json()["has_private"]
        .clone()
}

/// ST-2, ST-3, ST-7, ST-21, ST-31, ST-35 by real clients.
#[test]
fn certificates_made_by_openssl_are_stored_shown_and_deleted_with_curl() {
    let gateway = Gateway::builder().tls().start();
    let dir = tempfile::tempdir().expect("a directory");
    let ec = self_signed(
        dir.path(),
        "ec",
        &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    );
    let rsa = self_signed(dir.path(), "rsa", &["rsa:2048"]);
    let ed = self_signed(dir.path(), "ed", &["ed25519"]);
    for (name, print) in [("ec", &ec), ("rsa", &rsa), ("ed", &ed)] {
        let added = format!(
            "{{\"id\":\"1{print}\",\"status\":\"ok\",\"message\":\"Certificate added\"}}\n"
        );
        let reply = upload(&gateway, "1", &dir.path().join(format!("{name}.pem")));
        assert_eq!((reply.status, reply.text()), (200, added));
        assert_eq!(has_private(&gateway, &format!("1{print}")), true);
    }
    let listed = send(&gateway, "GET", "/tyk/certs?org_id=1")
        .expect(200)
        .json();
    assert_eq!(
        listed["certs"],
        json!([format!("1{ec}"), format!("1{rsa}"), format!("1{ed}")])
    );
    let detailed = send(&gateway, "GET", "/tyk/certs?org_id=1&mode=detailed");
    assert_eq!(
        detailed.expect(200).json()["certs"][1]["dns_names"],
        json!(["rsa.test"])
    );
    let shown = send(&gateway, "GET", &format!("/tyk/certs/1{ec}")).expect(200);
    assert!(
        shown.text().contains("\"Organization\":[\"R\\u0026D\"]"),
        "{shown:?}"
    );

    upload(&gateway, "1", &dir.path().join("ec.crt")).expect(403);
    for print in [&ec, &rsa, &ed] {
        let removed = send(&gateway, "DELETE", &format!("/tyk/certs/1{print}"));
        assert_eq!(
            removed.expect(200).text(),
            "{\"status\":\"ok\",\"message\":\"removed\"}\n"
        );
    }
    let listed = send(&gateway, "GET", "/tyk/certs?org_id=1").expect(200);
    assert_eq!(listed.text(), "{\"certs\":null}\n");
    // Neither the key nor what opens it is anywhere in the log.
    let key = read(dir.path(), "ec.key");
    let log = gateway.log().text();
    assert!(log.contains("certificate added"), "{log}");
    assert!(!log.contains(key.lines().nth(1).expect("base64")) && !log.contains(SECRET));
}

/// ST-41
#[test]
fn after_a_restart_with_another_secret_a_stored_pair_is_not_found_and_the_log_says_why() {
    let data = tempfile::tempdir().expect("a directory");
    let start = |secret: &str| {
        let config = json!({
            "portcullis": {"data_dir": data.path()},
            "security": {"private_certificate_encoding_secret": secret},
        });
        Gateway::builder().config(config).start()
    };
    let dir = tempfile::tempdir().expect("a directory");
    let pair = self_signed(dir.path(), "pair", &["rsa:2048"]);
    let plain = self_signed(dir.path(), "plain", &["rsa:2048"]);
    let (pair, plain) = (format!("1{pair}"), format!("1{plain}"));

    let gateway = start("one secret");
    upload(&gateway, "1", &dir.path().join("pair.pem")).expect(200);
    upload(&gateway, "1", &dir.path().join("plain.crt")).expect(200);
    drop(gateway);

    let gateway = start("another secret");
    let missing = send(&gateway, "GET", &format!("/tyk/certs/{pair}")).expect(404);
    assert_eq!(missing.text(), NOT_FOUND);
    let line = gateway.wait_log("the stored certificate cannot be used");
    assert!(
        line.contains(&pair) && line.contains("private_certificate_encoding_secret"),
        "{line}"
    );
    assert_eq!(has_private(&gateway, &plain), false);
    let listed = send(&gateway, "GET", "/tyk/certs?org_id=1")
        .expect(200)
        .json();
    assert_eq!(listed["certs"], json!([pair, plain]));
    drop(gateway);

    // What was acknowledged is there when the secret is back.
    let gateway = start("one secret");
    assert_eq!(has_private(&gateway, &pair), true);
}

#[test]
fn a_gateway_that_encrypts_keys_with_the_shipped_secret_says_so_at_start() {
    const SHIPPED: &str = "352d20ee67be67f6340b4c0605b044b7";
    const WARNING: &str = "ENCRYPTED WITH THE SHIPPED DEFAULT SECRET";
    let shipped = json!({"security": {"private_certificate_encoding_secret": SHIPPED}});
    let gateway = Gateway::builder().config(shipped).start();
    assert!(gateway.log().text().contains(WARNING));
    let gateway = Gateway::builder().start();
    assert!(!gateway.log().text().contains(WARNING));
}
