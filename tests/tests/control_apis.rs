//! The Control API of a running gateway: definitions come, change and go, and traffic follows.

use portcullis_tests::{
    gateway::{Builder, Gateway, SECRET, api, merge, with},
    ports::free_port,
    raw,
    upstream::{Upstream, ok},
    wait::eventually,
    wire::Message,
};
use serde_json::{Value, json};

/// A gateway that reloads when it is asked to and not when its files change.
fn builder() -> Builder {
    Gateway::builder().config(json!({"portcullis": {"watch_app_path": false}}))
}

/// Asks the Control API with the secret.
fn ask(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Message {
    let secret = format!("X-Tyk-Authorization: {SECRET}");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    raw::ask(
        gateway,
        raw::request(
            method,
            path,
            &[&secret, "Content-Type: application/json"],
            &body,
        ),
    )
}

fn get(gateway: &Gateway, path: &str) -> Message {
    ask(gateway, "GET", path, &Value::Null)
}

fn traffic(gateway: &Gateway, path: &str) -> u16 {
    raw::ask(gateway, raw::get(path, &[])).status()
}

#[track_caller]
fn assert_refused(response: &Message, status: u16, message: &str) {
    let expected = format!("{}\n", json!({"status": "error", "message": message}));
    assert_eq!((response.status(), response.text()), (status, expected));
    assert_eq!(response.field("content-type"), Some("application/json"));
}

#[track_caller]
fn assert_changed(response: &Message, id: &str, action: &str) {
    let expected = format!("{{\"key\":\"{id}\",\"status\":\"ok\",\"action\":\"{action}\"}}\n");
    assert_eq!((response.status(), response.text()), (200, expected));
}

fn reload(gateway: &Gateway) {
    let response = get(gateway, "/tyk/reload?block=true");
    assert_eq!(
        (response.status(), response.text().as_str()),
        (200, "{\"status\":\"ok\",\"message\":\"\"}\n")
    );
}

fn oas(id: &str, url: &str) -> Value {
    json!({
        "openapi": "3.0.3", "info": {"title": id, "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"id": id, "name": id, "orgId": "default", "state": {"active": true}},
            "server": {"listenPath": {"value": format!("/{id}/"), "strip": true}},
            "upstream": {"url": url},
        },
    })
}

/// ST-51, and ST-52 down to the traffic.
#[test]
fn an_added_api_serves_after_a_reload_and_survives_a_restart() {
    let upstream = Upstream::answering(ok("served"));
    let gateway = builder().start();
    for path in ["/tyk/apis", "/tyk/apis/"] {
        let response = get(&gateway, path);
        assert_eq!((response.status(), response.text().as_str()), (200, "[]\n"));
    }
    let definition = api("one", "/one/", &upstream.url());
    assert_changed(
        &ask(&gateway, "POST", "/tyk/apis", &definition),
        "one",
        "added",
    );
    assert_refused(&get(&gateway, "/tyk/apis/one"), 404, "API not found");
    assert_eq!(traffic(&gateway, "/one/"), 404);
    reload(&gateway);
    assert_eq!(
        get(&gateway, "/tyk/apis/one").json()["proxy"]["listen_path"],
        "/one/"
    );
    assert_eq!(
        get(&gateway, "/tyk/apis").json().as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(traffic(&gateway, "/one/"), 200);

    // What was stored is a definition like any other.
    let stored =
        std::fs::read_to_string(gateway.path("apps/one.json")).expect("the file of the API");
    let stored: Value = serde_json::from_str(&stored).expect("JSON");
    drop(gateway);
    let again = builder().api("one", &stored).start();
    assert_eq!(traffic(&again, "/one/"), 200);
}

#[test]
fn a_replaced_api_changes_where_it_leads_and_a_deleted_one_leads_nowhere() {
    let (old, new) = (
        Upstream::answering(ok("old")),
        Upstream::answering(ok("new")),
    );
    let gateway = builder()
        .api("one", &api("one", "/one/", &old.url()))
        .start();
    let body = |path: &str| raw::ask(&gateway, raw::get(path, &[])).text();
    assert_eq!(body("/one/"), "old");
    let definition = api("one", "/one/", &new.url());
    assert_changed(
        &ask(&gateway, "PUT", "/tyk/apis/one", &definition),
        "one",
        "modified",
    );
    assert_eq!(body("/one/"), "old", "a change waits for a reload");
    reload(&gateway);
    assert_eq!(body("/one/"), "new");
    assert_changed(
        &ask(&gateway, "DELETE", "/tyk/apis/one", &Value::Null),
        "one",
        "deleted",
    );
    assert_eq!(body("/one/"), "new");
    reload(&gateway);
    assert_eq!(traffic(&gateway, "/one/"), 404);
    assert!(!gateway.path("apps/one.json").exists());
}

/// ST-53, ST-54, ST-55, ST-56
#[test]
fn a_change_that_cannot_be_meant_is_refused() {
    let gateway = builder().start();
    assert_eq!(
        ask(&gateway, "POST", "/tyk/apis/mismatch", &Value::Null).status(),
        400
    );
    let other = api("y", "/y/", "http://127.0.0.1:1");
    assert_refused(
        &ask(&gateway, "PUT", "/tyk/apis/x", &other),
        400,
        "Request APIID does not match that in Definition! For Update operations these must match.",
    );
    assert_refused(&get(&gateway, "/tyk/apis/unknown"), 404, "API not found");
    assert_refused(
        &ask(&gateway, "DELETE", "/tyk/apis/unknown", &Value::Null),
        404,
        "API not found",
    );
    let secret = format!("X-Tyk-Authorization: {SECRET}");
    let broken = raw::ask(
        &gateway,
        raw::request("POST", "/tyk/apis", &[&secret], "{not json"),
    );
    assert_refused(&broken, 400, "Request malformed");
    assert_refused(
        &ask(&gateway, "PATCH", "/tyk/apis", &Value::Null),
        405,
        "Method not supported",
    );
    let mut escaping = api("x", "/x/", "http://127.0.0.1:1");
    merge(&mut escaping, json!({"api_id": "../x"}));
    assert_refused(
        &ask(&gateway, "POST", "/tyk/apis", &escaping),
        400,
        "Invalid API ID",
    );
    reload(&gateway);
    assert_eq!(get(&gateway, "/tyk/apis").text(), "[]\n");
}

/// ST-57, ST-58, ST-59, ST-60, ST-61, ST-62
#[test]
fn oas_definitions_come_in_by_their_own_door() {
    let upstream = Upstream::answering(ok("served"));
    let gateway = builder()
        .api("classic", &api("classic", "/classic/", &upstream.url()))
        .start();
    let post = |path: &str, body: &Value| ask(&gateway, "POST", path, body);

    let mut bare = oas("x", &upstream.url());
    bare.as_object_mut()
        .expect("an object")
        .remove("x-tyk-api-gateway");
    assert_refused(
        &post("/tyk/apis/oas", &bare),
        400,
        "the payload should contain x-tyk-api-gateway",
    );
    let no_paths = with(oas("x", &upstream.url()), json!({"paths": null}));
    let response = post("/tyk/apis/oas", &no_paths);
    assert_eq!(response.status(), 400);
    assert!(
        response
            .text()
            .contains("paths: Invalid type. Expected: object, given: null"),
        "{response:?}"
    );
    assert_refused(
        &get(&gateway, "/tyk/apis/oas/classic"),
        400,
        "the requested API definition is in Tyk classic format, please use old api endpoint",
    );
    assert_refused(
        &ask(
            &gateway,
            "PUT",
            "/tyk/apis/oas/classic",
            &oas("classic", &upstream.url()),
        ),
        400,
        "the supplied API definition is in OAS format, please use the Tyk classic format for this API",
    );
    let marked = with(
        api("marked", "/marked/", &upstream.url()),
        json!({"is_oas": true}),
    );
    assert_changed(&post("/tyk/apis", &marked), "marked", "added");
    assert_refused(
        &post("/tyk/apis/oas/import", &oas("x", &upstream.url())),
        400,
        "the import payload should not contain x-tyk-api-gateway",
    );

    assert_changed(
        &post("/tyk/apis/oas", &oas("x", &upstream.url())),
        "x",
        "added",
    );
    reload(&gateway);
    assert_eq!(get(&gateway, "/tyk/apis/marked").json()["is_oas"], false);
    assert_eq!(
        get(&gateway, "/tyk/apis/oas/x").json(),
        oas("x", &upstream.url())
    );
    assert_eq!(traffic(&gateway, "/x/"), 200);
    // The importer knows nothing but a document and where it leads.
    let query = format!(
        "/tyk/apis/oas/import?upstreamURL={}&listenPath=/imported/",
        upstream.url()
    );
    let imported = post(&query, &bare);
    assert_eq!(
        (imported.status(), &imported.json()["action"]),
        (200, &json!("added")),
        "{imported:?}"
    );
    reload(&gateway);
    assert_eq!(traffic(&gateway, "/imported/"), 200);
    let moved = ask(
        &gateway,
        "PATCH",
        "/tyk/apis/oas/x?listenPath=/moved/",
        &bare,
    );
    assert_changed(&moved, "x", "modified");
    reload(&gateway);
    assert_eq!(
        (traffic(&gateway, "/moved/"), traffic(&gateway, "/x/")),
        (200, 404)
    );
    let exported = get(&gateway, "/tyk/apis/oas/x/export");
    assert_eq!(
        exported.field("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(
        exported.field("content-disposition"),
        Some("attachment;filename=\"TykOasApiDef-x.json\"")
    );
    assert_changed(
        &ask(&gateway, "DELETE", "/tyk/apis/oas/x", &Value::Null),
        "x",
        "deleted",
    );
    reload(&gateway);
    assert_eq!(traffic(&gateway, "/moved/"), 404);
}

/// ST-63
#[test]
fn a_gateway_that_follows_a_dashboard_changes_nothing_itself() {
    let definition = api("one", "/one/", "http://127.0.0.1:1");
    let gateway = builder()
        .config(json!({"use_db_app_configs": true}))
        .api("one", &definition)
        .start();
    let message = "Due to enabled use_db_app_configs, please use the Dashboard API";
    let document = oas("x", "http://127.0.0.1:1");
    for (method, path, body) in [
        ("PATCH", "/tyk/apis/oas/x", &document),
        ("POST", "/tyk/apis/oas/import", &document),
        ("POST", "/tyk/apis", &definition),
    ] {
        assert_refused(&ask(&gateway, method, path, body), 500, message);
    }
}

/// ST-72
#[test]
fn with_a_port_of_its_own_the_control_api_is_nowhere_else_and_nothing_else_is_there() {
    let port = free_port();
    let upstream = Upstream::answering(ok("served"));
    let gateway = builder()
        .config(json!({"control_api_port": port}))
        .api("one", &api("one", "/one/", &upstream.url()))
        .start();
    for path in ["/hello", "/ready", "/metrics", "/tyk/apis", "/tyk/reload"] {
        let response = get(&gateway, path);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (404, "Not Found"),
            "{path}"
        );
    }
    assert_eq!(traffic(&gateway, "/one/"), 200);
    let control = |path: &str, fields: &[&str]| {
        let mut wire = portcullis_tests::wire::Wire::new(gateway.connect_to(port));
        wire.send(raw::get(path, fields));
        wire.message().expect("a response")
    };
    assert_eq!(control("/hello", &[]).status(), 200);
    assert_eq!(control("/tyk/apis", &[]).status(), 403);
    assert_eq!(control("/one/", &[]).status(), 404);
    assert_eq!(control("/metrics", &[]).status(), 200);
    let secret = format!("X-Tyk-Authorization: {SECRET}");
    assert_eq!(control("/tyk/apis", &[&secret]).json()[0]["api_id"], "one");
}

/// ST-73. A group reload does the same, as far as one node goes.
#[test]
fn a_reload_is_answered_at_once_and_happens_soon() {
    let upstream = Upstream::answering(ok("served"));
    let gateway = builder().start();
    for (name, path) in [
        ("one", "/tyk/reload"),
        ("two", "/tyk/reload/"),
        ("three", "/tyk/reload/group"),
    ] {
        gateway.write_api(name, &api(name, &format!("/{name}/"), &upstream.url()));
        let response = get(&gateway, path);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (200, "{\"status\":\"ok\",\"message\":\"\"}\n")
        );
        eventually("the API is served", || {
            traffic(&gateway, &format!("/{name}/")) == 200
        });
    }
}

/// ST-80
#[test]
fn nothing_is_told_without_the_secret() {
    let gateway = builder().start();
    let denied = "Attempted administrative access with invalid or missing key!";
    for path in ["/tyk/nothing", "/tyk/apis", "/tyk", "/tyk/reload"] {
        assert_refused(&raw::ask(&gateway, raw::get(path, &[])), 403, denied);
        for wrong in [
            String::new(),
            "wrong".to_owned(),
            format!("{SECRET}x"),
            SECRET.to_uppercase(),
        ] {
            let field = format!("X-Tyk-Authorization: {wrong}");
            assert_refused(&raw::ask(&gateway, raw::get(path, &[&field])), 403, denied);
        }
    }
    let response = get(&gateway, "/tyk/nothing");
    assert_eq!(
        (response.status(), response.text().as_str()),
        (404, "404 page not found\n")
    );
    assert!(
        response
            .field("content-type")
            .is_some_and(|text| text.starts_with("text/plain"))
    );
    // The way round through an unclean path ends at the same door.
    let moved = raw::ask(&gateway, raw::get("/x/..//tyk/apis", &[]));
    assert_eq!(
        (moved.status(), moved.field("location")),
        (301, Some("/tyk/apis"))
    );
    assert!(!gateway.log().text().contains(SECRET));
}

#[test]
fn what_is_not_served_is_listed_with_its_reason() {
    let upstream = Upstream::answering(ok("served"));
    let mut guarded = api("guarded", "/guarded/", &upstream.url());
    merge(
        &mut guarded,
        json!({"use_keyless": false, "enable_signature_checking": true}),
    );
    let gateway = builder()
        .api("fine", &api("fine", "/fine/", &upstream.url()))
        .api("guarded", &guarded)
        .file("apps/torn.json", "{\"api_id\": \"torn\",")
        .start();
    let listed = get(&gateway, "/tyk/apis/quarantine").json();
    let entry = |file: &str| {
        let entries = listed.as_array().expect("a list").iter();
        entries
            .clone()
            .find(|entry| entry["file"] == file)
            .unwrap_or_else(|| panic!("{file} is listed: {listed}"))
    };
    assert_eq!(entry("guarded.json")["api_id"], "guarded");
    assert!(
        entry("guarded.json")["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("HMAC or HTTP signature authentication")),
        "{listed}"
    );
    assert!(
        entry("torn.json")["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty())
    );
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    let refused = raw::ask(&gateway, raw::get("/guarded/", &[]));
    assert_eq!(
        (refused.status(), refused.text().as_str()),
        (503, "{\n    \"error\": \"API is not available\"\n}")
    );
    assert_eq!((traffic(&gateway, "/fine/"), upstream.requests()), (200, 1));
    let ready = raw::ask(&gateway, raw::get("/ready", &[]));
    assert_eq!(ready.status(), 200);
    assert!(ready.text().contains("guarded"), "{ready:?}");
}

#[test]
fn an_inactive_api_is_listed_and_not_served() {
    let upstream = Upstream::answering(ok("served"));
    let definition = with(
        api("off", "/off/", &upstream.url()),
        json!({"active": false}),
    );
    let gateway = builder().api("off", &definition).start();
    assert_eq!(traffic(&gateway, "/off/"), 404);
    assert_eq!(get(&gateway, "/tyk/apis/off").json()["active"], false);
}

#[test]
fn the_control_api_reads_large_definitions_in_pieces_and_refuses_endless_ones() {
    let gateway = builder().start();
    let secret = format!("X-Tyk-Authorization: {SECRET}");
    let large = with(
        api("large", "/large/", "http://127.0.0.1:1"),
        json!({"config_data": {"text": "x".repeat(400_000)}}),
    )
    .to_string();
    let mut wire = raw::plain(&gateway);
    wire.send(format!(
        "POST /tyk/apis HTTP/1.1\r\nHost: h\r\n{secret}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    for piece in large.as_bytes().chunks(10_000) {
        wire.send(format!("{:x}\r\n", piece.len()));
        wire.send(piece);
        wire.send("\r\n");
    }
    wire.send("0\r\n\r\n");
    assert_changed(&wire.message().expect("a response"), "large", "added");
    wire.send(format!(
        "POST /tyk/apis HTTP/1.1\r\nHost: h\r\n{secret}\r\nContent-Length: 99999999999\r\n\r\n"
    ));
    assert_eq!(wire.message().expect("a response").status(), 413);
}
