//! A certificate chain with the key of its first certificate, small enough to keep by the
//! hundred thousand.
//!
//! Invariants:
//! - Chain and key belong together: there is no way to make a [`CertifiedKey`] that does not
//!   compare their public parts.
//! - Everything is DER; the library's objects, many times as large, are made when somebody needs
//!   them. Certificates that many chains have in common are kept once.
//! - A private key is wiped from memory when it is let go, and never printed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use openssl::{
    error::ErrorStack,
    memcmp,
    pkey::{PKey, Private},
    x509::{X509, X509Ref},
};

use crate::{
    certificate::{CertificateFacts, Fingerprint},
    der::{BIT_STRING, Elements, INTEGER, OCTET_STRING, SEQUENCE, sequence},
    entry::EntryError,
    pem::{PemError, RawBundle},
    reference::{Place, ReferenceError},
    wiped::Wiped,
};

/// A certificate chain with the key of its first certificate.
pub struct CertifiedKey {
    chain: Box<[Arc<[u8]>]>,
    /// PKCS#1, PKCS#8 or SEC1, as it was found.
    key: Wiped,
    facts: CertificateFacts,
}

impl fmt::Debug for CertifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertifiedKey")
            .field("facts", &self.facts)
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

impl CertifiedKey {
    /// DER of the certificates, leaf first.
    pub fn chain(&self) -> &[Arc<[u8]>] {
        &self.chain
    }

    /// The leaf's private key, made of its DER anew: keep it while it is needed.
    ///
    /// # Errors
    /// When the library finds the key inconsistent in itself, which only a stored entry that
    /// nobody checked when it was written can be.
    pub fn key(&self) -> Result<PKey<Private>, ErrorStack> {
        PKey::private_key_from_der(&self.key)
    }

    /// Whether `other` is the same pair with the same chain.
    pub fn same_as(&self, other: &CertifiedKey) -> bool {
        let same_length = self.key.len() == other.key.len();
        self.chain == other.chain && same_length && memcmp::eq(&self.key, &other.key)
    }

    /// What the leaf says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// Takes the text of an entry of the certificate store, whose key `passphrase` opens.
    ///
    /// Made for many: where the key's DER carries its public part and that is the certificate's,
    /// the library's own look at the key is left to [`CertifiedKey::key`].
    ///
    /// # Errors
    /// [`EntryError`] for an entry that cannot be read or has no key.
    pub fn from_entry(text: &[u8], passphrase: &str) -> Result<CertifiedKey, EntryError> {
        let raw = RawBundle::read(text, Some(passphrase)).map_err(|error| match error {
            PemError::PassphraseWrong { .. } => EntryError::Secret,
            other => EntryError::Broken(other),
        })?;
        if raw.certificates.is_empty() {
            return Err(EntryError::Nothing);
        }
        let key = raw.key.ok_or(EntryError::NoKey)?;
        let place = Place::Inline;
        let pair = CertifiedKey::join(raw.certificates, key, &place, None, Care::PublicPart);
        pair.map_err(|error| match error {
            ReferenceError::KeyMismatch { .. } => EntryError::KeyMismatch,
            ReferenceError::Key { source, .. } => damaged("PRIVATE KEY", source),
            ReferenceError::Certificate { source, .. } => damaged("CERTIFICATE", source),
            _ => EntryError::Nothing,
        })
    }

    pub(crate) fn join(
        certificates: Vec<Vec<u8>>,
        key: Wiped,
        place: &Place,
        certificate_place: Option<&Place>,
        care: Care,
    ) -> Result<CertifiedKey, ReferenceError> {
        let of = certificate_place.unwrap_or(place);
        let broken = |source| ReferenceError::Certificate {
            place: of.clone(),
            source,
        };
        let der = certificates
            .first()
            .ok_or_else(|| ReferenceError::NoCertificate { place: of.clone() })?;
        let leaf = X509::from_der(der).map_err(broken)?;
        let facts = CertificateFacts::of(&leaf).map_err(broken)?;
        let belongs = match care {
            Care::PublicPart if carries_public_part_of(&key, der) => true,
            _ => key_belongs(&key, &leaf, place)?,
        };
        if !belongs {
            return Err(ReferenceError::KeyMismatch {
                place: place.clone(),
                certificate: certificate_place.cloned(),
                subject: facts.subject_cn,
            });
        }
        let mut chain = Vec::with_capacity(certificates.len());
        for (index, der) in certificates.into_iter().enumerate() {
            if index == 0 {
                chain.push(der.into());
            } else {
                // Whatever is sent to clients has been looked at.
                X509::from_der(&der).map_err(broken)?;
                chain.push(shared(der));
            }
        }
        Ok(CertifiedKey {
            chain: chain.into_boxed_slice(),
            key,
            facts,
        })
    }
}

