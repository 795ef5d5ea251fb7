//! Keys and policies through the Control API of a running gateway.

use portcullis_tests::{
    gateway::{Builder, Gateway},
    wait::eventually,
};
use serde_json::{Value, json};

fn builder() -> Builder {
    Gateway::builder()
        .config(json!({
            "hash_keys": true,
            "hash_key_function": "murmur64",
            "enable_hashed_keys_listing": true,
            "policies": {"policy_path": "policies"},
        }))
        .file("policies/gold.json", &gold(7).to_string())
}

/// A policy for the API `orders`.
fn gold(rate: u32) -> Value {
    json!({
        "id": "gold", "org_id": "default", "rate": rate, "per": 1,
        "access_rights": {"orders": {"api_id": "orders", "api_name": "orders", "versions": ["Default"]}},
    })
}

fn get(gateway: &Gateway, path: &str) -> Value {
    gateway.change("GET", path, &Value::Null).expect(200).json()
}

#[test]
fn a_key_survives_a_restart_and_its_token_reaches_no_log() {
    let data = tempfile::tempdir().expect("a directory for the store");
    let builder = || builder().config(json!({"portcullis": {"data_dir": data.path()}}));
    let gateway = builder().start();
    let body = json!({"org_id": "default", "apply_policies": ["gold"], "alias": "somebody"});
    let made = gateway
        .change("POST", "/tyk/keys/create", &body)
        .expect(200)
        .json();
    let token = made["key"].as_str().unwrap().to_owned();
    let hash = made["key_hash"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 16);
    let shown = get(&gateway, &format!("/tyk/keys/{hash}?hashed=1"));
    assert_eq!(
        (&shown["rate"], &shown["alias"]),
        (&json!(7), &json!("somebody"))
    );

    let end = format!("****{}", &token[token.len() - 4..]);
    gateway.wait_log(&end);
    assert!(
        !gateway.log().text().contains(&token),
        "{}",
        gateway.log().text()
    );

    drop(gateway);
    let gateway = builder().start();
    assert_eq!(get(&gateway, "/tyk/keys"), json!({"keys": [hash]}));
    gateway
        .change(
            "DELETE",
            &format!("/tyk/keys/{hash}?hashed=1"),
            &Value::Null,
        )
        .expect(200);
    gateway
        .change("GET", &format!("/tyk/keys/{hash}?hashed=1"), &Value::Null)
        .expect(404);
}

#[test]
fn a_policy_that_changes_on_the_disk_is_in_force_soon() {
    let gateway = builder().start();
    assert_eq!(get(&gateway, "/tyk/policies/gold")["rate"], 7);
    gateway.write("policies/gold.json", &gold(9).to_string());
    eventually("the new rate", || {
        get(&gateway, "/tyk/policies/gold")["rate"] == 9
    });
    gateway.write("policies/broken.json", "{broken");
    gateway.wait_log("broken.json: policy is not in force, keys that have it open nothing");
    assert_eq!(
        get(&gateway, "/tyk/policies/gold")["rate"],
        9,
        "keeps no other out"
    );
}

#[test]
fn a_check_names_broken_policies_and_weak_hashes() {
    let checked = builder()
        .config(json!({"hash_key_function": "murmur32"}))
        .file("policies/broken.json", r#"{"id": "x", "rate": "fast"}"#)
        .run(&["check"]);
    assert!(!checked.status.success());
    let said = |part: &str| assert!(checked.log.contains(part), "{part}: {}", checked.log);
    said(
        "broken.json: policy is not in force, keys that have it open nothing: rate: expected a number, found a string",
    );
    said("warning: hash_key_function: keys are stored under a hash of 32 bits");
    said("set `murmur64` or `sha256`");
}

#[test]
fn policies_from_elsewhere_keep_the_gateway_from_starting() {
    for source in ["service", "rpc"] {
        let ended = builder()
            .config(json!({"policies": {"policy_source": source}}))
            .fail();
        let expected = format!("policies.policy_source: `{source}` takes policies from");
        assert!(ended.log.contains(&expected), "{}", ended.log);
    }
}
