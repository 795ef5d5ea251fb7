//! `/tyk/policies`, and what they do to keys.

use super::*;

/// A node with a directory of policies.
fn node(change: impl FnOnce(&mut GatewayConfig)) -> Node {
    Node::with(|config| {
        let directory = config.definitions.app_path.with_file_name("policies");
        fs::create_dir(&directory).unwrap();
        config.definitions.policy_path = Some(directory);
        change(config);
    })
}

fn policy(id: &str) -> Value {
    json!({"id": id, "org_id": "1", "rate": 7, "per": 1, "access_rights": {"a": {"api_id": "a", "versions": ["v1"]}}})
}

impl Node {
    async fn policy(&self, method: Method, target: &str, body: impl ToString) -> Reply {
        self.ask(method, target, body).await
    }

    fn policy_file(&self, name: &str) -> PathBuf {
        self.dir.path().join("policies").join(name)
    }
}

/// ST-106, ST-107
#[tokio::test]
async fn a_policy_is_in_force_after_a_reload() {
    let node = node(|_| {});
    node.get("/tyk/policies/not-here")
        .await
        .refuses(404, "Policy not found");
    node.get("/tyk/policies").await.is(200, "[]\n");
    let added = node
        .policy(Method::POST, "/tyk/policies", policy("default-test"))
        .await;
    added.says("added", "default-test");
    node.get("/tyk/policies/default-test")
        .await
        .refuses(404, "Policy not found");
    node.runtime.load();
    let shown = node.get("/tyk/policies/default-test").await;
    assert_eq!(
        (&shown.json()["id"], &shown.json()["rate"]),
        (&json!("default-test"), &json!(7))
    );
    assert_eq!(
        node.get("/tyk/policies")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let mut changed = policy("default-test");
    changed["rate"] = json!(9);
    let target = "/tyk/policies/default-test";
    node.policy(Method::PUT, target, changed)
        .await
        .says("modified", "default-test");
    node.runtime.load();
    assert_eq!(node.get(target).await.json()["rate"], 9);
    node.policy(Method::DELETE, target, "")
        .await
        .says("deleted", "default-test");
    node.policy(Method::DELETE, target, "")
        .await
        .refuses(500, "Delete failed");
    node.runtime.load();
    node.get(target).await.refuses(404, "Policy not found");
}

/// ST-108, ST-109
#[tokio::test]
async fn a_policy_needs_an_id_that_may_stand_in_a_path() {
    let node = node(|_| {});
    let post = |body: Value| node.policy(Method::POST, "/tyk/policies", body);
    post(json!({}))
        .await
        .refuses(400, "Unable to create policy without id.");
    let invalid = "Invalid Policy ID: Allowed characters: a-z, A-Z, 0-9, ., _, -, ~";
    post(policy("invalid/id")).await.refuses(400, invalid);
    post(policy("in valid")).await.refuses(400, invalid);
    post(json!({"_id": "gold"}))
        .await
        .refuses(400, "Request malformed");
    post(json!({"_id": "5e9d9544a1dcd60001d0ed20"}))
        .await
        .says("added", "5e9d9544a1dcd60001d0ed20");
    post(json!({"id": "x", "rate": "fast"}))
        .await
        .refuses(400, "Request malformed");
    let other = node
        .policy(Method::PUT, "/tyk/policies/one", policy("two"))
        .await;
    other.refuses(
        400,
        "Request ID does not match that in policy! For Update operations these must match.",
    );
    node.policy(Method::PUT, "/tyk/policies", policy("two"))
        .await
        .refuses(400, "Must specify an apiID to update");
    node.policy(Method::DELETE, "/tyk/policies", "")
        .await
        .refuses(400, "Must specify an apiID to delete");
    assert!(!node.policy_file("two.json").exists());
}

#[tokio::test]
async fn any_id_is_taken_where_that_is_asked_for_but_none_leaves_the_directory() {
    let node = node(|config| config.definitions.allow_unsafe_policy_ids = true);
    let post = |id: &str| node.policy(Method::POST, "/tyk/policies", policy(id));
    post("in valid").await.says("added", "in valid");
    post("../outside")
        .await
        .refuses(500, "Failed to create file!");
    assert!(!node.dir.path().join("outside.json").exists());
}

/// ST-110
#[tokio::test]
async fn a_file_is_no_place_for_policies() {
    let node = Node::with(|config| {
        let file = config.definitions.app_path.with_file_name("tyk.conf");
        config.definitions.policy_path = Some(file);
    });
    let reply = node
        .policy(Method::POST, "/tyk/policies", policy("x"))
        .await;
    reply.refuses(500, "Unable to access policy storage.");
}

#[tokio::test]
async fn a_key_has_what_its_policies_give_it() {
    let node = node(|_| {});
    let mut gold = policy("gold");
    gold["key_expires_in"] = json!(60);
    node.policy(Method::POST, "/tyk/policies", gold)
        .await
        .says("added", "gold");
    node.runtime.load();
    let body = json!({"org_id": "1", "apply_policies": ["gold"], "rate": 1000});
    let reply = node
        .ask(Method::POST, "/tyk/keys/mykey", body.clone())
        .await;
    reply.says("added", "1mykey");
    let shown = node.get("/tyk/keys/1mykey").await.json();
    assert_eq!(
        (&shown["rate"], &shown["access_rights"]["a"]["versions"]),
        (&json!(7), &json!(["v1"]))
    );
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let left = shown["expires"].as_i64().unwrap() - now;
    assert!(
        (50..=60).contains(&left),
        "a new key ends when its policy says so: {left}"
    );

    let foreign = json!({"org_id": "2", "apply_policies": ["gold"]});
    let reply = node
        .ask(Method::POST, "/tyk/keys/create", foreign.clone())
        .await;
    assert!(
        reply.text().contains("Failed to create key - policy "),
        "{}",
        reply.text()
    );
    assert_eq!(reply.status(), 500);
    let reply = node.ask(Method::POST, "/tyk/keys/other", foreign).await;
    reply.refuses(
        500,
        "Failed to create key, ensure security settings are correct.",
    );
}
