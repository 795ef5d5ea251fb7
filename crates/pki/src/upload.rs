//! What the certificate store takes in: which texts, under which id, kept in which form.
//!
//! Uploads are refused with the words of a Tyk gateway, which are Go's where Go does the looking, so that
//! scripts that compare them work unchanged. Checks run in the order of the blocks: the first one that
//! offends decides what is said.
//!
//! Invariants:
//! - An id is the organisation and the SHA-256 of the first certificate (or of the last public key, where
//!   there is nothing else), whatever else was sent along and however it was spelled.
//! - What is stored holds certificates in their order, then the key, and the key never in clear.
//! - A key that is stored belongs to the first certificate.

use openssl::{
    error::ErrorStack,
    pkey::{Id, PKey, Private},
    x509::X509,
};

use crate::{
    block::{Block, blocks},
    certificate::{Fingerprint, KeyKind, unix_seconds},
    der, legacy,
};

/// An upload that may be stored.
#[derive(Debug)]
pub struct Upload {
    fingerprint: Fingerprint,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Certificates {
        chain: Vec<Block>,
        key: Option<(Block, KeyKind)>,
    },
    PublicKey(Block),
}

/// Why an upload may not be stored, in the words clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Neither a certificate nor a public key in it.
    #[error("Failed to decode certificate. It should be PEM encoded.")]
    Nothing,
    /// A second private key.
    #[error("Found multiple private keys")]
    SeveralKeys,
    /// One of the certificates is past its end.
    #[error("certificate is expired")]
    Expired,
    /// A certificate and a public key.
    #[error("Public keys can't be combined with certificates")]
    Mixed,
    /// A certificate that is none.
    #[error("x509: {0}")]
    Certificate(&'static str),
    /// A private key that is none, or that cannot go with the first certificate.
    #[error("tls: {0}")]
    Key(&'static str),
}

impl Upload {
    /// Looks at an upload; `now` in Unix seconds.
    ///
    /// # Errors
    /// [`UploadError`], the first reason in the order of the text.
    pub fn parse(text: &[u8], now: i64) -> Result<Self, UploadError> {
        let mut chain = Vec::new();
        let mut leaf = None;
        let mut key = None;
        let mut public_key = None;
        for block in blocks(text) {
            if block.is_private_key() {
                if key.replace(block).is_some() {
                    return Err(UploadError::SeveralKeys);
                }
            } else if block.label == "CERTIFICATE" {
                let certificate = certificate(&block.bytes)?;
                if unix_seconds(certificate.not_after()).is_ok_and(|end| end < now) {
                    return Err(UploadError::Expired);
                }
                leaf.get_or_insert((Fingerprint::of_der(&block.bytes), certificate));
                chain.push(block);
            } else if block.label == "PUBLIC KEY" {
                public_key = Some(block);
            }
        }
        match (leaf, public_key) {
            (None, None) => Err(UploadError::Nothing),
            (Some(_), Some(_)) => Err(UploadError::Mixed),
            (None, Some(_)) if key.is_some() => Err(UploadError::Key(
                "failed to find \"CERTIFICATE\" PEM block in certificate input after skipping \
                 PEM blocks of the following types: [PUBLIC KEY]",
            )),
            (None, Some(block)) => Ok(Self {
                fingerprint: Fingerprint::of_der(&block.bytes),
                content: Content::PublicKey(block),
            }),
            (Some((fingerprint, leaf)), None) => {
                let key = match key {
                    Some(block) => {
                        let kind = key_of(&block.bytes, &leaf)?;
                        Some((block, kind))
                    }
                    None => None,
                };
                Ok(Self {
                    fingerprint,
                    content: Content::Certificates { chain, key },
                })
            }
        }
    }

    /// Its id in an organisation, whose name is taken as it is and may be empty.
    pub fn id(&self, org: &str) -> String {
        format!("{org}{}", self.fingerprint)
    }

    /// The kind of its private key, when it has one.
    pub fn private_key(&self) -> Option<KeyKind> {
        match &self.content {
            Content::Certificates { key, .. } => key.as_ref().map(|(_, kind)| *kind),
            Content::PublicKey(_) => None,
        }
    }

    /// The text that is stored, its key encrypted.
    ///
    /// # Errors
    /// When the library cannot encrypt.
    pub fn to_stored(&self, passphrase: &str) -> Result<String, ErrorStack> {
        match &self.content {
            Content::PublicKey(block) => Ok(block.to_pem()),
            Content::Certificates { chain, key } => {
                let mut texts: Vec<String> = chain.iter().map(Block::to_pem).collect();
                if let Some((key, _)) = key {
                    texts.push(legacy::seal(&key.bytes, passphrase)?.to_pem());
                }
                // Each text ends its last line, so this puts an empty line between two.
                Ok(texts.join("\n"))
            }
        }
    }
}

/// The certificate that is exactly these bytes.
fn certificate(bytes: &[u8]) -> Result<X509, UploadError> {
    match der::Elements(bytes).next() {
        Some(whole) if whole.tag == der::SEQUENCE => {
            if whole.length < bytes.len() {
                return Err(UploadError::Certificate("trailing data"));
            }
            let body = der::sequence(whole.contents);
            let Some(body) = body else {
                return Err(UploadError::Certificate("malformed tbs certificate"));
            };
            X509::from_der(bytes).map_err(|_| UploadError::Certificate(certificate_problem(body)))
        }
        _ => Err(UploadError::Certificate("malformed certificate")),
    }
}

/// Which part of a certificate's body is the first that is not there.
fn certificate_problem(body: &[u8]) -> &'static str {
    const VERSION: u8 = 0xa0;
    const INTEGER: u8 = 0x02;
    let mut parts = der::Elements(body).peekable();
    parts.next_if(|part| part.tag == VERSION);
    for (tag, problem) in [
        (INTEGER, "malformed serial number"),
        (der::SEQUENCE, "malformed signature algorithm identifier"),
        (der::SEQUENCE, "malformed issuer"),
        (der::SEQUENCE, "malformed validity"),
        (der::SEQUENCE, "malformed issuer"),
        (der::SEQUENCE, "malformed spki"),
    ] {
        if parts.next().is_none_or(|part| part.tag != tag) {
            return problem;
        }
    }
    "malformed certificate"
}

