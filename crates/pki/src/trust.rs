//! Whether a chain that a TLS client presented leads to a trust anchor.
//!
//! The one place that decides it: the handshake, the check of each request and the verb `doctor` all
//! ask here. Rules (RFC 5280, section 6.1, with what is ours named):
//! - Every certificate among the anchors is trusted, root or not, and nothing above it is asked for.
//!   Its validity, its path length and its name constraints count all the same.
//! - Extended key usage is nested: every certificate on the way that has one must list the purpose.
//! - Signatures with MD5 or SHA-1 lead nowhere, nor do RSA keys below 1024 or above 8192 bits.
//!
//! Invariants:
//! - A chain is refused unless every check has passed; a library that fails refuses as well.
//! - The work is bounded: the presented certificates are ([`crate::presented`]), and a way has at
//!   most [`LONGEST_WAY`] certificates.

use openssl::{
    error::ErrorStack,
    nid::Nid,
    sha::Sha256,
    stack::Stack,
    x509::{
        X509, X509Ref, X509StoreContext, X509VerifyResult,
        store::{X509Store, X509StoreBuilder},
        verify::{X509VerifyFlags, X509VerifyParam},
    },
};

use crate::{
    certificate::{KeyKind, unix_seconds},
    der,
    names::distinguished_name,
    presented::PresentedChain,
};

/// Most certificates on a way, leaf and anchor counted.
pub const LONGEST_WAY: usize = 10;

/// What a leaf may be used for by its extended key usage; without one, or with `any`, it may be used
/// for everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Clients.
    Client,
    /// Clients, or servers: what a listed authority vouches for is taken though it names only
    /// servers.
    ClientOrServer,
}

/// Certificates that are trusted, prepared once.
pub struct TrustAnchors {
    store: X509Store,
    anchors: Vec<X509>,
    digest: [u8; 32],
}

/// The way from a leaf to an anchor, both included.
#[derive(Debug)]
pub struct Way {
    /// Leaf first.
    pub certificates: Vec<X509>,
    until: i64,
}

impl Way {
    /// The last second (Unix time) at which every certificate on it is valid.
    #[must_use]
    pub fn until(&self) -> i64 {
        self.until
    }
}

/// Why a chain does not lead to an anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A certificate on the way is past its validity.
    #[error("`{subject}` has expired")]
    Expired {
        /// Its subject.
        subject: String,
    },
    /// A certificate on the way is before its validity.
    #[error("`{subject}` is not valid yet")]
    NotYetValid {
        /// Its subject.
        subject: String,
    },
    /// There is no way from the leaf to an anchor.
    #[error("`{subject}` does not lead to a trusted authority: {reason}")]
    Untrusted {
        /// The certificate the way ends at.
        subject: String,
        /// Why it ends there.
        reason: &'static str,
    },
    /// The way leads through what is no authority, or has more below it than it allows.
    #[error("`{subject}` {reason}")]
    Authority {
        /// Its subject.
        subject: String,
        /// What it lacks.
        reason: &'static str,
    },
    /// A certificate is not for this use.
    #[error("the extended key usage of `{subject}` does not list clientAuth")]
    Purpose {
        /// Its subject.
        subject: String,
    },
    /// An authority's name constraints exclude it.
    #[error("`{subject}`: its names are not among those its authority may vouch for")]
    NameConstraints {
        /// Its subject.
        subject: String,
    },
    /// A key or a signature that is too weak to mean anything, or unusually costly.
    #[error("`{subject}` {reason}")]
    Weak {
        /// Its subject.
        subject: String,
        /// What is weak.
        reason: &'static str,
    },
    /// Anything else the library found.
    #[error("`{subject}`: {reason}")]
    Other {
        /// The certificate it is about.
        subject: String,
        /// What the library says.
        reason: String,
    },
}

impl TrustAnchors {
    /// Prepares anchors; their order does not matter, and one may be there twice.
    ///
    /// # Errors
    /// When the library cannot take one.
    pub fn new(mut anchors: Vec<X509>) -> Result<Self, ErrorStack> {
        let mut encoded = Vec::with_capacity(anchors.len());
        for anchor in &anchors {
            encoded.push(anchor.to_der()?);
        }
        let store = store(&anchors)?;
        encoded.sort_unstable();
        encoded.dedup();
        let mut digest = Sha256::new();
        for der in &encoded {
            digest.update(&der.len().to_be_bytes());
            digest.update(der);
        }
        anchors.shrink_to_fit();
        Ok(Self {
            store,
            anchors,
            digest: digest.finish(),
        })
    }

