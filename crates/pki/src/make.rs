//! Makes certificates: authorities, and pairs signed by them or by themselves.
//!
//! Good for a laptop, a test, a first try; a production CA belongs elsewhere. Serial numbers
//! are random, validity starts an hour ago so that a slightly slow clock does not reject a
//! fresh certificate, and certificates carry key identifiers so that chains resolve.

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

use crate::{certificate::CertificateFacts, der, details::Details, names::AlternativeName};

/// How far back validity starts, in seconds.
const BACKDATED: i64 = 3600;

/// The key of a new certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256: fast and understood by everything.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits; slow to make and to sign with.
    Rsa4096,
    /// Ed25519; few TLS clients verify it yet.
    Ed25519,
}

impl Algorithm {
    /// A new private key.
    pub fn generate(self) -> Result<PKey<Private>, ErrorStack> {
        match self {
            Algorithm::P256 => ec_key(Nid::X9_62_PRIME256V1),
            Algorithm::P384 => ec_key(Nid::SECP384R1),
            Algorithm::Rsa2048 => PKey::from_rsa(Rsa::generate(2048)?),
            Algorithm::Rsa3072 => PKey::from_rsa(Rsa::generate(3072)?),
            Algorithm::Rsa4096 => PKey::from_rsa(Rsa::generate(4096)?),
            Algorithm::Ed25519 => PKey::generate_ed25519(),
        }
    }
}

fn ec_key(curve: Nid) -> Result<PKey<Private>, ErrorStack> {
    let mut group = EcGroup::from_curve_name(curve)?;
    group.set_asn1_flag(Asn1Flag::NAMED_CURVE);
    PKey::from_ec_key(EcKey::generate(&group)?)
}

/// What a new certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To issue other certificates.
    Authority {
        /// How many authorities may follow below it; `None` for any number.
        path_length: Option<u32>,
    },
    /// To be shown in handshakes by a server, a client or both.
    Leaf {
        /// By a server.
        server: bool,
        /// By a client.
        client: bool,
    },
}

/// What a new certificate is to say.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// Common name of the subject.
    pub name: &'a str,
    /// Subject alternative names.
    pub alternatives: &'a [AlternativeName],
    /// What it is for.
    pub role: Role,
    /// The kind of its key.
    pub algorithm: Algorithm,
    /// Days until it expires.
    pub days: u32,
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
    /// The certificate of the issuer is no authority's.
    #[error(
        "`{0}` is no authority and cannot sign certificates: its basic constraints or key usage do not allow it"
    )]
    NotAnAuthority(String),
    /// The issuer allows no authority below it.
    #[error("`{0}` allows no authority below it: its path length is 0")]
    PathLength(String),
    /// A name of a kind that certificates are not made with.
    #[error("a certificate cannot be made for {0}")]
    Name(&'static str),
    /// The issuer's certificate is not what the library says it is.
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
    let role = Role::Authority { path_length: None };
    let template = Template {
        name,
        alternatives: &[],
        role,
        algorithm,
        days,
    };
    issue(&template, None)
}

/// Makes a server pair for `names` (host names, wildcards or IP addresses), signed by `ca`.
pub fn make_server(
    ca: &Pair,
    names: &[&str],
    algorithm: Algorithm,
    days: u32,
) -> Result<Pair, MakeError> {
    let name = names.first().ok_or(MakeError::NoNames)?;
    let alternatives: Vec<AlternativeName> = names
        .iter()
        .map(|name| match name.parse() {
            Ok(address) => AlternativeName::Ip(address),
            Err(_) => AlternativeName::Dns((*name).to_owned()),
        })
        .collect();
    let template = Template {
        name,
        alternatives: &alternatives,
        role: Role::Leaf {
            server: true,
            client: false,
        },
        algorithm,
        days,
    };
    issue(&template, Some(ca))
}

/// Makes a client pair whose subject is `name`, signed by `ca`.
pub fn make_client(
    ca: &Pair,
    name: &str,
    algorithm: Algorithm,
    days: u32,
) -> Result<Pair, MakeError> {
    let template = Template {
        name,
        alternatives: &[],
        role: Role::Leaf {
            server: false,
            client: true,
        },
        algorithm,
        days,
    };
    issue(&template, Some(ca))
}

/// Makes a certificate as `template` says, signed by `issuer` or, without one, by itself.
///
/// # Errors
/// [`MakeError::NotAnAuthority`] and [`MakeError::PathLength`] when the issuer may not sign it.
pub fn make(template: &Template<'_>, issuer: Option<&Pair>) -> Result<Pair, MakeError> {
    if let Some(issuer) = issuer {
        let facts = CertificateFacts::of(&issuer.certificate)?;
        let details = Details::of(&issuer.certificate)?;
        if !facts.is_ca || !details.may_sign_certificates() {
            return Err(MakeError::NotAnAuthority(details.subject));
        }
        if details.path_length == Some(0) && matches!(template.role, Role::Authority { .. }) {
            return Err(MakeError::PathLength(details.subject));
        }
    }
    issue(template, issuer)
}

