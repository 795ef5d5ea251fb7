//! Strings in configuration that name a certificate: inline PEM, a path, or (later) the id of
//! an entry in the certificate store.
//!
//! Invariant: a [`CertifiedKey`] holds a chain together with the key that signs for its first
//! certificate; there is no other way to make one.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use openssl::{
    error::ErrorStack,
    pkey::{PKey, PKeyRef, Private},
};

use crate::{
    certificate::CertificateFacts,
    file::FileStamp,
    pem::{Bundle, PemError, looks_like_pem},
};

/// What a reference is, by its looks alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// PEM text in the configuration itself.
    Inline(&'a str),
    /// Looks like a store id: organisation (may be empty) and 64 hex digits. A file of this
    /// name wins, since the store is not there yet.
    StoreId(&'a str),
    /// A path.
    Path(&'a Path),
}

impl<'a> Reference<'a> {
    /// Classifies `text`.
    pub fn classify(text: &'a str) -> Reference<'a> {
        let trimmed = text.trim();
        if looks_like_pem(text) {
            Reference::Inline(text)
        } else if is_store_id(trimmed) {
            Reference::StoreId(trimmed)
        } else {
            Reference::Path(Path::new(trimmed))
        }
    }
}

fn is_store_id(text: &str) -> bool {
    let start = text.len().saturating_sub(64);
    text.len() >= 64
        && text.is_char_boundary(start)
        && text[start..].bytes().all(|b| b.is_ascii_hexdigit())
        && text[..start]
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Why a reference yields no usable pair. Texts never contain key material.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The reference is empty.
    #[error("the certificate reference is empty; a path or inline PEM is accepted")]
    Empty,
    /// A store id, and there is no store yet.
    #[error(
        "certificate {id} not found: the certificate store arrives with a later version; a file path or inline PEM is accepted"
    )]
    StoreNotYet {
        /// The id asked for.
        id: String,
    },
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The PEM cannot be used.
    #[error("{place} is not a usable PEM bundle")]
    Pem {
        /// Where the text came from.
        place: Place,
        /// Why.
        #[source]
        source: PemError,
    },
    /// No certificate in it.
    #[error("{place} holds no certificate")]
    NoCertificate {
        /// Where the text came from.
        place: Place,
    },
    /// No private key in it.
    #[error("{place} holds no private key")]
    NoKey {
        /// Where the text came from.
        place: Place,
    },
    /// Key and certificate do not belong together.
    #[error(
        "the private key in {place} does not belong to the certificate of {subject:?}{}",
        certificate.as_ref().map(|c| format!(" in {c}")).unwrap_or_default()
    )]
    KeyMismatch {
        /// Where the key came from.
        place: Place,
        /// Where the certificate came from, when that is elsewhere.
        certificate: Option<Place>,
        /// Common name of the certificate.
        subject: String,
    },
    /// The certificate cannot be read through.
    #[error("the certificate in {place} cannot be read")]
    Certificate {
        /// Where the text came from.
        place: Place,
        /// Why.
        #[source]
        source: ErrorStack,
    },
}

/// Where PEM text came from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The configuration itself.
    Inline,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Inline => f.write_str("the inline PEM"),
            Place::File(path) => path.display().fmt(f),
        }
    }
}

/// A certificate chain with the key of its first certificate, kept small: the chain is DER,
/// parsed only when somebody asks.
pub struct CertifiedKey {
    chain: Vec<Box<[u8]>>,
    key: PKey<Private>,
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
    pub fn chain(&self) -> &[Box<[u8]>] {
        &self.chain
    }

    /// The leaf's private key.
    pub fn key(&self) -> &PKeyRef<Private> {
        &self.key
    }

    /// What the leaf says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// Takes a bundle with certificate and key, for example of [`Bundle::parse`].
    pub fn from_bundle(bundle: Bundle, place: &Place) -> Result<CertifiedKey, ReferenceError> {
        let key = bundle.key.ok_or_else(|| ReferenceError::NoKey {
            place: place.clone(),
        })?;
        CertifiedKey::join(&bundle.certificates, key, place, None)
    }

