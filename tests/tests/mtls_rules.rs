//! Typed entries of allow lists: clients known by key, name, authority or fingerprint.

use openssl::{hash::MessageDigest, sha::sha256, x509::X509};
use portcullis_pki::{
    make::{self, Algorithm, Pair, Role, Template},
    names::AlternativeName,
};
use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Gateway, api, with},
    mtls::{Outcome, authority, call, issued, not_allowed, self_signed},
    ports::free_port,
    wait::eventually,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// A definition whose list has typed entries only.
fn ruled(echo: &Echo, entries: &Value, vouching: &[&Pair]) -> Value {
    let vouching: Vec<String> = vouching.iter().map(|pair| pair.certificate_pem()).collect();
    let ours = json!({"portcullis": {
        "client_certificates": entries,
        "client_certificate_authorities": vouching,
    }});
    with(api("a", "/", &echo.url()), ours)
}

/// A gateway whose handshakes ask, and whose requests are checked; and one whose handshakes require.
fn both(definition: &Value) -> [Gateway; 2] {
    let asking = Gateway::builder().tls().api("a", definition).start();
    let requiring = Gateway::builder()
        .tls()
        .config(json!({"control_api_port": free_port()}))
        .api("a", definition)
        .start();
    [asking, requiring]
}

fn named(issuer: &Pair, name: AlternativeName) -> Pair {
    let template = Template {
        name: "client",
        alternatives: &[name],
        role: Role::Leaf {
            server: false,
            client: true,
        },
        algorithm: Algorithm::P256,
        days: 90,
    };
    make::make(&template, Some(issuer)).unwrap()
}

fn dns(name: &str) -> AlternativeName {
    AlternativeName::Dns(name.to_owned())
}

#[test]
fn a_name_passes_below_its_authority_renewed_or_not_and_nobody_else_does() {
    let echo = Echo::start("api");
    let [vouching, other] = ["Vouching", "Other"].map(authority);
    let spiffe = |id: &str| AlternativeName::Uri(format!("spiffe://example.com/{id}"));
    let [first, renewed] = [(); 2].map(|()| named(&vouching, dns("billing.example.com")));
    let workload = named(&vouching, spiffe("ns/prod/billing"));
    let sibling = named(&vouching, dns("sales.example.com"));
    let pretender = named(&other, dns("billing.example.com"));
    let entries = json!([
        {"match": "dns:billing.example.com", "note": "billing"},
        {"match": "uri:spiffe://example.com/ns/prod/*"},
    ]);
    let [asking, requiring] = both(&ruled(&echo, &entries, &[&vouching]));
    for gateway in [&asking, &requiring] {
        for client in [&first, &renewed, &workload] {
            assert_eq!(call(gateway).with(&[client]).get("/").status(), 200);
        }
        // The handshake knows the authority; who of its clients may pass is known with the request.
        let refused = call(gateway).with(&[&sibling]).get("/").refusal();
        assert_eq!(refused, (403, not_allowed(&sibling)));
    }
    let refused = call(&asking).with(&[&pretender]).get("/").refusal();
    assert_eq!(refused, (403, not_allowed(&pretender)));
    let refused = call(&requiring).with(&[&pretender]).get("/");
    assert_eq!(refused, Outcome::Alert(48));
}

#[test]
fn names_without_an_authority_let_nobody_pass_and_it_is_said() {
    let echo = Echo::start("api");
    let root = authority("Root");
    let client = named(&root, dns("billing.example.com"));
    let entries = json!([{"match": "dns:billing.example.com"}]);
    let gateway = Gateway::builder()
        .tls()
        .api("a", &ruled(&echo, &entries, &[]))
        .start();
    gateway.wait_log("client_certificate_authorities");
    gateway.wait_log("nobody can pass");
    let refused = call(&gateway).with(&[&client, &root]).get("/").refusal();
    assert_eq!(refused, (403, not_allowed(&client)));
}

