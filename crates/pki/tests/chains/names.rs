//! Name constraints, of intermediates and of anchors.

use crate::{
    Case,
    Verdict::{self, NameConstraints, Passes},
    constraints::{directory, dns, email, rows},
    der::{COMMON_NAME, EMAIL, ORGANIZATION, common_name, element, name, sequence},
    recipe::{NAME_CONSTRAINTS, Recipe},
};

const SUBJECT: &str = "RFC 5280 constrains alternative names only; a common name that looks like a \
                       host is held to them as well, since it is used like one";

pub fn cases() -> Vec<Case> {
    let root = Recipe::authority("Root");
    let middle = Recipe::authority("Middle").by("Root");
    // Nothing that looks like a host stands in the subject.
    let leaf = Recipe::leaf("client")
        .by("Middle")
        .subject(name(&[(ORGANIZATION, "Acme"), (COMMON_NAME, "x")]));
    let mut cases = Vec::new();
    for row in rows() {
        let kind = if row.excluded.is_empty() {
            "permitted"
        } else {
            "excluded"
        };
        let leaf = leaf.clone().names(std::slice::from_ref(&row.name));
        for (place, middle, root) in [
            (
                "intermediate",
                middle.clone().constrained(&row.permitted, &row.excluded),
                root.clone(),
            ),
            (
                "anchor",
                middle.clone(),
                root.clone().constrained(&row.permitted, &row.excluded),
            ),
        ] {
            // A directory constraint is about subjects too, and the intermediate's is no exception.
            if place == "anchor" && row.id.starts_with("directory") && kind == "permitted" {
                continue;
            }
            let id = format!("names::{place}::{kind}::{}", row.id);
            let case = Case::new(id, row.what, row.ours);
            cases.push(case.trusting(&[&root]).shown(&[&leaf, &middle]));
        }
    }
    cases.extend(special(&root, &middle, &leaf));
    cases
}