    fn join(
        certificates: &[openssl::x509::X509],
        key: PKey<Private>,
        place: &Place,
        certificate_place: Option<&Place>,
    ) -> Result<CertifiedKey, ReferenceError> {
        let of = certificate_place.unwrap_or(place);
        let leaf = certificates
            .first()
            .ok_or_else(|| ReferenceError::NoCertificate { place: of.clone() })?;
        let broken = |source| ReferenceError::Certificate {
            place: of.clone(),
            source,
        };
        let facts = CertificateFacts::of(leaf).map_err(broken)?;
        if !leaf.public_key().is_ok_and(|public| public.public_eq(&key)) {
            // The comparison leaves its reason in the library's error queue: not ours to keep.
            let _ = ErrorStack::get();
            return Err(ReferenceError::KeyMismatch {
                place: place.clone(),
                certificate: certificate_place.cloned(),
                subject: facts.subject_cn,
            });
        }
        let chain = certificates
            .iter()
            .map(|certificate| certificate.to_der().map(Vec::into_boxed_slice))
            .collect::<Result<_, _>>()
            .map_err(broken)?;
        Ok(CertifiedKey { chain, key, facts })
    }
}

/// A pair together with what is needed to notice that its source changed.
#[derive(Debug)]
pub struct Loaded {
    /// The pair.
    pub pair: CertifiedKey,
    /// Stamps of the files it was read from, taken before reading; empty for inline PEM.
    pub stamps: Vec<FileStamp>,
    /// Whether the PEM had lost its line breaks; worth a warning.
    pub repaired: bool,
}

impl Loaded {
    /// Whether the files are still what they were when they were read.
    pub fn is_current(&self) -> bool {
        self.stamps.iter().all(FileStamp::is_current)
    }
}

/// Loads the certificate chain and private key `reference` names. `passphrase` opens an
/// encrypted key.
pub fn load(reference: &str, passphrase: Option<&str>) -> Result<Loaded, ReferenceError> {
    let (bundle, place, stamps) = load_bundle(reference, passphrase)?;
    let repaired = bundle.repaired;
    Ok(Loaded {
        pair: CertifiedKey::from_bundle(bundle, &place)?,
        stamps,
        repaired,
    })
}

/// Loads whatever PEM `reference` names, with or without a key.
pub fn load_bundle(
    reference: &str,
    passphrase: Option<&str>,
) -> Result<(Bundle, Place, Vec<FileStamp>), ReferenceError> {
    let path = match Reference::classify(reference) {
        Reference::Inline(text) => {
            let place = Place::Inline;
            let bundle = Bundle::parse(text.as_bytes(), passphrase).map_err(|source| {
                ReferenceError::Pem {
                    place: place.clone(),
                    source,
                }
            })?;
            return Ok((bundle, place, Vec::new()));
        }
        Reference::StoreId(id) if !Path::new(id).exists() => {
            return Err(ReferenceError::StoreNotYet { id: id.to_owned() });
        }
        Reference::StoreId(name) => Path::new(name),
        Reference::Path(path) if path.as_os_str().is_empty() => return Err(ReferenceError::Empty),
        Reference::Path(path) => path,
    };
    let (bundle, stamp) = read_bundle(path, passphrase)?;
    Ok((bundle, Place::File(path.to_owned()), vec![stamp]))
}

/// Loads a chain from `certificate` and its private key from `key`, two PEM files. They may
/// be the same file, and either may hold more than its part.
pub fn load_pair(
    certificate: &Path,
    key: &Path,
    passphrase: Option<&str>,
) -> Result<Loaded, ReferenceError> {
    let (chain, chain_stamp) = read_bundle(certificate, passphrase)?;
    let (keys, key_stamp) = read_bundle(key, passphrase)?;
    let repaired = chain.repaired || keys.repaired;
    let (key_place, chain_place) = (
        Place::File(key.to_owned()),
        Place::File(certificate.to_owned()),
    );
    let key = keys.key.ok_or_else(|| ReferenceError::NoKey {
        place: key_place.clone(),
    })?;
    let pair = CertifiedKey::join(&chain.certificates, key, &key_place, Some(&chain_place))?;
    Ok(Loaded {
        pair,
        stamps: vec![chain_stamp, key_stamp],
        repaired,
    })
}

