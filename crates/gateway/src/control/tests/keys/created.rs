//! Keys with tokens of their own.

use super::*;

const NO_RIGHTS: &str =
    "Failed to create key, keys must have at least one Access Rights record set.";

/// ST-81
#[tokio::test]
async fn a_key_without_rights_is_refused_unless_such_keys_are_allowed() {
    let reply = node(|_| {})
        .post("/tyk/keys/create", json!({"org_id": "1"}))
        .await;
    reply.refuses(400, NO_RIGHTS);
    let master = node(|identity| identity.allow_master_keys = true);
    let token = master.created(json!({"org_id": "1"})).await;
    assert!(master.exists(&format!("apikey-{token}")).await);
}

/// ST-82
#[tokio::test]
async fn a_key_is_created_with_a_token_nobody_can_guess() {
    let node = node(|_| {});
    let reply = node
        .post("/tyk/keys/create", session(json!({"rate": 5, "per": 1})))
        .await;
    let token = reply.json()["key"].as_str().unwrap().to_owned();
    reply.says("added", &token);
    let digits = token.strip_prefix('1').expect("the organisation first");
    // Digits that begin with the organisation carry it already, as in Tyk.
    assert!(matches!(digits.len(), 31 | 32), "{token}");
    assert!(
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{token}"
    );
    let stored = node.entry(&format!("apikey-{token}")).await.unwrap();
    assert_eq!(
        (&stored["rate"], &stored["access_rights"]),
        (&json!(5), &rights())
    );
    assert!(stored["date_created"].as_str().unwrap().ends_with('Z'));
    assert!(
        stored["last_updated"]
            .as_str()
            .unwrap()
            .parse::<i64>()
            .is_ok()
    );
    assert!(
        !stored.to_string().contains(&token),
        "the token is not inside"
    );
    assert_ne!(node.created(session(json!({}))).await, token);
}

/// ST-83
#[tokio::test]
async fn a_key_with_an_unknown_policy_is_refused() {
    let node = node(|_| {});
    let reply = node
        .post(
            "/tyk/keys/create",
            session(json!({"apply_policies": ["none"]})),
        )
        .await;
    reply.refuses(500, "Failed to create key - policy not found: \"none\"");
    assert_eq!(node.stores.sessions().names("").await.unwrap(), [""; 0]);
}

/// ST-84
#[tokio::test]
async fn what_is_no_session_is_refused() {
    let node = node(|_| {});
    for body in ["{broken", "[]", "", r#"{"rate": "fast"}"#] {
        node.post("/tyk/keys/create", body)
            .await
            .refuses(500, "Unmarshalling failed");
        node.post("/tyk/keys/preview", body)
            .await
            .refuses(500, "Unmarshalling failed");
        node.post("/tyk/keys", body)
            .await
            .refuses(400, "Request malformed");
        node.post("/tyk/keys/mykey", body)
            .await
            .refuses(400, "Request malformed");
    }
}

/// ST-85, ST-87, ST-88
#[tokio::test]
async fn the_token_of_a_certificate_is_made_of_its_id_and_given_once() {
    let node = node(|_| {});
    let body = session(json!({"certificate": "1a"}));
    node.post("/tyk/keys/create", body.clone())
        .await
        .says("added", "1a");
    assert_eq!(node.entry("apikey-1a").await.unwrap()["certificate"], "1a");
    let reply = node.post("/tyk/keys/create", body).await;
    reply.refuses(
        500,
        "Failed to create key - Key with given certificate already found:1a",
    );
}

