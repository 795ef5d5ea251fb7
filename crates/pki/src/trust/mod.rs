//! Whether a chain that a TLS client presented leads to a trust anchor.
//!
//! The one place that decides it: the handshake, the check of each request and the verb `doctor` all
//! ask here. Rules (RFC 5280, section 6.1, with what is ours named):
//! - Every certificate among the anchors is trusted, root or not, and nothing above it is asked for.
//!   Its validity, its path length and its name constraints count all the same.
//! - Extended key usage is nested: every certificate on the way that has one must list the purpose.
//! - Signatures with MD5 or SHA-1 lead nowhere, nor do RSA keys below 1024 or above 8192 bits.
//!
//! Invariants:
//! - A chain is refused unless every check has passed; a library that fails refuses as well.
//! - The work is bounded, whatever is presented: the certificates are ([`crate::presented`]), a way
//!   has at most [`LONGEST_WAY`] of them, and no more than [`Work::MOST`] is done to find one.
//! - A way that was found stays one, for whoever trusts its anchor, as long as every certificate on it
//!   is valid: the handshake finds it, and the check of a request takes it up. What was not found is
//!   looked for anew.

mod checks;
mod refusal;
mod search;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use openssl::{
    error::ErrorStack,
    sha::Sha256,
    stack::Stack,
    x509::{
        X509, X509Ref, X509StoreContext, X509VerifyResult,
        store::{X509Store, X509StoreBuilder},
        verify::{X509VerifyFlags, X509VerifyParam},
    },
};

pub(crate) use self::checks::{may_be_used, too_long};
pub use self::{
    checks::{is_for_servers_only, serves_clients, valid_at},
    refusal::Refusal,
    search::Work,
};
use self::{
    checks::{serves, sound, subject, well_formed},
    search::Search,
};
use crate::{
    certificate::{Fingerprint, unix_seconds},
    presented::{KnownWay, PresentedChain},
};

/// Most certificates on a way, leaf and anchor counted.
pub const LONGEST_WAY: usize = 10;

/// What a leaf may be used for by its extended key usage; without one, or with `any`, it may be used
/// for everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Clients.
    Client,
    /// Clients, or servers: what a listed authority vouches for is taken though it names only
    /// servers.
    ClientOrServer,
}

/// Certificates that are trusted, prepared once.
pub struct TrustAnchors {
    store: X509Store,
    anchors: Vec<X509>,
    /// Where the anchors of a subject (DER) are.
    by_subject: HashMap<Box<[u8]>, Vec<usize>>,
    fingerprints: HashSet<Fingerprint>,
    digest: [u8; 32],
}

/// The way from a leaf to an anchor, both included.
#[derive(Debug, Clone)]
pub struct Way {
    /// Leaf first.
    pub certificates: Vec<X509>,
    from: i64,
    until: i64,
}

impl Way {
    /// The last second (Unix time) at which every certificate on it is valid.
    #[must_use]
    pub fn until(&self) -> i64 {
        self.until
    }
}

impl TrustAnchors {
    /// Prepares anchors; their order does not matter, and one may be there twice.
    ///
    /// # Errors
    /// When the library cannot take one.
    pub fn new(mut anchors: Vec<X509>) -> Result<Self, ErrorStack> {
        let mut encoded = Vec::with_capacity(anchors.len());
        for anchor in &anchors {
            encoded.push(anchor.to_der()?);
        }
        let store = store(&anchors)?;
        encoded.sort_unstable();
        encoded.dedup();
        let fingerprints = encoded.iter().map(|der| Fingerprint::of_der(der)).collect();
        let mut digest = Sha256::new();
        for der in &encoded {
            digest.update(&der.len().to_be_bytes());
            digest.update(der);
        }
        anchors.shrink_to_fit();
        let mut by_subject: HashMap<_, Vec<usize>> = HashMap::with_capacity(anchors.len());
        for (place, anchor) in anchors.iter().enumerate() {
            let name = anchor.subject_name().to_der()?.into_boxed_slice();
            by_subject.entry(name).or_default().push(place);
        }
        Ok(Self {
            store,
            by_subject,
            fingerprints,
            anchors,
            digest: digest.finish(),
        })
    }

    /// The anchors.
    #[must_use]
    pub fn anchors(&self) -> &[X509] {
        &self.anchors
    }

    /// Nothing is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// A digest of the anchors, whatever their order.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The way from a presented leaf to an anchor at a time (Unix seconds).
    ///
    /// # Errors
    /// [`Refusal`] with the first check that failed.
    pub fn way(&self, shown: &PresentedChain, usage: Usage, at: i64) -> Result<Way, Refusal> {
        self.way_and_work(shown, usage, at).0
    }

