//! The lists in force somewhere, and what they say of the chain of a client.
//!
//! Invariants:
//! - Every certificate below the anchor whose issuer has a list is looked up; an issuer without a list is
//!   not asked about.
//! - Of several lists that an issuer signed the newest counts.
//! - A certificate that a list in force revokes is refused in every [`Mode`]. What a mode decides is what
//!   happens where a list is there and cannot tell.

use std::sync::Arc;

use openssl::{
    asn1::Asn1Time,
    sha::Sha256,
    x509::{X509, X509Ref},
};

use super::Crl;
use crate::{
    details::is_signed_by, names::distinguished_name, presented::PresentedChain, trust::Refusal,
};

/// How far the clock of an issuer may be ahead, in seconds.
pub const AHEAD: i64 = 300;

/// Most issuers of one name that are tried for a certificate that is trusted for itself.
const MOST_ISSUERS: usize = 8;

/// What happens where a list is there and cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The client is refused.
    #[default]
    Strict,
    /// The client passes.
    Lenient,
}

/// The lists of one place of configuration. Without any, nothing is refused.
#[derive(Debug, Default)]
pub struct Revocation {
    mode: Mode,
    /// Newest first.
    lists: Vec<Arc<Crl>>,
    /// Certificates of issuers that are known from the lists' own sources.
    issuers: Vec<X509>,
    /// Why entries lead to no list at all.
    unreadable: Vec<String>,
    digest: [u8; 32],
}

impl Revocation {
    /// Lists, certificates of their issuers, and what is wrong with entries that lead to none: nobody
    /// knows for whom those would have spoken.
    #[must_use]
    pub fn new(
        mode: Mode,
        mut lists: Vec<Arc<Crl>>,
        issuers: Vec<X509>,
        unreadable: Vec<String>,
    ) -> Self {
        lists.sort_by_key(|list| (std::cmp::Reverse(list.this_update()), list.digest()));
        lists.dedup_by_key(|list| list.digest());
        let mut digest = Sha256::new();
        if !(lists.is_empty() && unreadable.is_empty()) {
            digest.update(&[1, u8::from(mode == Mode::Lenient)]);
        }
        for list in &lists {
            digest.update(&list.digest());
        }
        for reason in &unreadable {
            digest.update(reason.as_bytes());
        }
        Self {
            mode,
            issuers,
            unreadable,
            digest: digest.finish(),
            lists,
        }
    }

    /// There is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.unreadable.is_empty()
    }

    /// A digest of the lists and the mode.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether no certificate on a verified way, leaf first and its anchor last, was revoked at a time (Unix
    /// seconds); until when that is known.
    ///
    /// # Errors
    /// [`Refusal::Revoked`] and [`Refusal::RevocationUnknown`].
    pub fn way(&self, way: &[X509], at: i64) -> Result<i64, Refusal> {
        if self.is_empty() {
            return Ok(i64::MAX);
        }
        let mut until = i64::MAX;
        for pair in way.windows(2) {
            until = until.min(self.certificate(&pair[0], &[&pair[1]], at)?);
        }
        self.all_readable(way.first().map(|leaf| &**leaf), until)
    }

    /// The same of a leaf that is trusted for itself. Its issuer is looked for among what came along,
    /// among `authorities`, and beside the lists.
    ///
    /// # Errors
    /// As [`way`](Self::way).
    pub fn leaf<'a>(
        &'a self,
        shown: &'a PresentedChain,
        authorities: impl Iterator<Item = &'a X509>,
        at: i64,
    ) -> Result<i64, Refusal> {
        if self.is_empty() {
            return Ok(i64::MAX);
        }
        let leaf = shown.leaf();
        let mut until = i64::MAX;
        if self.lists.iter().any(|list| list.is_of(leaf.issuer_name())) {
            let issued = |issuer: &&X509Ref| {
                let named = issuer.subject_name().try_cmp(leaf.issuer_name());
                named.is_ok_and(std::cmp::Ordering::is_eq)
            };
            let issuers: Vec<&X509Ref> = shown.certificates()[1..]
                .iter()
                .chain(authorities)
                .chain(&self.issuers)
                .map(|issuer| &**issuer)
                .filter(issued)
                .take(MOST_ISSUERS)
                .filter(|issuer| is_signed_by(leaf, issuer))
                .collect();
            until = self.certificate(leaf, &issuers, at)?;
        }
        self.all_readable(Some(leaf), until)
    }

    /// What the lists of an issuer say of one certificate. `issuers` have its issuer's name and signed it.
    fn certificate(
        &self,
        certificate: &X509Ref,
        issuers: &[&X509Ref],
        at: i64,
    ) -> Result<i64, Refusal> {
        let mut until = i64::MAX;
        let mut lacks = None;
        let of_issuer = |list: &&Arc<Crl>| list.is_of(certificate.issuer_name());
        for list in self.lists.iter().filter(of_issuer) {
            let issuer = list.issuer();
            if list.this_update() > at + AHEAD {
                until = until.min(list.this_update() - AHEAD - 1);
                lacks.get_or_insert_with(|| {
                    format!(
                        "the list of `{issuer}` is from {}, which is ahead",
                        told(list.this_update())
                    )
                });
                continue;
            }
            let signed = issuers.iter().any(|issuer| list.is_signed_by(issuer));
            // Of whom no issuer is known, the list counts as far as it refuses.
            if (signed || issuers.is_empty())
                && let Some(since) = list.revokes(certificate)
            {
                return Err(Refusal::Revoked {
                    subject: distinguished_name(certificate.subject_name()),
                    since,
                    issuer: issuer.to_owned(),
                });
            }
            if issuers.is_empty() {
                lacks.get_or_insert_with(|| {
                    format!(
                        "the certificate of `{issuer}` is not known, so nobody can tell whether the list is its own"
                    )
                });
            } else if !signed {
                lacks.get_or_insert_with(|| {
                    format!("the list in the name of `{issuer}` is not signed by it")
                });
            } else if at > list.next_update() {
                let ended = told(list.next_update());
                lacks = Some(format!("the list of `{issuer}` was good until {ended}"));
                break;
            } else {
                return Ok(match self.mode {
                    Mode::Strict => until.min(list.next_update()),
                    Mode::Lenient => until,
                });
            }
        }
        match (lacks, self.mode) {
            (Some(reason), Mode::Strict) => Err(Refusal::RevocationUnknown {
                subject: distinguished_name(certificate.subject_name()),
                reason,
            }),
            _ => Ok(until),
        }
    }

    /// Nothing is missing that could have spoken about somebody.
    fn all_readable(&self, leaf: Option<&X509Ref>, until: i64) -> Result<i64, Refusal> {
        match (self.unreadable.first(), self.mode) {
            (Some(reason), Mode::Strict) => Err(Refusal::RevocationUnknown {
                subject: leaf
                    .map_or_else(String::new, |leaf| distinguished_name(leaf.subject_name())),
                reason: reason.clone(),
            }),
            _ => Ok(until),
        }
    }
}

/// A time for people.
#[must_use]
pub fn told(seconds: i64) -> String {
    Asn1Time::from_unix(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