/// ST-86
#[tokio::test]
async fn a_hashed_key_is_stored_under_the_hash_that_the_answer_names() {
    let node = hashing("murmur64");
    let reply = node
        .post("/tyk/keys/create", session(json!({"certificate": "1a"})))
        .await;
    let token = openssl::base64::encode_block(br#"{"org":"1","id":"a","h":"murmur64"}"#);
    let hash = reply.json()["key_hash"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 16);
    reply.is(
        200,
        &format!("{{\"key\":\"{token}\",\"status\":\"ok\",\"action\":\"added\",\"key_hash\":\"{hash}\"}}\n"),
    );
    assert!(node.exists(&format!("apikey-{hash}")).await);
    assert!(!node.exists(&format!("apikey-{token}")).await);
}

/// ST-89
#[tokio::test]
async fn the_length_of_a_hash_tells_the_function() {
    for (function, digits) in [
        ("", 8),
        ("murmur32", 8),
        ("murmur64", 16),
        ("murmur128", 32),
        ("sha256", 64),
        ("wrong", 16),
    ] {
        let reply = hashing(function)
            .post("/tyk/keys/create", session(json!({})))
            .await;
        assert_eq!(
            reply.json()["key_hash"].as_str().unwrap().len(),
            digits,
            "{function}"
        );
    }
}

/// ST-90, ST-91
#[tokio::test]
async fn a_custom_key_that_nobody_could_use_is_refused() {
    let message = |length: usize, least: usize| {
        format!(
            "custom key ID length {length} is less than min_token_length ({least}); the key would be \
             unreachable at auth time. Use an ID of at least min_token_length characters, or lower \
             min_token_length in the gateway configuration."
        )
    };
    let default = node(|_| {});
    default
        .post("/tyk/keys/ab", session(json!({})))
        .await
        .refuses(400, &message(2, 3));
    default
        .post("/tyk/keys/abc", session(json!({})))
        .await
        .says("added", "1abc");
    let long = node(|identity| identity.min_token_length = 32);
    for length in [31, 32, 34] {
        let name = "k".repeat(length);
        let reply = long
            .post(&format!("/tyk/keys/{name}"), session(json!({})))
            .await;
        match length {
            31 => reply.refuses(400, &message(31, 32)),
            _ => reply.says("added", &format!("1{name}")),
        }
    }
}

#[tokio::test]
async fn a_custom_key_takes_the_place_of_the_one_that_had_its_name() {
    let node = hashing("sha256");
    for rate in [1, 2] {
        let reply = node
            .post("/tyk/keys/mykey", session(json!({"rate": rate})))
            .await;
        assert_eq!(reply.status(), 200);
        let hash = reply.json()["key_hash"].as_str().unwrap().to_owned();
        assert_eq!(
            node.entry(&format!("apikey-{hash}")).await.unwrap()["rate"],
            rate
        );
    }
    assert_eq!(node.stores.sessions().names("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_opens_everything_is_refused_by_the_other_way_in_as_well() {
    let reply = node(|_| {}).post("/tyk/keys", json!({"org_id": "1"})).await;
    reply.refuses(
        500,
        "Failed to create key, ensure security settings are correct.",
    );
}

#[tokio::test]
async fn a_password_is_stored_hashed_and_its_token_is_told_only_where_it_is_stored() {
    let body = session(json!({"basic_auth_data": {"password": "correct horse"}}));
    let plain = node(|_| {});
    plain
        .post("/tyk/keys/user", body.clone())
        .await
        .says("added", "1user");
    let stored = plain.entry("apikey-1user").await.unwrap();
    assert_eq!(stored["basic_auth_data"]["hash_type"], "bcrypt");
    let hash = stored["basic_auth_data"]["password"].as_str().unwrap();
    assert!(hash.starts_with("$2a$10$"), "{hash}");

    let hashed = node(|identity| {
        identity.hash_keys = true;
        identity.basic_auth_hash_key_function = "sha256".to_owned();
    });
    let reply = hashed.post("/tyk/keys/user", body).await;
    let name = reply.json()["key_hash"].as_str().unwrap().to_owned();
    reply.is(
        200,
        &format!(
            "{{\"key\":\"\",\"status\":\"ok\",\"action\":\"added\",\"key_hash\":\"{name}\"}}\n"
        ),
    );
    let stored = hashed.entry(&format!("apikey-{name}")).await.unwrap();
    assert_eq!(stored["basic_auth_data"]["hash_type"], "sha256");
    assert_eq!(
        stored["basic_auth_data"]["password"]
            .as_str()
            .unwrap()
            .len(),
        64
    );

    let long = session(json!({"basic_auth_data": {"password": "p".repeat(73)}}));
    assert_eq!(plain.post("/tyk/keys/long", long).await.status(), 400);
    assert!(!plain.exists("apikey-1long").await);
}

#[tokio::test]
async fn a_signing_secret_is_made_for_keys_that_sign() {
    let node = node(|_| {});
    let token = node
        .created(session(
            json!({"hmac_enabled": true, "hmac_string": "mine"}),
        ))
        .await;
    let stored = node.entry(&format!("apikey-{token}")).await.unwrap();
    assert_ne!(stored["hmac_string"], "mine");
    assert!(stored["hmac_string"].as_str().unwrap().len() > 30);
}

#[tokio::test]
async fn a_preview_is_what_would_be_stored_and_stores_nothing() {
    let node = node(|_| {});
    let body = session(json!({"rate": 5, "basic_auth_data": {"password": "secret"}}));
    let reply = node.post("/tyk/keys/preview", body).await;
    assert_eq!((reply.status(), &reply.json()["rate"]), (200, &json!(5)));
    assert!(reply.json()["date_created"].is_string());
    assert!(!reply.text().contains("secret"));
    assert_eq!(node.stores.sessions().names("").await.unwrap(), [""; 0]);
    let reply = node
        .post(
            "/tyk/keys/preview",
            session(json!({"apply_policies": ["none"]})),
        )
        .await;
    reply.refuses(500, "Failed to create key - policy not found: \"none\"");
}

#[tokio::test]
async fn an_entry_lives_as_long_as_session_and_api_say() {
    let node = node(|_| {});
    let mut api = classic("a");
    api["session_lifetime"] = json!(100);
    node.write("a.json", api);
    let lives = |body: Value| async {
        let token = node.created(body).await;
        match node
            .stores
            .engine()
            .lifetime(&format!("apikey-{token}"))
            .await
            .unwrap()
            .unwrap()
        {
            portcullis_store::Lifetime::Forever => 0,
            portcullis_store::Lifetime::For(time) => time.as_secs_f64().ceil() as u64,
        }
    };
    assert_eq!(lives(session(json!({}))).await, 100);
    assert_eq!(lives(session(json!({"session_lifetime": 50}))).await, 50);
    let both = json!({"a": {}, "not_loaded": {}});
    assert_eq!(lives(session(json!({"access_rights": both}))).await, 100);
    assert_eq!(
        lives(session(json!({"access_rights": {"not_loaded": {}}}))).await,
        0
    );
}
