//! Classic definitions.

use super::*;

/// ST-52: an added API is stored at once and in force after a reload.
#[tokio::test]
async fn an_added_api_is_shown_after_a_reload() {
    let node = Node::new();
    node.ask(Method::POST, "/tyk/apis", classic("orders"))
        .await
        .says("added", "orders");
    node.get("/tyk/apis/orders")
        .await
        .refuses(404, "API not found");
    node.get("/tyk/apis").await.is(200, "[]\n");
    node.get("/tyk/reload?block=true")
        .await
        .is(200, "{\"status\":\"ok\",\"message\":\"\"}\n");
    let shown = node.get("/tyk/apis/orders").await;
    assert_eq!(
        (shown.status(), &shown.json()["api_id"]),
        (200, &json!("orders"))
    );
    assert_eq!(
        node.get("/tyk/apis").await.json().as_array().unwrap().len(),
        1
    );
    assert_eq!(node.files(), ["orders.json"]);
}

#[tokio::test]
async fn an_api_without_an_id_gets_one() {
    let node = Node::new();
    let mut definition = classic("x");
    definition["api_id"] = json!("");
    let reply = node.ask(Method::POST, "/tyk/apis", definition).await.json();
    let id = reply["key"].as_str().unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(node.stored(&format!("{id}.json"))["api_id"], id);
}

/// ST-53
#[tokio::test]
async fn an_add_without_a_body_is_malformed_whatever_the_path_says() {
    let node = Node::new();
    node.ask(Method::POST, "/tyk/apis/mismatch", "")
        .await
        .refuses(400, "Request malformed");
    node.ask(Method::POST, "/tyk/apis/other", classic("mine"))
        .await
        .says("added", "mine");
    assert_eq!(node.files(), ["mine.json"]);
}

/// ST-54
#[tokio::test]
async fn a_replacement_names_the_api_it_replaces() {
    let node = Node::new();
    let message =
        "Request APIID does not match that in Definition! For Update operations these must match.";
    node.ask(Method::PUT, "/tyk/apis/x", classic("y"))
        .await
        .refuses(400, message);
    node.write("x.json", classic("x"));
    let mut changed = classic("x");
    changed["name"] = json!("Changed");
    node.ask(Method::PUT, "/tyk/apis/x", &changed)
        .await
        .says("modified", "x");
    assert_eq!(node.stored("x.json")["name"], "Changed");
    assert_eq!(node.get("/tyk/apis/x").await.json()["name"], "An API");
    node.runtime.load();
    assert_eq!(node.get("/tyk/apis/x").await.json()["name"], "Changed");
}

/// ST-55, ST-56
#[tokio::test]
async fn an_unknown_api_is_not_found() {
    let node = Node::new();
    node.get("/tyk/apis/unknown")
        .await
        .refuses(404, "API not found");
    node.ask(Method::DELETE, "/tyk/apis/unknown", "")
        .await
        .refuses(404, "API not found");
    node.get("/tyk/apis/unknown/versions")
        .await
        .refuses(404, "API not found");
    node.get("/tyk/apis/oas/unknown")
        .await
        .refuses(404, "API not found");
}

#[tokio::test]
async fn a_deleted_api_loses_its_file_and_is_gone_after_a_reload() {
    let node = Node::new();
    node.write("x.json", classic("x"));
    node.ask(Method::DELETE, "/tyk/apis/x", "")
        .await
        .says("deleted", "x");
    assert_eq!(node.files(), Vec::<String>::new());
    assert_eq!(node.get("/tyk/apis/x").await.status(), 200);
    node.ask(Method::DELETE, "/tyk/apis/x", "")
        .await
        .refuses(500, "Delete failed");
    node.runtime.load();
    node.get("/tyk/apis/x").await.refuses(404, "API not found");
}

/// ST-61
#[tokio::test]
async fn the_classic_endpoint_stores_classic_definitions() {
    let node = Node::new();
    let mut definition = classic("x");
    definition["is_oas"] = json!(true);
    node.ask(Method::POST, "/tyk/apis", definition)
        .await
        .says("added", "x");
    assert_eq!(node.stored("x.json")["is_oas"], false);
}

