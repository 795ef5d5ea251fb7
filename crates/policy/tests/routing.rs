//! Which API answers which host and path.

mod support;

use portcullis_apidef::{Api, ApiListener, Protocol};
use portcullis_policy::{
    Answer, Candidate, ExplainedAnswer, RouteOptions, RouteProblem, RouteTable, TcpTable,
    port_protocols,
};
use support::*;

/// ST-64 `/sample` is a plain prefix.
#[test]
fn a_listen_path_is_a_plain_prefix_by_default() {
    let table = table([api("1", "/sample")], &options());
    check(
        &table,
        &[
            ("/sample", "1"),
            ("/samplefoo", "1"),
            ("/sample/", "1"),
            ("/sample/foo", "1"),
            ("/sampl", "404"),
            ("/", "404"),
            ("/x/sample", "404"),
            ("/Sample", "404"),
        ],
    );
}

/// ST-65 Strict routes.
#[test]
fn strict_routes_end_at_a_segment() {
    let table = table([api("1", "/sample")], &strict());
    check(
        &table,
        &[
            ("/sample", "1"),
            ("/samplefoo", "404"),
            ("/sample/", "1"),
            ("/sample/foo", "1"),
        ],
    );
}

#[test]
fn a_strict_path_that_does_not_fit_never_falls_through_to_a_shorter_one() {
    let table = table(
        [api("all", "/"), api("foo", "/foo"), api("slash", "/bar/")],
        &strict(),
    );
    check(
        &table,
        &[
            ("/foobar", "404"),
            ("/foo/bar", "foo"),
            ("/other", "all"),
            ("/bar", "all"),
            ("/bar/x", "slash"),
        ],
    );
}

/// ST-66 The longer of two nested prefixes.
#[test]
fn the_longest_listen_path_wins_whatever_the_load_order() {
    for apis in [
        [api("foo", "/foo"), api("bar", "/foo-bar")],
        [api("bar", "/foo-bar"), api("foo", "/foo")],
    ] {
        check(
            &table(apis, &options()),
            &[("/foo-bar/x", "bar"), ("/foo/x", "foo"), ("/foo-ba", "foo")],
        );
    }
}

/// ST-67 An API with a domain comes before a longer listen path without one.
#[test]
fn an_api_with_a_domain_comes_before_a_longer_path_without_one() {
    let table = table(
        [api("2", "/long/"), domain_api("1", "host1.local", "/")],
        &with_domains(),
    );
    check_hosts(
        &table,
        &[
            ("host1.local", "/long/x", "1"),
            ("HOST1.Local.:8080", "/long/x", "1"),
            ("other.local", "/long/x", "2"),
            ("other.local", "/x", "404"),
        ],
    );
}

/// ST-68 With custom domains off a domain neither binds nor gives precedence.
#[test]
fn a_domain_means_nothing_while_custom_domains_are_off() {
    let long = "/caas2-a-listen-path-that-is-a-little-longer-";
    let (a, b) = (format!("{long}a"), format!("{long}b"));
    let table = table(
        [
            domain_api("caa", "test.com", "/caa"),
            api("a", &a),
            api("b", &b),
        ],
        &strict(),
    );
    check(
        &table,
        &[
            (&a, "a"),
            (&b, "b"),
            ("/caa", "caa"),
            (&format!("{a}/x"), "a"),
        ],
    );
    check_hosts(&table, &[("test.com", &a, "a")]);
}

/// ST-69 The same path twice: the first by file order keeps it.
#[test]
fn of_two_apis_with_one_path_the_first_keeps_it_and_the_later_ones_move_aside() {
    let candidates = ready([
        api("1", "/sample"),
        api("2", "/sample"),
        api("3", "/sample"),
    ]);
    let (table, problems) = table_and_problems(&candidates, &options());
    check(
        &table,
        &[
            ("/sample", "1"),
            ("/sample-2", "2"),
            ("/sample-3/x", "3"),
            ("/sample-1", "1"), // A plain prefix of the first.
        ],
    );
    let moved: Vec<_> = problems
        .iter()
        .map(|problem| match problem {
            RouteProblem::DuplicatePath {
                api_id,
                kept_by,
                moved_to,
                ..
            } => (api_id.as_str(), kept_by.as_str(), moved_to.as_str()),
            other => panic!("unexpected {other}"),
        })
        .collect();
    assert_eq!(moved, [("2", "1", "/sample-2"), ("3", "1", "/sample-3")]);
}

