//! What a certificate of the corpus is made of. Keys are made once and known by name, so that a
//! thousand certificates cost a thousand signatures and no more.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock},
};

use openssl::{
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{Id, PKey, Private},
    rsa::{Padding, Rsa},
    sha::sha256,
    sign::{RsaPssSaltlen, Signer},
};

use crate::der::{bits, common_name, element, extension, integer, octets, oid, sequence};

/// The time cases are judged at: 2026-07-01 00:00:00 UTC.
pub const NOW: i64 = 1_782_864_000;
pub const DAY: i64 = 86_400;
/// The usual validity.
pub const FROM: &str = "250101000000Z";
pub const TO: &str = "350101000000Z";

pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub const KEY_USAGE: &str = "2.5.29.15";
pub const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
pub const NAME_CONSTRAINTS: &str = "2.5.29.30";
pub const ALTERNATIVE_NAME: &str = "2.5.29.17";
const SUBJECT_KEY: &str = "2.5.29.14";
const AUTHORITY_KEY: &str = "2.5.29.35";

pub const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
pub const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
pub const ANY_USAGE: &str = "2.5.29.37.0";

type Kept<K, V> = OnceLock<Mutex<HashMap<K, V>>>;

/// The key of a name: the kind stands before a colon (`rsa2048:`, `p384:`), P-256 otherwise.
pub fn key(name: &str) -> PKey<Private> {
    static KEYS: Kept<String, PKey<Private>> = OnceLock::new();
    let mut keys = KEYS.get_or_init(Mutex::default).lock().unwrap();
    keys.entry(name.to_owned())
        .or_insert_with(|| {
            let kind = name.split_once(':').map_or("p256", |(kind, _)| kind);
            let curve = |nid| {
                let group = EcGroup::from_curve_name(nid).unwrap();
                PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
            };
            match kind {
                "p256" => curve(Nid::X9_62_PRIME256V1),
                "p384" => curve(Nid::SECP384R1),
                "p521" => curve(Nid::SECP521R1),
                "k256" => curve(Nid::SECP256K1),
                "ed25519" => PKey::generate_ed25519().unwrap(),
                rsa => {
                    let length = rsa.strip_prefix("rsa").unwrap().parse().unwrap();
                    PKey::from_rsa(Rsa::generate(length).unwrap()).unwrap()
                }
            }
        })
        .clone()
}

/// How a certificate is signed.
#[derive(Clone, Copy, PartialEq)]
pub enum Signed {
    /// As is usual for the key.
    Usually,
    Md5Rsa,
    Sha1Rsa,
    Sha1Ecdsa,
    Sha384Rsa,
    Sha512Rsa,
    PssSha256,
    /// The signature's last octet is another.
    Broken,
    /// The algorithm outside is another than the one inside.
    TwoAlgorithms,
}

#[derive(Clone)]
pub struct Recipe {
    /// As encoded: 2 for version 3; nothing for version 1.
    pub version: Option<u8>,
    pub serial: Vec<u8>,
    pub subject: Vec<u8>,
    pub issuer: Vec<u8>,
    pub from: &'static str,
    pub to: &'static str,
    /// Whose key it certifies.
    pub key: String,
    /// SubjectPublicKeyInfo in place of the key's.
    pub public_key: Option<Vec<u8>>,
    /// Whose key signs.
    pub signer: String,
    pub signed: Signed,
    /// Type and the whole extension, in order.
    pub extensions: Vec<(String, Vec<u8>)>,
}

impl Recipe {
    fn new(name: &str) -> Self {
        Self {
            version: Some(2),
            serial: vec![0x11],
            subject: common_name(name),
            issuer: common_name(name),
            from: FROM,
            to: TO,
            key: name.to_owned(),
            public_key: None,
            signer: name.to_owned(),
            signed: Signed::Usually,
            extensions: Vec::new(),
        }
    }

    /// An authority that signs itself; its key has its name.
    pub fn authority(name: &str) -> Self {
        Self::new(name)
            .basic_constraints(true, Some(true), None)
            .key_usage(&[5, 6])
    }

    /// A leaf for clients; its key has its name.
    pub fn leaf(name: &str) -> Self {
        Self::new(name)
            .key_usage(&[0])
            .extended_key_usage(&[CLIENT_AUTH])
    }

    /// Issued and signed by the authority of a name.
    pub fn by(self, authority: &str) -> Self {
        self.issued_by(common_name(authority)).signed_by(authority)
    }

    pub fn issued_by(mut self, issuer: Vec<u8>) -> Self {
        self.issuer = issuer;
        self
    }

