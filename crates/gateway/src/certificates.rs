//! Server certificates as they were last read, and whether their files have changed since.
//!
//! Invariants:
//! - A file is read again only when it changed.
//! - A certificate that was usable stays in use when its file turns bad; the error says which file
//!   and why until it is mended.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_config::{BasePaths, CertificatePair, Secret};
use portcullis_pki::{
    CertifiedKey, Loaded, Reference, ReferenceError, file::FileStamp, load, load_pair,
};

/// Every certificate that configuration or a definition names.
pub struct Certificates {
    passphrase: Secret,
    base: BasePaths,
    held: HashMap<String, Held>,
}

struct Held {
    /// The last good one.
    key: Option<Arc<CertifiedKey>>,
    /// What its files looked like when they were last read.
    seen: Vec<(PathBuf, Option<FileStamp>)>,
    /// Why the last reading failed.
    failure: Option<String>,
    repaired: bool,
    used: bool,
}

/// What asking for a certificate gave.
pub struct Found {
    /// The certificate, unless there never was a good one.
    pub key: Option<Arc<CertifiedKey>>,
    /// What is wrong with its source now.
    pub failure: Option<String>,
    /// Its PEM had to be repaired.
    pub repaired: bool,
}

impl Certificates {
    /// None yet. `passphrase` opens encrypted keys, `base` resolves relative paths.
    pub fn new(passphrase: Secret, base: BasePaths) -> Self {
        Self {
            passphrase,
            base,
            held: HashMap::new(),
        }
    }

    /// The certificate and key that a reference names.
    pub fn of_reference(&mut self, reference: &str) -> Found {
        let path = match Reference::classify(reference) {
            Reference::Inline(_) => None,
            Reference::StoreId(name) => Some(self.base.resolve(name)).filter(|path| path.exists()),
            Reference::Path(path) => Some(self.base.resolve(path)),
        };
        let passphrase = self.passphrase.clone();
        let text = path.as_ref().map_or(reference.to_owned(), |path| {
            path.to_string_lossy().into_owned()
        });
        self.find(reference.to_owned(), path.into_iter().collect(), || {
            load(&text, Some(passphrase.reveal()))
        })
    }

    /// The certificate and key of an entry of `http_server_options.certificates`.
    pub fn of_pair(&mut self, pair: &CertificatePair) -> Found {
        let (chain, key) = (
            self.base.resolve(&pair.cert_file),
            self.base.resolve(&pair.key_file),
        );
        let passphrase = self.passphrase.clone();
        let name = format!("{}\0{}", pair.cert_file, pair.key_file);
        self.find(name, vec![chain.clone(), key.clone()], || {
            load_pair(&chain, &key, Some(passphrase.reveal()))
        })
    }

    /// True when a file has changed since it was read.
    pub fn have_changed(&self) -> bool {
        self.held
            .values()
            .flat_map(|held| &held.seen)
            .any(|(path, seen)| stamp(path) != *seen)
    }

    /// Forgets what nobody has asked for since the last call.
    pub fn forget_unused(&mut self) {
        self.held.retain(|_, held| std::mem::take(&mut held.used));
    }

    fn find(
        &mut self,
        name: String,
        paths: Vec<PathBuf>,
        load: impl FnOnce() -> Result<Loaded, ReferenceError>,
    ) -> Found {
        let held = self.held.entry(name).or_insert_with(|| Held {
            key: None,
            seen: Vec::new(),
            failure: None,
            repaired: false,
            used: false,
        });
        let fresh = held.key.is_none() && held.failure.is_none();
        if fresh || held.seen.iter().any(|(path, seen)| stamp(path) != *seen) {
            // Taken before reading: a change during it is seen the next time.
            held.seen = paths
                .into_iter()
                .map(|path| (path.clone(), stamp(&path)))
                .collect();
            match load() {
                Ok(loaded) => {
                    held.key = Some(Arc::new(loaded.pair));
                    held.repaired = loaded.repaired;
                    held.failure = None;
                }
                Err(error) => held.failure = Some(chain(&error)),
            }
        }
        held.used = true;
        Found {
            key: held.key.clone(),
            failure: held.failure.clone(),
            repaired: held.repaired,
        }
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    FileStamp::of(path).ok()
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
