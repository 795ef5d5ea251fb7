//! Revocation lists: those of the gateway, those an API adds, and what is wrong with them.
//!
//! Invariants:
//! - An entry that leads to no list at all refuses everybody it could have spoken about (strict), since nobody
//!   knows for whom it would have.
//! - A list that was good stays in force when its source turns bad, also when what came instead is not
//!   signed by whom it names; it is said until the source is mended.
//! - A list that runs out is said when it does, without anybody having changed a file.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use openssl::x509::X509;
use portcullis_apidef::{Api, CrlMode};
use portcullis_config::{BasePaths, Secret};
use portcullis_pki::{
    Crl, Fingerprint, Revocation,
    crl::{AHEAD, CrlSource, Mode, revocation::told as time},
};

use super::{Builder, Finding, error, told, warning};
use crate::{
    certificates::{Certificates, Failure},
    clients::unix_now,
    observe::CrlExpiry,
};

/// The key of the gateway's own lists.
const EVERYWHERE: &str = "portcullis.client_crls";

/// The revocation lists a builder knows.
pub(super) struct Crls {
    sources: Certificates<CrlSource>,
    /// By the numbers of references: what was last read that is signed by whom it names, as far as that is
    /// known.
    good: HashMap<usize, Arc<CrlSource>>,
    everywhere: Scope,
    in_use: Vec<CrlInUse>,
    /// When something is to be said that is not to be said now, Unix time.
    next_look: i64,
}

/// The lists of one place of configuration.
#[derive(Clone, Default)]
struct Scope {
    lists: Vec<Arc<Crl>>,
    issuers: Vec<X509>,
    unreadable: Vec<String>,
    /// All of it, prepared.
    revocation: Arc<Revocation>,
}

/// A reference to lists.
#[derive(Debug)]
pub struct CrlInUse {
    number: usize,
    /// Where it stands: a key, an API.
    pub place: String,
    /// As it may be shown.
    pub reference: String,
    /// What becomes of clients about whom it cannot tell.
    pub mode: Mode,
    /// The lists in force.
    pub lists: Vec<Arc<Crl>>,
    /// What is wrong, and what follows from it.
    pub problems: Vec<String>,
    /// A list stays in force although its source has turned bad.
    outlives: bool,
    repaired: bool,
}

impl Crls {
    pub(super) fn new(passphrase: Secret, base: BasePaths) -> Self {
        Self {
            sources: Certificates::new(passphrase, base, None),
            good: HashMap::new(),
            everywhere: Scope::default(),
            in_use: Vec::new(),
            next_look: i64::MAX,
        }
    }

    /// True when a source has changed since the last build, or something has to be said.
    pub(super) fn have_changed(&self) -> bool {
        self.sources.have_changed() || unix_now() >= self.next_look
    }

    /// Reads what references lead to.
    fn scope(&mut self, place: &str, references: &[&str], mode: Mode, known: &[X509]) -> Scope {
        let mut scope = Scope::default();
        for reference in references {
            let found = self.sources.of_reference(reference);
            let mut entry = CrlInUse {
                number: found.number,
                place: place.to_owned(),
                reference: told(reference).to_owned(),
                mode,
                lists: Vec::new(),
                problems: Vec::new(),
                outlives: false,
                repaired: false,
            };
            let failure = found.failure.map(|failure| match failure {
                Failure::Said(failure) => failure,
                Failure::StoreAway | Failure::StoreClosed => format!("{reference} is no file"),
            });
            match found.key {
                Some(source) => {
                    if let Some(failure) = failure {
                        entry.outlives(&failure);
                    }
                    let source = self.signed(&mut entry, source, known);
                    scope.lists.extend(source.lists.iter().cloned());
                    scope.issuers.extend(source.issuers.iter().cloned());
                    entry.lists.clone_from(&source.lists);
                }
                None => {
                    let failure = failure.unwrap_or_else(|| "it cannot be read".to_owned());
                    entry.problem(&failure, "every client here is refused until it is mended");
                    scope
                        .unreadable
                        .push(format!("revocation list {}: {failure}", entry.reference));
                }
            }
            entry.repaired = found.repaired;
            self.in_use.push(entry);
        }
        scope
    }

