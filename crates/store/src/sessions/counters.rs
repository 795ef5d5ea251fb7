//! The counters of a key, which are entries beside its own.
//!
//! ```text
//! quota-<name>            the quota of the key as a whole
//! quota-<scope>-<name>    that of one API, or of what several share
//! rate-limit-<name>…      its rate
//! ```

use bytes::Bytes;
use portcullis_apidef::session::Session;

use super::{Key, Sessions};
use crate::{StoreError, engine::slides::marker_of};

const QUOTA_PREFIX: &str = "quota-";
const RATE_PREFIX: &str = "rate-limit-";

/// Whether an entry among those of keys is a counter.
pub(super) fn is_counter(name: &str) -> bool {
    name.starts_with(QUOTA_PREFIX) || name.starts_with(RATE_PREFIX)
}

impl Sessions {
    /// Lets quotas of a key start anew, and lifts a block of its rate limit.
    ///
    /// # Errors
    /// [`StoreError`]; some may have been reset.
    pub async fn reset_quota(&self, key: &Key, session: &Session) -> Result<(), StoreError> {
        let mut counters = vec![
            format!("{QUOTA_PREFIX}{}", key.name()),
            marker_of(&format!("{RATE_PREFIX}{}", key.name())),
        ];
        for (api, right) in &session.access_rights {
            for scope in [api, &right.allowance_scope] {
                let counter = scoped_quota(scope, key.name());
                if !counters.contains(&counter) {
                    counters.push(counter);
                }
            }
        }
        self.0.engine.remove(&counters).await?;
        Ok(())
    }

    /// How much of the quota of each scope is used, in order; `None` where nothing is counted. The
    /// empty scope is the key as a whole.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn used_quotas(
        &self,
        key: &Key,
        scopes: &[&str],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let counters: Vec<String> = scopes
            .iter()
            .map(|scope| scoped_quota(scope, key.name()))
            .collect();
        let values = self.0.engine.get_many(&counters).await?;
        let number = |value: Bytes| std::str::from_utf8(&value).ok()?.parse().ok();
        Ok(values
            .into_iter()
            .map(|value| value.and_then(number))
            .collect())
    }
}

fn scoped_quota(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        format!("{QUOTA_PREFIX}{name}")
    } else {
        format!("{QUOTA_PREFIX}{scope}-{name}")
    }
}
