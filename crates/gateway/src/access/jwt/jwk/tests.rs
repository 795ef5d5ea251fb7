//! What a key set makes usable, and what it does not.

use openssl::{asn1::Asn1Time, pkey::PKey, rsa::Rsa};
use serde_json::json;

use super::*;
use crate::access::jwt::jws::Hash;

const RS256: Algorithm = Algorithm::RsaPkcs1(Hash::Sha256);
const ES256: Algorithm = Algorithm::Ecdsa(Hash::Sha256);

fn read(keys: impl Into<Value>) -> KeySet {
    KeySet::parse(json!({ "keys": keys.into() }).to_string().as_bytes()).expect("a key set")
}

fn point() -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": "p",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

#[test]
fn keys_are_found_by_their_id_for_what_they_are_published_for() {
    let rsa = Rsa::generate(2048).expect("a key");
    let part = |number: Vec<u8>| BASE64_URL_SAFE_NO_PAD.encode(number);
    let set = read(json!([
        with(with(point(), "use", json!("sig")), "alg", json!("ES256")),
        {"kty": "RSA", "kid": "r", "n": part(rsa.n().to_vec()), "e": part(rsa.e().to_vec()), "key_ops": ["verify"]},
        {"kty": "OKP", "crv": "Ed25519", "kid": "o", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    ]));
    assert_eq!((set.len(), set.passed_over.len()), (3, 0), "{set:?}");
    let count = |id, algorithm| set.of(id, algorithm).count();
    assert_eq!(count("p", ES256), 1);
    assert_eq!(
        count("p", Algorithm::Ecdsa(Hash::Sha384)),
        0,
        "it names its algorithm"
    );
    assert_eq!(count("r", RS256), 1);
    assert_eq!(
        count("r", Algorithm::RsaPss(Hash::Sha512)),
        1,
        "it names none"
    );
    assert_eq!(count("r", Algorithm::Hmac(Hash::Sha256)), 0);
    assert_eq!(count("o", Algorithm::Eddsa), 1);
    assert_eq!(count("x", RS256), 0);
}

#[test]
fn what_is_not_for_signatures_or_cannot_be_read_is_passed_over_and_named() {
    for (key, why) in [
        (
            with(point(), "use", json!("enc")),
            "not published for signatures",
        ),
        (
            with(point(), "key_ops", json!(["encrypt"])),
            "not published for signatures",
        ),
        (with(point(), "x", json!("f83O")), "neither a public key"),
        (with(point(), "y", json!(1)), "\"y\""),
        (with(point(), "crv", json!("P-224")), "a key of a kind"),
        (with(point(), "alg", json!("RS256")), "\"alg\""),
        (with(point(), "alg", json!("none")), "algorithm \"none\""),
        (with(point(), "x5c", json!(["AAAA"])), "\"x5c\""),
        (
            json!({"kty": "oct", "kid": "p", "k": "AAAA"}),
            "type \"oct\"",
        ),
        (
            json!({"kty": "OKP", "crv": "X25519", "kid": "p", "x": "AAAA"}),
            "type \"OKP\"",
        ),
        (
            json!({"kty": "RSA", "kid": "p", "n": "AQAB", "e": "AQAB"}),
            "RSA key of 17 bits",
        ),
        (json!("p"), "no object"),
    ] {
        let set = read(json!([key]));
        assert_eq!(set.len(), 0, "{key}");
        assert!(
            set.passed_over[0].contains(why),
            "{key}: {:?}",
            set.passed_over
        );
    }
    for text in ["", "[]", "{}", r#"{"keys": {}}"#] {
        assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_certificate_stands_for_its_key_and_must_not_hold_another() {
    let key = Rsa::generate(2048).and_then(PKey::from_rsa).expect("a key");
    let mut builder = X509::builder().expect("a certificate");
    builder.set_pubkey(&key).expect("a key");
    let day = |days| Asn1Time::days_from_now(days).expect("a time");
    builder.set_not_before(&day(0)).expect("a time");
    builder.set_not_after(&day(1)).expect("a time");
    builder
        .sign(&key, openssl::hash::MessageDigest::sha256())
        .expect("signed");
    let certificate = builder.build();
    let der = openssl::base64::encode_block(&certificate.to_der().expect("DER"));
    let pem = openssl::base64::encode_block(&certificate.to_pem().expect("PEM"));
    for text in [&der, &pem] {
        let set = read(json!([{"kty": "RSA", "kid": "c", "x5c": [text]}]));
        assert_eq!(set.of("c", RS256).count(), 1, "{set:?}");
    }
    let other = Rsa::generate(2048).expect("a key");
    let part = |number: Vec<u8>| BASE64_URL_SAFE_NO_PAD.encode(number);
    let set = read(json!([{"kty": "RSA", "kid": "c", "x5c": [der],
        "n": part(other.n().to_vec()), "e": part(other.e().to_vec())}]));
    assert!(set.passed_over[0].contains("holds another key"), "{set:?}");
}
