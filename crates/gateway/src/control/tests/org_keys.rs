//! `/tyk/org/keys` and `/tyk/cache` on an embedded store.

use super::*;

#[tokio::test]
async fn an_organisation_is_stored_shown_listed_and_removed() {
    let node = Node::new();
    let target = "/tyk/org/keys/acme";
    node.get(target).await.refuses(404, "Org not found");
    node.ask(Method::DELETE, target, "")
        .await
        .refuses(404, "Org not found");
    node.get("/tyk/org/keys")
        .await
        .refuses(404, "ORG not found");
    node.ask(Method::POST, target, json!({"quota_max": 5}))
        .await
        .says("added", "acme");
    node.ask(Method::PUT, target, json!({"quota_max": 6}))
        .await
        .says("modified", "acme");
    node.get(target).await.is(200, "{\"quota_max\":6}\n");
    assert!(node.stores.engine().exists("orgkey.acme").await.unwrap());
    node.write("a.json", classic("a"));
    node.get("/tyk/org/keys")
        .await
        .is(200, "{\"keys\":[\"acme\"]}\n");
    node.get("/tyk/org/keys?filter=b")
        .await
        .is(200, "{\"keys\":[]}\n");
    node.ask(Method::DELETE, target, "")
        .await
        .says("deleted", "acme");
    node.get(target).await.refuses(404, "Org not found");
    node.ask(Method::PUT, target, "{broken")
        .await
        .refuses(400, "Request malformed");
}

#[tokio::test]
async fn organisations_without_an_api_are_refused_where_that_is_asked_for() {
    let node = Node::with(|config| config.identity.suppress_default_org_store = true);
    node.write("a.json", classic("a"));
    let store = async |org: &str| {
        node.ask(Method::POST, &format!("/tyk/org/keys/{org}"), "{}")
            .await
    };
    store("acme")
        .await
        .refuses(404, "No such organisation found in Active API list");
    store("default").await.says("added", "default");
}

#[tokio::test]
async fn the_quota_of_an_organisation_starts_anew_on_demand() {
    let node = Node::new();
    let engine = node.stores.engine();
    engine.count("quota-acme", 3, None).await.unwrap();
    let body = json!({"quota_max": 5, "quota_renewal_rate": 60});
    node.ask(Method::PUT, "/tyk/org/keys/acme", body.clone())
        .await
        .says("modified", "acme");
    assert!(engine.exists("quota-acme").await.unwrap());
    node.ask(Method::PUT, "/tyk/org/keys/acme?reset_quota=1", body)
        .await
        .says("modified", "acme");
    assert!(!engine.exists("quota-acme").await.unwrap());
    let shown = node.get("/tyk/org/keys/acme").await.json();
    assert!(shown["quota_renews"].as_i64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn the_cache_of_an_api_is_emptied() {
    let node = Node::new();
    let engine = node.stores.engine();
    let (forever, always) = (
        portcullis_store::Lifetime::Forever,
        portcullis_store::Condition::Always,
    );
    for name in ["cache-a1", "cache-a2", "cache-b1", "apikey-a"] {
        engine.set(name, "x".into(), forever, always).await.unwrap();
    }
    node.ask(Method::DELETE, "/tyk/cache/a", "").await.is(
        200,
        "{\"status\":\"ok\",\"message\":\"cache invalidated\"}\n",
    );
    for (name, left) in [
        ("cache-a1", false),
        ("cache-a2", false),
        ("cache-b1", true),
        ("apikey-a", true),
    ] {
        assert_eq!(engine.exists(name).await.unwrap(), left, "{name}");
    }
    for target in ["/tyk/cache/jwks", "/tyk/cache/jwks/a"] {
        assert_eq!(node.ask(Method::DELETE, target, "").await.status(), 200);
    }
    node.get("/tyk/cache/a")
        .await
        .refuses(405, "Method not supported");
}

#[tokio::test]
async fn an_edge_has_keys_and_no_organisations_or_policies() {
    let node = Node::with(|config| config.bridge.use_rpc = true);
    let body = json!({"org_id": "1", "access_rights": {"a": {}}});
    node.ask(Method::POST, "/tyk/keys/create", body)
        .await
        .says("added", "1create");
    for target in ["/tyk/policies", "/tyk/org/keys", "/tyk/keys/policy/x"] {
        node.get(target).await.is(404, "404 page not found\n");
    }
}
