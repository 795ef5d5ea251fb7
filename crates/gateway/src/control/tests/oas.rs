//! OAS definitions.

use super::*;

#[tokio::test]
async fn an_oas_api_is_stored_as_the_pair_that_a_fleet_reads() {
    let node = Node::new();
    node.ask(Method::POST, "/tyk/apis/oas", oas("x"))
        .await
        .says("added", "x");
    assert_eq!(node.files(), ["x-oas.json", "x.json"]);
    assert_eq!(node.stored("x.json")["is_oas"], true);
    node.runtime.load();
    let shown = node.get("/tyk/apis/oas/x").await;
    assert_eq!(shown.json(), oas("x"));
    assert!(
        shown.text().contains("a \\u003e b \\u0026 c"),
        "{}",
        shown.text()
    );
    assert_eq!(node.get("/tyk/apis/oas").await.json(), json!([oas("x")]));
    assert_eq!(
        node.get("/tyk/apis/x").await.json()["proxy"]["listen_path"],
        "/x/"
    );
    assert_eq!(
        node.get("/tyk/apis").await.json().as_array().unwrap().len(),
        1
    );
}

/// ST-57
#[tokio::test]
async fn an_oas_api_needs_the_extension() {
    let node = Node::new();
    let mut document = oas("x");
    document
        .as_object_mut()
        .unwrap()
        .remove("x-tyk-api-gateway");
    let message = "the payload should contain x-tyk-api-gateway";
    node.ask(Method::POST, "/tyk/apis/oas", document)
        .await
        .refuses(400, message);
}

/// ST-58
#[tokio::test]
async fn an_oas_api_must_follow_the_schema() {
    let node = Node::new();
    let mut document = oas("x");
    document["paths"] = Value::Null;
    let reply = node.ask(Method::POST, "/tyk/apis/oas", document).await;
    assert_eq!(reply.status(), 400);
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("paths: Invalid type. Expected: object, given: null"),
        "{message}"
    );
    assert_eq!(node.files(), Vec::<String>::new());
}

/// ST-59, ST-60
#[tokio::test]
async fn classic_and_oas_endpoints_keep_to_their_own() {
    let node = Node::new();
    node.write("c.json", classic("c"));
    node.write("o.json", oas("o"));
    let read = "the requested API definition is in Tyk classic format, please use old api endpoint";
    node.get("/tyk/apis/oas/c").await.refuses(400, read);
    node.get("/tyk/apis/oas/c/export").await.refuses(400, read);
    let changed = "the supplied API definition is in OAS format, please use the Tyk classic format for this API";
    node.ask(Method::PUT, "/tyk/apis/oas/c", oas("c"))
        .await
        .refuses(400, changed);
    let classic_only = "this API endpoint only supports Tyk Classic APIs; please use the appropriate Tyk OAS API endpoint";
    node.ask(Method::PUT, "/tyk/apis/o", classic("o"))
        .await
        .refuses(400, classic_only);
    assert_eq!(node.stored("c.json"), classic("c"));
    assert_eq!(node.stored("o.json"), oas("o"));
}

/// ST-62
#[tokio::test]
async fn an_import_has_no_settings_yet() {
    let node = Node::new();
    let message = "the import payload should not contain x-tyk-api-gateway";
    node.ask(Method::POST, "/tyk/apis/oas/import", oas("x"))
        .await
        .refuses(400, message);

    let mut document = oas("x");
    document
        .as_object_mut()
        .unwrap()
        .remove("x-tyk-api-gateway");
    let target = "/tyk/apis/oas/import?upstreamURL=http%3A%2F%2Fup.test%2F&listenPath=/imported/";
    let reply = node.ask(Method::POST, target, document).await.json();
    assert_eq!(reply["action"], "added");
    let id = reply["key"].as_str().unwrap();
    let stored = node.stored(&format!("{id}-oas.json"));
    let settings = &stored["x-tyk-api-gateway"];
    assert_eq!(
        settings["server"]["listenPath"],
        json!({ "value": "/imported/", "strip": true })
    );
    assert_eq!(settings["upstream"]["url"], "http://up.test/");
    assert_eq!(settings["info"]["state"]["active"], true);
}

