//! What references lead to: a certificate with its key that is served, certificates that are listed, or
//! revocation lists.

use std::path::Path;

use openssl::x509::X509;
use portcullis_pki::{
    CertifiedKey, Entry, EntryError, KeyKind, ReferenceError, crl::CrlSource, load, load_pair,
    pem::Bundle, reference::load_bundle,
};

/// What is read from an entry of the store, a file, or PEM text.
pub trait Content: Sized + Send + Sync + 'static {
    /// Whether what was read stays in use when its source turns bad or goes. A certificate that is served
    /// does: without it nobody could connect. One that lets somebody pass does not: taking its file
    /// away must take the right away.
    const OUTLIVES_ITS_SOURCE: bool;

    /// Reads an entry of the store; `passphrase` opens its key.
    ///
    /// # Errors
    /// [`EntryError`].
    fn of_entry(text: &[u8], passphrase: &str) -> Result<Self, EntryError>;

    /// Reads a file or PEM text, and says whether it had to be repaired.
    ///
    /// # Errors
    /// [`ReferenceError`].
    fn of_text(reference: &str, passphrase: &str) -> Result<(Self, bool), ReferenceError>;

    /// Why it cannot be used for what it is read for.
    fn unusable(&self) -> Option<String>;

    /// Whether it is the same as another.
    fn same_as(&self, other: &Self) -> bool;
}

impl Content for CertifiedKey {
    const OUTLIVES_ITS_SOURCE: bool = true;

    fn of_entry(text: &[u8], passphrase: &str) -> Result<Self, EntryError> {
        CertifiedKey::from_entry(text, passphrase)
    }

    fn of_text(reference: &str, passphrase: &str) -> Result<(Self, bool), ReferenceError> {
        let loaded = load(reference, Some(passphrase))?;
        Ok((loaded.pair, loaded.repaired))
    }

    fn unusable(&self) -> Option<String> {
        (self.facts().key == KeyKind::Other).then(|| {
            format!(
                "the certificate of {:?} has {}, which TLS servers cannot use",
                self.facts().subject_cn,
                KeyKind::Other
            )
        })
    }

    fn same_as(&self, other: &Self) -> bool {
        CertifiedKey::same_as(self, other)
    }
}

/// Reads a certificate from one file and its key from another, and says whether either had to be
/// repaired.
pub(super) fn of_pair(
    certificate: &Path,
    key: &Path,
    passphrase: &str,
) -> Result<(CertifiedKey, bool), ReferenceError> {
    let loaded = load_pair(certificate, key, Some(passphrase))?;
    Ok((loaded.pair, loaded.repaired))
}

/// Certificates somebody lists: of clients that may pass, of authorities. Empty for a bare public key,
/// which lets nobody pass.
pub struct ListedCertificates(Vec<X509>);

impl ListedCertificates {
    /// In the order of their PEM.
    pub fn as_slice(&self) -> &[X509] {
        &self.0
    }
}

impl Content for ListedCertificates {
    const OUTLIVES_ITS_SOURCE: bool = false;

    fn of_entry(text: &[u8], passphrase: &str) -> Result<Self, EntryError> {
        match Entry::parse(text, passphrase)? {
            Entry::Certificate(bundle) => Ok(Self(bundle.certificates)),
            Entry::PublicKey(_) => Ok(Self(Vec::new())),
        }
    }

    fn of_text(reference: &str, passphrase: &str) -> Result<(Self, bool), ReferenceError> {
        let (
            Bundle {
                certificates,
                repaired,
                ..
            },
            _,
            _,
        ) = load_bundle(reference, Some(passphrase))?;
        Ok((Self(certificates), repaired))
    }

    fn unusable(&self) -> Option<String> {
        None
    }

    fn same_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.0, &other.0);
        let der = |certificate: &X509| certificate.to_der().unwrap_or_default();
        ours.len() == theirs.len() && ours.iter().map(der).eq(theirs.iter().map(der))
    }
}

impl Content for CrlSource {
    /// A list that is gone would let in whom it revoked; it says itself until when it is good.
    const OUTLIVES_ITS_SOURCE: bool = true;

    fn of_entry(_text: &[u8], _passphrase: &str) -> Result<Self, EntryError> {
        // The store takes certificates and keys only.
        Err(EntryError::Nothing)
    }

    fn of_text(reference: &str, _passphrase: &str) -> Result<(Self, bool), ReferenceError> {
        let source = Self::load(reference)?;
        let repaired = source.repaired;
        Ok((source, repaired))
    }

    fn unusable(&self) -> Option<String> {
        None
    }

    fn same_as(&self, other: &Self) -> bool {
        let digests = |source: &Self| -> Vec<[u8; 32]> {
            source.lists.iter().map(|list| list.digest()).collect()
        };
        digests(self) == digests(other)
    }
}
