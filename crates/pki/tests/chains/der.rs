//! Writing DER, well-formed or not: what a certificate library refuses to write is wanted here too.

/// An element of a tag around its parts.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let mut der = vec![tag];
    match u8::try_from(contents.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let bytes = contents.len().to_be_bytes();
            let used = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            der.push(0x80 | u8::try_from(used.len()).unwrap());
            der.extend_from_slice(used);
        }
    }
    der.extend_from_slice(&contents);
    der
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, parts)
}

/// An object identifier in dotted form.
pub fn oid(dotted: &str) -> Vec<u8> {
    let numbers: Vec<u64> = dotted.split('.').map(|n| n.parse().unwrap()).collect();
    let mut contents = Vec::new();
    let joined = std::iter::once(numbers[0] * 40 + numbers[1]).chain(numbers[2..].iter().copied());
    for number in joined {
        let mut groups = vec![(number & 0x7f) as u8];
        let mut rest = number >> 7;
        while rest > 0 {
            groups.push(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        contents.extend(groups.iter().rev());
    }
    element(0x06, &[&contents])
}

/// An integer of given octets, whatever they are.
pub fn integer(octets: &[u8]) -> Vec<u8> {
    element(0x02, &[octets])
}

/// A bit string without unused bits.
pub fn bits(octets: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], octets])
}

pub fn octets(contents: &[u8]) -> Vec<u8> {
    element(0x04, &[contents])
}

/// A distinguished name of attributes: type in dotted form, value as UTF8String.
pub fn name(attributes: &[(&str, &str)]) -> Vec<u8> {
    let parts: Vec<u8> = attributes
        .iter()
        .flat_map(|(kind, value)| {
            // A mail address is an IA5String.
            let tag = if *kind == EMAIL { 0x16 } else { 0x0c };
            let value = element(tag, &[value.as_bytes()]);
            element(0x31, &[&sequence(&[&oid(kind), &value])])
        })
        .collect();
    sequence(&[&parts])
}

pub const COMMON_NAME: &str = "2.5.4.3";
pub const ORGANIZATION: &str = "2.5.4.10";
pub const EMAIL: &str = "1.2.840.113549.1.9.1";

/// A name that is a common name only.
pub fn common_name(text: &str) -> Vec<u8> {
    name(&[(COMMON_NAME, text)])
}

/// An extension.
pub fn extension(kind: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    sequence(&[&oid(kind), flag, &octets(value)])
}
