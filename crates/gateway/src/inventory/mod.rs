//! Every certificate this gateway knows of: where it is, what it is for, when it ends, and what would
//! break without it.
//!
//! The inventory is made when somebody asks, of what configuration and definitions name and of what is
//! in files and in the store at that moment.
//!
//! Invariants:
//! - Whatever is named is listed, also what cannot be read, with the reason.
//! - Nothing of a private key is in it but whether there is one.

mod impact;
mod uses;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use openssl::x509::X509;
use portcullis_config::GatewayConfig;
use portcullis_pki::{CertificateFacts, Entry, Reference, reference::load_bundle};
use portcullis_store::{Certificates, StoreError, certificates::Stored};
use serde::Serialize;

pub use self::{
    impact::Loss,
    uses::{Role, UsedBy, users_of},
};
use crate::{
    certificates::with_causes, control::LoadedSet, observe::CertificateExpiry, stores::Stores,
};

/// One certificate of the inventory.
#[derive(Debug, Clone)]
pub struct Known {
    /// Where it is.
    pub source: Source,
    /// What it says; `None` when it cannot be read.
    pub facts: Option<CertificateFacts>,
    /// A private key is with it.
    pub has_private: bool,
    /// Why it cannot be used.
    pub problem: Option<String>,
    /// Where it is named.
    pub used_by: Vec<UsedBy>,
    /// What would be lost without it.
    pub losses: Vec<Loss>,
}

/// Where a certificate is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Source {
    /// An entry of the certificate store.
    Store {
        /// Its id.
        id: String,
    },
    /// A file, and which of the certificates in it where there are several.
    File {
        /// Its path.
        file: PathBuf,
        /// From 0.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<usize>,
    },
    /// Written into the configuration or a definition.
    Inline {
        /// Tells it from others.
        number: usize,
    },
}

/// What an entry of the store holds, as far as the inventory shows it.
struct Shown {
    facts: Option<CertificateFacts>,
    has_private: bool,
    problem: Option<String>,
    absent: bool,
}

impl Shown {
    fn of(_: &str, stored: Stored) -> Self {
        let nothing = Self {
            facts: None,
            has_private: false,
            problem: None,
            absent: false,
        };
        match stored {
            Stored::Absent => Self {
                absent: true,
                ..nothing
            },
            Stored::Unreadable(error) => Self {
                problem: Some(error.to_string()),
                ..nothing
            },
            Stored::Entry(entry) => {
                let has_private = entry.has_private_key();
                let facts = match &entry {
                    Entry::Certificate(bundle) => bundle.certificates.first().map(facts_of),
                    Entry::PublicKey(_) => None,
                };
                let problem = match (&entry, &facts) {
                    (Entry::PublicKey(_), _) => Some("it is a public key alone".to_owned()),
                    (_, Some(Err(error))) => Some(error.clone()),
                    _ => None,
                };
                Self {
                    facts: facts.and_then(Result::ok),
                    has_private,
                    problem,
                    ..nothing
                }
            }
        }
    }
}

fn facts_of(certificate: &X509) -> Result<CertificateFacts, String> {
    CertificateFacts::of(certificate).map_err(|error| error.to_string())
}

/// Makes the inventory. Entries of the store that nobody names are in it too, those of one organisation
/// when `org` is given.
///
/// # Errors
/// [`StoreError`] when the store does not answer.
pub async fn collect(
    config: &GatewayConfig,
    loaded: &LoadedSet,
    store: &Certificates,
    org: &str,
) -> Result<Vec<Known>, StoreError> {
    let ids = store.list(org).await?;
    let mut known = read(uses::all(config, loaded), ids, config, store).await?;
    impact::judge(&mut known, config, loaded);
    Ok(known)
}

/// One entry of the store as it stands in the inventory, and the key that belongs to it: the one Certificate
/// Auth finds by this id. That a key of another name is bound to it stands in that key alone, and keys are not
/// read through for it.
///
/// # Errors
/// [`StoreError`] when the store does not answer.
pub async fn one(
    config: &GatewayConfig,
    loaded: &LoadedSet,
    stores: &Stores,
    id: &str,
) -> Result<Option<Known>, StoreError> {
    let (named, ids) = (uses::all(config, loaded), vec![id.to_owned()]);
    // With all that is named: what is lost without it depends on the others.
    let mut known = read(named, ids, config, stores.certificates()).await?;
    let it = known
        .iter()
        .position(|known| matches!(&known.source, Source::Store { id: own } if own == id));
    let Some(it) = it else {
        return Ok(None);
    };
    if let Some(org) = organisation(id)
        && let Some(found) = stores.sessions().find_certificate(org, id).await?
    {
        known[it].used_by.push(UsedBy::key_named(found.name));
    }
    impact::judge(&mut known, config, loaded);
    Ok(Some(known.swap_remove(it)))
}

/// The organisation in an id of the store: what stands before the digits.
pub fn organisation(id: &str) -> Option<&str> {
    id.get(..id.len().checked_sub(64)?)
}

