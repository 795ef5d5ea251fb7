//! What a definition's source stands for, and whose a token is by a definition.

use openssl::{
    base64::encode_block,
    ec::{EcGroup, EcKey},
    nid::Nid,
    pkey::PKey,
    rsa::Rsa,
};
use portcullis_apidef::{Jwt, parse_classic};
use serde_json::{Value, json};

use super::{
    claims::Claims,
    grant::{identity, identity_by_key},
    *,
};

fn pem_of_rsa() -> String {
    let key = Rsa::generate(2048).and_then(PKey::from_rsa).expect("a key");
    String::from_utf8(key.public_key_to_pem().expect("PEM")).expect("text")
}

fn pem_of_curve() -> String {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    let key = EcKey::generate(&group)
        .and_then(PKey::from_ec_key)
        .expect("a key");
    String::from_utf8(key.public_key_to_pem().expect("PEM")).expect("text")
}

/// In one word what a source stands for, or why it stands for nothing.
fn stands_for(source: &str, method: SigningMethod) -> String {
    match Keys::of(source, method) {
        Ok(Keys::Published(places)) => places[0].url.clone(),
        Ok(Keys::Fixed(key)) => name(key.method()).to_owned(),
        Ok(Keys::Stored(id)) => id,
        Ok(Keys::OfEachKey) => "each key's".to_owned(),
        Ok(Keys::AtIssuer) => "nowhere".to_owned(),
        Err(why) => why,
    }
}

#[test]
fn a_source_is_a_url_an_id_pem_or_base64_of_any_of_them_or_of_a_secret() {
    use SigningMethod::{Ecdsa, Hmac, Rsa};
    let url = "https://idp.example/keys";
    let id = format!("default{}", "0a".repeat(32));
    let (rsa, curve) = (pem_of_rsa(), pem_of_curve());
    for (source, method, expected) in [
        (url.to_owned(), Rsa, url),
        (encode_block(url.as_bytes()), Ecdsa, url),
        (id.clone(), Rsa, id.as_str()),
        (rsa.clone(), Rsa, "rsa"),
        (encode_block(rsa.as_bytes()), Rsa, "rsa"),
        (encode_block(curve.as_bytes()), Ecdsa, "ecdsa"),
        (encode_block(b"a secret"), Hmac, "hmac"),
    ] {
        assert_eq!(stands_for(&source, method), expected, "{source}");
    }
}

#[test]
fn a_source_that_does_not_fit_the_method_is_refused_with_the_reason() {
    use SigningMethod::{Ecdsa, Hmac, Rsa};
    let rsa = pem_of_rsa();
    for (source, method, why) in [
        (
            encode_block(rsa.as_bytes()),
            Hmac,
            "set jwt_signing_method to rsa",
        ),
        (
            encode_block(rsa.as_bytes()),
            Ecdsa,
            "a key for rsa, and jwt_signing_method says ecdsa",
        ),
        (
            encode_block(b"a secret"),
            Rsa,
            "neither a public key nor a certificate",
        ),
        ("not base64!".to_owned(), Hmac, "no Base64 of"),
        ("ftp://idp.example/keys".to_owned(), Rsa, "no Base64 of"),
    ] {
        let said = stands_for(&source, method);
        assert!(said.contains(why), "{source}: {said}");
    }
}

fn definition(more: impl Into<Value>) -> Jwt {
    let mut value = json!({
        "name": "a", "api_id": "a", "org_id": "org", "use_keyless": false, "enable_jwt": true,
        "jwt_signing_method": "hmac", "jwt_source": encode_block(b"a secret"),
        "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
        "proxy": {"listen_path": "/a/", "target_url": "http://127.0.0.1:1/"},
    });
    for (name, member) in more.into().as_object().expect("an object") {
        value[name] = member.clone();
    }
    let parsed = parse_classic(value.to_string().as_bytes()).expect("a definition");
    assert!(parsed.api.protections.is_empty());
    let jwt = parsed.api.authentication.jwt().cloned();
    jwt.expect("it takes tokens")
}

#[test]
fn whose_a_token_is_says_the_configured_claim_or_sub_and_for_a_key_of_its_own_kid_first() {
    let claims = |value: Value| Claims::parse(value.to_string().as_bytes()).expect("an object");
    let plain = definition(json!({}));
    let nested = definition(json!({"jwt_identity_base_field": "user.id", "jwt_skip_kid": true}));
    let token = claims(json!({"sub": "s", "user": {"id": "u"}}));
    assert_eq!(identity(&plain, &token), Ok("s"));
    assert_eq!(identity(&nested, &token), Ok("u"));
    assert_eq!(identity(&nested, &claims(json!({"sub": "s"}))), Ok("s"));
    let empty = claims(json!({"sub": "s", "user": {"id": ""}}));
    assert_eq!(identity(&nested, &empty), Err(BearerProblem::EmptyIdentity));
    let nobody = claims(json!({"sub": 7}));
    assert_eq!(identity(&plain, &nobody), Err(BearerProblem::NoIdentity));
    assert_eq!(identity_by_key(&plain, Some("k"), &token), Ok("k"));
    assert_eq!(identity_by_key(&plain, None, &token), Ok("s"));
    assert_eq!(identity_by_key(&nested, Some("k"), &token), Ok("u"));
}

#[test]
fn a_secret_that_can_be_guessed_is_advised_against() {
    let of = |secret: &[u8]| {
        let jwt = definition(json!({"jwt_source": encode_block(secret)}));
        let keys = Keys::of(encode_block(secret).as_str(), jwt.method).expect("a secret");
        let verifier = Verifier {
            number: 0,
            bearer: Bearer::Jwt(Box::new(jwt)),
            org: String::new(),
            api: String::new(),
            keys,
            line: Line::new(),
        };
        verifier.advice()
    };
    assert!(of(b"a secret").is_some_and(|advice| advice.contains("8 bytes")));
    assert_eq!(of(&[7; 32]), None);
}
