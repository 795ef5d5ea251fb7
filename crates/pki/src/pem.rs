//! Reads PEM as it is found in the wild.
//!
//! A bundle is any text with `-----BEGIN …-----` blocks. A byte order mark, CRLF, indentation
//! and text between the blocks do not matter. PEM that lost its line breaks (pasted into a
//! JSON string or an environment variable) is read too, and [`Bundle::repaired`] says so, so
//! that a caller can warn.
//!
//! Invariants:
//! - The order of certificates is the order in the text; the first is the leaf.
//! - A bundle is read whole or not at all: one broken block is an error, never a shorter chain.

use openssl::{
    base64,
    error::ErrorStack,
    pkey::{PKey, Private, Public},
    x509::X509,
};

use crate::{
    der::{Elements, SEQUENCE},
    legacy::{self, LegacyError},
    wiped::Wiped,
};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Whether `text` holds PEM rather than a name or a path.
pub fn looks_like_pem(text: &str) -> bool {
    text.contains(BEGIN)
}

/// Certificates and keys found in one PEM text.
pub struct Bundle {
    /// Every `CERTIFICATE` block, in order.
    pub certificates: Vec<X509>,
    /// The private key; the last one when there are several.
    pub key: Option<PKey<Private>>,
    /// Every `PUBLIC KEY` block, in order.
    pub public_keys: Vec<PKey<Public>>,
    /// How many private keys the text held.
    pub private_keys: usize,
    /// Whether line breaks were missing and had to be put back.
    pub repaired: bool,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle")
            .field("certificates", &self.certificates.len())
            .field("private_keys", &self.private_keys)
            .field("public_keys", &self.public_keys.len())
            .finish_non_exhaustive()
    }
}

/// Why a PEM text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// No block at all.
    #[error("no PEM block found: expected text with -----BEGIN CERTIFICATE-----")]
    Empty,
    /// Bytes that are not text.
    #[error("not text: a PEM file is expected, this looks like binary (DER or PKCS#12?)")]
    NotText,
    /// A block without its end line.
    #[error("block {index} ({label}) has no matching END line: the text is cut off")]
    Unterminated {
        /// Position of the block in the text, from 1.
        index: usize,
        /// Its label, such as `CERTIFICATE`.
        label: String,
    },
    /// The body is not base64.
    #[error("block {index} ({label}) is not valid base64")]
    Base64 {
        /// Position of the block in the text, from 1.
        index: usize,
        /// Its label.
        label: String,
    },
    /// The body is not what the label says.
    #[error("block {index} ({label}) does not hold what its label says")]
    Content {
        /// Position of the block in the text, from 1.
        index: usize,
        /// Its label.
        label: String,
        /// What the decoder said.
        #[source]
        source: ErrorStack,
    },
    /// An encrypted block and no passphrase.
    #[error("block {index} is encrypted and no passphrase is configured")]
    PassphraseMissing {
        /// Position of the block in the text, from 1.
        index: usize,
    },
    /// An encrypted block that the passphrase does not open.
    #[error("the passphrase does not open block {index}, which is encrypted")]
    PassphraseWrong {
        /// Position of the block in the text, from 1.
        index: usize,
    },
    /// An encryption we cannot undo.
    #[error("block {index} is encrypted with {algorithm:?}; accepted are {accepted}", accepted = legacy::CIPHERS)]
    Encryption {
        /// Position of the block in the text, from 1.
        index: usize,
        /// The name the block gives.
        algorithm: String,
    },
}

impl Bundle {
    /// Reads every block of `text`. `passphrase` opens encrypted ones.
    pub fn parse(text: &[u8], passphrase: Option<&str>) -> Result<Bundle, PemError> {
        let text = std::str::from_utf8(text).map_err(|_| PemError::NotText)?;
        let mut bundle = Bundle {
            certificates: Vec::new(),
            key: None,
            public_keys: Vec::new(),
            private_keys: 0,
            repaired: false,
        };
        let mut blocks = 0;
        for block in Blocks::of(text) {
            let block = block?;
            blocks += 1;
            bundle.repaired |= block.one_line;
            bundle.add(&block, passphrase)?;
        }
        if blocks == 0 {
            Err(PemError::Empty)
        } else {
            Ok(bundle)
        }
    }

