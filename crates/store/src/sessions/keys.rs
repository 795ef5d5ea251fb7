//! One key: its entry is read, written and removed, and its counters with it.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use portcullis_apidef::session::Session;

use super::{ApiLifetime, Sessions, lifetime, parse};
use crate::{
    Condition, Signal, StoreError,
    token::{self, SESSION_PREFIX},
};

const QUOTA_PREFIX: &str = "quota-";
const RATE_PREFIX: &str = "rate-limit-";

/// How many sessions are read at a time.
const BATCH: usize = 500;

/// Which entry is meant.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    name: String,
    token: Option<String>,
}

/// Whether the entry may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It may: the session is new, or is meant to take another's place.
    New,
    /// It may not: the session was read before, and if it is gone it stays gone.
    Known,
}

impl Key {
    /// What follows `apikey-` in its name: the token, or its hash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its token, unless only its hash is known. A secret.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// What a client calls it by: the token, else the hash.
    pub fn presented(&self) -> &str {
        self.token.as_deref().unwrap_or(&self.name)
    }
}

/// Tokens are secrets.
impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Key({})", token::masked(self.presented()))
    }
}

impl Sessions {
    /// The key of a token.
    pub fn key(&self, token: impl Into<String>) -> Key {
        let token = token.into();
        Key {
            name: token::stored_name(&token, self.0.identity.hash_keys),
            token: Some(token),
        }
    }

    /// The key of which only the name is known: the hash of its token.
    pub fn key_by_name(&self, name: impl Into<String>) -> Key {
        Key {
            name: name.into(),
            token: None,
        }
    }

    /// The token of a key of `org`, as keys are made now.
    pub fn compose(&self, org: &str, key: &str) -> String {
        let function = self.0.identity.hash_key_function.as_deref();
        token::compose(org, key, function.unwrap_or_default())
    }

