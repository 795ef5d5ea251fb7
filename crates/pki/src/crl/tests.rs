//! Lists and what they say of chains, by lists that are made here. What the `openssl` program makes is
//! tested end to end.

use std::sync::Arc;

use openssl::{
    asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time},
    bn::BigNum,
    hash::MessageDigest,
    x509::{
        CrlNumber, X509, X509CrlBuilder, X509Extension, X509Ref, X509RevokedBuilder,
        extension::AuthorityKeyIdentifier,
    },
};

use super::{AHEAD, Crl, CrlError, Mode, Revocation, body::Body, source::CrlSource};
use crate::{
    PresentedChain, Refusal, TrustAnchors, Usage,
    der::into_sequence,
    make::{self, Algorithm, Pair, Role, Template, make_ca, make_client},
    reference::{Place, ReferenceError},
};

const NOW: i64 = 1_800_000_000;
const HOUR: i64 = 3600;

/// A list under construction.
struct Made<'m> {
    issuer: &'m Pair,
    signer: &'m Pair,
    revoked: Vec<&'m X509Ref>,
    from: i64,
    to: i64,
    extensions: Vec<X509Extension>,
    digest: MessageDigest,
}

impl<'m> Made<'m> {
    fn by(issuer: &'m Pair, revoked: &[&'m X509Ref]) -> Self {
        Self {
            issuer,
            signer: issuer,
            revoked: revoked.to_vec(),
            from: NOW - HOUR,
            to: NOW + HOUR,
            extensions: Vec::new(),
            digest: MessageDigest::sha256(),
        }
    }

    fn der(self) -> Vec<u8> {
        let mut list = X509CrlBuilder::new().unwrap();
        let name = self.issuer.certificate.subject_name();
        list.set_issuer_name(name).unwrap();
        list.set_last_update(&Asn1Time::from_unix(self.from).unwrap())
            .unwrap();
        list.set_next_update(&Asn1Time::from_unix(self.to).unwrap())
            .unwrap();
        let dummy = X509::builder().unwrap();
        let context = dummy.x509v3_context(Some(&self.issuer.certificate), None);
        let key = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&context)
            .unwrap();
        list.append_extension(key).unwrap();
        let number = CrlNumber::new(BigNum::from_u32(1).unwrap()).unwrap();
        list.append_extension(number.build().unwrap()).unwrap();
        for extension in self.extensions {
            list.append_extension(extension).unwrap();
        }
        let mut revoke = |serial: &openssl::asn1::Asn1IntegerRef| {
            let mut entry = X509RevokedBuilder::new().unwrap();
            entry.set_serial_number(serial).unwrap();
            entry
                .set_revocation_date(&Asn1Time::from_unix(NOW - HOUR).unwrap())
                .unwrap();
            list.add_revoked(entry.build()).unwrap();
        };
        // The builder wants one entry at least.
        revoke(&serial(1));
        self.revoked
            .iter()
            .for_each(|one| revoke(one.serial_number()));
        list.sign(&self.signer.key, self.digest).unwrap();
        list.build().unwrap().to_der().unwrap()
    }

    fn list(self) -> Arc<Crl> {
        Arc::new(Crl::of_der(&self.der()).unwrap())
    }
}

fn serial(number: u32) -> Asn1Integer {
    BigNum::from_u32(number).unwrap().to_asn1_integer().unwrap()
}

fn ca(name: &str) -> Pair {
    make_ca(name, Algorithm::P256, 4000).unwrap()
}

fn client(issuer: &Pair, name: &str) -> Pair {
    make_client(issuer, name, Algorithm::P256, 4000).unwrap()
}

fn below(issuer: &Pair, name: &str) -> Pair {
    let template = Template {
        name,
        alternatives: &[],
        role: Role::Authority { path_length: None },
        algorithm: Algorithm::P256,
        days: 4000,
    };
    make::make(&template, Some(issuer)).unwrap()
}