    /// The anchors.
    #[must_use]
    pub fn anchors(&self) -> &[X509] {
        &self.anchors
    }

    /// Nothing is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// A digest of the anchors, whatever their order.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The way from a presented leaf to an anchor at a time (Unix seconds).
    ///
    /// # Errors
    /// [`Refusal`] with the first check that failed.
    pub fn way(&self, shown: &PresentedChain, usage: Usage, at: i64) -> Result<Way, Refusal> {
        valid_at(shown.leaf(), at)?;
        let way = self.valid_way(shown, at)?;
        for (place, certificate) in way.iter().enumerate() {
            // Nobody asks who signed an anchor.
            sound(certificate, place + 1 < way.len())?;
        }
        if let Some(authority) = too_long(&way) {
            return Err(Refusal::Authority {
                subject: subject(authority),
                reason: "has more authorities below it than its path length allows",
            });
        }
        for certificate in &way {
            if !serves(certificate, usage) {
                return Err(Refusal::Purpose {
                    subject: subject(certificate),
                });
            }
        }
        let ends = way.iter().map(|on_way| unix_seconds(on_way.not_after()));
        let until = ends.map(|end| end.unwrap_or(at)).min().unwrap_or(at);
        Ok(Way {
            certificates: way,
            until,
        })
    }

    /// A way whose every certificate is in its validity. The library is not asked about time, and so
    /// it may take an authority's expired certificate where its renewed one is there as well; then
    /// it is asked again without those that are not valid.
    fn valid_way(&self, shown: &PresentedChain, at: i64) -> Result<Vec<X509>, Refusal> {
        let (leaf, along) = (shown.leaf(), &shown.certificates()[1..]);
        let way = walk(&self.store, leaf, along)?;
        let Some(refused) = way.iter().find_map(|on_way| valid_at(on_way, at).err()) else {
            return Ok(way);
        };
        let valid = |all: &[X509]| -> Vec<X509> {
            let good = all.iter().filter(|one| valid_at(one, at).is_ok());
            good.cloned().collect()
        };
        let anchor_is_valid = way
            .last()
            .is_some_and(|anchor| valid_at(anchor, at).is_ok());
        let again = if anchor_is_valid {
            walk(&self.store, leaf, &valid(along))
        } else {
            match store(&valid(&self.anchors)) {
                Ok(store) => walk(&store, leaf, &valid(along)),
                Err(_) => return Err(refused),
            }
        };
        match again {
            Ok(way) if way.iter().all(|on_way| valid_at(on_way, at).is_ok()) => Ok(way),
            _ => Err(refused),
        }
    }
}

fn store(anchors: &[X509]) -> Result<X509Store, ErrorStack> {
    let mut builder = X509StoreBuilder::new()?;
    for anchor in anchors {
        builder.add_cert(anchor.clone())?;
    }
    let mut rules = X509VerifyParam::new()?;
    rules.set_flags(X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::NO_CHECK_TIME)?;
    // The library counts what stands between leaf and anchor.
    rules.set_depth(i32::try_from(LONGEST_WAY - 2).unwrap_or(0));
    builder.set_param(&rules)?;
    Ok(builder.build())
}

/// The way the library finds, whatever the time is.
fn walk(store: &X509Store, leaf: &X509Ref, along: &[X509]) -> Result<Vec<X509>, Refusal> {
    let failed = |error: ErrorStack| Refusal::Other {
        subject: subject(leaf),
        reason: format!("the library cannot verify it: {error}"),
    };
    let mut untrusted = Stack::new().map_err(failed)?;
    for certificate in along {
        untrusted.push(certificate.clone()).map_err(failed)?;
    }
    let mut context = X509StoreContext::new().map_err(failed)?;
    let walked = context.init(store, leaf, &untrusted, |context| {
        let good = context.verify_cert()?;
        let result = match context.error() {
            X509VerifyResult::OK if !good => X509VerifyResult::APPLICATION_VERIFICATION,
            result => result,
        };
        let way = context.chain().map_or_else(Vec::new, |chain| {
            chain.iter().map(ToOwned::to_owned).collect()
        });
        let about = context.current_cert().map(ToOwned::to_owned);
        Ok((result, way, about))
    });
    // A certificate that is refused leaves its reason in the library's error queue.
    let _ = ErrorStack::get();
    let (result, way, about): (_, Vec<X509>, Option<X509>) = walked.map_err(failed)?;
    if result == X509VerifyResult::OK && !way.is_empty() {
        return Ok(way);
    }
    let about = about.as_deref().unwrap_or(leaf);
    Err(refusal(result, subject(about)))
}

