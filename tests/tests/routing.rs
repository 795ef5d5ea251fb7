//! Which API a request reaches, and what its upstream sees of the path.

use portcullis_tests::{
    curl::Response,
    echo::Echo,
    gateway::{Builder, Gateway, api, with},
};
use serde_json::{Value, json};

/// A gateway with definitions by name; each leads to an upstream called after it.
struct Apis {
    builder: Builder,
    upstreams: Vec<Echo>,
}

/// A gateway that routes, and its upstreams.
struct Routed {
    gateway: Gateway,
    _upstreams: Vec<Echo>,
}

impl Apis {
    fn new(config: Value) -> Self {
        Self {
            builder: Gateway::builder().config(config),
            upstreams: Vec::new(),
        }
    }

    /// Adds an API with this listen path.
    fn api(self, name: &str, listen_path: &str) -> Self {
        self.api_with(name, listen_path, json!({}))
    }

    /// Adds an API with this listen path and more members.
    fn api_with(mut self, name: &str, listen_path: &str, more: Value) -> Self {
        let echo = Echo::start(name);
        let definition = with(api(name, listen_path, &echo.url()), more);
        self.builder = self.builder.api(name, &definition);
        self.upstreams.push(echo);
        self
    }

    fn start(self) -> Routed {
        Routed {
            gateway: self.builder.start(),
            _upstreams: self.upstreams,
        }
    }
}

impl Routed {
    /// GETs a path from a host.
    fn get_from(&self, host: &str, path: &str) -> Response {
        self.gateway
            .curl()
            .header("Host", host)
            .arguments(&["--path-as-is", "--globoff"])
            .send(&self.gateway.url(path))
    }

    /// The name of the upstream that answers, or the status of the refusal.
    fn reaches(&self, path: &str) -> Result<String, u16> {
        outcome(&self.gateway.get(path))
    }

    fn reaches_from(&self, host: &str, path: &str) -> Result<String, u16> {
        outcome(&self.get_from(host, path))
    }