fn damaged(label: &str, source: ErrorStack) -> EntryError {
    EntryError::Broken(PemError::Content {
        index: 1,
        label: label.to_owned(),
        source,
    })
}

/// How closely a key is looked at before it is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// By the library, which also checks the key in itself.
    Whole,
    /// By the public part that its DER carries, where it carries one.
    PublicPart,
}

fn key_belongs(key: &Wiped, leaf: &X509Ref, place: &Place) -> Result<bool, ReferenceError> {
    let key = PKey::private_key_from_der(key).map_err(|source| ReferenceError::Key {
        place: place.clone(),
        source,
    })?;
    let belongs = leaf.public_key().is_ok_and(|public| public.public_eq(&key));
    if !belongs {
        // The comparison leaves its reason in the library's error queue: not ours to keep.
        let _ = ErrorStack::get();
    }
    Ok(belongs)
}

/// True when a private key's DER repeats the public key of this certificate byte by byte. False says
/// nothing: not every encoding carries it.
fn carries_public_part_of(key: &[u8], certificate: &[u8]) -> bool {
    let Some((algorithm, public)) = subject_public_key(certificate) else {
        return false;
    };
    let Some(found) = outline(key) else {
        return false;
    };
    if found.inner != SEQUENCE {
        return repeats(&found, public);
    }
    // PKCS#8: an algorithm, then one of the other two.
    let mut parts = Elements(found.rest);
    let (Some(kind), Some(wrapped)) = (parts.next(), parts.next()) else {
        return false;
    };
    kind.contents == algorithm
        && wrapped.tag == OCTET_STRING
        && outline(wrapped.contents).is_some_and(|inner| repeats(&inner, public))
}

/// A key's DER behind its version number.
struct Outline<'a> {
    rest: &'a [u8],
    /// Tag of the first element behind the version.
    inner: u8,
}

fn outline(key: &[u8]) -> Option<Outline<'_>> {
    let mut parts = Elements(sequence(key)?);
    parts.next().filter(|version| version.tag == INTEGER)?;
    let rest = parts.0;
    let inner = parts.next()?.tag;
    Some(Outline { rest, inner })
}

/// PKCS#1 repeats modulus and exponent, SEC1 may repeat the point.
fn repeats(key: &Outline<'_>, public: &[u8]) -> bool {
    /// `[1]` around the point.
    const POINT: u8 = 0xa1;
    match key.inner {
        INTEGER => {
            let mut ours = Elements(key.rest);
            let Some(mut theirs) = sequence(public).map(Elements) else {
                return false;
            };
            let pair = |elements: &mut Elements<'_>| {
                Some([elements.next()?, elements.next()?].map(|number| number.contents.to_vec()))
            };
            let ours = pair(&mut ours);
            ours.is_some() && ours == pair(&mut theirs)
        }
        OCTET_STRING => Elements(key.rest)
            .find(|element| element.tag == POINT)
            .and_then(|point| Elements(point.contents).next())
            .is_some_and(|point| point.tag == BIT_STRING && bits(point.contents) == Some(public)),
        _ => false,
    }
}

/// Algorithm (contents of its sequence) and key of a certificate's subject.
fn subject_public_key(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    const VERSION: u8 = 0xa0;
    // Serial number, signature algorithm, issuer, validity, subject, key.
    let info = Elements(sequence(sequence(certificate)?)?)
        .filter(|element| element.tag != VERSION)
        .nth(5)?;
    let mut parts = Elements(info.contents);
    let algorithm = parts.next().filter(|part| part.tag == SEQUENCE)?;
    let key = parts.next().filter(|part| part.tag == BIT_STRING)?;
    Some((algorithm.contents, bits(key.contents)?))
}

/// The octets of a bit string that fills them.
fn bits(contents: &[u8]) -> Option<&[u8]> {
    contents
        .split_first()
        .filter(|(unused, _)| **unused == 0)
        .map(|(_, octets)| octets)
}

