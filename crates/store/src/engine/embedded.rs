//! The embedded engine: one file, one process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{
    Condition, Count, Health, Lifetime,
    messages::{Inbox, Message},
};
use crate::StoreError;

/// Name to a value behind its expiry (eight bytes, big endian, Unix milliseconds, 0 for never) and
/// what it is: 0 a value, 1 a list.
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");

/// The embedded engine. Cheap to clone.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    path: PathBuf,
    database: Database,
    inbox: Inbox,
    health: tokio::sync::watch::Sender<Health>,
}

/// An entry with its expiry.
struct Entry {
    expires: u64,
    is_list: bool,
    value: Vec<u8>,
}

impl Entry {
    fn value(expires: u64, value: Vec<u8>) -> Self {
        Self {
            expires,
            is_list: false,
            value,
        }
    }
}

impl Embedded {
    /// Opens the store in a directory, which is made when it is missing.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be opened.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("store.redb");
        let broken = |reason: String| StoreError::File {
            path: path.clone(),
            reason,
        };
        std::fs::create_dir_all(directory).map_err(|error| broken(error.to_string()))?;
        let database = Database::create(&path).map_err(|error| broken(error.to_string()))?;
        let inner = Inner {
            path,
            database,
            inbox: Inbox::default(),
            health: tokio::sync::watch::Sender::new(Health::Up),
        };
        inner.write(|_| Ok(()))?;
        Ok(Self(Arc::new(inner)))
    }

    pub(super) async fn publish(&self, channel: &str, message: &str) -> Result<(), StoreError> {
        self.0.inbox.deliver(channel, message);
        Ok(())
    }

    pub(super) fn messages(&self) -> tokio::sync::broadcast::Receiver<Message> {
        self.0.inbox.subscribe()
    }

    pub(super) fn health(&self) -> tokio::sync::watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.0.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(error) => Err(self.0.broken(&error)),
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_owned();
        self.run(
            move |inner| match inner.read(std::slice::from_ref(&key))?.pop().flatten() {
                Some(entry) if entry.is_list => Err(wrong_type(&key, "is a list, not a value")),
                entry => Ok(entry.map(|entry| entry.value.into())),
            },
        )
        .await
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let keys = keys.to_vec();
        self.run(move |inner| {
            let entries = inner.read(&keys)?;
            Ok(entries
                .into_iter()
                .map(|entry| entry.filter(|entry| !entry.is_list))
                .map(|entry| entry.map(|entry| entry.value.into()))
                .collect())
        })
        .await
    }

    pub(super) async fn lengths(&self, keys: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        let values = self.get_many(keys).await?;
        Ok(values
            .into_iter()
            .map(|value| value.map(|value| value.len() as u64))
            .collect())
    }

    pub(super) async fn set(
        &self,
        key: &str,
        value: Bytes,
        lifetime: Lifetime,
        condition: Condition,
    ) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.run(move |inner| {
            inner.change(&key, |old| {
                let wanted = match condition {
                    Condition::Always => true,
                    Condition::IfPresent => old.is_some(),
                    Condition::IfAbsent => old.is_none(),
                };
                let new = Entry::value(expiry(lifetime), value.to_vec());
                Ok((if wanted { Some(new) } else { old }, wanted))
            })
        })
        .await
    }

    pub(super) async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        let keys = keys.to_vec();
        self.run(move |inner| {
            let mut removed = 0;
            for key in &keys {
                removed += inner.change(key, |old| Ok((None, u64::from(old.is_some()))))?;
            }
            Ok(removed)
        })
        .await
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.lifetime(key).await?.is_some())
    }

    pub(super) async fn lifetime(&self, key: &str) -> Result<Option<Lifetime>, StoreError> {
        let key = key.to_owned();
        self.run(move |inner| {
            let entry = inner.read(&[key])?.pop().flatten();
            Ok(entry.map(|entry| match entry.expires {
                0 => Lifetime::Forever,
                at => Lifetime::For(Duration::from_millis(at.saturating_sub(now()))),
            }))
        })
        .await
    }

    pub(super) async fn list_append(&self, key: &str, values: &[String]) -> Result<(), StoreError> {
        let (key, values) = (key.to_owned(), values.to_vec());
        self.run(move |inner| {
            inner.change(&key, |old| {
                let mut list = list_of(&key, old.as_ref())?.unwrap_or_default();
                list.extend(values);
                Ok(((!list.is_empty()).then(|| list_entry(&list)), ()))
            })
        })
        .await
    }

    pub(super) async fn list(&self, key: &str) -> Result<Option<Vec<String>>, StoreError> {
        let key = key.to_owned();
        self.run(move |inner| {
            let entry = inner.read(std::slice::from_ref(&key))?.pop().flatten();
            list_of(&key, entry.as_ref())
        })
        .await
    }

    pub(super) async fn list_remove(&self, key: &str, value: &str) -> Result<u64, StoreError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.run(move |inner| {
            inner.change(&key, |old| {
                let mut list = list_of(&key, old.as_ref())?.unwrap_or_default();
                let before = list.len();
                list.retain(|member| *member != value);
                let removed = (before - list.len()) as u64;
                Ok(((!list.is_empty()).then(|| list_entry(&list)), removed))
            })
        })
        .await
    }

    pub(super) async fn keys_with_prefix(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let prefix = prefix.to_owned();
        self.run(move |inner| {
            let transaction = inner
                .database
                .begin_read()
                .map_err(|error| inner.broken(&error))?;
            let table = transaction
                .open_table(ENTRIES)
                .map_err(|error| inner.broken(&error))?;
            let mut names = Vec::new();
            let range = table
                .range(prefix.as_str()..)
                .map_err(|error| inner.broken(&error))?;
            for row in range {
                let (name, value) = row.map_err(|error| inner.broken(&error))?;
                if !name.value().starts_with(&prefix) {
                    break;
                }
                if parse(value.value()).is_some() {
                    names.push(name.value().to_owned());
                }
            }
            Ok(names)
        })
        .await
    }

    pub(super) async fn count(
        &self,
        key: &str,
        by: i64,
        window: Option<Duration>,
    ) -> Result<Count, StoreError> {
        let key = key.to_owned();
        self.run(move |inner| {
            inner.change(&key, |old| {
                let (value, expires) = match old {
                    Some(entry) => (number_of(&key, &entry)?, entry.expires),
                    None => (0, expiry(window.map_or(Lifetime::Forever, Lifetime::For))),
                };
                let value = i64::checked_add(value, by)
                    .ok_or_else(|| wrong_type(&key, "has no room for that increase"))?;
                let entry = Entry::value(expires, value.to_string().into_bytes());
                let renews_in =
                    (expires > 0).then(|| Duration::from_millis(expires.saturating_sub(now())));
                Ok((Some(entry), Count { value, renews_in }))
            })
        })
        .await
    }
}

