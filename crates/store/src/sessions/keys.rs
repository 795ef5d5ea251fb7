//! The entries of keys: read, written, removed, listed.

use bytes::Bytes;
use portcullis_apidef::session::Session;

use super::{ApiLifetime, Found, Key, Sessions, counters, lifetime, parse};
use crate::{
    Condition, Signal, StoreError,
    now::now,
    token::{self, SESSION_PREFIX},
};

/// How many sessions are read at a time.
const BATCH: usize = 500;

/// Whether the entry may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It may: the session is new, or is meant to take another's place.
    New,
    /// It may not: the session was read before, and if it is gone it stays gone.
    Known,
}

impl Sessions {
    /// The session of a key, before its policies.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or holds something that is no session.
    pub async fn get(&self, key: &Key) -> Result<Option<Session>, StoreError> {
        let entry = format!("{SESSION_PREFIX}{}", key.name());
        match self.0.engine.get(&entry).await? {
            Some(value) => parse(key.name(), &value).map(Some),
            None => Ok(None),
        }
    }

    /// Writes the session of a key; false when it was to be there and is not.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    pub async fn save(
        &self,
        key: &Key,
        session: &Session,
        api: ApiLifetime,
        write: Write,
    ) -> Result<bool, StoreError> {
        let lives = lifetime::of(session, api, &self.0.identity, now());
        let condition = match write {
            Write::New => Condition::Always,
            Write::Known => Condition::IfPresent,
        };
        let entry = format!("{SESSION_PREFIX}{}", key.name());
        let value = Bytes::from(session.to_json());
        let written = self.0.engine.set(&entry, value, lives, condition).await?;
        if written {
            self.tell(key).await;
        }
        Ok(written)
    }

    /// Writes a session in the place of the one that was found, unless that has changed since: for as
    /// long as it would have lived. Whether it was written.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    pub async fn amend(&self, found: &Found, session: &Session) -> Result<bool, StoreError> {
        let entry = format!("{SESSION_PREFIX}{}", found.name);
        let value = Bytes::from(session.to_json());
        let before = found.stored.clone();
        let written = self.0.engine.replace(&entry, before, value).await?;
        if written {
            self.tell(&self.key(found.token.as_str())).await;
        }
        Ok(written)
    }

    /// Removes a key with its counters; false when it was not there.
    ///
    /// # Errors
    /// [`StoreError`]; the key may still be there.
    pub async fn remove(&self, key: &Key, session: &Session) -> Result<bool, StoreError> {
        let entry = format!("{SESSION_PREFIX}{}", key.name());
        let removed = self.0.engine.remove(&[entry]).await? > 0;
        // A node that remembers it must hear so, whatever becomes of the counters.
        self.tell(key).await;
        self.reset_quota(key, session).await?;
        Ok(removed)
    }

    /// The names of all keys that begin with `prefix`, sorted.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.stripped(SESSION_PREFIX, prefix).await
    }

    /// Those of these names whose sessions list a right to an API.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn names_with_right(
        &self,
        names: Vec<String>,
        api: &str,
    ) -> Result<Vec<String>, StoreError> {
        let mut with_right = Vec::new();
        for batch in names.chunks(BATCH) {
            let entries: Vec<String> = batch
                .iter()
                .map(|name| format!("{SESSION_PREFIX}{name}"))
                .collect();
            let values = self.0.engine.get_many(&entries).await?;
            for (name, value) in batch.iter().zip(values) {
                let session = value.and_then(|value| Session::from_json(&value).ok());
                if session.is_some_and(|session| session.access_rights.contains_key(api)) {
                    with_right.push(name.clone());
                }
            }
        }
        Ok(with_right)
    }

    pub(super) async fn stripped(
        &self,
        kind: &str,
        prefix: &str,
    ) -> Result<Vec<String>, StoreError> {
        let prefix = format!("{kind}{prefix}");
        let names = self.0.engine.keys_with_prefix(&prefix).await?;
        let mut names: Vec<String> = names
            .iter()
            .filter_map(|name| name.strip_prefix(kind))
            .filter(|name| !counters::is_counter(name))
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Tells every node that a key has changed. A node that does not hear it forgets the key when
    /// its time is up.
    async fn tell(&self, key: &Key) {
        let mut names = vec![key.name().to_owned()];
        if let Some(token) = key.token() {
            let custom = token::key_id(token);
            for presented in [Some(token), custom.as_deref()].into_iter().flatten() {
                let name = self.cached_name(presented);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        if let Err(error) = self.0.signals.send(&Signal::KeysChanged(names)).await {
            tracing::warn!(
                key = token::masked(key.presented()),
                "other nodes were not told that a key has changed, they learn it within a minute: {error}"
            );
        }
    }
}
