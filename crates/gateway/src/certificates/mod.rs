//! Certificates that configuration and definitions name, as they were last read: from files, from the
//! configuration itself, from the certificate store.
//!
//! Invariants:
//! - A reference means inline PEM, an entry of the store, or a file, the first that there is.
//! - A file is read again only when it changed, an entry only when it is said to have changed.
//! - A certificate that is served stays in use when its source turns bad, one that lets somebody pass
//!   does not; both stay while the store is away. What is said names the source and the reason until it
//!   is mended. An entry that was deleted is out.
//! - What enters service is usable for what it is read for ([`Content`]).

mod content;
mod pinned;
mod store;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use portcullis_config::{BasePaths, CertificatePair, Secret};
use portcullis_pki::{
    CertifiedKey, EntryError, Fingerprint, Reference, ReferenceError, file::FileStamp,
};
use portcullis_store::StoreError;
use slab::Slab;

use self::store::Answer;
pub use self::{
    content::{Content, ListedCertificates},
    pinned::PinnedKey,
    store::StoreAccess,
};

/// Every certificate that configuration or a definition names.
pub struct Certificates<C> {
    passphrase: Secret,
    base: BasePaths,
    store: Option<StoreAccess>,
    numbers: HashMap<Arc<str>, usize>,
    held: Slab<Held<C>>,
    /// Why the store gave no answer when it was last asked.
    away: Option<StoreError>,
}

/// What is known of one reference.
struct Held<C> {
    name: Arc<str>,
    /// The last good one.
    key: Option<Arc<C>>,
    /// What the store said, of a reference that may be an entry's id.
    entry: Option<EntryState>,
    /// What its files looked like when they were last read.
    seen: Vec<(PathBuf, Option<FileStamp>)>,
    /// Why the last reading failed.
    failure: Option<Box<str>>,
    /// Inline PEM that had lost its line breaks.
    repaired: bool,
    /// Files and inline PEM: it has been read.
    read: bool,
    used: bool,
}

/// What the store said of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EntryState {
    /// Nothing yet, or it did not answer.
    Unknown,
    Absent,
    /// It is there, with so many bytes.
    Present(u64),
}

/// What asking for a certificate gave.
pub struct Found<C> {
    /// The number of the reference, the same until nobody asks for it in a whole build.
    pub number: usize,
    /// The certificate, unless there never was a good one.
    pub key: Option<Arc<C>>,
    /// What is wrong with its source now.
    pub failure: Option<Failure>,
    /// Its PEM had to be repaired.
    pub repaired: bool,
}

/// What is wrong with a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// This.
    Said(String),
    /// The store was not there to be asked; said once for all, see [`Certificates::away`].
    StoreAway,
    /// Nobody looks into the store.
    StoreClosed,
}

/// A reference that may be an entry of the store.
#[derive(Debug, Clone)]
pub struct StoredReference {
    /// The id.
    pub id: Arc<str>,
    /// The length of the entry as it was last read; `None` when there was none.
    pub length: Option<u64>,
}

impl<C: Content> Certificates<C> {
    /// None yet. `passphrase` opens encrypted keys, `base` resolves relative paths.
    pub fn new(passphrase: Secret, base: BasePaths, store: Option<StoreAccess>) -> Self {
        Self {
            passphrase,
            base,
            store,
            numbers: HashMap::new(),
            held: Slab::new(),
            away: None,
        }
    }

    /// Lets the store be asked again though it gave no answer before.
    pub fn ask_again(&mut self) {
        self.away = None;
    }

