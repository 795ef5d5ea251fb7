//! Health and traffic.

use http::HeaderValue;

use super::*;

/// ST-75
#[tokio::test]
async fn a_healthy_gateway_says_hello_to_everybody() {
    let node = Node::new();
    let reply = node.stranger(Method::GET, "/hello").await;
    assert_eq!(
        (reply.status(), reply.header("content-type")),
        (200, "application/json")
    );
    let body = reply.json();
    let members: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["status", "version", "description", "details"]);
    assert_eq!(
        (&body["status"], &body["description"]),
        (&json!("pass"), &json!("Tyk GW"))
    );
    assert!(body["version"].as_str().unwrap().starts_with('v'));
    let storage = &body["details"]["storage"];
    assert_eq!(
        (&storage["status"], &storage["componentType"]),
        (&json!("pass"), &json!("datastore"))
    );
    assert!(storage["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        node.stranger(Method::GET, "/livez").await.json()["description"],
        "Tyk GW"
    );
}

/// With the one part that the embedded store has.
#[tokio::test]
async fn a_failing_part_is_said_and_stops_no_traffic() {
    let node = Node::new();
    fs::remove_dir_all(node.path("")).unwrap();
    let hello = node.stranger(Method::GET, "/hello").await;
    assert_eq!(
        (hello.status(), &hello.json()["status"]),
        (200, &json!("fail"))
    );
    assert!(
        hello.json()["details"]["storage"]["output"]
            .as_str()
            .unwrap()
            .contains("cannot be read")
    );
    assert_eq!(node.stranger(Method::GET, "/ready").await.status(), 200);
}

/// ST-77
#[tokio::test]
async fn a_gateway_is_ready_between_its_first_load_and_the_signal_to_stop() {
    let node = Node::new();
    let become_ = |readiness| *node.runtime.readiness.lock().unwrap() = readiness;
    become_(Readiness::Starting);
    node.stranger(Method::GET, "/ready")
        .await
        .refuses(503, "A successful API reload did not happen");
    assert_eq!(node.stranger(Method::GET, "/hello").await.status(), 200);
    become_(Readiness::Ready);
    let ready = node.stranger(Method::GET, "/ready").await;
    assert_eq!(
        (ready.status(), &ready.json()["description"]),
        (200, &json!("Tyk GW Ready"))
    );
    become_(Readiness::Draining);
    node.stranger(Method::GET, "/ready")
        .await
        .refuses(503, "Gateway is shutting down");
    node.stranger(Method::GET, "/readyz")
        .await
        .refuses(503, "Gateway is shutting down");
}

/// ST-78
#[tokio::test]
async fn health_is_only_read() {
    let node = Node::new();
    for path in ["/hello", "/ready", "/livez", "/readyz"] {
        node.stranger(Method::POST, path)
            .await
            .refuses(405, "Method Not Allowed");
    }
}

#[tokio::test]
async fn health_endpoints_have_the_names_they_are_given() {
    let node = Node::with(|config| {
        config.control.liveness_path = "/alive".to_owned();
        config.control.readiness_path = "/willing".to_owned();
    });
    assert_eq!(node.stranger(Method::GET, "/alive").await.status(), 200);
    assert_eq!(
        node.stranger(Method::GET, "/willing").await.json()["description"],
        "Tyk GW Ready"
    );
    assert!(!node.api.owns("/hello") && !node.api.owns("/ready") && node.api.owns("/alive"));
}

#[tokio::test]
async fn readiness_tells_which_apis_are_in_quarantine() {
    let node = Node::new();
    node.write("bad.json", "{");
    let ready = node.stranger(Method::GET, "/ready").await;
    assert_eq!(
        (ready.status(), &ready.json()["status"]),
        (200, &json!("warn"))
    );
    let output = ready.json()["details"]["quarantine"]["output"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(output.starts_with("bad.json: "), "{output}");
}

#[tokio::test]
async fn who_asks_for_health_json_gets_that_type() {
    let node = Node::new();
    let mut request = request(Method::GET, "/hello", "");
    request.headers.insert(
        "accept",
        HeaderValue::from_static("application/health+json, */*"),
    );
    assert_eq!(
        node.send(request).await.header("content-type"),
        "application/health+json"
    );
}

/// ST-79
#[tokio::test]
async fn traffic_of_an_api_is_told_when_health_checks_are_on() {
    let off = Node::new();
    off.get("/tyk/health?api_id=test")
        .await
        .refuses(400, "Health checks are not enabled for this node");
    let on = Node::with(|config| config.control.enable_health_checks = true);
    on.get("/tyk/health")
        .await
        .refuses(400, "missing api_id parameter");
    on.get("/tyk/health?api_id=test")
        .await
        .refuses(404, "API ID not found");
    on.write("test.json", classic("test"));
    let worker = on.registry.worker();
    let slot = on.registry.slot("test");
    worker.request(Some(slot), 200, None, 5_000, Some(4_000));
    worker.request(Some(slot), 200, None, 5_000, Some(2_000));
    let reply = on.get("/tyk/health?api_id=test").await;
    let body = reply.json();
    let members: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        members,
        [
            "throttle_reqests_per_second",
            "quota_violations_per_second",
            "key_failures_per_second",
            "average_upstream_latency",
            "average_requests_per_second",
        ]
    );
    assert_eq!(body["average_upstream_latency"], 3.0);
    assert!(body["average_requests_per_second"].as_f64().unwrap() > 0.0);
}
