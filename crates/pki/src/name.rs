//! The attributes of a distinguished name, in the order the certificate has them.

use openssl::x509::X509NameRef;

use crate::der;

/// One attribute of a distinguished name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its type: the numbers of an object identifier, `2.5.4.3` for a common name.
    pub oid: Vec<u64>,
    /// Its value. What cannot be text has replacement characters.
    pub value: String,
}

/// The attributes of a name; those of a part with several stand one after the other.
pub fn attributes(name: &X509NameRef) -> Vec<Attribute> {
    let der = name.to_der().unwrap_or_default();
    let parts = der::Elements(der::sequence(&der).unwrap_or_default());
    parts
        .flat_map(|part| der::Elements(part.contents))
        .filter_map(|attribute| {
            let mut members = der::Elements(attribute.contents);
            let oid = members
                .next()
                .filter(|oid| oid.tag == der::OBJECT_IDENTIFIER)?;
            let value = members.next()?;
            Some(Attribute {
                oid: numbers(oid.contents),
                value: text(value.tag, value.contents),
            })
        })
        .collect()
}

/// The numbers of an encoded object identifier.
fn numbers(encoded: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut number: u64 = 0;
    for byte in encoded {
        number = number.saturating_mul(128) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        // The first two numbers share an octet.
        if numbers.is_empty() {
            let first = (number / 40).min(2);
            numbers.push(first);
            number -= first * 40;
        }
        numbers.push(std::mem::take(&mut number));
    }
    numbers
}

/// The text of a value by the tag of its string type.
fn text(tag: u8, contents: &[u8]) -> String {
    const TELETEX: u8 = 0x14;
    const UNIVERSAL: u8 = 0x1c;
    const BMP: u8 = 0x1e;
    let or_unknown = |code: u32| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    match tag {
        TELETEX => contents.iter().copied().map(char::from).collect(),
        BMP => {
            let units = contents.chunks_exact(2);
            let units = units.map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
            let decoded = char::decode_utf16(units);
            decoded
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        UNIVERSAL => contents
            .chunks_exact(4)
            .map(|code| or_unknown(u32::from_be_bytes([code[0], code[1], code[2], code[3]])))
            .collect(),
        _ => String::from_utf8_lossy(contents).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use openssl::{asn1::Asn1Type, nid::Nid, x509::X509Name};

    use super::*;

    #[test]
    fn attributes_keep_their_order_their_repetitions_and_their_text() {
        let mut name = X509Name::builder().unwrap();
        for (nid, value, tag) in [
            (Nid::COUNTRYNAME, "CZ", Asn1Type::PRINTABLESTRING),
            (
                Nid::ORGANIZATIONNAME,
                "Příklad & <Co>",
                Asn1Type::UTF8STRING,
            ),
            (Nid::ORGANIZATIONALUNITNAME, "one", Asn1Type::UTF8STRING),
            (Nid::ORGANIZATIONALUNITNAME, "two", Asn1Type::UTF8STRING),
            (Nid::PKCS9_EMAILADDRESS, "a@b.test", Asn1Type::IA5STRING),
            (Nid::COMMONNAME, "žluť", Asn1Type::UTF8STRING),
        ] {
            name.append_entry_by_nid_with_type(nid, value, tag).unwrap();
        }
        let seen: Vec<_> = attributes(&name.build())
            .into_iter()
            .map(|attribute| (attribute.oid, attribute.value))
            .collect();
        let expected: [(&[u64], &str); 6] = [
            (&[2, 5, 4, 6], "CZ"),
            (&[2, 5, 4, 10], "Příklad & <Co>"),
            (&[2, 5, 4, 11], "one"),
            (&[2, 5, 4, 11], "two"),
            (&[1, 2, 840, 113_549, 1, 9, 1], "a@b.test"),
            (&[2, 5, 4, 3], "žluť"),
        ];
        assert_eq!(
            seen,
            expected.map(|(oid, value)| (oid.to_vec(), value.to_owned()))
        );
        assert!(attributes(&X509Name::builder().unwrap().build()).is_empty());
    }

    #[test]
    fn every_string_type_becomes_text() {
        for (tag, contents, expected) in [
            (0x0c, "žluť".as_bytes(), "žluť"),
            (0x14, &[0x41, 0xe9], "Aé"),
            (0x1e, &[0x01, 0x7e, 0x00, 0x41], "žA"),
            (0x1e, &[0xd8, 0x00], "\u{fffd}"),
            (0x1c, &[0, 1, 0xf6, 0, 0, 0, 0, 0x41], "😀A"),
            (0x13, &[0xff], "\u{fffd}"),
        ] {
            assert_eq!(text(tag, contents), expected);
        }
    }

    #[test]
    fn identifiers_of_any_length_are_numbers() {
        assert_eq!(numbers(&[0x55, 0x04, 0x03]), [2, 5, 4, 3]);
        assert_eq!(numbers(&[0x88, 0x37]), [2, 999]);
        assert_eq!(numbers(&[0x27]), [0, 39]);
        assert!(numbers(&[]).is_empty());
        assert_eq!(numbers(&[0x55, 0x84]), [2, 5]);
        assert_eq!(numbers(&[[0xff; 20].as_slice(), &[0x7f]].concat()).len(), 2);
    }
}
