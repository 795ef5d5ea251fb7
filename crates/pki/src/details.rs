//! Everything a certificate says that people want to see, beyond the
//! [`CertificateFacts`](crate::CertificateFacts) the gateway works with.

use openssl::{error::ErrorStack, nid::Nid, x509::X509Ref};

use crate::{
    der,
    names::{AlternativeName, alternative_names, distinguished_name, printable},
};

/// What a certificate says, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// The whole subject, `C=DE, CN=localhost`.
    pub subject: String,
    /// The whole issuer.
    pub issuer: String,
    /// Serial number in upper-case hex.
    pub serial: String,
    /// Subject alternative names, in order.
    pub alternatives: Vec<AlternativeName>,
    /// How it is signed, such as `ecdsa-with-SHA256`.
    pub signature: String,
    /// Key usage; `None` when it is not restricted.
    pub key_usage: Option<Vec<&'static str>>,
    /// Extended key usage; `None` when it is not restricted.
    pub purposes: Option<Vec<String>>,
    /// How many authorities may follow below it; `None` for any number.
    pub path_length: Option<u32>,
    /// Subject and issuer are the same and its own key signed it.
    pub self_signed: bool,
}

impl Details {
    /// Reads a certificate.
    ///
    /// # Errors
    /// When the library cannot take it apart.
    pub fn of(certificate: &X509Ref) -> Result<Self, ErrorStack> {
        let der = certificate.to_der()?;
        let algorithm = certificate.signature_algorithm().object();
        let signature = match algorithm.nid() {
            Nid::UNDEF => algorithm.to_string(),
            nid => nid
                .long_name()
                .map_or_else(|_| algorithm.to_string(), str::to_owned),
        };
        Ok(Self {
            subject: distinguished_name(certificate.subject_name()),
            issuer: distinguished_name(certificate.issuer_name()),
            serial: certificate
                .serial_number()
                .to_bn()?
                .to_hex_str()?
                .to_string(),
            alternatives: alternative_names(certificate),
            signature: printable(&signature),
            key_usage: der::extension(&der, &KEY_USAGE).map(key_usage),
            purposes: der::extension(&der, &EXTENDED_KEY_USAGE).map(purposes),
            path_length: certificate.pathlen(),
            self_signed: is_self_signed(certificate),
        })
    }

    /// Whether its extended key usage, or the lack of one, lets it be used for `purpose`.
    #[must_use]
    pub fn allows(&self, purpose: &str) -> bool {
        self.purposes.as_ref().is_none_or(|listed| {
            listed
                .iter()
                .any(|listed| listed == purpose || listed == ANY_PURPOSE)
        })
    }

    /// Whether its key may sign certificates, as far as the key usage says.
    #[must_use]
    pub fn may_sign_certificates(&self) -> bool {
        self.key_usage
            .as_ref()
            .is_none_or(|usage| usage.contains(&SIGN_CERTIFICATES))
    }
}

/// Extended key usage of clients, as [`Details::purposes`] names it.
pub const CLIENT_AUTH: &str = "clientAuth";
/// Extended key usage of servers, as [`Details::purposes`] names it.
pub const SERVER_AUTH: &str = "serverAuth";

const ANY_PURPOSE: &str = "anyExtendedKeyUsage";
const SIGN_CERTIFICATES: &str = "keyCertSign";

/// 2.5.29.15
const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 0x0f];
/// 2.5.29.37
const EXTENDED_KEY_USAGE: [u8; 3] = [0x55, 0x1d, 0x25];

/// Names of the bits of a key usage, in their order (RFC 5280, 4.2.1.3).
const USAGES: [&str; 9] = [
    "digitalSignature",
    "contentCommitment",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    SIGN_CERTIFICATES,
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];

/// Whether a certificate is signed by its own key.
pub(crate) fn is_self_signed(certificate: &X509Ref) -> bool {
    let same_name = certificate
        .subject_name()
        .try_cmp(certificate.issuer_name())
        .is_ok_and(std::cmp::Ordering::is_eq);
    same_name && is_signed_by(certificate, certificate)
}

/// Whether the key of `issuer` signed `certificate`.
pub(crate) fn is_signed_by(certificate: &X509Ref, issuer: &X509Ref) -> bool {
    let signed = issuer
        .public_key()
        .and_then(|key| certificate.verify(&key))
        .unwrap_or(false);
    // A failed comparison leaves its reason in the library's error queue: not ours to keep.
    let _ = ErrorStack::get();
    signed
}

