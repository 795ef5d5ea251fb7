//! Looking for another way where the library's first one leads nowhere: authorities that were
//! renewed, cross-signed, or have a name in common with others.
//!
//! Depth first, anchors before what was presented, nothing twice on a way. A way that is found is
//! judged by the library and by every check of ours, as if it were the only one.
//!
//! Invariant: signatures verified, certificates tried and ways judged stay below [`Work::MOST`],
//! whatever is presented and however many anchors there are.

use openssl::x509::{X509, X509Ref};

use super::{
    LONGEST_WAY, Refusal, TrustAnchors, Usage, Way,
    checks::{signs_certificates, sound, subject, valid_at, well_formed},
    good, store, walk,
};
use crate::details::is_signed_by;

/// What finding a way took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Signatures verified while looking for other ways.
    pub signatures: usize,
    /// Certificates tried as issuers.
    pub tried: usize,
    /// Ways the library judged; each verifies at most one signature for each certificate on it.
    pub walks: usize,
}

impl Work {
    /// The most that is done for a chain.
    pub const MOST: Work = Work {
        signatures: 32,
        tried: 128,
        walks: 6,
    };

    fn is_spent(&self) -> bool {
        self.signatures >= Self::MOST.signatures
            || self.tried >= Self::MOST.tried
            || self.walks >= Self::MOST.walks
    }
}

/// An issuer: among the anchors or among what was presented.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Issuer {
    Anchor(usize),
    Presented(usize),
}

/// One search.
pub(super) struct Search<'a> {
    trusted: &'a TrustAnchors,
    along: &'a [X509],
    usage: Usage,
    at: i64,
    work: Work,
    /// Signatures already looked at: what, by whom, and whether it is.
    verified: Vec<(Option<usize>, Issuer, bool)>,
    refusal: Option<Refusal>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        trusted: &'a TrustAnchors,
        along: &'a [X509],
        usage: Usage,
        at: i64,
        work: Work,
    ) -> Self {
        Self {
            trusted,
            along,
            usage,
            at,
            work,
            verified: Vec::new(),
            refusal: None,
        }
    }

    /// A way from a leaf.
    pub(super) fn from(&mut self, leaf: &X509Ref) -> Option<Way> {
        self.extend(leaf, &mut Vec::new())
    }

    /// The first thing that was wrong with an issuer or a way, and the work done.
    pub(super) fn done(self) -> (Option<Refusal>, Work) {
        (self.refusal, self.work)
    }

    /// Continues a way: places of what was presented, above the leaf.
    fn extend(&mut self, leaf: &X509Ref, way: &mut Vec<usize>) -> Option<Way> {
        let place = way.last().copied();
        let trusted = self.trusted;
        let along = self.along;
        let below: &X509Ref = place.map_or(leaf, |place| &along[place]);
        let name = below.issuer_name().to_der().ok()?;
        let anchors = trusted.by_subject.get(name.as_slice());
        for anchor in anchors.into_iter().flatten().copied() {
            if self.work.is_spent() {
                return None;
            }
            if self.leads(place, below, Issuer::Anchor(anchor))
                && let Some(found) = self.judge(leaf, way, &trusted.anchors[anchor])
            {
                return Some(found);
            }
        }
        // Leaf and anchor are on the way as well.
        if way.len() + 2 >= LONGEST_WAY {
            return None;
        }
        for (next, presented) in along.iter().enumerate() {
            if self.work.is_spent() {
                return None;
            }
            let named = presented.subject_name().try_cmp(below.issuer_name());
            if way.contains(&next) || !named.is_ok_and(std::cmp::Ordering::is_eq) {
                continue;
            }
            if self.leads(place, below, Issuer::Presented(next)) {
                way.push(next);
                if let Some(found) = self.extend(leaf, way) {
                    return Some(found);
                }
                way.pop();
            }
        }
        None
    }

    /// Whether a certificate that has the right name issued what is below it.
    fn leads(&mut self, place: Option<usize>, below: &X509Ref, issuer: Issuer) -> bool {
        self.work.tried += 1;
        let (trusted, along) = (self.trusted, self.along);
        let (certificate, is_anchor) = match issuer {
            Issuer::Anchor(anchor) => (&trusted.anchors[anchor], true),
            Issuer::Presented(next) => (&along[next], false),
        };
        let looked = valid_at(certificate, self.at)
            .and_then(|()| well_formed(certificate))
            .and_then(|()| sound(certificate, !is_anchor));
        let looked = looked.and_then(|()| match signs_certificates(certificate) {
            true => Ok(()),
            false => Err(Refusal::Authority {
                subject: subject(certificate),
                reason: "issued a certificate and may not: its key usage does not list keyCertSign",
            }),
        });
        let known = self
            .verified
            .iter()
            .find(|known| (known.0, known.1) == (place, issuer));
        let signed = match known {
            Some(known) => known.2,
            None => {
                self.work.signatures += 1;
                let signed = is_signed_by(below, certificate);
                self.verified.push((place, issuer, signed));
                signed
            }
        };
        match looked {
            Ok(()) => signed,
            Err(refusal) => {
                // What somebody else of the same name lacks says nothing about this chain.
                if signed {
                    self.refusal.get_or_insert(refusal);
                }
                false
            }
        }
    }

    /// Judges a way that ends at an anchor.
    fn judge(&mut self, leaf: &X509Ref, way: &[usize], anchor: &X509) -> Option<Way> {
        self.work.walks += 1;
        let along: Vec<X509> = way.iter().map(|place| self.along[*place].clone()).collect();
        let store = store(std::slice::from_ref(anchor)).ok()?;
        let judged = walk(&store, leaf, &along).and_then(|way| good(way, self.usage, self.at));
        match judged {
            Ok(found) => Some(found),
            Err(refusal) => {
                self.refusal.get_or_insert(refusal);
                None
            }
        }
    }
}
