//! The certificate store: certificates, their keys and public keys by id, in the entries and the form
//! that a Tyk fleet shares.
//!
//! ```text
//! cert-raw-<org><64 hex digits>   the text of an entry, its key encrypted (portcullis_pki::upload)
//! cert-<org>-index                list of `raw-<id>`, in the order of upload
//! cert-<org>-index-migrated       entries without an index have been looked for once
//! ```
//!
//! Invariants:
//! - An entry is never overwritten: the store itself decides that the id is free.
//! - An entry and its place in the index come into being together.
//! - A certificate that is out of the index is out of service: removal takes the entry first.
//! - An entry whose key does not open is reported by its id and not used.
//! - No failure of the store is taken for an answer.

mod names;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use portcullis_config::Secret;
use portcullis_pki::{Entry, EntryError, KeyKind, Upload, UploadError, wiped::Wiped};

use crate::{Condition, Engine, Lifetime, Signal, Signals, StoreError, now::now};

/// Entries that are read and taken apart at a time, so that a listing of any length needs little memory.
const BATCH: usize = 256;

/// Unreadable entries that are reported one by one when many are read at once.
const REPORTED: usize = 10;

/// The certificate store. Cheap to clone.
#[derive(Clone)]
pub struct Certificates(Arc<Inner>);

struct Inner {
    engine: Engine,
    passphrase: Secret,
    signals: Signals,
}

