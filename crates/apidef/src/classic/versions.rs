//! Versions of a Classic API: the settings of its one version, and the map of its children.

use std::time::Duration;

use crate::api::{
    EndpointTimeout, OpenPath, Protection, VersionLocation, VersionTarget, Versioning,
};
use crate::breakers::{self, CircuitBreaker};
use crate::duration::duration;
use crate::facts::Facts;
use crate::reader::Node;

/// The names under which the settings of an unversioned API may stand.
const UNVERSIONED: [&str; 3] = ["Default", "default", ""];

/// What a version says of its paths.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// Deadline of every exchange.
    pub(crate) timeout: Option<Duration>,
    /// Deadlines of single endpoints.
    pub(crate) timeouts: Vec<EndpointTimeout>,
    /// Breakers of single endpoints.
    pub(crate) breakers: Vec<CircuitBreaker>,
    /// Those without authentication.
    pub(crate) open: Vec<OpenPath>,
}

/// Reads `version_data`.
pub(crate) fn read(root: &Node<'_, '_>, facts: &mut Facts) -> Paths {
    let mut paths = Paths::default();
    let data = root.at("version_data");
    if !data.is_present() {
        return paths;
    }
    let versions = data.at("versions");
    let unversioned = data.at("not_versioned").bool();
    let named = UNVERSIONED
        .iter()
        .filter(|name| versions.at(name).is_present())
        .count();
    if unversioned && named != 1 {
        versions.error(
            format!("an unversioned API has one version named Default, found {named}"),
            "exactly one of \"Default\", \"default\" and \"\"",
            "write \"versions\": {\"Default\": {\"name\": \"Default\"}}",
        );
    } else if !unversioned && versions.is_empty() {
        versions.error(
            "a versioned API without versions answers nobody",
            "at least one version",
            "set \"not_versioned\" to true if there is only one",
        );
    }
    facts.protect(!unversioned, Protection::InlineVersions);
    for (name, version) in versions.members() {
        // Beside the version in force others may lie around unused.
        if !unversioned || UNVERSIONED.contains(&name) {
            read_version(&version, facts, &mut paths);
        }
    }
    paths
}

/// Reads `definition`, the map from version names to other APIs.
pub(crate) fn versioning(root: &Node<'_, '_>) -> Option<Versioning> {
    let node = root.at("definition");
    if !node.at("enabled").bool() {
        return None;
    }
    let versions: Vec<(String, String)> = node
        .at("versions")
        .members()
        .map(|(name, id)| (name.to_owned(), id.string().to_owned()))
        .collect();
    build(
        &Fields {
            location: node.at("location"),
            key: node.at("key"),
            pattern: node.at("url_versioning_pattern"),
            default: node.at("default"),
        },
        node.at("name").string(),
        node.at("strip_versioning_data").bool() || node.at("strip_path").bool(),
        node.at("fallback_to_default").bool(),
        versions,
    )
}

/// The members that can be wrong, as places so that complaints name them.
pub(crate) struct Fields<'p, 'v> {
    pub(crate) location: Node<'p, 'v>,
    pub(crate) key: Node<'p, 'v>,
    pub(crate) pattern: Node<'p, 'v>,
    pub(crate) default: Node<'p, 'v>,
}

/// Checks and assembles a version map; both formats use it.
pub(crate) fn build(
    fields: &Fields<'_, '_>,
    base_name: &str,
    strip: bool,
    fallback_to_default: bool,
    versions: Vec<(String, String)>,
) -> Option<Versioning> {
    let key = Some(fields.key.string())
        .filter(|k| !k.is_empty())
        .unwrap_or("x-api-version");
    let location = match fields.location.string() {
        "" | "header" => {
            if key.parse::<http::HeaderName>().is_err() {
                fields
                    .key
                    .error(format!("{key:?} is no header name"), "a header name", "");
                return None;
            }
            VersionLocation::Header(key.to_ascii_lowercase())
        }
        "url-param" => VersionLocation::Query(key.to_owned()),
        "url" => {
            let pattern = fields.pattern.string();
            if regex::Regex::new(pattern).is_err() {
                fields
                    .pattern
                    .error("broken regular expression", "an RE2 expression", "");
                return None;
            }
            VersionLocation::Path {
                pattern: Some(pattern.to_owned()).filter(|p| !p.is_empty()),
            }
        }
        other => {
            fields.location.error(
                format!("unknown version location {other:?}"),
                "header, url-param or url",
                "",
            );
            return None;
        }
    };
    let default = match fields.default.string() {
        "" => None,
        name if name == "self" || name == base_name => Some(VersionTarget::Base),
        name => match versions.iter().find(|(known, _)| known == name) {
            Some((_, id)) => Some(VersionTarget::Api(id.clone())),
            None => {
                fields.default.error(
                    format!("the default version {name:?} is not among the versions"),
                    "self or the name of a version",
                    "",
                );
                return None;
            }
        },
    };
    Some(Versioning {
        location,
        base_name: base_name.to_owned(),
        default,
        fallback_to_default,
        strip,
        versions,
    })
}