/// When certificates end that are named for something else than to be served.
///
/// # Errors
/// [`StoreError`] when the store does not answer.
pub async fn beside_served(
    config: &GatewayConfig,
    loaded: &LoadedSet,
    store: &Certificates,
) -> Result<Vec<CertificateExpiry>, StoreError> {
    let mut named = uses::all(config, loaded);
    for named in &mut named {
        named.used_by.retain(|user| user.role != Role::Server);
    }
    named.retain(|named| !named.used_by.is_empty());
    let known = read(named, Vec::new(), config, store).await?;
    let ends = |known: Known| {
        let facts = known.facts?;
        let user = known.used_by.first()?;
        Some(CertificateExpiry {
            role: user.role.name(),
            id: facts.fingerprint.to_string(),
            name: facts.dns_names.first().unwrap_or(&facts.subject_cn).clone(),
            not_after: facts.not_after,
        })
    };
    Ok(known.into_iter().filter_map(ends).collect())
}

/// Reads what is named, and entries of the store.
async fn read(
    mut named: Vec<uses::Named>,
    mut ids: Vec<String>,
    config: &GatewayConfig,
    store: &Certificates,
) -> Result<Vec<Known>, StoreError> {
    let mut of_id: HashMap<String, usize> = HashMap::new();
    ids.extend(named.iter().filter_map(uses::Named::store_id));
    ids.retain(|id| {
        let next = of_id.len();
        let new = !of_id.contains_key(id);
        if new {
            of_id.insert(id.clone(), next);
        }
        new
    });
    let entries = store.read(&ids, Shown::of).await?;

    // What is named by id and is in the store is there; the rest are files and inline PEM.
    let mut used: Vec<Vec<UsedBy>> = ids.iter().map(|_| Vec::new()).collect();
    named.retain_mut(|named| {
        let place = named.store_id().and_then(|id| of_id.get(&id).copied());
        let Some(place) = place.filter(|place| !entries[*place].absent) else {
            return true;
        };
        used[place].append(&mut named.used_by);
        false
    });
    let stored = ids.into_iter().zip(entries).zip(used);
    let mut known: Vec<Known> = stored
        .filter(|((_, entry), _)| !entry.absent)
        .map(|((id, entry), used_by)| Known {
            source: Source::Store { id },
            facts: entry.facts,
            has_private: entry.has_private,
            problem: entry.problem,
            used_by,
            losses: Vec::new(),
        })
        .collect();

    let (passphrase, base) = (config.key_passphrase().clone(), config.base.clone());
    let read = tokio::task::spawn_blocking(move || {
        let mut inline = 0;
        let mut known = Vec::new();
        for named in named {
            let resolve = |path: &Path| base.resolve(path);
            known.extend(named.read(resolve, Some(passphrase.reveal()), &mut inline));
        }
        known
    });
    match read.await {
        Ok(read) => known.extend(read),
        // The runtime ends, and with it whoever asked.
        Err(error) if error.is_cancelled() => {}
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
    Ok(known)
}

impl uses::Named {
    /// The id, of a reference that may be one of the store.
    fn store_id(&self) -> Option<String> {
        match Reference::classify(&self.reference) {
            Reference::StoreId(id) if self.takes_ids => Some(id.to_owned()),
            _ => None,
        }
    }

    /// Reads a file or inline PEM.
    fn read(
        self,
        resolve: impl Fn(&Path) -> PathBuf,
        passphrase: Option<&str>,
        inline: &mut usize,
    ) -> Vec<Known> {
        let (text, source) = match Reference::classify(&self.reference) {
            Reference::Inline(text) => {
                *inline += 1;
                (text.to_owned(), Source::Inline { number: *inline })
            }
            Reference::StoreId(name) => file(resolve(name.as_ref())),
            Reference::Path(path) => file(resolve(path)),
        };
        let found = load_bundle(&text, passphrase);
        let (certificates, has_private, mut problem) = match found {
            Ok((bundle, ..)) => (bundle.certificates, bundle.key.is_some(), None),
            Err(error) => (Vec::new(), false, Some(with_causes(&error))),
        };
        let whole = self.used_by.iter().any(|user| user.role == Role::Trust);
        if certificates.is_empty() && problem.is_none() {
            problem = Some("it holds no certificate".to_owned());
        }
        if certificates.is_empty() {
            return vec![Known {
                source,
                facts: None,
                has_private,
                problem,
                used_by: self.used_by,
                losses: Vec::new(),
            }];
        }
        // Of a chain the first counts, of a list of authorities each.
        let counted = if whole { certificates.len() } else { 1 };
        let several = counted > 1;
        certificates
            .iter()
            .take(counted)
            .enumerate()
            .map(|(index, certificate)| {
                let facts = facts_of(certificate);
                Known {
                    source: match &source {
                        Source::File { file, .. } => Source::File {
                            file: file.clone(),
                            position: several.then_some(index),
                        },
                        other => other.clone(),
                    },
                    problem: facts.as_ref().err().cloned(),
                    facts: facts.ok(),
                    has_private: has_private || self.has_key,
                    used_by: self.used_by.clone(),
                    losses: Vec::new(),
                }
            })
            .collect()
    }
}

fn file(path: PathBuf) -> (String, Source) {
    let text = path.to_string_lossy().into_owned();
    let source = Source::File {
        file: path,
        position: None,
    };
    (text, source)
}
