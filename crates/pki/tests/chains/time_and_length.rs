//! Validity and path length, in every place of a chain.

use crate::{
    Case,
    Verdict::{Expired, NoAuthority, NotYetValid, Passes, Unread, Untrusted},
    recipe::{DAY, FROM, NOW, Recipe, TO},
};

const OVER: &str = "260601000000Z";
const AHEAD: &str = "260801000000Z";

pub fn cases() -> Vec<Case> {
    let mut cases = validity();
    cases.extend(path_length());
    cases
}

fn validity() -> Vec<Case> {
    let root = Recipe::authority("Root");
    let middle = Recipe::authority("Middle").by("Root");
    let leaf = Recipe::leaf("client").by("Middle");
    let (over, ahead) = ((FROM, OVER), (AHEAD, TO));
    let dated = |recipe: &Recipe, (from, to)| recipe.clone().valid(from, to);
    let chain = |id: &str, what, ours, leaf: &Recipe, middle: &Recipe, root: &Recipe| {
        let case = Case::new(format!("validity::{id}"), what, ours);
        case.trusting(&[root]).shown(&[leaf, middle])
    };
    let anchor_dated = "the validity of a trust anchor is not looked at there; who lists an \
                        authority that has expired is better told than trusted";
    let last = 1_780_272_000;
    let first = 1_785_542_400;
    vec![
        chain("all", "all are valid", Passes, &leaf, &middle, &root),
        chain(
            "leaf-over",
            "the leaf has expired",
            Expired,
            &dated(&leaf, over),
            &middle,
            &root,
        ),
        chain(
            "leaf-ahead",
            "the leaf is not valid yet",
            NotYetValid,
            &dated(&leaf, ahead),
            &middle,
            &root,
        ),
        chain(
            "middle-over",
            "the intermediate has expired",
            Expired,
            &leaf,
            &dated(&middle, over),
            &root,
        ),
        chain(
            "middle-ahead",
            "the intermediate is not valid yet",
            NotYetValid,
            &leaf,
            &dated(&middle, ahead),
            &root,
        ),
        chain(
            "root-over",
            "the anchor has expired",
            Expired,
            &leaf,
            &middle,
            &dated(&root, over),
        )
        .unlike_rfc(anchor_dated),
        chain(
            "root-ahead",
            "the anchor is not valid yet",
            NotYetValid,
            &leaf,
            &middle,
            &dated(&root, ahead),
        )
        .unlike_rfc(anchor_dated),
        chain(
            "last-second",
            "the last second of the leaf",
            Passes,
            &dated(&leaf, over),
            &middle,
            &root,
        )
        .at(last),
        chain(
            "after-last-second",
            "the second after it",
            Expired,
            &dated(&leaf, over),
            &middle,
            &root,
        )
        .at(last + 1),
        chain(
            "first-second",
            "the first second of the leaf",
            Passes,
            &dated(&leaf, ahead),
            &middle,
            &root,
        )
        .at(first),
        chain(
            "before-first-second",
            "the second before it",
            NotYetValid,
            &dated(&leaf, ahead),
            &middle,
            &root,
        )
        .at(first - 1),
        chain(
            "generalized",
            "a validity as GeneralizedTime, beyond 2049",
            Passes,
            &dated(&leaf, (FROM, "20510101000000Z")),
            &middle,
            &root,
        )
        .at(NOW + 20 * 365 * DAY / 4),
        chain(
            "far",
            "a leaf without a well-defined end",
            Passes,
            &dated(&leaf, (FROM, "99991231235959Z")),
            &middle,
            &root,
        ),
        chain(
            "reversed",
            "it ends before it begins",
            NotYetValid,
            &dated(&leaf, (AHEAD, OVER)),
            &middle,
            &root,
        ),
        chain(
            "no-second",
            "a time without seconds",
            Unread,
            &dated(&leaf, ("2501010000Z", TO)),
            &middle,
            &root,
        ),
        chain(
            "offset",
            "a time with an offset",
            Unread,
            &dated(&leaf, ("250101000000+0000", TO)),
            &middle,
            &root,
        ),
        chain(
            "month-13",
            "a month there is not",
            Unread,
            &dated(&leaf, (FROM, "351301000000Z")),
            &middle,
            &root,
        ),
        chain(
            "fraction",
            "a time with a fraction of a second",
            Unread,
            &dated(&leaf, (FROM, "20350101000000.5Z")),
            &middle,
            &root,
        ),
    ]
}

