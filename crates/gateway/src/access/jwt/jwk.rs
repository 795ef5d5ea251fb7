//! Published keys: JWK Sets (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).
//!
//! Invariants:
//! - A key is used only for what it is published for: signatures, and where it names an algorithm, that
//!   one.
//! - A secret is none when it is published: keys of type `oct` are passed over.
//! - Keys that cannot be used are passed over and named; they make the others no worse.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openssl::x509::X509;
use serde_json::{Map, Value};

use super::{
    jws::Algorithm,
    key::{KeyError, VerificationKey, from_base64},
};

/// Most keys of a set.
const MOST: usize = 256;

/// The keys of a set.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<PublishedKey>,
    /// What was passed over, and why.
    pub passed_over: Vec<String>,
}

#[derive(Debug)]
struct PublishedKey {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    key: VerificationKey,
}

/// Why a key is passed over.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it is no object")]
    Form,
    #[error("its member {0:?} is missing or cannot be read")]
    Member(&'static str),
    #[error("it is not published for signatures")]
    Use,
    #[error("its type {0:?} is none that is used here")]
    Type(String),
    #[error("its algorithm {0:?} is none that is known here")]
    Algorithm(String),
    #[error("its certificate holds another key")]
    Certificate,
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// A text that says why it is none.
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let set: Map<String, Value> =
            serde_json::from_slice(text).map_err(|_| "it is no JSON object")?;
        let Some(Value::Array(entries)) = set.get("keys") else {
            return Err("it has no list `keys`");
        };
        if entries.len() > MOST {
            return Err("it has more than 256 keys");
        }
        let mut read = Self::default();
        for (place, entry) in entries.iter().enumerate() {
            let id = entry.get("kid").and_then(Value::as_str);
            match published(entry) {
                Ok(key) => read.keys.push(key),
                Err(why) => {
                    let name = id.map_or_else(|| place.to_string(), |id| format!("{id:?}"));
                    read.passed_over.push(format!("key {name}: {why}"));
                }
            }
        }
        Ok(read)
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys of an id that may verify an algorithm.
    pub fn of(&self, id: &str, algorithm: Algorithm) -> impl Iterator<Item = &VerificationKey> {
        self.keys
            .iter()
            .filter(move |published| {
                published.id.as_deref() == Some(id)
                    && published.key.method() == algorithm.method()
                    && published.algorithm.is_none_or(|own| own == algorithm)
            })
            .map(|published| &published.key)
    }
}

fn published(entry: &Value) -> Result<PublishedKey, Unusable> {
    let key = entry.as_object().ok_or(Unusable::Form)?;
    let text = |name: &'static str| match key.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Unusable::Member(name)),
    };
    if text("use")?.is_some_and(|usage| usage != "sig") {
        return Err(Unusable::Use);
    }
    match key.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|o| o == "verify") => {}
        Some(_) => return Err(Unusable::Use),
    }
    let algorithm = text("alg")?
        .map(|name| Algorithm::named(name).ok_or_else(|| Unusable::Algorithm(name.to_owned())))
        .transpose()?;
    let bytes = |name: &'static str| {
        let text = text(name)?.ok_or(Unusable::Member(name))?;
        BASE64_URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| Unusable::Member(name))
    };
    let certified = certified(key)?;
    let own = match text("kty")?.ok_or(Unusable::Member("kty"))? {
        "RSA" if key.contains_key("n") || certified.is_none() => {
            Some(VerificationKey::rsa(&bytes("n")?, &bytes("e")?)?)
        }
        "EC" if key.contains_key("x") || certified.is_none() => {
            let curve = text("crv")?.ok_or(Unusable::Member("crv"))?;
            Some(VerificationKey::point(curve, &bytes("x")?, &bytes("y")?)?)
        }
        "OKP" if text("crv")? == Some("Ed25519") => Some(VerificationKey::ed25519(&bytes("x")?)?),
        // Some providers publish nothing but a certificate.
        "RSA" | "EC" => None,
        other => return Err(Unusable::Type(other.to_owned())),
    };
    let key = match (own, certified) {
        (Some(own), Some(certified)) if !own.same_as(&certified) => {
            return Err(Unusable::Certificate);
        }
        (Some(own), _) => own,
        (None, Some(certified)) => certified,
        (None, None) => return Err(Unusable::Member("x5c")),
    };
    if algorithm.is_some_and(|algorithm| algorithm.method() != key.method()) {
        return Err(Unusable::Member("alg"));
    }
    Ok(PublishedKey {
        id: text("kid")?.map(str::to_owned),
        algorithm,
        key,
    })
}

/// The key of the first certificate of `x5c`: DER in Base64, or PEM in it, as older providers have it.
fn certified(key: &Map<String, Value>) -> Result<Option<VerificationKey>, Unusable> {
    let unreadable = || Unusable::Member("x5c");
    let first = match key.get("x5c") {
        None => return Ok(None),
        Some(Value::Array(chain)) if chain.is_empty() => return Ok(None),
        Some(Value::Array(chain)) => chain[0].as_str().ok_or_else(unreadable)?,
        Some(_) => return Err(unreadable()),
    };
    let bytes = from_base64(first).ok_or_else(unreadable)?;
    let certificate = X509::from_der(&bytes)
        .or_else(|_| X509::from_pem(&bytes))
        .map_err(|_| unreadable())?;
    Ok(Some(VerificationKey::of_certificate(&certificate)?))
}

#[cfg(test)]
mod tests;
