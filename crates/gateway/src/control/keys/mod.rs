//! `/tyk/keys`: keys are made, shown, changed and removed.
//!
//! ```text
//! create   a key with a random token, or that of a certificate
//! change   a key of a given name, new or not
//! settle   what a session needs before it is stored: policies, rights, password, times
//! show     one key, or the names of all
//! ```
//!
//! Statuses, texts and the order of members are a Tyk gateway's.
//!
//! Invariants:
//! - A session whose policies cannot be applied is not stored.
//! - A password is stored hashed and never shown.
//! - A log names a key by eight characters, four of them its own.

mod change;
mod create;
mod settle;
mod show;

use bytes::Bytes;
use http::StatusCode;
use portcullis_apidef::session::Session;
use portcullis_store::{Certificates, Sessions, StoreError, sessions::Key, token};
use serde::Serialize;

use super::{
    answer::{self, Answer},
    endpoint::KeyCall,
    parameter,
    runtime::LoadedSet,
    writing::Query,
};

/// What calls about keys work with.
pub(super) struct Keys<'k> {
    /// Where they are.
    pub(super) sessions: &'k Sessions,
    /// Where certificates that belong to them are.
    pub(super) certificates: &'k Certificates,
    /// APIs and policies in force.
    pub(super) loaded: &'k LoadedSet,
    /// Parameters of the call.
    pub(super) query: &'k Query,
    /// Its body.
    pub(super) body: &'k Bytes,
}

/// Why a call about keys was not answered as asked.
enum Refusal {
    /// It says so itself.
    Status(StatusCode, String),
    /// The store does not answer.
    Store(StoreError),
}

type Outcome<T> = Result<T, Refusal>;

/// The answer to a change.
#[derive(Serialize)]
struct Changed<'a> {
    key: &'a str,
    status: &'a str,
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hash: Option<&'a str>,
}

impl Keys<'_> {
    /// Answers a call. `name` is empty where the path has none.
    pub(super) async fn answer(&self, call: KeyCall, name: &str) -> Answer {
        let result = match call {
            KeyCall::Create => self.create().await,
            KeyCall::Preview => self.preview().await,
            KeyCall::ApplyPolicies => self.apply_policies(name).await,
            KeyCall::List => self.list().await,
            KeyCall::Add => self.add(name).await,
            KeyCall::Update => self.or_as_given(name, KeyCall::Update).await,
            KeyCall::Show => self.or_as_given(name, KeyCall::Show).await,
            KeyCall::Delete => self.or_as_given(name, KeyCall::Delete).await,
        };
        result.unwrap_or_else(answered)
    }

    /// A user name stands for the token that is made of it; where tokens are made with a hash, a key
    /// may be older than that, and the name is tried as given.
    async fn or_as_given(&self, name: &str, call: KeyCall) -> Outcome<Answer> {
        let identity = self.sessions.identity();
        let is_user = parameter(self.query, "username") == Some("true");
        let of_user = match is_user {
            true => self.sessions.compose(self.org(), name),
            false => name.to_owned(),
        };
        match self.named(&of_user, call).await {
            Err(Refusal::Status(..)) if is_user && identity.hash_key_function.is_some() => {
                self.named(name, call).await
            }
            other => other,
        }
    }

    async fn named(&self, name: &str, call: KeyCall) -> Outcome<Answer> {
        match call {
            KeyCall::Update => self.update(name).await,
            KeyCall::Delete => self.delete(name).await,
            _ => self.show(name).await,
        }
    }

    async fn delete(&self, name: &str) -> Outcome<Answer> {
        let found = self.locate(self.org(), name).await?;
        let (key, session) =
            found.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "There is no such key found"))?;
        let failed = |error: &StoreError| {
            tracing::error!(
                key = token::masked(key.presented()),
                "key not removed: {error}"
            );
            refusal(StatusCode::BAD_REQUEST, "Failed to remove the key")
        };
        match self.sessions.remove(&key, &session).await {
            Ok(true) => {}
            Ok(false) => return Err(refusal(StatusCode::BAD_REQUEST, "Failed to remove the key")),
            Err(error) => return Err(failed(&error)),
        }
        tracing::info!(key = token::masked(key.presented()), "key removed");
        Ok(match parameter(self.query, "api_id") {
            Some("-1") => answer::shown(&()),
            _ => changed(key.presented(), "deleted"),
        })
    }

    /// The key a call means, and its session.
    async fn locate(&self, org: &str, name: &str) -> Outcome<Option<(Key, Session)>> {
        if self.is_hashed() {
            let key = self.sessions.key_by_name(name);
            let session = self.sessions.get(&key).await?;
            return Ok(session.map(|session| (key, session)));
        }
        let found = self.sessions.look_up(org, name).await?;
        Ok(found.map(|found| (self.sessions.key(found.token), found.session)))
    }

    /// Names in paths are hashes.
    fn is_hashed(&self) -> bool {
        parameter(self.query, "hashed").is_some_and(|hashed| !hashed.is_empty())
    }

    fn org(&self) -> &str {
        parameter(self.query, "org_id").unwrap_or_default()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn refusal(status: StatusCode, message: impl Into<String>) -> Refusal {
    Refusal::Status(status, message.into())
}

fn answered(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Status(status, message) => answer::error(status, &message),
        Refusal::Store(error) => {
            tracing::error!("the Control API cannot use the store of keys: {error}");
            answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
    }
}

fn changed(key: &str, action: &str) -> Answer {
    answer::shown(&Changed {
        key,
        status: "ok",
        action,
        key_hash: None,
    })
}

/// Why somebody's session is none, for the log: the client is told only that.
fn read(body: &Bytes, status: StatusCode, message: &str) -> Outcome<Session> {
    Session::from_json(body).map_err(|error| {
        tracing::warn!("Control API: a session was refused: {error}");
        refusal(status, message)
    })
}