    /// Asks the store for whatever of these references it has not answered yet, all at once. One that
    /// gives no answer is not asked for more.
    pub fn prepare<'a>(&mut self, references: impl Iterator<Item = &'a str>) {
        if self.store.is_none() {
            return;
        }
        let mut asked: Vec<usize> = Vec::new();
        for reference in references {
            let Reference::StoreId(id) = Reference::classify(reference) else {
                continue;
            };
            let number = self.number(id);
            let held = &mut self.held[number];
            let settled = matches!(held.entry, Some(EntryState::Present(_)));
            if !settled || held.failure.is_some() {
                // A reference may be repeated, but is asked for once.
                held.entry = Some(EntryState::Unknown);
                asked.push(number);
            }
        }
        asked.sort_unstable();
        asked.dedup();
        if asked.is_empty() || self.away.is_some() {
            return;
        }
        let ids: Vec<String> = asked
            .iter()
            .map(|number| self.held[*number].name.to_string())
            .collect();
        let Some(store) = &self.store else { return };
        let (answers, away) = store.read(&ids, &self.passphrase);
        self.away = away;
        for (number, answer) in asked.into_iter().zip(answers) {
            if let Some(answer) = answer {
                self.settle(number, answer);
            }
        }
    }

    /// Takes in what the store holds now under these ids; the numbers of references that lead to
    /// another certificate, or to none, since then.
    pub fn update(&mut self, entries: &[(String, Option<Bytes>)]) -> Vec<usize> {
        let mut changed = Vec::new();
        for (id, text) in entries {
            let Some(number) = self.numbers.get(id.as_str()).copied() else {
                continue;
            };
            let before = self.held[number].key.clone();
            let answer = Answer::of(text.as_deref(), &self.passphrase);
            self.settle(number, answer);
            if self.held[number].entry == Some(EntryState::Absent) {
                // A file of that name may be meant.
                self.by_file(number);
            }
            let held = &mut self.held[number];
            let same = match (&before, &held.key) {
                (Some(before), Some(now)) => Arc::ptr_eq(before, now) || before.same_as(now),
                (None, None) => true,
                _ => false,
            };
            if same {
                held.key = before;
            } else {
                changed.push(number);
            }
        }
        changed
    }

    /// The certificate and key that a reference names.
    pub fn of_reference(&mut self, reference: &str) -> Found<C> {
        match Reference::classify(reference) {
            Reference::Inline(text) => {
                let print = Fingerprint::of_der(text.as_bytes());
                let number = self.number(&format!("inline PEM {print}"));
                self.by_files(number, Vec::new(), |passphrase| {
                    C::of_text(text, passphrase)
                });
                self.found(number)
            }
            Reference::StoreId(id) => {
                let number = self.number(id);
                match self.held[number].entry {
                    Some(EntryState::Present(_)) => {}
                    _ => self.by_file(number),
                }
                self.found(number)
            }
            Reference::Path(path) => {
                let number = self.number(&path.to_string_lossy());
                self.by_file(number);
                self.found(number)
            }
        }
    }

    /// What is wrong with the source of a reference.
    pub fn failure(&self, name: &str) -> Option<&str> {
        let number = self.numbers.get(name)?;
        self.held.get(*number)?.failure.as_deref()
    }

    /// The certificate a number stands for.
    pub fn key(&self, number: usize) -> Option<&Arc<C>> {
        self.held.get(number)?.key.as_ref()
    }

    /// True when a file has changed since it was read.
    pub fn have_changed(&self) -> bool {
        self.held
            .iter()
            .flat_map(|(_, held)| &held.seen)
            .any(|(path, seen)| stamp(path) != *seen)
    }

    /// Why the store could not be asked for everything, and how many references wait for it.
    pub fn away(&self) -> Option<(&StoreError, usize)> {
        let unknown = |held: &Held<C>| held.entry == Some(EntryState::Unknown);
        let waiting = || self.held.iter().filter(|(_, held)| unknown(held)).count();
        self.away.as_ref().map(|error| (error, waiting()))
    }

    /// How many references lead to an entry of the store that cannot be used.
    pub fn unreadable(&self) -> usize {
        let unreadable = |held: &Held<C>| {
            matches!(held.entry, Some(EntryState::Present(_))) && held.failure.is_some()
        };
        self.held
            .iter()
            .filter(|(_, held)| unreadable(held))
            .count()
    }

    /// References that may be entries of the store.
    pub fn stored(&self) -> Vec<StoredReference> {
        let stored = |held: &Held<C>| {
            let length = match held.entry? {
                EntryState::Present(length) => Some(length),
                EntryState::Absent | EntryState::Unknown => None,
            };
            let id = held.name.clone();
            Some(StoredReference { id, length })
        };
        self.held
            .iter()
            .filter_map(|(_, held)| stored(held))
            .collect()
    }

    /// Forgets what nobody has asked for since the last call.
    pub fn forget_unused(&mut self) {
        let numbers = &mut self.numbers;
        self.held.retain(|_, held| {
            let used = std::mem::take(&mut held.used);
            if !used {
                numbers.remove(&held.name);
            }
            used
        });
    }

    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let name: Arc<str> = name.into();
        let number = self.held.insert(Held {
            name: name.clone(),
            key: None,
            entry: None,
            seen: Vec::new(),
            failure: None,
            repaired: false,
            read: false,
            used: false,
        });
        self.numbers.insert(name, number);
        number
    }

    /// Takes in what the store says of an entry.
    fn settle(&mut self, number: usize, answer: Answer<C>) {
        let held = &mut self.held[number];
        held.failure = None;
        held.seen.clear();
        held.read = false;
        match answer {
            Answer::Absent => {
                held.entry = Some(EntryState::Absent);
                held.key = None;
            }
            Answer::Entry { length, content } => {
                held.entry = Some(EntryState::Present(length));
                let content = content.map_err(|error| {
                    // Without a key it was stored to be something else.
                    if matches!(error, EntryError::NoKey) {
                        held.key = None;
                    }
                    format!("the store entry {} cannot be used: {error}", held.name)
                });
                held.take(content);
            }
        }
    }

    /// Reads the file that a reference names.
    fn by_file(&mut self, number: usize) {
        let held = &self.held[number];
        let name = held.name.clone();
        let path = self.base.resolve(&*name);
        // Of a file that nobody expects to be there none is looked for again and again.
        let id =
            held.entry.is_some() || matches!(Reference::classify(&name), Reference::StoreId(_));
        if id && !path.exists() {
            let failure = match (held.entry, &self.store) {
                (_, None) | (Some(EntryState::Unknown), _) => None,
                _ => Some(
                    with_causes(&ReferenceError::Unknown {
                        id: name.to_string(),
                    })
                    .into(),
                ),
            };
            let held = &mut self.held[number];
            held.failure = failure;
            held.seen.clear();
            // Of a file of this name that was there.
            if held.read && !C::OUTLIVES_ITS_SOURCE {
                held.key = None;
            }
            held.read = false;
            return;
        }
        let text = path.to_string_lossy().into_owned();
        self.by_files(number, vec![path], |passphrase| {
            C::of_text(&text, passphrase)
        });
    }

    fn by_files(
        &mut self,
        number: usize,
        paths: Vec<PathBuf>,
        load: impl FnOnce(&str) -> Result<(C, bool), ReferenceError>,
    ) {
        let held = &mut self.held[number];
        if held.read && !held.seen.iter().any(|(path, seen)| stamp(path) != *seen) {
            return;
        }
        // Taken before reading: a change during it is seen the next time.
        held.seen = paths
            .into_iter()
            .map(|path| (path.clone(), stamp(&path)))
            .collect();
        held.read = true;
        match load(self.passphrase.reveal()) {
            Ok((content, repaired)) => {
                held.repaired = repaired;
                held.take(Ok(content));
            }
            Err(error) => held.take(Err(with_causes(&error))),
        }
    }

    fn found(&mut self, number: usize) -> Found<C> {
        let closed = self.store.is_none();
        let held = &mut self.held[number];
        held.used = true;
        let may_be_stored = matches!(Reference::classify(&held.name), Reference::StoreId(_));
        let failure = match &held.failure {
            Some(said) => Some(Failure::Said(said.to_string())),
            None if held.entry == Some(EntryState::Unknown) && !held.read => {
                Some(Failure::StoreAway)
            }
            None if closed && may_be_stored && !held.read => Some(Failure::StoreClosed),
            None => None,
        };
        Found {
            number,
            key: held.key.clone(),
            failure,
            repaired: held.repaired,
        }
    }
}

impl Certificates<CertifiedKey> {
    /// The certificate and key of an entry of `http_server_options.certificates`.
    pub fn of_pair(&mut self, pair: &CertificatePair) -> Found<CertifiedKey> {
        let (chain, key) = (
            self.base.resolve(&pair.cert_file),
            self.base.resolve(&pair.key_file),
        );
        let number = self.number(&format!("{}\0{}", pair.cert_file, pair.key_file));
        let paths = vec![chain.clone(), key.clone()];
        self.by_files(number, paths, |passphrase| {
            content::of_pair(&chain, &key, passphrase)
        });
        self.found(number)
    }
}

impl<C: Content> Held<C> {
    /// Takes what was read into service, or keeps what was there before and remembers why.
    fn take(&mut self, content: Result<C, String>) {
        let usable = content.and_then(|content| match content.unusable() {
            Some(why) => Err(why),
            None => Ok(content),
        });
        match usable {
            Ok(content) => {
                self.key = Some(Arc::new(content));
                self.failure = None;
            }
            Err(said) => {
                self.failure = Some(said.into());
                if !C::OUTLIVES_ITS_SOURCE {
                    self.key = None;
                }
            }
        }
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    FileStamp::of(path).ok()
}

/// An error with its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
