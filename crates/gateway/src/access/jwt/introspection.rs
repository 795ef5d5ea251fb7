//! Issuers of tokens, asked whether a token is good (RFC 7662), and what they said.
//!
//! Invariants:
//! - They are asked by the client of `external_services.oauth`; what that service asks for is never left out.
//! - Only an answer that says so in every particular makes a token good: status 200, one JSON object, `active`
//!   with the value true.
//! - An answer is used for the time that is configured, and where none is, for the request that asked.
//! - Tokens are not kept, only their SHA-256. The number of answers is bounded, and so is how many are asked
//!   for at once.
//! - Neither a token nor a secret nor an answer is logged.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{
    Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use openssl::sha::sha256;
use portcullis_apidef::Introspection;
use tokio::sync::Semaphore;

use super::{
    Verifier, claims::Claims, jws::LONGEST, published::shown, refusal::BearerProblem as Problem,
};
use crate::{
    access::{
        under_way::UnderWay,
        window::{Clock, Millis},
    },
    services::Client,
};

/// Most answers that are remembered.
const MOST: usize = 1 << 16;

/// Most issuers that are asked at once: more wait in line.
const AT_ONCE: usize = 64;

/// Most bytes of an answer.
const LARGEST: usize = 64 * 1024;

/// Whoever issues tokens.
pub struct Issuers {
    client: Client,
    answers: Mutex<HashMap<Key, Answer>>,
    under_way: UnderWay<Key, Result<Answer, Problem>>,
    places: Semaphore,
}

/// A token, and for whom it was asked about.
type Key = (u64, [u8; 32]);

/// What was said of a token.
#[derive(Clone)]
pub struct Answer {
    /// The members of the answer, which are claims.
    pub claims: Arc<Claims>,
    /// Until when that counts.
    pub until: Millis,
}

impl Issuers {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            answers: Mutex::default(),
            under_way: UnderWay::default(),
            places: Semaphore::new(AT_ONCE),
        }
    }

    /// What the issuer says of a token that is good.
    ///
    /// # Errors
    /// [`BearerProblem::Inactive`](Problem::Inactive), or [`BearerProblem::IssuerAway`](Problem::IssuerAway)
    /// when it does not say, and the log tells why.
    pub async fn ask(
        &self,
        verifier: &Verifier,
        issuer: &Introspection,
        token: &str,
        clock: &Clock,
    ) -> Result<Answer, Problem> {
        if token.len() > LONGEST {
            return Err(Problem::Invalid);
        }
        let key = (verifier.number, sha256(token.as_bytes()));
        let answer = match (issuer.memory, self.remembered(&key, clock.now())) {
            // Whoever comes now is to know what is said now.
            (None, _) => self.asked(verifier, issuer, token, key, clock).await?,
            (Some(_), Some(answer)) => answer,
            (Some(_), None) => {
                let asking = async {
                    // Somebody may have asked just before.
                    match self.remembered(&key, clock.now()) {
                        Some(answer) => Ok(answer),
                        None => self.asked(verifier, issuer, token, key, clock).await,
                    }
                };
                self.under_way.share(key, asking).await?
            }
        };
        match answer.claims.says("active") {
            true => Ok(answer),
            false => Err(Problem::Inactive),
        }
    }

    /// What the issuer says now.
    async fn asked(
        &self,
        verifier: &Verifier,
        issuer: &Introspection,
        token: &str,
        key: Key,
        clock: &Clock,
    ) -> Result<Answer, Problem> {
        let claims = self.call(issuer, token).await.map_err(|why| {
            tracing::error!(
                api_id = verifier.api,
                url = shown(issuer.url.reveal()),
                "a token cannot be judged, its issuer does not say whether it is good: {why}"
            );
            Problem::IssuerAway
        })?;
        let now = clock.now();
        let answer = Answer {
            claims: Arc::new(claims),
            until: now + issuer.memory.unwrap_or_default(),
        };
        if issuer.memory.is_some() {
            self.remember(key, answer.clone(), now);
        }
        Ok(answer)
    }

    async fn call(&self, issuer: &Introspection, token: &str) -> Result<Claims, String> {
        let request = Request::post(issuer.url.reveal())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Bytes::from(form(issuer, token)))
            .map_err(|_| "its address is no URL that can be called".to_owned())?;
        // Never closed.
        let _place = self.places.acquire().await;
        let answer = self
            .client
            .call(request)
            .await
            .map_err(|why| why.to_string())?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(format!(
                    "it answers {}: look whether it knows the client id and the secret, or the certificate of \
                     external_services.oauth.mtls",
                    answer.status.as_u16()
                ));
            }
            status => return Err(format!("it answers {}", status.as_u16())),
        }
        if answer.body.len() > LARGEST {
            return Err(format!("it answers with more than {LARGEST} bytes"));
        }
        let claims = Claims::parse(&answer.body).ok();
        claims
            .filter(|claims| claims.is_flag("active"))
            .ok_or_else(|| {
                "it answers with no JSON object whose `active` is true or false (RFC 7662, section 2.2)"
                    .to_owned()
            })
    }

    fn remembered(&self, key: &Key, now: Millis) -> Option<Answer> {
        let answers = self.answers();
        answers
            .get(key)
            .filter(|answer| now < answer.until)
            .cloned()
    }

    fn remember(&self, key: Key, answer: Answer, now: Millis) {
        let mut answers = self.answers();
        if answers.len() >= MOST {
            // Tokens that are not good are the first to be forgotten: anybody can make them up.
            answers.retain(|_, answer| now < answer.until && answer.claims.says("active"));
        }
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert(key, answer);
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Key, Answer>> {
        // Every change is one step.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the issuer is asked (RFC 7662, section 2.1), and by whom.
fn form(issuer: &Introspection, token: &str) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("token", token);
    let client = [
        ("client_id", issuer.client_id.as_str()),
        ("client_secret", issuer.client_secret.reveal()),
    ];
    form.extend_pairs(client.iter().filter(|(_, value)| !value.is_empty()));
    form.finish()
}
