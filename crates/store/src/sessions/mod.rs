//! Keys and organisation sessions: found, written, removed.
//!
//! ```text
//! lookup         which names a presented token may be stored under
//! lifetime       how long an entry lives
//! key            which entry a key has
//! keys           the entries of keys: read, written, removed, listed
//! counters       the counters of a key
//! organisations  limits of whole organisations
//! ```
//!
//! Invariants:
//! - A lookup is one round trip, whichever names it looks under.
//! - A token of a client that is shorter than `min_token_length` is never looked up.
//! - What somebody deleted is not brought back by somebody who read it before.
//! - Every change is told to all nodes, under every name a node may remember the key by.
//! - No error and no log holds a whole token.

mod counters;
mod key;
mod keys;
mod lifetime;
mod lookup;
mod organisations;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use portcullis_apidef::session::Session;
use portcullis_config::Identity;

pub use self::{key::Key, keys::Write, lifetime::ApiLifetime};
use crate::{
    Engine, Signals, StoreError,
    hash::HashFunction,
    token::{self, SESSION_PREFIX},
};

/// The keys of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    engine: Engine,
    identity: Identity,
    signals: Signals,
}

/// A session that was found.
#[derive(Clone, PartialEq)]
pub struct Found {
    /// What follows `apikey-` in its name: its counters have it in theirs.
    pub name: String,
    /// The token it belongs to. A secret.
    pub token: String,
    /// What the key may do, before its policies.
    pub session: Session,
    /// The same as it is stored.
    pub stored: Bytes,
}

/// Tokens are secrets, and sessions may hold some.
impl std::fmt::Debug for Found {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Found({})", token::masked(&self.token))
    }
}

impl Sessions {
    /// The keys in a store. Changes are told to others by `signals`.
    pub fn new(engine: Engine, identity: Identity, signals: Signals) -> Self {
        Self(Arc::new(Inner {
            engine,
            identity,
            signals,
        }))
    }

    /// How keys are stored and found.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The session of what a client presented to an API of `org`: a token, or the custom name of a
    /// key.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or holds something that is no session.
    pub async fn find(&self, org: &str, presented: &str) -> Result<Option<Found>, StoreError> {
        if presented.len() < self.0.identity.min_token_length {
            return Ok(None);
        }
        self.look_up(org, presented).await
    }

    /// As [`Sessions::find`], for somebody who administers keys: however short it is.
    ///
    /// # Errors
    /// As [`Sessions::find`].
    pub async fn look_up(&self, org: &str, presented: &str) -> Result<Option<Found>, StoreError> {
        self.first(lookup::tokens(&self.0.identity, org, presented))
            .await
    }

    /// The session of a client certificate, by its id in the store: `org` and the fingerprint.
    ///
    /// # Errors
    /// As [`Sessions::find`].
    pub async fn find_certificate(&self, org: &str, id: &str) -> Result<Option<Found>, StoreError> {
        self.first(lookup::certificate_tokens(&self.0.identity, org, id))
            .await
    }

    /// The session of this name, which is what follows `apikey-`.
    ///
    /// # Errors
    /// As [`Sessions::find`].
    pub async fn stored(&self, name: &str) -> Result<Option<Session>, StoreError> {
        let names = [format!("{SESSION_PREFIX}{name}")];
        let mut values = self.0.engine.get_many(&names).await?;
        let value = values.pop().flatten();
        value.map(|value| parse(name, &value)).transpose()
    }

    /// The name a node remembers a session under, by what was presented. Changes of a key name all
    /// of these.
    pub fn cached_name(&self, presented: &str) -> String {
        if self.0.identity.hash_keys {
            HashFunction::Murmur64.hex(presented)
        } else {
            presented.to_owned()
        }
    }

    async fn first(&self, mut tokens: Vec<String>) -> Result<Option<Found>, StoreError> {
        let name = |token: &String| token::stored_name(token, self.0.identity.hash_keys);
        let names: Vec<String> = tokens
            .iter()
            .map(|token| format!("{SESSION_PREFIX}{}", name(token)))
            .collect();
        let values = self.0.engine.get_many(&names).await?;
        let first = values
            .into_iter()
            .enumerate()
            .find_map(|(at, value)| Some((at, value?)));
        let Some((at, value)) = first else {
            return Ok(None);
        };
        let token = tokens.swap_remove(at);
        Ok(Some(Found {
            name: name(&token),
            session: parse(&token, &value)?,
            stored: value,
            token,
        }))
    }
}

fn parse(name: &str, value: &[u8]) -> Result<Session, StoreError> {
    Session::from_json(value).map_err(|error| StoreError::Entry {
        name: format!("{SESSION_PREFIX}{}", token::masked(name)),
        reason: format!("is no session: {error}"),
    })
}