fn special(root: &Recipe, middle: &Recipe, leaf: &Recipe) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |id: &str, what, ours, shown: &[&Recipe]| {
        let case = Case::new(format!("names::{id}"), what, ours);
        cases.push(case.trusting(&[root]).shown(shown));
    };
    let example = [dns("example.com")];
    let hosts = middle.clone().constrained(&example, &[]);
    case(
        "no-names",
        "hosts are permitted, and the leaf has no names",
        Passes,
        &[leaf, &hosts],
    );
    let two = leaf.clone().names(&[dns("a.example.com"), dns("a.test")]);
    case(
        "one-of-two",
        "one of two names is outside",
        NameConstraints,
        &[&two, &hosts],
    );
    let both = middle
        .clone()
        .constrained(&example, &[dns("secret.example.com")]);
    let shown = leaf.clone().names(&[dns("a.secret.example.com")]);
    case(
        "both",
        "permitted, and excluded further down",
        NameConstraints,
        &[&shown, &both],
    );
    let shown = leaf.clone().names(&[dns("a.example.com")]);
    case(
        "both-outside-excluded",
        "permitted and not excluded",
        Passes,
        &[&shown, &both],
    );
    let lower = Recipe::authority("Lower").by("Middle");
    let deep = leaf.clone().by("Lower");
    let outside = deep.clone().names(&[dns("a.test")]);
    case(
        "handed-down",
        "constraints hold for what is two below",
        NameConstraints,
        &[&outside, &lower, &hosts],
    );
    let wider = lower.clone().constrained(&[dns("test")], &[]);
    case(
        "not-widened",
        "an authority below permits what the one above does not",
        NameConstraints,
        &[&outside, &wider, &hosts],
    );
    let inside = deep.names(&[dns("a.example.com")]);
    case(
        "handed-down-inside",
        "and let pass what is inside",
        Passes,
        &[&inside, &lower, &hosts],
    );
    let own = leaf
        .clone()
        .names(&[dns("a.test")])
        .constrained(&example, &[]);
    case(
        "of-the-leaf",
        "constraints of a leaf are not about itself",
        Passes,
        &[&own, middle],
    );
    let soft = {
        let value = sequence(&[&element(0xa0, &[&sequence(&[&dns("example.com")])])]);
        middle.clone().with(NAME_CONSTRAINTS, false, &value)
    };
    let shown = leaf.clone().names(&[dns("a.test")]);
    case(
        "not-critical",
        "constraints that are not critical hold as well",
        NameConstraints,
        &[&shown, &soft],
    );
    case(
        "empty",
        "constraints without any",
        Passes,
        &[&shown, &middle.clone().constrained(&[], &[])],
    );
    let tree = |parts: &[&[u8]]| sequence(&[&element(0xa0, &[&sequence(parts)])]);
    let least = middle.clone().with(
        NAME_CONSTRAINTS,
        true,
        &tree(&[&dns("test"), &element(0x80, &[&[1]])]),
    );
    case(
        "minimum",
        "a minimum distance, which RFC 5280 forbids",
        NameConstraints,
        &[&shown, &least],
    );
    let most = middle.clone().with(
        NAME_CONSTRAINTS,
        true,
        &tree(&[&dns("test"), &element(0x81, &[&[1]])]),
    );
    case(
        "maximum",
        "a maximum distance, which RFC 5280 forbids",
        NameConstraints,
        &[&shown, &most],
    );
    case(
        "malformed",
        "constraints that are no DER",
        Verdict::Untrusted,
        &[
            &shown,
            &middle.clone().with(NAME_CONSTRAINTS, true, b"garbage"),
        ],
    );

    let acme = [directory(&[(ORGANIZATION, "Acme")])];
    let subjects = middle.clone().constrained(&acme, &[]);
    case(
        "subject-inside",
        "the subject is a directory name inside",
        Passes,
        &[leaf, &subjects],
    );
    let stranger = leaf.clone().subject(name(&[(ORGANIZATION, "Else")]));
    case(
        "subject-outside",
        "the subject is outside",
        NameConstraints,
        &[&stranger, &subjects],
    );
    let folded = leaf
        .clone()
        .subject(name(&[(ORGANIZATION, "aCME"), (COMMON_NAME, "x")]));
    case(
        "subject-case",
        "names are compared whatever their case",
        Passes,
        &[&folded, &subjects],
    );
    let barred = middle.clone().constrained(&[], &acme);
    case(
        "subject-excluded",
        "the subject is excluded",
        NameConstraints,
        &[leaf, &barred],
    );
    let longer = leaf.clone().subject(name(&[(ORGANIZATION, "Acme Two")]));
    case(
        "subject-prefix",
        "a subject that merely begins alike",
        NameConstraints,
        &[&longer, &subjects],
    );

    let mailboxes = middle.clone().constrained(&[email("example.com")], &[]);
    let inside = leaf
        .clone()
        .subject(name(&[(COMMON_NAME, "x"), (EMAIL, "a@example.com")]));
    case(
        "subject-email-inside",
        "a mail address in the subject, inside",
        Passes,
        &[&inside, &mailboxes],
    );
    let outside = leaf
        .clone()
        .subject(name(&[(COMMON_NAME, "x"), (EMAIL, "a@example.test")]));
    case(
        "subject-email-outside",
        "a mail address in the subject, outside",
        NameConstraints,
        &[&outside, &mailboxes],
    );

    let rolled = Recipe::authority("Middle")
        .key("Middle again")
        .by("Middle")
        .identified();
    let rolled = rolled.names(&[dns("ca.test")]);
    let below = leaf
        .clone()
        .signed_by("Middle again")
        .names(&[dns("a.example.com")])
        .identified();
    case(
        "self-issued",
        "a self-issued authority is not held to them",
        Passes,
        &[&below, &rolled, &hosts.clone().identified()],
    );
    let plain = Recipe::leaf("client").by("Middle");
    case(
        "subject-word",
        "a common name that is one word, under constraints of hosts",
        Passes,
        &[&plain, &hosts],
    );
    let spaced = plain.clone().subject(common_name("Alice Example"));
    case(
        "subject-words",
        "a common name of several words, under constraints of hosts",
        Passes,
        &[&spaced, &hosts],
    );
    let host = plain.clone().subject(common_name("www.example.test"));
    case(
        "subject-host",
        "a common name that looks like a host outside",
        NameConstraints,
        &[&host, &hosts],
    );
    if let Some(last) = cases.pop() {
        cases.push(last.unlike_rfc(SUBJECT));
    }
    cases
}