/// ST-63, classic part
#[tokio::test]
async fn with_the_dashboard_in_charge_nothing_is_added_here() {
    let node = Node::with(|config| config.dashboard.use_db_app_configs = true);
    let message = "Due to enabled use_db_app_configs, please use the Dashboard API";
    node.ask(Method::POST, "/tyk/apis", classic("x"))
        .await
        .refuses(500, message);
    node.ask(Method::PUT, "/tyk/apis/x", classic("x"))
        .await
        .refuses(500, message);
    assert_eq!(node.files(), Vec::<String>::new());
}

/// ST-72a
#[tokio::test]
async fn what_cannot_be_right_is_refused_with_its_reason() {
    let node = Node::new();
    node.ask(Method::POST, "/tyk/apis", "{broken")
        .await
        .refuses(400, "Request malformed");
    let mut graphql = classic("x");
    graphql["graphql"] = json!({
        "enabled": true, "version": "2",
        "engine": { "data_sources": [{ "kind": "REST", "name": "same" }, { "kind": "REST", "name": "same" }] }
    });
    let reason = "duplicate data source names are not allowed";
    let message = format!("Validation of API Definition failed. Reason: {reason}.");
    node.ask(Method::POST, "/tyk/apis", graphql)
        .await
        .refuses(400, &message);
    let mut balanced = classic("x");
    balanced["proxy"]["enable_load_balancing"] = json!(true);
    balanced["proxy"]["target_list"] = json!([]);
    let reply = node.ask(Method::POST, "/tyk/apis", balanced).await;
    reply.is(
        400,
        "{\"status\":\"error\",\"message\":\"Validation of API Definition failed. Reason: all load balancing \
         targets have weight 0, at least one target must have weight \\u003e 0.\"}\n",
    );
    assert_eq!(node.files(), Vec::<String>::new());
}

#[tokio::test]
async fn no_id_leads_out_of_the_directory() {
    let node = Node::new();
    for id in ["../evil", "a/b", "a b", "\u{0}", "..\\evil"] {
        let mut definition = classic("x");
        definition["api_id"] = json!(id);
        node.ask(Method::POST, "/tyk/apis", definition)
            .await
            .refuses(400, "Invalid API ID");
    }
    // Harmless characters can still make a name that would be overlooked.
    let mut hidden = classic("x");
    hidden["api_id"] = json!(".x");
    node.ask(Method::POST, "/tyk/apis", hidden)
        .await
        .refuses(500, "file object creation failed, write error");
    assert_eq!(node.files(), Vec::<String>::new());
    assert!(!node.dir.path().join("evil.json").exists());
}

#[tokio::test]
async fn a_definition_stays_in_the_file_it_came_from() {
    let node = Node::new();
    node.write("10 first.json", classic("x"));
    let mut changed = classic("x");
    changed["name"] = json!("Changed");
    node.ask(Method::PUT, "/tyk/apis/x", &changed)
        .await
        .says("modified", "x");
    assert_eq!(node.files(), ["10 first.json"]);
    assert_eq!(node.stored("10 first.json")["name"], "Changed");
    node.ask(Method::DELETE, "/tyk/apis/x", "")
        .await
        .says("deleted", "x");
    assert_eq!(node.files(), Vec::<String>::new());
}

#[tokio::test]
async fn another_apis_file_is_never_overwritten() {
    let node = Node::new();
    node.write("x.json", classic("somebody-else"));
    let message = "file object creation failed, write error";
    node.ask(Method::POST, "/tyk/apis", classic("x"))
        .await
        .refuses(500, message);
    assert_eq!(node.stored("x.json"), classic("somebody-else"));
}

#[tokio::test]
async fn members_we_do_not_know_survive() {
    let node = Node::new();
    let mut definition = classic("x");
    definition["x_future"] = json!({ "deep": [1, 2, { "er": null }] });
    node.ask(Method::POST, "/tyk/apis", &definition)
        .await
        .says("added", "x");
    node.runtime.load();
    assert_eq!(
        node.get("/tyk/apis/x").await.json()["x_future"],
        definition["x_future"]
    );
}

