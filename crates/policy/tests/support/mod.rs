//! Builders for the tables under test.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;

use portcullis_apidef::{
    Api, ApiListener, Protocol, Scheme, Target, Upstream, UpstreamTls, Versioning,
};
use portcullis_policy::{
    Answer, Candidate, Cleaning, Quarantined, RouteOptions, RouteProblem, RouteTable, clean_path,
};

/// An API that is served on `listen_path`, stripped, before `http://127.0.0.1:9000/`.
pub(crate) fn api(id: &str, listen_path: &str) -> Api {
    Api {
        id: id.to_owned(),
        org_id: "default".to_owned(),
        name: format!("name of {id}"),
        active: true,
        internal: false,
        listener: ApiListener::default(),
        domain: None,
        named_certificates: Vec::new(),
        server_certificates: Vec::new(),
        listen_path: listen_path.to_owned(),
        strip_listen_path: true,
        upstream: Upstream {
            targets: vec![Target {
                scheme: Scheme::Http,
                host: "127.0.0.1".to_owned(),
                port: 9000,
                authority: "127.0.0.1:9000".to_owned(),
                path: "/".to_owned(),
                query: None,
            }],
            preserve_host_header: false,
            keep_final_slash: false,
            tls: UpstreamTls::default(),
            proxy: Default::default(),
            skip_down: false,
            auth: None,
        },
        versioning: None,
        enforce_timeout: None,
        endpoint_timeouts: Vec::new(),
        open_paths: Vec::new(),
        do_not_track: false,
        client_certificates: None,
        client_rules: Default::default(),
        client_crls: Default::default(),
        client_identity: Default::default(),
        event_handlers: Vec::new(),
        breakers: Vec::new(),
        uptime_tests: Vec::new(),
        error_overrides: Default::default(),
        authentication: Default::default(),
        limits: Default::default(),
        session_lifetime: Default::default(),
        protections: Vec::new(),
        unsupported: Vec::new(),
    }
}

/// As [`api`], bound to `domain`.
pub(crate) fn domain_api(id: &str, domain: &str, listen_path: &str) -> Api {
    Api {
        domain: Some(domain.to_owned()),
        ..api(id, listen_path)
    }
}

/// As [`api`], on a port of its own.
pub(crate) fn port_api(id: &str, port: u16, protocol: Protocol) -> Api {
    let listener = ApiListener {
        port: Some(port),
        protocol: Some(protocol),
        proxy_protocol: false,
    };
    Api {
        listener,
        ..api(id, "/")
    }
}

pub(crate) fn versioned_api(id: &str, listen_path: &str, versioning: Versioning) -> Api {
    Api {
        versioning: Some(versioning),
        ..api(id, listen_path)
    }
}

pub(crate) fn ready(apis: impl IntoIterator<Item = Api>) -> Vec<Candidate> {
    apis.into_iter()
        .map(|api| Candidate::Ready(Arc::new(api)))
        .collect()
}

pub(crate) fn quarantined(api: &Api) -> Candidate {
    Quarantined::of(api, "its certificate is missing").into()
}

/// The main port, plain HTTP, everything at its default.
pub(crate) fn options() -> RouteOptions {
    RouteOptions::main(8080, Protocol::Http)
}

pub(crate) fn with_domains() -> RouteOptions {
    RouteOptions {
        custom_domains: true,
        ..options()
    }
}

pub(crate) fn strict() -> RouteOptions {
    RouteOptions {
        strict_routes: true,
        ..options()
    }
}

/// A table that has no problem to report.
pub(crate) fn table(apis: impl IntoIterator<Item = Api>, options: &RouteOptions) -> RouteTable {
    let (table, problems) = table_and_problems(&ready(apis), options);
    assert_eq!(problems, []);
    table
}

pub(crate) fn table_and_problems(
    candidates: &[Candidate],
    options: &RouteOptions,
) -> (RouteTable, Vec<RouteProblem>) {
    RouteTable::build(candidates, options)
}

/// What a request gets, as the gateway asks: `id`, `503 id`, `400` or `404`.
pub(crate) fn answer(table: &RouteTable, host: &str, path: &str) -> String {
    let Ok(path) = clean_path(path, Cleaning::Full) else {
        return "400".to_owned();
    };
    match table.route(host, &path).map(|found| &found.route().answer) {
        None => "404".to_owned(),
        Some(Answer::Serve(api)) => api.id.clone(),
        Some(Answer::Quarantined(api)) => format!("503 {}", api.id),
    }
}

/// Checks rows of path and answer on any host.
pub(crate) fn check(table: &RouteTable, rows: &[(&str, &str)]) {
    for (path, expected) in rows {
        assert_eq!(
            answer(table, "gateway.local:8080", path),
            *expected,
            "path {path}"
        );
    }
}

/// Checks rows of host, path and answer.
pub(crate) fn check_hosts(table: &RouteTable, rows: &[(&str, &str, &str)]) {
    for (host, path, expected) in rows {
        assert_eq!(
            answer(table, host, path),
            *expected,
            "host {host}, path {path}"
        );
    }
}

/// The upstream path of a request to `table`, the target's path being `target_path`.
pub(crate) fn upstream(table: &RouteTable, path: &str, target_path: &str) -> String {
    let found = table
        .route("gateway.local", path)
        .expect("the path is routed");
    let Answer::Serve(api) = &found.route().answer else {
        panic!("the api is served")
    };
    found.upstream_path(api, path, target_path).into_owned()
}