/// Why an upload was not stored.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It is none that may be.
    #[error(transparent)]
    Rejected(#[from] UploadError),
    /// The id is taken.
    #[error("Certificate with {id} id already exists")]
    Exists {
        /// The id.
        id: String,
    },
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The library could not encrypt its key.
    #[error("the private key could not be encrypted: {0}")]
    Encryption(#[from] openssl::error::ErrorStack),
}

/// What reading an id gave.
#[derive(Debug)]
pub enum Stored {
    /// There is no such entry.
    Absent,
    /// There is one, and it cannot be used.
    Unreadable(EntryError),
    /// An entry.
    Entry(Entry),
}

impl Certificates {
    /// The certificate store in an engine; `passphrase` encrypts the private keys, and `signals` tell every
    /// node of a change.
    pub fn new(engine: Engine, passphrase: Secret, signals: Signals) -> Self {
        Self(Arc::new(Inner {
            engine,
            passphrase,
            signals,
        }))
    }

    /// Stores an upload under its id, which is the answer.
    ///
    /// # Errors
    /// [`AddError`]; nothing was stored then.
    pub async fn add(&self, org: &str, pem: &[u8]) -> Result<String, AddError> {
        let (upload, text) = self.sealed(pem).await?;
        let id = upload.id(org);
        let name = names::entry(&id);
        let (engine, text) = (&self.0.engine, Bytes::from(text));
        let is_new = match org {
            "" => {
                let condition = Condition::IfAbsent;
                engine
                    .set(&name, text, Lifetime::Forever, condition)
                    .await?
            }
            org => {
                let (index, member) = (names::index(org), names::member(&id));
                engine.create_listed(&name, text, &index, &member).await?
            }
        };
        if !is_new {
            return Err(AddError::Exists { id });
        }
        if upload.private_key() == Some(KeyKind::Ed25519) {
            tracing::warn!(
                id,
                "the certificate has an Ed25519 key, which Tyk gateways that share this store cannot load"
            );
        }
        tracing::info!(
            id,
            private_key = upload.private_key().is_some(),
            "certificate added"
        );
        self.changed(&id).await;
        Ok(id)
    }

    /// An upload, and the text that is stored of it. Megabytes of certificates take their time, so this
    /// holds up nobody else.
    async fn sealed(&self, pem: &[u8]) -> Result<(Upload, String), AddError> {
        let (store, pem) = (self.clone(), Wiped::new(pem.to_vec()));
        aside(move || {
            let upload = Upload::parse(&pem, now())?;
            let text = upload.to_stored(store.0.passphrase.reveal())?;
            Ok((upload, text))
        })
        .await
    }

    /// The texts of entries as they are stored, in the order of the ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn raw(&self, ids: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let names: Vec<String> = ids.iter().map(|id| names::entry(id)).collect();
        self.0.engine.get_many(&names).await
    }

    /// Whether there is an entry, readable or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn contains(&self, id: &str) -> Result<bool, StoreError> {
        self.0.engine.exists(&names::entry(id)).await
    }

    /// Which entries there are, in the order of the ids, each with the length of its text in bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lengths(&self, ids: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        let names: Vec<String> = ids.iter().map(|id| names::entry(id)).collect();
        self.0.engine.lengths(&names).await
    }

    /// Reads entries and gives what `each` makes of them, in the order of the ids. What cannot be read
    /// is logged as well.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read<T: Send + 'static>(
        &self,
        ids: &[String],
        each: fn(&str, Stored) -> T,
    ) -> Result<Vec<T>, StoreError> {
        let mut results = Vec::with_capacity(ids.len());
        let mut unreadable = 0;
        for batch in ids.chunks(BATCH) {
            let texts = self.raw(batch).await?;
            let (batch, store) = (batch.to_vec(), self.clone());
            let first = unreadable;
            let work = move || {
                let mut unreadable = first;
                let mut made = Vec::with_capacity(batch.len());
                for (id, text) in batch.iter().zip(texts) {
                    let stored = store.parse(text.as_deref());
                    if let Stored::Unreadable(error) = &stored {
                        unreadable += 1;
                        if unreadable <= REPORTED {
                            tracing::warn!(id, "the stored certificate cannot be used: {error}");
                        }
                    }
                    made.push(each(id, stored));
                }
                (made, unreadable)
            };
            let (made, count) = aside(work).await;
            results.extend(made);
            unreadable = count;
        }
        if unreadable > REPORTED {
            tracing::warn!(
                "{} more stored certificates cannot be used",
                unreadable - REPORTED
            );
        }
        Ok(results)
    }

    /// Takes apart the text of an entry; `None` is one that is not there.
    pub fn parse(&self, text: Option<&[u8]>) -> Stored {
        match text.map(|text| Entry::parse(text, self.0.passphrase.reveal())) {
            None => Stored::Absent,
            Some(Ok(entry)) => Stored::Entry(entry),
            Some(Err(error)) => Stored::Unreadable(error),
        }
    }

    /// The ids of an organisation, in the order of upload. Without an organisation, those of all, sorted.
    ///
    /// An organisation whose entries have no index gets one, once: entries may be older than indexes. A
    /// store that takes no writes is listed all the same.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, org: &str) -> Result<Vec<String>, StoreError> {
        if org.is_empty() {
            return self.scan(None).await;
        }
        let engine = &self.0.engine;
        let (index, marker) = (names::index(org), names::marker(org));
        let (listed, migrated) = (engine.list(&index).await?, engine.exists(&marker).await?);
        let found_by_name = listed.is_none();
        let ids = match listed {
            Some(members) => members.iter().map(|member| names::id(member)).collect(),
            None if migrated => Vec::new(),
            None => self.scan(Some(org)).await?,
        };
        if !migrated && let Err(error) = self.migrate(org, &ids, found_by_name).await {
            tracing::warn!(
                org,
                "the certificates of an organisation are listed without their index being kept, so they \
                 are looked for again the next time: {error}"
            );
        }
        Ok(ids)
    }

    /// Removes an entry. Without an organisation it is the one that the id names. That there was none is
    /// no error.
    ///
    /// # Errors
    /// [`StoreError`]; the entry may be gone though it is still listed.
    pub async fn remove(&self, id: &str, org: Option<&str>) -> Result<(), StoreError> {
        let engine = &self.0.engine;
        let removed = engine.remove(&[names::entry(id)]).await?;
        let mut orgs: Vec<&str> = org.into_iter().chain(names::org(id)).collect();
        orgs.dedup();
        for org in orgs.into_iter().filter(|org| !org.is_empty()) {
            engine
                .list_remove(&names::index(org), &names::member(id))
                .await?;
        }
        if removed > 0 {
            tracing::info!(id, "certificate removed");
        }
        self.changed(id).await;
        Ok(())
    }

    /// Keeps an index of entries that were found by their names, and that they need not be looked for.
    async fn migrate(
        &self,
        org: &str,
        ids: &[String],
        found_by_name: bool,
    ) -> Result<(), StoreError> {
        let engine = &self.0.engine;
        if found_by_name && !ids.is_empty() {
            let members: Vec<String> = ids.iter().map(|id| names::member(id)).collect();
            engine.list_append(&names::index(org), &members).await?;
        }
        let (marker, value) = (names::marker(org), Bytes::from_static(b"1"));
        engine
            .set(&marker, value, Lifetime::Forever, Condition::Always)
            .await?;
        Ok(())
    }

    /// Looks for entries by name, of one organisation or of all.
    async fn scan(&self, org: Option<&str>) -> Result<Vec<String>, StoreError> {
        let prefix = names::entry(org.unwrap_or_default());
        let found = self.0.engine.keys_with_prefix(&prefix).await?;
        let mut ids: Vec<String> = found
            .iter()
            .filter_map(|name| {
                let id = names::id_of_entry(name)?;
                org.is_none_or(|org| names::org(id) == Some(org))
                    .then(|| id.to_owned())
            })
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Tells every node. What was done stays done when that fails: the others look by themselves.
    async fn changed(&self, id: &str) {
        let signal = Signal::CertificateChanged { id: id.to_owned() };
        if let Err(error) = self.0.signals.send(&signal).await {
            tracing::warn!(
                id,
                "other nodes were not told of a changed certificate and notice it later: {error}"
            );
        }
    }
}

/// Does work that takes its time where it holds up nobody else.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is ending, and whoever waits with it.
        Err(_) => std::future::pending().await,
    }
}
