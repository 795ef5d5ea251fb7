//! Keys that are changed and removed.

use super::*;

/// ST-95, ST-96
#[tokio::test]
async fn a_change_needs_a_session_and_a_key() {
    let node = node(|_| {});
    node.update("/tyk/keys/none", session(json!({})))
        .await
        .refuses(404, "Key is not found");
    node.update("/tyk/keys/none", "")
        .await
        .refuses(400, "Request malformed");
    node.update("/tyk/keys", session(json!({})))
        .await
        .refuses(404, "Key is not found");
    node.delete("/tyk/keys")
        .await
        .refuses(404, "There is no such key found");
}

#[tokio::test]
async fn a_change_keeps_when_the_key_was_made_and_starts_its_quota_anew() {
    let node = node(|_| {});
    let token = node
        .created(session(json!({"quota_max": 5, "quota_renewal_rate": 60})))
        .await;
    let name = format!("apikey-{token}");
    let before = node.entry(&name).await.unwrap();
    let counter = format!("quota-{token}");
    node.stores.engine().count(&counter, 3, None).await.unwrap();

    let body = session(json!({"quota_max": 7, "quota_renewal_rate": 60, "quota_renews": 1}));
    node.update(&format!("/tyk/keys/{token}?suppress_reset=1"), body.clone())
        .await
        .says("modified", &token);
    let kept = node.entry(&name).await.unwrap();
    assert_eq!(kept["quota_max"], 7);
    for member in ["date_created", "quota_renews", "last_updated"] {
        assert_eq!(kept[member], before[member], "{member}");
    }
    assert!(node.exists(&counter).await);

    node.update(&format!("/tyk/keys/{token}"), body)
        .await
        .says("modified", &token);
    assert!(!node.exists(&counter).await);
    let anew = node.entry(&name).await.unwrap();
    assert_eq!(anew["date_created"], before["date_created"]);
    assert!(anew["quota_renews"].as_i64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn an_end_in_the_past_does_not_replace_the_one_there_is() {
    let node = node(|_| {});
    let token = node
        .created(session(json!({"expires": 4_000_000_000i64})))
        .await;
    node.update(
        &format!("/tyk/keys/{token}"),
        session(json!({"expires": 1_000})),
    )
    .await
    .says("modified", &token);
    assert_eq!(
        node.entry(&format!("apikey-{token}")).await.unwrap()["expires"],
        4_000_000_000i64
    );
    // A new key has none that could be kept: it has ended, rather than having no end.
    node.post("/tyk/keys/ended", session(json!({"expires": 1_000})))
        .await
        .says("added", "1ended");
    assert_eq!(node.entry("apikey-1ended").await.unwrap()["expires"], 1_000);
}

#[tokio::test]
async fn a_password_is_kept_unless_another_is_given() {
    let node = node(|_| {});
    let with = |password: &str| session(json!({"basic_auth_data": {"password": password}}));
    node.post("/tyk/keys/user", with("one"))
        .await
        .says("added", "1user");
    let stored = || async { node.entry("apikey-1user").await.unwrap()["basic_auth_data"].clone() };
    let first = stored().await;
    for same in ["", first["password"].as_str().unwrap()] {
        node.update("/tyk/keys/1user", with(same))
            .await
            .says("modified", "1user");
        assert_eq!(stored().await, first);
    }
    node.update("/tyk/keys/1user", with("two"))
        .await
        .says("modified", "1user");
    assert_ne!(stored().await["password"], first["password"]);
}

/// ST-101, ST-102
#[tokio::test]
async fn a_removed_key_is_gone_with_its_counters() {
    let node = node(|_| {});
    let token = node.created(session(json!({"quota_max": 5}))).await;
    let counters = [format!("quota-{token}"), format!("quota-a-{token}")];
    for counter in &counters {
        node.stores.engine().count(counter, 3, None).await.unwrap();
    }
    node.delete(&format!("/tyk/keys/{token}"))
        .await
        .says("deleted", &token);
    node.get(&format!("/tyk/keys/{token}"))
        .await
        .refuses(404, "Key not found");
    for counter in &counters {
        assert!(!node.exists(counter).await, "{counter}");
    }
    node.delete(&format!("/tyk/keys/{token}"))
        .await
        .refuses(404, "There is no such key found");
    let other = node.created(session(json!({}))).await;
    node.delete(&format!("/tyk/keys/{other}?api_id=-1"))
        .await
        .is(200, "null\n");
    assert!(!node.exists(&format!("apikey-{other}")).await);
}

#[tokio::test]
async fn a_key_is_meant_by_its_hash_or_by_the_name_of_its_user() {
    let node = hashing("murmur64");
    let reply = node
        .post("/tyk/keys/mykey", session(json!({"rate": 1})))
        .await;
    let (token, hash) = (
        reply.json()["key"].clone(),
        reply.json()["key_hash"].clone(),
    );
    let (token, hash) = (token.as_str().unwrap(), hash.as_str().unwrap());
    node.update(
        &format!("/tyk/keys/{hash}?hashed=1"),
        session(json!({"rate": 2})),
    )
    .await
    .says("modified", hash);
    node.update(
        "/tyk/keys/mykey?username=true&org_id=1",
        session(json!({"rate": 3})),
    )
    .await
    .says("modified", token);
    let shown = node.get("/tyk/keys/mykey?username=true&org_id=1").await;
    assert_eq!(shown.json()["rate"], 3);
    assert_eq!(
        node.get(&format!("/tyk/keys/{}", path(token))).await.json()["rate"],
        3
    );
    node.delete(&format!("/tyk/keys/{hash}?hashed=1"))
        .await
        .says("deleted", hash);
    node.get("/tyk/keys/mykey?username=true&org_id=1")
        .await
        .refuses(404, "Key not found");
}

#[tokio::test]
async fn a_user_from_before_hash_functions_is_found_by_the_name_as_given() {
    let node = node(|identity| identity.hash_key_function = Some("sha256".to_owned()));
    let key = node.stores.sessions().key("olduser");
    let session = portcullis_apidef::session::Session::default();
    let new = portcullis_store::sessions::Write::New;
    node.stores
        .sessions()
        .save(&key, &session, Default::default(), new)
        .await
        .unwrap();
    let target = "/tyk/keys/olduser?username=true&org_id=1";
    assert_eq!(node.get(target).await.status(), 200);
    node.delete(target).await.says("deleted", "olduser");
}

#[tokio::test]
async fn policies_are_replaced_by_the_hash_of_a_key() {
    let node = hashing("murmur64");
    let reply = node.post("/tyk/keys/mykey", session(json!({}))).await;
    let hash = reply.json()["key_hash"].as_str().unwrap().to_owned();
    let target = format!("/tyk/keys/policy/{hash}");
    let body = json!({"policy": "gold", "apply_policies": ["silver"]});
    node.post(&target, body.clone())
        .await
        .says("updated", &hash);
    let stored = node.entry(&format!("apikey-{hash}")).await.unwrap();
    assert_eq!(stored["apply_policies"], json!(["silver", "gold"]));
    node.post(&target, "{broken")
        .await
        .refuses(400, "Couldn't decode instruction");
    node.post("/tyk/keys/policy/none", body)
        .await
        .refuses(404, "Key not found");
}
