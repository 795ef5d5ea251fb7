//! Server certificates: P-256, from a CA made for this run. All peers present the same ones: one for
//! `localhost`, or in some scenes thousands for names of their own.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

use crate::client::SERVER_NAME;
use crate::error::Error;

/// Where the certificate's files are.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The certificate and its key in one file.
    pub(crate) both: PathBuf,
    /// The certificate alone.
    pub(crate) certificate: PathBuf,
    /// The key alone.
    pub(crate) key: PathBuf,
    /// The CA that signed it, and the clients'.
    pub(crate) authority: PathBuf,
    /// A client's certificate and key, each in a file.
    pub(crate) client: (PathBuf, PathBuf),
    /// The same in one file.
    pub(crate) client_both: PathBuf,
    /// The public key of the server's certificate.
    pub(crate) pin: PathBuf,
}

impl Pair {
    /// Makes a CA, a server and a client certificate and writes them into `dir`.
    pub(crate) fn make(dir: &Path) -> Result<Self, Error> {
        let issuer = Issuer::new()?;
        let (certificate, key) = issuer.pair(SERVER_NAME)?;
        let (client, client_key) = issuer.client()?;
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(Error::io(format!("write {}", path.display())))?;
            Ok::<_, Error>(path)
        };
        let pin = X509::from_pem(&certificate)?
            .public_key()?
            .public_key_to_pem()?;
        Ok(Self {
            pin: write("server.pub", &pin)?,
            client_both: write("client.both.pem", &[&client[..], &client_key].concat())?,
            both: write("server.both.pem", &[&certificate[..], &key].concat())?,
            certificate: write("server.pem", &certificate)?,
            key: write("server.key", &key)?,
            authority: write("ca.pem", &issuer.authority.to_pem()?)?,
            client: (
                write("client.pem", &client)?,
                write("client.key", &client_key)?,
            ),
        })
    }
}

/// A CA that issues certificates.
struct Issuer {
    authority: X509,
    key: PKey<Private>,
}

impl Issuer {
    fn new() -> Result<Self, ErrorStack> {
        let key = key()?;
        Ok(Self {
            authority: authority(&key)?,
            key,
        })
    }

    /// Certificate and key for a name, as PEM.
    fn pair(&self, name: &str) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
        let key = key()?;
        let certificate = leaf(name, Purpose::Server, &key, self)?;
        Ok((certificate.to_pem()?, key.private_key_to_pem_pkcs8()?))
    }

    /// Certificate and key of a client, as PEM.
    fn client(&self) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
        let key = key()?;
        let certificate = leaf("benchmark client", Purpose::Client, &key, self)?;
        Ok((certificate.to_pem()?, key.private_key_to_pem_pkcs8()?))
    }
}

/// What a leaf is for.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Server,
    Client,
}

/// The host name of one of many certificates.
pub(crate) fn name_of(number: usize) -> String {
    format!("c{number:06}.bench.test")
}

/// So many certificates, each with its key in one PEM text, for these names by their places.
pub(crate) fn many(count: usize, name: impl Fn(usize) -> String) -> Result<Vec<String>, Error> {
    let issuer = Issuer::new()?;
    let pair = |number| {
        let (certificate, key) = issuer.pair(&name(number))?;
        let text = [certificate, key].concat();
        Ok(String::from_utf8(text).expect("PEM is text"))
    };
    (0..count).map(pair).collect()
}

fn key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn authority(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let name = name("benchmark CA")?;
    let mut builder = started(&name, key)?;
    builder.set_issuer_name(&name)?;
    builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    builder.append_extension(KeyUsage::new().critical().key_cert_sign().build()?)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn leaf(
    name: &str,
    purpose: Purpose,
    key: &PKey<Private>,
    issuer: &Issuer,
) -> Result<X509, ErrorStack> {
    let authority = &issuer.authority;
    let mut builder = started(&*self::name(name)?, key)?;
    builder.set_issuer_name(authority.subject_name())?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    let mut usage = ExtendedKeyUsage::new();
    match purpose {
        Purpose::Server => usage.server_auth(),
        Purpose::Client => usage.client_auth(),
    };
    builder.append_extension(usage.build()?)?;
    if purpose == Purpose::Server {
        let names = SubjectAlternativeName::new()
            .dns(name)
            .ip("127.0.0.1")
            .build(&builder.x509v3_context(Some(authority), None))?;
        builder.append_extension(names)?;
    }
    builder.sign(&issuer.key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn started(
    subject: &openssl::x509::X509NameRef,
    key: &PKey<Private>,
) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?; // X.509 v3
    let mut serial = BigNum::new()?;
    serial.rand(120, MsbOption::MAYBE_ZERO, false)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(subject)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(2)?)?;
    Ok(builder)
}

fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(name.build())
}