    fn add(&mut self, block: &Block<'_>, passphrase: Option<&str>) -> Result<(), PemError> {
        let content = |source| PemError::Content {
            index: block.index,
            label: block.label.to_owned(),
            source,
        };
        if block.label == "CERTIFICATE" {
            self.certificates
                .push(X509::from_der(&block.opened(passphrase)?).map_err(content)?);
        } else if block.label == "PUBLIC KEY" {
            self.public_keys
                .push(PKey::public_key_from_der(&block.opened(passphrase)?).map_err(content)?);
        } else if block.label.ends_with("PRIVATE KEY") {
            self.key = Some(block.private_key(passphrase)?);
            self.private_keys += 1;
        }
        // Other labels (EC PARAMETERS, TRUSTED CERTIFICATE, …) carry nothing we use.
        Ok(())
    }
}

/// The DER of a text's certificates and key, which nobody has looked into yet.
pub(crate) struct RawBundle {
    /// Every `CERTIFICATE` block, in order.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// The private key, its encryption undone; the last one when there are several.
    pub(crate) key: Option<Wiped>,
    /// Whether line breaks were missing and had to be put back.
    pub(crate) repaired: bool,
}

impl RawBundle {
    /// Reads every block of `text`. `passphrase` opens encrypted ones.
    pub(crate) fn read(text: &[u8], passphrase: Option<&str>) -> Result<RawBundle, PemError> {
        let text = std::str::from_utf8(text).map_err(|_| PemError::NotText)?;
        let mut bundle = RawBundle {
            certificates: Vec::new(),
            key: None,
            repaired: false,
        };
        let mut blocks = 0;
        for block in Blocks::of(text) {
            let block = block?;
            blocks += 1;
            bundle.repaired |= block.one_line;
            if block.label == "CERTIFICATE" {
                bundle.certificates.push(block.opened(passphrase)?.to_vec());
            } else if block.label.ends_with("PRIVATE KEY") {
                bundle.key = Some(block.private_key_der(passphrase)?);
            }
        }
        if blocks == 0 {
            Err(PemError::Empty)
        } else {
            Ok(bundle)
        }
    }
}

/// A block that is not encrypted.
pub(crate) struct PlainBlock<'l> {
    /// Its label.
    pub(crate) label: &'l str,
    /// Its position in the text, from 1.
    pub(crate) index: usize,
    /// What it holds.
    pub(crate) der: Vec<u8>,
    /// Its line breaks were missing and had to be put back.
    pub(crate) repaired: bool,
}

/// Every block of `text` with one of these labels, in order.
pub(crate) fn blocks<'l>(text: &[u8], labels: &[&'l str]) -> Result<Vec<PlainBlock<'l>>, PemError> {
    let text = std::str::from_utf8(text).map_err(|_| PemError::NotText)?;
    let mut found = Vec::new();
    for block in Blocks::of(text) {
        let block = block?;
        if let Some(label) = labels.iter().find(|label| **label == block.label) {
            found.push(PlainBlock {
                label,
                index: block.index,
                der: block.der()?,
                repaired: block.one_line,
            });
        }
    }
    Ok(found)
}

/// The DER of every `CERTIFICATE` block of `text` that can be decoded; the others are passed
/// over. For collections of trusted authorities, where one odd entry must not cost the rest.
pub fn certificate_ders(text: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(text) else {
        return Vec::new();
    };
    Blocks::of(text)
        .flatten()
        .filter(|block| block.label == "CERTIFICATE")
        .filter_map(|block| block.der().ok())
        .collect()
}

/// One block, its body still text.
struct Block<'a> {
    index: usize,
    label: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: String,
    /// Its END stands on the line of its BEGIN.
    one_line: bool,
}