fn read_bundle(
    path: &Path,
    passphrase: Option<&str>,
) -> Result<(Bundle, FileStamp), ReferenceError> {
    let unreadable = |source| ReferenceError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // Stamped before reading: a change in between is seen as a change later, never missed.
    let stamp = FileStamp::of(path).map_err(unreadable)?;
    let text = fs::read(path).map_err(unreadable)?;
    let bundle = Bundle::parse(&text, passphrase).map_err(|source| ReferenceError::Pem {
        place: Place::File(path.to_owned()),
        source,
    })?;
    Ok((bundle, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::make::{Algorithm, Pair, make_ca, make_server};

    fn server() -> Pair {
        let ca = make_ca("Reference CA", Algorithm::P256, 30).unwrap();
        make_server(&ca, &["localhost"], Algorithm::P256, 30).unwrap()
    }

    /// The same certificate by path and inline.
    #[test]
    fn path_and_inline_pem_name_the_same_certificate() {
        let server = server();
        let text = format!("{}{}", server.certificate_pem(), server.key_pem());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.pem");
        fs::write(&path, &text).unwrap();
        let by_path = load(path.to_str().unwrap(), None).unwrap();
        let inline = load(&text, None).unwrap();
        assert_eq!(by_path.pair.facts(), inline.pair.facts());
        assert!(by_path.is_current() && by_path.stamps.len() == 1 && inline.stamps.is_empty());
        fs::write(&path, "gone").unwrap();
        assert!(!by_path.is_current() && inline.is_current());
    }

    #[test]
    fn certificate_and_key_may_come_from_two_files() {
        let server = server();
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("s.pem"), dir.path().join("s.key"));
        fs::write(&cert, server.certificate_pem()).unwrap();
        fs::write(&key, server.key_pem()).unwrap();
        let loaded = load_pair(&cert, &key, None).unwrap();
        assert_eq!(loaded.pair.facts().dns_names, ["localhost"]);
        assert_eq!(loaded.stamps.len(), 2);
        assert!(matches!(
            load_pair(&cert, &cert, None),
            Err(ReferenceError::NoKey { .. })
        ));
        let error = load_pair(&dir.path().join("none.pem"), &key, None).unwrap_err();
        assert!(
            error.to_string().contains("none.pem cannot be read"),
            "{error}"
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_a_mismatch_that_names_the_files() {
        let (one, other) = (server(), server());
        let text = format!("{}{}", one.certificate_pem(), other.key_pem());
        let error = load(&text, None).unwrap_err();
        assert!(matches!(error, ReferenceError::KeyMismatch { .. }));
        assert_eq!(
            error.to_string(),
            "the private key in the inline PEM does not belong to the certificate of \"localhost\""
        );
    }

    #[test]
    fn a_store_id_is_recognised_and_says_what_works_today() {
        let id = format!("default{}", "ab".repeat(32));
        assert_eq!(Reference::classify(&id), Reference::StoreId(&id));
        let error = load(&id, None).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("a file path or inline PEM is accepted"),
            "{error}"
        );
        let path = format!("/etc/certs/{}", "ab".repeat(32));
        assert_eq!(
            Reference::classify(&path),
            Reference::Path(Path::new(&path))
        );
    }

    #[test]
    fn a_chain_keeps_its_order_and_the_first_certificate_gives_the_facts() {
        let ca = make_ca("Chain CA", Algorithm::P256, 30).unwrap();
        let server = make_server(&ca, &["localhost"], Algorithm::P256, 30).unwrap();
        let text = format!(
            "{}{}{}",
            server.key_pem(),
            server.certificate_pem(),
            ca.certificate_pem()
        );
        let pair = load(&text, None).unwrap().pair;
        assert_eq!(pair.chain().len(), 2);
        assert_eq!(pair.facts().subject_cn, "localhost");
        assert_eq!(
            &*pair.chain()[1],
            ca.certificate.to_der().unwrap().as_slice()
        );
    }

    #[test]
    fn debug_output_holds_no_key() {
        let server = server();
        let loaded = load(
            &format!("{}{}", server.certificate_pem(), server.key_pem()),
            None,
        )
        .unwrap();
        assert!(!format!("{loaded:?}{server:?}").contains("PRIVATE"));
    }
}
