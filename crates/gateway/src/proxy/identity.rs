//! What an upstream is told of a client's certificate, by the fields people have agreed on.
//!
//! `Client-Cert` and `Client-Cert-Chain` are those of RFC 9440, `X-Forwarded-Client-Cert` is Envoy's.
//!
//! Invariants:
//! - Under these names nothing a client sends travels on, whatever an API is set to.
//! - Only a certificate that the API's own list or key has let pass is told of: nobody else has looked
//!   at it.

use portcullis_apidef::ClientIdentity;
use portcullis_pki::{
    PresentedChain,
    names::{AlternativeName, distinguished_name},
};

/// The fields, in lower case.
pub const FIELDS: [&str; 3] = [
    "client-cert",
    "client-cert-chain",
    "x-forwarded-client-cert",
];

/// The values for one connection, made when first needed.
#[derive(Debug, Default)]
pub struct Told {
    certificate: std::cell::OnceCell<Box<str>>,
    chain: std::cell::OnceCell<Box<str>>,
    forwarded: std::cell::OnceCell<Box<str>>,
}

impl Told {
    /// Hands every field that is wanted to `each`.
    pub fn each(
        &self,
        wanted: ClientIdentity,
        shown: &PresentedChain,
        each: &mut dyn FnMut(&str, &[u8]),
    ) {
        if wanted.certificate {
            let value = self.certificate.get_or_init(|| encoded(shown, 0..1));
            each(FIELDS[0], value.as_bytes());
        }
        let length = shown.certificates().len();
        if wanted.chain && length > 1 {
            let value = self.chain.get_or_init(|| encoded(shown, 1..length));
            each(FIELDS[1], value.as_bytes());
        }
        if wanted.forwarded {
            let value = self.forwarded.get_or_init(|| element(shown));
            each(FIELDS[2], value.as_bytes());
        }
    }
}

/// Certificates as a list of byte sequences (RFC 9440, section 2; RFC 8941, section 3.3.5).
fn encoded(shown: &PresentedChain, which: std::ops::Range<usize>) -> Box<str> {
    let items: Vec<String> = shown.certificates()[which]
        .iter()
        .filter_map(|certificate| certificate.to_der().ok())
        .map(|der| format!(":{}:", openssl::base64::encode_block(&der)))
        .collect();
    items.join(", ").into()
}

/// One element of `X-Forwarded-Client-Cert`: what identifies the certificate, and what it names.
fn element(shown: &PresentedChain) -> Box<str> {
    let subject = distinguished_name(shown.leaf().subject_name());
    let mut text = format!(
        "Hash={};Subject=\"{}\"",
        shown.fingerprint(),
        quoted(&subject)
    );
    for name in shown.names() {
        let (key, value) = match name {
            AlternativeName::Uri(uri) => ("URI", uri),
            AlternativeName::Dns(host) => ("DNS", host),
            _ => continue,
        };
        text.push_str(&format!(";{key}=\"{}\"", quoted(value)));
    }
    text.into()
}

/// Text within double quotes: nothing in it ends them or the field.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            other => out.extend(other.escape_unicode()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use openssl::x509::X509;
    use portcullis_pki::make::{Algorithm, Role, Template, make, make_ca};

    use super::*;

    const ALL: ClientIdentity = ClientIdentity {
        certificate: true,
        chain: true,
        forwarded: true,
    };

    fn fields(shown: &PresentedChain) -> Vec<(String, String)> {
        let mut found = Vec::new();
        Told::default().each(ALL, shown, &mut |name, value| {
            let value = String::from_utf8(value.to_vec()).unwrap();
            found.push((name.to_owned(), value));
        });
        found
    }

    #[test]
    fn a_certificate_and_its_chain_are_byte_sequences_and_names_cannot_break_out() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let alternatives = [
            AlternativeName::Uri("spiffe://td/a".to_owned()),
            AlternativeName::Dns("a.test".to_owned()),
        ];
        let template = Template {
            name: "a\", By=\"x;\u{fc}",
            alternatives: &alternatives,
            role: Role::Leaf {
                server: false,
                client: true,
            },
            algorithm: Algorithm::P256,
            days: 10,
        };
        let leaf = make(&template, Some(&ca)).unwrap();
        let ders = [&leaf, &ca].map(|pair| pair.certificate.to_der().unwrap());
        let shown = PresentedChain::of_der(&[&ders[0], &ders[1]]).unwrap();
        let found = fields(&shown);
        assert_eq!(found.len(), 3);
        for ((name, value), (der, expected)) in found.iter().zip(ders.iter().zip(FIELDS)) {
            assert_eq!(name, expected);
            let text = value
                .strip_prefix(':')
                .and_then(|v| v.strip_suffix(':'))
                .unwrap();
            let back = openssl::base64::decode_block(text).unwrap();
            assert_eq!(X509::from_der(&back).unwrap().to_der().unwrap(), *der);
        }
        let (_, forwarded) = &found[2];
        assert!(forwarded.starts_with(&format!("Hash={};Subject=\"", shown.fingerprint())));
        assert!(
            forwarded.ends_with(";URI=\"spiffe://td/a\";DNS=\"a.test\""),
            "{forwarded}"
        );
        assert!(
            forwarded.contains("\\\"") && !forwarded.contains("\", By"),
            "{forwarded}"
        );
        assert!(forwarded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
}
