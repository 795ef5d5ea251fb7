//! The certificates a TLS peer presented, read once.
//!
//! Invariants:
//! - There is a leaf; whatever else the peer sent follows in its order.
//! - Number and size are bounded before anything is parsed, so that a peer cannot make us work.

use std::sync::OnceLock;

use openssl::x509::{X509, X509Ref};

use crate::{
    certificate::{Fingerprint, public_key_digest, unix_seconds},
    names::{AlternativeName, alternative_names},
    trust::{Usage, Way},
};

/// Most certificates a peer may send.
pub const MOST_CERTIFICATES: usize = 10;

/// Largest certificate a peer may send, in bytes of DER.
pub const LARGEST_CERTIFICATE: usize = 32 * 1024;

/// A chain as a peer presented it. Nothing about it has been verified.
pub struct PresentedChain {
    certificates: Vec<X509>,
    fingerprint: Fingerprint,
    not_before: i64,
    not_after: i64,
    names: OnceLock<Vec<AlternativeName>>,
    way: OnceLock<KnownWay>,
}

/// A way from the leaf to an anchor that has passed every check.
pub(crate) struct KnownWay {
    /// The anchor it ends at.
    pub(crate) anchor: Fingerprint,
    /// What the leaf was asked to be good for.
    pub(crate) usage: Usage,
    /// The way.
    pub(crate) way: Way,
}

/// Why presented certificates cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresentedError {
    /// None at all.
    #[error("no certificate was presented")]
    Empty,
    /// More than [`MOST_CERTIFICATES`].
    #[error("{0} certificates were presented, at most {MOST_CERTIFICATES} are looked at")]
    TooMany(usize),
    /// Larger than [`LARGEST_CERTIFICATE`].
    #[error("certificate {number} has {bytes} bytes, at most {LARGEST_CERTIFICATE} are looked at")]
    TooLarge {
        /// Its place, from 1.
        number: usize,
        /// Its size.
        bytes: usize,
    },
    /// No certificate, or one that cannot be read through.
    #[error("certificate {0} is malformed")]
    Malformed(usize),
}

impl PresentedChain {
    /// Reads certificates in DER, leaf first.
    ///
    /// # Errors
    /// When there is none, or they are beyond the bounds or malformed.
    pub fn of_der(certificates: &[&[u8]]) -> Result<Self, PresentedError> {
        if certificates.len() > MOST_CERTIFICATES {
            return Err(PresentedError::TooMany(certificates.len()));
        }
        let mut parsed = Vec::with_capacity(certificates.len());
        for (number, der) in (1..).zip(certificates) {
            if der.len() > LARGEST_CERTIFICATE {
                let bytes = der.len();
                return Err(PresentedError::TooLarge { number, bytes });
            }
            let certificate = X509::from_der(der).map_err(|_| PresentedError::Malformed(number))?;
            // One certificate has one encoding, and nothing behind it: else it had many fingerprints.
            if certificate.to_der().ok().as_deref() != Some(*der) {
                return Err(PresentedError::Malformed(number));
            }
            parsed.push(certificate);
        }
        let leaf = parsed.first().ok_or(PresentedError::Empty)?;
        let times = (
            unix_seconds(leaf.not_before()),
            unix_seconds(leaf.not_after()),
        );
        let (Ok(not_before), Ok(not_after)) = times else {
            return Err(PresentedError::Malformed(1));
        };
        Ok(Self {
            fingerprint: Fingerprint::of_der(certificates[0]),
            not_before,
            not_after,
            names: OnceLock::new(),
            way: OnceLock::new(),
            certificates: parsed,
        })
    }

    /// The certificate whose key the peer has proven.
    #[must_use]
    pub fn leaf(&self) -> &X509Ref {
        &self.certificates[0]
    }

    /// Everything, leaf first.
    #[must_use]
    pub fn certificates(&self) -> &[X509] {
        &self.certificates
    }

    /// SHA-256 of the leaf.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// First second of the leaf's validity, Unix time.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Last second of the leaf's validity, Unix time.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The leaf's alternative names, in its order.
    #[must_use]
    pub fn names(&self) -> &[AlternativeName] {
        self.names.get_or_init(|| alternative_names(self.leaf()))
    }

    /// The first way that was found to be good, whoever asked.
    pub(crate) fn known_way(&self) -> Option<&KnownWay> {
        self.way.get()
    }

    /// Notes a way that is good, unless one is noted.
    pub(crate) fn note_way(&self, way: impl FnOnce() -> Option<KnownWay>) {
        if self.way.get().is_none()
            && let Some(way) = way()
        {
            // Who came second found one that is as good.
            let _ = self.way.set(way);
        }
    }

    /// SHA-256 of the leaf's public key (SubjectPublicKeyInfo).
    #[must_use]
    pub fn public_key_digest(&self) -> Option<[u8; 32]> {
        public_key_digest(self.leaf())
    }
}

impl std::fmt::Debug for PresentedChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PresentedChain")
            .field("leaf", &self.fingerprint)
            .field("certificates", &self.certificates.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use openssl::sha::sha256;

    use super::*;
    use crate::make::{Algorithm, make_ca, make_client};

    #[test]
    fn a_chain_is_read_once_and_says_what_its_leaf_is() {
        let ca = make_ca("Presented CA", Algorithm::P256, 30).unwrap();
        let leaf = make_client(&ca, "client", Algorithm::P256, 10).unwrap();
        let ders = [
            leaf.certificate.to_der().unwrap(),
            ca.certificate.to_der().unwrap(),
        ];
        let chain = PresentedChain::of_der(&[&ders[0], &ders[1]]).unwrap();
        assert_eq!(chain.fingerprint(), Fingerprint::of_der(&ders[0]));
        assert_eq!(chain.certificates().len(), 2);
        assert!(chain.not_before() < chain.not_after());
        let key = leaf.certificate.public_key().unwrap();
        let digest = sha256(&key.public_key_to_der().unwrap());
        assert_eq!(chain.public_key_digest(), Some(digest));
    }

    #[test]
    fn what_is_beyond_the_bounds_or_malformed_is_refused() {
        let ca = make_ca("Bounds CA", Algorithm::P256, 30).unwrap();
        let der = ca.certificate.to_der().unwrap();
        let refused = |list: &[&[u8]]| PresentedChain::of_der(list).unwrap_err();
        assert_eq!(refused(&[]), PresentedError::Empty);
        assert_eq!(refused(&[&*der; 11]), PresentedError::TooMany(11));
        let large = vec![0x30; LARGEST_CERTIFICATE + 1];
        let bytes = large.len();
        let number = 2;
        assert_eq!(
            refused(&[&der, &large]),
            PresentedError::TooLarge { number, bytes }
        );
        assert_eq!(refused(&[b"nothing"]), PresentedError::Malformed(1));
        assert_eq!(refused(&[&der, &der[..40]]), PresentedError::Malformed(2));
        let longer = [&*der, b"more"].concat();
        assert_eq!(refused(&[&longer]), PresentedError::Malformed(1));
    }
}
