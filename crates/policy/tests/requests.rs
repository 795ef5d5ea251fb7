//! What a routed request looks like upstream, and which version it reaches.

mod support;

use portcullis_apidef::{Api, VersionLocation, VersionTarget, Versioning};
use portcullis_policy::{RouteProblem, VersionDecision, VersionFacts, VersionStrip};
use support::{api, check, options, ready, table, table_and_problems, upstream, versioned_api};

#[test]
fn the_listen_path_is_stripped_once_and_joined_with_one_slash() {
    let table = table(
        [
            api("slash", "/a/"),
            api("bare", "/b"),
            api("param", "/p/{id}"),
            api("number", "/n/{n:[0-9]+}/"),
            api("twice", "/t/t/"),
        ],
        &options(),
    );
    let cases = [
        ("/a/x", "/", "/x"),
        ("/a/x/", "/", "/x/"),
        ("/a/x", "/base", "/base/x"),
        ("/a/x", "/base/", "/base/x"),
        ("/a/a/x", "/", "/a/x"),
        ("/a/", "/", "/"),
        ("/a/", "/base/", "/base"),
        ("/b", "/", "/"),
        ("/b", "/base", "/base"),
        ("/b/x", "/base", "/base/x"),
        ("/bfoo", "/", "/foo"),
        ("/bfoo", "/base", "/base/foo"),
        ("/a/b%2Fc/%61", "/base", "/base/b%2Fc/%61"),
        ("/%61/x", "/base", "/base/x"),
        ("/p/7", "/", "/"),
        ("/p/7/x", "/", "/x"),
        ("/p/%C3%B6/x", "/base", "/base/x"),
        ("/p/a%2fb/x", "/base", "/base/x"),
        ("/n/12/x", "/", "/x"),
        ("/t/t/t/t/x", "/", "/t/t/x"),
        ("/a/http://x", "/", "/http://x"),
    ];
    for (path, target, expected) in cases {
        assert_eq!(
            upstream(&table, path, target),
            expected,
            "{path} to {target}"
        );
    }
}

#[test]
fn a_path_that_is_not_stripped_goes_behind_the_targets_path() {
    let table = table(
        [Api {
            strip_listen_path: false,
            ..api("1", "/a/")
        }],
        &options(),
    );
    for (path, target, expected) in [
        ("/a/x", "/", "/a/x"),
        ("/a/x", "/base/", "/base/a/x"),
        ("/a/", "/base", "/base/a/"),
        ("/%61/x", "/", "/%61/x"),
    ] {
        assert_eq!(
            upstream(&table, path, target),
            expected,
            "{path} to {target}"
        );
    }
}

#[test]
fn a_final_slash_with_nothing_before_it_stays_only_when_asked_for() {
    let mut keeping = api("keep", "/keep/");
    keeping.upstream.keep_final_slash = true;
    let table = table([keeping, api("drop", "/drop/")], &options());
    for (path, target, expected) in [
        ("/keep/", "/base", "/base/"),
        ("/drop/", "/base/", "/base"),
        ("/keep/", "/", "/"),
        ("/drop/x/", "/base", "/base/x/"),
    ] {
        assert_eq!(
            upstream(&table, path, target),
            expected,
            "{path} to {target}"
        );
    }
}

#[test]
fn the_common_case_borrows() {
    let table = table([api("1", "/a/")], &options());
    let found = table.route("gw", "/a/x").expect("routed");
    let path = found.upstream_path(&api("1", "/a/"), "/a/x", "/");
    assert!(matches!(path, std::borrow::Cow::Borrowed("/x")));
}

#[test]
fn a_version_named_by_header_query_or_path_leads_to_its_api() {
    let header = VersionLocation::Header("X-Api-Version".to_owned());
    let query = VersionLocation::Query("v".to_owned());
    let path = VersionLocation::Path { pattern: None };
    let pattern = VersionLocation::Path {
        pattern: Some("^v[0-9]+$".to_owned()),
    };
    let two = |strip| Some(("two", strip));
    let header_strip = VersionStrip::Header("x-api-version");
    let query_strip = VersionStrip::Query("v");
    let base = |strip| Some(("", strip));
    let nothing = VersionStrip::Nothing;

    let rows: &[Row<'_>] = &[
        (&header, "v2", "", "/x", two(header_strip)),
        (&header, "v1", "", "/x", base(header_strip)),
        (&header, "v9", "", "/x", None),
        (&header, "V2", "", "/x", None),
        (&query, "", "a=1&v=v2", "/x", two(query_strip)),
        (&query, "", "%76=%76%32", "/x", two(query_strip)),
        (&query, "", "v=v9&v=v2", "/x", None),
        (&query, "v2", "v=v1", "/x", base(query_strip)),
        (&path, "", "", "/v2/x", two(VersionStrip::Segment(2))),
        (&path, "", "", "/%762/x", two(VersionStrip::Segment(4))),
        (&path, "", "", "/v1", base(VersionStrip::Segment(2))),
        (&path, "", "", "/v9/x", None),
        (&pattern, "", "", "/v2/x", two(VersionStrip::Segment(2))),
        (&pattern, "", "", "/v9/x", None),
    ];
    for (location, header, query, path, expected) in rows {
        let decided = decide(&versioning((*location).clone()), header, query, path);
        let expected = match expected {
            Some((id, strip)) => Decided::To((*id).to_owned(), format!("{strip:?}")),
            None => Decided::Unknown,
        };
        assert_eq!(decided, expected, "{location:?} {header} {query} {path}");
    }
    assert_eq!(decide(&versioning(query), "", "v", "/x"), Decided::Missing);
    assert_eq!(decide(&versioning(path), "", "", "/"), Decided::Missing);
    assert_eq!(
        decide(&versioning(pattern), "", "", "/users/x"),
        Decided::Missing
    );
    assert_eq!(decide(&versioning(header), "", "", "/v2"), Decided::Missing);
    let to_two = Decided::To("two".to_owned(), format!("{nothing:?}"));
    let unstripped = Versioning {
        strip: false,
        ..versioning(VersionLocation::Query("v".into()))
    };
    assert_eq!(decide(&unstripped, "", "v=v2", "/x"), to_two);
}