impl Block<'_> {
    fn der(&self) -> Result<Vec<u8>, PemError> {
        let broken = || PemError::Base64 {
            index: self.index,
            label: self.label.to_owned(),
        };
        if self.body.is_empty() || !self.body.len().is_multiple_of(4) {
            return Err(broken());
        }
        base64::decode_block(&self.body).map_err(|_| broken())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, v)| *v)
    }

    /// Whether its header lines say that it is encrypted.
    fn is_sealed(&self) -> bool {
        let process = self.header("Proc-Type").unwrap_or_default();
        process.contains("ENCRYPTED") || self.header("DEK-Info").is_some()
    }

    /// What it holds, with the encryption of its header lines undone.
    fn opened(&self, passphrase: Option<&str>) -> Result<Wiped, PemError> {
        let index = self.index;
        let der = Wiped::new(self.der()?);
        if !self.is_sealed() {
            return Ok(der);
        }
        let passphrase = passphrase.ok_or(PemError::PassphraseMissing { index })?;
        let info = self.header("DEK-Info").unwrap_or_default();
        legacy::open(&der, info, passphrase).map_err(|error| match error {
            LegacyError::Passphrase => PemError::PassphraseWrong { index },
            LegacyError::Cipher => PemError::Encryption {
                index,
                algorithm: info.to_owned(),
            },
        })
    }

    fn private_key(&self, passphrase: Option<&str>) -> Result<PKey<Private>, PemError> {
        let der = self.private_key_der(passphrase)?;
        PKey::private_key_from_der(&der).map_err(|source| match self.is_encrypted() {
            // A wrong passphrase passes the padding check once in 256 times and may show here.
            true => PemError::PassphraseWrong { index: self.index },
            false => PemError::Content {
                index: self.index,
                label: self.label.to_owned(),
                source,
            },
        })
    }

    /// The key's DER, its encryption undone.
    fn private_key_der(&self, passphrase: Option<&str>) -> Result<Wiped, PemError> {
        let index = self.index;
        let der = self.opened(passphrase)?;
        if self.is_encrypted() {
            // What a wrong passphrase gives is no DER.
            return match is_whole_sequence(&der) {
                true => Ok(der),
                false => Err(PemError::PassphraseWrong { index }),
            };
        }
        if self.label != "ENCRYPTED PRIVATE KEY" {
            return Ok(der);
        }
        let passphrase = passphrase.ok_or(PemError::PassphraseMissing { index })?;
        PKey::private_key_from_pkcs8_passphrase(&der, passphrase.as_bytes())
            .and_then(|key| key.private_key_to_pkcs8())
            .map(Wiped::new)
            .map_err(|_| PemError::PassphraseWrong { index })
    }

    /// Whether header lines say that its contents are encrypted.
    fn is_encrypted(&self) -> bool {
        self.header("Proc-Type").is_some() || self.header("DEK-Info").is_some()
    }
}

/// Whether `der` is one sequence and nothing more.
fn is_whole_sequence(der: &[u8]) -> bool {
    let mut elements = Elements(der);
    elements
        .next()
        .is_some_and(|element| element.tag == SEQUENCE)
        && elements.0.is_empty()
}

/// Walks over the blocks of a text.
struct Blocks<'a> {
    rest: &'a str,
    found: usize,
}

impl<'a> Blocks<'a> {
    fn of(text: &'a str) -> Blocks<'a> {
        Blocks {
            rest: text,
            found: 0,
        }
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, PemError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.rest.find(BEGIN)? + BEGIN.len();
        self.found += 1;
        let index = self.found;
        let after = &self.rest[start..];
        // A label ends on its own line; more dashes would swallow the next block.
        let label = after.find(DASHES).map_or("", |end| &after[..end]);
        let unterminated = || PemError::Unterminated {
            index,
            label: label.trim().to_owned(),
        };
        if label.is_empty() || label.contains('\n') {
            self.rest = "";
            return Some(Err(unterminated()));
        }
        let inner = &after[label.len() + DASHES.len()..];
        let end = format!("{END}{label}{DASHES}");
        // An END that lies behind another BEGIN belongs to that one.
        let limit = inner.find(BEGIN).unwrap_or(inner.len());
        let Some(stop) = inner[..limit].find(&end) else {
            self.rest = "";
            return Some(Err(unterminated()));
        };
        self.rest = &inner[stop + end.len()..];
        Some(Ok(block(index, label, &inner[..stop])))
    }
}

fn block<'a>(index: usize, label: &'a str, inner: &'a str) -> Block<'a> {
    let mut headers = Vec::new();
    let mut body = String::with_capacity(inner.len());
    for line in inner.lines() {
        // Base64 has no colon, so a line with one is a header.
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.trim(), value.trim())),
            None => body.extend(line.chars().filter(|c| !c.is_whitespace())),
        }
    }
    let one_line = !inner.contains(['\n', '\r']);
    Block {
        index,
        label,
        headers,
        body,
        one_line,
    }
}

#[cfg(test)]
mod tests {
    use openssl::symm::Cipher;

    use super::*;
    use crate::make::{Algorithm, Pair, make_ca, make_server};

    fn pair(algorithm: Algorithm) -> Pair {
        let ca = make_ca("Test CA", algorithm, 30).unwrap();
        make_server(&ca, &["localhost"], algorithm, 30).unwrap()
    }

    fn text(pair: &Pair) -> String {
        format!("{}{}", pair.certificate_pem(), pair.key_pem())
    }

    #[test]
    fn a_certificate_and_its_key_are_read_in_every_key_type() {
        for algorithm in [Algorithm::P256, Algorithm::Rsa2048, Algorithm::Ed25519] {
            let pair = pair(algorithm);
            let bundle = Bundle::parse(text(&pair).as_bytes(), None).unwrap();
            assert_eq!(bundle.certificates.len(), 1);
            let key = bundle.key.unwrap();
            assert!(key.public_eq(&bundle.certificates[0].public_key().unwrap()));
            assert!(!bundle.repaired);
        }
    }

