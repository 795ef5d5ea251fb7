//! Where lists come from: a file in PEM or DER, or inline PEM.
//!
//! PEM may hold several lists, and beside them the certificates of their issuers: where clients do not send
//! these and no allow list names them, nothing else tells whose key a list has to be signed with.
//!
//! Invariant: a source is read whole or not at all; one unusable list in it makes it unusable.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use openssl::x509::X509;

use super::{Crl, CrlError, LARGEST_LIST};
use crate::{
    der::SEQUENCE,
    pem::{PemError, blocks, looks_like_pem},
    reference::{Place, ReferenceError},
};

/// Most bytes of a file or of inline PEM: the largest list in base64, and its issuers.
const LARGEST_TEXT: usize = LARGEST_LIST / 2 * 3;

const LIST: &str = "X509 CRL";
const CERTIFICATE: &str = "CERTIFICATE";

/// What a file or inline PEM holds.
#[derive(Debug)]
pub struct CrlSource {
    /// Its lists, at least one.
    pub lists: Vec<Arc<Crl>>,
    /// Certificates beside them.
    pub issuers: Vec<X509>,
    /// The PEM had lost its line breaks; worth a warning.
    pub repaired: bool,
}

impl CrlSource {
    /// Reads a file, or the text itself where it is PEM.
    ///
    /// # Errors
    /// [`ReferenceError`] when there is no list, or one that cannot be used.
    pub fn load(reference: &str) -> Result<Self, ReferenceError> {
        if looks_like_pem(reference) {
            return Self::of_bytes(reference.as_bytes(), &Place::Inline);
        }
        let path = Path::new(reference);
        if path.as_os_str().is_empty() {
            return Err(ReferenceError::Empty);
        }
        let bytes = read(path).map_err(|source| ReferenceError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::of_bytes(&bytes, &Place::File(path.to_owned()))
    }

    /// Reads bytes that came from a place: one list in DER, or PEM.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn of_bytes(bytes: &[u8], place: &Place) -> Result<Self, ReferenceError> {
        let unusable = |source| ReferenceError::List {
            place: place.clone(),
            source,
        };
        if bytes.len() > LARGEST_TEXT {
            return Err(unusable(CrlError::TooLarge));
        }
        let list = |der: &[u8]| Crl::of_der(der).map(Arc::new).map_err(unusable);
        // PEM is text, and no text begins like a sequence of more than 127 bytes.
        if matches!(bytes, [SEQUENCE, length, ..] if *length >= 0x80) {
            return Ok(Self {
                lists: vec![list(bytes)?],
                issuers: Vec::new(),
                repaired: false,
            });
        }
        let pem = |source| ReferenceError::Pem {
            place: place.clone(),
            source,
        };
        let mut found = Self {
            lists: Vec::new(),
            issuers: Vec::new(),
            repaired: false,
        };
        for block in blocks(bytes, &[LIST, CERTIFICATE]).map_err(pem)? {
            found.repaired |= block.repaired;
            if block.label == LIST {
                found.lists.push(list(&block.der)?);
                continue;
            }
            let certificate = X509::from_der(&block.der).map_err(|source| {
                pem(PemError::Content {
                    index: block.index,
                    label: block.label.to_owned(),
                    source,
                })
            })?;
            found.issuers.push(certificate);
        }
        match found.lists.is_empty() {
            true => Err(unusable(CrlError::Malformed)),
            false => Ok(found),
        }
    }
}

/// A file, or as much of it as tells that it is too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = LARGEST_TEXT as u64 + 1;
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
