//! What sessions may do with their policies.

use serde_json::{Value, json};

use super::*;

fn session(value: Value) -> Session {
    let mut value = value;
    value["org_id"] = json!("o");
    Session::from_json(value.to_string().as_bytes()).unwrap()
}

fn policies(all: &Value) -> PolicySet {
    all.as_object()
        .unwrap()
        .iter()
        .map(|(id, policy)| {
            let mut policy = policy.clone();
            policy["id"] = json!(id);
            if policy.get("org_id").is_none() {
                policy["org_id"] = json!("o");
            }
            let (policy, warnings) = Policy::from_json(policy.to_string().as_bytes()).unwrap();
            assert_eq!(warnings, []);
            (id.clone(), policy)
        })
        .collect()
}

/// The session of the policies named, in this order.
fn applied(ids: &[&str], all: &Value) -> Result<Session, ApplyError> {
    apply(&session(json!({ "apply_policies": ids })), &policies(all))
}

/// The same whichever comes first.
#[track_caller]
fn either_way(one: &str, other: &str, all: &Value) -> Session {
    let first = applied(&[one, other], all).unwrap();
    let mut second = applied(&[other, one], all).unwrap();
    second.apply_policies.reverse();
    second.tags.sort();
    let mut sorted = first.clone();
    for right in sorted
        .access_rights
        .values_mut()
        .chain(second.access_rights.values_mut())
    {
        right.versions.sort();
        right.allowance_scope.clear();
    }
    sorted.tags.sort();
    assert_eq!(sorted, second);
    first
}

#[test]
fn a_session_without_policies_is_in_force_as_it_is_and_limits_of_an_api_count_for_themselves() {
    let own = session(json!({"rate": 5, "access_rights": {"a": {"limit": {"rate": 1}}, "b": {}}}));
    let applied = apply(&own, &PolicySet::default()).unwrap();
    assert_eq!(applied.access_rights["a"].allowance_scope, "a");
    assert_eq!(applied.access_rights["b"], own.access_rights["b"]);
    assert_eq!(applied.rate, 5.0);
}

#[test]
fn a_policy_that_cannot_be_applied_closes_the_session() {
    let all = json!({
        "good": {"access_rights": {"a": {}}},
        "other": {"org_id": "x", "access_rights": {"a": {}}},
        "both": {"access_rights": {"a": {}}, "partitions": {"per_api": true, "acl": true}},
        "part": {"access_rights": {"a": {}}, "partitions": {"acl": true}},
        "each": {"access_rights": {"a": {}}, "partitions": {"per_api": true}},
        "empty": {"rate": 1, "per": 1},
        "limits": {"access_rights": {"a": {}}, "quota_max": 1, "partitions": {"quota": true}},
    });
    let error = |ids: &[&str]| applied(ids, &all).unwrap_err();
    assert_eq!(error(&["none"]), ApplyError::Unknown("none".to_owned()));
    assert_eq!(
        error(&["good", "none"]),
        ApplyError::Unknown("none".to_owned())
    );
    assert!(matches!(
        error(&["good", "other"]),
        ApplyError::OtherOrganisation { .. }
    ));
    assert_eq!(
        error(&["both"]),
        ApplyError::PerApiWithPartitions("both".to_owned())
    );
    assert_eq!(error(&["part", "each"]), ApplyError::Mixed);
    assert_eq!(error(&["each", "part"]), ApplyError::Mixed);
    assert_eq!(error(&["empty"]), ApplyError::NoRights);
    assert_eq!(
        error(&["limits"]),
        ApplyError::NoRights,
        "limits alone open nothing"
    );
}

#[test]
fn a_policy_replaces_rights_and_limits_of_the_session_whichever_are_higher() {
    let all = json!({"p": {"rate": 5, "per": 1, "quota_max": 10, "quota_renewal_rate": 60, "access_rights": {"a": {"versions": ["v1"]}}}});
    let own = session(
        json!({"apply_policies": ["p"], "rate": 1000, "per": 1, "quota_max": -1,
        "quota_remaining": 7, "access_rights": {"b": {}}}),
    );
    let result = apply(&own, &policies(&all)).unwrap();
    assert_eq!(result.access_rights.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        (result.rate, result.quota_max, result.quota_remaining),
        (5.0, 10, 0)
    );
    let limit = &result.access_rights["a"].limit;
    assert_eq!(
        (limit.rate, limit.quota_max, limit.quota_renewal_rate),
        (5.0, 10, 60)
    );
    assert_eq!(
        result.access_rights["a"].allowance_scope, "",
        "counters of the session"
    );
}

