//! Sessions as they are read and written.

use serde_json::json;

use super::*;

fn read(value: &Value) -> Session {
    Session::from_json(value.to_string().as_bytes()).unwrap()
}

/// Every member, in the order a Go encoder writes them.
const FULL: &str = concat!(
    r#"{"last_check":1,"allowance":2,"rate":1000,"per":1.5,"throttle_interval":1,"#,
    r#""throttle_retry_limit":3,"max_query_depth":-1,"date_created":"2024-05-01T10:00:00.123456789Z","#,
    r#""expires":1893456000,"quota_max":-1,"quota_renews":1,"quota_remaining":2,"quota_renewal_rate":3600,"#,
    r#""access_rights":{"a":{"api_name":"A","api_id":"a","versions":["Default"],"#,
    r#""allowed_urls":[{"url":"^/x","methods":["GET"]}],"restricted_types":[{"name":"Query","fields":["a"]}],"#,
    r#""limit":{"rate":10,"per":1,"smoothing":{"enabled":true},"quota_max":5},"disable_introspection":true,"#,
    r#""allowance_scope":"a","#,
    r#""endpoints":[{"path":"/x","methods":[{"name":"GET","limit":{"rate":5,"per":60}}]}],"#,
    r#""json_rpc_methods":["m"],"mcp_primitives":[]}},"#,
    r#""org_id":"org","oauth_client_id":"c","oauth_keys":{"k":"v"},"certificate":"org0","#,
    r#""mtls_static_certificate_bindings":["org1"],"basic_auth_data":{"password":"p","hash_type":"bcrypt"},"#,
    r#""jwt_data":{"secret":"j"},"hmac_enabled":true,"enable_http_signature_validation":true,"#,
    r#""hmac_string":"h","rsa_certificate_id":"r","is_inactive":true,"apply_policy_id":"old","#,
    r#""apply_policies":["p1","p2"],"data_expires":4,"monitor":{"trigger_limits":[80,60.5]},"#,
    r#""enable_detailed_recording":true,"meta_data":{"a":1,"b":{"c":[true]}},"tags":["t"],"alias":"name","#,
    r#""last_updated":"1700000000","id_extractor_deadline":5,"session_lifetime":6,"#,
    r#""post_expiry_action":"retain","post_expiry_grace_period":7,"smoothing":{"enabled":false}}"#,
);

#[test]
fn a_session_is_written_as_it_was_read_member_by_member() {
    assert_eq!(Session::from_json(FULL.as_bytes()).unwrap().to_json(), FULL);
}

#[test]
fn a_number_of_any_size_is_written_as_it_was_read() {
    let text = r#"{"rate":100235567888888888888888888888}"#;
    let first = Session::from_json(text.as_bytes()).unwrap().to_json();
    let second = Session::from_json(first.as_bytes()).unwrap().to_json();
    assert_eq!(first, second);
}

#[test]
fn zero_values_are_left_out() {
    let zeros = json!({
        "rate": 0, "per": 0.0, "expires": 0, "org_id": "", "tags": [], "meta_data": {}, "access_rights": {},
        "date_created": "0001-01-01T00:00:00Z", "basic_auth_data": {"password": "", "hash_type": ""},
        "jwt_data": {"secret": ""}, "monitor": {"trigger_limits": null}, "hmac_enabled": false,
        "apply_policies": null, "smoothing": null
    });
    assert_eq!(read(&zeros), Session::default());
    assert_eq!(Session::default().to_json(), "{}");
}

#[test]
fn names_are_read_in_any_case_at_every_level_and_names_of_others_are_left_alone() {
    let session = read(&json!({
        "Org_ID": "o", "ACCESS_RIGHTS": {"MyApi": {"Api_Id": "MyApi", "Allowed_URLs": [{"URL": "/", "Methods": ["GET"]}],
            "LIMIT": {"Rate": 5}}},
        "Meta_Data": {"MixedCase": 1}, "Basic_Auth_Data": {"Password": "x"}
    }));
    let right = &session.access_rights["MyApi"];
    assert_eq!(
        (
            session.org_id.as_str(),
            right.limit.rate,
            right.allowed_urls[0].methods[0].as_str()
        ),
        ("o", 5.0, "GET")
    );
    assert!(session.meta_data.contains_key("MixedCase"));
    assert!(session.has_password());
}

#[test]
fn unknown_members_are_passed_over() {
    let session =
        read(&json!({"rate": 1, "future": {"x": []}, "access_rights": {"a": {"future": 1}}}));
    assert_eq!(session.rate, 1.0);
    assert_eq!(session.to_json(), r#"{"rate":1,"access_rights":{"a":{}}}"#);
}

#[test]
fn the_older_name_of_detailed_recording_counts() {
    assert!(read(&json!({"enable_detail_recording": true})).enable_detailed_recording);
}

#[test]
fn what_is_no_session_is_refused_with_the_member_and_without_its_value() {
    for (text, expected) in [
        ("{broken", "key must be a string"),
        ("[]", "expected an object, found a list"),
        (
            r#"{"rate":"hunter2"}"#,
            "rate: expected a number, found a string",
        ),
        (r#"{"quota_max":1.5}"#, "quota_max: 1.5 is out of range"),
        (
            r#"{"basic_auth_data":"hunter2"}"#,
            "basic_auth_data: expected an object",
        ),
        (
            r#"{"access_rights":{"a":{"versions":"hunter2"}}}"#,
            "access_rights.a.versions: expected a list",
        ),
        (r#"{"tags":[1]}"#, "tags[0]: expected a string"),
        (r#"{"rate":1,"Rate":2}"#, "rate: given twice"),
    ] {
        let error = Session::from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert!(Session::from_json(&[0xff]).is_err());
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!(
        "{:?}",
        read(
            &json!({"hmac_string": "hunter2", "basic_auth_data": {"password": "hunter2"}, "jwt_data": {"secret": "hunter2"}})
        )
    );
    assert!(
        !shown.contains("hunter2") && shown.contains("(redacted)"),
        "{shown}"
    );
}

#[test]
fn the_list_of_policies_wins_over_the_one_of_older_definitions() {
    assert_eq!(read(&json!({"apply_policy_id": "a"})).policy_ids(), ["a"]);
    assert_eq!(
        read(&json!({"apply_policy_id": "a", "apply_policies": ["b", "c"]})).policy_ids(),
        ["b", "c"]
    );
    assert!(Session::default().policy_ids().is_empty());
}

#[test]
fn a_limit_is_zero_when_nothing_is_limited() {
    assert!(Limit::default().is_zero());
    assert!(
        !Limit {
            quota_max: -1,
            ..Limit::default()
        }
        .is_zero()
    );
    let limit = Limit {
        rate: 4.0,
        per: 2.0,
        ..Limit::default()
    };
    assert_eq!((limit.interval(), Limit::default().interval()), (0.5, 0.0));
}