    /// CRLF, padding and a byte order mark do not hurt.
    #[test]
    fn a_mark_crlf_and_white_space_around_and_inside_do_not_matter() {
        let pair = pair(Algorithm::P256);
        let text = format!(
            "\u{feff}\r\n  {}\n\n",
            text(&pair).replace('\n', "  \r\n\t")
        );
        let bundle = Bundle::parse(text.as_bytes(), None).unwrap();
        assert_eq!(bundle.certificates.len(), 1);
        assert!(bundle.key.is_some() && !bundle.repaired);
    }

    #[test]
    fn pem_pasted_on_one_line_is_read_and_reported_as_repaired() {
        let pair = pair(Algorithm::P256);
        let bundle = Bundle::parse(text(&pair).replace('\n', " ").as_bytes(), None).unwrap();
        assert!(bundle.repaired);
        assert_eq!(
            bundle.certificates[0].to_der().unwrap(),
            pair.certificate.to_der().unwrap()
        );
        assert!(bundle.key.is_some());
    }

    /// What is malformed or cut off is an error, not a shorter bundle.
    #[test]
    fn a_cut_or_garbled_block_is_an_error_that_names_the_block() {
        let good = text(&pair(Algorithm::P256));
        let cut = &good[..good.len() - 20];
        assert!(matches!(
            Bundle::parse(cut.as_bytes(), None),
            Err(PemError::Unterminated { index: 2, .. })
        ));
        let garbled = good.replacen("MII", "M!I", 1);
        assert!(matches!(
            Bundle::parse(garbled.as_bytes(), None),
            Err(PemError::Base64 { index: 1, .. })
        ));
        let swapped = good.replace("PRIVATE KEY", "CERTIFICATE");
        assert!(matches!(
            Bundle::parse(swapped.as_bytes(), None),
            Err(PemError::Content { index: 2, .. })
        ));
        assert!(matches!(
            Bundle::parse(b"certs/server.pem", None),
            Err(PemError::Empty)
        ));
        assert!(matches!(
            Bundle::parse(&[0x30, 0x82, 0xff], None),
            Err(PemError::NotText)
        ));
    }

    #[test]
    fn a_public_key_alone_is_a_bundle_without_certificate_or_private_key() {
        let pair = pair(Algorithm::P256);
        let public = pair.key.public_key_to_pem().unwrap();
        let bundle = Bundle::parse(&public, None).unwrap();
        assert_eq!(bundle.public_keys.len(), 1);
        assert!(bundle.certificates.is_empty() && bundle.key.is_none());
    }

    #[test]
    fn sec1_and_pkcs1_keys_are_read() {
        let ec = pair(Algorithm::P256)
            .key
            .ec_key()
            .unwrap()
            .private_key_to_pem()
            .unwrap();
        assert!(String::from_utf8_lossy(&ec).contains("BEGIN EC PRIVATE KEY"));
        assert!(Bundle::parse(&ec, None).unwrap().key.is_some());
        let rsa = pair(Algorithm::Rsa2048)
            .key
            .rsa()
            .unwrap()
            .private_key_to_pem()
            .unwrap();
        assert!(String::from_utf8_lossy(&rsa).contains("BEGIN RSA PRIVATE KEY"));
        assert!(Bundle::parse(&rsa, None).unwrap().key.is_some());
    }

    #[test]
    fn a_key_encrypted_the_traditional_way_opens_with_its_passphrase_only() {
        let key = pair(Algorithm::P256).key;
        for cipher in [
            Cipher::aes_256_cbc(),
            Cipher::aes_128_cbc(),
            Cipher::des_ede3_cbc(),
        ] {
            let sealed = key
                .ec_key()
                .unwrap()
                .private_key_to_pem_passphrase(cipher, b"open sesame")
                .unwrap();
            assert!(String::from_utf8_lossy(&sealed).contains("Proc-Type: 4,ENCRYPTED"));
            let opened = Bundle::parse(&sealed, Some("open sesame"))
                .unwrap()
                .key
                .unwrap();
            assert!(opened.public_eq(&key));
            assert!(matches!(
                Bundle::parse(&sealed, Some("wrong")),
                Err(PemError::PassphraseWrong { index: 1 })
            ));
            assert!(matches!(
                Bundle::parse(&sealed, None),
                Err(PemError::PassphraseMissing { index: 1 })
            ));
        }
    }
}