    /// The target that the upstream was asked for.
    #[track_caller]
    fn target(&self, path: &str) -> String {
        self.get_from("gateway.test", path).expect(200).json()["path"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn outcome(response: &Response) -> Result<String, u16> {
    match response.status {
        200 => Ok(response.json()["upstream"].as_str().unwrap().to_owned()),
        status => Err(status),
    }
}

fn ok(name: &str) -> Result<String, u16> {
    Ok(name.to_owned())
}

/// ST-64
#[test]
fn a_listen_path_takes_every_path_that_begins_with_it() {
    let apis = Apis::new(json!({})).api("sample", "/sample").start();
    for path in ["/sample", "/samplefoo", "/sample/", "/sample/foo"] {
        assert_eq!(apis.reaches(path), ok("sample"), "{path}");
    }
    let unknown = apis.gateway.get("/other").expect(404);
    assert_eq!(unknown.text(), "Not Found");
    assert!(
        unknown
            .header("Content-Type")
            .unwrap()
            .starts_with("text/plain")
    );
}

/// ST-65
#[test]
fn with_strict_routes_a_listen_path_ends_where_a_segment_does() {
    let strict = json!({"http_server_options": {"enable_strict_routes": true}});
    let apis = Apis::new(strict).api("sample", "/sample").start();
    for path in ["/sample", "/sample/", "/sample/foo", "/sample?foo"] {
        assert_eq!(apis.reaches(path), ok("sample"), "{path}");
    }
    assert_eq!(apis.reaches("/samplefoo"), Err(404));
}

/// ST-66
#[test]
fn the_longest_listen_path_wins() {
    let apis = Apis::new(json!({}))
        .api("foo", "/foo")
        .api("foo-bar", "/foo-bar")
        .api("deep", "/foo/deep/")
        .start();
    assert_eq!(apis.reaches("/foo-bar/x"), ok("foo-bar"));
    assert_eq!(apis.reaches("/foo/x"), ok("foo"));
    assert_eq!(apis.reaches("/foo/deep/x"), ok("deep"));
}

/// ST-67
#[test]
fn a_custom_domain_wins_over_a_longer_path_without_one() {
    let apis = Apis::new(json!({"enable_custom_domains": true}))
        .api_with("domain", "/", json!({"domain": "host1.local"}))
        .api("long", "/long/")
        .start();
    assert_eq!(apis.reaches_from("host1.local", "/long/x"), ok("domain"));
    assert_eq!(apis.reaches_from("host2.local", "/long/x"), ok("long"));
    assert_eq!(apis.reaches_from("host2.local", "/"), Err(404));
}

/// ST-68
#[test]
fn without_custom_domains_a_domain_neither_binds_nor_gives_precedence() {
    let config = json!({"enable_custom_domains": false, "http_server_options": {"enable_strict_routes": true}});
    let apis = Apis::new(config)
        .api("long-a", "/caas2-long-path-a")
        .api("long-b", "/caas2-long-path-b")
        .api_with("short", "/caa", json!({"domain": "test.com"}))
        .start();
    assert_eq!(apis.reaches("/caas2-long-path-a"), ok("long-a"));
    assert_eq!(apis.reaches("/caas2-long-path-b"), ok("long-b"));
    assert_eq!(
        apis.reaches_from("test.com", "/caas2-long-path-b/x"),
        ok("long-b")
    );
    assert_eq!(apis.reaches_from("any.test", "/caa"), ok("short"));
}

/// ST-69, as decision 9 has it: the first keeps the path.
#[test]
fn of_two_apis_with_one_listen_path_the_first_keeps_it_and_the_other_moves_beside_it() {
    let apis = Apis::new(json!({}))
        .api("1", "/sample")
        .api("2", "/sample")
        .start();
    assert_eq!(apis.reaches("/sample"), ok("1"));
    assert_eq!(apis.reaches("/sample-2"), ok("2"));
    assert_eq!(
        apis.reaches("/sample-1"),
        ok("1"),
        "it begins with the path of the first"
    );
    let line = apis.gateway.wait_log("api `2`: the listen path `/sample`");
    assert!(
        line.contains("ERROR") && line.contains("/sample-2"),
        "{line}"
    );
}

/// ST-70
#[test]
fn a_listen_path_may_begin_like_the_control_api() {
    let apis = Apis::new(json!({})).api("foo", "/tyk-foo/").start();
    assert_eq!(apis.reaches("/tyk-foo/"), ok("foo"));
}

/// ST-71, behind the switch that decision 10 puts before it.
#[test]
fn an_api_answers_under_its_id_only_when_that_is_switched_on() {
    let off = Apis::new(json!({})).api("sample", "/path/").start();
    assert_eq!(off.reaches("/sample/x"), Err(404));
    let on = Apis::new(json!({"portcullis": {"api_id_paths": true}}))
        .api("sample", "/path/")
        .start();
    assert_eq!(on.reaches("/sample/x"), ok("sample"));
    assert_eq!(on.reaches("/path/x"), ok("sample"));
}

#[test]
fn hosts_are_compared_without_capitals_port_and_trailing_dot_and_may_be_patterns() {
    let apis = Apis::new(json!({"enable_custom_domains": true}))
        .api_with("literal", "/", json!({"domain": "API.Test"}))
        .api_with(
            "pattern",
            "/",
            json!({"domain": "{tenant:[a-z]+}.tenants.test"}),
        )
        .api_with(
            "disabled",
            "/disabled/",
            json!({"domain": "off.test", "domain_disabled": true}),
        )
        .start();
    for host in ["api.test", "Api.TEST", "api.test.", "api.test:8443"] {
        assert_eq!(apis.reaches_from(host, "/"), ok("literal"), "{host}");
    }
    assert_eq!(apis.reaches_from("blue.tenants.test", "/"), ok("pattern"));
    assert_eq!(apis.reaches_from("BLUE.tenants.test", "/"), ok("pattern"));
    assert_eq!(apis.reaches_from("7.tenants.test", "/"), Err(404));
    assert_eq!(apis.reaches_from("a.blue.tenants.test", "/"), Err(404));
    assert_eq!(apis.reaches_from("any.test", "/disabled/"), ok("disabled"));
}

#[test]
fn the_gateways_hostname_binds_apis_without_a_domain() {
    let apis = Apis::new(json!({"hostname": "gateway.test", "enable_custom_domains": true}))
        .api("open", "/")
        .api_with("own", "/", json!({"domain": "own.test"}))
        .start();
    assert_eq!(apis.reaches_from("gateway.test", "/"), ok("open"));
    assert_eq!(apis.reaches_from("own.test", "/"), ok("own"));
    assert_eq!(apis.reaches_from("other.test", "/"), Err(404));
}

#[test]
fn the_listen_path_is_stripped_when_asked_and_joined_to_the_path_of_the_target() {
    let echo = Echo::start("base");
    let base = format!("{}base", echo.url());
    let stays = with(
        api("stays", "/stays/", &base),
        json!({"proxy": {"strip_listen_path": false}}),
    );
    let gateway = Gateway::builder()
        .api("stripped", &api("stripped", "/stripped/", &base))
        .api("stays", &stays)
        .start();
    let apis = Routed {
        gateway,
        _upstreams: vec![echo],
    };
    assert_eq!(apis.target("/stripped/a/b?q=1"), "/base/a/b?q=1");
    assert_eq!(apis.target("/stays/a/b?q=1"), "/base/stays/a/b?q=1");
    assert_eq!(
        apis.target("/stripped/a%2Fb%20c"),
        "/base/a%2Fb%20c",
        "escapes go on as they came"
    );
}

#[test]
fn parameters_of_a_listen_path_match_one_segment_or_their_expression() {
    let apis = Apis::new(json!({}))
        .api("any", "/users/{id}/profile")
        .api("number", "/orders/{id:[0-9]+}/")
        .start();
    assert_eq!(apis.reaches("/users/anna/profile"), ok("any"));
    assert_eq!(apis.reaches("/users/anna/b/profile"), Err(404));
    assert_eq!(apis.reaches("/orders/7/"), ok("number"));
    assert_eq!(apis.reaches("/orders/seven/"), Err(404));
    assert_eq!(
        apis.target("/orders/7/items"),
        "/items",
        "what matched is stripped"
    );
}

#[test]
fn paths_are_cleaned_before_they_are_matched_so_that_no_spelling_gets_around_a_listen_path() {
    let apis = Apis::new(json!({}))
        .api("inner", "/a/inner/")
        .api("root", "/")
        .start();
    for path in [
        "/a/inner/x",
        "//a//inner/x",
        "/a/./inner/x",
        "/b/../a/inner/x",
        "/a/b/../inner/x",
    ] {
        assert_eq!(
            outcome(&apis.get_from("gateway.test", path)),
            ok("inner"),
            "{path}"
        );
    }
}

#[test]
fn an_inactive_and_an_internal_api_take_no_requests() {
    let apis = Apis::new(json!({}))
        .api_with("inactive", "/inactive/", json!({"active": false}))
        .api_with("internal", "/internal/", json!({"internal": true}))
        .start();
    assert_eq!(apis.reaches("/inactive/"), Err(404));
    assert_eq!(apis.reaches("/internal/"), Err(404));
    let listed = apis.gateway.control("/tyk/apis").expect(200).json();
    let ids: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|api| api["api_id"].as_str().unwrap())
        .collect();
    assert!(
        ids.contains(&"inactive") && ids.contains(&"internal"),
        "{ids:?}"
    );
}

/// A base API with a version `v2` of its own, told apart as `definition` says.
fn versioned(definition: Value) -> Routed {
    let definition = with(
        json!({"enabled": true, "name": "v1", "default": "self", "versions": {"v2": "second"}}),
        definition,
    );
    Apis::new(json!({}))
        .api_with("base", "/api/", json!({"definition": definition}))
        .api_with("second", "/second/", json!({"internal": true}))
        .start()
}

#[test]
fn a_version_is_chosen_by_header() {
    let apis = versioned(json!({"location": "header", "key": "x-api-version"}));
    let ask = |version: &str| {
        outcome(
            &apis
                .gateway
                .curl()
                .header("X-Api-Version", version)
                .send(&apis.gateway.url("/api/x")),
        )
    };
    assert_eq!(ask("v2"), ok("second"));
    assert_eq!(ask("v1"), ok("base"));
    assert_eq!(apis.reaches("/api/x"), ok("base"), "the default");
    let unknown = apis
        .gateway
        .curl()
        .header("X-Api-Version", "v3")
        .send(&apis.gateway.url("/api/x"))
        .expect(404);
    assert_eq!(
        unknown.json()["error"],
        "This API version does not seem to exist"
    );
}

#[test]
fn a_version_is_chosen_by_query_and_its_parameter_may_be_removed() {
    let apis = versioned(
        json!({"location": "url-param", "key": "version", "strip_versioning_data": true}),
    );
    assert_eq!(apis.reaches("/api/x?version=v2"), ok("second"));
    assert_eq!(apis.reaches("/api/x?version=v3"), Err(404));
    assert_eq!(apis.target("/api/x?a=1&version=v2&b=2"), "/x?a=1&b=2");
}

#[test]
fn a_version_is_chosen_by_path_and_its_segment_may_be_removed() {
    let kept = versioned(json!({"location": "url"}));
    assert_eq!(kept.reaches("/api/v2/x"), ok("second"));
    assert_eq!(kept.target("/api/v2/x"), "/v2/x");
    let removed = versioned(json!({"location": "url", "strip_versioning_data": true}));
    assert_eq!(removed.target("/api/v2/x"), "/x");
}

#[test]
fn without_a_default_a_request_must_name_a_version_and_fallback_forgives_unknown_ones() {
    let strict = versioned(json!({"location": "header", "default": ""}));
    let missing = strict.gateway.get("/api/x").expect(403);
    assert_eq!(missing.json()["error"], "Version information not found");

    let lenient = versioned(
        json!({"location": "url-param", "key": "v", "default": "v2", "fallback_to_default": true}),
    );
    assert_eq!(lenient.reaches("/api/x?v=v3"), ok("second"));
}

#[test]
fn an_oas_document_alone_is_an_api() {
    let echo = Echo::start("oas");
    let yaml = format!(
        "openapi: 3.0.3\ninfo: {{title: a, version: \"1\"}}\npaths: {{}}\nx-tyk-api-gateway:\n  \
         info: {{name: a, orgId: default, state: {{active: true}}}}\n  \
         server: {{listenPath: {{value: /oas/, strip: true}}}}\n  upstream: {{url: \"{}\"}}\n",
        echo.url()
    );
    let gateway = Gateway::builder().file("apps/oas.yaml", &yaml).start();
    assert_eq!(gateway.get("/oas/x").expect(200).json()["path"], "/x");
}