/// The kind of the private key that is these bytes, if it belongs to a certificate.
fn key_of(bytes: &[u8], leaf: &X509) -> Result<KeyKind, UploadError> {
    let key: PKey<Private> = PKey::private_key_from_der(bytes)
        .map_err(|_| UploadError::Key("failed to parse private key"))?;
    if !is_common(key.id()) {
        return Err(UploadError::Key(
            "found unknown private key type in PKCS#8 wrapping",
        ));
    }
    let unknown = UploadError::Key("unknown public key algorithm");
    let Ok(public) = leaf.public_key() else {
        return Err(unknown);
    };
    if !is_common(public.id()) {
        return Err(unknown);
    }
    if key.id() != public.id() {
        return Err(UploadError::Key(
            "private key type does not match public key type",
        ));
    }
    if !public.public_eq(&key) {
        // The comparison leaves its reason in the library's error queue: not ours to keep.
        let _ = ErrorStack::get();
        return Err(UploadError::Key("private key does not match public key"));
    }
    Ok(KeyKind::of(&key))
}

/// Whether keys of this type are used in TLS by everybody.
fn is_common(id: Id) -> bool {
    matches!(id, Id::RSA | Id::EC | Id::ED25519)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{Entry, EntryError},
        make::{Algorithm, Pair, make_ca, make_client, make_server},
        pem::Bundle,
    };

    const SECRET: &str = "352d20ee67be67f6340b4c0605b044b7";
    const DAY: i64 = 86_400;

    fn now() -> i64 {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        i64::try_from(since.as_secs()).unwrap()
    }

    fn ca() -> Pair {
        make_ca("Upload CA", Algorithm::P256, 365).unwrap()
    }

    fn pair(algorithm: Algorithm) -> Pair {
        make_server(&ca(), &["localhost"], algorithm, 30).unwrap()
    }

    fn parse(text: &str) -> Result<Upload, UploadError> {
        Upload::parse(text.as_bytes(), now())
    }

    #[track_caller]
    fn refuses(text: &str, message: &str) {
        assert_eq!(parse(text).unwrap_err().to_string(), message);
    }

    fn public_key(pair: &Pair) -> String {
        String::from_utf8(pair.key.public_key_to_pem().unwrap()).unwrap()
    }

    #[test]
    fn an_id_is_the_organisation_and_the_hash_of_the_first_certificate_or_of_the_last_public_key() {
        let (one, other) = (pair(Algorithm::P256), pair(Algorithm::P256));
        let print = Fingerprint::of(&one.certificate).unwrap();
        let (cert, key) = (one.certificate_pem(), one.key_pem());
        for text in [
            cert.clone(),
            format!("{cert}{key}"),
            format!("{key}{cert}"),
            format!("{cert}{}", other.certificate_pem()),
            cert.replace('\n', "\r\n"),
        ] {
            assert_eq!(parse(&text).unwrap().id("1"), format!("1{print}"));
        }
        assert_eq!(parse(&cert).unwrap().id(""), print.to_string());

        let block =
            |body| format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        assert_eq!(
            parse(&block("YQ==")).unwrap().id(""),
            "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
        );
        assert_eq!(
            parse(&(block("AAEC") + &block("YQ=="))).unwrap().id(""),
            parse(&block("YQ==")).unwrap().id("")
        );
    }

    #[test]
    fn certificates_are_stored_in_order_with_an_empty_line_between_and_the_key_last_and_encrypted()
    {
        let (leaf, ca) = (pair(Algorithm::P256), ca());
        let (cert, key, root) = (leaf.certificate_pem(), leaf.key_pem(), ca.certificate_pem());
        let text = format!("Bag Attributes\r\n  x: y\r\n{key}{cert}noise\n{root}");
        let stored = parse(&text).unwrap().to_stored(SECRET).unwrap();
        let rest = stored.strip_prefix(&format!("{cert}\n{root}\n")).unwrap();
        let mut lines = rest.lines();
        assert_eq!(lines.next(), Some("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        assert_eq!(lines.next(), Some("Proc-Type: 4,ENCRYPTED"));
        let iv = lines.next().unwrap().strip_prefix("DEK-Info: AES-256-CBC,");
        let iv = iv.unwrap();
        assert!(iv.len() == 32 && iv.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(iv, iv.to_lowercase());
        assert_eq!(lines.next(), Some(""));
        assert!(rest.ends_with("\n-----END ENCRYPTED PRIVATE KEY-----\n"));
        assert_eq!(parse(&cert).unwrap().to_stored(SECRET).unwrap(), cert);
        assert_eq!(
            parse(&public_key(&leaf))
                .unwrap()
                .to_stored(SECRET)
                .unwrap(),
            public_key(&leaf)
        );
    }

    #[test]
    fn what_was_stored_reads_back_with_the_same_key_in_every_key_type_and_encoding() {
        let (rsa, ec, ed) = (
            pair(Algorithm::Rsa2048),
            pair(Algorithm::P256),
            pair(Algorithm::Ed25519),
        );
        let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
        let pkcs1 = text(rsa.key.rsa().unwrap().private_key_to_pem().unwrap());
        let sec1 = text(ec.key.ec_key().unwrap().private_key_to_pem().unwrap());
        let parameters =
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        for (pair, key) in [
            (&rsa, rsa.key_pem()),
            (&rsa, pkcs1),
            (&ec, ec.key_pem()),
            (&ec, format!("{parameters}{sec1}")),
            (&ed, ed.key_pem()),
        ] {
            let upload = parse(&format!("{}{key}", pair.certificate_pem())).unwrap();
            assert_eq!(upload.private_key(), Some(KeyKind::of(&pair.key)));
            let stored = upload.to_stored(SECRET).unwrap();
            assert!(!stored.contains("EC PARAMETERS"));
            let Entry::Certificate(bundle) = Entry::parse(stored.as_bytes(), SECRET).unwrap()
            else {
                panic!("a certificate was stored");
            };
            assert!(bundle.key.unwrap().public_eq(&pair.key));
            assert_eq!(bundle.certificates.len(), 1);
            let shown = format!("{upload:?}");
            assert!(
                shown.contains("PRIVATE KEY") && !shown.contains("bytes: ["),
                "{shown}"
            );
        }
    }

    #[test]
    fn an_entry_that_does_not_open_gives_nothing_and_says_why() {
        let pair = pair(Algorithm::P256);
        let (cert, key) = (pair.certificate_pem(), pair.key_pem());
        let stored = parse(&format!("{cert}{key}"))
            .unwrap()
            .to_stored(SECRET)
            .unwrap();
        assert!(matches!(
            Entry::parse(stored.as_bytes(), "another"),
            Err(EntryError::Secret)
        ));
        // Without a key there is nothing that a secret could spoil.
        assert!(
            !Entry::parse(cert.as_bytes(), "another")
                .unwrap()
                .has_private_key()
        );
        for (damaged, expected) in [
            (stored.replace("AES-256-CBC", "CAMELLIA"), "CAMELLIA"),
            (stored[..stored.len() - 40].to_owned(), "cut off"),
            (stored.replacen("MII", "M!I", 1), "not valid base64"),
            (
                format!("{cert}{}", self::pair(Algorithm::P256).key_pem()),
                "does not belong",
            ),
            (key, "neither a certificate nor a public key"),
            (String::new(), "neither a certificate nor a public key"),
        ] {
            let error = Entry::parse(damaged.as_bytes(), SECRET).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let Entry::PublicKey(print) = Entry::parse(public_key(&pair).as_bytes(), SECRET).unwrap()
        else {
            panic!("a public key");
        };
        assert_eq!(print.to_string(), parse(&public_key(&pair)).unwrap().id(""));
    }

    #[test]
    fn every_reason_to_refuse_has_its_words() {
        let nothing = "Failed to decode certificate. It should be PEM encoded.";
        let (rsa, other, ec) = (
            pair(Algorithm::Rsa2048),
            pair(Algorithm::Rsa2048),
            pair(Algorithm::P256),
        );
        let (cert, key) = (rsa.certificate_pem(), rsa.key_pem());
        for text in ["", "hello", &key, &cert.replace("CERTIFICATE", "X509 CRL")] {
            refuses(text, nothing);
        }
        refuses(&format!("{cert}{key}{key}"), "Found multiple private keys");
        refuses(
            &format!("{cert}{}", public_key(&rsa)),
            "Public keys can't be combined with certificates",
        );
        refuses(
            &format!("{cert}{}", other.key_pem()),
            "tls: private key does not match public key",
        );
        refuses(
            &format!("{cert}{}", ec.key_pem()),
            "tls: private key type does not match public key type",
        );
        refuses(
            &format!("{}{key}", public_key(&rsa)),
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks \
             of the following types: [PUBLIC KEY]",
        );
        let broken = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n";
        refuses(broken, "x509: malformed certificate");
        // A key elsewhere in the chain is not the leaf's.
        refuses(
            &format!("{}{cert}{key}", ec.certificate_pem()),
            "tls: private key type does not match public key type",
        );
    }

    #[test]
    fn a_certificate_is_exactly_its_bytes_and_the_first_broken_part_is_named() {
        let der = pair(Algorithm::P256).certificate.to_der().unwrap();
        let refuses = |der: &[u8], message: &str| {
            let text = Block::new("CERTIFICATE", der.to_vec()).to_pem();
            refuses(&text, message);
        };
        refuses(&[der.as_slice(), &[0]].concat(), "x509: trailing data");
        refuses(&der[..der.len() - 1], "x509: malformed certificate");
        refuses(&[0x30, 0x00], "x509: malformed tbs certificate");
        refuses(&[0x30, 0x02, 0x30, 0x00], "x509: malformed serial number");
        refuses(&[], "x509: malformed certificate");
    }

    #[test]
    fn an_expired_certificate_anywhere_in_the_bundle_is_refused_and_a_future_one_is_not() {
        let (long, short) = (ca(), pair(Algorithm::P256));
        let bundle = format!("{}{}", long.certificate_pem(), short.certificate_pem());
        let at = |days: i64| Upload::parse(bundle.as_bytes(), now() + days * DAY).map(|_| ());
        assert_eq!(at(29), Ok(()));
        assert_eq!(at(31), Err(UploadError::Expired));
        assert_eq!(at(-31), Ok(()));
        // The block that comes first decides what is said.
        let later = now() + 31 * DAY;
        let broken = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n";
        assert_eq!(
            Upload::parse(format!("{bundle}{broken}").as_bytes(), later).unwrap_err(),
            UploadError::Expired
        );
        assert_eq!(
            Upload::parse(format!("{broken}{bundle}").as_bytes(), later).unwrap_err(),
            UploadError::Certificate("malformed certificate")
        );
    }

    #[test]
    fn an_encrypted_key_is_refused_whichever_way_it_is_encrypted() {
        let pair = make_client(&ca(), "client", Algorithm::P256, 30).unwrap();
        let cipher = openssl::symm::Cipher::aes_256_cbc();
        let pkcs8 = pair.key.private_key_to_pem_pkcs8_passphrase(cipher, b"x");
        let legacy = pair
            .key
            .ec_key()
            .unwrap()
            .private_key_to_pem_passphrase(cipher, b"x");
        for key in [pkcs8.unwrap(), legacy.unwrap()] {
            let key = String::from_utf8(key).unwrap();
            assert!(
                Bundle::parse(key.as_bytes(), Some("x")).is_ok(),
                "readable elsewhere"
            );
            refuses(
                &format!("{}{key}", pair.certificate_pem()),
                "tls: failed to parse private key",
            );
        }
    }
}
