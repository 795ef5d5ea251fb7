//! Ways through many certificates: cross-signed and renewed authorities, loops, duplicates, other
//! orders, strangers in between.

use crate::{
    Case,
    Verdict::{NoAuthority, Passes, Unread, Untrusted},
    recipe::{Recipe, Signed},
};

pub fn cases() -> Vec<Case> {
    let root = Recipe::authority("Root");
    let middle = Recipe::authority("Middle").by("Root");
    let leaf = Recipe::leaf("client").by("Middle");
    let stranger = Recipe::authority("Stranger");
    let lower = Recipe::authority("Lower").by("Middle");
    let deep = Recipe::leaf("client").by("Lower");
    let mut cases = Vec::new();
    let mut case = |id: &str, what, ours, anchors: &[&Recipe], shown: &[&Recipe]| {
        let case = Case::new(format!("graph::{id}"), what, ours);
        cases.push(case.trusting(anchors).shown(shown));
    };
    case("nothing", "no certificate at all", Unread, &[&root], &[]);
    case(
        "no-anchor",
        "nobody is trusted",
        Untrusted,
        &[],
        &[&leaf, &middle],
    );
    case(
        "no-anchor-root",
        "nobody is trusted, and the root was sent",
        Untrusted,
        &[],
        &[&leaf, &middle, &root],
    );
    case(
        "missing-intermediate",
        "the intermediate was not sent",
        Untrusted,
        &[&root],
        &[&leaf],
    );
    case(
        "stranger",
        "the chain of somebody else",
        Untrusted,
        &[&stranger],
        &[&leaf, &middle],
    );
    case(
        "root-sent",
        "the root was sent as well",
        Passes,
        &[&root],
        &[&leaf, &middle, &root],
    );
    case(
        "anchor-intermediate",
        "the intermediate is trusted",
        Passes,
        &[&middle],
        &[&leaf],
    );
    case(
        "anchor-intermediate-sent",
        "the intermediate is trusted and was sent with its root",
        Passes,
        &[&middle],
        &[&leaf, &middle, &root],
    );
    case(
        "sibling-intermediate",
        "trust in an intermediate is none in its siblings",
        Untrusted,
        &[&middle],
        &[&Recipe::leaf("client").by("Root"), &root],
    );
    case(
        "above-anchor",
        "trust in an intermediate is none in what is above",
        Untrusted,
        &[&lower],
        &[&leaf, &middle],
    );
    case(
        "two-anchors",
        "one of two anchors",
        Passes,
        &[&stranger, &root],
        &[&leaf, &middle],
    );
    case(
        "self-signed-leaf",
        "a leaf that signed itself",
        Untrusted,
        &[&root],
        &[&Recipe::leaf("alone")],
    );
    let alone = Recipe::leaf("Root");
    case(
        "self-signed-of-the-name",
        "a leaf that signed itself, of the anchor's name",
        Untrusted,
        &[&root],
        &[&alone.key("mallory").signed_by("mallory")],
    );
    case(
        "anchor-itself",
        "the anchor itself as the leaf",
        Passes,
        &[&root],
        &[&root],
    );
    case(
        "intermediate-itself",
        "a trusted intermediate itself as the leaf",
        Passes,
        &[&middle],
        &[&middle],
    );
    let fake = Recipe::authority("Root")
        .key("Root fake")
        .signed_by("Root fake");
    case(
        "fake-root-sent",
        "another root of the same name was sent",
        Untrusted,
        &[&root],
        &[
            &Recipe::leaf("client")
                .issued_by(crate::der::common_name("Root"))
                .signed_by("Root fake"),
            &fake,
        ],
    );
    case(
        "fake-root-beside",
        "another root of the same name stands in the way",
        Passes,
        &[&root],
        &[&leaf, &middle, &fake],
    );
    case(
        "fake-intermediate",
        "an intermediate of the same name that somebody else signed",
        Untrusted,
        &[&root],
        &[
            &leaf,
            &Recipe::authority("Middle").by("Stranger"),
            &stranger,
        ],
    );
    case(
        "broken-leaf",
        "the signature on the leaf is broken",
        Untrusted,
        &[&root],
        &[&leaf.clone().signed(Signed::Broken), &middle],
    );
    case(
        "broken-intermediate",
        "the signature on the intermediate is broken",
        Untrusted,
        &[&root],
        &[&leaf, &middle.clone().signed(Signed::Broken)],
    );
    case(
        "broken-root",
        "the signature of the anchor on itself is broken, and nobody asks",
        Passes,
        &[&root.clone().signed(Signed::Broken)],
        &[&leaf, &middle],
    );
    case(
        "name-only",
        "issuer and subject agree, the key does not",
        Untrusted,
        &[&root],
        &[&leaf.clone().signed_by("mallory"), &middle],
    );
    case(
        "key-only",
        "the key agrees, issuer and subject do not",
        Untrusted,
        &[&root],
        &[
            &leaf.clone().issued_by(crate::der::common_name("Muddle")),
            &middle,
        ],
    );

    // In other orders, twice, with strangers.
    case(
        "shuffled",
        "what follows the leaf is in another order",
        Passes,
        &[&root],
        &[&deep, &middle, &lower],
    );
    case(
        "shuffled-root-first",
        "the root first",
        Passes,
        &[&root],
        &[&deep, &root, &lower, &middle],
    );
    case(
        "leaf-not-first",
        "the leaf is not first",
        Passes,
        &[&root],
        &[&middle, &leaf],
    );
    case(
        "duplicates",
        "every certificate twice",
        Passes,
        &[&root],
        &[&leaf, &middle, &leaf, &middle],
    );
    case(
        "same-ten-times",
        "the intermediate nine times",
        Passes,
        &[&root],
        &[
            &leaf, &middle, &middle, &middle, &middle, &middle, &middle, &middle, &middle, &middle,
        ],
    );
    case(
        "unrelated-between",
        "strangers in between",
        Passes,
        &[&root],
        &[&leaf, &stranger, &middle, &lower],
    );
    case(
        "unrelated-only",
        "strangers and no intermediate",
        Untrusted,
        &[&root],
        &[&leaf, &stranger, &lower],
    );
    case(
        "eleven",
        "eleven certificates",
        Unread,
        &[&root],
        &[
            &leaf, &middle, &middle, &middle, &middle, &middle, &middle, &middle, &middle, &middle,
            &middle,
        ],
    );
    if let Some(many) = cases.pop() {
        cases.push(many.unlike_rfc("more than ten certificates are not read"));
    }
    let mut case = |id: &str, what, ours, anchors: &[&Recipe], shown: &[&Recipe]| {
        let case = Case::new(format!("graph::{id}"), what, ours);
        cases.push(case.trusting(anchors).shown(shown));
    };

    // Loops.
    let a_by_b = Recipe::authority("A").by("B");
    let b_by_a = Recipe::authority("B").by("A");
    let under_a = Recipe::leaf("client").by("A");
    case(
        "loop",
        "two authorities that signed each other",
        Untrusted,
        &[&root],
        &[&under_a, &a_by_b, &b_by_a],
    );
    case(
        "loop-twice",
        "each of them twice",
        Untrusted,
        &[&root],
        &[
            &under_a,
            &a_by_b,
            &b_by_a,
            &a_by_b.clone().serial(&[2]),
            &b_by_a.clone().serial(&[2]),
        ],
    );
    case(
        "loop-with-exit",
        "one of them is signed by the anchor as well",
        Passes,
        &[&root],
        &[
            &under_a,
            &a_by_b,
            &b_by_a,
            &Recipe::authority("A").by("Root"),
        ],
    );
    case(
        "loop-anchored",
        "one of them is trusted",
        Passes,
        &[&b_by_a],
        &[&under_a, &a_by_b, &b_by_a],
    );
    case(
        "loop-of-three",
        "three in a circle",
        Untrusted,
        &[&root],
        &[
            &under_a,
            &a_by_b,
            &Recipe::authority("B").by("C"),
            &Recipe::authority("C").by("A"),
        ],
    );
    let itself = Recipe::authority("A").serial(&[3]);
    case(
        "self-loop",
        "an authority that signed itself, twice",
        Untrusted,
        &[&root],
        &[&under_a, &itself, &itself.clone().serial(&[4])],
    );
    case(
        "anchor-over-leaf",
        "a leaf vouches for its own authority",
        NoAuthority,
        &[&Recipe::leaf("client")],
        &[&under_a, &Recipe::authority("A").by("client")],
    );
    if let Some(last) = cases.pop() {
        cases.push(last.unlike_rfc("a trust anchor is a name and a key there; what is no authority vouches for nobody here"));
    }
    cases
}
