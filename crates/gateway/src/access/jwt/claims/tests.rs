//! Times, demands and bindings.

use std::time::Duration;

use serde_json::json;

use super::*;

fn claims(value: impl Into<Value>) -> Claims {
    Claims::parse(value.into().to_string().as_bytes()).expect("an object")
}

fn clock(skew: u64) -> ClockRules {
    let skew = Some(Duration::from_secs(skew));
    ClockRules {
        expires: skew,
        issued: skew,
        not_before: skew,
    }
}

#[test]
fn times_are_held_to_the_second_and_skews_widen_them() {
    let token = claims(json!({"exp": 100, "iat": 10, "nbf": 20}));
    let exact = token.validity(&clock(0)).expect("times");
    let wide = token.validity(&clock(5)).expect("times");
    for (now, strict, lenient) in [
        (4, Err(Problem::Early), Err(Problem::Early)),
        (15, Err(Problem::Early), Ok(())),
        (19, Err(Problem::Early), Ok(())),
        (20, Ok(()), Ok(())),
        (99, Ok(()), Ok(())),
        (100, Err(Problem::Expired), Ok(())),
        (104, Err(Problem::Expired), Ok(())),
        (105, Err(Problem::Expired), Err(Problem::Expired)),
    ] {
        assert_eq!((exact.at(now), wide.at(now)), (strict, lenient), "{now}");
    }
    let issued = claims(json!({"iat": 10}))
        .validity(&clock(0))
        .expect("a time");
    assert_eq!(
        (issued.at(9), issued.at(10)),
        (Err(Problem::Issued), Ok(()))
    );
}

#[test]
fn times_of_another_type_are_refused_and_those_switched_off_are_not_looked_at() {
    for (name, problem) in [
        ("exp", Problem::Expired),
        ("iat", Problem::Issued),
        ("nbf", Problem::Early),
    ] {
        for value in [json!("100"), json!(null), json!(true)] {
            let token = claims(json!({ name: value }));
            assert_eq!(token.validity(&clock(0)), Err(problem), "{name}: {value}");
        }
    }
    let off = ClockRules {
        expires: None,
        issued: None,
        not_before: None,
    };
    let token = claims(json!({"exp": 1, "iat": "x", "nbf": 9e99}));
    assert_eq!(token.validity(&off).and_then(|v| v.at(50)), Ok(()));
    // What is far beyond all times does not come round again.
    let far = claims(json!({"exp": 9e99}))
        .validity(&clock(60))
        .expect("a time");
    assert_eq!(far.at(i64::MAX - 1), Ok(()));
}

#[test]
fn issuer_audience_subject_and_id_are_what_is_demanded() {
    let demands = ClaimDemands {
        issuers: vec!["idp".into()],
        audiences: vec!["api".into()],
        subjects: vec!["anna".into()],
        id: true,
        rules: Vec::new(),
    };
    let good = json!({"iss": "idp", "aud": ["other", "api"], "jti": "1"});
    let meets = |value: Value, subject| claims(value).meet(&demands, subject);
    assert_eq!(meets(good.clone(), Some("anna")), Ok(()));
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        meets(changed, Some("anna"))
    };
    assert_eq!(with("aud", json!("api")), Ok(()));
    for value in [json!("idp2"), json!(["idp"]), json!(null)] {
        assert_eq!(with("iss", value), Err(Problem::Issuer));
    }
    for value in [json!("apis"), json!([]), json!({"api": 1}), json!(null)] {
        assert_eq!(with("aud", value), Err(Problem::Audience));
    }
    assert_eq!(
        meets(json!({"iss": "idp", "aud": "api"}), Some("anna")),
        Err(Problem::Id)
    );
    for subject in [Some("bert"), None] {
        assert_eq!(meets(good.clone(), subject), Err(Problem::Subject));
    }
}

#[test]
fn rules_about_claims_demand_presence_a_value_or_a_part() {
    let token = claims(
        json!({"role": "admin", "level": 3, "user": {"tags": ["a", 1]}, "none": null, "a.b": 1}),
    );
    let rule = |claim: &str, test| ClaimRule {
        claim: claim.to_owned(),
        test,
        only_warns: false,
    };
    use ClaimTest::{Contains, Equals, Present};
    for (claim, test, met) in [
        ("role", Present, true),
        ("a.b", Present, true),
        ("none", Present, false),
        ("nothing", Present, false),
        ("user.nothing", Present, false),
        ("level", Equals(vec![json!(3.0)]), true),
        ("level", Equals(vec![json!("3")]), false),
        ("role", Equals(vec![json!("user"), json!("admin")]), true),
        ("role", Equals(Vec::new()), false),
        ("role", Contains(vec![json!("adm")]), true),
        ("user.tags", Contains(vec![json!("a")]), true),
        ("user.tags", Contains(vec![json!("b")]), false),
        ("level", Contains(vec![json!(3)]), true),
    ] {
        let mut demands = ClaimDemands {
            rules: vec![rule(claim, test.clone())],
            ..ClaimDemands::default()
        };
        let expected = if met { Ok(()) } else { Err(Problem::Claim) };
        assert_eq!(token.meet(&demands, None), expected, "{claim} {test:?}");
        demands.rules[0].only_warns = true;
        assert_eq!(token.meet(&demands, None), Ok(()));
    }
}

/// RFC 8705, section 3.1: the thumbprint of its example, without the bits that its last letter has too
/// many.
#[test]
fn a_token_is_bound_to_one_certificate_or_to_what_nobody_can_verify() {
    let bound = claims(json!({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"}}));
    let print = bound.certificate().expect("readable").expect("bound");
    assert!(
        print
            .to_string()
            .starts_with("6f070ad1eb1cdc0082dc3076639fe511")
    );
    assert_eq!(claims(json!({})).certificate(), Ok(None));
    for cnf in [
        json!(null),
        json!({}),
        json!("bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"),
        json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
        json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0", "jkt": "x"}),
        json!({"x5t#S256": "bwcK"}),
        json!({"x5t#S256": 1}),
    ] {
        let token = claims(json!({ "cnf": cnf }));
        assert_eq!(token.certificate(), Err(Problem::Binding), "{cnf}");
    }
}