#[tokio::test]
async fn a_version_tells_its_base_and_the_base_lists_its_versions() {
    let node = Node::new();
    node.write("base.json", classic("base"));
    let target =
        "/tyk/apis?base_api_id=base&base_api_version_name=v1&new_version_name=v2&set_default=true";
    node.ask(Method::POST, target, classic("second"))
        .await
        .says("added", "second");
    node.runtime.load();
    assert_eq!(
        node.get("/tyk/apis/second")
            .await
            .header("x-tyk-base-api-id"),
        "base"
    );
    assert_eq!(
        node.get("/tyk/apis/base").await.header("x-tyk-base-api-id"),
        ""
    );
    let listing = node.get("/tyk/apis/base/versions").await.json();
    assert_eq!(listing["status"], "success");
    let names: Vec<_> = listing["apis"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["versionName"].clone())
        .collect();
    assert_eq!(names, ["v1", "v2"]);
    assert_eq!(listing["apis"][1]["isDefaultVersion"], true);

    // Two more without a reload in between: the second must not undo the first.
    for version in ["third", "fourth"] {
        let target = format!("/tyk/apis?base_api_id=base&new_version_name={version}");
        node.ask(Method::POST, &target, classic(version))
            .await
            .says("added", version);
    }
    node.runtime.load();
    let listing = node.get("/tyk/apis/base/versions").await.json();
    assert_eq!(listing["apis"].as_array().unwrap().len(), 4);

    node.ask(Method::POST, "/tyk/apis?base_api_id=base", classic("z"))
        .await
        .refuses(422, "The new version name is required");
    node.ask(
        Method::POST,
        "/tyk/apis?base_api_id=second&new_version_name=v9",
        classic("z"),
    )
    .await
    .refuses(400, "second is not a valid Base API version");
    assert!(!node.path("z.json").exists());
}

#[tokio::test]
async fn a_broken_file_is_in_quarantine_and_can_be_deleted() {
    let node = Node::new();
    node.write("good.json", classic("good"));
    node.write("bad.json", "{");
    assert_eq!(
        node.get("/tyk/apis").await.json().as_array().unwrap().len(),
        1
    );
    let quarantine = node.get("/tyk/apis/quarantine").await.json();
    assert_eq!(quarantine[0]["file"], "bad.json");
    let members: Vec<_> = quarantine[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["api_id", "name", "file", "reason"]);
    node.ask(Method::DELETE, "/tyk/apis/bad", "")
        .await
        .says("deleted", "bad");
    assert_eq!(node.files(), ["good.json"]);
}

/// ST-73: a reload is asked for, or waited for.
#[tokio::test]
async fn a_reload_is_asked_for_or_waited_for() {
    let node = Node::new();
    let count = || {
        let runtime = &node.runtime;
        (
            runtime.reloads.load(Ordering::Relaxed),
            runtime.waited_for.load(Ordering::Relaxed),
        )
    };
    let ok = "{\"status\":\"ok\",\"message\":\"\"}\n";
    node.get("/tyk/reload").await.is(200, ok);
    node.get("/tyk/reload/").await.is(200, ok);
    assert_eq!(count(), (2, 0));
    node.get("/tyk/reload/?block=true").await.is(200, ok);
    assert_eq!(count(), (2, 1));
    // Whoever hears the signal reloads: all nodes, this one included.
    let mut signals = node.stores.signals().subscribe();
    node.get("/tyk/reload/group").await.is(200, ok);
    assert_eq!(
        signals.try_recv().unwrap(),
        portcullis_store::Signal::Reload
    );
    assert_eq!(count(), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_changes_are_done_one_after_the_other() {
    let node = Arc::new(Node::new());
    let mut tasks = Vec::new();
    for n in 0..16 {
        let node = node.clone();
        tasks.push(tokio::spawn(async move {
            let mut definition = classic("x");
            definition["name"] = json!(format!("{n}-{}", "y".repeat(20_000)));
            node.ask(Method::POST, "/tyk/apis", definition)
                .await
                .status()
        }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(node.files(), ["x.json"]);
    assert_eq!(node.stored("x.json")["api_id"], "x");
}