#[test]
fn several_policies_open_the_union_at_the_highest_limits() {
    let all = json!({
        "one": {"rate": 10, "per": 1, "quota_max": 5, "max_query_depth": 3, "tags": ["x"],
            "access_rights": {"a": {"versions": ["v1"], "allowed_urls": [{"url": "/x", "methods": ["GET"]}]}}},
        "two": {"rate": 100, "per": 60, "quota_max": -1, "max_query_depth": 2, "tags": ["y"],
            "access_rights": {"a": {"versions": ["v2"], "allowed_urls": [{"url": "/x", "methods": ["GET"]}]}}},
    });
    let result = either_way("one", "two", &all);
    let right = &result.access_rights["a"];
    assert_eq!(right.versions, ["v1", "v2"]);
    assert_eq!((right.limit.rate, right.limit.per), (10.0, 1.0));
    assert_eq!(
        (right.limit.quota_max, right.limit.max_query_depth),
        (-1, 3)
    );
    assert_eq!((result.rate, result.quota_max), (10.0, -1));
}

#[test]
fn methods_of_one_path_are_joined_and_other_paths_added() {
    let all = json!({
        "one": {"access_rights": {"a": {"allowed_urls": [{"url": "/x", "methods": ["GET"]}]}}},
        "two": {"access_rights": {"a": {"allowed_urls": [{"url": "/x", "methods": ["POST", "GET"]}, {"url": "/y", "methods": ["GET"]}]}}},
    });
    let result = applied(&["one", "two"], &all).unwrap();
    let urls: Vec<_> = result.access_rights["a"]
        .allowed_urls
        .iter()
        .map(|entry| (entry.url.as_str(), entry.methods.join(",")))
        .collect();
    assert_eq!(
        urls,
        [("/x", "GET,POST".to_owned()), ("/y", "GET".to_owned())]
    );
}

#[test]
fn partitions_set_only_their_part_and_the_rest_is_the_sessions() {
    let all = json!({
        "acl": {"access_rights": {"a": {}}, "rate": 1, "per": 1, "quota_max": 1, "partitions": {"acl": true}},
        "quota": {"access_rights": {"a": {}}, "rate": 1, "per": 1, "quota_max": 7, "quota_renewal_rate": 9, "partitions": {"quota": true}},
        "rate": {"access_rights": {"a": {"endpoints": [{"path": "/x", "methods": [{"name": "GET", "limit": {"rate": 2, "per": 1}}]}]}},
            "rate": 3, "per": 1, "throttle_interval": 2, "throttle_retry_limit": 4, "partitions": {"rate_limit": true}},
        "depth": {"access_rights": {"a": {}}, "max_query_depth": 6, "partitions": {"complexity": true}},
    });
    let own = json!({"apply_policies": ["acl"], "rate": 50, "per": 1, "quota_max": 60, "quota_renewal_rate": 5});
    let result = apply(&session(own), &policies(&all)).unwrap();
    let limit = &result.access_rights["a"].limit;
    assert_eq!(
        (limit.rate, limit.quota_max, limit.quota_renewal_rate),
        (50.0, 60, 5)
    );

    let result = applied(&["rate", "depth", "acl", "quota"], &all).unwrap();
    let right = &result.access_rights["a"];
    assert_eq!(
        (
            right.limit.rate,
            right.limit.quota_max,
            right.limit.quota_renewal_rate
        ),
        (3.0, 7, 9)
    );
    assert_eq!(
        (
            right.limit.throttle_interval,
            right.limit.throttle_retry_limit
        ),
        (2.0, 4)
    );
    assert_eq!(right.limit.max_query_depth, 6);
    assert_eq!(right.endpoints.len(), 1);
    assert_eq!((result.rate, result.quota_max), (3.0, 7));
}

