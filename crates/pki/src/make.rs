//! Makes certificates: a development CA and pairs signed by it.
//!
//! Good for a laptop, a test, a first try; a production CA belongs elsewhere. Serial numbers
//! are random, validity starts an hour ago so that a slightly slow clock does not reject a
//! fresh certificate, and certificates carry key identifiers so that chains resolve.

use std::net::IpAddr;

use openssl::{
    asn1::{Asn1Integer, Asn1Time},
    bn::{BigNum, MsbOption},
    ec::{Asn1Flag, EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{Id, PKey, Private},
    rsa::Rsa,
    sign::Signer,
    x509::{
        X509, X509Builder, X509Name,
        extension::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage,
            SubjectAlternativeName, SubjectKeyIdentifier,
        },
    },
};

use crate::der;

/// How far back validity starts, in seconds.
const BACKDATED: i64 = 3600;

/// The key of a new certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256: fast and understood by everything.
    #[default]
    P256,
    /// RSA with 2048 bits.
    Rsa2048,
    /// Ed25519; few TLS clients verify it yet.
    Ed25519,
}

impl Algorithm {
    /// A new private key.
    pub fn generate(self) -> Result<PKey<Private>, ErrorStack> {
        match self {
            Algorithm::P256 => {
                let mut group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
                group.set_asn1_flag(Asn1Flag::NAMED_CURVE);
                PKey::from_ec_key(EcKey::generate(&group)?)
            }
            Algorithm::Rsa2048 => PKey::from_rsa(Rsa::generate(2048)?),
            Algorithm::Ed25519 => PKey::generate_ed25519(),
        }
    }
}

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The library refused.
    #[error("the certificate cannot be made")]
    Library(#[from] ErrorStack),
    /// No name to certify.
    #[error("a server certificate needs at least one name")]
    NoNames,
    /// The issuer cannot issue.
    #[error("the issuer's certificate could not be taken apart")]
    Encoding,
}

/// A certificate with its private key.
pub struct Pair {
    /// The certificate.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> String {
        text(self.certificate.to_pem())
    }

    /// The private key as PKCS#8 PEM, in clear: keep it in a file of
    /// [`write_private`](crate::file::write_private).
    pub fn key_pem(&self) -> String {
        text(self.key.private_key_to_pem_pkcs8())
    }
}

/// Makes a certificate authority that signs itself.
pub fn make_ca(name: &str, algorithm: Algorithm, days: u32) -> Result<Pair, MakeError> {
    let key = algorithm.generate()?;
    let subject = subject(name)?;
    let mut builder = builder(&subject, &subject, &key, days)?;
    builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    builder.append_extension(
        KeyUsage::new()
            .critical()
            .key_cert_sign()
            .crl_sign()
            .build()?,
    )?;
    let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(id)?;
    Ok(Pair {
        certificate: signed(builder, &key)?,
        key,
    })
}

/// Makes a server pair for `names` (host names, wildcards or IP addresses), signed by `ca`.
pub fn make_server(
    ca: &Pair,
    names: &[&str],
    algorithm: Algorithm,
    days: u32,
) -> Result<Pair, MakeError> {
    let first = names.first().ok_or(MakeError::NoNames)?;
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(_) => alternatives.ip(name),
            Err(_) => alternatives.dns(name),
        };
    }
    let usage = ExtendedKeyUsage::new().server_auth().build()?;
    leaf(ca, first, algorithm, days, Some(&alternatives), usage)
}

/// Makes a client pair whose subject is `name`, signed by `ca`.
pub fn make_client(
    ca: &Pair,
    name: &str,
    algorithm: Algorithm,
    days: u32,
) -> Result<Pair, MakeError> {
    let usage = ExtendedKeyUsage::new().client_auth().build()?;
    leaf(ca, name, algorithm, days, None, usage)
}

fn leaf(
    ca: &Pair,
    name: &str,
    algorithm: Algorithm,
    days: u32,
    alternatives: Option<&SubjectAlternativeName>,
    usage: openssl::x509::X509Extension,
) -> Result<Pair, MakeError> {
    let key = algorithm.generate()?;
    let mut builder = builder(&subject(name)?, ca.certificate.subject_name(), &key, days)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    let mut bits = KeyUsage::new();
    bits.critical().digital_signature();
    if algorithm == Algorithm::Rsa2048 {
        bits.key_encipherment();
    }
    builder.append_extension(bits.build()?)?;
    builder.append_extension(usage)?;
    let context = builder.x509v3_context(Some(&ca.certificate), None);
    let subject_id = SubjectKeyIdentifier::new().build(&context)?;
    let authority_id = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
    let names = alternatives
        .map(|names| names.build(&context))
        .transpose()?;
    builder.append_extension(subject_id)?;
    builder.append_extension(authority_id)?;
    if let Some(names) = names {
        builder.append_extension(names)?;
    }
    Ok(Pair {
        certificate: signed(builder, &ca.key)?,
        key,
    })
}