fn key_usage(value: &[u8]) -> Vec<&'static str> {
    const BIT_STRING: u8 = 0x03;
    let bits = der::Elements(value)
        .next()
        .filter(|element| element.tag == BIT_STRING);
    // The first octet counts the unused bits at the end, which are zero.
    let octets = bits.and_then(|bits| bits.contents.get(1..)).unwrap_or(&[]);
    USAGES
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| {
            octets
                .get(bit / 8)
                .is_some_and(|octet| octet & (0x80 >> (bit % 8)) != 0)
        })
        .map(|(_, name)| name)
        .collect()
}

fn purposes(value: &[u8]) -> Vec<String> {
    der::Elements(der::sequence(value).unwrap_or(&[]))
        .filter(|element| element.tag == der::OBJECT_IDENTIFIER)
        .map(|element| purpose(element.contents))
        .collect()
}

/// The name of an extended key usage, or its number.
fn purpose(oid: &[u8]) -> String {
    /// 1.3.6.1.5.5.7.3
    const PKIX: [u8; 7] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03];
    let name = match (oid.strip_prefix(&PKIX), oid) {
        (Some([1]), _) => SERVER_AUTH,
        (Some([2]), _) => CLIENT_AUTH,
        (Some([3]), _) => "codeSigning",
        (Some([4]), _) => "emailProtection",
        (Some([8]), _) => "timeStamping",
        (Some([9]), _) => "OCSPSigning",
        (None, [0x55, 0x1d, 0x25, 0x00]) => ANY_PURPOSE,
        _ => return dotted(oid),
    };
    name.to_owned()
}

/// An object identifier as numbers.
fn dotted(oid: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number: u64 = 0;
    for octet in oid {
        number = number
            .saturating_mul(128)
            .saturating_add(u64::from(octet & 0x7f));
        if octet & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.extend([first, number - first * 40]);
            } else {
                numbers.push(number);
            }
            number = 0;
        }
    }
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    numbers.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::make::{Algorithm, Role, Template, make, make_ca, make_client, make_server};

    #[test]
    fn a_leaf_and_its_authority_say_what_they_are_for() {
        let ca = make_ca("Details CA", Algorithm::P256, 30).unwrap();
        let of_ca = Details::of(&ca.certificate).unwrap();
        assert_eq!(
            of_ca.key_usage.as_deref(),
            Some(&["keyCertSign", "cRLSign"][..])
        );
        assert!(of_ca.self_signed && of_ca.may_sign_certificates() && of_ca.purposes.is_none());
        assert!(of_ca.allows(CLIENT_AUTH));

        let server = make_server(&ca, &["a.test", "10.0.0.1"], Algorithm::Rsa2048, 3).unwrap();
        let of_server = Details::of(&server.certificate).unwrap();
        assert_eq!(of_server.subject, "CN=a.test");
        assert_eq!(of_server.issuer, "CN=Details CA");
        assert_eq!(
            of_server.alternatives,
            [
                AlternativeName::Dns("a.test".into()),
                AlternativeName::Ip("10.0.0.1".parse().unwrap())
            ]
        );
        assert_eq!(
            of_server.key_usage.as_deref(),
            Some(&["digitalSignature", "keyEncipherment"][..])
        );
        assert!(of_server.allows(SERVER_AUTH) && !of_server.allows(CLIENT_AUTH));
        assert!(!of_server.self_signed && !of_server.may_sign_certificates());
        assert_eq!(of_server.signature, "ecdsa-with-SHA256");

        let client = make_client(&ca, "c", Algorithm::Ed25519, 3).unwrap();
        assert_eq!(
            Details::of(&client.certificate)
                .unwrap()
                .purposes
                .as_deref(),
            Some(&["clientAuth".to_owned()][..])
        );
    }

    #[test]
    fn the_path_length_of_an_authority_is_read() {
        let template = Template {
            name: "Short",
            alternatives: &[],
            role: Role::Authority {
                path_length: Some(0),
            },
            algorithm: Algorithm::P256,
            days: 3,
        };
        let ca = make(&template, None).unwrap();
        assert_eq!(Details::of(&ca.certificate).unwrap().path_length, Some(0));
    }

    #[test]
    fn unknown_purposes_are_numbers() {
        assert_eq!(
            purpose(&[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x14, 0x02, 0x02]),
            "1.3.6.1.4.1.311.20.2.2"
        );
        assert_eq!(purpose(&[0x55, 0x1d, 0x25, 0x00]), "anyExtendedKeyUsage");
    }
}
