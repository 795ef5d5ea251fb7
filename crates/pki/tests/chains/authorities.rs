//! What makes an authority: basic constraints, key usage, version, in every place of a chain.

use crate::{
    Case,
    Verdict::{NoAuthority, Other, Passes, Untrusted},
    der::{element, integer, sequence},
    recipe::{BASIC_CONSTRAINTS, KEY_USAGE, Recipe},
};

const ANCHOR: &str = "a trust anchor is a name and a key there; a certificate that says it is no \
                      authority vouches for nobody here";

pub fn cases() -> Vec<Case> {
    let root = Recipe::authority("Root");
    let middle = Recipe::authority("Middle").by("Root");
    let leaf = Recipe::leaf("client").by("Middle");
    let under_root = Recipe::leaf("client").by("Root");
    let mut cases = Vec::new();

    // As an intermediate, and as the anchor.
    type Change = fn(&Recipe) -> Recipe;
    let changes: [(&str, &'static str, Change, crate::Verdict, bool); 11] = [
        (
            "constraints-absent",
            "no basic constraints",
            |r| r.clone().without(BASIC_CONSTRAINTS),
            NoAuthority,
            false,
        ),
        (
            "constraints-false",
            "basic constraints say it is none",
            |r| r.clone().basic_constraints(true, Some(false), None),
            NoAuthority,
            false,
        ),
        (
            "constraints-empty",
            "basic constraints say nothing",
            |r| r.clone().basic_constraints(true, None, None),
            NoAuthority,
            false,
        ),
        (
            "constraints-not-critical",
            "basic constraints are not critical",
            |r| r.clone().basic_constraints(false, Some(true), None),
            Passes,
            true,
        ),
        (
            "length-without-ca",
            "a path length, and no authority",
            |r| r.clone().basic_constraints(true, None, Some(1)),
            Untrusted,
            false,
        ),
        (
            "usage-absent",
            "no key usage",
            |r| r.clone().without(KEY_USAGE),
            Passes,
            true,
        ),
        (
            "usage-signs-no-certificates",
            "key usage without keyCertSign",
            |r| r.clone().key_usage(&[6]),
            NoAuthority,
            false,
        ),
        (
            "usage-digital-signature",
            "key usage of a leaf",
            |r| r.clone().key_usage(&[0]),
            NoAuthority,
            false,
        ),
        (
            "usage-everything",
            "every key usage",
            |r| r.clone().key_usage(&[0, 1, 2, 3, 4, 5, 6, 7]),
            Passes,
            true,
        ),
        (
            "neither",
            "neither basic constraints nor key usage",
            |r| r.clone().without(BASIC_CONSTRAINTS).without(KEY_USAGE),
            NoAuthority,
            false,
        ),
        (
            "version-1",
            "a certificate of version 1",
            |r| {
                let mut plain = r.clone().version(None);
                plain.extensions.clear();
                plain
            },
            NoAuthority,
            false,
        ),
    ];
    for (id, what, change, ours, rfc) in changes {
        let case = Case::new(format!("authority::intermediate::{id}"), what, ours);
        cases.push(case.trusting(&[&root]).shown(&[&leaf, &change(&middle)]));
        let case = Case::new(format!("authority::anchor::{id}"), what, ours);
        let case = case.trusting(&[&change(&root)]).shown(&[&under_root]);
        // Before there were extensions, an anchor could not say what it is.
        cases.push(match (rfc, id) {
            (_, "version-1") => Case {
                ours: Passes,
                rfc_passes: true,
                ..case
            },
            (true, _) => case,
            (false, _) => case.unlike_rfc(ANCHOR),
        });
    }

    let mut case = |id: &str, what, ours, anchor: &Recipe, shown: &[&Recipe]| {
        let case = Case::new(format!("authority::{id}"), what, ours);
        cases.push(case.trusting(&[anchor]).shown(shown));
    };
    let client = Recipe::leaf("issuing client").by("Root");
    let forged = Recipe::leaf("forged").by("issuing client");
    case(
        "leaf-issues",
        "a leaf issued another",
        NoAuthority,
        &root,
        &[&forged, &client],
    );
    let pretending = Recipe::leaf("forged").by("issuing client").identified();
    case(
        "leaf-issues-identified",
        "a leaf issued another, with identifiers",
        NoAuthority,
        &root,
        &[&pretending, &client.clone().identified()],
    );
    case(
        "leaf-constraints-false",
        "a leaf that says it is no authority",
        Passes,
        &root,
        &[&under_root
            .clone()
            .basic_constraints(true, Some(false), None)],
    );
    case(
        "leaf-constraints-empty",
        "a leaf with empty basic constraints",
        Passes,
        &root,
        &[&under_root.clone().basic_constraints(false, None, None)],
    );
    case(
        "leaf-is-authority",
        "an authority as the leaf",
        Passes,
        &root,
        &[&middle],
    );
    case(
        "leaf-without-usage",
        "a leaf without key usage",
        Passes,
        &root,
        &[&under_root.clone().without(KEY_USAGE)],
    );
    case(
        "leaf-signs-nothing",
        "a leaf whose key usage lacks digitalSignature",
        Passes,
        &root,
        &[&under_root.key_usage(&[2])],
    );
    let twice = middle
        .clone()
        .again(BASIC_CONSTRAINTS, true, &sequence(&[]));
    case(
        "constraints-twice",
        "an intermediate with two basic constraints",
        Other,
        &root,
        &[&leaf, &twice],
    );
    let negative = sequence(&[&[0x01, 0x01, 0xff], &integer(&[0xff])]);
    let negative = middle.clone().with(BASIC_CONSTRAINTS, true, &negative);
    case(
        "length-negative",
        "a negative path length",
        Untrusted,
        &root,
        &[&leaf, &negative],
    );
    let garbage = middle.clone().with(BASIC_CONSTRAINTS, true, b"garbage");
    case(
        "constraints-malformed",
        "basic constraints that are no DER",
        Other,
        &root,
        &[&leaf, &garbage],
    );
    let true_as_one = sequence(&[&element(0x01, &[&[0x01]])]);
    let lenient = middle.clone().with(BASIC_CONSTRAINTS, true, &true_as_one);
    case(
        "true-not-der",
        "an authority by a boolean that is not DER",
        Other,
        &root,
        &[&leaf, &lenient],
    );
    let usage = middle
        .clone()
        .with(KEY_USAGE, true, &element(0x03, &[&[0, 0]]));
    case(
        "usage-empty",
        "a key usage without any bit",
        NoAuthority,
        &root,
        &[&leaf, &usage],
    );
    let usage = middle.clone().with(KEY_USAGE, true, b"garbage");
    case(
        "usage-malformed",
        "a key usage that is no DER",
        NoAuthority,
        &root,
        &[&leaf, &usage],
    );
    cases
}