#[test]
fn a_moved_api_never_takes_a_path_that_another_one_wants_or_has() {
    let candidates = ready([
        api("1", "/s"),
        api("2", "/s"),
        api("2", "/s"),
        api("9", "/s-2"),
    ]);
    let (table, problems) = table_and_problems(&candidates, &options());
    assert_eq!(problems.len(), 2);
    let paths: Vec<_> = table
        .routes()
        .iter()
        .map(|route| (&*route.listen_path, route.api_id()))
        .collect();
    assert_eq!(
        paths,
        [("/s-2__", "2"), ("/s-2_", "2"), ("/s-2", "9"), ("/s", "1")]
    );
}

#[test]
fn one_path_on_two_hosts_or_written_with_and_without_escapes_is_told_apart() {
    let (_, problems) = table_and_problems(
        &ready([
            domain_api("1", "a.local", "/x"),
            domain_api("2", "b.local", "/x"),
            api("3", "/x"),
        ]),
        &with_domains(),
    );
    assert_eq!(problems, []);
    for twins in [["/ab", "/%61b"], ["/ö", "/%C3%B6"]] {
        let (_, problems) =
            table_and_problems(&ready(twins.map(|path| api(path, path))), &options());
        assert!(
            matches!(problems[..], [RouteProblem::DuplicatePath { .. }]),
            "{twins:?}"
        );
    }
    let (_, problems) = table_and_problems(
        &ready([
            domain_api("1", "a.local", "/x"),
            domain_api("2", "A.local.", "/x"),
        ]),
        &with_domains(),
    );
    assert!(matches!(problems[..], [RouteProblem::DuplicatePath { .. }]));
}

/// ST-70 A listen path that begins like the control API's name.
#[test]
fn a_listen_path_may_begin_with_tyk() {
    check(
        &table([api("1", "/tyk-foo/")], &options()),
        &[("/tyk-foo/", "1"), ("/tyk/", "404")],
    );
}

/// ST-71 The mount under the API's id, an option here.
#[test]
fn the_mount_under_the_api_id_exists_only_when_asked_for() {
    let apis = || [api("one", "/sample/"), api("two", "/one/")];
    check(
        &table(apis(), &options()),
        &[("/one/", "two"), ("/two/", "404")],
    );

    let api_id_paths = RouteOptions {
        api_id_paths: true,
        ..options()
    };
    let (table, problems) = table_and_problems(&ready(apis()), &api_id_paths);
    check(
        &table,
        &[
            ("/sample/", "one"),
            ("/one/", "two"),
            ("/two/x", "two"),
            ("/two", "404"),
        ],
    );
    assert_eq!(
        problems,
        [RouteProblem::ApiIdPathTaken {
            api_id: "one".into(),
            path: "/one/".into(),
            kept_by: "two".into()
        }]
    );
    assert_eq!(upstream(&table, "/two/x", "/"), "/x");
}

#[test]
fn a_domain_api_whose_path_does_not_match_is_no_candidate() {
    let table = table(
        [
            api("any", "/"),
            domain_api("shop", "shop.local", "/shop/"),
            domain_api("long", "{sub}.local", "/shop/long/"),
            domain_api("port", "shop.local:8443", "/shop/port/"),
        ],
        &with_domains(),
    );
    check_hosts(
        &table,
        &[
            ("shop.local", "/other", "any"),
            ("shop.local", "/shop/x", "shop"),
            ("shop.local", "/shop/long/x", "long"),
            ("x.local", "/shop/x", "any"),
            ("x.local", "/shop/long/x", "long"),
            ("x.y.local", "/shop/long/x", "any"),
            ("shop.local:8443", "/shop/port/x", "port"),
            ("shop.local", "/shop/port/x", "shop"),
            ("shop.local:8443", "/shop/x", "shop"),
        ],
    );
}

