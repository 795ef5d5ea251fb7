//! Files with certificates and keys, as people have them: PEM or DER, or standard input.
//!
//! Invariant: what cannot be read is an error that says what the file looks like and how to mend
//! it; nothing of a private key gets into one.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use openssl::{
    pkey::{PKey, Private, Public},
    x509::X509,
};
use portcullis_pki::pem::{Bundle, PemError, certificate_ders, looks_like_pem};

use super::CertError;

/// Nobody has bundles larger than this; a wrong file may be.
const LARGEST: u64 = 32 * 1024 * 1024;

/// What a file holds.
pub struct Input {
    /// Its name, for messages.
    pub place: Place,
    /// Every certificate, in order.
    pub certificates: Vec<X509>,
    /// Every public key, in order.
    pub public_keys: Vec<PKey<Public>>,
    /// The private key.
    pub key: Key,
    /// PEM that had lost its line breaks.
    pub repaired: bool,
}

/// The private key of a file.
pub enum Key {
    /// There is none.
    Absent,
    /// It is there and open.
    Open(PKey<Private>),
    /// It is there, encrypted, and no passphrase was given.
    Locked,
}

/// Where bytes came from.
#[derive(Debug, Clone)]
pub enum Place {
    /// Standard input.
    Input,
    /// A file.
    File(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input => f.write_str("standard input"),
            Self::File(path) => write!(f, "`{}`", path.display()),
        }
    }
}

/// The bytes of a file, or of standard input for `-`.
///
/// # Errors
/// [`CertError::Read`] and [`CertError::TooLarge`].
pub fn bytes(path: &Path) -> Result<(Vec<u8>, Place), CertError> {
    let place = if path == Path::new("-") {
        Place::Input
    } else {
        Place::File(path.to_owned())
    };
    let mut bytes = Vec::new();
    let read = match &place {
        Place::Input => io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes),
        Place::File(path) => {
            fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        }
    };
    match read {
        Ok(_) if bytes.len() as u64 > LARGEST => Err(CertError::TooLarge { place }),
        Ok(_) => Ok((bytes, place)),
        Err(source) => Err(CertError::Read { place, source }),
    }
}

/// Reads certificates and keys. An encrypted key without a passphrase stays [`Key::Locked`].
///
/// # Errors
/// [`CertError::Content`] when it holds neither.
pub fn read(path: &Path, passphrase: Option<&str>) -> Result<Input, CertError> {
    let (bytes, place) = bytes(path)?;
    of_bytes(&bytes, place, passphrase)
}

/// As [`read`], for bytes that are at hand.
///
/// # Errors
/// As [`read`].
pub fn of_bytes(bytes: &[u8], place: Place, passphrase: Option<&str>) -> Result<Input, CertError> {
    let unusable = |source| CertError::Content {
        place: place.clone(),
        source,
    };
    let as_text = std::str::from_utf8(bytes).ok();
    if as_text.is_some_and(looks_like_pem) {
        return match Bundle::parse(bytes, passphrase) {
            Ok(bundle) => Ok(Input {
                place,
                certificates: bundle.certificates,
                public_keys: bundle.public_keys,
                key: bundle.key.map_or(Key::Absent, Key::Open),
                repaired: bundle.repaired,
            }),
            Err(PemError::PassphraseMissing { .. }) => Ok(Input {
                place,
                certificates: certificate_ders(bytes)
                    .iter()
                    .filter_map(|der| X509::from_der(der).ok())
                    .collect(),
                public_keys: Vec::new(),
                key: Key::Locked,
                repaired: false,
            }),
            Err(error) => Err(unusable(error)),
        };
    }
    let mut input = Input {
        place: place.clone(),
        certificates: Vec::new(),
        public_keys: Vec::new(),
        key: Key::Absent,
        repaired: false,
    };
    if let Ok(certificate) = X509::from_der(bytes) {
        input.certificates.push(certificate);
    } else if let Ok(key) = PKey::private_key_from_der(bytes) {
        input.key = Key::Open(key);
    } else if let Ok(key) = PKey::public_key_from_der(bytes) {
        input.public_keys.push(key);
    } else {
        // Each attempt leaves its reason in the library's error queue.
        let _ = openssl::error::ErrorStack::get();
        return Err(match as_text {
            Some(_) => unusable(PemError::Empty),
            None => CertError::Unknown { place },
        });
    }
    let _ = openssl::error::ErrorStack::get();
    Ok(input)
}

/// The text of a small file with one secret, without the line break at its end.
///
/// # Errors
/// When it cannot be read or is empty.
pub fn secret(path: &Path) -> Result<String, CertError> {
    let (bytes, place) = bytes(path)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(CertError::NoSecret { place });
    }
    Ok(text.to_owned())
}
