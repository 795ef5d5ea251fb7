//! JSON Web Tokens: who calls, by what a provider of identities has signed.
//!
//! ```text
//! memory     what this worker knows of tokens it has met; times and certificates, at every request
//! judge      the control side's answer about a token this worker does not know
//! jws, key   a token taken apart, and its signature verified
//! jwk        published keys      published  fetched, remembered, renewed      fetch  how
//! claims     what a token says, and what it has to say
//! grant      whose it is, and which policies it brings
//! ties       which sessions in use hang on which key, certificate or key set
//! refusal    what is told
//! ```
//!
//! A worker that meets a token for the first time hands it over and the request waits, as with every key.
//! The control side has the keys (fetching them where it must), verifies, reads what the store says of
//! whoever the token belongs to, and applies the policies. What comes of it is remembered by the
//! worker under the SHA-256 of the token, so a token that comes again costs no signature.
//!
//! Invariants:
//! - The algorithm of a token is one of the API's method, and of the key's; `none` is no algorithm.
//! - What a token is bound to (RFC 8705) and its times are checked at every request.
//! - A token is verified anew after a minute at the latest, and at once when its key, the certificate or the
//!   key set that vouched for it changes, as far as signals tell.
//! - Keys that cannot be had refuse the token: 403, and the log says why.
//! - No token and no secret is logged.

mod claims;
mod fetch;
mod grant;
mod judge;
mod jwk;
mod jws;
mod key;
mod memory;
mod published;
mod refusal;
mod ties;

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_apidef::{Api, Jwt, JwtKeys, KeySetUrl, SigningMethod, is_url};
use portcullis_pki::Reference;

use self::key::{VerificationKey, from_base64};
pub use self::{
    grant::Grant,
    judge::{Judge, Judged},
    memory::{Memory, Remembered, Verified},
    refusal::BearerProblem,
};

/// Bytes of a secret below which it can be guessed (RFC 7518, section 3.2).
const SHORT_SECRET: usize = 32;

/// What verifies the tokens of an API. The same value from one snapshot to the next as long as the definition
/// says the same.
pub struct Verifier {
    /// Tells it from every other one of this process.
    number: u64,
    /// What the definition says.
    jwt: Jwt,
    org: String,
    api: String,
    keys: Keys,
}

/// Where the keys are.
enum Keys {
    /// Published.
    Published(Vec<KeySetUrl>),
    /// Here.
    Fixed(VerificationKey),
    /// In the certificate store, under this id.
    Stored(String),
    /// The secret of the key that a token names.
    OfEachKey,
}

impl Verifier {
    /// What an API's definition asks for.
    ///
    /// # Errors
    /// Why its tokens cannot be verified.
    pub fn of(api: &Api, jwt: &Jwt) -> Result<Self, String> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let keys = match &jwt.keys {
            JwtKeys::Published(places) => Keys::Published(places.clone()),
            JwtKeys::OfEachKey => Keys::OfEachKey,
            JwtKeys::Source(source) => Keys::of(source.reveal().trim(), jwt.method)
                .map_err(|why| format!("jwt_source cannot be used: {why}"))?,
        };
        Ok(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            jwt: jwt.clone(),
            org: api.org_id.clone(),
            api: api.id.clone(),
            keys,
        })
    }

    /// What is to be said about it.
    pub fn advice(&self) -> Option<String> {
        let Keys::Fixed(key) = &self.keys else {
            return None;
        };
        let length = key.secret_length();
        (1..SHORT_SECRET).contains(&length).then(|| {
            format!(
                "the secret in jwt_source has {length} bytes and can be guessed; use 32 random bytes or more"
            )
        })
    }

    /// The URLs at which keys are published that are used.
    pub fn published(&self) -> impl Iterator<Item = &str> {
        let places = match &self.keys {
            Keys::Published(places) => &places[..],
            Keys::Fixed(_) | Keys::Stored(_) | Keys::OfEachKey => &[],
        };
        places.iter().map(|place| place.url.as_str())
    }

    /// Whether another definition of the same API asks for the same.
    pub fn is_of(&self, api: &Api, jwt: &Jwt) -> bool {
        self.jwt == *jwt && self.org == api.org_id && self.api == api.id
    }
}

impl Keys {
    fn of(source: &str, method: SigningMethod) -> Result<Self, String> {
        let published = |url: &str| {
            Self::Published(vec![KeySetUrl {
                url: url.to_owned(),
                lifetime: None,
            }])
        };
        if is_url(source) {
            return Ok(published(source));
        }
        if method != SigningMethod::Hmac {
            match Reference::classify(source) {
                Reference::Inline(pem) => return public(pem.as_bytes(), method),
                Reference::StoreId(id) => return Ok(Self::Stored(id.to_owned())),
                Reference::Path(_) => {}
            }
        }
        let Some(bytes) = from_base64(source) else {
            return Err(
                "it is no URL, no PEM, no id of the certificate store, and no Base64 of a URL, a key or a secret"
                    .to_owned(),
            );
        };
        match std::str::from_utf8(&bytes).map(str::trim) {
            Ok(url) if is_url(url) => Ok(published(url)),
            _ if method != SigningMethod::Hmac => public(&bytes, method),
            Ok(text) if text.starts_with("-----BEGIN ") => Err(
                "it holds a key in PEM and no secret, which everybody could know who knows the key; set \
                 jwt_signing_method to rsa, ecdsa or eddsa"
                    .to_owned(),
            ),
            _ => VerificationKey::secret(bytes)
                .map(Self::Fixed)
                .map_err(|why| why.to_string()),
        }
    }
}

fn public(text: &[u8], method: SigningMethod) -> Result<Keys, String> {
    let key = VerificationKey::public(text).map_err(|why| why.to_string())?;
    match key.method() == method {
        true => Ok(Keys::Fixed(key)),
        false => Err(format!(
            "it holds a key for {}, and jwt_signing_method says {}",
            name(key.method()),
            name(method)
        )),
    }
}

/// What a definition calls a method.
fn name(method: SigningMethod) -> &'static str {
    match method {
        SigningMethod::Hmac => "hmac",
        SigningMethod::Rsa => "rsa",
        SigningMethod::Ecdsa => "ecdsa",
        SigningMethod::Eddsa => "eddsa",
    }
}

#[cfg(test)]
mod tests;
