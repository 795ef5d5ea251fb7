//! Extended key usage: of leaves, and nested in authorities.

use portcullis_pki::Usage;

use crate::{
    Case,
    Verdict::{Other, Passes, Purpose},
    recipe::{ANY_USAGE, CLIENT_AUTH, EXTENDED_KEY_USAGE, Recipe, SERVER_AUTH},
};

const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
const OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";

const NESTED: &str = "RFC 5280 gives it no meaning in an authority; CAs limit their intermediates \
                      by it, and so does every browser";
pub fn cases() -> Vec<Case> {
    let root = Recipe::authority("Root");
    let middle = Recipe::authority("Middle").by("Root");
    let leaf = Recipe::leaf("client").by("Middle");
    let kinds: [(&str, &'static str, &[&str], bool); 8] = [
        ("client", "lists clients", &[CLIENT_AUTH], true),
        (
            "both",
            "lists servers and clients",
            &[SERVER_AUTH, CLIENT_AUTH],
            true,
        ),
        ("any", "lists any usage", &[ANY_USAGE], true),
        (
            "any-and-code",
            "lists code signing and any usage",
            &[CODE_SIGNING, ANY_USAGE],
            true,
        ),
        ("server", "lists servers", &[SERVER_AUTH], false),
        ("code", "lists code signing", &[CODE_SIGNING], false),
        ("ocsp", "lists OCSP signing", &[OCSP_SIGNING], false),
        (
            "own",
            "lists a usage of somebody's own",
            &["1.3.6.1.4.1.99999.1"],
            false,
        ),
    ];
    let mut cases = Vec::new();
    let verdict = |good| if good { Passes } else { Purpose };
    for (id, what, listed, good) in kinds {
        let shown = leaf.clone().extended_key_usage(listed);
        let case = Case::new(format!("usage::leaf::{id}"), what, verdict(good));
        cases.push(case.trusting(&[&root]).shown(&[&shown, &middle]));

        let limited = middle.clone().extended_key_usage(listed);
        let case = Case::new(format!("usage::intermediate::{id}"), what, verdict(good));
        let case = case.trusting(&[&root]).shown(&[&leaf, &limited]);
        cases.push(if good { case } else { case.unlike_rfc(NESTED) });

        let limited = root.clone().extended_key_usage(listed);
        let case = Case::new(format!("usage::anchor::{id}"), what, verdict(good));
        let case = case.trusting(&[&limited]).shown(&[&leaf, &middle]);
        cases.push(if good { case } else { case.unlike_rfc(NESTED) });

        // Where a listed authority vouches, names of servers are taken.
        let good = good || listed.contains(&SERVER_AUTH);
        let case = Case::new(
            format!("usage::client-or-server::{id}"),
            what,
            verdict(good),
        );
        let mut case = case.trusting(&[&root]).shown(&[&shown, &middle]);
        case.usage = Usage::ClientOrServer;
        cases.push(case);
    }
    let mut case = |id: &str, what, ours, shown: &Recipe, middle: &Recipe| {
        let case = Case::new(format!("usage::{id}"), what, ours);
        cases.push(case.trusting(&[&root]).shown(&[shown, middle]));
    };
    case(
        "absent",
        "none at all",
        Passes,
        &leaf.clone().without(EXTENDED_KEY_USAGE),
        &middle,
    );
    let critical = leaf.clone().with(
        EXTENDED_KEY_USAGE,
        true,
        &crate::der::sequence(&[&crate::der::oid(CLIENT_AUTH)]),
    );
    case("critical", "critical", Passes, &critical, &middle);
    case(
        "malformed",
        "no DER",
        Other,
        &leaf.clone().with(EXTENDED_KEY_USAGE, false, b"garbage"),
        &middle,
    );
    case(
        "twice",
        "listed twice, the first for clients",
        Other,
        &leaf.clone().again(
            EXTENDED_KEY_USAGE,
            false,
            &crate::der::sequence(&[&crate::der::oid(SERVER_AUTH)]),
        ),
        &middle,
    );
    case(
        "client-under-server",
        "a leaf for clients under an intermediate for both",
        Passes,
        &leaf,
        &middle
            .clone()
            .extended_key_usage(&[SERVER_AUTH, CLIENT_AUTH]),
    );
    let case = Case::new("usage::empty", "an empty list", Purpose);
    let empty = leaf
        .clone()
        .with(EXTENDED_KEY_USAGE, false, &crate::der::sequence(&[]));
    cases.push(case.trusting(&[&root]).shown(&[&empty, &middle]));
    cases
}