#[test]
fn a_literal_domain_comes_before_a_pattern_with_a_path_of_equal_length() {
    let table = table(
        [
            domain_api("pattern", "{h:.*}", "/x"),
            domain_api("exact", "a.local", "/x"),
        ],
        &with_domains(),
    );
    check_hosts(
        &table,
        &[("a.local", "/x", "exact"), ("b.local", "/x", "pattern")],
    );
}

#[test]
fn a_domain_pattern_with_a_colon_is_compared_with_the_port_and_reported() {
    let candidates = ready([api("any", "/"), domain_api("ab", "{h:(?:a|b)}.local", "/")]);
    let (table, problems) = table_and_problems(&candidates, &with_domains());
    check_hosts(
        &table,
        &[("a.local", "/", "ab"), ("a.local:8080", "/", "any")],
    );
    assert!(matches!(
        problems[..],
        [RouteProblem::DomainSeesPort { .. }]
    ));
}

#[test]
fn the_gateways_hostname_binds_apis_without_a_usable_domain() {
    let apis = || {
        [
            api("plain", "/"),
            domain_api("bound", "shop.local", "/shop/"),
        ]
    };
    let hostname = Some("gw.local".to_owned());
    let domains_off = RouteOptions {
        hostname: hostname.clone(),
        ..options()
    };
    check_hosts(
        &table(apis(), &domains_off),
        &[
            ("gw.local:80", "/x", "plain"),
            ("GW.local.", "/shop/", "bound"),
            ("shop.local", "/shop/", "404"),
            ("10.0.0.1", "/x", "404"),
        ],
    );
    let domains_on = RouteOptions {
        hostname,
        ..with_domains()
    };
    check_hosts(
        &table(apis(), &domains_on),
        &[
            ("gw.local", "/x", "plain"),
            ("gw.local", "/shop/", "plain"),
            ("shop.local", "/shop/", "bound"),
            ("shop.local", "/x", "404"),
        ],
    );
}

#[test]
fn an_unusable_hostname_routes_nothing_without_a_domain() {
    let broken = RouteOptions {
        hostname: Some("{".to_owned()),
        ..options()
    };
    let (table, problems) = table_and_problems(&ready([api("1", "/")]), &broken);
    check(&table, &[("/", "404")]);
    assert!(matches!(problems[..], [RouteProblem::Hostname { .. }]));
}

#[test]
fn parameters_take_one_segment_and_expressions_what_they_say() {
    let table = table(
        [
            api("user", "/users/{id}"),
            api("orders", "/users/{id}/orders"),
            api("number", "/n/{n:[0-9]{2,3}}/x"),
            api("part", "/v{major}/x"),
            api("file", "/f/{name}.json"),
            api("two", "/{a}/{b}/end"),
            api("deep", "/d/{rest:.*}/end"),
        ],
        &options(),
    );
    check(
        &table,
        &[
            ("/users/7", "user"),
            ("/users/7/", "user"),
            ("/users/7/orders/1", "orders"),
            ("/users/7/ordersX", "orders"),
            ("/users/", "404"),
            ("/users/a%20b/orders", "orders"),
            ("/n/123/x", "number"),
            ("/n/1234/x", "404"),
            ("/n/1/x", "404"),
            ("/v1/x", "part"),
            ("/v/x", "404"),
            ("/f/a.json", "file"),
            ("/f/a.xml", "404"),
            ("/1/2/end", "two"),
            ("/1/2/3/end", "404"),
            ("/d/1/2/3/end/more", "deep"),
        ],
    );
}

#[test]
fn parameter_paths_are_ordered_by_the_length_of_their_literal_segments() {
    // A segment with a parameter counts its slash only: 2, 7, 4, 8 and 12.
    let table = table(
        [
            api("slashes", "/{a}/{b}"),
            api("fixed", "/{a}/fixed"),
            api("short", "/aa/"),
            api("long", "/aa/bbbb"),
            api("number", "/aa/{n:[0-9]+}/cccccc"),
        ],
        &options(),
    );
    check(
        &table,
        &[
            ("/aa/fixed", "fixed"),
            ("/aa/other", "short"),
            ("/aa/bbbb", "long"),
            ("/bb/other", "slashes"),
            ("/aa/1/cccccc", "number"),
            ("/aa/x/cccccc", "short"),
        ],
    );
}

