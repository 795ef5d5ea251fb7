//! Keys an upstream must have (outbound sheet 3.2).
//!
//! Invariant: only a key counts that takes part in the server's proof: the leaf's, which the handshake
//! proves, or that of an issuer over whose signatures the leaf is reached. What else a server sends along
//! counts for nothing.

use openssl::x509::{X509, X509Ref, X509VerifyResult};
use portcullis_pki::{PresentedChain, certificate::public_key_digest};

/// SHA-256 of the keys (SubjectPublicKeyInfo) of which a server must have one; without any, none will
/// do. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins(std::sync::Arc<[[u8; 32]]>);

impl Pins {
    /// One of these keys.
    pub fn new(mut digests: Vec<[u8; 32]>) -> Pins {
        digests.sort_unstable();
        digests.dedup();
        Pins(digests.into())
    }

    /// The digests, sorted.
    pub fn digests(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.0.iter()
    }

    /// Whether the key of one of these certificates is pinned.
    pub(super) fn allow<'a>(&self, mut way: impl Iterator<Item = &'a X509Ref>) -> bool {
        way.any(|certificate| {
            public_key_digest(certificate).is_some_and(|key| self.0.binary_search(&key).is_ok())
        })
    }
}

/// The leaf of a chain that nobody has verified, and behind it each certificate that is an authority and
/// has signed the one before.
pub(super) fn signers(chain: &PresentedChain) -> Vec<&X509Ref> {
    let mut way = vec![chain.leaf()];
    let mut others: Vec<&X509> = chain.certificates()[1..].iter().collect();
    while let Some(last) = way.last() {
        let Some(place) = others.iter().position(|other| has_signed(other, last)) else {
            break;
        };
        way.push(others.swap_remove(place));
    }
    way
}

/// Whether an authority has signed a certificate.
fn has_signed(authority: &X509Ref, certificate: &X509Ref) -> bool {
    let is_authority =
        portcullis_pki::CertificateFacts::of(authority).is_ok_and(|facts| facts.is_ca);
    is_authority
        && authority.issued(certificate) == X509VerifyResult::OK
        && authority
            .public_key()
            .is_ok_and(|key| certificate.verify(&key).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_pki::make::{Algorithm, Pair, make_ca, make_client, make_server};

    fn chain(of: &[&Pair]) -> PresentedChain {
        let ders: Vec<Vec<u8>> = of
            .iter()
            .map(|pair| pair.certificate.to_der().unwrap())
            .collect();
        let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
        PresentedChain::of_der(&ders).unwrap()
    }

    fn pin(pair: &Pair) -> Pins {
        Pins::new(vec![public_key_digest(&pair.certificate).unwrap()])
    }

    #[test]
    fn the_leaf_and_whoever_signed_it_count_and_what_came_along_does_not() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let leaf = make_server(&ca, &["up.test"], Algorithm::P256, 30).unwrap();
        let stranger = make_ca("CA", Algorithm::P256, 30).unwrap();
        let shown = chain(&[&leaf, &stranger, &ca]);
        let allows = |pinned: &Pair| pin(pinned).allow(signers(&shown).into_iter());
        assert!(allows(&leaf) && allows(&ca));
        assert!(!allows(&stranger));
        assert!(!Pins::new(Vec::new()).allow(signers(&shown).into_iter()));
    }

    /// Whoever holds the key of a client's certificate can sign with it, and is no authority.
    #[test]
    fn a_certificate_that_is_no_authority_vouches_for_nobody() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let client = make_client(&ca, "client", Algorithm::P256, 30).unwrap();
        let forged = make_server(&client, &["up.test"], Algorithm::P256, 30).unwrap();
        let shown = chain(&[&forged, &client, &ca]);
        assert!(!pin(&ca).allow(signers(&shown).into_iter()));
        assert!(!pin(&client).allow(signers(&shown).into_iter()));
    }
}
