//! Whose token it is, and what it brings.

use portcullis_apidef::policies::Policy;
use serde_json::json;

use super::*;

fn claims(value: impl Into<Value>) -> Claims {
    Claims::parse(value.into().to_string().as_bytes()).expect("an object")
}

fn rules(change: impl FnOnce(&mut PolicyClaims)) -> PolicyClaims {
    let mut rules = PolicyClaims::default();
    change(&mut rules);
    rules
}

/// Policies `a`, `b` and `c` of the organisation, `other` of another one.
fn known() -> PolicySet {
    let policy = |id: &str, org: &str| {
        let text = json!({"id": id, "org_id": org, "access_rights": {}}).to_string();
        (
            id.to_owned(),
            Policy::from_json(text.as_bytes()).expect("a policy").0,
        )
    };
    [
        policy("a", "org"),
        policy("b", "org"),
        policy("c", "org"),
        policy("other", "elsewhere"),
    ]
    .into_iter()
    .collect()
}

fn brought(rules: &PolicyClaims, value: Value) -> Result<Vec<String>, Problem> {
    let claims = claims(value);
    let base = base(rules, &claims);
    policies(rules, base, &claims, "org", &known())
}

fn list(ids: &[&str]) -> Result<Vec<String>, Problem> {
    Ok(ids.iter().map(|id| (*id).to_owned()).collect())
}

#[test]
fn a_policy_is_named_by_a_claim_or_given_by_default() {
    let named = rules(|r| {
        r.named = vec!["first".into(), "app.policy".into()];
        r.default = vec!["b".into(), "c".into()];
    });
    assert_eq!(brought(&named, json!({"first": "a"})), list(&["a"]));
    assert_eq!(
        brought(&named, json!({"app": {"policy": "a"}})),
        list(&["a"])
    );
    for nothing in [json!({}), json!({"first": ""}), json!({"first": ["a"]})] {
        assert_eq!(brought(&named, nothing), list(&["b", "c"]));
    }
    for policy in ["nobody's", "other"] {
        let refused = brought(&named, json!({ "first": policy }));
        assert_eq!(refused, Err(Problem::UnknownPolicy), "{policy}");
    }
    let without = rules(|r| r.named = vec!["first".into()]);
    assert_eq!(brought(&without, json!({})), Err(Problem::NoPolicy));
}

#[test]
fn scopes_add_to_a_named_policy_and_take_the_place_of_those_by_default() {
    let scoped = rules(|r| {
        r.named = vec!["policy".into()];
        r.default = vec!["c".into()];
        r.scopes = [("read", "a"), ("write", "b")]
            .map(|(scope, policy)| (scope.to_owned(), policy.to_owned()))
            .into();
    });
    for (token, expected) in [
        (json!({"scope": "read write"}), list(&["a", "b"])),
        (
            json!({"scope": ["write", ["read", "x"]]}),
            list(&["b", "a"]),
        ),
        (json!({"scope": ["read write"]}), Err(Problem::NoScope)),
        (json!({"scope": "x"}), Err(Problem::NoScope)),
        (json!({"scope": ""}), Err(Problem::NoScope)),
        (json!({"scope": []}), list(&["c"])),
        (json!({}), list(&["c"])),
        (json!({"policy": "c", "scope": "read x"}), list(&["c", "a"])),
        (json!({"policy": "c", "scope": "x"}), list(&["c"])),
        (json!({"policy": "a", "scope": "read"}), list(&["a"])),
    ] {
        assert_eq!(brought(&scoped, token.clone()), expected, "{token}");
    }
    let elsewhere = rules(|r| {
        r.scope_claims = vec!["scp".into(), "app.scopes".into()];
        r.scopes = [("read".to_owned(), "a".to_owned())].into();
    });
    assert_eq!(
        brought(&elsewhere, json!({"app": {"scopes": "read"}})),
        list(&["a"])
    );
    assert_eq!(
        brought(&elsewhere, json!({"scope": "read"})),
        Err(Problem::NoPolicy)
    );
}

/// What Tyk makes of the identity `anna`: `md5`, in hex.
#[test]
fn tokens_of_one_person_have_one_key() {
    assert_eq!(key_of("anna"), "a70f9e38ff015afaa9ab0aacabee2e13");
}