#[test]
fn what_stands_beside_a_parameter_in_its_segment_does_not_count() {
    // Both match; 3 against 4, although `/version{n}/` is the longer text.
    let apis = [api("beside", "/version{n}/x"), api("plain", "/{any}/xy")];
    check(
        &table(apis, &options()),
        &[("/version1/xy", "plain"), ("/version1/x", "beside")],
    );
}

#[test]
fn a_request_cannot_choose_its_api_by_how_it_writes_its_path() {
    let table = table(
        [api("open", "/"), api("admin", "/admin/"), api("at", "/@x/")],
        &options(),
    );
    check(
        &table,
        &[
            ("/admin/x", "admin"),
            ("/x/../admin/x", "admin"),
            ("/x/%2e%2e/admin/x", "admin"),
            ("//admin/x", "admin"),
            ("/./admin//x", "admin"),
            ("/%61dmin/x", "admin"),
            ("/%40x/", "at"),
            ("/admin%2Fx", "404"),
            ("/%2Fadmin/x", "404"),
            ("/%2fadmin%2fx", "404"),
            ("/\\admin/x", "404"),
            ("/x%2f..%2fadmin/x", "400"),
            ("/x/..%5cadmin/x", "400"),
            ("/x/..;/admin/x", "400"),
            ("/admin/..", "open"),
            ("/admin/a%2Fb", "admin"),
            ("/files/a%2Fb", "open"),
            ("/files/a%252Fadmin", "open"),
            ("/%", "400"),
        ],
    );
}

#[test]
fn a_path_that_nobody_cleaned_finds_nothing() {
    let table = table([api("open", "/"), api("admin", "/admin/")], &options());
    for path in [
        "/x/../y",
        "/admin/../x",
        "//admin/",
        "/x/%2e%2e/admin",
        "admin/",
        "",
        "*",
    ] {
        assert!(table.route("h", path).is_none(), "{path}");
    }
    // One API in every reading: `skip_url_cleaning` may leave double slashes.
    assert!(table.route("h", "/fetch/http://elsewhere/").is_some());
}

#[test]
fn listen_paths_beyond_ascii_match_however_the_client_escapes_them() {
    let table = table([api("1", "/grüße/")], &options());
    check(
        &table,
        &[
            ("/gr%C3%BC%c3%9fe/x", "1"),
            ("/grüße/x", "1"),
            ("/gr%FC/", "404"),
        ],
    );
    assert_eq!(upstream(&table, "/gr%C3%BC%c3%9fe/x", "/"), "/x");
}

#[test]
fn inactive_and_internal_apis_have_no_place() {
    let inactive = Api {
        active: false,
        ..api("inactive", "/a")
    };
    let internal = Api {
        internal: true,
        ..api("internal", "/b")
    };
    let table = table(
        [inactive, internal, api("1", "/a"), api("2", "/b")],
        &options(),
    );
    check(&table, &[("/a", "1"), ("/b", "2")]);
    assert_eq!(table.len(), 2);
}

#[test]
fn a_quarantined_api_keeps_its_place_and_lets_nothing_through() {
    let candidates = [
        ready([api("open", "/"), api("first", "/kept")]),
        vec![
            quarantined(&api("q", "/admin/")),
            quarantined(&api("late", "/kept")),
        ],
        ready([api("later", "/admin/")]),
    ]
    .concat();
    let (table, problems) = table_and_problems(&candidates, &options());
    check(
        &table,
        &[
            ("/admin/x", "503 q"),
            ("/kept", "first"),
            ("/kept-late", "503 late"),
            ("/admin/-later", "later"),
            ("/x", "open"),
        ],
    );
    assert_eq!(problems.len(), 2);
}

