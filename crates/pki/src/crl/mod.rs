//! Certificate revocation lists (RFC 5280, section 5): reading one, and whose it is.
//!
//! - [`source`]: what a file or inline PEM holds.
//! - [`revocation`]: the lists that are in force somewhere, and what they say of a chain.
//!
//! Invariants:
//! - What cannot be taken at its word makes a list unusable, never shorter: a list of changes, of some
//!   certificates, of several issuers, with a critical extension that is not understood.
//! - Size and entries are bounded before they are kept; looking up a serial number costs the same however many there are.
//! - A list speaks for an issuer only if that issuer's key, which may sign lists, signed it.

mod body;
pub mod revocation;
pub mod source;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::OnceLock};

use openssl::{
    error::ErrorStack,
    sha::sha256,
    x509::{X509Crl, X509Name, X509NameRef, X509Ref},
};

use self::body::{Body, Moment};
pub use self::{
    revocation::{AHEAD, Mode, Revocation},
    source::CrlSource,
};
use crate::{
    certificate::{Fingerprint, unix_seconds},
    names::distinguished_name,
    trust::may_be_used,
};

/// Largest list that is read, in bytes of DER.
pub const LARGEST_LIST: usize = 32 * 1024 * 1024;

/// Most certificates a list may revoke.
pub const MOST_ENTRIES: usize = 1_000_000;

/// How many issuers of one name a list remembers whether they signed it.
const REMEMBERED: usize = 8;

/// One list.
pub struct Crl {
    issuer: X509Name,
    issuer_text: String,
    this_update: i64,
    next_update: i64,
    /// By serial number, the octets of its shortest form.
    revoked: HashMap<Box<[u8]>, Moment>,
    /// For signatures, which are verified when an issuer is met for the first time.
    der: Box<[u8]>,
    digest: [u8; 32],
    signers: [OnceLock<(Fingerprint, bool)>; REMEMBERED],
}

/// Why a list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// More than [`LARGEST_LIST`].
    #[error("it is larger than {LARGEST_LIST} bytes, which is the most that is read")]
    TooLarge,
    /// More than [`MOST_ENTRIES`].
    #[error("it revokes more than {MOST_ENTRIES} certificates, which is the most that is kept")]
    TooMany,
    /// Not a list.
    #[error("it is no certificate revocation list: PEM (X509 CRL) or DER is expected")]
    Malformed,
    /// Without `nextUpdate`, which RFC 5280 demands.
    #[error("it does not say until when it is good (nextUpdate)")]
    Endless,
    /// Signed with what proves nothing.
    #[error("it is signed with MD5 or SHA-1; have it signed with SHA-256")]
    Weak,
    /// A delta list.
    #[error("it holds only what changed (a delta list); give the whole list")]
    Delta,
    /// With an issuing distribution point.
    #[error(
        "it speaks for some certificates of its issuer only (issuingDistributionPoint); give a list for all of \
         them"
    )]
    Partial,
    /// An indirect list.
    #[error("it speaks for several issuers (an indirect list); give each issuer's own")]
    Indirect,
    /// An entry that ends a revocation, which only a delta list has.
    #[error("it has an entry removeFromCRL, which only a list of changes has")]
    Removes,
    /// A critical extension.
    #[error("it has a critical extension nobody here understands ({0})")]
    Critical(String),
}

impl Crl {
    /// Reads a list in DER.
    ///
    /// # Errors
    /// [`CrlError`] when it cannot be taken at its word.
    pub fn of_der(der: &[u8]) -> Result<Self, CrlError> {
        if der.len() > LARGEST_LIST {
            return Err(CrlError::TooLarge);
        }
        let list = X509Crl::from_der(der).map_err(|_| malformed())?;
        // One list has one encoding, and nothing behind it.
        if list.to_der().ok().as_deref() != Some(der) {
            return Err(CrlError::Malformed);
        }
        let seconds = |time| unix_seconds(time).map_err(|_| malformed());
        let issuer = list.issuer_name().to_owned().map_err(|_| malformed())?;
        let next_update = list.next_update().ok_or(CrlError::Endless)?;
        Ok(Self {
            issuer_text: distinguished_name(&issuer),
            issuer,
            this_update: seconds(list.last_update())?,
            next_update: seconds(next_update)?,
            revoked: Body::of(der).ok_or(CrlError::Malformed)?.revoked()?,
            der: der.into(),
            digest: sha256(der),
            signers: Default::default(),
        })
    }

    /// Who issued it, as a distinguished name.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer_text
    }

    /// When it was made, Unix time.
    #[must_use]
    pub fn this_update(&self) -> i64 {
        self.this_update
    }

    /// The last second at which it is good, Unix time: when the next one comes at the latest.
    #[must_use]
    pub fn next_update(&self) -> i64 {
        self.next_update
    }

    /// How many certificates it revokes.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.revoked.len()
    }

    /// SHA-256 of it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether its issuer has this name.
    #[must_use]
    pub fn is_of(&self, name: &X509NameRef) -> bool {
        self.issuer
            .try_cmp(name)
            .is_ok_and(std::cmp::Ordering::is_eq)
    }

    /// Whether this issuer, which has its name, may sign lists and signed it.
    #[must_use]
    pub fn is_signed_by(&self, issuer: &X509Ref) -> bool {
        let Ok(fingerprint) = Fingerprint::of(issuer) else {
            return false;
        };
        let known = self.signers.iter().map_while(OnceLock::get);
        for (who, signed) in known {
            if *who == fingerprint {
                return *signed;
            }
        }
        let signed =
            self.is_of(issuer.subject_name()) && signs_lists(issuer) && self.verify(issuer);
        for place in &self.signers {
            if place.set((fingerprint, signed)).is_ok() {
                break;
            }
        }
        signed
    }

    /// When it says that a certificate of its issuer was revoked, if it does.
    #[must_use]
    pub fn revokes(&self, certificate: &X509Ref) -> Option<String> {
        // What has no serial number cannot be looked up.
        let encoded = certificate.to_der().ok()?;
        let serial = body::serial_of(&encoded)?;
        self.revoked.get(serial).map(ToString::to_string)
    }

    fn verify(&self, issuer: &X509Ref) -> bool {
        let verified = issuer
            .public_key()
            .and_then(|key| X509Crl::from_der(&self.der)?.verify(&key))
            .unwrap_or(false);
        // A signature that is not the issuer's leaves its reason in the library's error queue.
        let _ = ErrorStack::get();
        verified
    }
}

impl std::fmt::Debug for Crl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crl")
            .field("issuer", &self.issuer_text)
            .field("next_update", &self.next_update)
            .field("entries", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

/// Whether the key usage of a certificate, if it has one, lists cRLSign (RFC 5280, 6.3.3 f).
fn signs_lists(issuer: &X509Ref) -> bool {
    const CRL_SIGN: u8 = 6;
    may_be_used(issuer, CRL_SIGN)
}

/// The library's reason stays out of its error queue.
fn malformed() -> CrlError {
    let _ = ErrorStack::get();
    CrlError::Malformed
}
