//! What is asked of each certificate on a way, beside what the library looks at.

use std::collections::HashSet;

use openssl::{
    nid::Nid,
    x509::{X509, X509Ref},
};

use super::{Refusal, Usage};
use crate::{
    certificate::{KeyKind, unix_seconds},
    der,
    names::distinguished_name,
};

/// Whether a certificate is in its validity at a time (Unix seconds).
///
/// # Errors
/// [`Refusal::Expired`] or [`Refusal::NotYetValid`].
pub fn valid_at(certificate: &X509Ref, at: i64) -> Result<(), Refusal> {
    match unix_seconds(certificate.not_before()) {
        Ok(from) if at >= from => {}
        _ => {
            return Err(Refusal::NotYetValid {
                subject: subject(certificate),
            });
        }
    }
    match unix_seconds(certificate.not_after()) {
        Ok(to) if at <= to => Ok(()),
        _ => Err(Refusal::Expired {
            subject: subject(certificate),
        }),
    }
}

/// Whether key and signature of a certificate mean anything.
pub(super) fn sound(certificate: &X509Ref, signature_counts: bool) -> Result<(), Refusal> {
    const WEAK_SIGNATURES: [Nid; 5] = [
        Nid::MD5WITHRSAENCRYPTION,
        Nid::SHA1WITHRSAENCRYPTION,
        Nid::SHA1WITHRSA,
        Nid::ECDSA_WITH_SHA1,
        Nid::DSAWITHSHA1,
    ];
    let weak = |reason| {
        Err(Refusal::Weak {
            subject: subject(certificate),
            reason,
        })
    };
    let algorithm = certificate.signature_algorithm().object().nid();
    if signature_counts && WEAK_SIGNATURES.contains(&algorithm) {
        return weak("is signed with MD5 or SHA-1");
    }
    match certificate.public_key().map(|key| KeyKind::of(&key)) {
        Ok(KeyKind::Rsa { bits }) if bits < 1024 => weak("has an RSA key below 1024 bits"),
        Ok(KeyKind::Rsa { bits }) if bits > 8192 => weak("has an RSA key above 8192 bits"),
        Ok(KeyKind::Other) | Err(_) => weak("has a key of a kind TLS does not use"),
        Ok(_) => Ok(()),
    }
}

/// Whether the extended key usage of a certificate allows a use.
pub(super) fn serves(certificate: &X509Ref, usage: Usage) -> bool {
    /// 2.5.29.37
    const EXTENDED_KEY_USAGE: [u8; 3] = [0x55, 0x1d, 0x25];
    /// 2.5.29.37.0
    const ANY: [u8; 4] = [0x55, 0x1d, 0x25, 0x00];
    /// 1.3.6.1.5.5.7.3.1
    const SERVER: [u8; 8] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
    /// 1.3.6.1.5.5.7.3.2
    const CLIENT: [u8; 8] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
    let Ok(encoded) = certificate.to_der() else {
        return false;
    };
    let Some(value) = der::extension(&encoded, &EXTENDED_KEY_USAGE) else {
        return true;
    };
    let mut listed = der::Elements(der::sequence(value).unwrap_or(&[]))
        .filter(|element| element.tag == der::OBJECT_IDENTIFIER)
        .map(|element| element.contents);
    listed
        .any(|oid| oid == ANY || oid == CLIENT || (usage == Usage::ClientOrServer && oid == SERVER))
}

/// Whether a certificate may be used by clients.
///
/// # Errors
/// [`Refusal::Purpose`].
pub fn serves_clients(certificate: &X509Ref) -> Result<(), Refusal> {
    if serves(certificate, Usage::Client) {
        return Ok(());
    }
    Err(Refusal::Purpose {
        subject: subject(certificate),
    })
}

/// Whether a leaf's extended key usage lists servers and not clients.
#[must_use]
pub fn is_for_servers_only(leaf: &X509Ref) -> bool {
    !serves(leaf, Usage::Client) && serves(leaf, Usage::ClientOrServer)
}