    /// The way, and what was done to find it.
    ///
    /// # Errors
    /// In the first part: as [`way`](Self::way).
    pub fn way_and_work(
        &self,
        shown: &PresentedChain,
        usage: Usage,
        at: i64,
    ) -> (Result<Way, Refusal>, Work) {
        let mut work = Work::default();
        if let Some(way) = self.known(shown, usage, at) {
            return (Ok(way.clone()), work);
        }
        let leaf = shown.leaf();
        if let Err(refusal) = valid_at(leaf, at).and_then(|()| sound(leaf, true)) {
            return (Err(refusal), work);
        }
        // The first way the library sees is nearly always the right one; only where it is not are
        // others looked for.
        work.walks = 1;
        let along = &shown.certificates()[1..];
        let first = walk(&self.store, leaf, along).and_then(|way| good(way, usage, at));
        let refusal = match first {
            Ok(way) => {
                note(shown, usage, &way);
                return (Ok(way), work);
            }
            Err(refusal) => refusal,
        };
        let mut search = Search::new(self, along, usage, at, work);
        let found = search.from(leaf);
        let (noted, work) = search.done();
        if let Some(way) = found {
            note(shown, usage, &way);
            return (Ok(way), work);
        }
        let told = match noted {
            // What is wrong with a way that is there says more than where another one ends.
            Some(noted) if refusal.is_untrusted() => noted,
            _ => refusal,
        };
        (Err(told), work)
    }

    /// The way that was found before, where it leads to an anchor of ours and is good for a use now.
    fn known<'s>(&self, shown: &'s PresentedChain, usage: Usage, at: i64) -> Option<&'s Way> {
        let known = shown.known_way()?;
        let good_for = known.usage == usage || known.usage == Usage::Client;
        let valid = (known.way.from..=known.way.until).contains(&at);
        (good_for && valid && self.fingerprints.contains(&known.anchor)).then_some(&known.way)
    }
}

/// Notes a way that was found with what was presented.
fn note(shown: &PresentedChain, usage: Usage, way: &Way) {
    shown.note_way(|| {
        Some(KnownWay {
            anchor: Fingerprint::of(way.certificates.last()?).ok()?,
            usage,
            way: way.clone(),
        })
    });
}

/// A way whose certificates pass every check beside the library's.
fn good(way: Vec<X509>, usage: Usage, at: i64) -> Result<Way, Refusal> {
    for (place, certificate) in way.iter().enumerate() {
        valid_at(certificate, at)?;
        well_formed(certificate)?;
        // Nobody asks who signed an anchor.
        sound(certificate, place + 1 < way.len())?;
    }
    if let Some(authority) = too_long(&way) {
        return Err(Refusal::Authority {
            subject: subject(authority),
            reason: "has more authorities below it than its path length allows",
        });
    }
    for certificate in &way {
        if !serves(certificate, usage) {
            return Err(Refusal::Purpose {
                subject: subject(certificate),
            });
        }
    }
    // A time that cannot be read bounds it to now.
    let begins = way.iter().map(|on_way| unix_seconds(on_way.not_before()));
    let ends = way.iter().map(|on_way| unix_seconds(on_way.not_after()));
    Ok(Way {
        from: begins.map(|begin| begin.unwrap_or(at)).max().unwrap_or(at),
        until: ends.map(|end| end.unwrap_or(at)).min().unwrap_or(at),
        certificates: way,
    })
}

fn store(anchors: &[X509]) -> Result<X509Store, ErrorStack> {
    let mut builder = X509StoreBuilder::new()?;
    for anchor in anchors {
        builder.add_cert(anchor.clone())?;
    }
    let mut rules = X509VerifyParam::new()?;
    rules.set_flags(X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::NO_CHECK_TIME)?;
    // The library counts what stands between leaf and anchor.
    rules.set_depth(i32::try_from(LONGEST_WAY - 2).unwrap_or(0));
    builder.set_param(&rules)?;
    Ok(builder.build())
}

/// The way the library finds, whatever the time is.
fn walk(store: &X509Store, leaf: &X509Ref, along: &[X509]) -> Result<Vec<X509>, Refusal> {
    let failed = |error: ErrorStack| Refusal::Other {
        subject: subject(leaf),
        reason: format!("the library cannot verify it: {error}"),
    };
    let mut untrusted = Stack::new().map_err(failed)?;
    for certificate in along {
        untrusted.push(certificate.clone()).map_err(failed)?;
    }
    let mut context = X509StoreContext::new().map_err(failed)?;
    let walked = context.init(store, leaf, &untrusted, |context| {
        let good = context.verify_cert()?;
        let result = match context.error() {
            X509VerifyResult::OK if !good => X509VerifyResult::APPLICATION_VERIFICATION,
            result => result,
        };
        let way = context.chain().map_or_else(Vec::new, |chain| {
            chain.iter().map(ToOwned::to_owned).collect()
        });
        let about = context.current_cert().map(ToOwned::to_owned);
        Ok((result, way, about))
    });
    // A certificate that is refused leaves its reason in the library's error queue.
    let _ = ErrorStack::get();
    let (result, way, about): (_, Vec<X509>, Option<X509>) = walked.map_err(failed)?;
    if result == X509VerifyResult::OK && !way.is_empty() {
        return Ok(way);
    }
    let about = about.as_deref().unwrap_or(leaf);
    Err(refusal::of_result(result, subject(about)))
}

impl std::fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustAnchors")
            .field("anchors", &self.anchors.len())
            .finish_non_exhaustive()
    }
}
