//! Who may ask, and which paths there are.

use crate::clients::Barred;
use http::{HeaderValue, Method};
use portcullis_config::Secret;

use super::*;

const FORBIDDEN: &str = "Attempted administrative access with invalid or missing key!";

/// ST-80: with the secret an unknown path is 404 text; without it nothing is told, not even that.
#[tokio::test]
async fn nothing_is_told_to_a_stranger() {
    let node = Node::new();
    let reply = node.get("/tyk/nothing").await;
    reply.is(404, "404 page not found\n");
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    for path in ["/tyk/nothing", "/tyk/apis", "/tyk", "/tyk/", "/tyk/reload"] {
        node.stranger(Method::GET, path)
            .await
            .refuses(403, FORBIDDEN);
    }
    assert_eq!(node.runtime.reloads.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn only_the_exact_secret_lets_in() {
    let node = Node::new();
    for wrong in [
        "",
        "not-the-defaul",
        "not-the-default ",
        "NOT-THE-DEFAULT",
        "not-the-defaulu",
    ] {
        let mut request = request(Method::GET, "/tyk/apis", "");
        request
            .headers
            .insert("x-tyk-authorization", HeaderValue::from_str(wrong).unwrap());
        node.send(request).await.refuses(403, FORBIDDEN);
    }
    // As a query parameter, or as another scheme, it is not the secret either.
    node.stranger(Method::GET, "/tyk/apis?x-tyk-authorization=not-the-default")
        .await
        .refuses(403, FORBIDDEN);
    let mut request = request(Method::GET, "/tyk/apis", "");
    request.headers.insert(
        "authorization",
        HeaderValue::from_static("Bearer not-the-default"),
    );
    node.send(request).await.refuses(403, FORBIDDEN);
}

#[tokio::test]
async fn an_empty_secret_lets_nobody_in() {
    let node = Node::with(|config| config.security.secret = Secret::new(""));
    node.stranger(Method::GET, "/tyk/apis")
        .await
        .refuses(403, FORBIDDEN);
    let mut request = request(Method::GET, "/tyk/apis", "");
    request
        .headers
        .insert("x-tyk-authorization", HeaderValue::from_static(""));
    node.send(request).await.refuses(403, FORBIDDEN);
    node.stranger(Method::GET, "/metrics")
        .await
        .refuses(403, FORBIDDEN);
}

#[tokio::test]
async fn a_demanded_client_certificate_that_nobody_checked_lets_nobody_in() {
    let node = Node::with(|config| config.security.control_api_use_mutual_tls = true);
    node.get("/tyk/apis")
        .await
        .refuses(403, "Client TLS certificate is required");
    let mut plain = request(Method::GET, "/tyk/apis", "");
    plain.tls = false;
    plain.admitted = Some(Err(Barred::NoTls));
    plain
        .headers
        .insert("x-tyk-authorization", HeaderValue::from_static(SECRET));
    node.send(plain).await.refuses(403, "TLS not enabled");
    // The secret comes first.
    node.stranger(Method::GET, "/tyk/apis")
        .await
        .refuses(403, FORBIDDEN);
}

#[tokio::test]
async fn an_unclean_path_is_sent_to_its_clean_form_before_anything_else() {
    let node = Node::new();
    let reply = node.stranger(Method::GET, "//tyk/x/..//apis/?a=b&c").await;
    reply.is(301, "");
    assert_eq!(reply.header("location"), "/tyk/apis/?a=b&c");
    node.get("/%74yk/apis").await.is(200, "[]\n");
}

/// ST-51
#[tokio::test]
async fn a_final_slash_makes_no_difference() {
    let node = Node::new();
    node.get("/tyk/apis").await.is(200, "[]\n");
    node.get("/tyk/apis/").await.is(200, "[]\n");
    assert_eq!(
        node.get("/tyk/apis/").await.header("content-type"),
        "application/json"
    );
}

#[tokio::test]
async fn a_known_path_refuses_other_methods() {
    let node = Node::new();
    node.ask(Method::POST, "/tyk/reload", "")
        .await
        .refuses(405, "Method not supported");
    node.ask(Method::DELETE, "/tyk/apis/oas/export", "")
        .await
        .refuses(404, "API not found");
    node.ask(Method::PATCH, "/tyk/apis/x", "")
        .await
        .refuses(405, "Method not supported");
}

#[tokio::test]
async fn endpoints_of_features_that_are_not_built_are_unknown() {
    let node = Node::new();
    for path in ["/tyk/oauth/tokens", "/tyk/mcps", "/tyk/debug"] {
        node.get(path).await.is(404, "404 page not found\n");
    }
}

/// ST-70: an API may live under a path that only begins like the Control API's.
#[tokio::test]
async fn the_control_api_owns_its_own_paths_and_no_others() {
    let node = Node::new();
    for path in [
        "/tyk",
        "/tyk/",
        "/tyk/apis",
        "//tyk/apis",
        "/a/../tyk/apis",
        "/hello",
        "/ready",
        "/livez",
        "/readyz",
        "/metrics",
        "/%74yk/apis",
    ] {
        assert!(node.api.owns(path), "{path}");
    }
    for path in [
        "/tyk-foo/",
        "/tykfoo",
        "/TYK/apis",
        "/hello/",
        "/hello/x",
        "/Hello",
        "/a/tyk",
        "/",
        "",
        "*",
        "/metricsx",
    ] {
        assert!(!node.api.owns(path), "{path}");
    }
    let reply = node.stranger(Method::GET, "/user-api").await;
    reply.is(404, "Not Found");
}

#[tokio::test]
async fn an_edge_gateway_has_no_endpoints_for_definitions() {
    let node = Node::with(|config| config.bridge.use_rpc = true);
    node.get("/tyk/apis").await.is(404, "404 page not found\n");
    node.get("/tyk/health?api_id=x")
        .await
        .is(404, "404 page not found\n");
    node.get("/tyk/reload")
        .await
        .is(200, "{\"status\":\"ok\",\"message\":\"\"}\n");
}

#[tokio::test]
async fn metrics_need_the_secret_only_where_clients_can_reach_them() {
    let shared = Node::new();
    shared
        .stranger(Method::GET, "/metrics")
        .await
        .refuses(403, FORBIDDEN);
    let by_header = shared.get("/metrics").await;
    assert_eq!(by_header.status(), 200);
    let mut request = request(Method::GET, "/metrics", "");
    request.headers.insert(
        "authorization",
        HeaderValue::from_static("Bearer not-the-default"),
    );
    let by_bearer = shared.send(request).await;
    assert_eq!(by_bearer.status(), 200);
    assert!(
        by_bearer
            .text()
            .contains("\nportcullis_build_info{version=\"0.0.0\"} 1\n")
    );
    assert_eq!(
        by_bearer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );

    let own_port = Node::with(|config| config.listen.control_port = Some(9999));
    assert_eq!(
        own_port.stranger(Method::GET, "/metrics").await.status(),
        200
    );
    own_port
        .stranger(Method::POST, "/metrics")
        .await
        .refuses(405, "Method Not Allowed");
}

#[tokio::test]
async fn a_schema_is_not_pretended() {
    let node = Node::new();
    let expected =
        "{\"status\":\"Failed\",\"message\":\"Schema not found for version \\\"4\\\"\"}\n";
    node.get("/tyk/schema?oasVersion=4").await.is(404, expected);
}