/// The first authority below which more authorities stand than its path length allows (RFC 5280,
/// section 4.2.1.9). The library does not look at the anchor's own.
pub(crate) fn too_long(way: &[X509]) -> Option<&X509> {
    let mut below = 0;
    for certificate in way.iter().skip(1) {
        if certificate.pathlen().is_some_and(|most| below > most) {
            return Some(certificate);
        }
        let self_issued = certificate
            .subject_name()
            .try_cmp(certificate.issuer_name())
            .is_ok_and(std::cmp::Ordering::is_eq);
        below += u32::from(!self_issued);
    }
    None
}

pub(super) fn subject(certificate: &X509Ref) -> String {
    distinguished_name(certificate.subject_name())
}

/// Whether the form of a certificate leaves no doubt about what it says: no extension is there
/// twice, basic constraints are DER, a list of alternative names has a name.
pub(super) fn well_formed(certificate: &X509Ref) -> Result<(), Refusal> {
    /// 2.5.29.19
    const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];
    /// 2.5.29.17
    const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];
    let odd = |reason: &str| {
        Err(Refusal::Other {
            subject: subject(certificate),
            reason: reason.to_owned(),
        })
    };
    let Ok(encoded) = certificate.to_der() else {
        return odd("it cannot be encoded");
    };
    let mut seen = HashSet::new();
    if !der::extension_names(&encoded).all(|name| seen.insert(name)) {
        return odd("it has an extension twice");
    }
    if der::extension(&encoded, &BASIC_CONSTRAINTS).is_some_and(|value| !is_constraint(value)) {
        return odd("its basic constraints are malformed");
    }
    match der::extension(&encoded, &ALTERNATIVE_NAMES) {
        Some(value) if der::sequence(value).is_none_or(<[u8]>::is_empty) => {
            odd("its alternative names are malformed")
        }
        _ => Ok(()),
    }
}

/// Basic constraints in DER: a boolean is all ones.
fn is_constraint(value: &[u8]) -> bool {
    let Some(contents) = der::sequence(value) else {
        return false;
    };
    let parts: Vec<_> = der::Elements(contents).collect();
    let whole = parts.iter().map(|part| part.length).sum::<usize>() == contents.len();
    let flag = |part: &der::Element<'_>| part.tag == der::BOOLEAN && part.contents == [0xff];
    let false_said = |part: &der::Element<'_>| part.tag == der::BOOLEAN && part.contents == [0x00];
    let number = |part: &der::Element<'_>| part.tag == der::INTEGER;
    whole
        && match parts.as_slice() {
            [] => true,
            // FALSE is the default and should not be written; certificates that do say nothing else by it.
            [one] => flag(one) || false_said(one) || number(one),
            [first, second] => (flag(first) || false_said(first)) && number(second),
            _ => false,
        }
}

/// Whether the key usage of an authority lets it sign certificates.
pub(super) fn signs_certificates(certificate: &X509Ref) -> bool {
    const KEY_CERT_SIGN: u8 = 5;
    may_be_used(certificate, KEY_CERT_SIGN)
}

/// Whether the key usage of a certificate, if it has one, lists a use by its bit (RFC 5280, section
/// 4.2.1.3), of the first eight.
pub(crate) fn may_be_used(certificate: &X509Ref, bit: u8) -> bool {
    /// 2.5.29.15
    const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 0x0f];
    let Ok(encoded) = certificate.to_der() else {
        return false;
    };
    let Some(value) = der::extension(&encoded, &KEY_USAGE) else {
        return true;
    };
    der::Elements(value)
        .next()
        .filter(|bits| bits.tag == der::BIT_STRING)
        // The first octet counts unused bits.
        .and_then(|bits| bits.contents.get(1))
        .is_some_and(|first| first & (0x80 >> bit) != 0)
}
