//! What a list says, read from its DER where the library's safe face ends: extensions, and entries without
//! an object for each.
//!
//! The library has parsed the list before, so its form is sound; whatever is not understood all the same
//! makes the list unusable.

use std::{collections::HashMap, fmt};

use super::{CrlError, MOST_ENTRIES};
use crate::der::{self, Element, Elements};

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const ENUMERATED: u8 = 0x0a;
/// `[0]`, constructed: the version of a certificate, the extensions of a list.
const TAGGED_0: u8 = 0xa0;

/// 2.5.29.20
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
/// 2.5.29.21
const REASON_CODE: &[u8] = &[0x55, 0x1d, 0x15];
/// 2.5.29.27
const DELTA_INDICATOR: &[u8] = &[0x55, 0x1d, 0x1b];
/// 2.5.29.28
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];
/// 2.5.29.29
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 0x1d];
/// 2.5.29.35
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
/// The reason `removeFromCRL`.
const REMOVE_FROM_CRL: &[u8] = &[8];

/// Signatures with MD5 and SHA-1, which prove nothing.
const WEAK_SIGNATURES: [&[u8]; 5] = [
    // 1.2.840.113549.1.1.4 and .5
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
    // 1.3.14.3.2.29
    &[0x2b, 0x0e, 0x03, 0x02, 0x1d],
    // 1.2.840.10045.4.1
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01],
    // 1.2.840.10040.4.3
    &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03],
];

/// When a certificate was revoked: `YYYYMMDDhhmmssZ`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment([u8; 15]);

/// The parts of a list that are read here.
pub(super) struct Body<'a> {
    signature_algorithm: &'a [u8],
    entries: &'a [u8],
    extensions: &'a [u8],
}

/// One extension.
struct Extension<'a> {
    name: &'a [u8],
    critical: bool,
    value: &'a [u8],
}

impl<'a> Body<'a> {
    pub(super) fn of(list: &'a [u8]) -> Option<Self> {
        let mut outer = Elements(der::sequence(list)?);
        let signed = outer.next()?.contents;
        let signature_algorithm = Elements(outer.next()?.contents).next()?.contents;
        let mut parts = Elements(signed).peekable();
        parts.next_if(|part| part.tag == der::INTEGER);
        // Algorithm, issuer, thisUpdate.
        let (_, _, _) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next_if(|part| matches!(part.tag, UTC_TIME | GENERALIZED_TIME));
        let entries = parts.next_if(|part| part.tag == der::SEQUENCE);
        let extensions = parts.next_if(|part| part.tag == TAGGED_0);
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            signature_algorithm,
            entries: entries.map_or(&[], |part| part.contents),
            extensions: match extensions {
                Some(part) => der::sequence(part.contents)?,
                None => &[],
            },
        })
    }

    /// When each serial number was revoked.
    pub(super) fn revoked(&self) -> Result<HashMap<Box<[u8]>, Moment>, CrlError> {
        if WEAK_SIGNATURES.contains(&self.signature_algorithm) {
            return Err(CrlError::Weak);
        }
        for extension in extensions(self.extensions) {
            let extension = extension.ok_or(CrlError::Malformed)?;
            match extension.name {
                DELTA_INDICATOR => return Err(CrlError::Delta),
                ISSUING_DISTRIBUTION_POINT => return Err(CrlError::Partial),
                CRL_NUMBER | AUTHORITY_KEY_IDENTIFIER => {}
                other if extension.critical => return Err(CrlError::Critical(dotted(other))),
                _ => {}
            }
        }
        let mut revoked = HashMap::new();
        let mut read = 0;
        for entry in Elements(self.entries) {
            read += entry.length;
            if revoked.len() == MOST_ENTRIES {
                return Err(CrlError::TooMany);
            }
            let (serial, moment) = entry_of(entry)?;
            revoked.insert(serial.into(), moment);
        }
        match read == self.entries.len() {
            true => Ok(revoked),
            false => Err(CrlError::Malformed),
        }
    }
}

