//! Providers of identities: signers of JSON Web Tokens, and servers that publish their keys.

use std::sync::{Arc, Mutex, PoisonError};

use openssl::{
    base64::encode_block,
    bn::BigNumContext,
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Signer},
    ssl::SslAcceptor,
};
use serde_json::{Value, json};

use crate::{
    gateway::{api, with},
    upstream::{Talk, Upstream},
};

/// Somebody who signs tokens.
pub struct Issuer {
    algorithm: &'static str,
    /// What its tokens and its published key call the key.
    pub id: String,
    key: PKey<Private>,
    secret: Vec<u8>,
}

/// A server that publishes keys.
pub struct KeyServer {
    server: Upstream,
    shared: Arc<Mutex<Publishing>>,
    secure: bool,
}

#[derive(Default)]
struct Publishing {
    body: String,
    mood: Mood,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Mood {
    #[default]
    Well,
    Failing,
    Silent,
}

/// Now, in Unix seconds.
///
/// # Panics
/// Before 1970.
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_secs()).expect("a time")
}

/// Base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    let text = encode_block(bytes);
    text.trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

/// A definition like [`api`] whose callers need a token of this issuer; `source` says where its key is.
pub fn jwt_api(name: &str, target_url: &str, issuer: &Issuer, source: &str) -> Value {
    with(
        api(name, &format!("/{name}/"), target_url),
        json!({
            "use_keyless": false, "enable_jwt": true, "jwt_signing_method": issuer.method(),
            "jwt_source": source, "jwt_default_policies": ["open"],
        }),
    )
}

/// A policy that opens APIs, with what `more` says.
pub fn policy(id: &str, apis: &[&str], more: Value) -> Value {
    let rights: serde_json::Map<String, Value> = apis
        .iter()
        .map(|id| {
            let right = json!({"api_id": id, "api_name": id, "versions": ["Default"]});
            ((*id).to_owned(), right)
        })
        .collect();
    with(
        json!({"id": id, "name": id, "org_id": "default", "active": true, "access_rights": rights}),
        more,
    )
}

/// The claims of somebody for the next ten minutes.
pub fn claims(subject: &str, more: Value) -> Value {
    with(json!({"sub": subject, "exp": now() + 600}), more)
}

impl Issuer {
    /// Signs with HMAC and SHA-256.
    ///
    /// # Panics
    /// When the library fails.
    pub fn hmac(secret: &[u8]) -> Self {
        let key = PKey::hmac(secret).expect("a key");
        Self::of("HS256", "hmac", key, secret)
    }

    /// Signs with a new RSA key.
    ///
    /// # Panics
    /// When the library fails.
    pub fn rsa(id: &str) -> Self {
        let key = Rsa::generate(2048).and_then(PKey::from_rsa);
        Self::of("RS256", id, key.expect("a key"), &[])
    }

    /// Signs with a new RSA key, PSS and SHA-512.
    ///
    /// # Panics
    /// When the library fails.
    pub fn pss(id: &str) -> Self {
        let key = Rsa::generate(2048).and_then(PKey::from_rsa);
        Self::of("PS512", id, key.expect("a key"), &[])
    }

