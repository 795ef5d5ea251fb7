//! Tokens in compact form (RFC 7515, section 7.1), taken apart. Nothing here is verified.
//!
//! Invariants:
//! - A token has one reading: strict Base64url without padding, a header that is one object.
//! - A header with `crit` is refused: no extension is understood here (RFC 7515, section 4.1.11).
//! - Neither a token nor a part of it is in any message.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openssl::hash::MessageDigest;
use portcullis_apidef::SigningMethod;
use serde_json::{Map, Value};

/// Longest token that is looked at.
pub const LONGEST: usize = 16 * 1024;

/// Longest `kid`.
const LONGEST_ID: usize = 1024;

/// A token, taken apart.
pub struct Jws<'t> {
    /// What is signed.
    pub signed: &'t [u8],
    /// How.
    pub algorithm: Algorithm,
    /// Which key it says was used.
    pub key_id: Option<String>,
    /// The claims, as JSON.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// A signing algorithm (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC.
    Hmac(Hash),
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(Hash),
    /// RSASSA-PSS with a salt as long as the hash.
    RsaPss(Hash),
    /// ECDSA on the curve that belongs to the hash.
    Ecdsa(Hash),
    /// Ed25519.
    Eddsa,
}

/// The hash of an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Why something is no token, or none that is looked at further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// It has no compact form.
    #[error("it is no signed token in compact form")]
    Form,
    /// It is longer than [`LONGEST`].
    #[error("it is longer than {LONGEST} bytes")]
    Length,
    /// Its header is no object, or one of its members has another type than it must have.
    #[error("its header cannot be read")]
    Header,
    /// It demands that an extension is understood.
    #[error("its header has `crit`, and no extension is understood here")]
    Critical,
    /// Not signed, or in a way nobody knows.
    #[error("its algorithm is none that is known here")]
    Algorithm,
}

impl<'t> Jws<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn parse(token: &'t str) -> Result<Self, JwsError> {
        if token.len() > LONGEST {
            return Err(JwsError::Length);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Form)?;
        if payload.contains('.') {
            return Err(JwsError::Form);
        }
        let header = decode(header)?;
        let header: Map<String, Value> =
            serde_json::from_slice(&header).map_err(|_| JwsError::Header)?;
        if header.contains_key("crit") {
            return Err(JwsError::Critical);
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => Algorithm::named(name).ok_or(JwsError::Algorithm)?,
            _ => return Err(JwsError::Header),
        };
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= LONGEST_ID => Some(id.clone()),
            Some(_) => return Err(JwsError::Header),
        };
        Ok(Self {
            signed: signed.as_bytes(),
            algorithm,
            key_id,
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }
}

impl Algorithm {
    /// The algorithm of this name, which is written as it must be; `none` is none.
    pub fn named(name: &str) -> Option<Self> {
        if name == "EdDSA" {
            return Some(Self::Eddsa);
        }
        let hash = match name.get(2..)? {
            "256" => Hash::Sha256,
            "384" => Hash::Sha384,
            "512" => Hash::Sha512,
            _ => return None,
        };
        match name.get(..2)? {
            "HS" => Some(Self::Hmac(hash)),
            "RS" => Some(Self::RsaPkcs1(hash)),
            "PS" => Some(Self::RsaPss(hash)),
            "ES" => Some(Self::Ecdsa(hash)),
            _ => None,
        }
    }

    /// The family it belongs to.
    pub fn method(self) -> SigningMethod {
        match self {
            Self::Hmac(_) => SigningMethod::Hmac,
            Self::RsaPkcs1(_) | Self::RsaPss(_) => SigningMethod::Rsa,
            Self::Ecdsa(_) => SigningMethod::Ecdsa,
            Self::Eddsa => SigningMethod::Eddsa,
        }
    }
}

impl Hash {
    /// The digest of the library.
    pub fn digest(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| JwsError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(header), part("{}"), part("signature"))
    }

    #[test]
    fn a_token_is_taken_apart_at_its_two_dots() {
        let text = token(r#"{"alg":"ES384","kid":"k"}"#);
        let jws = Jws::parse(&text).expect("a token");
        assert_eq!(jws.algorithm, Algorithm::Ecdsa(Hash::Sha384));
        assert_eq!(jws.key_id.as_deref(), Some("k"));
        assert_eq!(
            (jws.payload.as_slice(), jws.signature.as_slice()),
            (&b"{}"[..], &b"signature"[..])
        );
        assert_eq!(
            jws.signed,
            text.rsplit_once('.').expect("two dots").0.as_bytes()
        );
    }

    #[test]
    fn what_has_several_readings_or_demands_more_than_is_understood_is_refused() {
        let good = token(r#"{"alg":"HS256"}"#);
        for (text, error) in [
            (String::new(), JwsError::Form),
            ("a.b".into(), JwsError::Form),
            (format!("{good}.x"), JwsError::Form),
            (format!("{good}="), JwsError::Form),
            (format!("{good} "), JwsError::Form),
            (token(r#"["alg"]"#), JwsError::Header),
            (token("{}"), JwsError::Header),
            (token(r#"{"alg":1}"#), JwsError::Header),
            (token(r#"{"alg":"HS256","kid":1}"#), JwsError::Header),
            (token(r#"{"alg":"HS256","crit":[]}"#), JwsError::Critical),
            (
                token(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#),
                JwsError::Critical,
            ),
            (token(r#"{"alg":"none"}"#), JwsError::Algorithm),
            (token(r#"{"alg":"hs256"}"#), JwsError::Algorithm),
            (token(r#"{"alg":"HS257"}"#), JwsError::Algorithm),
            (format!("{}{good}", "A".repeat(LONGEST)), JwsError::Length),
        ] {
            assert_eq!(Jws::parse(&text).err(), Some(error), "{text}");
        }
    }
}