impl std::fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustAnchors")
            .field("anchors", &self.anchors.len())
            .finish_non_exhaustive()
    }
}

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

/// What the library's result means.
fn refusal(result: X509VerifyResult, subject: String) -> Refusal {
    let untrusted = |reason| Refusal::Untrusted {
        subject: subject.clone(),
        reason,
    };
    let authority = |reason| Refusal::Authority {
        subject: subject.clone(),
        reason,
    };
    match result.as_raw() {
        2 | 20 | 21 | 27 => untrusted("its issuer is neither trusted nor among what was sent"),
        18 => untrusted("it is signed by itself and not trusted"),
        19 => untrusted("the root it leads to is not trusted"),
        7 => untrusted("the signature on it is not its issuer's"),
        22 => untrusted("the way is longer than is followed"),
        9 => Refusal::NotYetValid { subject },
        10 => Refusal::Expired { subject },
        24 | 32 | 35 | 37 => authority("issued a certificate and is no authority"),
        25 => authority("has more authorities below it than its path length allows"),
        47..=53 => Refusal::NameConstraints { subject },
        34 => Refusal::Other {
            subject,
            reason: "it has a critical extension nobody here understands".to_owned(),
        },
        _ => Refusal::Other {
            subject,
            reason: result.error_string().to_owned(),
        },
    }
}