    pub fn signed_by(mut self, key: &str) -> Self {
        self.signer = key.to_owned();
        self
    }

    pub fn signed(mut self, how: Signed) -> Self {
        self.signed = how;
        self
    }

    pub fn subject(mut self, subject: Vec<u8>) -> Self {
        self.subject = subject;
        self
    }

    pub fn key(mut self, key: &str) -> Self {
        self.key = key.to_owned();
        self
    }

    pub fn serial(mut self, octets: &[u8]) -> Self {
        self.serial = octets.to_vec();
        self
    }

    pub fn valid(mut self, from: &'static str, to: &'static str) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    pub fn version(mut self, version: Option<u8>) -> Self {
        self.version = version;
        self
    }

    /// In place of an extension of the same type, or after the others.
    pub fn with(mut self, kind: &str, critical: bool, value: &[u8]) -> Self {
        let encoded = extension(kind, critical, value);
        match self.extensions.iter_mut().find(|(held, _)| held == kind) {
            Some((_, place)) => *place = encoded,
            None => self.extensions.push((kind.to_owned(), encoded)),
        }
        self
    }

    pub fn without(mut self, kind: &str) -> Self {
        self.extensions.retain(|(held, _)| held != kind);
        self
    }

    /// An extension as often as it is said.
    pub fn again(mut self, kind: &str, critical: bool, value: &[u8]) -> Self {
        let encoded = extension(kind, critical, value);
        self.extensions.push((kind.to_owned(), encoded));
        self
    }

    pub fn basic_constraints(self, critical: bool, ca: Option<bool>, length: Option<u8>) -> Self {
        let ca: &[u8] = match ca {
            Some(true) => &[0x01, 0x01, 0xff],
            Some(false) => &[0x01, 0x01, 0x00],
            None => &[],
        };
        let length = length.map_or_else(Vec::new, |length| integer(&[length]));
        self.with(BASIC_CONSTRAINTS, critical, &sequence(&[ca, &length]))
    }

    pub fn path_length(self, most: u8) -> Self {
        self.basic_constraints(true, Some(true), Some(most))
    }

    /// Bits by number: 0 digitalSignature, 5 keyCertSign, 6 cRLSign.
    pub fn key_usage(self, numbers: &[u8]) -> Self {
        let octet = numbers.iter().fold(0u8, |sum, bit| sum | (0x80 >> bit));
        let unused = u8::try_from(octet.trailing_zeros().min(7)).unwrap();
        self.with(KEY_USAGE, true, &element(0x03, &[&[unused, octet]]))
    }

    pub fn extended_key_usage(self, usages: &[&str]) -> Self {
        let listed: Vec<u8> = usages.iter().flat_map(|usage| oid(usage)).collect();
        self.with(EXTENDED_KEY_USAGE, false, &sequence(&[&listed]))
    }

    /// Alternative names, as encoded.
    pub fn names(self, names: &[Vec<u8>]) -> Self {
        let names = names.concat();
        self.with(ALTERNATIVE_NAME, false, &sequence(&[&names]))
    }

    /// Name constraints: permitted and excluded names, as encoded.
    pub fn constrained(self, permitted: &[Vec<u8>], excluded: &[Vec<u8>]) -> Self {
        let trees = |tag: u8, names: &[Vec<u8>]| {
            let trees: Vec<u8> = names.iter().flat_map(|name| sequence(&[name])).collect();
            match trees.is_empty() {
                true => Vec::new(),
                false => element(tag, &[&trees]),
            }
        };
        let value = sequence(&[&trees(0xa0, permitted), &trees(0xa1, excluded)]);
        self.with(NAME_CONSTRAINTS, true, &value)
    }

    /// Identifiers of its key and of its signer's.
    pub fn identified(self) -> Self {
        let own = identifier(&self.key);
        let above = identifier(&self.signer);
        self.with(SUBJECT_KEY, false, &octets(&own)).with(
            AUTHORITY_KEY,
            false,
            &sequence(&[&element(0x80, &[&above])]),
        )
    }

