//! What a certificate says: names, validity, key, and the fingerprint it is known by.

use std::fmt;

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{HasPublic, Id, PKeyRef},
    sha::sha256,
    x509::{X509NameRef, X509Ref},
};

use crate::der;

/// SHA-256 of a certificate's DER: the name of a certificate all over the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &X509Ref) -> Result<Fingerprint, ErrorStack> {
        let digest = certificate.digest(MessageDigest::sha256())?;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&digest);
        Ok(Fingerprint(bytes))
    }

    /// A fingerprint that is known already.
    #[must_use]
    pub fn of_bytes(bytes: [u8; 32]) -> Fingerprint {
        Fingerprint(bytes)
    }

    /// The fingerprint of a certificate given as DER.
    pub fn of_der(der: &[u8]) -> Fingerprint {
        Fingerprint(sha256(der))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Upper-case hex with colons, as browsers and `openssl x509 -fingerprint` print it.
    pub fn with_colons(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        parts.join(":")
    }
}

/// Lower-case hex, the form used in ids and lists.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The kind of a key, as far as TLS has to tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA, with the size of its modulus in bits.
    Rsa {
        /// Bits of the modulus.
        bits: u32,
    },
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
    /// A key TLS certificates do not use.
    Other,
}

impl KeyKind {
    /// The kind of `key`.
    pub fn of<T: HasPublic>(key: &PKeyRef<T>) -> KeyKind {
        match key.id() {
            Id::RSA => KeyKind::Rsa { bits: key.bits() },
            Id::ED25519 => KeyKind::Ed25519,
            Id::EC => match key.ec_key().ok().and_then(|ec| ec.group().curve_name()) {
                Some(Nid::X9_62_PRIME256V1) => KeyKind::EcdsaP256,
                Some(Nid::SECP384R1) => KeyKind::EcdsaP384,
                Some(Nid::SECP521R1) => KeyKind::EcdsaP521,
                _ => KeyKind::Other,
            },
            _ => KeyKind::Other,
        }
    }

    /// Whether TLS 1.2 calls its suites `ECDHE_RSA`.
    pub fn is_rsa(self) -> bool {
        matches!(self, KeyKind::Rsa { .. })
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyKind::Rsa { bits } => write!(f, "RSA {bits}"),
            KeyKind::EcdsaP256 => f.write_str("ECDSA P-256"),
            KeyKind::EcdsaP384 => f.write_str("ECDSA P-384"),
            KeyKind::EcdsaP521 => f.write_str("ECDSA P-521"),
            KeyKind::Ed25519 => f.write_str("Ed25519"),
            KeyKind::Other => f.write_str("an unsupported key type"),
        }
    }
}

/// What we remember of a certificate without keeping it parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of the DER.
    pub fingerprint: Fingerprint,
    /// Common name of the subject, empty when there is none.
    pub subject_cn: String,
    /// Common name of the issuer, empty when there is none.
    pub issuer_cn: String,
    /// DNS names among the subject alternative names, lower-cased, in order.
    pub dns_names: Vec<String>,
    /// First second of validity, Unix time.
    pub not_before: i64,
    /// Last second of validity, Unix time.
    pub not_after: i64,
    /// Whether it may issue certificates.
    pub is_ca: bool,
    /// The key it certifies.
    pub key: KeyKind,
}

impl CertificateFacts {
    /// Reads a certificate.
    pub fn of(certificate: &X509Ref) -> Result<CertificateFacts, ErrorStack> {
        let dns_names = certificate
            .subject_alt_names()
            .map_or_else(Vec::new, |names| {
                names
                    .iter()
                    .filter_map(|n| n.dnsname())
                    .map(str::to_ascii_lowercase)
                    .collect()
            });
        Ok(CertificateFacts {
            fingerprint: Fingerprint::of(certificate)?,
            subject_cn: common_name(certificate.subject_name()),
            issuer_cn: common_name(certificate.issuer_name()),
            dns_names,
            not_before: unix_seconds(certificate.not_before())?,
            not_after: unix_seconds(certificate.not_after())?,
            is_ca: is_ca(certificate),
            key: certificate
                .public_key()
                .map_or(KeyKind::Other, |key| KeyKind::of(&key)),
        })
    }