fn path_length() -> Vec<Case> {
    let root = Recipe::authority("Root");
    let one = Recipe::authority("One").by("Root");
    let two = Recipe::authority("Two").by("One");
    let three = Recipe::authority("Three").by("Two");
    let under = |name: &str| Recipe::leaf("client").by(name);
    let mut cases = Vec::new();
    let mut case = |id: &str, what, ours, anchor: &Recipe, shown: &[&Recipe]| {
        let case = Case::new(format!("path-length::{id}"), what, ours);
        cases.push(case.trusting(&[anchor]).shown(shown));
    };
    for (length, ours) in [
        (0, NoAuthority),
        (1, NoAuthority),
        (2, NoAuthority),
        (3, Passes),
        (4, Passes),
    ] {
        let id = format!("anchor-{length}-of-3");
        let anchor = root.clone().path_length(length);
        case(
            &id,
            "three authorities below the anchor",
            ours,
            &anchor,
            &[&under("Three"), &three, &two, &one],
        );
    }
    for (length, ours) in [(0, NoAuthority), (1, NoAuthority), (2, Passes)] {
        let id = format!("top-intermediate-{length}-of-2");
        let one = one.clone().path_length(length);
        case(
            &id,
            "two authorities below the first intermediate",
            ours,
            &root,
            &[&under("Three"), &three, &two, &one],
        );
    }
    for (length, ours) in [(0, NoAuthority), (1, Passes)] {
        let id = format!("middle-intermediate-{length}-of-1");
        let two = two.clone().path_length(length);
        case(
            &id,
            "one authority below the second intermediate",
            ours,
            &root,
            &[&under("Three"), &three, &two, &one],
        );
    }
    case(
        "last-0",
        "nothing but a leaf below",
        Passes,
        &root,
        &[&under("One"), &one.clone().path_length(0)],
    );
    case(
        "anchor-0-leaf",
        "an anchor that allows leaves only, and a leaf",
        Passes,
        &root.clone().path_length(0),
        &[&under("Root")],
    );
    case(
        "leaf-is-authority",
        "an authority presented as the leaf does not count as intermediate",
        Passes,
        &root.clone().path_length(0),
        &[&one],
    );
    let rolled = Recipe::authority("One").key("One again").by("One");
    let below = Recipe::leaf("client").by("One").signed_by("One again");
    case(
        "self-issued",
        "a self-issued certificate is not counted",
        Passes,
        &root,
        &[
            &below.clone().identified(),
            &rolled.clone().identified(),
            &one.clone().path_length(0).identified(),
        ],
    );
    case(
        "self-issued-anchor",
        "nor below an anchor",
        Passes,
        &root.clone().path_length(1),
        &[
            &below.identified(),
            &rolled.identified(),
            &one.clone().identified(),
        ],
    );
    case(
        "anchor-intermediate-0",
        "an intermediate as anchor, with an authority below",
        NoAuthority,
        &one.clone().path_length(0),
        &[&under("Two"), &two],
    );
    case(
        "wider-below",
        "an intermediate may not widen what is above it",
        NoAuthority,
        &root,
        &[
            &under("Three"),
            &three,
            &two.clone().path_length(5),
            &one.clone().path_length(0),
        ],
    );
    let chain: Vec<Recipe> = (0..9)
        .map(|number| {
            let (name, above) = (format!("Deep {number}"), format!("Deep {}", number + 1));
            Recipe::authority(&name).by(&above)
        })
        .collect();
    let leaf = Recipe::leaf("client").by("Deep 0");
    for (below, ours) in [(8, Passes), (9, Untrusted)] {
        let anchor = Recipe::authority(&format!("Deep {below}"));
        let shown: Vec<&Recipe> = std::iter::once(&leaf).chain(&chain[..below]).collect();
        case(
            &format!("{below}-intermediates"),
            "as many intermediates",
            ours,
            &anchor,
            &shown,
        );
    }
    if let Some(long) = cases.pop() {
        cases.push(long.unlike_rfc("a way of more than ten certificates is not followed"));
    }
    cases
}