#[test]
fn an_unusable_listen_path_is_quarantined_with_what_is_literal_of_it() {
    for path in [
        "/admin/{id:[}",
        "/admin/{id:(a)}",
        "/admin/{id",
        "/admin/{:x}",
        "/admin/{}",
    ] {
        let candidates = ready([api("open", "/"), api("admin", path)]);
        let (table, problems) = table_and_problems(&candidates, &options());
        check(&table, &[("/admin/5", "503 admin"), ("/x", "open")]);
        assert!(problems[0].quarantines(), "{path}");
        assert!(
            matches!(problems[..], [RouteProblem::ListenPath { .. }]),
            "{path}"
        );
    }
}

#[test]
fn an_unusable_listen_path_without_a_literal_start_takes_nobody_down() {
    let candidates = ready([api("bad", "/{id:[}"), api("open", "/")]);
    let (table, problems) = table_and_problems(&candidates, &options());
    check(&table, &[("/x", "open")]);
    assert_eq!(problems.len(), 1);
    let lines = table.explain();
    assert!(matches!(
        lines[1].answer,
        ExplainedAnswer::Quarantined { mounted: false, ref reason } if reason.contains("does not compile")
    ));
}

#[test]
fn an_unusable_domain_quarantines_its_api_only() {
    let candidates = ready([domain_api("bad", "{h:[}", "/"), api("open", "/")]);
    let (table, problems) = table_and_problems(&candidates, &with_domains());
    check(&table, &[("/x", "open")]);
    assert!(matches!(problems[..], [RouteProblem::Domain { .. }]));
}

#[test]
fn a_listen_path_that_no_request_can_reach_is_reported() {
    for path in ["/a%2Fb/", "/a//b", "/a/../b", "/a\\b"] {
        let (table, problems) = table_and_problems(&ready([api("1", path)]), &options());
        assert!(
            matches!(problems[..], [RouteProblem::UnreachablePath { .. }]),
            "{path}"
        );
        assert!(table.route("h", path).is_none(), "{path}");
    }
}

#[test]
fn a_table_holds_the_apis_of_its_port_and_protocol() {
    let on_main_port = |id: &str, protocol| Api {
        listener: ApiListener {
            port: None,
            protocol,
            proxy_protocol: false,
        },
        ..api(id, &format!("/{id}"))
    };
    let candidates = ready([
        on_main_port("main", None),
        on_main_port("tls", Some(Protocol::Https)),
        port_api("own", 9000, Protocol::Https),
        port_api("late", 9000, Protocol::H2c),
        port_api("raw", 9001, Protocol::Tls),
    ]);
    let (main, problems) = table_and_problems(&candidates, &options());
    check(&main, &[("/main", "main"), ("/tls", "404")]);
    assert!(matches!(
        problems[..],
        [RouteProblem::ProtocolConflict {
            port: 8080,
            spoken: Protocol::Http,
            ..
        }]
    ));

    let own = RouteOptions {
        port: 9000,
        ..options()
    };
    let (own, problems) = table_and_problems(&candidates, &own);
    check(&own, &[("/", "own")]);
    assert!(matches!(
        problems[..],
        [RouteProblem::ProtocolConflict {
            port: 9000,
            wanted: Protocol::H2c,
            ..
        }]
    ));

    let raw = RouteOptions {
        port: 9001,
        ..options()
    };
    let (raw, problems) = table_and_problems(&candidates, &raw);
    assert!(raw.is_empty() && problems.is_empty());

    let protocols: Vec<_> = port_protocols(&candidates, 8080, Protocol::Http)
        .into_iter()
        .collect();
    assert_eq!(
        protocols,
        [
            (8080, Protocol::Http),
            (9000, Protocol::Https),
            (9001, Protocol::Tls)
        ]
    );
}

