//! The form of certificates: versions, serial numbers, extensions, sizes, malformed DER.

use crate::{
    Case,
    Verdict::{self, Other, Passes, Unread},
    der::{element, name, octets, sequence},
    recipe::{ALTERNATIVE_NAME, Recipe},
};

const UNKNOWN: &str = "1.3.6.1.4.1.99999.7";

pub fn cases() -> Vec<Case> {
    let root = Recipe::authority("Root");
    let middle = Recipe::authority("Middle").by("Root");
    let leaf = Recipe::leaf("client").by("Middle");
    let mut cases = Vec::new();
    let mut case = |id: &str, what, ours: Verdict, shown: &[&Recipe]| {
        let case = Case::new(format!("form::{id}"), what, ours);
        cases.push(case.trusting(&[&root]).shown(shown));
    };
    let unknown = |recipe: &Recipe, critical| recipe.clone().with(UNKNOWN, critical, &octets(b"x"));
    case(
        "unknown-leaf",
        "an unknown extension on the leaf",
        Passes,
        &[&unknown(&leaf, false), &middle],
    );
    case(
        "unknown-critical-leaf",
        "an unknown critical extension on the leaf",
        Other,
        &[&unknown(&leaf, true), &middle],
    );
    case(
        "unknown-intermediate",
        "an unknown extension on the intermediate",
        Passes,
        &[&leaf, &unknown(&middle, false)],
    );
    case(
        "unknown-critical-intermediate",
        "an unknown critical extension on the intermediate",
        Other,
        &[&leaf, &unknown(&middle, true)],
    );
    let mut plain = leaf.clone().version(None);
    plain.extensions.clear();
    case(
        "version-1-leaf",
        "a leaf of version 1",
        Passes,
        &[&plain, &middle],
    );
    let mut second = leaf.clone().version(Some(1));
    second.extensions.clear();
    case(
        "version-2-leaf",
        "a leaf of version 2",
        Passes,
        &[&second, &middle],
    );
    case(
        "version-4-leaf",
        "a version there is not",
        Unread,
        &[&leaf.clone().version(Some(3)), &middle],
    );
    case(
        "version-1-extensions",
        "version 1 with extensions",
        Unread,
        &[&leaf.clone().version(None), &middle],
    );
    for (id, what, serial, ours) in [
        ("negative", "a negative serial number", vec![0xff], Passes),
        ("zero", "a serial number of zero", vec![0], Passes),
        (
            "20-octets",
            "a serial number of twenty octets",
            vec![0x7f; 20],
            Passes,
        ),
        (
            "21-octets",
            "a serial number of twenty-one octets",
            vec![0x7f; 21],
            Passes,
        ),
        (
            "1000-octets",
            "a serial number of a thousand octets",
            vec![0x7f; 1000],
            Passes,
        ),
        (
            "padded",
            "a serial number with a needless octet",
            vec![0, 0x11],
            Unread,
        ),
        ("empty", "a serial number without octets", vec![], Unread),
    ] {
        case(
            &format!("serial-{id}"),
            what,
            ours,
            &[&leaf.clone().serial(&serial), &middle],
        );
    }
    let nameless = leaf.clone().subject(name(&[]));
    let dns = element(0x82, &[b"a.test"]);
    case(
        "subject-empty",
        "no subject, and alternative names",
        Passes,
        &[&nameless.clone().names(std::slice::from_ref(&dns)), &middle],
    );
    case(
        "subject-and-names-empty",
        "neither subject nor names",
        Passes,
        &[&nameless, &middle],
    );
    case(
        "names-empty",
        "an empty list of alternative names",
        Other,
        &[&leaf.clone().names(&[]), &middle],
    );
    case(
        "names-malformed",
        "alternative names that are no DER",
        Other,
        &[
            &leaf.clone().with(ALTERNATIVE_NAME, false, b"garbage"),
            &middle,
        ],
    );
    case(
        "names-twice",
        "two lists of alternative names",
        Other,
        &[
            &leaf.clone().names(std::slice::from_ref(&dns)).again(
                ALTERNATIVE_NAME,
                false,
                &sequence(&[&dns]),
            ),
            &middle,
        ],
    );
    case(
        "extension-twice",
        "an unknown extension twice",
        Other,
        &[&unknown(&leaf, false).again(UNKNOWN, false, b"y"), &middle],
    );
    let large = |bytes: usize| leaf.clone().with(UNKNOWN, false, &vec![0; bytes]);
    case(
        "large",
        "a certificate of almost the largest size",
        Passes,
        &[&large(32_000), &middle],
    );
    case(
        "too-large",
        "a certificate that is too large",
        Unread,
        &[&large(33_000), &middle],
    );
    if let Some(last) = cases.pop() {
        cases.push(last.unlike_rfc("certificates of more than 32 KiB are not read"));
    }

    // Octets that are not quite a certificate.
    let good = leaf.der();
    let mut broken = |id: &str, what, der: Vec<u8>, ours| {
        let mut case = Case::new(format!("form::der::{id}"), what, ours).trusting(&[&root]);
        case.shown = vec![der, middle.der()];
        cases.push(case);
    };
    broken("none", "no octets", Vec::new(), Unread);
    broken(
        "garbage",
        "no DER",
        b"-----BEGIN CERTIFICATE-----".to_vec(),
        Unread,
    );
    broken(
        "cut",
        "the last octet is missing",
        good[..good.len() - 1].to_vec(),
        Unread,
    );
    broken(
        "half",
        "half of it",
        good[..good.len() / 2].to_vec(),
        Unread,
    );
    broken(
        "trailing",
        "an octet too many",
        [&*good, &[0]].concat(),
        Unread,
    );
    broken(
        "twice",
        "two certificates in one",
        [&*good, &*good].concat(),
        Unread,
    );
    broken("empty-sequence", "an empty sequence", sequence(&[]), Unread);
    broken("number", "an integer", vec![2, 1, 1], Unread);
    let mut indefinite = vec![0x30, 0x80];
    indefinite.extend_from_slice(&good[4..]);
    indefinite.extend_from_slice(&[0, 0]);
    broken("indefinite", "an indefinite length", indefinite, Unread);
    let mut padded = vec![0x30, 0x83, 0x00];
    padded.extend_from_slice(&good[2..]);
    broken(
        "long-length",
        "a length longer than need be",
        padded,
        Unread,
    );
    let mut set = good.clone();
    set[0] = 0x31;
    broken("set", "a set where a sequence is expected", set, Unread);
    let nested = (0..5000).fold(vec![5u8, 0], |inner, _| sequence(&[&inner]));
    broken(
        "nested",
        "sequences in sequences, five thousand deep",
        nested,
        Unread,
    );
    let huge = [0x30, 0x84, 0xff, 0xff, 0xff, 0xff].to_vec();
    broken("huge-length", "a length beyond everything", huge, Unread);

    let mut second_malformed = Case::new(
        "form::der::second",
        "what came along is no certificate",
        Unread,
    )
    .trusting(&[&root]);
    second_malformed.shown = vec![good, b"garbage".to_vec(), middle.der()];
    cases.push(second_malformed.unlike_rfc("a client that sends garbage along is refused"));
    cases
}
