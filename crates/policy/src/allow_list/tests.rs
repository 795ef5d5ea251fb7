//! Who passes an allow list, entry by entry.

use portcullis_pki::{
    make::{Algorithm, Pair, Role, Template, make, make_ca, make_client, make_server},
    names::AlternativeName,
};

use super::*;

fn shown(certificates: &[&Pair]) -> PresentedChain {
    let ders: Vec<Vec<u8>> = certificates
        .iter()
        .map(|pair| pair.certificate.to_der().unwrap())
        .collect();
    let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
    PresentedChain::of_der(&ders).unwrap()
}

fn list(entries: &[&[&Pair]]) -> AllowList {
    let mut builder = AllowListBuilder::default();
    for entry in entries {
        let certificates: Vec<X509> = entry.iter().map(|p| p.certificate.clone()).collect();
        assert!(builder.entry(&certificates));
    }
    builder.build().unwrap()
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

const DAY: i64 = 86_400;

#[test]
fn a_listed_leaf_passes_in_its_validity_and_nobody_else_does() {
    let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
    let [one, other] =
        ["one", "other"].map(|name| make_client(&ca, name, Algorithm::P256, 10).unwrap());
    let list = list(&[&[&one]]);
    let chain = shown(&[&one]);
    assert!(list.judge(&chain, now()).is_ok());
    assert_eq!(
        list.judge(&chain, now() + 11 * DAY),
        Err(NotAllowed::Expired)
    );
    assert_eq!(
        list.judge(&chain, now() - 7 * DAY),
        Err(NotAllowed::NotYetValid)
    );
    let refused = list.judge(&shown(&[&other]), now());
    assert!(
        matches!(refused, Err(NotAllowed::NotListed(_))),
        "{refused:?}"
    );
}

/// Somebody else's certificate is public; only the leaf's key is proven.
#[test]
fn a_listed_certificate_that_merely_came_along_opens_nothing() {
    let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
    let listed = make_client(&ca, "listed", Algorithm::P256, 10).unwrap();
    let own = make_ca("Own", Algorithm::P256, 30).unwrap();
    let mallory = make_client(&own, "mallory", Algorithm::P256, 10).unwrap();
    for list in [list(&[&[&listed]]), list(&[&[&ca]])] {
        let refused = list.judge(&shown(&[&mallory, &listed, &ca]), now());
        assert!(
            matches!(refused, Err(NotAllowed::NotListed(_))),
            "{refused:?}"
        );
    }
}

#[test]
fn every_authority_of_a_bundle_vouches_and_the_issuer_of_a_listed_leaf_does_not() {
    let [first, second] =
        ["First", "Second"].map(|name| make_ca(name, Algorithm::P256, 30).unwrap());
    let [a, b] =
        [&first, &second].map(|ca| make_client(ca, "client", Algorithm::P256, 10).unwrap());
    let bundle = list(&[&[&first, &second]]);
    assert!(bundle.judge(&shown(&[&a]), now()).is_ok());
    assert!(bundle.judge(&shown(&[&b]), now()).is_ok());
    let chain = list(&[&[&a, &first]]);
    assert!(chain.judge(&shown(&[&a, &first]), now()).is_ok());
    let sibling = make_client(&first, "sibling", Algorithm::P256, 10).unwrap();
    assert!(chain.judge(&shown(&[&sibling, &first]), now()).is_err());
}

#[test]
fn an_authority_vouches_for_servers_too_and_it_is_noted() {
    let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
    let server = make_server(&ca, &["a.test"], Algorithm::P256, 10).unwrap();
    let allowed = list(&[&[&ca]]).judge(&shown(&[&server]), now()).unwrap();
    assert!(allowed.for_servers_only);
    assert!(allowed.until <= now() + 10 * DAY);
}

#[test]
fn an_empty_list_lets_nobody_pass() {
    let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
    let list = AllowListBuilder::default().build().unwrap();
    assert!(list.is_empty());
    assert!(list.judge(&shown(&[&ca]), now()).is_err());
    assert!(!AllowListBuilder::default().entry(&[]));
}

/// A client pair with alternative names, below an authority.
fn client(issuer: &Pair, names: &[AlternativeName]) -> Pair {
    let template = Template {
        name: "client",
        alternatives: names,
        role: Role::Leaf {
            server: false,
            client: true,
        },
        algorithm: Algorithm::P256,
        days: 10,
    };
    make(&template, Some(issuer)).unwrap()
}

fn dns(name: &str) -> AlternativeName {
    AlternativeName::Dns(name.to_owned())
}

fn uri(uri: &str) -> AlternativeName {
    AlternativeName::Uri(uri.to_owned())
}

fn rule(who: ClientMatch) -> ClientRule {
    ClientRule {
        who,
        not_before: None,
        not_after: None,
        note: String::new(),
    }
}

/// A list of entries by name, with the authorities that vouch for them.
fn by_name(names: &[ClientMatch], vouching: &[&Pair]) -> AllowList {
    let mut builder = AllowListBuilder::default();
    for name in names {
        assert!(builder.rule(&rule(name.clone()), &[]));
    }
    for authority in vouching {
        assert!(builder.vouching(std::slice::from_ref(&authority.certificate)));
    }
    builder.build().unwrap()
}

#[test]
fn a_name_counts_only_below_an_authority_that_vouches_for_it() {
    let [vouching, other] =
        ["Vouching", "Other"].map(|name| make_ca(name, Algorithm::P256, 30).unwrap());
    let billing = [dns("billing.example.com")];
    let [right, wrong] = [&vouching, &other].map(|ca| client(ca, &billing));
    let alone = make_client(&vouching, "somebody", Algorithm::P256, 10).unwrap();
    let entry = ClientMatch::Dns("billing.example.com".to_owned());
    let list = by_name(std::slice::from_ref(&entry), &[&vouching]);
    assert!(list.judge(&shown(&[&right]), now()).is_ok());
    for stranger in [&wrong, &alone] {
        let refused = list.judge(&shown(&[stranger]), now());
        assert!(
            matches!(refused, Err(NotAllowed::NotListed(_))),
            "{refused:?}"
        );
    }
    let server = make_server(&vouching, &["billing.example.com"], Algorithm::P256, 10).unwrap();
    assert!(list.judge(&shown(&[&server]), now()).is_err());
    // Nobody vouches, so nobody passes, not even over a chain that ends at itself.
    let nobody = by_name(std::slice::from_ref(&entry), &[]);
    assert!(nobody.is_empty());
    assert!(nobody.judge(&shown(&[&right, &vouching]), now()).is_err());
    let mut builder = AllowListBuilder::default();
    assert!(builder.rule(&rule(entry), &[]));
    assert_eq!(builder.names_without_authority(), 1);
    // A leaf vouches for nobody.
    assert!(!builder.vouching(std::slice::from_ref(&right.certificate)));
    assert_eq!(builder.names_without_authority(), 1);
}

#[test]
fn names_match_exactly_or_one_label_or_below_a_path() {
    let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
    let text = |text: &str| text.to_owned();
    let entries = [
        ClientMatch::Dns(text("a.test")),
        ClientMatch::DnsBelow(text(".example.com")),
        ClientMatch::Uri(text("spiffe://example.com/one")),
        ClientMatch::UriBelow(text("spiffe://example.com/ns/prod/")),
        ClientMatch::Email(text("Me@example.com")),
    ];
    let list = by_name(&entries, &[&ca]);
    let mail = |address: &str| AlternativeName::Email(address.to_owned());
    for (name, passes) in [
        (dns("a.test"), true),
        (dns("A.Test"), true),
        (dns("b.a.test"), false),
        (dns("test"), false),
        (dns("b.example.com"), true),
        (dns("c.b.example.com"), false),
        (dns("example.com"), false),
        (dns("*.example.com"), false),
        (dns("badexample.com"), false),
        (uri("spiffe://example.com/one"), true),
        (uri("spiffe://example.com/One"), false),
        (uri("spiffe://example.com/one/two"), false),
        (uri("spiffe://example.com/ns/prod/a"), true),
        (uri("spiffe://example.com/ns/prod/a/b"), true),
        (uri("spiffe://example.com/ns/prod/"), false),
        (uri("spiffe://example.com/ns/prod"), false),
        (uri("spiffe://example.com/ns/production"), false),
        (uri("spiffe://example.com/ns/prod/../admin"), false),
        (uri("spiffe://example.com/ns/prod//a"), false),
        (uri("spiffe://example.com/ns/prod/%2e%2e"), false),
        (uri("spiffe://example.com/ns/prod/a?b"), false),
        (uri("spiffe://example.com.test/ns/prod/a"), false),
        (mail("Me@EXAMPLE.com"), true),
        (mail("me@example.com"), false),
        (mail("Me@a.example.com"), false),
    ] {
        let leaf = client(&ca, std::slice::from_ref(&name));
        let judged = list.judge(&shown(&[&leaf]), now());
        assert_eq!(judged.is_ok(), passes, "{name}: {judged:?}");
    }
    // A name of another kind is another name.
    let leaf = client(&ca, &[dns("c.test"), uri("dns:a.test")]);
    assert!(list.judge(&shown(&[&leaf]), now()).is_err());
    let subject = by_name(&[ClientMatch::Subject(text("CN=client"))], &[&ca]);
    assert!(subject.judge(&shown(&[&client(&ca, &[])]), now()).is_ok());
    let other = make_client(&ca, "client2", Algorithm::P256, 10).unwrap();
    assert!(subject.judge(&shown(&[&other]), now()).is_err());
}

#[test]
fn a_key_passes_with_every_certificate_it_gets() {
    let [one, two] = ["One", "Two"].map(|name| make_ca(name, Algorithm::P256, 30).unwrap());
    let leaf = make_client(&one, "client", Algorithm::P256, 10).unwrap();
    let key = leaf.certificate.public_key().unwrap();
    let digest = openssl::sha::sha256(&key.public_key_to_der().unwrap());
    let mut builder = AllowListBuilder::default();
    assert!(builder.rule(&rule(ClientMatch::Key(digest)), &[]));
    let list = builder.build().unwrap();
    assert!(list.judge(&shown(&[&leaf]), now()).is_ok());
    let renewed = certified(&leaf, &two);
    assert!(list.judge(&shown(&[&renewed]), now()).is_ok());
    assert_eq!(
        list.judge(&shown(&[&renewed]), now() + 21 * DAY),
        Err(NotAllowed::Expired)
    );
    let other = make_client(&one, "client", Algorithm::P256, 10).unwrap();
    assert!(list.judge(&shown(&[&other, &leaf]), now()).is_err());
    assert!(!list.announces_all());
}

#[test]
fn an_entry_counts_in_its_time_only_and_says_so_outside_of_it() {
    let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
    let leaf = client(&ca, &[dns("a.test")]);
    let chain = shown(&[&leaf]);
    let limited = |who: ClientMatch| ClientRule {
        not_before: Some(now() - 10),
        not_after: Some(now() + 10),
        ..rule(who)
    };
    let fingerprint = *Fingerprint::of(&leaf.certificate).unwrap().as_bytes();
    let reference = portcullis_apidef::CertificateReference("ca.pem".to_owned());
    let kinds = [
        ClientMatch::Certificate(fingerprint),
        ClientMatch::Key(chain.public_key_digest().unwrap()),
        ClientMatch::Dns("a.test".to_owned()),
        ClientMatch::Authority(reference),
    ];
    for who in kinds {
        let mut builder = AllowListBuilder::default();
        let held = std::slice::from_ref(&ca.certificate);
        assert!(builder.rule(&limited(who.clone()), held));
        assert!(builder.vouching(held));
        let list = builder.build().unwrap();
        let passed = list.judge(&chain, now()).unwrap();
        assert!(passed.until <= now() + 10, "{who:?}");
        let refused = |at| list.judge(&chain, at).unwrap_err();
        assert_eq!(refused(now() + 20), NotAllowed::EntryOver, "{who:?}");
        assert_eq!(refused(now() - 20), NotAllowed::EntryAhead, "{who:?}");
    }
}

#[test]
fn a_second_entry_without_an_end_outlives_the_first() {
    let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
    let chain = shown(&[&client(&ca, &[dns("a.test")])]);
    let name = || rule(ClientMatch::Dns("a.test".to_owned()));
    let over = ClientRule {
        not_after: Some(now() - 1),
        ..name()
    };
    let mut builder = AllowListBuilder::default();
    assert!(builder.rule(&over, &[]) && builder.rule(&name(), &[]));
    assert!(builder.vouching(std::slice::from_ref(&ca.certificate)));
    assert!(builder.build().unwrap().judge(&chain, now()).is_ok());
}

#[test]
fn every_entry_its_times_and_who_vouches_is_in_the_digest_and_their_order_is_not() {
    let [ca, other] = ["A", "B"].map(|name| make_ca(name, Algorithm::P256, 30).unwrap());
    let [one, two] = ["a.test", "b.test"].map(|name| ClientMatch::Dns(name.to_owned()));
    let both = by_name(&[one.clone(), two.clone()], &[&ca]).digest();
    assert_eq!(both, by_name(&[two.clone(), one.clone()], &[&ca]).digest());
    assert_ne!(both, by_name(std::slice::from_ref(&one), &[&ca]).digest());
    assert_ne!(both, by_name(&[one.clone(), two], &[&other]).digest());
    let mut builder = AllowListBuilder::default();
    let mut ends = rule(one.clone());
    ends.not_after = Some(now());
    assert!(builder.rule(&ends, &[]));
    assert!(builder.vouching(std::slice::from_ref(&ca.certificate)));
    assert_ne!(
        builder.build().unwrap().digest(),
        by_name(&[one], &[&ca]).digest()
    );
}

/// Another certificate of the key of a pair, good for 20 days.
fn certified(pair: &Pair, issuer: &Pair) -> Pair {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = openssl::bn::BigNum::from_u32(7).unwrap();
    let serial = serial.to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    let subject = pair.certificate.subject_name();
    builder.set_subject_name(subject).unwrap();
    let issuer_name = issuer.certificate.subject_name();
    builder.set_issuer_name(issuer_name).unwrap();
    builder.set_pubkey(&pair.key).unwrap();
    let begin = pair.certificate.not_before();
    builder.set_not_before(begin).unwrap();
    let end = openssl::asn1::Asn1Time::days_from_now(20).unwrap();
    builder.set_not_after(&end).unwrap();
    let digest = openssl::hash::MessageDigest::sha256();
    builder.sign(&issuer.key, digest).unwrap();
    Pair {
        certificate: builder.build(),
        key: pair.key.clone(),
    }
}
