//! What is odd about the order and the members of a bundle.
//!
//! A server sends the certificates of its bundle as they stand there. Clients put up with some
//! disorder and stumble over the rest, so all of it is worth saying.

use std::fmt;

use openssl::{
    pkey::{PKeyRef, Private},
    x509::X509,
};

use crate::{
    certificate::CertificateFacts,
    details::{is_self_signed, is_signed_by},
    names::printable,
};

/// One thing that is odd. Places count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The private key belongs to no certificate of the bundle.
    KeyOfNone,
    /// The private key belongs to a certificate that does not come first.
    KeyOfAnother {
        /// Where it stands.
        place: usize,
    },
    /// A certificate did not issue the one before it.
    NotTheIssuer {
        /// Where it stands.
        place: usize,
        /// Who should stand there: the issuer that the one before names.
        wanted: String,
        /// Where the right one stands, when it is in the bundle.
        found: Option<usize>,
    },
    /// The same certificate stands there twice.
    Repeated {
        /// Where it stands again.
        place: usize,
    },
    /// A root, which clients have or do not trust: sending it is of no use.
    Root {
        /// Where it stands.
        place: usize,
    },
}

impl Oddity {
    /// Whether clients may fail because of it.
    #[must_use]
    pub fn is_harmful(&self) -> bool {
        !matches!(self, Self::Root { .. } | Self::Repeated { .. })
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyOfNone => {
                f.write_str("the private key belongs to no certificate of the bundle")
            }
            Self::KeyOfAnother { place } => write!(
                f,
                "the private key belongs to certificate {place}, which has to come first"
            ),
            Self::NotTheIssuer {
                place,
                wanted,
                found,
            } => {
                let before = place - 1;
                write!(
                    f,
                    "certificate {place} did not issue certificate {before}, which names `{wanted}`; "
                )?;
                match found {
                    Some(found) => {
                        write!(f, "that one is certificate {found} and has to follow it")
                    }
                    None => f.write_str("that one is not in the bundle"),
                }
            }
            Self::Repeated { place } => write!(f, "certificate {place} stands there already"),
            Self::Root { place } => write!(
                f,
                "certificate {place} is a root, which a server does not need to send"
            ),
        }
    }
}

/// What is odd about these certificates and their key, in the order of the bundle.
#[must_use]
pub fn oddities(certificates: &[X509], key: Option<&PKeyRef<Private>>) -> Vec<Oddity> {
    let mut found = Vec::new();
    if let (Some(key), false) = (key, certificates.is_empty()) {
        let belongs = |certificate: &X509| {
            certificate
                .public_key()
                .is_ok_and(|public| public.public_eq(key))
        };
        match certificates.iter().position(belongs) {
            Some(0) => {}
            Some(at) => found.push(Oddity::KeyOfAnother { place: at + 1 }),
            None => found.push(Oddity::KeyOfNone),
        }
        // Comparisons leave their reasons in the library's error queue.
        let _ = openssl::error::ErrorStack::get();
    }
    let encoded: Vec<_> = certificates
        .iter()
        .map(|certificate| certificate.to_der().unwrap_or_default())
        .collect();
    for (at, certificate) in certificates.iter().enumerate().skip(1) {
        let place = at + 1;
        if encoded[..at].contains(&encoded[at]) {
            found.push(Oddity::Repeated { place });
            continue;
        }
        let before = &certificates[at - 1];
        let issued = |issuer: &X509| {
            !is_self_signed(before)
                && issuer
                    .subject_name()
                    .try_cmp(before.issuer_name())
                    .is_ok_and(|order| order.is_eq())
                && is_signed_by(before, issuer)
        };
        if issued(certificate) {
            if is_self_signed(certificate) {
                found.push(Oddity::Root { place });
            }
            continue;
        }
        let facts = CertificateFacts::of(before);
        found.push(Oddity::NotTheIssuer {
            place,
            wanted: facts.map_or_else(|_| String::new(), |facts| printable(&facts.issuer_cn)),
            found: certificates.iter().position(issued).map(|at| at + 1),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::make::{Algorithm, Pair, Role, Template, make, make_ca, make_server};

    fn family() -> (Pair, Pair, Pair) {
        let root = make_ca("Root", Algorithm::P256, 30).unwrap();
        let template = Template {
            name: "Middle",
            alternatives: &[],
            role: Role::Authority {
                path_length: Some(0),
            },
            algorithm: Algorithm::P256,
            days: 20,
        };
        let middle = make(&template, Some(&root)).unwrap();
        let leaf = make_server(&middle, &["leaf.test"], Algorithm::P256, 10).unwrap();
        (root, middle, leaf)
    }

    fn of(pairs: &[&Pair], key: &Pair) -> Vec<Oddity> {
        let certificates: Vec<X509> = pairs.iter().map(|pair| pair.certificate.clone()).collect();
        oddities(&certificates, Some(&key.key))
    }

    #[test]
    fn a_chain_in_order_is_not_odd_and_a_root_at_its_end_is_only_useless() {
        let (root, middle, leaf) = family();
        assert_eq!(of(&[&leaf, &middle], &leaf), []);
        let with_root = of(&[&leaf, &middle, &root], &leaf);
        assert_eq!(with_root, [Oddity::Root { place: 3 }]);
        assert!(!with_root[0].is_harmful());
    }

    #[test]
    fn a_chain_upside_down_says_what_has_to_stand_where() {
        let (_, middle, leaf) = family();
        let found = of(&[&middle, &leaf], &leaf);
        assert_eq!(found[0], Oddity::KeyOfAnother { place: 2 });
        assert!(
            matches!(&found[1], Oddity::NotTheIssuer { place: 2, wanted, found: None } if wanted == "Root")
        );
        let (root, middle, leaf) = family();
        let found = of(&[&leaf, &root, &middle], &leaf);
        assert!(
            found[0].to_string().contains("certificate 2 did not issue certificate 1, which names `Middle`; that one is certificate 3"),
            "{}", found[0]
        );
        assert!(found.iter().all(Oddity::is_harmful));
    }

    #[test]
    fn a_key_of_none_and_a_repeated_certificate_are_told() {
        let (_, middle, leaf) = family();
        let found = of(&[&leaf, &leaf, &middle], &middle);
        assert_eq!(
            found[..2],
            [
                Oddity::KeyOfAnother { place: 3 },
                Oddity::Repeated { place: 2 }
            ]
        );
        let (_, _, other) = family();
        assert_eq!(of(&[&leaf], &other), [Oddity::KeyOfNone]);
    }
}