    /// The lists of a source, unless one is not signed by whom it names and there was a better one.
    fn signed(
        &mut self,
        entry: &mut CrlInUse,
        source: Arc<CrlSource>,
        known: &[X509],
    ) -> Arc<CrlSource> {
        let issuers = || known.iter().chain(&source.issuers);
        let foreign = source.lists.iter().find(|list| is_foreign(list, issuers()));
        match (foreign, self.good.get(&entry.number)) {
            (Some(list), Some(good)) if !Arc::ptr_eq(good, &source) => {
                entry.outlives(&format!(
                    "the list in the name of `{}` is not signed by it",
                    list.issuer()
                ));
                good.clone()
            }
            _ => {
                self.good.insert(entry.number, source.clone());
                source
            }
        }
    }

    /// Says what is wrong with lists in use at a time (Unix seconds), now that every issuer there is is
    /// known; the lists in use.
    fn finish(&mut self, known: &[X509], at: i64, findings: &mut Vec<Finding>) -> Vec<CrlInUse> {
        for entry in &mut self.in_use {
            let source = self.good.get(&entry.number);
            let beside = source.map_or(&[][..], |source| &source.issuers);
            for list in entry.lists.clone() {
                let issuer = list.issuer();
                let refused = "its clients are refused";
                if is_foreign(&list, known.iter().chain(beside)) {
                    let problem = format!("the list in the name of `{issuer}` is not signed by it");
                    entry.problem(&problem, refused);
                }
                if list.this_update() > at + AHEAD {
                    let begins = time(list.this_update());
                    let problem =
                        format!("the list of `{issuer}` is from {begins}, which is ahead");
                    entry.problem(&problem, refused);
                    self.next_look = self.next_look.min(list.this_update() - AHEAD);
                }
                if list.next_update() < at {
                    let ended = time(list.next_update());
                    let problem = format!("the list of `{issuer}` was good until {ended}");
                    entry.problem(&problem, refused);
                } else {
                    self.next_look = self.next_look.min(list.next_update().saturating_add(1));
                }
            }
            if entry.repaired {
                let said = "a revocation list had lost its line breaks and was repaired";
                findings.push(warning(&entry.place, said.to_owned()));
            }
            for problem in &entry.problems {
                let message = format!("revocation list {}: {problem}", entry.reference);
                findings.push(match entry.mode == Mode::Strict || entry.outlives {
                    true => error(&entry.place, message),
                    false => warning(&entry.place, message),
                });
            }
        }
        self.sources.forget_unused();
        let used: BTreeSet<usize> = self.in_use.iter().map(|entry| entry.number).collect();
        self.good.retain(|number, _| used.contains(number));
        std::mem::take(&mut self.in_use)
    }
}

impl CrlInUse {
    /// What is wrong with it, each with its place.
    pub fn told(&self) -> impl Iterator<Item = String> {
        let Self {
            place, reference, ..
        } = self;
        let problems = self.problems.iter();
        problems.map(move |problem| format!("{place}: {reference}: {problem}"))
    }

    /// When its lists run out.
    pub fn ends(&self) -> impl Iterator<Item = CrlExpiry> {
        self.lists.iter().map(|list| CrlExpiry {
            issuer: list.issuer().to_owned(),
            list: self.reference.clone(),
            next_update: list.next_update(),
        })
    }

    fn problem(&mut self, what: &str, strict: &str) {
        self.problems.push(match self.mode {
            Mode::Strict => format!("{what}; {strict} (crl_mode strict)"),
            Mode::Lenient => format!("{what}; it does not count (crl_mode lenient)"),
        });
    }

    fn outlives(&mut self, what: &str) {
        self.outlives = true;
        self.problems.push(format!(
            "{what}; the list that was read before stays in force while it is good"
        ));
    }
}

impl Scope {
    fn prepared(&self, mode: Mode) -> Arc<Revocation> {
        Arc::new(Revocation::new(
            mode,
            self.lists.clone(),
            self.issuers.clone(),
            self.unreadable.clone(),
        ))
    }
}