/// One copy of a certificate that many chains hold.
fn shared(der: Vec<u8>) -> Arc<[u8]> {
    static KNOWN: Mutex<Known> = Mutex::new(Known {
        by_print: None,
        limit: 256,
    });
    let print = Fingerprint::of_der(&der);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let Known { by_print, limit } = &mut *known;
    let by_print = by_print.get_or_insert_default();
    if let Some(copy) = by_print.get(&print).and_then(Weak::upgrade) {
        return copy;
    }
    if by_print.len() >= *limit {
        by_print.retain(|_, copy| copy.strong_count() > 0);
        *limit = (by_print.len() * 2).max(256);
    }
    let copy: Arc<[u8]> = der.into();
    by_print.insert(print, Arc::downgrade(&copy));
    copy
}

struct Known {
    by_print: Option<HashMap<Fingerprint, Weak<[u8]>>>,
    /// Size at which those that are gone are forgotten.
    limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::make::{Algorithm, Pair, make_ca, make_server};

    const SECRET: &str = "a secret";

    fn entry(text: &str) -> Result<CertifiedKey, EntryError> {
        CertifiedKey::from_entry(text.as_bytes(), SECRET)
    }

    fn pairs() -> [Pair; 3] {
        let ca = make_ca("Certified CA", Algorithm::P256, 30).unwrap();
        [Algorithm::P256, Algorithm::Rsa2048, Algorithm::Ed25519]
            .map(|algorithm| make_server(&ca, &["localhost"], algorithm, 30).unwrap())
    }

    #[test]
    fn an_entry_gives_its_chain_and_a_key_that_signs_for_it() {
        for pair in pairs() {
            let text = format!("{}\n{}", pair.certificate_pem(), pair.key_pem());
            let certified = entry(&text).unwrap();
            let public = pair.certificate.public_key().unwrap();
            assert!(certified.key().unwrap().public_eq(&public));
            assert_eq!(certified.facts().dns_names, ["localhost"]);
        }
    }

    #[test]
    fn the_public_part_in_a_key_is_found_in_every_encoding_that_has_it() {
        let [ec, rsa, ed25519] = pairs();
        let der = |pair: &Pair| pair.certificate.to_der().unwrap();
        let sec1 = ec.key.private_key_to_der().unwrap();
        let pkcs1 = rsa.key.private_key_to_der().unwrap();
        assert!(carries_public_part_of(&sec1, &der(&ec)));
        assert!(carries_public_part_of(&pkcs1, &der(&rsa)));
        for pair in [&ec, &rsa] {
            let pkcs8 = pair.key.private_key_to_pkcs8().unwrap();
            assert!(carries_public_part_of(&pkcs8, &der(pair)));
        }
        // Of an Ed25519 key the library computes it.
        let pkcs8 = ed25519.key.private_key_to_pkcs8().unwrap();
        assert!(!carries_public_part_of(&pkcs8, &der(&ed25519)));
        assert!(!carries_public_part_of(&sec1, &der(&rsa)));
        assert!(!carries_public_part_of(&pkcs1, &der(&ec)));
        assert!(!carries_public_part_of(b"", &der(&ec)));
        assert!(!carries_public_part_of(&sec1, b""));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_in_every_kind() {
        for (one, other) in pairs().iter().zip(&pairs()) {
            let text = format!("{}{}", one.certificate_pem(), other.key_pem());
            let error = entry(&text).unwrap_err();
            assert!(matches!(error, EntryError::KeyMismatch), "{error}");
        }
    }

    #[test]
    fn an_entry_without_a_key_is_no_pair() {
        let [pair, ..] = pairs();
        let error = entry(&pair.certificate_pem()).unwrap_err();
        assert!(matches!(error, EntryError::NoKey), "{error}");
    }

    #[test]
    fn chains_keep_one_copy_of_the_authorities_they_share() {
        let ca = make_ca("Shared CA", Algorithm::P256, 30).unwrap();
        let chain = || {
            let leaf = make_server(&ca, &["localhost"], Algorithm::P256, 30).unwrap();
            let text = leaf.certificate_pem() + &ca.certificate_pem() + &leaf.key_pem();
            entry(&text).unwrap()
        };
        let (one, other) = (chain(), chain());
        assert!(Arc::ptr_eq(&one.chain()[1], &other.chain()[1]));
        assert!(!Arc::ptr_eq(&one.chain()[0], &other.chain()[0]));
    }

    /// What stays in memory of one of a hundred thousand, certificate and key aside.
    #[test]
    fn a_pair_at_rest_is_small() {
        assert!(size_of::<CertifiedKey>() <= 200);
    }
}