    /// The session of a key, before its policies.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer or holds something that is no session.
    pub async fn get(&self, key: &Key) -> Result<Option<Session>, StoreError> {
        let entry = format!("{SESSION_PREFIX}{}", key.name);
        match self.0.engine.get(&entry).await? {
            Some(value) => parse(&key.name, &value).map(Some),
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
        let entry = format!("{SESSION_PREFIX}{}", key.name);
        let value = Bytes::from(session.to_json());
        let written = self.0.engine.set(&entry, value, lives, condition).await?;
        if written {
            self.tell(key).await;
        }
        Ok(written)
    }

    /// Removes a key with its counters; false when it was not there.
    ///
    /// # Errors
    /// [`StoreError`]; the key may still be there.
    pub async fn remove(&self, key: &Key, session: &Session) -> Result<bool, StoreError> {
        let entry = format!("{SESSION_PREFIX}{}", key.name);
        let removed = self.0.engine.remove(&[entry]).await? > 0;
        // A node that remembers it must hear so, whatever becomes of the counters.
        self.tell(key).await;
        self.reset_quota(key, session).await?;
        Ok(removed)
    }

    /// Lets quotas of a key start anew, and lifts a block of its rate limit.
    ///
    /// # Errors
    /// [`StoreError`]; some may have been reset.
    pub async fn reset_quota(&self, key: &Key, session: &Session) -> Result<(), StoreError> {
        let mut counters = vec![
            format!("{QUOTA_PREFIX}{}", key.name),
            format!("{RATE_PREFIX}{}.BLOCKED", key.name),
        ];
        for (api, right) in &session.access_rights {
            for scope in [api, &right.allowance_scope] {
                let counter = scoped_quota(scope, &key.name);
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
            .map(|scope| scoped_quota(scope, &key.name))
            .collect();
        let values = self.0.engine.get_many(&counters).await?;
        let number = |value: Bytes| std::str::from_utf8(&value).ok()?.parse().ok();
        Ok(values
            .into_iter()
            .map(|value| value.and_then(number))
            .collect())
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
            .filter(|name| !name.starts_with(QUOTA_PREFIX) && !name.starts_with(RATE_PREFIX))
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Tells every node that a key has changed. A node that does not hear it forgets the key when
    /// its time is up.
    async fn tell(&self, key: &Key) {
        let mut names = vec![key.name.clone()];
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

fn scoped_quota(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        format!("{QUOTA_PREFIX}{name}")
    } else {
        format!("{QUOTA_PREFIX}{scope}-{name}")
    }
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use portcullis_config::Identity;

    use super::*;
    use crate::{Embedded, Engine, Signals, hash::HashFunction};

    struct Store {
        sessions: Sessions,
        engine: Engine,
        signals: Signals,
        _dir: tempfile::TempDir,
    }

    fn store(change: impl FnOnce(&mut Identity)) -> Store {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::Embedded(Embedded::open(dir.path()).unwrap());
        let loaded = portcullis_config::load_text(Path::new("tyk.conf"), "{}", []).unwrap();
        let mut identity = loaded.config.identity;
        change(&mut identity);
        let signals = Signals::unsigned(engine.clone());
        Store {
            sessions: Sessions::new(engine.clone(), identity, signals.clone()),
            engine,
            signals,
            _dir: dir,
        }
    }

    fn session(json: &str) -> Session {
        Session::from_json(json.as_bytes()).unwrap()
    }

    const NO_API: ApiLifetime = ApiLifetime {
        lifetime: None,
        respects_expiration: false,
    };

    #[tokio::test]
    async fn a_key_is_stored_under_its_token_and_found_by_it_and_by_its_custom_name() {
        let store = store(|identity| identity.hash_key_function = Some("murmur64".to_owned()));
        let token = store.sessions.compose("default", "mykey");
        let key = store.sessions.key(&token);
        let written = session(r#"{"rate":5,"org_id":"default"}"#);
        assert!(
            store
                .sessions
                .save(&key, &written, NO_API, Write::New)
                .await
                .unwrap()
        );
        let stored = store
            .engine
            .get(&format!("apikey-{token}"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stored, r#"{"rate":5,"org_id":"default"}"#);
        for presented in [&token, "mykey"] {
            let found = store
                .sessions
                .find("default", presented)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                (found.token.as_str(), found.name.as_str()),
                (token.as_str(), token.as_str())
            );
            assert_eq!(found.session, written);
        }
        assert_eq!(store.sessions.find("other", "mykey").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_hashed_key_is_stored_under_the_hash_its_token_names() {
        let store = store(|identity| {
            identity.hash_keys = true;
            identity.hash_key_function = Some("sha256".to_owned());
        });
        let key = store
            .sessions
            .key(store.sessions.compose("default", "mykey"));
        store
            .sessions
            .save(&key, &Session::default(), NO_API, Write::New)
            .await
            .unwrap();
        let name = "103870ea2b2743f8a275d1e65e917ff9e44ebfae66eade42ae92f2195bb3f5c0";
        assert_eq!(store.sessions.names("").await.unwrap(), [name]);
        assert!(
            store
                .sessions
                .get(&store.sessions.key_by_name(name))
                .await
                .unwrap()
                .is_some()
        );
    }

    /// ST-103, ST-104 (the lookup)
    #[tokio::test]
    async fn the_32_bit_hash_finds_a_token_with_something_appended_and_no_other_does() {
        for (function, found) in [("murmur32", true), ("murmur64", false), ("sha256", false)] {
            let store = store(|identity| {
                identity.hash_keys = true;
                identity.hash_key_function = Some(function.to_owned());
            });
            let token = store.sessions.compose("default", "mykey");
            let key = store.sessions.key(&token);
            store
                .sessions
                .save(&key, &Session::default(), NO_API, Write::New)
                .await
                .unwrap();
            let longer = store
                .sessions
                .find("default", &format!("{token}abc"))
                .await
                .unwrap();
            assert_eq!(longer.is_some(), found, "{function}");
        }
    }

    /// ST-105 (the lookup)
    #[tokio::test]
    async fn keys_of_a_former_hash_function_are_found_where_it_is_a_fallback() {
        let former = store(|identity| {
            identity.hash_keys = true;
            identity.hash_key_function = Some("murmur64".to_owned());
        });
        for org in ["default", "5e9d9544a1dcd60001d0ed20"] {
            let certificate = format!("{org}{}", "a".repeat(64));
            for id in ["mykey", "user", &certificate] {
                let key = former.sessions.key(former.sessions.compose(org, id));
                former
                    .sessions
                    .save(&key, &Session::default(), NO_API, Write::New)
                    .await
                    .unwrap();
            }
            let changed = |fallback: &[&str]| {
                let mut identity = former.sessions.identity().clone();
                identity.hash_key_function = Some("sha256".to_owned());
                identity.hash_key_function_fallback =
                    fallback.iter().map(|name| (*name).to_owned()).collect();
                Sessions::new(former.engine.clone(), identity, former.signals.clone())
            };
            let (without, with) = (changed(&[]), changed(&["murmur64"]));
            for name in ["mykey", "user"] {
                assert!(
                    without.find(org, name).await.unwrap().is_none(),
                    "{org} {name}"
                );
                assert!(
                    with.find(org, name).await.unwrap().is_some(),
                    "{org} {name}"
                );
            }
            assert!(
                without
                    .find_certificate(org, &certificate)
                    .await
                    .unwrap()
                    .is_none()
            );
            assert!(
                with.find_certificate(org, &certificate)
                    .await
                    .unwrap()
                    .is_some()
            );
        }
    }

    #[tokio::test]
    async fn a_key_that_was_deleted_is_not_brought_back_by_who_read_it_before() {
        let store = store(|_| {});
        let key = store.sessions.key("defaultmykey");
        let session = session(r#"{"rate":1}"#);
        assert!(
            !store
                .sessions
                .save(&key, &session, NO_API, Write::Known)
                .await
                .unwrap()
        );
        assert_eq!(store.sessions.get(&key).await.unwrap(), None);
        store
            .sessions
            .save(&key, &session, NO_API, Write::New)
            .await
            .unwrap();
        // Without an end as well, which a fleet's own nodes lose.
        assert!(
            store
                .sessions
                .save(&key, &Session::default(), NO_API, Write::Known)
                .await
                .unwrap()
        );
        assert_eq!(
            store.sessions.get(&key).await.unwrap(),
            Some(Session::default())
        );
    }

    #[tokio::test]
    async fn removing_a_key_removes_its_counters() {
        let store = store(|_| {});
        let key = store.sessions.key("defaultmykey");
        let session = session(r#"{"access_rights":{"a":{"allowance_scope":"gold"}}}"#);
        store
            .sessions
            .save(&key, &session, NO_API, Write::New)
            .await
            .unwrap();
        let counters = [
            "quota-defaultmykey",
            "quota-a-defaultmykey",
            "quota-gold-defaultmykey",
        ];
        for counter in counters {
            store.engine.count(counter, 3, None).await.unwrap();
        }
        let used = store
            .sessions
            .used_quotas(&key, &["", "gold", "none"])
            .await
            .unwrap();
        assert_eq!(used, [Some(3), Some(3), None]);
        assert!(store.sessions.remove(&key, &session).await.unwrap());
        for counter in counters {
            assert!(!store.engine.exists(counter).await.unwrap(), "{counter}");
        }
        assert!(!store.sessions.remove(&key, &session).await.unwrap());
    }

    #[tokio::test]
    async fn every_change_is_told_under_every_name_the_key_may_be_remembered_by() {
        for hash_keys in [false, true] {
            let store = store(|identity| {
                identity.hash_keys = hash_keys;
                identity.hash_key_function = Some("sha256".to_owned());
            });
            let mut heard = store.signals.subscribe();
            store.signals.listen();
            let token = store.sessions.compose("default", "mykey");
            let key = store.sessions.key(&token);
            store
                .sessions
                .save(&key, &Session::default(), NO_API, Write::New)
                .await
                .unwrap();
            let signal = tokio::time::timeout(Duration::from_secs(10), heard.recv());
            let expected = if hash_keys {
                let remembered = |text: &str| HashFunction::Murmur64.hex(text);
                vec![
                    key.name().to_owned(),
                    remembered(&token),
                    remembered("mykey"),
                ]
            } else {
                vec![token, "mykey".to_owned()]
            };
            assert_eq!(
                signal.await.unwrap().unwrap(),
                Signal::KeysChanged(expected)
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_session_is_an_error_with_the_name_masked() {
        let store = store(|_| {});
        let value = Bytes::from_static(b"{\"rate\":\"hunter2\"}");
        let set = store.engine.set(
            "apikey-defaultmykey",
            value,
            crate::Lifetime::Forever,
            Condition::Always,
        );
        set.await.unwrap();
        let error = store
            .sessions
            .find("default", "mykey")
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the entry apikey-****ykey of the store is no session: rate: expected a number, found a string"
        );
        assert_eq!(
            format!("{:?}", store.sessions.key("defaultmykey")),
            "Key(****ykey)"
        );
    }

    #[tokio::test]
    async fn a_list_leaves_counters_out_and_begins_as_asked() {
        let store = store(|_| {});
        for name in ["org1a", "org1b", "org2a", "quota-x", "rate-limit-y"] {
            let key = store.sessions.key_by_name(name);
            store
                .sessions
                .save(&key, &Session::default(), NO_API, Write::New)
                .await
                .unwrap();
        }
        assert_eq!(
            store.sessions.names("").await.unwrap(),
            ["org1a", "org1b", "org2a"]
        );
        assert_eq!(
            store.sessions.names("org1").await.unwrap(),
            ["org1a", "org1b"]
        );
    }

    #[tokio::test]
    async fn what_is_too_short_is_not_looked_up_for_a_client() {
        let store = store(|identity| identity.min_token_length = 4);
        for name in ["abc", "abcd"] {
            let key = store.sessions.key_by_name(name);
            store
                .sessions
                .save(&key, &Session::default(), NO_API, Write::New)
                .await
                .unwrap();
        }
        assert!(store.sessions.find("", "abc").await.unwrap().is_none());
        assert!(store.sessions.look_up("", "abc").await.unwrap().is_some());
        assert!(store.sessions.find("", "abcd").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn organisations_are_never_hashed_and_no_keys() {
        let store = store(|identity| identity.hash_keys = true);
        let limits = session(r#"{"quota_max":5}"#);
        store
            .sessions
            .save_organisation("acme", &limits)
            .await
            .unwrap();
        assert!(store.engine.exists("orgkey.acme").await.unwrap());
        assert_eq!(
            store.sessions.organisation("acme").await.unwrap(),
            Some(limits)
        );
        assert_eq!(store.sessions.organisations("").await.unwrap(), ["acme"]);
        assert!(store.sessions.names("").await.unwrap().is_empty());
        assert!(store.sessions.remove_organisation("acme").await.unwrap());
        assert!(!store.sessions.remove_organisation("acme").await.unwrap());
        assert_eq!(store.sessions.organisation("acme").await.unwrap(), None);
    }
}