fn entry_of(entry: Element<'_>) -> Result<(&[u8], Moment), CrlError> {
    let mut parts = Elements(entry.contents);
    let serial = parts.next().filter(|part| part.tag == der::INTEGER);
    let moment = parts.next().and_then(Moment::of);
    let (Some(serial), Some(moment)) = (serial, moment) else {
        return Err(CrlError::Malformed);
    };
    let list = parts.next().map_or(&[][..], |part| part.contents);
    for extension in extensions(list) {
        let extension = extension.ok_or(CrlError::Malformed)?;
        match extension.name {
            CERTIFICATE_ISSUER => return Err(CrlError::Indirect),
            REASON_CODE => {
                let reason = Elements(extension.value).next();
                let reason = reason.filter(|reason| reason.tag == ENUMERATED);
                if reason.ok_or(CrlError::Malformed)?.contents == REMOVE_FROM_CRL {
                    return Err(CrlError::Removes);
                }
            }
            other if extension.critical => return Err(CrlError::Critical(dotted(other))),
            _ => {}
        }
    }
    Ok((shortest(serial.contents), moment))
}

/// The extensions of a list of them; `None` for one that has no form.
fn extensions(list: &[u8]) -> impl Iterator<Item = Option<Extension<'_>>> {
    Elements(list).map(|element| {
        let parts: Vec<Element<'_>> = Elements(element.contents).collect();
        let (name, critical, value) = match *parts {
            [name, value] => (name, false, value),
            [name, flag, value] if flag.tag == der::BOOLEAN => {
                (name, flag.contents != [0x00], value)
            }
            _ => return None,
        };
        let sound = name.tag == der::OBJECT_IDENTIFIER && value.tag == der::OCTET_STRING;
        sound.then_some(Extension {
            name: name.contents,
            critical,
            value: value.contents,
        })
    })
}

/// The serial number of a certificate, in its shortest form.
pub(super) fn serial_of(certificate: &[u8]) -> Option<&[u8]> {
    let mut parts = Elements(der::sequence(certificate).and_then(der::sequence)?).peekable();
    parts.next_if(|part| part.tag == TAGGED_0);
    let serial = parts.next()?;
    (serial.tag == der::INTEGER).then_some(shortest(serial.contents))
}

/// The octets of an integer without those that repeat its sign.
fn shortest(mut octets: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = octets
        && let [second, ..] = rest
        && matches!((first, second >> 7), (0x00, 0) | (0xff, 1))
    {
        octets = rest;
    }
    octets
}

impl Moment {
    fn of(time: Element<'_>) -> Option<Self> {
        let mut text = [0; 15];
        match (time.tag, time.contents.len()) {
            (GENERALIZED_TIME, 15) => text.copy_from_slice(time.contents),
            (UTC_TIME, 13) => {
                // RFC 5280, 4.1.2.5.1: until 49 it is this century.
                let century = if time.contents[0] >= b'5' {
                    b"19"
                } else {
                    b"20"
                };
                text[..2].copy_from_slice(century);
                text[2..].copy_from_slice(time.contents);
            }
            _ => return None,
        }
        let digits = text[..14].iter().all(u8::is_ascii_digit);
        (digits && text[14] == b'Z').then_some(Self(text))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = ["", "-", "-", "T", ":", ":"];
        let mut rest = &self.0[..];
        for (separator, length) in between.into_iter().zip([4, 2, 2, 2, 2, 2]) {
            let (part, after) = rest.split_at(length);
            write!(f, "{separator}{}", String::from_utf8_lossy(part))?;
            rest = after;
        }
        f.write_str("Z")
    }
}

/// An object identifier in numbers and dots.
fn dotted(contents: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0u64;
    for octet in contents {
        arc = (arc << 7) | u64::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            arcs.push(arc);
            arc = 0;
        }
    }
    let Some((first, rest)) = arcs.split_first() else {
        return String::new();
    };
    // The first two share a number.
    let root = (first / 40).min(2);
    let mut text = format!("{root}.{}", first - root * 40);
    for arc in rest {
        text.push_str(&format!(".{arc}"));
    }
    text
}