fn shown(pairs: &[&Pair]) -> PresentedChain {
    let ders: Vec<Vec<u8>> = pairs
        .iter()
        .map(|pair| pair.certificate.to_der().unwrap())
        .collect();
    let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
    PresentedChain::of_der(&ders).unwrap()
}

/// What lists say of a chain that leads to an anchor.
fn judged(
    lists: &[Arc<Crl>],
    mode: Mode,
    anchor: &Pair,
    chain: &[&Pair],
    at: i64,
) -> Result<i64, Refusal> {
    let anchors = TrustAnchors::new(vec![anchor.certificate.clone()]).unwrap();
    let way = anchors.way(&shown(chain), Usage::Client, at).unwrap();
    Revocation::new(mode, lists.to_vec(), Vec::new(), Vec::new()).way(&way.certificates, at)
}

fn is_revoked(outcome: &Result<i64, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::Revoked { .. }))
}

fn unknown(outcome: &Result<i64, Refusal>) -> &str {
    match outcome {
        Err(Refusal::RevocationUnknown { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_list_says_whose_it_is_how_long_it_is_good_and_whom_it_revokes() {
    let ca = ca("List CA");
    let (gone, stays) = (client(&ca, "gone"), client(&ca, "stays"));
    let list = Made::by(&ca, &[&gone.certificate]).list();
    assert_eq!(list.issuer(), "CN=List CA");
    assert_eq!(
        (list.this_update(), list.next_update()),
        (NOW - HOUR, NOW + HOUR)
    );
    assert_eq!(list.entries(), 2);
    assert_eq!(
        list.revokes(&gone.certificate).as_deref(),
        Some("2027-01-15T07:00:00Z")
    );
    assert_eq!(list.revokes(&stays.certificate), None);
    assert!(list.is_signed_by(&ca.certificate) && list.is_signed_by(&ca.certificate));
}

#[test]
fn leaf_and_intermediate_are_looked_up_at_their_own_issuers_only() {
    let root = ca("Root");
    let middle = below(&root, "Middle");
    let leaf = client(&middle, "leaf");
    let chain = [&leaf, &middle];
    let of = |lists: &[Arc<Crl>], mode| judged(lists, mode, &root, &chain, NOW);
    // Nothing is asked about an issuer without a list.
    assert_eq!(of(&[], Mode::Strict), Ok(i64::MAX));
    let root_revokes_middle = Made::by(&root, &[&middle.certificate]).list();
    let middle_revokes_leaf = Made::by(&middle, &[&leaf.certificate]).list();
    // A serial number in another issuer's list is another certificate's.
    let root_lists_leaf = Made::by(&root, &[&leaf.certificate]).list();
    for mode in [Mode::Strict, Mode::Lenient] {
        assert!(is_revoked(&of(
            std::slice::from_ref(&root_revokes_middle),
            mode
        )));
        assert!(is_revoked(&of(
            std::slice::from_ref(&middle_revokes_leaf),
            mode
        )));
        assert!(of(std::slice::from_ref(&root_lists_leaf), mode).is_ok());
    }
    // What is known is known until the next list is due.
    let good = [root_lists_leaf, Made::by(&middle, &[]).list()];
    assert_eq!(of(&good, Mode::Strict), Ok(NOW + HOUR));
    assert_eq!(of(&good, Mode::Lenient), Ok(i64::MAX));
    let said = of(&[middle_revokes_leaf], Mode::Strict)
        .unwrap_err()
        .to_string();
    assert_eq!(
        said,
        "`CN=leaf` was revoked on 2027-01-15T07:00:00Z, says the list of `CN=Middle`"
    );
}

#[test]
fn a_list_that_cannot_tell_refuses_its_issuers_clients_when_strict_and_nobody_when_lenient() {
    let (issuer, other) = (ca("Issuer"), ca("Issuer"));
    let (leaf, mut usage) = (
        client(&issuer, "leaf"),
        make_ca("Usage", Algorithm::P256, 4000).unwrap(),
    );
    let of = |list: Made<'_>, mode| judged(&[list.list()], mode, &issuer, &[&leaf], NOW);
    let stale = || Made {
        to: NOW - 1,
        ..Made::by(&issuer, &[])
    };
    let ahead = || Made {
        from: NOW + AHEAD + 1,
        to: NOW + 2 * HOUR,
        ..Made::by(&issuer, &[])
    };
    let foreign = || Made {
        signer: &other,
        ..Made::by(&issuer, &[&leaf.certificate])
    };
    assert!(unknown(&of(stale(), Mode::Strict)).contains("was good until"));
    assert!(unknown(&of(ahead(), Mode::Strict)).contains("is ahead"));
    assert!(unknown(&of(foreign(), Mode::Strict)).contains("is not signed by it"));
    for made in [stale(), ahead(), foreign()] {
        assert!(of(made, Mode::Lenient).is_ok());
    }
    // A clock that is a little ahead hurts nobody; what a list past its time revokes stays revoked.
    let slightly = Made {
        from: NOW + AHEAD,
        ..Made::by(&issuer, &[])
    };
    assert!(of(slightly, Mode::Strict).is_ok());
    let late = Made {
        to: NOW - 1,
        ..Made::by(&issuer, &[&leaf.certificate])
    };
    assert!(is_revoked(&of(late, Mode::Lenient)));
    // Without cRLSign an authority signs no lists.
    usage.certificate = without_crl_sign(&usage);
    let leaf = client(&usage, "leaf");
    let list = Made::by(&usage, &[]).list();
    assert!(!list.is_signed_by(&usage.certificate));
    assert!(unknown(&judged(&[list], Mode::Strict, &usage, &[&leaf], NOW)).contains("not signed"));
}

/// The same authority, which may sign certificates and no lists.
fn without_crl_sign(pair: &Pair) -> X509 {
    use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
    let old = &pair.certificate;
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(old.serial_number()).unwrap();
    builder.set_subject_name(old.subject_name()).unwrap();
    builder.set_issuer_name(old.subject_name()).unwrap();
    builder.set_pubkey(&pair.key).unwrap();
    builder.set_not_before(old.not_before()).unwrap();
    builder.set_not_after(old.not_after()).unwrap();
    builder
        .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
        .unwrap();
    builder
        .append_extension(KeyUsage::new().critical().key_cert_sign().build().unwrap())
        .unwrap();
    let own = SubjectKeyIdentifier::new()
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(own).unwrap();
    builder.sign(&pair.key, MessageDigest::sha256()).unwrap();
    builder.build()
}

#[test]
fn of_an_issuers_lists_the_newest_that_is_its_own_counts() {
    let (issuer, other) = (ca("Issuer"), ca("Issuer"));
    let leaf = client(&issuer, "leaf");
    let old = Made {
        from: NOW - 2 * HOUR,
        ..Made::by(&issuer, &[&leaf.certificate])
    }
    .list();
    let new = Made::by(&issuer, &[]).list();
    let foreign = Made {
        signer: &other,
        from: NOW - 1,
        ..Made::by(&issuer, &[&leaf.certificate])
    }
    .list();
    let ahead = Made {
        from: NOW + HOUR,
        to: NOW + 2 * HOUR,
        ..Made::by(&issuer, &[&leaf.certificate])
    }
    .list();
    let of = |lists: &[&Arc<Crl>], at| {
        let lists: Vec<Arc<Crl>> = lists.iter().map(|list| Arc::clone(list)).collect();
        judged(&lists, Mode::Strict, &issuer, &[&leaf], at)
    };
    assert!(is_revoked(&of(&[&old], NOW)));
    assert_eq!(of(&[&old, &new, &foreign], NOW), Ok(NOW + HOUR));
    // One that is ahead ends what is known.
    assert_eq!(of(&[&new, &ahead], NOW), Ok(NOW + HOUR - AHEAD - 1));
    assert!(is_revoked(&of(&[&new, &ahead], NOW + HOUR)));
}

#[test]
fn a_leaf_that_is_trusted_for_itself_is_looked_up_with_whoever_issued_it() {
    let (issuer, stranger) = (ca("Issuer"), ca("Issuer"));
    let (gone, stays) = (client(&issuer, "gone"), client(&issuer, "stays"));
    let list = Made::by(&issuer, &[&gone.certificate]).list();
    let of = |mode, issuers: &[X509], chain: &[&Pair], known: &[&Pair]| {
        let revocation = Revocation::new(mode, vec![list.clone()], issuers.to_vec(), Vec::new());
        let known: Vec<X509> = known.iter().map(|pair| pair.certificate.clone()).collect();
        revocation.leaf(&shown(chain), known.iter(), NOW)
    };
    // The issuer may come along, be an authority, or stand beside the list.
    let beside = [issuer.certificate.clone()];
    for (issuers, along, known) in [
        (&[][..], &[&issuer][..], &[][..]),
        (&[], &[], &[&issuer]),
        (&beside, &[], &[]),
    ] {
        let with = |leaf| [&[leaf][..], along].concat();
        assert!(is_revoked(&of(Mode::Lenient, issuers, &with(&gone), known)));
        assert_eq!(
            of(Mode::Strict, issuers, &with(&stays), known),
            Ok(NOW + HOUR)
        );
    }
    // Where nobody knows the issuer, or somebody of its name comes along, the list still refuses whom it has.
    for along in [&[][..], &[&stranger]] {
        let with = |leaf| [&[leaf][..], along].concat();
        assert!(is_revoked(&of(Mode::Lenient, &[], &with(&gone), &[])));
        assert!(unknown(&of(Mode::Strict, &[], &with(&stays), &[])).contains("is not known"));
        assert!(of(Mode::Lenient, &[], &with(&stays), &[]).is_ok());
    }
    let other = client(&ca("Another"), "other");
    assert_eq!(of(Mode::Strict, &[], &[&other], &[]), Ok(i64::MAX));
}

#[test]
fn an_entry_without_any_list_refuses_everybody_when_strict() {
    let (issuer, unreadable) = (
        ca("Issuer"),
        vec!["revocation list ca.crl: gone".to_owned()],
    );
    let leaf = client(&issuer, "leaf");
    let of = |mode| {
        let revocation = Revocation::new(mode, Vec::new(), Vec::new(), unreadable.clone());
        assert!(!revocation.is_empty());
        let way = [leaf.certificate.clone(), issuer.certificate.clone()];
        let answers = [
            revocation.way(&way, NOW),
            revocation.leaf(&shown(&[&leaf]), std::iter::empty(), NOW),
        ];
        assert_eq!(answers[0], answers[1]);
        answers[0].clone()
    };
    assert_eq!(unknown(&of(Mode::Strict)), "revocation list ca.crl: gone");
    assert_eq!(of(Mode::Lenient), Ok(i64::MAX));
}

#[test]
fn the_digest_tells_lists_and_modes_apart_whatever_their_order() {
    let (one, other) = (ca("One"), ca("Other"));
    let lists = [Made::by(&one, &[]).list(), Made::by(&other, &[]).list()];
    let of = |mode, lists: &[&Arc<Crl>], unreadable: &[&str]| {
        let lists = lists.iter().map(|list| Arc::clone(list)).collect();
        let unreadable = unreadable.iter().map(|text| (*text).to_owned()).collect();
        Revocation::new(mode, lists, Vec::new(), unreadable).digest()
    };
    let [a, b] = &lists;
    let both = of(Mode::Strict, &[a, b], &[]);
    assert_eq!(both, of(Mode::Strict, &[b, a, b], &[]));
    let others = [
        of(Mode::Lenient, &[a, b], &[]),
        of(Mode::Strict, &[a], &[]),
        of(Mode::Strict, &[], &[]),
        of(Mode::Strict, &[], &["gone"]),
    ];
    assert!(others.iter().all(|digest| *digest != both));
    // A mode without lists changes nothing.
    assert_eq!(of(Mode::Strict, &[], &[]), of(Mode::Lenient, &[], &[]));
}

#[test]
fn what_cannot_be_taken_at_its_word_is_no_list() {
    let issuer = ca("Issuer");
    let extension = |name: &str, critical| {
        let name = Asn1Object::from_str(name).unwrap();
        let value = Asn1OctetString::new_from_bytes(&[0x30, 0x00]).unwrap();
        X509Extension::new_from_der(&name, critical, &value).unwrap()
    };
    let with = |name: &str, critical| {
        let extensions = vec![extension(name, critical)];
        Crl::of_der(
            &Made {
                extensions,
                ..Made::by(&issuer, &[])
            }
            .der(),
        )
        .map(drop)
    };
    assert_eq!(with("2.5.29.27", true), Err(CrlError::Delta));
    assert_eq!(with("2.5.29.28", true), Err(CrlError::Partial));
    assert_eq!(with("2.5.29.28", false), Err(CrlError::Partial));
    assert_eq!(with("1.3.6.1.4.1.99999.1", false), Ok(()));
    let odd = with("1.3.6.1.4.1.99999.1", true);
    assert_eq!(
        odd,
        Err(CrlError::Critical("1.3.6.1.4.1.99999.1".to_owned()))
    );
    let weak = Made {
        digest: MessageDigest::sha1(),
        ..Made::by(&issuer, &[])
    };
    assert_eq!(Crl::of_der(&weak.der()).map(drop), Err(CrlError::Weak));
    let der = Made::by(&issuer, &[]).der();
    for bytes in [
        &b""[..],
        b"0",
        &der[..der.len() - 1],
        &[&*der, b"0"].concat(),
    ] {
        assert_eq!(Crl::of_der(bytes).map(drop), Err(CrlError::Malformed));
    }
    assert_eq!(
        Crl::of_der(&vec![0x30; super::LARGEST_LIST + 1]).map(drop),
        Err(CrlError::TooLarge)
    );
}

/// Entries that only lists of changes and indirect lists have, and times and numbers in every form.
#[test]
fn entries_are_understood_or_make_the_list_unusable() {
    let utc = |text: &str| [&[0x17, 13][..], text.as_bytes()].concat();
    let extension = |parts: &[&[u8]]| into_sequence(&into_sequence(&parts.concat()));
    let read = |serial: &[u8], time: &[u8], extensions: &[u8]| {
        let integer = [&[0x02, u8::try_from(serial.len()).unwrap()][..], serial].concat();
        let entry = into_sequence(&[&integer, time, extensions].concat());
        let algorithm = into_sequence(&[0x06, 3, 0x2b, 0x65, 0x70]);
        let name = into_sequence(&[]);
        let now = utc("270101000000Z");
        let signed = [&*algorithm, &name, &now, &now, &into_sequence(&entry)].concat();
        let list = [&*into_sequence(&signed), &algorithm].concat();
        Body::of(&into_sequence(&list)).unwrap().revoked()
    };
    let time = utc("491231235959Z");
    let good = read(&[0x00, 0x00, 0x81], &time, &[]).unwrap();
    // The shortest form of it keeps its sign.
    let moment = good.get(&[0x00, 0x81][..]).unwrap();
    assert_eq!(moment.to_string(), "2049-12-31T23:59:59Z");
    let earlier = read(&[1], &utc("500101000000Z"), &[]).unwrap();
    assert_eq!(earlier[&[1][..]].to_string(), "1950-01-01T00:00:00Z");
    let general = [&[0x18, 15][..], b"20500101000000Z"].concat();
    assert_eq!(
        read(&[1], &general, &[]).unwrap()[&[1][..]].to_string(),
        "2050-01-01T00:00:00Z"
    );
    assert!(matches!(
        read(&[1], &utc("4912312359590"), &[]),
        Err(CrlError::Malformed)
    ));

    let reason = |code| [0x04, 3, 0x0a, 1, code];
    let reason_code = [0x06, 3, 0x55, 0x1d, 0x15];
    assert!(read(&[1], &time, &extension(&[&reason_code, &reason(1)])).is_ok());
    let removes = extension(&[&reason_code, &reason(8)]);
    assert!(matches!(
        read(&[1], &time, &removes),
        Err(CrlError::Removes)
    ));
    let issuer = extension(&[
        &[0x06, 3, 0x55, 0x1d, 0x1d],
        &[0x01, 1, 0xff],
        &[0x04, 2, 0x30, 0],
    ]);
    assert!(matches!(
        read(&[1], &time, &issuer),
        Err(CrlError::Indirect)
    ));
    let odd = extension(&[
        &[0x06, 3, 0x55, 0x1d, 0x7f],
        &[0x01, 1, 0xff],
        &[0x04, 2, 0x30, 0],
    ]);
    assert!(
        matches!(read(&[1], &time, &odd), Err(CrlError::Critical(name)) if name == "2.5.29.127")
    );
}

#[test]
fn a_source_is_pem_or_der_a_file_or_the_text_itself() {
    let (issuer, dir) = (ca("Issuer"), tempfile::tempdir().unwrap());
    let der = Made::by(&issuer, &[]).der();
    let pem = String::from_utf8(
        openssl::x509::X509Crl::from_der(&der)
            .unwrap()
            .to_pem()
            .unwrap(),
    )
    .unwrap();
    let (as_der, as_pem) = (dir.path().join("ca.der"), dir.path().join("ca.pem"));
    std::fs::write(&as_der, &der).unwrap();
    std::fs::write(&as_pem, pem.clone() + &issuer.certificate_pem()).unwrap();
    let digest = Crl::of_der(&der).unwrap().digest();
    for (reference, issuers) in [
        (as_der.to_str().unwrap(), 0),
        (as_pem.to_str().unwrap(), 1),
        (&*pem, 0),
    ] {
        let source = CrlSource::load(reference).unwrap();
        assert_eq!(
            (source.lists[0].digest(), source.issuers.len()),
            (digest, issuers)
        );
    }
    assert!(CrlSource::load(&pem.replace('\n', " ")).unwrap().repaired);
    let said = |reference: &str| {
        let error = CrlSource::load(reference).unwrap_err();
        let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        format!("{error}: {cause}")
    };
    assert!(said(&issuer.certificate_pem()).contains("no certificate revocation list"));
    assert!(said("/nowhere/ca.crl").contains("/nowhere/ca.crl cannot be read"));
    assert!(said(&pem[..pem.len() - 30]).contains("cut off"));
    assert!(said("").contains("empty"));
}

/// The fuzz target begins with these, and is worth something as long as they are what their names say.
#[test]
fn the_seeds_of_the_fuzz_target_are_lists_that_revoke_pass_are_old_and_cannot_be_read() {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");
    let file = |name: &str| std::fs::read(format!("{place}/{name}")).expect("a file");
    let way = X509::stack_from_pem(&file("fuzz_targets/crl_chain.pem")).unwrap();
    let read = |seed: &str| {
        let bytes = file(&format!("seeds/crl/{seed}"));
        CrlSource::of_bytes(&bytes, &Place::Inline)
    };
    let says = |seed: &str| {
        let source = read(seed).unwrap();
        Revocation::new(Mode::Strict, source.lists, source.issuers, Vec::new())
            .way(&way, 1_900_000_000)
    };
    assert!(is_revoked(&says("pem")));
    // The first second of 2040.
    assert_eq!(says("der"), Ok(2_208_988_800));
    assert!(unknown(&says("old")).contains("was good until"));
    for (seed, why) in [
        ("critical", CrlError::Critical("1.2.3.4".to_owned())),
        ("truncated", CrlError::Malformed),
    ] {
        let refused = read(seed).unwrap_err();
        assert!(
            matches!(&refused, ReferenceError::List { source, .. } if *source == why),
            "{seed}: {refused:?}"
        );
    }
}