/// ST-63
#[tokio::test]
async fn with_the_dashboard_in_charge_nothing_is_changed_here() {
    let node = Node::with(|config| config.dashboard.use_db_app_configs = true);
    let message = "Due to enabled use_db_app_configs, please use the Dashboard API";
    for (method, path) in [
        (Method::PATCH, "/tyk/apis/oas/x"),
        (Method::POST, "/tyk/apis/oas/import"),
        (Method::POST, "/tyk/apis/oas"),
        (Method::PUT, "/tyk/apis/oas/x"),
        (Method::DELETE, "/tyk/apis/oas/x"),
        (Method::POST, "/tyk/apis"),
    ] {
        node.ask(method, path, oas("x")).await.refuses(500, message);
    }
    assert_eq!(node.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_patch_keeps_the_settings_and_builds_on_what_is_stored() {
    let node = Node::new();
    node.ask(Method::POST, "/tyk/apis/oas", oas("x"))
        .await
        .says("added", "x");
    node.runtime.load();
    let mut document = oas("x");
    document
        .as_object_mut()
        .unwrap()
        .remove("x-tyk-api-gateway");
    document["info"]["title"] = json!("Patched");
    node.ask(Method::PATCH, "/tyk/apis/oas/x?listenPath=/new/", &document)
        .await
        .says("modified", "x");
    // Not loaded in between: the second patch must not bring the old listen path back.
    node.ask(
        Method::PATCH,
        "/tyk/apis/oas/x?upstreamURL=http://other.test/",
        &document,
    )
    .await
    .says("modified", "x");
    node.runtime.load();
    let shown = node.get("/tyk/apis/oas/x").await.json();
    assert_eq!(shown["info"]["title"], "Patched");
    assert_eq!(
        shown["x-tyk-api-gateway"]["server"]["listenPath"]["value"],
        "/new/"
    );
    assert_eq!(
        shown["x-tyk-api-gateway"]["upstream"]["url"],
        "http://other.test/"
    );
    assert_eq!(
        node.get("/tyk/apis/x").await.json()["proxy"]["target_url"],
        "http://other.test/"
    );
    node.ask(Method::PATCH, "/tyk/apis/oas/unknown", &document)
        .await
        .refuses(404, "API not found");
}

#[tokio::test]
async fn an_export_is_a_file_and_a_public_one_shows_no_settings() {
    let node = Node::new();
    node.write("o.json", oas("o"));
    let export = node.get("/tyk/apis/oas/o/export").await;
    assert_eq!(export.header("content-type"), "application/octet-stream");
    assert_eq!(
        export.header("content-disposition"),
        "attachment;filename=\"TykOasApiDef-o.json\""
    );
    assert_eq!(export.json(), oas("o"));
    let public = node.get("/tyk/apis/oas/o/export?mode=public").await;
    assert_eq!(
        public.header("content-disposition"),
        "attachment;filename=\"oas-o.json\""
    );
    assert!(public.json().get("x-tyk-api-gateway").is_none());
    assert!(
        node.get("/tyk/apis/oas/o?mode=public")
            .await
            .json()
            .get("x-tyk-api-gateway")
            .is_some()
    );
    let all = node.get("/tyk/apis/oas/export?mode=public").await;
    assert_eq!(all.json().as_array().unwrap().len(), 1);
    assert!(!all.text().contains("x-tyk-api-gateway"));
}

#[tokio::test]
async fn deleting_an_oas_api_takes_both_files() {
    let node = Node::new();
    node.ask(Method::POST, "/tyk/apis/oas", oas("x"))
        .await
        .says("added", "x");
    node.write("x-y.json", classic("x-y"));
    node.ask(Method::DELETE, "/tyk/apis/oas/x", "")
        .await
        .says("deleted", "x");
    assert_eq!(node.files(), ["x-y.json"]);
}

#[tokio::test]
async fn an_api_that_only_looks_like_a_companion_keeps_its_file() {
    let node = Node::new();
    node.write("x.json", classic("x"));
    node.write("x-oas.json", classic("x-oas"));
    node.ask(Method::DELETE, "/tyk/apis/x", "")
        .await
        .says("deleted", "x");
    assert_eq!(node.files(), ["x-oas.json"]);
}

#[tokio::test]
async fn a_classic_api_that_takes_the_place_of_an_oas_api_leaves_no_companion() {
    let node = Node::new();
    node.ask(Method::POST, "/tyk/apis/oas", oas("x"))
        .await
        .says("added", "x");
    node.runtime.load();
    node.ask(Method::POST, "/tyk/apis", classic("x"))
        .await
        .says("added", "x");
    assert_eq!(node.files(), ["x.json"]);
    node.runtime.load();
    assert_eq!(node.get("/tyk/apis/oas/x").await.status(), 400);
}

#[tokio::test]
async fn a_document_alone_becomes_a_pair_when_it_is_changed() {
    let node = Node::new();
    let yaml = "openapi: 3.0.3\ninfo: {title: a, version: '1'}\npaths: {}\nx-tyk-api-gateway:\n  \
        info: {id: y, name: a, state: {active: true}}\n  server: {listenPath: {value: /y/}}\n  \
        upstream: {url: 'http://upstream.test'}\n";
    node.write("y.yaml", yaml);
    node.write("z-oas.json", oas("z"));
    assert_eq!(
        node.get("/tyk/apis/oas/y").await.json()["info"]["title"],
        "a"
    );
    node.ask(Method::PUT, "/tyk/apis/oas/y", oas("y"))
        .await
        .says("modified", "y");
    node.ask(Method::PUT, "/tyk/apis/oas/z", oas("z"))
        .await
        .says("modified", "z");
    assert_eq!(
        node.files(),
        ["y-oas.json", "y.json", "z-oas.json", "z.json"]
    );
    node.runtime.load();
    assert_eq!(
        node.get("/tyk/apis").await.json().as_array().unwrap().len(),
        2
    );
}
