//! Strings in configuration that name a certificate: inline PEM, the id of an entry in the
//! certificate store, or a path. The first of the three that fits wins.
//!
//! Invariant: the store itself is asked by whoever has one. Here a store id is what is left when
//! it knows no such entry: the name of a file.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use openssl::error::ErrorStack;

use crate::{
    certified::{Care, CertifiedKey},
    crl::CrlError,
    file::FileStamp,
    pem::{Bundle, PemError, RawBundle, looks_like_pem},
};

/// What a reference is, by its looks alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// PEM text in the configuration itself.
    Inline(&'a str),
    /// Looks like a store id: organisation (may be empty) and 64 hex digits. When the store has no
    /// such entry, a file of this name is meant.
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
    /// Neither in the store nor a file.
    #[error(
        "certificate {id} not found: the certificate store has no entry of this id, and there is no file of this name; upload it (POST /tyk/certs), or name a file or inline PEM"
    )]
    Unknown {
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
    /// The private key is not sound.
    #[error("the private key in {place} cannot be read")]
    Key {
        /// Where the text came from.
        place: Place,
        /// Why.
        #[source]
        source: ErrorStack,
    },
    /// A certificate revocation list that cannot be used.
    #[error("{place} cannot be used as a certificate revocation list")]
    List {
        /// Where it came from.
        place: Place,
        /// Why.
        #[source]
        source: CrlError,
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
/// encrypted key. A store id is taken for the name of a file.
pub fn load(reference: &str, passphrase: Option<&str>) -> Result<Loaded, ReferenceError> {
    let (raw, place, stamps) = match Reference::classify(reference) {
        Reference::Inline(text) => (
            RawBundle::read(text.as_bytes(), passphrase).map_err(|source| ReferenceError::Pem {
                place: Place::Inline,
                source,
            })?,
            Place::Inline,
            Vec::new(),
        ),
        found => {
            let path = path_of(found)?;
            let (raw, stamp) = read(path, passphrase, RawBundle::read)?;
            (raw, Place::File(path.to_owned()), vec![stamp])
        }
    };
    let key = raw.key.ok_or_else(|| ReferenceError::NoKey {
        place: place.clone(),
    })?;
    Ok(Loaded {
        pair: CertifiedKey::join(raw.certificates, key, &place, None, Care::Whole)?,
        stamps,
        repaired: raw.repaired,
    })
}

/// Loads whatever PEM `reference` names, with or without a key.
pub fn load_bundle(
    reference: &str,
    passphrase: Option<&str>,
) -> Result<(Bundle, Place, Vec<FileStamp>), ReferenceError> {
    match Reference::classify(reference) {
        Reference::Inline(text) => {
            let bundle = Bundle::parse(text.as_bytes(), passphrase).map_err(|source| {
                ReferenceError::Pem {
                    place: Place::Inline,
                    source,
                }
            })?;
            Ok((bundle, Place::Inline, Vec::new()))
        }
        found => {
            let path = path_of(found)?;
            let (bundle, stamp) = read(path, passphrase, Bundle::parse)?;
            Ok((bundle, Place::File(path.to_owned()), vec![stamp]))
        }
    }
}

fn path_of(reference: Reference<'_>) -> Result<&Path, ReferenceError> {
    match reference {
        Reference::StoreId(id) if !Path::new(id).exists() => {
            Err(ReferenceError::Unknown { id: id.to_owned() })
        }
        Reference::StoreId(name) | Reference::Inline(name) => Ok(Path::new(name)),
        Reference::Path(path) if path.as_os_str().is_empty() => Err(ReferenceError::Empty),
        Reference::Path(path) => Ok(path),
    }
}

/// Loads a chain from `certificate` and its private key from `key`, two PEM files. They may
/// be the same file, and either may hold more than its part.
pub fn load_pair(
    certificate: &Path,
    key: &Path,
    passphrase: Option<&str>,
) -> Result<Loaded, ReferenceError> {
    let (chain, chain_stamp) = read(certificate, passphrase, RawBundle::read)?;
    let (keys, key_stamp) = read(key, passphrase, RawBundle::read)?;
    let repaired = chain.repaired || keys.repaired;
    let (key_place, chain_place) = (
        Place::File(key.to_owned()),
        Place::File(certificate.to_owned()),
    );
    let key = keys.key.ok_or_else(|| ReferenceError::NoKey {
        place: key_place.clone(),
    })?;
    let pair = CertifiedKey::join(
        chain.certificates,
        key,
        &key_place,
        Some(&chain_place),
        Care::Whole,
    )?;
    Ok(Loaded {
        pair,
        stamps: vec![chain_stamp, key_stamp],
        repaired,
    })
}

fn read<T>(
    path: &Path,
    passphrase: Option<&str>,
    parse: impl FnOnce(&[u8], Option<&str>) -> Result<T, PemError>,
) -> Result<(T, FileStamp), ReferenceError> {
    let unreadable = |source| ReferenceError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // Stamped before reading: a change in between is seen as a change later, never missed.
    let stamp = FileStamp::of(path).map_err(unreadable)?;
    let text = fs::read(path).map_err(unreadable)?;
    let parsed = parse(&text, passphrase).map_err(|source| ReferenceError::Pem {
        place: Place::File(path.to_owned()),
        source,
    })?;
    Ok((parsed, stamp))
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
    fn a_store_id_that_is_nowhere_says_where_it_was_looked_for() {
        let id = format!("default{}", "ab".repeat(32));
        assert_eq!(Reference::classify(&id), Reference::StoreId(&id));
        let error = load(&id, None).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&id) && text.contains("the certificate store has no entry"),
            "{text}"
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
