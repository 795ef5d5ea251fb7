//! Tokens that somebody else has issued: who calls, by what a provider of identities has signed, or says when it
//! is asked.
//!
//! ```text
//! memory     what this worker knows of tokens it has met; times and certificates, at every request
//! judge      the control side's answer about a token this worker does not know
//! jws, key   a token taken apart, and its signature verified
//! jwk        published keys      published  fetched, remembered, renewed      fetch  how
//! claims     what a token says, and what it has to say
//! introspection  issuers that are asked     line  how many at once, and when not
//! grant      whose it is, and which policies it brings
//! ties       which sessions in use hang on which key, certificate or key set
//! refusal    what is told
//! ```
//!
//! A worker that meets a token for the first time hands it over and the request waits, as with every key.
//! The control side has the keys (fetching them where it must), verifies, reads what the store says of
//! whoever the token belongs to, and applies the policies. Where no signature says whether a token is good, its
//! issuer is asked. What comes of it is remembered by the
//! worker under the SHA-256 of the token, so a token that comes again costs no signature.
//!
//! Invariants:
//! - The algorithm of a token is one of the API's method, and of the key's; `none` is no algorithm.
//! - What a token is bound to (RFC 8705) and its times are checked at every request.
//! - A token is verified anew after a minute at the latest, and at once when its key, the certificate or the
//!   key set that vouched for it changes, as far as signals tell.
//! - Keys that cannot be had and issuers that cannot be asked refuse the token, and the log says why.
//! - What an issuer said of a token counts for the time that is configured and not a moment longer.
//! - No token and no secret is logged.

mod access;
mod claims;
mod fetch;
mod grant;
mod introspection;
mod judge;
mod jwk;
mod jws;
mod key;
mod line;
mod memory;
mod offline;
mod published;
mod refusal;
mod ties;

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_apidef::{
    Api, Bearer, Introspection, JwtKeys, KeySetUrl, SigningMethod, TokenJudge, is_url,
};
use portcullis_pki::Reference;

pub use self::{
    grant::Grant,
    judge::{Judge, Judged},
    memory::{Memory, Remembered, Verified},
    offline::signed_claims,
    refusal::BearerProblem,
};
use self::{
    key::{VerificationKey, from_base64},
    line::Line,
};

/// Bytes of a secret below which it can be guessed (RFC 7518, section 3.2).
const SHORT_SECRET: usize = 32;

/// What judges the tokens of an API. The same value from one snapshot to the next as long as the definition
/// says the same.
pub struct Verifier {
    /// Tells it from every other one of this process.
    number: u64,
    /// What the definition says.
    bearer: Bearer,
    org: String,
    api: String,
    keys: Keys,
    /// Those who wait for its issuer.
    line: Line,
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
    /// Nowhere: whoever issued a token is asked.
    AtIssuer,
}

impl Verifier {
    /// What an API's definition asks for.
    ///
    /// # Errors
    /// Why its tokens cannot be verified.
    pub fn of(api: &Api, bearer: &Bearer) -> Result<Self, String> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let signed = match bearer {
            Bearer::Jwt(jwt) => Some((&jwt.keys, jwt.method, "jwt_source")),
            Bearer::Oauth(oauth) => match &oauth.judged {
                TokenJudge::Signature(signed) => Some((&signed.keys, signed.method, "its source")),
                TokenJudge::Issuer(_) => None,
            },
        };
        let keys = match signed {
            None => Keys::AtIssuer,
            Some((JwtKeys::Published(places), ..)) => Keys::Published(places.clone()),
            Some((JwtKeys::OfEachKey, ..)) => Keys::OfEachKey,
            Some((JwtKeys::Source(source), method, key)) => {
                Keys::of(source.reveal().trim(), method)
                    .map_err(|why| format!("{key} cannot be used: {why}"))?
            }
        };
        Ok(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            bearer: bearer.clone(),
            org: api.org_id.clone(),
            api: api.id.clone(),
            keys,
            line: Line::new(),
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
                "the secret that tokens are signed with has {length} bytes and can be guessed; use 32 random bytes or more"
            )
        })
    }

    /// The URLs that are called to judge tokens; they may hold passwords.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        let places = match &self.keys {
            Keys::Published(places) => &places[..],
            Keys::Fixed(_) | Keys::Stored(_) | Keys::OfEachKey | Keys::AtIssuer => &[],
        };
        let places = places.iter().map(|place| place.url.as_str());
        places.chain(self.issuer().map(|issuer| issuer.url.reveal()))
    }

    /// Whom to ask about tokens, where somebody is asked.
    fn issuer(&self) -> Option<&Introspection> {
        match &self.bearer {
            Bearer::Oauth(oauth) => match &oauth.judged {
                TokenJudge::Issuer(issuer) => Some(issuer),
                TokenJudge::Signature(_) => None,
            },
            Bearer::Jwt(_) => None,
        }
    }

    /// Whether somebody is asked about each token.
    pub fn asks_issuer(&self) -> bool {
        self.issuer().is_some()
    }

    /// Whether its tokens are access tokens of an OAuth provider.
    pub fn is_of_oauth(&self) -> bool {
        matches!(self.bearer, Bearer::Oauth(_))
    }

    /// Whether another definition of the same API asks for the same.
    pub fn is_of(&self, api: &Api, bearer: &Bearer) -> bool {
        self.bearer == *bearer && self.org == api.org_id && self.api == api.id
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