#[test]
fn a_key_passes_with_every_certificate_it_gets() {
    let echo = Echo::start("api");
    let first = self_signed("client");
    let renewed = Pair {
        certificate: resigned(&first),
        key: first.key.clone(),
    };
    let stranger = self_signed("client");
    let spki = sha256(&first.key.public_key_to_der().unwrap());
    let hex: String = spki.iter().map(|byte| format!("{byte:02x}")).collect();
    for written in [hex, openssl::base64::encode_block(&spki)] {
        let entries = json!([{"match": format!("spki:{written}")}]);
        let [asking, requiring] = both(&ruled(&echo, &entries, &[]));
        for gateway in [&asking, &requiring] {
            for client in [&first, &renewed] {
                assert_eq!(call(gateway).with(&[client]).get("/").status(), 200);
            }
        }
        let refused = call(&asking).with(&[&stranger]).get("/").refusal();
        assert_eq!(refused, (403, not_allowed(&stranger)));
        let refused = call(&requiring).with(&[&stranger]).get("/");
        assert_eq!(refused, Outcome::Alert(48));
    }
}

#[test]
fn an_entry_that_has_ended_or_not_begun_is_refused_by_its_name() {
    let echo = Echo::start("api");
    let root = authority("Root");
    let [over, ahead, open] = ["over", "ahead", "open"].map(|name| issued(&root, name));
    let id = |pair: &Pair| format!("sha256:{}", certs::fingerprint(&pair.certificate));
    let entries = json!([
        {"match": id(&over), "not_after": "2020-01-01T00:00:00Z", "note": "the old one"},
        {"match": id(&ahead), "not_before": "2199-01-01T00:00:00Z"},
        {"match": id(&open), "not_before": "2020-01-01T00:00:00Z", "not_after": "2199-01-01T00:00:00Z"},
    ]);
    let [asking, requiring] = both(&ruled(&echo, &entries, &[]));
    for gateway in [&asking, &requiring] {
        let ask = |pair: &Pair| call(gateway).with(&[pair]).get("/");
        assert_eq!(ask(&open).status(), 200);
        let ended = "Certificate is no longer allowed".to_owned();
        assert_eq!(ask(&over).refusal(), (403, ended));
        let begins = "Certificate is not allowed yet".to_owned();
        assert_eq!(ask(&ahead).refusal(), (403, begins));
    }
}

#[test]
fn what_is_open_ends_with_the_entry_that_let_it_in() {
    let echo = Echo::start("api");
    echo.hold();
    let client: &'static Pair = Box::leak(Box::new(self_signed("client")));
    let end = OffsetDateTime::now_utc() + Duration::seconds(12);
    let entries = json!([{
        "match": format!("sha256:{}", certs::fingerprint(&client.certificate)),
        "not_after": end.format(&Rfc3339).unwrap(),
    }]);
    let gateway = Gateway::builder()
        .tls()
        .api("a", &ruled(&echo, &entries, &[]))
        .start();
    let held = call(&gateway).with(&[client]);
    let open = std::thread::spawn(move || held.get("/held"));
    eventually("the upstream has the request", || echo.waiting() > 0);
    assert_eq!(open.join().unwrap(), Outcome::Closed);
    gateway.wait_log("open exchange ended: Certificate is no longer allowed");
}

#[test]
fn an_authority_is_listed_by_type_beside_the_plain_entries() {
    let echo = Echo::start("api");
    let [root, other] = ["Root", "Other"].map(authority);
    let plain = self_signed("plain");
    let client = issued(&root, "client");
    let definition = with(
        ruled(&echo, &json!([{"match": "ca:ca.pem"}]), &[]),
        json!({"use_mutual_tls_auth": true, "client_certificates": [plain.certificate_pem()]}),
    );
    let gateway = Gateway::builder()
        .tls()
        .file("ca.pem", &root.certificate_pem())
        .api("a", &definition)
        .start();
    for pair in [&plain, &client] {
        assert_eq!(call(&gateway).with(&[pair]).get("/").status(), 200);
    }
    let stranger = issued(&other, "client");
    let refused = call(&gateway).with(&[&stranger]).get("/").refusal();
    assert_eq!(refused, (403, not_allowed(&stranger)));
}

/// Another certificate of the same key, signed by itself.
fn resigned(pair: &Pair) -> X509 {
    let old = &pair.certificate;
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = openssl::bn::BigNum::from_u32(7).unwrap();
    let serial = serial.to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(old.subject_name()).unwrap();
    builder.set_issuer_name(old.subject_name()).unwrap();
    builder.set_pubkey(&pair.key).unwrap();
    builder.set_not_before(old.not_before()).unwrap();
    builder.set_not_after(old.not_after()).unwrap();
    builder.sign(&pair.key, MessageDigest::sha256()).unwrap();
    builder.build()
}