/// Whether a list has the name of a known issuer and is signed by none of them.
fn is_foreign<'a>(list: &Crl, issuers: impl Iterator<Item = &'a X509>) -> bool {
    let mut named = issuers
        .filter(|issuer| list.is_of(issuer.subject_name()))
        .peekable();
    named.peek().is_some() && !named.any(|issuer| list.is_signed_by(issuer))
}

impl Builder {
    /// Reads the lists that count everywhere.
    pub(super) fn crls_everywhere(&mut self) {
        // Whatever was left by a build that failed.
        self.crls.in_use.clear();
        self.crls.next_look = i64::MAX;
        let config = self.config.clone();
        let references: Vec<&str> = config
            .security
            .client_crls
            .iter()
            .map(String::as_str)
            .collect();
        let mode = mode_of(config.security.crl_mode);
        let known = match references.is_empty() {
            true => Vec::new(),
            false => self.known_authorities(),
        };
        let mut scope = self.crls.scope(EVERYWHERE, &references, mode, &known);
        scope.revocation = scope.prepared(mode);
        self.crls.everywhere = scope;
    }

    /// What counts where nothing of its own is said.
    pub(super) fn revocation_everywhere(&self) -> Arc<Revocation> {
        self.crls.everywhere.revocation.clone()
    }

    /// What counts for an API: the gateway's lists and its own.
    pub(super) fn revocation(&mut self, api: &Api, findings: &mut Vec<Finding>) -> Arc<Revocation> {
        let (own, mode) = (&api.client_crls.lists, api.client_crls.mode);
        let place = format!("API {}", api.id);
        if api.client_certificates.is_none() && !api.authentication.regards_certificates() {
            if !own.is_empty() {
                let said = "client_crls has no effect: the API looks at no client certificates";
                findings.push(warning(&place, said.to_owned()));
            }
            return Arc::default();
        }
        if own.is_empty() && mode.is_none() {
            return self.revocation_everywhere();
        }
        let mode = match mode {
            Some(CrlMode::Strict) => Mode::Strict,
            Some(CrlMode::Lenient) => Mode::Lenient,
            None => mode_of(self.config.security.crl_mode),
        };
        let known = match own.is_empty() {
            true => Vec::new(),
            false => self.known_authorities(),
        };
        let references: Vec<&str> = own.iter().map(|reference| reference.0.as_str()).collect();
        let mut scope = self.crls.scope(&place, &references, mode, &known);
        let everywhere = &self.crls.everywhere;
        scope.lists.extend(everywhere.lists.iter().cloned());
        scope.issuers.extend(everywhere.issuers.iter().cloned());
        scope
            .unreadable
            .extend(everywhere.unreadable.iter().cloned());
        scope.prepared(mode)
    }

    /// Says what is wrong with the lists in use; these.
    pub(super) fn crls_in_use(&mut self, findings: &mut Vec<Finding>) -> Vec<CrlInUse> {
        let known = match self.crls.in_use.is_empty() {
            true => Vec::new(),
            false => self.known_authorities(),
        };
        self.crls.finish(&known, unix_now(), findings)
    }

    /// True when revocation lists have changed since the last build, or one has run out.
    pub fn revocations_changed(&self) -> bool {
        self.crls.have_changed()
    }

    /// Authorities of allow lists, each once.
    fn known_authorities(&self) -> Vec<X509> {
        let mut known: HashMap<Fingerprint, X509> = HashMap::new();
        let lists = self.lists.values().chain(&self.control_list);
        for authority in lists.flat_map(|list| list.allow_list().authorities()) {
            if let Ok(fingerprint) = Fingerprint::of(authority) {
                known
                    .entry(fingerprint)
                    .or_insert_with(|| authority.clone());
            }
        }
        known.into_values().collect()
    }
}

fn mode_of(mode: portcullis_config::CrlMode) -> Mode {
    match mode {
        portcullis_config::CrlMode::Strict => Mode::Strict,
        portcullis_config::CrlMode::Lenient => Mode::Lenient,
    }
}
