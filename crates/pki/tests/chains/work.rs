//! The work a chain can make us do, counted: whatever is presented, however many anchors there are.

use openssl::x509::X509;
use portcullis_pki::{
    PresentedChain, Refusal, TrustAnchors, Usage,
    presented::MOST_CERTIFICATES,
    trust::{LONGEST_WAY, Work},
};

use crate::{
    der::{common_name, element},
    recipe::{NOW, Recipe},
};

fn shown(certificates: &[Recipe]) -> PresentedChain {
    let ders: Vec<Vec<u8>> = certificates.iter().map(Recipe::der).collect();
    let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
    PresentedChain::of_der(&ders).unwrap()
}

fn trusting(anchors: &[Recipe]) -> TrustAnchors {
    let anchors = anchors
        .iter()
        .map(|anchor| X509::from_der(&anchor.der()).unwrap());
    TrustAnchors::new(anchors.collect()).unwrap()
}

fn is_bounded(work: Work) -> bool {
    let most = Work::MOST;
    work.signatures <= most.signatures && work.tried <= most.tried && work.walks <= most.walks
}

/// All that can be verified: those of the search, and a signature for each certificate of each way.
fn signatures(work: Work) -> usize {
    work.signatures + work.walks * LONGEST_WAY
}

#[test]
fn a_good_chain_is_walked_once_and_nothing_else_is_tried() {
    let middle = Recipe::authority("Middle").by("Root");
    let chain = shown(&[Recipe::leaf("client").by("Middle"), middle]);
    let trusted = trusting(&[Recipe::authority("Root")]);
    let (way, work) = trusted.way_and_work(&chain, Usage::Client, NOW);
    assert_eq!(way.unwrap().certificates.len(), 3);
    assert_eq!((work.walks, work.tried, work.signatures), (1, 0, 0));
}

/// Authorities of one name and one key: each could have issued each, so that there are more ways
/// through nine of them (9! and more) than could ever be walked.
#[test]
fn certificates_that_all_issued_each_other_end_a_search_and_not_us() {
    let knot = |serial: u8| Recipe::authority("Knot").serial(&[serial]);
    let mut certificates = vec![Recipe::leaf("client").by("Knot")];
    certificates.extend((1..).take(MOST_CERTIFICATES - 1).map(knot));
    let trusted = trusting(&[Recipe::authority("Root")]);
    let (way, work) = trusted.way_and_work(&shown(&certificates), Usage::Client, NOW);
    assert!(matches!(way, Err(Refusal::Untrusted { .. })), "{way:?}");
    assert!(is_bounded(work), "{work:?}");
    assert!(signatures(work) <= 92, "{work:?}");
}

#[test]
fn two_rings_of_authorities_cost_no_more_than_the_bound() {
    let ring = |name: &str, by: &str, serial: u8| Recipe::authority(name).by(by).serial(&[serial]);
    let mut certificates = vec![Recipe::leaf("client").by("A")];
    for serial in 1..4 {
        certificates.push(ring("A", "B", serial));
        certificates.push(ring("B", "C", serial));
        certificates.push(ring("C", "A", serial));
    }
    let trusted = trusting(&[Recipe::authority("Root")]);
    let (way, work) = trusted.way_and_work(&shown(&certificates), Usage::Client, NOW);
    assert!(matches!(way, Err(Refusal::Untrusted { .. })), "{way:?}");
    assert!(is_bounded(work), "{work:?}");
}

/// What is done must not grow with the anchors: not with their number, nor with how many have
/// the name that is asked for.
#[test]
fn hundreds_of_anchors_of_one_name_cost_no_more_than_the_bound() {
    let of = |count: u16| {
        let anchors: Vec<Recipe> = (0..count)
            .map(|number| Recipe::authority("Root").serial(&(number | 0x4000).to_be_bytes()))
            .collect();
        trusting(&anchors)
    };
    let stranger = Recipe::leaf("client")
        .issued_by(common_name("Root"))
        .signed_by("mallory");
    let chain = shown(&[stranger]);
    let mut counted = Vec::new();
    for count in [50, 400] {
        let (way, work) = of(count).way_and_work(&chain, Usage::Client, NOW);
        assert!(matches!(way, Err(Refusal::Untrusted { .. })), "{way:?}");
        assert!(is_bounded(work), "{work:?}");
        counted.push(work);
    }
    assert_eq!(counted[0], counted[1]);
}

#[test]
fn ways_that_are_refused_one_after_the_other_are_counted_too() {
    let mut certificates = vec![Recipe::leaf("client").by("Middle")];
    for serial in 1..10 {
        let middle = Recipe::authority("Middle").by("Root").serial(&[serial]);
        certificates.push(middle.extended_key_usage(&[crate::recipe::SERVER_AUTH]));
    }
    let trusted = trusting(&[Recipe::authority("Root")]);
    let (way, work) = trusted.way_and_work(&shown(&certificates), Usage::Client, NOW);
    assert!(matches!(way, Err(Refusal::Purpose { .. })), "{way:?}");
    assert_eq!(work.walks, Work::MOST.walks);
    assert!(is_bounded(work), "{work:?}");
}

/// Names times constraints is what a certificate of 32 KiB can make large: thousands of each.
#[test]
fn names_and_constraints_by_the_thousand_are_refused_and_not_compared() {
    let name = |number: u16| element(0x82, &[format!("{number:x}.t").as_bytes()]);
    let names: Vec<Vec<u8>> = (0..3000).map(name).collect();
    let constraints: Vec<Vec<u8>> = (10_000..13_000).map(name).collect();
    let middle = Recipe::authority("Middle")
        .by("Root")
        .constrained(&[], &constraints);
    let leaf = Recipe::leaf("client").by("Middle").names(&names);
    let trusted = trusting(&[Recipe::authority("Root")]);
    let (way, work) = trusted.way_and_work(&shown(&[leaf, middle]), Usage::Client, NOW);
    assert!(way.is_err(), "nine million comparisons");
    assert!(is_bounded(work), "{work:?}");
}