fn subject(name: &str) -> Result<X509Name, ErrorStack> {
    let mut subject = X509Name::builder()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(subject.build())
}

fn builder(
    subject: &X509Name,
    issuer: &openssl::x509::X509NameRef,
    key: &PKey<Private>,
    days: u32,
) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    // 127 bits, so that the number is positive in at most 16 octets.
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let serial: Asn1Integer = serial.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    let start = now - BACKDATED;
    let (start, end) = (
        Asn1Time::from_unix(start)?,
        Asn1Time::from_unix(now + i64::from(days) * 86_400)?,
    );
    builder.set_not_before(&start)?;
    builder.set_not_after(&end)?;
    Ok(builder)
}

fn signed(mut builder: X509Builder, issuer: &PKey<Private>) -> Result<X509, MakeError> {
    if issuer.id() == Id::ED25519 {
        return signed_with_ed25519(builder, issuer);
    }
    builder.sign(issuer, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// Signs with Ed25519, which hashes by itself: the library's signing call insists on a digest.
///
/// The builder signs with a key made for the purpose; then the algorithm names and the
/// signature are exchanged in the encoding.
fn signed_with_ed25519(
    mut builder: X509Builder,
    issuer: &PKey<Private>,
) -> Result<X509, MakeError> {
    // SEQUENCE { OID ecdsa-with-SHA256 } and SEQUENCE { OID id-Ed25519 }
    const ECDSA: [u8; 12] = [
        0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
    ];
    const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
    let placeholder = Algorithm::P256.generate()?;
    builder.sign(&placeholder, MessageDigest::sha256())?;
    let der = builder.build().to_der()?;
    let certificate = der::sequence(&der).ok_or(MakeError::Encoding)?;
    let body = der::sequence(certificate).ok_or(MakeError::Encoding)?;
    // The name of the algorithm stands behind version and serial number, before the names.
    let at = body
        .windows(ECDSA.len())
        .position(|w| w == ECDSA)
        .ok_or(MakeError::Encoding)?;
    let body = der::into_sequence(&[&body[..at], &ED25519, &body[at + ECDSA.len()..]].concat());
    let signature = Signer::new_without_digest(issuer)?.sign_oneshot_to_vec(&body)?;
    let mut bits = vec![
        0x03,
        u8::try_from(signature.len() + 1).map_err(|_| MakeError::Encoding)?,
        0,
    ];
    bits.extend_from_slice(&signature);
    Ok(X509::from_der(&der::into_sequence(
        &[body.as_slice(), &ED25519, &bits].concat(),
    ))?)
}

/// PEM is ASCII; writing it into memory does not fail.
fn text(pem: Result<Vec<u8>, ErrorStack>) -> String {
    pem.ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::{
        stack::Stack,
        x509::{X509StoreContext, X509VerifyResult, store::X509StoreBuilder},
    };

    #[test]
    fn pairs_of_every_algorithm_verify_under_their_ca() {
        for ca_key in [Algorithm::P256, Algorithm::Rsa2048, Algorithm::Ed25519] {
            let ca = make_ca("Development CA", ca_key, 30).unwrap();
            assert!(ca.certificate.verify(&ca.key).unwrap());
            let mut store = X509StoreBuilder::new().unwrap();
            store.add_cert(ca.certificate.clone()).unwrap();
            let store = store.build();
            for key in [Algorithm::P256, Algorithm::Ed25519] {
                let server = make_server(&ca, &["localhost", "127.0.0.1", "::1"], key, 7).unwrap();
                let client = make_client(&ca, "client", key, 7).unwrap();
                for pair in [server, client] {
                    let none = Stack::new().unwrap();
                    let mut context = X509StoreContext::new().unwrap();
                    let result = context
                        .init(&store, &pair.certificate, &none, |c| {
                            c.verify_cert()?;
                            Ok(c.error())
                        })
                        .unwrap();
                    assert_eq!(result, X509VerifyResult::OK, "{ca_key:?} signs {key:?}");
                    assert!(pair.key.public_eq(&pair.certificate.public_key().unwrap()));
                }
            }
        }
    }

    #[test]
    fn a_server_pair_without_a_name_is_refused() {
        let ca = make_ca("Development CA", Algorithm::P256, 30).unwrap();
        assert!(matches!(
            make_server(&ca, &[], Algorithm::P256, 7),
            Err(MakeError::NoNames)
        ));
    }

    #[test]
    fn serial_numbers_differ() {
        let serial = || {
            let ca = make_ca("Development CA", Algorithm::P256, 30).unwrap();
            ca.certificate.serial_number().to_bn().unwrap().to_vec()
        };
        assert_ne!(serial(), serial());
    }
}