#[test]
fn per_api_limits_are_those_of_each_api_and_count_for_themselves() {
    let all = json!({"p": {"rate": 100, "per": 1, "quota_max": 50, "partitions": {"per_api": true},
        "access_rights": {"a": {"limit": {"rate": 1, "per": 1, "quota_max": 2}}, "b": {}}}});
    let own = session(
        json!({"apply_policies": ["p"], "access_rights": {"a": {"limit": {"quota_max": 2, "quota_renews": 77}}}}),
    );
    let result = apply(&own, &policies(&all)).unwrap();
    let (a, b) = (&result.access_rights["a"], &result.access_rights["b"]);
    assert_eq!(
        (a.limit.rate, a.limit.quota_max, a.allowance_scope.as_str()),
        (1.0, 2, "a")
    );
    assert_eq!(a.limit.quota_renews, 77, "a period that runs goes on");
    assert_eq!(
        (b.limit.rate, b.limit.quota_max, b.allowance_scope.as_str()),
        (100.0, 50, "p")
    );
}

#[test]
fn several_per_api_policies_give_an_api_the_highest_of_their_limits() {
    let all = json!({
        "low": {"partitions": {"per_api": true}, "access_rights": {"a": {"limit": {"rate": 1, "per": 1, "quota_max": 2, "quota_renewal_rate": 60}}}},
        "high": {"partitions": {"per_api": true}, "access_rights": {"a": {"limit": {"rate": 9, "per": 1, "quota_max": -1}}}},
    });
    let result = either_way("low", "high", &all);
    let limit = &result.access_rights["a"].limit;
    assert_eq!(
        (limit.rate, limit.quota_max, limit.quota_renewal_rate),
        (9.0, -1, 0)
    );
}

#[test]
fn policies_for_different_apis_count_each_for_itself() {
    let all = json!({
        "one": {"quota_max": 1, "access_rights": {"a": {}}},
        "two": {"quota_max": 2, "access_rights": {"b": {}}},
    });
    let result = applied(&["one", "two"], &all).unwrap();
    let scope = |api: &str| result.access_rights[api].allowance_scope.clone();
    assert_eq!(
        (scope("a"), scope("b")),
        ("one".to_owned(), "two".to_owned())
    );
    assert_eq!(result.access_rights["a"].limit.quota_max, 1);
}

#[test]
fn the_faster_rate_of_an_endpoint_wins() {
    let endpoint = |name: &str, rate: i64, per: i64| json!([{"path": "/x", "methods": [{"name": name, "limit": {"rate": rate, "per": per}}]}]);
    let all = json!({
        "one": {"access_rights": {"a": {"endpoints": endpoint("GET", 5, 30)}}},
        "two": {"access_rights": {"a": {"endpoints": endpoint("GET", 10, 60)}}},
        "three": {"access_rights": {"a": {"endpoints": endpoint("POST", 1, 1)}}},
    });
    let result = applied(&["one", "two", "three"], &all).unwrap();
    let methods: Vec<_> = result.access_rights["a"].endpoints[0]
        .methods
        .iter()
        .map(|method| (method.name.as_str(), method.limit.rate))
        .collect();
    assert_eq!(methods, [("GET", 10.0), ("POST", 1.0)]);
}

#[test]
fn an_inactive_policy_puts_the_key_to_sleep_and_tags_and_data_are_added() {
    let all = json!({"p": {"is_inactive": true, "tags": ["b", "own"], "meta_data": {"x": "policy", "z": 1},
        "last_updated": "1700000001", "hmac_enabled": true, "post_expiry_action": "delete", "access_rights": {"a": {}}}});
    let own = session(
        json!({"apply_policy_id": "p", "tags": ["own"], "meta_data": {"x": "own", "y": 2}, "last_updated": "1700000000"}),
    );
    let result = apply(&own, &policies(&all)).unwrap();
    assert!(result.is_inactive && result.hmac_enabled);
    assert_eq!(result.tags, ["own", "b"]);
    assert_eq!(
        json!(result.meta_data),
        json!({"x": "policy", "y": 2, "z": 1})
    );
    assert_eq!(
        (
            result.last_updated.as_str(),
            result.post_expiry_action.as_str()
        ),
        ("1700000001", "delete")
    );
}

#[test]
fn applying_again_changes_nothing() {
    let all = json!({
        "one": {"rate": 10, "per": 1, "quota_max": 5, "access_rights": {"a": {"versions": ["v1"]}}},
        "two": {"rate": 1, "per": 1, "quota_max": 7, "access_rights": {"b": {}}},
    });
    let once = applied(&["one", "two"], &all).unwrap();
    assert_eq!(apply(&once, &policies(&all)).unwrap(), once);
}
