//! Client certificates as requests meet them: who presented what, and whether a list lets them pass.
//!
//! Invariants:
//! - A verdict is remembered for one connection, one list and the time it was reached for; another list,
//!   also the same one after a change, is asked anew.
//! - Nobody passes a list who came without TLS or without a certificate.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use openssl::x509::X509;
use portcullis_apidef::ClientIdentity;
use portcullis_pki::{CertificateFacts, Fingerprint, PresentedChain, Refusal, Revocation};
use portcullis_policy::{AllowList, NotAllowed};

use crate::{
    access::certificate::Leaf,
    proxy::{identity::Told, view::Peer},
    snapshot::RunningApi,
};

/// The certificate a client presented, on the worker that serves its connection.
pub struct Client {
    chain: Arc<PresentedChain>,
    memory: RefCell<Option<Verdict>>,
    known: RefCell<Option<Known>>,
    told: Told,
}

/// What one list said.
struct Verdict {
    list: Arc<ClientList>,
    from: i64,
    until: i64,
    outcome: Result<(), NotAllowed>,
}

/// What revocation lists said of it where no allow list asks them.
struct Known {
    /// Of the lists.
    digest: [u8; 32],
    from: i64,
    until: i64,
    outcome: Result<(), Refusal>,
}

/// The allow list of an API.
pub struct ClientList {
    list: AllowList,
    /// The certificates that its entries name, whose ends are watched.
    in_use: InUse,
    /// It has been said that a listed authority vouches for certificates that are meant for servers.
    said: AtomicBool,
}

/// Certificates whose ends are watched while requests have to do with them.
pub struct InUse {
    watched: Vec<Watched>,
    /// A request met them since this was last asked.
    used: AtomicBool,
}

impl InUse {
    /// Certificates no request has met yet.
    #[must_use]
    pub fn new(watched: Vec<Watched>) -> Self {
        Self {
            watched,
            used: AtomicBool::new(false),
        }
    }

    /// The certificates.
    #[must_use]
    pub fn watched(&self) -> &[Watched] {
        &self.watched
    }

    /// Notes that a request has met them.
    pub fn note_use(&self) {
        // Read first: a flag that is written by nobody costs workers nothing to share.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a request has met them since this was last asked.
    pub fn take_use(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

/// When a certificate ends that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Which one.
    pub fingerprint: Fingerprint,
    /// What it calls itself: common name, else first host name, else fingerprint.
    pub name: String,
    /// Its last second of validity, Unix time.
    pub not_after: i64,
}

impl Watched {
    /// The certificates of an entry by which somebody may pass: the first, and of a bundle of authorities
    /// all. None of a bare public key.
    pub fn of(certificates: &[X509]) -> Vec<Self> {
        let facts = |certificate: &X509| CertificateFacts::of(certificate).ok();
        let mut facts = certificates.iter().filter_map(facts);
        let Some(first) = facts.next() else {
            return Vec::new();
        };
        let bundle = first.is_ca;
        let others = facts.filter(|facts| bundle && facts.is_ca);
        std::iter::once(first)
            .chain(others)
            .map(|facts| Self::of_facts(&facts))
            .collect()
    }

    /// A certificate that says this.
    pub fn of_facts(facts: &CertificateFacts) -> Self {
        let names = [Some(&facts.subject_cn), facts.dns_names.first()];
        let mut names = names.into_iter().flatten().filter(|name| !name.is_empty());
        Self {
            name: names
                .next()
                .cloned()
                .unwrap_or_else(|| facts.fingerprint.to_string()),
            fingerprint: facts.fingerprint,
            not_after: facts.not_after,
        }
    }
}

/// Why a client does not pass an allow list, in the words it is told (inbound sheet 5.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// The connection is not encrypted.
    #[error("TLS not enabled")]
    NoTls,
    /// It presented no certificate.
    #[error("Client TLS certificate is required")]
    NoCertificate,
    /// The certificate is listed and past its validity.
    #[error("Certificate has expired")]
    Expired,
    /// The certificate is listed and before its validity.
    #[error("Certificate is not yet valid")]
    NotYetValid,
    /// The entry that lists it has ended.
    #[error("Certificate is no longer allowed")]
    EntryOver,
    /// The entry that lists it has not begun.
    #[error("Certificate is not allowed yet")]
    EntryAhead,
    /// It, or an authority above it, was revoked.
    #[error("Certificate has been revoked")]
    Revoked(Refusal),
    /// Whether it was revoked cannot be told.
    #[error("Certificate revocation status is unknown")]
    RevocationUnknown(Refusal),
    /// No entry lets it pass.
    #[error("Certificate with SHA256 {0} not allowed")]
    NotAllowed(Fingerprint),
}

impl Barred {
    /// The flag by which rules for error answers name it.
    pub fn flag(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoTls | Self::NoCertificate => "CRQ",
            Self::Expired | Self::NotYetValid | Self::EntryOver | Self::EntryAhead => "TKE",
            Self::Revoked(_) | Self::RevocationUnknown(_) | Self::NotAllowed(_) => "CMM",
        })
    }
}

impl ClientList {
    /// A list nobody has been judged by, and the certificates its entries name.
    #[must_use]
    pub fn new(list: AllowList, watched: Vec<Watched>) -> Self {
        Self {
            list,
            in_use: InUse::new(watched),
            said: AtomicBool::new(false),
        }
    }

    /// The list.
    #[must_use]
    pub fn allow_list(&self) -> &AllowList {
        &self.list
    }

    /// The certificates its entries name.
    #[must_use]
    pub fn watched(&self) -> &[Watched] {
        self.in_use.watched()
    }

    /// Notes that a request has met the list.
    pub fn note_use(&self) {
        self.in_use.note_use();
    }