impl Inner {
    fn broken(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::File {
            path: self.path.clone(),
            reason: error.to_string(),
        }
    }

    fn read(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        let transaction = self
            .database
            .begin_read()
            .map_err(|error| self.broken(&error))?;
        let table = transaction
            .open_table(ENTRIES)
            .map_err(|error| self.broken(&error))?;
        keys.iter()
            .map(|key| {
                let value = table
                    .get(key.as_str())
                    .map_err(|error| self.broken(&error))?;
                Ok(value.and_then(|value| parse(value.value())))
            })
            .collect()
    }

    /// Replaces an entry by what `work` makes of it, in a transaction of its own.
    fn change<T>(
        &self,
        key: &str,
        work: impl FnOnce(Option<Entry>) -> Result<(Option<Entry>, T), StoreError>,
    ) -> Result<T, StoreError> {
        self.write(|table| {
            let old = table
                .get(key)
                .map_err(|error| self.broken(&error))?
                .and_then(|value| parse(value.value()));
            let (new, result) = work(old)?;
            match new {
                Some(entry) => {
                    let mut bytes = entry.expires.to_be_bytes().to_vec();
                    bytes.push(entry.is_list.into());
                    bytes.extend(&entry.value);
                    table
                        .insert(key, bytes.as_slice())
                        .map_err(|error| self.broken(&error))?;
                }
                None => {
                    table.remove(key).map_err(|error| self.broken(&error))?;
                }
            }
            Ok(result)
        })
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut redb::Table<'_, &str, &[u8]>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self
            .database
            .begin_write()
            .map_err(|error| self.broken(&error))?;
        let result = {
            let mut table = transaction
                .open_table(ENTRIES)
                .map_err(|error| self.broken(&error))?;
            work(&mut table)?
        };
        transaction.commit().map_err(|error| self.broken(&error))?;
        Ok(result)
    }
}

/// The entry in these bytes, unless it has expired.
fn parse(bytes: &[u8]) -> Option<Entry> {
    let (expires, rest) = bytes.split_first_chunk()?;
    let (kind, value) = rest.split_first()?;
    let expires = u64::from_be_bytes(*expires);
    (expires == 0 || expires > now()).then(|| Entry {
        expires,
        is_list: *kind == 1,
        value: value.to_vec(),
    })
}

fn list_of(key: &str, entry: Option<&Entry>) -> Result<Option<Vec<String>>, StoreError> {
    let Some(entry) = entry else { return Ok(None) };
    if !entry.is_list {
        return Err(wrong_type(key, "is a value, not a list"));
    }
    serde_json::from_slice(&entry.value)
        .map(Some)
        .map_err(|_| wrong_type(key, "is no list"))
}

fn wrong_type(key: &str, reason: &str) -> StoreError {
    StoreError::Entry {
        name: key.to_owned(),
        reason: reason.to_owned(),
    }
}

fn list_entry(list: &[String]) -> Entry {
    Entry {
        expires: 0,
        is_list: true,
        value: serde_json::to_vec(list).expect("texts are JSON"),
    }
}

fn number_of(key: &str, entry: &Entry) -> Result<i64, StoreError> {
    std::str::from_utf8(&entry.value)
        .ok()
        .filter(|_| !entry.is_list)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong_type(key, "is no number"))
}

fn expiry(lifetime: Lifetime) -> u64 {
    match lifetime {
        Lifetime::Forever => 0,
        Lifetime::For(time) => {
            now().saturating_add(time.as_millis().try_into().unwrap_or(u64::MAX))
        }
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}
