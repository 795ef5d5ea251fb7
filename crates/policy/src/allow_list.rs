//! Which client certificates an API lets pass: its static allow list (inbound sheet 5, decisions 13
//! and 14).
//!
//! An entry is what a reference holds. It matches the leaf, whose key the client has proven, if its
//! first certificate is that leaf; or, if its first certificate is an authority, when one of its
//! authorities issued the leaf over a path that verifies with what the client sent. Nothing else a
//! client sends along ever matches.
//!
//! Invariants:
//! - An empty list, or one whose entries hold nothing, lets nobody pass.
//! - Looking for a listed leaf costs the same however long the list is.

use std::collections::HashSet;

use openssl::{
    error::ErrorStack,
    sha::Sha256,
    x509::{X509, X509Ref},
};
use portcullis_pki::{
    CertificateFacts, Fingerprint, PresentedChain, Refusal, TrustAnchors, Usage,
    trust::{is_for_servers_only, valid_at},
};

/// An allow list, prepared once.
#[derive(Debug)]
pub struct AllowList {
    listed: HashSet<Fingerprint>,
    authorities: TrustAnchors,
    names: Vec<Box<[u8]>>,
    digest: [u8; 32],
}

/// The entries of an allow list to be.
#[derive(Debug, Default)]
pub struct AllowListBuilder {
    listed: HashSet<Fingerprint>,
    authorities: Vec<X509>,
    names: Vec<Box<[u8]>>,
}

/// Why a client certificate does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// It is listed and past its validity.
    #[error("the listed certificate has expired")]
    Expired,
    /// It is listed and before its validity.
    #[error("the listed certificate is not valid yet")]
    NotYetValid,
    /// No entry matches, and no authority vouches for it.
    #[error("no entry lists it, and no listed authority vouches for it: {0}")]
    NotListed(Refusal),
}

/// How a client certificate passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The last second (Unix time) for which it was decided.
    pub until: i64,
    /// A listed authority vouches for it, and its extended key usage lists servers only.
    pub for_servers_only: bool,
}

impl AllowListBuilder {
    /// Takes in what a reference holds; whether anybody can pass by it.
    pub fn entry(&mut self, certificates: &[X509]) -> bool {
        let Some(first) = certificates.first() else {
            return false;
        };
        let Ok(facts) = CertificateFacts::of(first) else {
            return false;
        };
        self.listed.insert(facts.fingerprint);
        if !facts.is_ca {
            self.name(first);
            return true;
        }
        for certificate in certificates {
            if CertificateFacts::of(certificate).is_ok_and(|facts| facts.is_ca) {
                self.name(certificate);
                self.authorities.push(certificate.clone());
            }
        }
        true
    }

    fn name(&mut self, certificate: &X509Ref) {
        // A certificate without a name that can be encoded is not announced.
        self.names.extend(
            certificate
                .subject_name()
                .to_der()
                .map(Vec::into_boxed_slice),
        );
    }

    /// The list.
    ///
    /// # Errors
    /// When the library cannot take an authority.
    pub fn build(self) -> Result<AllowList, ErrorStack> {
        let authorities = TrustAnchors::new(self.authorities)?;
        let mut in_order: Vec<&Fingerprint> = self.listed.iter().collect();
        in_order.sort_unstable();
        let mut digest = Sha256::new();
        digest.update(&authorities.digest());
        for fingerprint in in_order {
            digest.update(fingerprint.as_bytes());
        }
        Ok(AllowList {
            digest: digest.finish(),
            listed: self.listed,
            authorities,
            names: self.names,
        })
    }
}

impl AllowList {
    /// Nobody passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// A digest of its entries, whatever their order.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Certificates that pass for themselves.
    #[must_use]
    pub fn listed(&self) -> &HashSet<Fingerprint> {
        &self.listed
    }

    /// Authorities whose clients pass.
    #[must_use]
    pub fn authorities(&self) -> &[X509] {
        self.authorities.anchors()
    }

    /// Subjects (DER) to announce to clients: of listed certificates and of authorities.
    #[must_use]
    pub fn names(&self) -> &[Box<[u8]>] {
        &self.names
    }

