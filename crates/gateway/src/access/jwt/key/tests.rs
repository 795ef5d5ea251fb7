//! Signatures of the RFCs, of the library itself, and those that must not pass.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openssl::pkey::Private;

use super::*;
use crate::access::jwt::jws::Jws;

fn bytes(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).expect("Base64url")
}

fn verifies(key: &VerificationKey, token: &str) -> bool {
    let jws = Jws::parse(token).expect("a token");
    key.verifies(jws.algorithm, jws.signed, &jws.signature)
}

/// A token of one algorithm signed with a private key.
fn signed(algorithm: &str, key: &PKey<Private>) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let text = format!(
        "{}.{}",
        part(&format!(r#"{{"alg":"{algorithm}"}}"#)),
        part("{}")
    );
    let digest = match &algorithm[2..] {
        "256" => Hash::Sha256,
        "384" => Hash::Sha384,
        _ => Hash::Sha512,
    };
    let mut signer = Signer::new(digest.digest(), key).expect("a signer");
    if algorithm.starts_with("PS") {
        signer.set_rsa_padding(Padding::PKCS1_PSS).expect("PSS");
        signer.set_rsa_mgf1_md(digest.digest()).expect("PSS");
        signer
            .set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)
            .expect("PSS");
    }
    let signature = signer
        .sign_oneshot_to_vec(text.as_bytes())
        .expect("it signs");
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// The last byte of the signature changed.
fn spoilt(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("a token");
    let mut signature = bytes(signature);
    *signature.last_mut().expect("not empty") ^= 1;
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// RFC 7515, appendices A.1 to A.4; RFC 8037, appendix A.4.
#[test]
fn the_examples_of_the_rfcs_verify_and_one_bit_of_their_signatures_matters() {
    let secret = bytes(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let modulus = bytes(concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SF",
        "d2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7",
        "WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs",
        "91kzk2PAcDTW9gb54h4FRWyuXpoQ"
    ));
    let p256 = VerificationKey::point(
        "P-256",
        &bytes("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
        &bytes("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    );
    let p521 = VerificationKey::point(
        "P-521",
        &bytes(
            "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        ),
        &bytes(
            "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
        ),
    );
    let examples = [
        (
            VerificationKey::secret(secret),
            format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        ),
        (
            VerificationKey::rsa(&modulus, &bytes("AQAB")),
            format!(
                "eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.{}",
                concat!(
                    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF",
                    "9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383Lc",
                    "OLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlV",
                    "mtVrBp0igcN_IoypGlUPQGe77Rw"
                )
            ),
        ),
        (
            p256,
            format!(
                "eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
            ),
        ),
        (
            p521,
            concat!(
                "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-K",
                "GDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
            )
            .to_owned(),
        ),
        (
            VerificationKey::ed25519(&bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")),
            concat!(
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.",
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
            )
            .to_owned(),
        ),
    ];
    for (place, (key, token)) in examples.iter().enumerate() {
        let key = key.as_ref().expect("a key");
        assert!(verifies(key, token), "{place}");
        assert!(!verifies(key, &spoilt(token)), "{place}");
        // No key verifies what another one signed.
        for (_, other) in examples.iter().filter(|(_, other)| other != token) {
            assert!(!verifies(key, other), "{place}: {other}");
        }
    }
}

#[test]
fn every_hash_of_hmac_and_rsa_verifies_and_no_algorithm_stands_for_another() {
    let rsa = Rsa::generate(2048).expect("a key");
    let rsa = PKey::from_rsa(rsa).expect("a key");
    let public = rsa.public_key_to_pem().expect("PEM");
    let key = VerificationKey::public(&public).expect("a key");
    let secret = VerificationKey::secret(b"a secret".to_vec()).expect("a key");
    for hash in ["256", "384", "512"] {
        for padding in ["RS", "PS"] {
            let token = signed(&format!("{padding}{hash}"), &rsa);
            assert!(verifies(&key, &token), "{padding}{hash}");
            let jws = Jws::parse(&token).expect("a token");
            for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
                let other = Algorithm::named(name).expect("known");
                let passes = key.verifies(other, jws.signed, &jws.signature);
                assert_eq!(passes, other == jws.algorithm, "{padding}{hash} as {name}");
            }
        }
        let hmac = PKey::hmac(b"a secret").expect("a key");
        let token = signed(&format!("HS{hash}"), &hmac);
        assert!(verifies(&secret, &token) && !verifies(&secret, &spoilt(&token)));
        // The oldest trick: the public key, which everybody knows, taken for a secret.
        let forged = signed(&format!("HS{hash}"), &PKey::hmac(&public).expect("a key"));
        assert!(!verifies(&key, &forged));
    }
}

/// RFC 7518, section 3.4: two numbers of full length, not DER; each hash has its curve.
#[test]
fn signatures_of_curves_have_a_fixed_size_and_their_own_hash() {
    for (hash, algorithm) in [
        (Hash::Sha256, "ES256"),
        (Hash::Sha384, "ES384"),
        (Hash::Sha512, "ES512"),
    ] {
        let group = EcGroup::from_curve_name(hash.curve()).expect("a curve");
        let own = EcKey::generate(&group).expect("a key");
        let private = PKey::from_ec_key(own.clone()).expect("a key");
        let key = VerificationKey::public(&private.public_key_to_der().expect("DER"));
        let key = key.expect("a key");
        let der = signed(algorithm, &private);
        assert!(!verifies(&key, &der), "DER is no signature");
        let jws = Jws::parse(&der).expect("a token");
        let numbers = EcdsaSig::from_der(&jws.signature).expect("DER");
        let size = i32::try_from(hash.half()).expect("small");
        let [r, s] = [numbers.r(), numbers.s()].map(|n| n.to_vec_padded(size).expect("fits"));
        let both = [r, s].concat();
        assert!(key.verifies(jws.algorithm, jws.signed, &both));
        assert!(!key.verifies(jws.algorithm, jws.signed, &both[1..]));
        assert!(!key.verifies(jws.algorithm, jws.signed, &vec![0; both.len()]));
        for other in ["ES256", "ES384", "ES512"]
            .iter()
            .filter(|o| **o != algorithm)
        {
            let other = Algorithm::named(other).expect("known");
            assert!(!key.verifies(other, jws.signed, &both));
        }
    }
}

#[test]
fn keys_that_are_too_short_of_another_kind_or_no_keys_are_refused() {
    let short = Rsa::generate(1024).and_then(PKey::from_rsa).expect("a key");
    let short = VerificationKey::public(&short.public_key_to_pem().expect("PEM"));
    assert!(matches!(short, Err(KeyError::Bits(1024))), "{short:?}");
    let other = EcGroup::from_curve_name(Nid::SECP224R1).expect("a curve");
    let other = EcKey::generate(&other)
        .and_then(PKey::from_ec_key)
        .expect("a key");
    let other = VerificationKey::public(&other.public_key_to_pem().expect("PEM"));
    assert!(matches!(other, Err(KeyError::Kind)), "{other:?}");
    assert!(matches!(VerificationKey::public(b"x"), Err(KeyError::Form)));
    assert!(matches!(
        VerificationKey::secret(Vec::new()),
        Err(KeyError::Empty)
    ));
    // A point beside the curve.
    assert!(VerificationKey::point("P-256", &[1; 32], &[1; 32]).is_err());
    assert!(VerificationKey::point("P-256", &[1; 31], &[1; 32]).is_err());
    assert!(VerificationKey::ed25519(&[1; 31]).is_err());
}
