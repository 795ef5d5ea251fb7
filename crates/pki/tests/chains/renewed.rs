//! Authorities that were cross-signed or renewed, and those that have a name in common.

use crate::{
    Case,
    Verdict::{Expired, Passes, Untrusted},
    recipe::{FROM, Recipe},
};

const OVER: &str = "260601000000Z";

pub fn cases() -> Vec<Case> {
    let root = Recipe::authority("Root");
    let middle = Recipe::authority("Middle").by("Root");
    let leaf = Recipe::leaf("client").by("Middle");
    let lower = Recipe::authority("Lower").by("Middle");
    let deep = Recipe::leaf("client").by("Lower");
    let mut cases = Vec::new();
    let mut case = |id: &str, what, ours, anchors: &[&Recipe], shown: &[&Recipe]| {
        let case = Case::new(format!("graph::{id}"), what, ours);
        cases.push(case.trusting(anchors).shown(shown));
    };
    // Cross-signed.
    let other = Recipe::authority("Other");
    let crossed = Recipe::authority("Root").by("Other");
    case(
        "crossed-to-new",
        "a root cross-signed by a trusted one",
        Passes,
        &[&other],
        &[&leaf, &middle, &crossed],
    );
    case(
        "crossed-to-old",
        "the root is trusted, the cross certificate was sent",
        Passes,
        &[&root],
        &[&leaf, &middle, &crossed],
    );
    case(
        "crossed-both",
        "both are trusted",
        Passes,
        &[&root, &other],
        &[&leaf, &middle, &crossed],
    );
    case(
        "crossed-and-root",
        "the cross certificate behind the untrusted root",
        Passes,
        &[&other],
        &[&leaf, &middle, &root, &crossed],
    );
    case(
        "crossed-before-root",
        "the cross certificate before the untrusted root",
        Passes,
        &[&other],
        &[&leaf, &middle, &crossed, &root],
    );
    let middle_by_other = Recipe::authority("Middle").by("Other");
    case(
        "crossed-intermediate",
        "an intermediate that two signed, the trusted one second",
        Passes,
        &[&other],
        &[&leaf, &middle, &middle_by_other],
    );
    case(
        "crossed-intermediate-first",
        "the trusted one first",
        Passes,
        &[&other],
        &[&leaf, &middle_by_other, &middle],
    );
    case(
        "crossed-expired",
        "the way over the first has expired",
        Passes,
        &[&root, &other],
        &[&leaf, &middle.clone().valid(FROM, OVER), &middle_by_other],
    );
    case(
        "crossed-expired-second",
        "the way over the second has expired",
        Passes,
        &[&root, &other],
        &[&leaf, &middle_by_other, &middle.clone().valid(FROM, OVER)],
    );
    case(
        "crossed-all-expired",
        "both have expired",
        Expired,
        &[&root, &other],
        &[
            &leaf,
            &middle_by_other.clone().valid(FROM, OVER),
            &middle.clone().valid(FROM, OVER),
        ],
    );
    case(
        "crossed-no-authority",
        "the first of two is no authority",
        Passes,
        &[&root, &other],
        &[
            &leaf,
            &middle.clone().basic_constraints(true, Some(false), None),
            &middle_by_other,
        ],
    );
    case(
        "crossed-short",
        "the first of two allows too little below",
        Passes,
        &[&root, &other],
        &[
            &deep,
            &lower,
            &middle.clone().path_length(0),
            &middle_by_other,
        ],
    );

    // Renewed with the same key; another key of the same name.
    let renewed = root.clone().serial(&[0x22]);
    case(
        "renewed-root",
        "the root was renewed with its key",
        Passes,
        &[&renewed],
        &[&leaf, &middle],
    );
    case(
        "renewed-root-old-sent",
        "the old one was sent",
        Passes,
        &[&renewed],
        &[&leaf, &middle, &root],
    );
    case(
        "renewed-root-both",
        "both are trusted, the old one expired",
        Passes,
        &[&root.clone().valid(FROM, OVER), &renewed],
        &[&leaf, &middle],
    );
    case(
        "renewed-intermediate",
        "an expired intermediate before its renewed one",
        Passes,
        &[&root],
        &[
            &leaf,
            &middle.clone().valid(FROM, OVER),
            &middle.clone().serial(&[0x23]),
        ],
    );
    let rekeyed = Recipe::authority("Root")
        .key("Root two")
        .signed_by("Root two");
    for (id, anchors) in [("first", [&root, &rekeyed]), ("second", [&rekeyed, &root])] {
        case(
            &format!("same-name-anchors-{id}"),
            "two anchors of one name and different keys",
            Passes,
            &anchors,
            &[&leaf, &middle],
        );
        let under_new = Recipe::leaf("client").by("Root").signed_by("Root two");
        case(
            &format!("same-name-anchors-{id}-new"),
            "and a leaf of the other",
            Passes,
            &anchors,
            &[&under_new],
        );
        let identified = [
            anchors[0].clone().identified(),
            anchors[1].clone().identified(),
        ];
        case(
            &format!("same-name-identified-{id}"),
            "with identifiers",
            Passes,
            &[&identified[0], &identified[1]],
            &[&under_new.identified()],
        );
    }
    let rekeyed_middle = Recipe::authority("Middle").key("Middle two").by("Root");
    case(
        "same-name-intermediates",
        "two intermediates of one name, the right one second",
        Passes,
        &[&root],
        &[&leaf, &rekeyed_middle, &middle],
    );
    case(
        "same-name-intermediates-first",
        "the right one first",
        Passes,
        &[&root],
        &[&leaf, &middle, &rekeyed_middle],
    );
    case(
        "wrong-identifier",
        "the authority key identifier is of another key",
        Untrusted,
        &[&root],
        &[
            &with_foreign_identifier(&leaf),
            &middle.clone().identified(),
        ],
    );
    if let Some(last) = cases.pop() {
        cases.push(
            last.unlike_rfc(
                "an identifier only helps to find an issuer there; libraries hold to it",
            ),
        );
    }
    cases
}

fn with_foreign_identifier(leaf: &Recipe) -> Recipe {
    // Identified as if signed by another key, and then signed by the right one.
    leaf.clone()
        .signed_by("Stranger")
        .identified()
        .signed_by("Middle")
}
