//! Just enough DER to look into a certificate where the library's safe face ends.

/// The elements of `bytes`, one after the other; ends at the first malformed one.
pub(crate) struct Elements<'a>(pub(crate) &'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    /// Bytes of the whole element.
    pub(crate) length: usize,
}

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let before = self.0.len();
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = octets.iter().try_fold(0usize, |sum, octet| {
                sum.checked_mul(256)?.checked_add(usize::from(*octet))
            })?;
            (length, rest)
        };
        let (contents, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some(Element {
            tag,
            contents,
            length: before - after.len(),
        })
    }
}

/// What is inside the sequence that `bytes` begins with.
pub(crate) fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    Elements(bytes)
        .next()
        .filter(|element| element.tag == SEQUENCE)
        .map(|e| e.contents)
}

/// The extensions of a certificate: the elements of each.
fn extensions(certificate: &[u8]) -> impl Iterator<Item = Elements<'_>> {
    const EXTENSIONS: u8 = 0xa3;
    let list = sequence(certificate)
        .and_then(sequence)
        .and_then(|body| Elements(body).find(|element| element.tag == EXTENSIONS))
        .and_then(|element| sequence(element.contents))
        .unwrap_or_default();
    Elements(list).map(|extension| Elements(extension.contents))
}

/// The types (encoded contents) of the extensions of a certificate, in its order.
pub(crate) fn extension_names(certificate: &[u8]) -> impl Iterator<Item = &[u8]> {
    extensions(certificate).filter_map(|mut parts| parts.next().map(|name| name.contents))
}

/// The value of the extension `oid` (its encoded contents) in a certificate.
pub(crate) fn extension<'a>(certificate: &'a [u8], oid: &[u8]) -> Option<&'a [u8]> {
    extensions(certificate).find_map(|mut parts| {
        let name = parts.next()?;
        // A flag for "critical" may stand between name and value.
        let ours = name.tag == OBJECT_IDENTIFIER && name.contents == oid;
        if ours {
            parts.last().map(|value| value.contents)
        } else {
            None
        }
    })
}

/// A sequence around `contents`.
pub(crate) fn into_sequence(contents: &[u8]) -> Vec<u8> {
    let mut der = vec![SEQUENCE];
    let length = contents.len();
    if length < 0x80 {
        der.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let used = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        der.push(0x80 | used.len() as u8);
        der.extend_from_slice(used);
    }
    der.extend_from_slice(contents);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_size_survive_a_round_trip() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let contents = vec![7; length];
            assert_eq!(
                sequence(&into_sequence(&contents)),
                Some(contents.as_slice())
            );
        }
    }

    #[test]
    fn malformed_elements_end_the_walk() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 2, 0],
            &[0x30, 0x82, 1],
            &[0x30, 0xff, 1, 1],
        ] {
            assert_eq!(Elements(bytes).next(), None);
        }
    }
}