    /// The certificate.
    pub fn der(&self) -> Vec<u8> {
        let signer = key(&self.signer);
        let (algorithm, digest) = algorithm(&signer, self.signed);
        let inside = match self.signed {
            Signed::TwoAlgorithms => sequence(&[&oid("1.2.840.10045.4.3.3")]),
            _ => algorithm.clone(),
        };
        let version = self
            .version
            .map_or_else(Vec::new, |version| element(0xa0, &[&integer(&[version])]));
        let time = |text: &str| {
            let tag = if text.len() == 13 { 0x17 } else { 0x18 };
            element(tag, &[text.as_bytes()])
        };
        let public_key = match &self.public_key {
            Some(given) => given.clone(),
            None => key(&self.key).public_key_to_der().unwrap(),
        };
        let extensions: Vec<u8> = self.extensions.iter().flat_map(|e| e.1.clone()).collect();
        let extensions = match extensions.is_empty() {
            true => Vec::new(),
            false => element(0xa3, &[&sequence(&[&extensions])]),
        };
        let body = sequence(&[
            &version,
            &integer(&self.serial),
            &inside,
            &self.issuer,
            &sequence(&[&time(self.from), &time(self.to)]),
            &self.subject,
            &public_key,
            &extensions,
        ]);
        let mut signature = sign(&self.signer, digest, self.signed, &body);
        if self.signed == Signed::Broken {
            *signature.last_mut().unwrap() ^= 1;
        }
        sequence(&[&body, &algorithm, &bits(&signature)])
    }
}

fn identifier(name: &str) -> Vec<u8> {
    sha256(&key(name).public_key_to_der().unwrap())[..20].to_vec()
}

fn algorithm(signer: &PKey<Private>, signed: Signed) -> (Vec<u8>, Option<MessageDigest>) {
    const NULL: [u8; 2] = [0x05, 0x00];
    let rsa = |kind: &str| sequence(&[&oid(kind), &NULL]);
    let plain = |kind: &str| sequence(&[&oid(kind)]);
    let sha256 = Some(MessageDigest::sha256());
    match signed {
        Signed::Md5Rsa => (rsa("1.2.840.113549.1.1.4"), Some(MessageDigest::md5())),
        Signed::Sha1Rsa => (rsa("1.2.840.113549.1.1.5"), Some(MessageDigest::sha1())),
        Signed::Sha384Rsa => (rsa("1.2.840.113549.1.1.12"), Some(MessageDigest::sha384())),
        Signed::Sha512Rsa => (rsa("1.2.840.113549.1.1.13"), Some(MessageDigest::sha512())),
        Signed::Sha1Ecdsa => (plain("1.2.840.10045.4.1"), Some(MessageDigest::sha1())),
        Signed::PssSha256 => {
            let hash = rsa("2.16.840.1.101.3.4.2.1");
            let mask = sequence(&[&oid("1.2.840.113549.1.1.8"), &hash]);
            let parameters = sequence(&[
                &element(0xa0, &[&hash]),
                &element(0xa1, &[&mask]),
                &element(0xa2, &[&integer(&[32])]),
            ]);
            let kind = oid("1.2.840.113549.1.1.10");
            (sequence(&[&kind, &parameters]), sha256)
        }
        Signed::Usually | Signed::Broken | Signed::TwoAlgorithms => match signer.id() {
            Id::ED25519 => (plain("1.3.101.112"), None),
            Id::RSA => (rsa("1.2.840.113549.1.1.11"), sha256),
            _ => match signer.bits() {
                384 => (plain("1.2.840.10045.4.3.3"), Some(MessageDigest::sha384())),
                521 => (plain("1.2.840.10045.4.3.4"), Some(MessageDigest::sha512())),
                _ => (plain("1.2.840.10045.4.3.2"), sha256),
            },
        },
    }
}

fn sign(name: &str, digest: Option<MessageDigest>, signed: Signed, body: &[u8]) -> Vec<u8> {
    /// A recipe is one certificate, however often it is made.
    static SIGNATURES: Kept<(String, Vec<u8>), Vec<u8>> = OnceLock::new();
    let kept = (name.to_owned(), [&[signed as u8], body].concat());
    if let Some(signature) = SIGNATURES
        .get_or_init(Mutex::default)
        .lock()
        .unwrap()
        .get(&kept)
    {
        return signature.clone();
    }
    let key = key(name);
    let mut signer = match digest {
        Some(digest) => Signer::new(digest, &key).unwrap(),
        None => Signer::new_without_digest(&key).unwrap(),
    };
    if signed == Signed::PssSha256 {
        signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        signer.set_rsa_mgf1_md(MessageDigest::sha256()).unwrap();
        signer
            .set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)
            .unwrap();
    }
    let signature = signer.sign_oneshot_to_vec(body).unwrap();
    let mut signatures = SIGNATURES.get_or_init(Mutex::default).lock().unwrap();
    signatures.entry(kept).or_insert(signature).clone()
}
