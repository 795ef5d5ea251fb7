//! What an upstream learns of a client's certificate, and from whom.

use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Gateway, api, with},
    mtls::{Outcome, authority, call, issued},
};
use serde_json::{Value, json};

/// The header fields that reached the upstream.
#[track_caller]
fn reached(outcome: &Outcome) -> Value {
    let Outcome::Answer { status: 200, body } = outcome else {
        panic!("{outcome:?}");
    };
    serde_json::from_str::<Value>(body).expect("the echo speaks JSON")["headers"].clone()
}

#[test]
fn an_upstream_is_told_of_the_certificate_where_its_api_says_so() {
    let echo = Echo::start("api");
    let root = authority("Root");
    let leaf = issued(&root, "client");
    let listed = |name: &str, more: Value| {
        let list =
            json!({"use_mutual_tls_auth": true, "client_certificates": [root.certificate_pem()]});
        with(
            with(api(name, &format!("/{name}/"), &echo.url()), list),
            more,
        )
    };
    let all = json!({"portcullis": {"client_identity":
        ["Client-Cert", "Client-Cert-Chain", "X-Forwarded-Client-Cert"]}});
    let gateway = Gateway::builder()
        .tls()
        .api("told", &listed("told", all.clone()))
        .api("silent", &listed("silent", json!({})))
        .api("open", &with(api("open", "/open/", &echo.url()), all))
        .start();
    let client = call(&gateway).with(&[&leaf, &root]);
    let told = reached(&client.get("/told/"));
    let encoded = openssl::base64::encode_block(&leaf.certificate.to_der().unwrap());
    assert_eq!(told["client-cert"], format!(":{encoded}:"));
    let encoded = openssl::base64::encode_block(&root.certificate.to_der().unwrap());
    assert_eq!(told["client-cert-chain"], format!(":{encoded}:"));
    let hash = certs::fingerprint(&leaf.certificate);
    assert_eq!(
        told["x-forwarded-client-cert"],
        format!("Hash={hash};Subject=\"CN=client\"")
    );
    // Nobody has verified the certificate for an API without a list.
    for path in ["/silent/", "/open/"] {
        let fields = reached(&client.get(path));
        assert!(
            fields
                .as_object()
                .unwrap()
                .keys()
                .all(|name| !name.contains("client-cert")),
            "{fields}"
        );
    }
}

#[test]
fn what_a_client_claims_to_be_never_reaches_an_upstream() {
    let echo = Echo::start("api");
    let gateway = Gateway::builder()
        .tls()
        .api("open", &api("open", "/", &echo.url()))
        .start();
    let claims = [
        "Client-Cert",
        "client-cert-chain",
        "X-Forwarded-Client-Cert",
        "X_Forwarded_Client_Cert",
        "client_cert",
    ];
    let liar = claims
        .into_iter()
        .fold(call(&gateway), |call, name| call.field(name, "Hash=abc"));
    let fields = reached(&liar.field("X-Other", "stays").get("/"));
    assert_eq!(fields["x-other"], "stays");
    assert!(!fields.to_string().contains("Hash=abc"), "{fields}");
    // By HTTP/2 as well.
    let mut curl = gateway.curl().arguments(&["--http2"]);
    for name in claims {
        curl = curl.header(name, "Hash=abc");
    }
    let fields = curl.send(&gateway.url("/")).expect(200).text();
    assert!(!fields.contains("Hash=abc"), "{fields}");
}