#[test]
fn a_tls_service_is_chosen_by_server_name_and_without_one_only_when_alone() {
    let named = |id: &str, domain: Option<&str>| Api {
        domain: domain.map(str::to_owned),
        ..port_api(id, 9000, Protocol::Tls)
    };
    let build = |candidates: &[Candidate]| TcpTable::build(candidates, 9000, 8080, Protocol::Http);
    let pick = |table: &TcpTable, name: Option<&str>| {
        table.pick(name).map(|route| match &route.answer {
            Answer::Serve(api) => api.id.clone(),
            Answer::Quarantined(api) => format!("closed {}", api.id),
        })
    };

    let (table, problems) = build(&ready([
        named("a", Some("a.local")),
        named("rest", None),
        named("again", Some("A.local.")),
        named("pattern", Some("{x}.local")),
        port_api("http", 9000, Protocol::Http),
    ]));
    assert_eq!(pick(&table, Some("A.Local.")).as_deref(), Some("a"));
    assert_eq!(pick(&table, Some("b.local")).as_deref(), Some("rest"));
    assert_eq!(pick(&table, None), None);
    assert_eq!(table.routes().len(), 2);
    assert!(matches!(
        problems[..],
        [
            RouteProblem::DuplicateService { .. },
            RouteProblem::ServiceDomainPattern { .. },
            RouteProblem::ProtocolConflict { .. },
        ]
    ));

    let (alone, problems) = build(&ready([named("a", Some("a.local"))]));
    assert_eq!(problems, []);
    assert_eq!(pick(&alone, None).as_deref(), Some("a"));
    assert_eq!(pick(&alone, Some("b.local")), None);

    let (closed, _) = build(&[quarantined(&named("a", None))]);
    assert_eq!(
        pick(&closed, Some("any.local")).as_deref(),
        Some("closed a")
    );
}

#[test]
fn explain_lists_every_api_of_the_port_and_what_happens_there() {
    let mut base = api("served", "/served/");
    base.upstream.targets[0].path = "/base".to_owned();
    let candidates = [
        ready([base, domain_api("bound", "a.local", "/bound/")]),
        vec![quarantined(&api("quarantined", "/quarantined/"))],
        ready([
            Api {
                active: false,
                ..api("inactive", "/inactive/")
            },
            Api {
                internal: true,
                ..api("internal", "/internal/")
            },
            port_api("elsewhere", 9000, Protocol::Https),
        ]),
    ]
    .concat();
    let (table, _) = table_and_problems(&candidates, &with_domains());
    let lines: Vec<_> = table
        .explain()
        .into_iter()
        .map(|line| {
            let host = line.host.unwrap_or_else(|| "*".to_owned());
            format!(
                "{host} {} {} {} {}",
                line.path, line.api_id, line.answer, line.upstream
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "a.local /bound/ bound served http://127.0.0.1:9000/",
            "* /quarantined/ quarantined quarantined: its certificate is missing ",
            "* /served/ served served http://127.0.0.1:9000/base",
            "* /inactive/ inactive inactive ",
            "* /internal/ internal internal ",
        ]
    );
}

#[test]
fn each_of_ten_thousand_apis_is_found_whatever_its_shape() {
    let shape = |n: usize| match n % 5 {
        0 => api(&n.to_string(), &format!("/api-{n}/")),
        1 => api(&n.to_string(), &format!("/{{tenant}}/orders-{n}/")),
        2 => api(&n.to_string(), &format!("/team-{n}/{{x:[a-z]+}}/v1/")),
        3 => domain_api(&n.to_string(), &format!("host-{n}.local"), "/"),
        _ => domain_api(&n.to_string(), &format!("{{sub}}.zone-{n}.local"), "/"),
    };
    let request = |n: usize| match n % 5 {
        0 => ("gw.local".to_owned(), format!("/api-{n}/x")),
        1 => ("gw.local".to_owned(), format!("/acme/orders-{n}/x")),
        2 => ("gw.local".to_owned(), format!("/team-{n}/abc/v1/x")),
        3 => (format!("host-{n}.local"), "/x".to_owned()),
        _ => (format!("s.zone-{n}.local"), "/x".to_owned()),
    };
    let table: RouteTable = table((0..10_000).map(shape), &with_domains());
    assert_eq!(table.len(), 10_000);
    for n in 0..10_000 {
        let (host, path) = request(n);
        assert_eq!(answer(&table, &host, &path), n.to_string(), "{host}{path}");
    }
    check(
        &table,
        &[
            ("/api-10000/x", "404"),
            ("/acme/orders-0/", "404"),
            ("/", "404"),
        ],
    );
}