#[test]
fn the_default_answers_what_names_no_version_and_with_fallback_what_names_an_unknown_one() {
    let to = |id: &str, strip: VersionStrip<'_>| Decided::To(id.to_owned(), format!("{strip:?}"));
    let header = Versioning {
        default: Some(VersionTarget::Api("two".to_owned())),
        ..versioning(VersionLocation::Header("x-api-version".to_owned()))
    };
    assert_eq!(
        decide(&header, "", "", "/x"),
        to("two", VersionStrip::Nothing)
    );
    assert_eq!(decide(&header, "v9", "", "/x"), Decided::Unknown);

    let fallback = Versioning {
        fallback_to_default: true,
        ..header
    };
    let strip = VersionStrip::Header("x-api-version");
    assert_eq!(decide(&fallback, "v9", "", "/x"), to("two", strip));

    let no_default = Versioning {
        default: None,
        ..fallback.clone()
    };
    assert_eq!(decide(&no_default, "v9", "", "/x"), Decided::Unknown);

    let path = |pattern: Option<&str>| Versioning {
        default: Some(VersionTarget::Base),
        location: VersionLocation::Path {
            pattern: pattern.map(str::to_owned),
        },
        ..fallback.clone()
    };
    assert_eq!(
        decide(&path(None), "", "", "/users/x"),
        to("", VersionStrip::Nothing)
    );
    assert_eq!(
        decide(&path(Some("^v")), "", "", "/users/x"),
        to("", VersionStrip::Nothing)
    );
    assert_eq!(
        decide(&path(Some("^v")), "", "", "/v9/x"),
        to("", VersionStrip::Segment(2))
    );
}

#[test]
fn what_named_the_version_can_be_taken_out_of_the_request() {
    let strip = VersionStrip::Query("v");
    for (query, expected) in [
        ("v=2", ""),
        ("a=1&v=2&b=%20", "a=1&b=%20"),
        ("v=1&a&v=2&%76=3", "a"),
        ("vv=1", "vv=1"),
    ] {
        assert_eq!(strip.query(query), expected, "{query}");
    }

    let table = table([api("1", "/a/"), api("2", "/b")], &options());
    for (path, segment, expected, upstream_path) in [
        ("/a/v2/x", 2, "/a/x", "/x"),
        ("/a/v2", 2, "/a/", "/"),
        ("/a/v2/", 2, "/a/", "/"),
        ("/b/v2/x", 2, "/b/x", "/x"),
        ("/b/v2", 2, "/b", "/"),
    ] {
        let found = table.route("gw", path).expect("routed");
        let left = found.path_without_version(path, segment);
        assert_eq!(left, expected, "{path}");
        assert_eq!(
            found.upstream_path(&api("child", "/c/"), &left, "/"),
            upstream_path,
            "{path}"
        );
    }
}

#[test]
fn an_api_whose_version_pattern_is_unusable_is_quarantined() {
    let broken = VersionLocation::Path {
        pattern: Some("v[".to_owned()),
    };
    let candidates = ready([
        versioned_api("1", "/a/", versioning(broken)),
        api("open", "/"),
    ]);
    let (table, problems) = table_and_problems(&candidates, &options());
    check(&table, &[("/a/v1", "503 1"), ("/x", "open")]);
    assert!(matches!(
        problems[..],
        [RouteProblem::VersionPattern { .. }]
    ));
}

/// Location, header, query, path, and which API with what stripped; `None`: unknown.
type Row<'a> = (
    &'a VersionLocation,
    &'a str,
    &'a str,
    &'a str,
    Option<(&'a str, VersionStrip<'a>)>,
);

#[derive(Debug, PartialEq)]
enum Decided {
    /// The api, empty for the base, and what to strip.
    To(String, String),
    Missing,
    Unknown,
}

/// Base `v1`, version `v2` with api `two`, no default, stripped.
fn versioning(location: VersionLocation) -> Versioning {
    Versioning {
        location,
        base_name: "v1".to_owned(),
        default: None,
        fallback_to_default: false,
        strip: true,
        versions: vec![("v2".to_owned(), "two".to_owned())],
    }
}

fn decide(versioning: &Versioning, header: &str, query: &str, path: &str) -> Decided {
    let table = table([versioned_api("base", "/", versioning.clone())], &options());
    let value = |name: &str| Some(header).filter(|_| name == "x-api-version");
    let facts = VersionFacts {
        header: &value,
        query: Some(query),
        path,
    };
    let found = table.route("gw", "/").expect("routed");
    assert!(found.route().has_versions());
    match found.route().resolve_version(&facts) {
        VersionDecision::Base(strip) => Decided::To(String::new(), format!("{strip:?}")),
        VersionDecision::Api { id, strip } => Decided::To(id.to_owned(), format!("{strip:?}")),
        VersionDecision::Missing => Decided::Missing,
        VersionDecision::Unknown => Decided::Unknown,
    }
}