fn read_version(version: &Node<'_, '_>, facts: &mut Facts, found: &mut Paths) {
    facts.protect(
        !matches!(version.at("expires").string(), "" | "-1"),
        Protection::Expiry,
    );
    facts.protect(
        !version.at("override_target").string().is_empty(),
        Protection::RequestRouting,
    );
    let size = version.at("global_size_limit");
    facts.protect(
        size.number() != 0.0 && !version.at("global_size_limit_disabled").bool(),
        Protection::RequestSizeLimit,
    );
    if !version.at("global_enforce_timeout_disabled").bool() {
        let whole = duration(&version.at("global_enforce_timeout"));
        found.timeout = [found.timeout, whole].into_iter().flatten().min();
    }
    let headers = |added: &'static str, removed: &'static str, off: &'static str| {
        (!version.at(added).is_empty() || !version.at(removed).is_empty())
            && !version.at(off).bool()
    };
    facts.extra(
        headers(
            "global_headers",
            "global_headers_remove",
            "global_headers_disabled",
        ),
        "request header transform",
    );
    facts.extra(
        headers(
            "global_response_headers",
            "global_response_headers_remove",
            "global_response_headers_disabled",
        ),
        "response header transform",
    );
    let plain = version.at("paths");
    let listed = |list: &'static str| !plain.at(list).strings().is_empty();
    facts.protect(
        listed("white_list") | listed("black_list"),
        Protection::PathAccess,
    );
    if !version.at("use_extended_paths").bool() {
        let open = plain.at("ignored").strings();
        found.open.extend(open.into_iter().map(|path| OpenPath {
            path,
            method: None,
            ignore_case: false,
        }));
    }
    extended_paths(version, facts, found);
}

/// Path lists count as protections even where `use_extended_paths` leaves them out: a list
/// somebody wrote down is not silently dropped.
fn extended_paths(version: &Node<'_, '_>, facts: &mut Facts, found: &mut Paths) {
    let paths = version.at("extended_paths");
    let in_use = version.at("use_extended_paths").bool();
    let any = |list: &'static str| {
        paths
            .at(list)
            .elements()
            .filter(|entry| !entry.at("disabled").bool())
            .count()
            > 0
    };
    let any_enabled = |list: &'static str| {
        paths
            .at(list)
            .elements()
            .filter(|entry| entry.at("enabled").bool_or(true))
            .count()
            > 0
    };
    let guards = [
        (
            any("white_list") | any("black_list") | any("internal"),
            Protection::PathAccess,
        ),
        (any("rate_limit"), Protection::RateLimit),
        (any("size_limits"), Protection::RequestSizeLimit),
        (any("validate_json"), Protection::RequestValidation),
        (
            any_enabled("validate_request"),
            Protection::RequestValidation,
        ),
        (
            any_enabled("oas_validate_request"),
            Protection::RequestValidation,
        ),
        (any("virtual") | any("go_plugin"), Protection::Plugins),
        (
            !paths.at("persist_graphql").is_empty(),
            Protection::ProtocolRules,
        ),
        (
            any("url_rewrites") | any("mock_response"),
            Protection::RequestRouting,
        ),
        (
            any("oas_mock_response") | replies(&paths),
            Protection::RequestRouting,
        ),
    ];
    for (found, protection) in guards {
        facts.protect(found, protection);
    }
    if !in_use {
        return;
    }
    let extras = [
        (
            any("transform") | any("transform_jq"),
            "request body transform",
        ),
        (
            any("transform_response") | any("transform_jq_response"),
            "response body transform",
        ),
        (any("transform_headers"), "request header transform"),
        (
            any("transform_response_headers"),
            "response header transform",
        ),
        (any("method_transforms"), "request method transform"),
        (
            any("advance_cache_config") | !paths.at("cache").is_empty(),
            "response cache",
        ),
        (
            any("track_endpoints") | any("do_not_track_endpoints"),
            "endpoint tracking",
        ),
    ];
    for (found, feature) in extras {
        facts.extra(found, feature);
    }
    for entry in paths.at("hard_timeouts").elements() {
        if entry.at("disabled").bool() {
            continue;
        }
        let Some(timeout) = duration(&entry.at("timeout")) else {
            continue;
        };
        found.timeouts.push(EndpointTimeout {
            path: entry.at("path").string().to_owned(),
            method: Some(entry.at("method").string().to_ascii_uppercase())
                .filter(|m| !m.is_empty()),
            timeout,
        });
    }
    for entry in paths.at("circuit_breakers").elements() {
        if !entry.at("disabled").bool() {
            found.breakers.extend(breakers::classic(&entry));
        }
    }
    for entry in paths.at("ignored").elements() {
        if !entry.at("disabled").bool() {
            open_path(&entry, &mut found.open);
        }
    }
}

/// A path without authentication, for the methods its entry names.
fn open_path(entry: &Node<'_, '_>, open: &mut Vec<OpenPath>) {
    let actions = entry.at("method_actions");
    let mut methods: Vec<String> = actions.members().map(|(name, _)| name.to_owned()).collect();
    let method = entry.at("method").string();
    if methods.is_empty() && !method.is_empty() {
        methods.push(method.to_owned());
    }
    if methods.is_empty() {
        entry.warn("has no effect: it names no method");
    }
    open.extend(methods.into_iter().map(|method| OpenPath {
        path: entry.at("path").string().to_owned(),
        method: Some(method.to_ascii_uppercase()),
        ignore_case: entry.at("ignore_case").bool(),
    }));
}

/// The old form of a mock: a path list whose entry replies itself.
fn replies(paths: &Node<'_, '_>) -> bool {
    let mut found = false;
    for list in ["white_list", "black_list", "ignored"] {
        for entry in paths.at(list).elements() {
            for (_, action) in entry.at("method_actions").members() {
                found |= action.at("action").string() == "reply" && !entry.at("disabled").bool();
            }
        }
    }
    found
}
