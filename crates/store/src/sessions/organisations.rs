//! Limits of whole organisations, stored as sessions of their own. Their names are never hashed.

use bytes::Bytes;
use portcullis_apidef::session::Session;

use super::{Sessions, parse};
use crate::{Condition, Lifetime, StoreError, hash::HashFunction};

const ORGANISATION_PREFIX: &str = "orgkey.";

impl Sessions {
    /// The session of an organisation.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or holds something that is no session.
    pub async fn organisation(&self, org: &str) -> Result<Option<Session>, StoreError> {
        match self.0.engine.get(&entry(org)).await? {
            Some(value) => parse(org, &value).map(Some),
            None => Ok(None),
        }
    }

    /// Writes the session of an organisation.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written then.
    pub async fn save_organisation(&self, org: &str, session: &Session) -> Result<(), StoreError> {
        let (entry, value) = (entry(org), Bytes::from(session.to_json()));
        let engine = &self.0.engine;
        engine
            .set(&entry, value, Lifetime::Forever, Condition::Always)
            .await?;
        Ok(())
    }

    /// Removes the session of an organisation; false when it was not there.
    ///
    /// # Errors
    /// [`StoreError`]; it may still be there.
    pub async fn remove_organisation(&self, org: &str) -> Result<bool, StoreError> {
        Ok(self.0.engine.remove(&[entry(org)]).await? > 0)
    }

    /// Lets the quota of an organisation start anew.
    ///
    /// # Errors
    /// [`StoreError`]; it may go on.
    pub async fn reset_organisation_quota(&self, org: &str) -> Result<(), StoreError> {
        let mut counters = vec![format!("quota-{org}")];
        if self.0.identity.hash_keys {
            counters.push(format!("quota-{}", HashFunction::Murmur32.hex(org)));
        }
        self.0.engine.remove(&counters).await?;
        Ok(())
    }

    /// Organisations with a session whose names begin with `prefix`, sorted.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn organisations(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.stripped(ORGANISATION_PREFIX, prefix).await
    }
}

fn entry(org: &str) -> String {
    format!("{ORGANISATION_PREFIX}{org}")
}
