//! Keys as they are shown.

use super::*;

/// ST-92
#[tokio::test]
async fn hashes_are_listed_only_where_that_is_allowed() {
    let message = "Hashed key listing is disabled in config (enable_hashed_keys_listing)";
    hashing("murmur64")
        .get("/tyk/keys")
        .await
        .refuses(404, message);
    let open = node(|identity| {
        identity.hash_keys = true;
        identity.enable_hashed_keys_listing = true;
    });
    open.get("/tyk/keys").await.is(200, "{\"keys\":[]}\n");
    let reply = open.post("/tyk/keys/mykey", session(json!({}))).await;
    let hash = reply.json()["key_hash"].clone();
    assert_eq!(
        open.get("/tyk/keys?filter=ignored").await.json(),
        json!({"keys": [hash]})
    );
    assert_eq!(
        open.get("/tyk/keys?api_id=a").await.json(),
        json!({"keys": [hash]})
    );
    assert_eq!(
        open.get("/tyk/keys?api_id=b").await.json(),
        json!({"keys": []})
    );
}

/// ST-93
#[tokio::test]
async fn a_hash_means_nothing_where_keys_are_not_hashed() {
    let reply = node(|_| {}).get("/tyk/keys/x?hashed=1").await;
    reply.refuses(400, "Key requested by hash but key hashing is not enabled");
}

/// ST-94
#[tokio::test]
async fn keys_are_listed_by_organisation_in_either_form_of_token() {
    let node = node(|_| {});
    let message =
        "The 'filter' parameter (Org ID) is required when filtering by 'api_id' in legacy mode";
    node.get("/tyk/keys?api_id=test")
        .await
        .refuses(400, message);
    node.post("/tyk/keys/mykey", session(json!({})))
        .await
        .says("added", "1mykey");
    let token = portcullis_store::token::compose("1", "other", "sha256");
    let other = json!({"org_id": "2", "access_rights": {"b": {}}});
    for (name, body) in [(&*token, session(json!({}))), ("2else", other)] {
        let key = node.stores.sessions().key(name);
        let session =
            portcullis_apidef::session::Session::from_json(body.to_string().as_bytes()).unwrap();
        let new = portcullis_store::sessions::Write::New;
        node.stores
            .sessions()
            .save(&key, &session, Default::default(), new)
            .await
            .unwrap();
    }
    assert_eq!(
        node.get("/tyk/keys?filter=1").await.json(),
        json!({"keys": ["1mykey", token]})
    );
    assert_eq!(
        node.get("/tyk/keys").await.json()["keys"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        node.get("/tyk/keys?filter=2&api_id=b").await.json(),
        json!({"keys": ["2else"]})
    );
    assert_eq!(
        node.get("/tyk/keys?filter=2&api_id=a").await.json(),
        json!({"keys": []})
    );
}

#[tokio::test]
async fn a_key_is_shown_with_what_is_left_and_without_its_password() {
    let node = node(|_| {});
    let rights = json!({"a": {"limit": {"quota_max": 4}}, "b": {"limit": {"quota_max": -1}}});
    let body = session(
        json!({"quota_max": 10, "access_rights": rights, "basic_auth_data": {"password": "p"}}),
    );
    node.post("/tyk/keys/user", body)
        .await
        .says("added", "1user");
    for (counter, used) in [("quota-1user", 3), ("quota-a-1user", 9)] {
        node.stores
            .engine()
            .count(counter, used, None)
            .await
            .unwrap();
    }
    let shown = node.get("/tyk/keys/1user").await.json();
    assert_eq!(shown["quota_remaining"], 7);
    assert_eq!(
        shown["access_rights"]["a"]["limit"].get("quota_remaining"),
        None,
        "nothing is left: zero is not written"
    );
    assert_eq!(shown["basic_auth_data"], json!({"hash_type": "bcrypt"}));
    node.get("/tyk/keys/none")
        .await
        .refuses(404, "Key not found");
}

#[tokio::test]
async fn the_organisation_of_an_api_finds_a_custom_key() {
    let node = node(|identity| identity.hash_key_function = Some("murmur64".to_owned()));
    let mut api = classic("a");
    api["org_id"] = json!("1");
    node.write("a.json", api);
    node.post("/tyk/keys/mykey", session(json!({"rate": 3})))
        .await;
    assert_eq!(node.get("/tyk/keys/mykey?api_id=a").await.json()["rate"], 3);
    assert_eq!(node.get("/tyk/keys/mykey?org_id=1").await.json()["rate"], 3);
    node.get("/tyk/keys/mykey")
        .await
        .refuses(404, "Key not found");
}

#[tokio::test]
async fn a_key_whose_policies_are_gone_can_still_be_seen() {
    let node = node(|_| {});
    let body = session(json!({"apply_policies": ["gone"], "alias": "x"}));
    let session =
        portcullis_apidef::session::Session::from_json(body.to_string().as_bytes()).unwrap();
    let key = node.stores.sessions().key("1mykey");
    let new = portcullis_store::sessions::Write::New;
    node.stores
        .sessions()
        .save(&key, &session, Default::default(), new)
        .await
        .unwrap();
    assert_eq!(node.get("/tyk/keys/1mykey").await.json()["alias"], "x");
}

#[tokio::test]
async fn what_is_no_session_in_the_store_is_told_without_its_name() {
    let node = node(|_| {});
    let engine = node.stores.engine();
    let (forever, always) = (
        portcullis_store::Lifetime::Forever,
        portcullis_store::Condition::Always,
    );
    engine
        .set("apikey-1mykey", "{broken".into(), forever, always)
        .await
        .unwrap();
    let reply = node.get("/tyk/keys/1mykey").await;
    assert_eq!(reply.status(), 503);
    assert!(
        reply.text().contains("****ykey") && !reply.text().contains("1mykey"),
        "{}",
        reply.text()
    );
}
