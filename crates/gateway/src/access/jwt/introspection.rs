//! Issuers of tokens, asked whether a token is good (RFC 7662), and what they said.
//!
//! Invariants:
//! - They are asked by the client of `external_services.oauth`; what that service asks for is never left out.
//! - Only an answer that says so in every particular makes a token good: status 200, one JSON object, `active`
//!   with the value true.
//! - An answer is used for the time that is configured, and where none is, for the request that asked.
//! - It counts from before the question, since what is said may be as old as that.
//! - Tokens are not kept, only their SHA-256. The number of answers is bounded, so is the size of each, and so is
//!   how many questions an issuer is asked at once.
//! - No issuer that is away, or slow, has others wait ([`Line`](super::line::Line)).
//! - Neither a token nor a secret nor an answer is logged.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{
    Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use openssl::sha::sha256;
use portcullis_apidef::Introspection;

use super::{
    Verifier, claims::Claims, jws::LONGEST, line::Barred, published::shown,
    refusal::BearerProblem as Problem,
};
use crate::{
    access::{
        under_way::UnderWay,
        window::{Clock, Millis},
    },
    services::{CallError, Client},
};

/// Most answers that are remembered.
const MOST: usize = 1 << 16;

/// How often those that are over are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// Most bytes of an answer.
const LARGEST: usize = 64 * 1024;

/// Most bytes of an answer that is remembered: what many of them take is bounded, too.
const LARGEST_KEPT: usize = 8 * 1024;

/// Whoever issues tokens.
pub struct Issuers {
    client: Client,
    answers: Mutex<Answers>,
    under_way: UnderWay<Key, Result<Said, Problem>>,
}

/// A token, and for whom it was asked about.
type Key = (u64, [u8; 32]);

/// What was said of a token that is good.
pub struct Answer {
    /// The members of the answer, which are claims.
    pub claims: Arc<Claims>,
    /// Until when that counts.
    pub until: Millis,
}

/// What was said of a token.
#[derive(Clone)]
struct Said {
    /// The members of the answer; `None` when the token is not good, and nothing more is to be known of it.
    good: Option<Arc<Claims>>,
    until: Millis,
}

/// What is remembered.
#[derive(Default)]
struct Answers {
    of: HashMap<Key, Said>,
    swept: Option<Millis>,
}

/// Why an issuer does not say whether a token is good.
struct Silence {
    why: String,
    /// It would not say it of another token either.
    away: bool,
}

impl Issuers {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            answers: Mutex::default(),
            under_way: UnderWay::default(),
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
        let said = match (issuer.memory, self.remembered(&key, clock.now())) {
            // Whoever comes now is to know what is said now.
            (None, _) => self.asked(verifier, issuer, token, key, clock).await?,
            (Some(_), Some(said)) => said,
            (Some(_), None) => {
                let asking = async {
                    // Somebody may have asked just before.
                    match self.remembered(&key, clock.now()) {
                        Some(said) => Ok(said),
                        None => self.asked(verifier, issuer, token, key, clock).await,
                    }
                };
                self.under_way.share(key, asking).await?
            }
        };
        let until = said.until;
        match said.good {
            Some(claims) => Ok(Answer { claims, until }),
            None => Err(Problem::Inactive),
        }
    }

    /// What the issuer says now, as soon as it is this question's turn.
    async fn asked(
        &self,
        verifier: &Verifier,
        issuer: &Introspection,
        token: &str,
        key: Key,
        clock: &Clock,
    ) -> Result<Said, Problem> {
        let silent = |why: &str| {
            if verifier.line.is_news(why, Instant::now()) {
                tracing::error!(
                    api_id = verifier.api,
                    url = shown(issuer.url.reveal()),
                    "a token cannot be judged, its issuer does not say whether it is good: {why}"
                );
            }
            Problem::IssuerAway
        };
        let turn = verifier.line.turn().await;
        let _turn = match turn {
            Ok(turn) => turn,
            Err(Barred::Away) => return Err(Problem::IssuerAway),
            Err(Barred::Full) => return Err(silent("too many questions to it are open already")),
        };
        let until = clock.now() + issuer.memory.unwrap_or_default();
        let (claims, length) = self.call(issuer, token).await.map_err(|silence| {
            if silence.away {
                verifier.line.was_away(Instant::now());
            }
            silent(&silence.why)
        })?;
        let said = Said {
            good: claims.says("active").then(|| Arc::new(claims)),
            until,
        };
        if issuer.memory.is_some() && (length <= LARGEST_KEPT || said.good.is_none()) {
            self.answers().remember(key, said.clone(), clock.now());
        }
        Ok(said)
    }

    /// What it answers, and the length of that.
    async fn call(&self, issuer: &Introspection, token: &str) -> Result<(Claims, usize), Silence> {
        let request = Request::post(issuer.url.reveal())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Bytes::from(form(issuer, token)))
            .map_err(|_| Silence::of("its address is no URL that can be called"))?;
        let answer = self.client.call(request).await.map_err(|why| Silence {
            away: !matches!(why, CallError::TooLarge { .. }),
            why: why.to_string(),
        })?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Silence::of(format!(
                    "it answers {}: look whether it knows the client id and the secret, or the certificate of \
                     external_services.oauth.mtls",
                    answer.status.as_u16()
                )));
            }
            status => {
                return Err(Silence {
                    away: status.is_server_error(),
                    why: format!("it answers {}", status.as_u16()),
                });
            }
        }
        let length = answer.body.len();
        if length > LARGEST {
            return Err(Silence::of(format!(
                "it answers with more than {LARGEST} bytes"
            )));
        }
        let claims = Claims::parse(&answer.body).ok();
        let claims = claims.filter(|claims| claims.is_flag("active"));
        claims.map(|claims| (claims, length)).ok_or_else(|| {
            Silence::of(
                "it answers with no JSON object whose `active` is true or false (RFC 7662, section 2.2)",
            )
        })
    }

    fn remembered(&self, key: &Key, now: Millis) -> Option<Said> {
        let answers = self.answers();
        let said = answers.of.get(key);
        said.filter(|said| now < said.until).cloned()
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        // Every change is one step.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Silence {
    /// It may say more of another token.
    fn of(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            away: false,
        }
    }
}

impl Answers {
    fn remember(&mut self, key: Key, said: Said, now: Millis) {
        let swept = *self.swept.get_or_insert(now);
        if now.since(swept) >= SWEEP {
            self.of.retain(|_, said| now < said.until);
            self.swept = Some(now);
        }
        if self.of.len() >= MOST {
            // Tokens that are not good are the first to be forgotten: anybody can make them up.
            self.of
                .retain(|_, said| now < said.until && said.good.is_some());
            // Room for many, so that this is seldom done.
            if self.of.len() > MOST / 2 {
                self.of.clear();
            }
        }
        self.of.insert(key, said);
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

#[cfg(test)]
mod tests;
