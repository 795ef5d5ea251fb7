//! Ways of chains that this crate makes itself; the corpus of odd ones is in `tests/chains`.

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
fn time_and_purpose_are_looked_at() {
    let root = authority("Root", None, None);
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

#[test]
fn a_way_that_was_found_serves_everybody_who_trusts_its_anchor_and_nobody_else() {
    let root = make_ca("Root", Algorithm::P256, 30).unwrap();
    let other = make_ca("Other", Algorithm::P256, 30).unwrap();
    let leaf = make_client(&root, "client", Algorithm::P256, 10).unwrap();
    let chain = shown(&[&leaf]);
    let found = |anchors: &[&Pair], usage, at| trusting(anchors).way_and_work(&chain, usage, at);

    let (way, work) = found(&[&root], Usage::Client, now());
    assert_eq!((way.is_ok(), work.walks), (true, 1));
    let (way, work) = found(&[&other, &root], Usage::ClientOrServer, now());
    assert_eq!((way.is_ok(), work), (true, Work::default()));
    let (way, _) = found(&[&other], Usage::Client, now());
    assert!(matches!(way, Err(Refusal::Untrusted { .. })), "{way:?}");
    let (way, _) = found(&[&root], Usage::Client, now() + 11 * 86_400);
    assert!(matches!(way, Err(Refusal::Expired { .. })), "{way:?}");
}

#[test]
fn a_way_that_is_good_for_servers_too_is_not_taken_for_clients_alone() {
    let root = authority("Root", None, None);
    let server = make_server(&root, &["a.test"], Algorithm::P256, 10).unwrap();
    let chain = shown(&[&server]);
    let anchors = trusting(&[&root]);
    assert!(anchors.way(&chain, Usage::ClientOrServer, now()).is_ok());
    let refused = anchors.way(&chain, Usage::Client, now());
    assert!(
        matches!(refused, Err(Refusal::Purpose { .. })),
        "{refused:?}"
    );
}