/// Whether key and signature of a certificate mean anything.
fn sound(certificate: &X509Ref, signature_counts: bool) -> Result<(), Refusal> {
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
fn serves(certificate: &X509Ref, usage: Usage) -> bool {
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

fn subject(certificate: &X509Ref) -> String {
    distinguished_name(certificate.subject_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::make::{Algorithm, Pair, Role, Template, make, make_ca, make_client, make_server};

    fn shown(certificates: &[&Pair]) -> PresentedChain {
        let ders: Vec<Vec<u8>> = certificates
            .iter()
            .map(|pair| pair.certificate.to_der().unwrap())
            .collect();
        let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
        PresentedChain::of_der(&ders).unwrap()
    }

    fn trusting(anchors: &[&Pair]) -> TrustAnchors {
        TrustAnchors::new(anchors.iter().map(|a| a.certificate.clone()).collect()).unwrap()
    }

    fn now() -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(since.unwrap().as_secs()).unwrap()
    }

    fn authority(name: &str, path_length: Option<u32>, issuer: Option<&Pair>) -> Pair {
        let template = Template {
            name,
            alternatives: &[],
            role: Role::Authority { path_length },
            algorithm: Algorithm::P256,
            days: 30,
        };
        make(&template, issuer).unwrap()
    }

    #[test]
    fn a_leaf_leads_to_its_authority_also_over_what_was_sent_along() {
        let root = make_ca("Root", Algorithm::P256, 30).unwrap();
        let middle = authority("Middle", None, Some(&root));
        let leaf = make_client(&middle, "client", Algorithm::P256, 10).unwrap();
        let anchors = trusting(&[&root]);
        let way = anchors.way(&shown(&[&leaf, &middle]), Usage::Client, now());
        assert_eq!(way.unwrap().certificates.len(), 3);
        let alone = anchors.way(&shown(&[&leaf]), Usage::Client, now());
        assert!(matches!(alone, Err(Refusal::Untrusted { .. })), "{alone:?}");
        let middle_alone = trusting(&[&middle]);
        let way = middle_alone.way(&shown(&[&leaf]), Usage::Client, now());
        assert_eq!(way.unwrap().certificates.len(), 2);
    }

    #[test]
    fn a_certificate_that_came_along_vouches_for_nobody_it_did_not_sign() {
        let listed = make_ca("Listed", Algorithm::P256, 30).unwrap();
        let other = make_ca("Listed", Algorithm::P256, 30).unwrap();
        let leaf = make_client(&other, "mallory", Algorithm::P256, 10).unwrap();
        let refused = trusting(&[&listed])
            .way(&shown(&[&leaf, &listed]), Usage::Client, now())
            .unwrap_err();
        assert!(matches!(refused, Refusal::Untrusted { .. }), "{refused:?}");
    }

    #[test]
    fn time_and_purpose_and_path_length_are_looked_at() {
        let root = authority("Root", Some(0), None);
        let middle = authority("Middle", None, Some(&root));
        let under_middle = make_client(&middle, "client", Algorithm::P256, 10).unwrap();
        let leaf = make_client(&root, "client", Algorithm::P256, 10).unwrap();
        let server = make_server(&root, &["a.test"], Algorithm::P256, 10).unwrap();
        let anchors = trusting(&[&root]);
        let way = |chain: &PresentedChain, usage, at| anchors.way(chain, usage, at);

        let chain = shown(&[&leaf]);
        assert!(way(&chain, Usage::Client, now()).is_ok());
        let late = way(&chain, Usage::Client, now() + 11 * 86_400);
        assert!(matches!(late, Err(Refusal::Expired { .. })), "{late:?}");
        let early = way(&chain, Usage::Client, now() - 7 * 86_400);
        assert!(
            matches!(early, Err(Refusal::NotYetValid { .. })),
            "{early:?}"
        );

        let long = way(&shown(&[&under_middle, &middle]), Usage::Client, now());
        assert!(matches!(long, Err(Refusal::Authority { .. })), "{long:?}");

        let for_servers = shown(&[&server]);
        let refused = way(&for_servers, Usage::Client, now());
        assert!(
            matches!(refused, Err(Refusal::Purpose { .. })),
            "{refused:?}"
        );
        assert!(way(&for_servers, Usage::ClientOrServer, now()).is_ok());
        assert!(is_for_servers_only(&server.certificate));
        assert!(!is_for_servers_only(&leaf.certificate));
    }

    #[test]
    fn an_expired_certificate_of_an_authority_does_not_hide_its_renewed_one() {
        let root = make_ca("Root", Algorithm::P256, 30).unwrap();
        let leaf = make_client(&root, "client", Algorithm::P256, 20).unwrap();
        let expired = resigned(&root, 5);
        let later = now() + 10 * 86_400;
        for order in [[&root, &expired], [&expired, &root]] {
            let way = trusting(&order).way(&shown(&[&leaf]), Usage::Client, later);
            assert_eq!(way.unwrap().certificates.len(), 2);
        }
        let refused = trusting(&[&expired]).way(&shown(&[&leaf]), Usage::Client, later);
        assert!(
            matches!(refused, Err(Refusal::Expired { .. })),
            "{refused:?}"
        );
    }

    /// Another certificate of the same name and key.
    fn resigned(pair: &Pair, days: u32) -> Pair {
        let mut builder = X509::builder().unwrap();
        let old = &pair.certificate;
        builder.set_version(2).unwrap();
        let serial = openssl::bn::BigNum::from_u32(7).unwrap();
        builder
            .set_serial_number(&serial.to_asn1_integer().unwrap())
            .unwrap();
        builder.set_subject_name(old.subject_name()).unwrap();
        builder.set_issuer_name(old.subject_name()).unwrap();
        builder.set_pubkey(&pair.key).unwrap();
        builder.set_not_before(old.not_before()).unwrap();
        let end = openssl::asn1::Asn1Time::days_from_now(days).unwrap();
        builder.set_not_after(&end).unwrap();
        let ca = openssl::x509::extension::BasicConstraints::new()
            .critical()
            .ca()
            .build();
        builder.append_extension(ca.unwrap()).unwrap();
        builder
            .sign(&pair.key, openssl::hash::MessageDigest::sha256())
            .unwrap();
        Pair {
            certificate: builder.build(),
            key: pair.key.clone(),
        }
    }

    #[test]
    fn a_digest_tells_sets_of_anchors_apart_and_not_their_order() {
        let [a, b] = ["A", "B"].map(|name| make_ca(name, Algorithm::P256, 30).unwrap());
        assert_eq!(
            trusting(&[&a, &b]).digest(),
            trusting(&[&b, &a, &b]).digest()
        );
        assert_ne!(trusting(&[&a]).digest(), trusting(&[&a, &b]).digest());
        assert!(trusting(&[]).is_empty());
    }
}