    /// Signs with a new key of P-256.
    ///
    /// # Panics
    /// When the library fails.
    pub fn curve(id: &str) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        let key = EcKey::generate(&group).and_then(PKey::from_ec_key);
        Self::of("ES256", id, key.expect("a key"), &[])
    }

    /// Signs with a new key of Ed25519.
    ///
    /// # Panics
    /// When the library fails.
    pub fn ed25519(id: &str) -> Self {
        Self::of("EdDSA", id, PKey::generate_ed25519().expect("a key"), &[])
    }

    fn of(algorithm: &'static str, id: &str, key: PKey<Private>, secret: &[u8]) -> Self {
        Self {
            algorithm,
            id: id.to_owned(),
            key,
            secret: secret.to_vec(),
        }
    }

    /// Signs with the key of a certificate.
    #[must_use]
    pub fn with_key(self, key: &PKey<Private>) -> Self {
        Self {
            key: key.clone(),
            ..self
        }
    }

    /// What definitions call its method.
    pub fn method(&self) -> &'static str {
        match self.algorithm {
            "HS256" => "hmac",
            "RS256" | "PS512" => "rsa",
            "ES256" => "ecdsa",
            _ => "eddsa",
        }
    }

    /// Its public key in PEM.
    ///
    /// # Panics
    /// For a secret.
    pub fn pem(&self) -> String {
        String::from_utf8(self.key.public_key_to_pem().expect("PEM")).expect("text")
    }

    /// Its key as `jwt_source` has it: Base64 of the secret, or of the public key in PEM.
    ///
    /// # Panics
    /// When the library fails.
    pub fn source(&self) -> String {
        match self.method() {
            "hmac" => encode_block(&self.secret),
            _ => encode_block(self.pem().as_bytes()),
        }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_of(
            &json!({"alg": self.algorithm, "typ": "JWT", "kid": self.id}),
            claims,
        )
    }

    /// A token with this header, whatever that says of the algorithm.
    ///
    /// # Panics
    /// When the library fails.
    pub fn token_of(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64url(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.sign(signed.as_bytes()).expect("it signs");
        format!("{signed}.{}", base64url(&signature))
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, openssl::error::ErrorStack> {
        let mut signer = match self.algorithm {
            "EdDSA" => return Signer::new_without_digest(&self.key)?.sign_oneshot_to_vec(text),
            "PS512" => Signer::new(MessageDigest::sha512(), &self.key)?,
            _ => Signer::new(MessageDigest::sha256(), &self.key)?,
        };
        if self.algorithm == "PS512" {
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        let signature = signer.sign_oneshot_to_vec(text)?;
        if self.algorithm != "ES256" {
            return Ok(signature);
        }
        let numbers = EcdsaSig::from_der(&signature)?;
        Ok([
            numbers.r().to_vec_padded(32)?,
            numbers.s().to_vec_padded(32)?,
        ]
        .concat())
    }

    /// Its public key as a JWK.
    ///
    /// # Panics
    /// For a secret, or when the library fails.
    pub fn jwk(&self) -> Value {
        let mut key = self.public().expect("a public key");
        key["kid"] = json!(self.id);
        key["use"] = json!("sig");
        key
    }

    fn public(&self) -> Result<Value, openssl::error::ErrorStack> {
        Ok(match self.method() {
            "rsa" => {
                let key = self.key.rsa()?;
                let part = |number: &openssl::bn::BigNumRef| base64url(&number.to_vec());
                json!({"kty": "RSA", "n": part(key.n()), "e": part(key.e())})
            }
            "ecdsa" => {
                let key = self.key.ec_key()?;
                let (mut x, mut y) = (openssl::bn::BigNum::new()?, openssl::bn::BigNum::new()?);
                let mut context = BigNumContext::new()?;
                key.public_key()
                    .affine_coordinates(key.group(), &mut x, &mut y, &mut context)?;
                json!({"kty": "EC", "crv": "P-256",
                    "x": base64url(&x.to_vec_padded(32)?), "y": base64url(&y.to_vec_padded(32)?)})
            }
            _ => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&self.key.raw_public_key()?)})
            }
        })
    }
}

impl KeyServer {
    /// Publishes keys in clear text.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(issuers: &[&Issuer]) -> Self {
        Self::listen(issuers, None)
    }

    /// Publishes keys behind TLS.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start_tls(issuers: &[&Issuer], acceptor: SslAcceptor) -> Self {
        Self::listen(issuers, Some(acceptor))
    }

    fn listen(issuers: &[&Issuer], acceptor: Option<SslAcceptor>) -> Self {
        let shared = Arc::new(Mutex::new(Publishing::default()));
        let state = shared.clone();
        let script = move |talk: &mut Talk| {
            while talk.request().is_some() {
                let (body, mood) = {
                    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    (state.body.clone(), state.mood)
                };
                match mood {
                    Mood::Well => talk.answer(&body),
                    Mood::Failing => talk.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
                    Mood::Silent => talk.stall(),
                }
            }
        };
        let secure = acceptor.is_some();
        let server = match acceptor {
            Some(acceptor) => Upstream::start_tls(acceptor, script),
            None => Upstream::start(script),
        };
        let server = Self {
            server,
            shared,
            secure,
        };
        server.publish(issuers);
        server
    }

    /// Publishes the keys of these from now on, and nobody else's.
    pub fn publish(&self, issuers: &[&Issuer]) {
        let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.jwk()).collect();
        self.publish_text(&json!({ "keys": keys }).to_string());
    }

    /// Publishes this text.
    pub fn publish_text(&self, text: &str) {
        let mut state = self.state();
        (state.body, state.mood) = (text.to_owned(), Mood::Well);
    }

    /// Answers 500 from now on.
    pub fn fail(&self) {
        self.state().mood = Mood::Failing;
    }

    /// Does not answer from now on.
    pub fn fall_silent(&self) {
        self.state().mood = Mood::Silent;
    }

    /// Where its keys are.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}/keys", self.server.address())
    }

    /// The server behind it.
    pub fn server(&self) -> &Upstream {
        &self.server
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Publishing> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