    /// The names a server certificate is served for: its DNS names, or its common name when
    /// it has none.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let fallback = self.dns_names.is_empty() && !self.subject_cn.is_empty();
        self.dns_names
            .iter()
            .map(String::as_str)
            .chain(fallback.then_some(self.subject_cn.as_str()))
    }

    /// Whether one of its DNS names covers `host` (lower-cased, no trailing dot). A wildcard
    /// stands for exactly one label; the common name does not count.
    pub fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.dns_names
            .iter()
            .any(|name| match name.strip_prefix("*.") {
                Some(rest) => parent == Some(rest),
                None => name == host,
            })
    }

    /// Whole days until it expires at `now` (Unix seconds); negative once it has expired.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(86_400)
    }
}

/// SHA-256 of a certificate's public key (SubjectPublicKeyInfo).
#[must_use]
pub fn public_key_digest(certificate: &X509Ref) -> Option<[u8; 32]> {
    let key = certificate.public_key().ok()?;
    Some(sha256(&key.public_key_to_der().ok()?))
}

/// The Unix time of an ASN.1 time.
pub fn unix_seconds(time: &Asn1TimeRef) -> Result<i64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

fn common_name(name: &X509NameRef) -> String {
    // The last one is the most specific.
    name.entries_by_nid(Nid::COMMONNAME)
        .last()
        .and_then(|entry| entry.data().to_string().ok())
        .unwrap_or_default()
}

/// Whether the basic constraints say that it may issue certificates.
fn is_ca(certificate: &X509Ref) -> bool {
    /// 2.5.29.19
    const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];
    let Ok(der) = certificate.to_der() else {
        return false;
    };
    let value = der::extension(&der, &BASIC_CONSTRAINTS).and_then(der::sequence);
    // The flag is the first element; absent means false.
    let first = value.and_then(|constraints| der::Elements(constraints).next());
    first.is_some_and(|flag| flag.tag == der::BOOLEAN && flag.contents.iter().any(|b| *b != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::make::{Algorithm, make_ca, make_client, make_server};

    #[test]
    fn facts_of_a_server_certificate() {
        let ca = make_ca("Facts CA", Algorithm::P256, 30).unwrap();
        let server = make_server(
            &ca,
            &["Localhost", "*.Example.com", "127.0.0.1"],
            Algorithm::Rsa2048,
            10,
        )
        .unwrap();
        let facts = CertificateFacts::of(&server.certificate).unwrap();
        assert_eq!(facts.dns_names, ["localhost", "*.example.com"]);
        assert_eq!(facts.issuer_cn, "Facts CA");
        assert_eq!(facts.key, KeyKind::Rsa { bits: 2048 });
        assert!(!facts.is_ca);
        assert!(CertificateFacts::of(&ca.certificate).unwrap().is_ca);

        assert!(facts.covers("localhost") && facts.covers("a.example.com"));
        assert!(!facts.covers("example.com") && !facts.covers("a.b.example.com"));

        assert_eq!(facts.days_left(facts.not_after), 0);
        assert_eq!(facts.days_left(facts.not_after + 1), -1);
        assert_eq!(facts.days_left(facts.not_after - 86_400 * 3), 3);
    }

    #[test]
    fn the_common_name_is_a_name_only_without_dns_names() {
        let ca = make_ca("Names CA", Algorithm::P256, 30).unwrap();
        let client = make_client(&ca, "client.test", Algorithm::Ed25519, 10).unwrap();
        let facts = CertificateFacts::of(&client.certificate).unwrap();
        assert_eq!(facts.names().collect::<Vec<_>>(), ["client.test"]);
        assert_eq!(facts.key, KeyKind::Ed25519);
        let server = make_server(&ca, &["a.test", "b.test"], Algorithm::P256, 10).unwrap();
        let facts = CertificateFacts::of(&server.certificate).unwrap();
        assert_eq!(facts.names().collect::<Vec<_>>(), ["a.test", "b.test"]);
    }

    #[test]
    fn a_fingerprint_is_printed_in_hex_and_with_colons() {
        let fingerprint = Fingerprint::of_der(b"abc");
        assert!(fingerprint.to_string().starts_with("ba7816bf8f01cfea"));
        assert!(fingerprint.with_colons().starts_with("BA:78:16:BF:"));
        assert_eq!(fingerprint.to_string().len(), 64);
    }
}
