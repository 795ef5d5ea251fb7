//! Which certificate the server presents, and what happens without one.

use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Gateway, api},
    tls::Client,
};
use serde_json::json;

/// IN-1
#[test]
fn a_tls_gateway_without_any_certificate_refuses_handshakes_with_unrecognized_name() {
    let echo = Echo::start("open");
    let gateway = Gateway::builder()
        .config(json!({"http_server_options": {"use_ssl": true}}))
        .api("open", &api("open", "/", &echo.url()))
        .start();
    assert_eq!(
        Client::new().connect(gateway.address()).unwrap_err().alert,
        Some(112)
    );
}

/// IN-2
#[test]
fn a_pair_of_files_serves() {
    let echo = Echo::start("open");
    let pair = certs::localhost();
    let gateway = Gateway::builder()
        .file("crt.pem", &pair.certificate_pem())
        .file("key.pem", &pair.key_pem())
        .config(json!({"http_server_options": {
            "use_ssl": true,
            "certificates": [{"domain_name": "localhost", "cert_file": "crt.pem", "key_file": "key.pem"}],
        }}))
        .api("open", &api("open", "/", &echo.url()))
        .start();
    assert_eq!(gateway.get("/").expect(200).json()["upstream"], "open");
}