    /// Whether the client that presented a chain passes at a time (Unix seconds).
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn judge(&self, shown: &PresentedChain, at: i64) -> Result<Allowed, NotAllowed> {
        if self.listed.contains(&shown.fingerprint()) {
            return match valid_at(shown.leaf(), at) {
                Ok(()) => Ok(Allowed {
                    until: shown.not_after(),
                    for_servers_only: false,
                }),
                Err(Refusal::NotYetValid { .. }) => Err(NotAllowed::NotYetValid),
                Err(_) => Err(NotAllowed::Expired),
            };
        }
        let way = self.authorities.way(shown, Usage::ClientOrServer, at);
        let way = way.map_err(NotAllowed::NotListed)?;
        Ok(Allowed {
            until: way.until(),
            for_servers_only: is_for_servers_only(shown.leaf()),
        })
    }
}

#[cfg(test)]
mod tests {
    use portcullis_pki::make::{Algorithm, Pair, make_ca, make_client, make_server};

    use super::*;

    fn shown(certificates: &[&Pair]) -> PresentedChain {
        let ders: Vec<Vec<u8>> = certificates
            .iter()
            .map(|pair| pair.certificate.to_der().unwrap())
            .collect();
        let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
        PresentedChain::of_der(&ders).unwrap()
    }

    fn list(entries: &[&[&Pair]]) -> AllowList {
        let mut builder = AllowListBuilder::default();
        for entry in entries {
            let certificates: Vec<X509> = entry.iter().map(|p| p.certificate.clone()).collect();
            assert!(builder.entry(&certificates));
        }
        builder.build().unwrap()
    }

    fn now() -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(since.unwrap().as_secs()).unwrap()
    }

    const DAY: i64 = 86_400;

    #[test]
    fn a_listed_leaf_passes_in_its_validity_and_nobody_else_does() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let [one, other] =
            ["one", "other"].map(|name| make_client(&ca, name, Algorithm::P256, 10).unwrap());
        let list = list(&[&[&one]]);
        let chain = shown(&[&one]);
        assert!(list.judge(&chain, now()).is_ok());
        assert_eq!(
            list.judge(&chain, now() + 11 * DAY),
            Err(NotAllowed::Expired)
        );
        assert_eq!(
            list.judge(&chain, now() - 7 * DAY),
            Err(NotAllowed::NotYetValid)
        );
        let refused = list.judge(&shown(&[&other]), now());
        assert!(
            matches!(refused, Err(NotAllowed::NotListed(_))),
            "{refused:?}"
        );
    }

    /// Somebody else's certificate is public; only the leaf's key is proven.
    #[test]
    fn a_listed_certificate_that_merely_came_along_opens_nothing() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let listed = make_client(&ca, "listed", Algorithm::P256, 10).unwrap();
        let own = make_ca("Own", Algorithm::P256, 30).unwrap();
        let mallory = make_client(&own, "mallory", Algorithm::P256, 10).unwrap();
        for list in [list(&[&[&listed]]), list(&[&[&ca]])] {
            let refused = list.judge(&shown(&[&mallory, &listed, &ca]), now());
            assert!(
                matches!(refused, Err(NotAllowed::NotListed(_))),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn every_authority_of_a_bundle_vouches_and_the_issuer_of_a_listed_leaf_does_not() {
        let [first, second] =
            ["First", "Second"].map(|name| make_ca(name, Algorithm::P256, 30).unwrap());
        let [a, b] =
            [&first, &second].map(|ca| make_client(ca, "client", Algorithm::P256, 10).unwrap());
        let bundle = list(&[&[&first, &second]]);
        assert!(bundle.judge(&shown(&[&a]), now()).is_ok());
        assert!(bundle.judge(&shown(&[&b]), now()).is_ok());
        let chain = list(&[&[&a, &first]]);
        assert!(chain.judge(&shown(&[&a, &first]), now()).is_ok());
        let sibling = make_client(&first, "sibling", Algorithm::P256, 10).unwrap();
        assert!(chain.judge(&shown(&[&sibling, &first]), now()).is_err());
    }

    #[test]
    fn an_authority_vouches_for_servers_too_and_it_is_noted() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let server = make_server(&ca, &["a.test"], Algorithm::P256, 10).unwrap();
        let allowed = list(&[&[&ca]]).judge(&shown(&[&server]), now()).unwrap();
        assert!(allowed.for_servers_only);
        assert!(allowed.until <= now() + 10 * DAY);
    }

    #[test]
    fn an_empty_list_lets_nobody_pass() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let list = AllowListBuilder::default().build().unwrap();
        assert!(list.is_empty());
        assert!(list.judge(&shown(&[&ca]), now()).is_err());
        assert!(!AllowListBuilder::default().entry(&[]));
    }
}