    /// Whether a request has met the list since this was last asked.
    pub fn take_use(&self) -> bool {
        self.in_use.take_use()
    }

    /// Judges a chain now.
    fn judge(&self, chain: &PresentedChain, at: i64) -> (i64, Result<(), NotAllowed>) {
        match self.list.judge(chain, at) {
            Ok(allowed) => {
                if allowed.for_servers_only && !self.said.swap(true, Ordering::Relaxed) {
                    let issuer = chain.leaf().issuer_name();
                    tracing::warn!(
                        issuer = portcullis_pki::names::distinguished_name(issuer),
                        "a client certificate passes by its listed issuer although its extended key usage \
                         names servers only; have its issuer add clientAuth"
                    );
                }
                (allowed.until, Ok(()))
            }
            // What refuses may be over a second later.
            Err(refused) => (at, Err(refused)),
        }
    }
}

impl Client {
    /// What a handshake has let in.
    #[must_use]
    pub fn new(chain: Arc<PresentedChain>) -> Self {
        Self {
            chain,
            memory: RefCell::new(None),
            known: RefCell::new(None),
            told: Told::default(),
        }
    }

    /// Hands every field that an upstream is to be told of the certificate to `each`.
    pub fn tell(&self, wanted: ClientIdentity, each: &mut dyn FnMut(&str, &[u8])) {
        self.told.each(wanted, &self.chain, each);
    }

    /// What it presented.
    #[must_use]
    pub fn chain(&self) -> &PresentedChain {
        &self.chain
    }

    /// SHA-256 of its certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.chain.fingerprint()
    }

    /// The certificate whose key it has proven.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        Leaf::of(&self.chain)
    }

    /// Whether a list lets this client pass now.
    ///
    /// # Errors
    /// [`Barred`].
    pub fn passes(&self, list: &Arc<ClientList>) -> Result<(), Barred> {
        let now = unix_now();
        let mut memory = self.memory.borrow_mut();
        let known = memory.as_ref().filter(|verdict| {
            Arc::ptr_eq(&verdict.list, list) && (verdict.from..=verdict.until).contains(&now)
        });
        let outcome = match known {
            Some(verdict) => verdict.outcome.clone(),
            None => {
                let (until, outcome) = list.judge(&self.chain, now);
                *memory = Some(Verdict {
                    list: list.clone(),
                    from: now,
                    until,
                    outcome: outcome.clone(),
                });
                outcome
            }
        };
        outcome.map_err(|refused| Barred::by(&refused, &self.chain))
    }

    /// Whether no revocation list has this certificate, whoever is trusted (Certificate Auth).
    ///
    /// # Errors
    /// [`Barred::Revoked`] and [`Barred::RevocationUnknown`].
    pub fn is_unrevoked(&self, revocation: &Revocation) -> Result<(), Barred> {
        if revocation.is_empty() {
            return Ok(());
        }
        let (now, digest) = (unix_now(), revocation.digest());
        let mut memory = self.known.borrow_mut();
        let known = memory
            .as_ref()
            .filter(|known| known.digest == digest && (known.from..=known.until).contains(&now));
        let outcome = match known {
            Some(known) => known.outcome.clone(),
            None => {
                let said = revocation.leaf(&self.chain, std::iter::empty(), now);
                let until = *said.as_ref().unwrap_or(&now);
                let outcome = said.map(drop);
                *memory = Some(Known {
                    digest,
                    from: now,
                    until,
                    outcome: outcome.clone(),
                });
                outcome
            }
        };
        outcome.map_err(Barred::revoked)
    }
}

impl Barred {
    /// What a refusal by revocation lists is called.
    #[must_use]
    pub fn revoked(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Revoked { .. } => Self::Revoked(refusal),
            _ => Self::RevocationUnknown(refusal),
        }
    }

    /// What is noted of it: names and reasons that the client is not told.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Revoked(refusal) | Self::RevocationUnknown(refusal) => refusal.to_string(),
            other => other.to_string(),
        }
    }

    /// What a refusal by a list is called.
    #[must_use]
    pub fn by(refused: &NotAllowed, chain: &PresentedChain) -> Self {
        match refused {
            NotAllowed::Expired => Self::Expired,
            NotAllowed::NotYetValid => Self::NotYetValid,
            NotAllowed::EntryOver => Self::EntryOver,
            NotAllowed::EntryAhead => Self::EntryAhead,
            NotAllowed::Revoked(refusal) | NotAllowed::RevocationUnknown(refusal) => {
                Self::revoked(refusal.clone())
            }
            NotAllowed::NotListed(_) => Self::NotAllowed(chain.fingerprint()),
        }
    }
}

/// Whether whoever is at the other end of a connection passes an API, as far as its certificate goes: the
/// list, or where a certificate is a key, that nobody has revoked it.
///
/// # Errors
/// [`Barred`].
pub fn admit_to(api: &RunningApi, peer: &Peer) -> Result<(), Barred> {
    match (&api.clients, &peer.client) {
        (Some(list), client) => admit(list, peer.tls.is_some(), client.as_ref()),
        (None, Some(client)) if api.api.authentication.regards_certificates() => {
            client.is_unrevoked(&api.revocation)
        }
        (None, _) => Ok(()),
    }
}

/// Whether whoever is at the other end of a connection passes a list.
///
/// # Errors
/// [`Barred`].
pub fn admit(list: &Arc<ClientList>, tls: bool, client: Option<&Client>) -> Result<(), Barred> {
    list.note_use();
    match (tls, client) {
        (false, _) => Err(Barred::NoTls),
        (true, None) => Err(Barred::NoCertificate),
        (true, Some(client)) => client.passes(list),
    }
}

/// Now, in Unix seconds.
#[must_use]
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