/// As [`make`], whoever the issuer is.
fn issue(template: &Template<'_>, issuer: Option<&Pair>) -> Result<Pair, MakeError> {
    let key = template.algorithm.generate()?;
    let subject = subject(template.name)?;
    let issuer_name = match issuer {
        Some(issuer) => issuer.certificate.subject_name(),
        None => &subject,
    };
    let mut builder = builder(&subject, issuer_name, &key, template.days)?;
    match template.role {
        Role::Authority { path_length } => {
            let mut constraints = BasicConstraints::new();
            constraints.critical().ca();
            if let Some(length) = path_length {
                constraints.pathlen(length);
            }
            builder.append_extension(constraints.build()?)?;
            let mut usage = KeyUsage::new();
            usage.critical().key_cert_sign().crl_sign();
            builder.append_extension(usage.build()?)?;
        }
        Role::Leaf { server, client } => {
            builder.append_extension(BasicConstraints::new().critical().build()?)?;
            // A leaf that is its own anchor would be refused for a key usage without signing
            // certificates, which a leaf must not have.
            if issuer.is_some() {
                let mut usage = KeyUsage::new();
                usage.critical().digital_signature();
                if key.id() == Id::RSA {
                    usage.key_encipherment();
                }
                builder.append_extension(usage.build()?)?;
            }
            let mut purposes = ExtendedKeyUsage::new();
            if server {
                purposes.server_auth();
            }
            if client {
                purposes.client_auth();
            }
            if server || client {
                builder.append_extension(purposes.build()?)?;
            }
        }
    }
    let context = builder.x509v3_context(issuer.map(|issuer| &*issuer.certificate), None);
    let own_id = SubjectKeyIdentifier::new().build(&context)?;
    let issuer_id = match issuer {
        Some(_) => Some(AuthorityKeyIdentifier::new().keyid(true).build(&context)?),
        None => None,
    };
    let names = alternatives(template.alternatives)?
        .map(|names| names.build(&context))
        .transpose()?;
    builder.append_extension(own_id)?;
    for extension in [issuer_id, names].into_iter().flatten() {
        builder.append_extension(extension)?;
    }
    let signer = issuer.map_or(&key, |issuer| &issuer.key);
    Ok(Pair {
        certificate: signed(builder, signer)?,
        key,
    })
}

fn alternatives(names: &[AlternativeName]) -> Result<Option<SubjectAlternativeName>, MakeError> {
    let mut extension = SubjectAlternativeName::new();
    for name in names {
        match name {
            AlternativeName::Dns(name) => extension.dns(name),
            AlternativeName::Ip(address) => extension.ip(&address.to_string()),
            AlternativeName::Uri(uri) => extension.uri(uri),
            AlternativeName::Email(address) => extension.email(address),
            AlternativeName::Other(kind) => return Err(MakeError::Name(kind)),
        };
    }
    Ok((!names.is_empty()).then_some(extension))
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
    fn names_of_every_kind_and_keys_of_every_size_get_into_a_certificate() {
        let names: Vec<AlternativeName> = ["a.test", "::1", "spiffe://x/y", "a@b.test"]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        for (algorithm, kind) in [
            (Algorithm::P384, "ECDSA P-384"),
            (Algorithm::Rsa3072, "RSA 3072"),
            (Algorithm::Rsa4096, "RSA 4096"),
        ] {
            let template = Template {
                name: "any",
                alternatives: &names,
                role: Role::Leaf {
                    server: true,
                    client: true,
                },
                algorithm,
                days: 3,
            };
            let pair = make(&template, None).unwrap();
            let details = Details::of(&pair.certificate).unwrap();
            assert_eq!(details.alternatives, names);
            assert!(details.self_signed);
            let facts = CertificateFacts::of(&pair.certificate).unwrap();
            assert_eq!(facts.key.to_string(), kind);
        }
    }

    #[test]
    fn who_may_not_sign_does_not_sign() {
        let authority = |path_length, issuer: Option<&Pair>| {
            let template = Template {
                name: "Authority",
                alternatives: &[],
                role: Role::Authority { path_length },
                algorithm: Algorithm::P256,
                days: 3,
            };
            make(&template, issuer)
        };
        let leaf = make_server(
            &authority(None, None).unwrap(),
            &["a.test"],
            Algorithm::P256,
            3,
        )
        .unwrap();
        assert!(matches!(
            authority(None, Some(&leaf)),
            Err(MakeError::NotAnAuthority(name)) if name == "CN=a.test"
        ));
        let last = authority(Some(0), None).unwrap();
        assert!(matches!(
            authority(None, Some(&last)),
            Err(MakeError::PathLength(_))
        ));
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
