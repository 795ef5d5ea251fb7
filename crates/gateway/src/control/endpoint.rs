//! Which endpoint a request is for.
//!
//! A path is cleaned (anything unclean is sent to its clean form), loses its final slashes and its
//! percent encoding, and is then looked up in one table. A literal name stands before a name of
//! the client's choice, but only for the methods it offers: `DELETE /apis/oas` asks for an API
//! called `oas`.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;
use portcullis_policy::{Cleaning, clean_path};

/// What is asked of the Control API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Reload,
    ReloadGroup,
    Schema,
    Health,
    Certificates(CertificateCall),
    Inventory,
    Handshakes,
    Links,
    Keys(KeyCall),
    Policies(PolicyCall),
    Organisations(OrganisationCall),
    Cache(CacheCall),
    Show(Show),
    Change(Change),
}

/// Endpoints of the certificate store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CertificateCall {
    Add,
    List,
    Show,
    Delete,
}

/// Endpoints of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyCall {
    Create,
    Preview,
    ApplyPolicies,
    List,
    Add,
    Update,
    Show,
    Delete,
}

/// Endpoints of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PolicyCall {
    List,
    Show,
    Add,
    Replace,
    Delete,
}

/// Endpoints of organisation keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrganisationCall {
    List,
    Show,
    Add,
    Replace,
    Delete,
}

/// Endpoints of caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CacheCall {
    Answers,
    KeySets,
}

/// Endpoints that show definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Apis,
    Api,
    Versions,
    AllOas,
    Oas,
    ExportAllOas,
    ExportOas,
    Quarantine,
}

/// Endpoints that change definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    AddApi,
    ReplaceApi,
    DeleteApi,
    AddOas,
    ImportOas,
    ReplaceOas,
    PatchOas,
    DeleteOas,
}

use Endpoint as E;

/// Paths below `/tyk/`, methods, endpoints. The first row that fits wins.
const TABLE: &[(&str, Method, Endpoint)] = &[
    ("reload", Method::GET, E::Reload),
    ("reload/group", Method::GET, E::ReloadGroup),
    ("schema", Method::GET, E::Schema),
    ("health", Method::GET, E::Health),
    ("certs", Method::POST, E::Certificates(CertificateCall::Add)),
    ("certs", Method::GET, E::Certificates(CertificateCall::List)),
    // Ours. No certificate has an id like this.
    ("certs/inventory", Method::GET, E::Inventory),
    // Adds what the body says, whatever the path says.
    (
        "certs/{id}",
        Method::POST,
        E::Certificates(CertificateCall::Add),
    ),
    (
        "certs/{id}",
        Method::GET,
        E::Certificates(CertificateCall::Show),
    ),
    (
        "certs/{id}",
        Method::DELETE,
        E::Certificates(CertificateCall::Delete),
    ),
    // Ours.
    ("handshakes", Method::GET, E::Handshakes),
    ("links", Method::GET, E::Links),
    ("keys/create", Method::POST, E::Keys(KeyCall::Create)),
    ("keys/preview", Method::POST, E::Keys(KeyCall::Preview)),
    (
        "keys/policy/{id}",
        Method::POST,
        E::Keys(KeyCall::ApplyPolicies),
    ),
    ("keys", Method::GET, E::Keys(KeyCall::List)),
    ("keys", Method::POST, E::Keys(KeyCall::Add)),
    // A key without a name is one that does not exist.
    ("keys", Method::PUT, E::Keys(KeyCall::Update)),
    ("keys", Method::DELETE, E::Keys(KeyCall::Delete)),
    ("keys/{id}", Method::GET, E::Keys(KeyCall::Show)),
    ("keys/{id}", Method::POST, E::Keys(KeyCall::Add)),
    ("keys/{id}", Method::PUT, E::Keys(KeyCall::Update)),
    ("keys/{id}", Method::DELETE, E::Keys(KeyCall::Delete)),
    ("policies", Method::GET, E::Policies(PolicyCall::List)),
    ("policies", Method::POST, E::Policies(PolicyCall::Add)),
    ("policies", Method::PUT, E::Policies(PolicyCall::Replace)),
    ("policies", Method::DELETE, E::Policies(PolicyCall::Delete)),
    ("policies/{id}", Method::GET, E::Policies(PolicyCall::Show)),
    // Adds what the body says, whatever the path says.
    ("policies/{id}", Method::POST, E::Policies(PolicyCall::Add)),
    (
        "policies/{id}",
        Method::PUT,
        E::Policies(PolicyCall::Replace),
    ),
    (
        "policies/{id}",
        Method::DELETE,
        E::Policies(PolicyCall::Delete),
    ),
    (
        "org/keys",
        Method::GET,
        E::Organisations(OrganisationCall::List),
    ),
    (
        "org/keys/{id}",
        Method::GET,
        E::Organisations(OrganisationCall::Show),
    ),
    (
        "org/keys/{id}",
        Method::POST,
        E::Organisations(OrganisationCall::Add),
    ),
    (
        "org/keys/{id}",
        Method::PUT,
        E::Organisations(OrganisationCall::Replace),
    ),
    (
        "org/keys/{id}",
        Method::DELETE,
        E::Organisations(OrganisationCall::Delete),
    ),
    ("cache/jwks", Method::DELETE, E::Cache(CacheCall::KeySets)),
    (
        "cache/jwks/{id}",
        Method::DELETE,
        E::Cache(CacheCall::KeySets),
    ),
    ("cache/{id}", Method::DELETE, E::Cache(CacheCall::Answers)),
    ("apis", Method::GET, E::Show(Show::Apis)),
    ("apis", Method::POST, E::Change(Change::AddApi)),
    ("apis/oas", Method::GET, E::Show(Show::AllOas)),
    ("apis/oas", Method::POST, E::Change(Change::AddOas)),
    ("apis/oas/export", Method::GET, E::Show(Show::ExportAllOas)),
    (
        "apis/oas/import",
        Method::POST,
        E::Change(Change::ImportOas),
    ),
    (
        "apis/oas/{id}/versions",
        Method::GET,
        E::Show(Show::Versions),
    ),
    (
        "apis/oas/{id}/export",
        Method::GET,
        E::Show(Show::ExportOas),
    ),
    ("apis/oas/{id}", Method::GET, E::Show(Show::Oas)),
    ("apis/oas/{id}", Method::PUT, E::Change(Change::ReplaceOas)),
    ("apis/oas/{id}", Method::PATCH, E::Change(Change::PatchOas)),
    (
        "apis/oas/{id}",
        Method::DELETE,
        E::Change(Change::DeleteOas),
    ),
    ("apis/quarantine", Method::GET, E::Show(Show::Quarantine)),
    ("apis/{id}/versions", Method::GET, E::Show(Show::Versions)),
    ("apis/{id}", Method::GET, E::Show(Show::Api)),
    // Adds what the body says, whatever the path says.
    ("apis/{id}", Method::POST, E::Change(Change::AddApi)),
    ("apis/{id}", Method::PUT, E::Change(Change::ReplaceApi)),
    ("apis/{id}", Method::DELETE, E::Change(Change::DeleteApi)),
];

impl Endpoint {
    /// A gateway whose definitions come from elsewhere has it as well.
    fn is_on_edges(self) -> bool {
        match self {
            Self::Keys(call) => !matches!(call, KeyCall::Create | KeyCall::ApplyPolicies),
            Self::Reload
            | Self::ReloadGroup
            | Self::Schema
            | Self::Certificates(_)
            | Self::Inventory
            | Self::Handshakes
            | Self::Links
            | Self::Cache(_) => true,
            Self::Health
            | Self::Policies(_)
            | Self::Organisations(_)
            | Self::Show(_)
            | Self::Change(_) => false,
        }
    }
}

/// Why a request has no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoEndpoint {
    /// Nothing is there.
    UnknownPath,
    /// Something is, but not for this method.
    OtherMethod,
}

/// The endpoint of a path below `/tyk/` and the id in it. `edge` is a gateway whose definitions
/// come over a bridge: it has no endpoints that change or show them.
pub(super) fn find<'p>(
    method: &Method,
    path: &'p str,
    edge: bool,
) -> Result<(Endpoint, Option<&'p str>), NoEndpoint> {
    let mut known = false;
    for (pattern, offered, endpoint) in TABLE {
        if let Some(id) = fits(pattern, path).filter(|_| !edge || endpoint.is_on_edges()) {
            if offered == method {
                return Ok((*endpoint, id));
            }
            known = true;
        }
    }
    Err(if known {
        NoEndpoint::OtherMethod
    } else {
        NoEndpoint::UnknownPath
    })
}

/// `None` when the path is another; else the id in it, if the pattern has one.
fn fits<'p>(pattern: &str, path: &'p str) -> Option<Option<&'p str>> {
    let mut id = None;
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        let segment = segments.next().filter(|segment| !segment.is_empty())?;
        if wanted == "{id}" {
            id = Some(segment);
        } else if wanted != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(id)
}

/// A path as it is looked up: clean and decoded. `None` when it has no clean form.
pub(super) fn readable(path: &str) -> Option<Cow<'_, str>> {
    if is_plain(path.as_bytes()) {
        return Some(path.into());
    }
    let clean = clean_path(path, Cleaning::Full).ok()?;
    let decoded = percent_decode_str(&clean).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

/// True for a path that is clean and has nothing to decode. One pass: this looks at every request
/// on a port that the Control API shares with APIs.
fn is_plain(path: &[u8]) -> bool {
    let mut before = b' ';
    for byte in path {
        match byte {
            b'%' | b';' => return false,
            b'/' | b'.' if before == b'/' => return false,
            _ => before = *byte,
        }
    }
    path.first() == Some(&b'/')
}

/// The clean form of a path that is not clean.
pub(super) fn cleaned(path: &str) -> Option<String> {
    match clean_path(path, Cleaning::Full) {
        Ok(Cow::Owned(clean)) if clean != path => Some(clean),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_name_hides_an_id_only_for_the_methods_it_offers() {
        let find = |method, path| find(&method, path, false);
        assert_eq!(
            find(Method::GET, "keys/create"),
            Ok((E::Keys(KeyCall::Show), Some("create")))
        );
        assert_eq!(
            find(Method::DELETE, "cache/jwks"),
            Ok((E::Cache(CacheCall::KeySets), None))
        );
        assert_eq!(
            find(Method::GET, "apis/oas"),
            Ok((E::Show(Show::AllOas), None))
        );
        assert_eq!(
            find(Method::DELETE, "apis/oas"),
            Ok((E::Change(Change::DeleteApi), Some("oas")))
        );
        assert_eq!(
            find(Method::POST, "apis/oas/import"),
            Ok((E::Change(Change::ImportOas), None))
        );
        assert_eq!(
            find(Method::GET, "apis/oas/import"),
            Ok((E::Show(Show::Oas), Some("import")))
        );
        assert_eq!(
            find(Method::GET, "apis/quarantine"),
            Ok((E::Show(Show::Quarantine), None))
        );
        assert_eq!(
            find(Method::GET, "certs/inventory"),
            Ok((E::Inventory, None))
        );
        assert_eq!(
            find(Method::DELETE, "certs/inventory"),
            Ok((E::Certificates(CertificateCall::Delete), Some("inventory")))
        );
        assert_eq!(
            find(Method::DELETE, "apis/quarantine"),
            Ok((E::Change(Change::DeleteApi), Some("quarantine")))
        );
    }

    #[test]
    fn an_id_is_one_segment_and_unknown_paths_differ_from_other_methods() {
        let find = |method, path| find(&method, path, false);
        assert_eq!(find(Method::GET, "apis/a/b"), Err(NoEndpoint::UnknownPath));
        assert_eq!(find(Method::GET, "apis/"), Err(NoEndpoint::UnknownPath));
        assert_eq!(find(Method::GET, ""), Err(NoEndpoint::UnknownPath));
        assert_eq!(find(Method::GET, "nothing"), Err(NoEndpoint::UnknownPath));
        assert_eq!(find(Method::POST, "reload"), Err(NoEndpoint::OtherMethod));
        assert_eq!(find(Method::HEAD, "apis"), Err(NoEndpoint::OtherMethod));
    }

    #[test]
    fn the_documentation_names_every_endpoint() {
        let page = include_str!("../../../../docs/control-api.md");
        for (pattern, method, _) in TABLE {
            assert!(
                page.contains(&format!("/tyk/{pattern}`"))
                    || page.contains(&format!("/tyk/{pattern}?")),
                "{pattern}"
            );
            assert!(page.contains(method.as_str()), "{method}");
        }
    }

    #[test]
    fn an_edge_has_keys_and_certificates_but_no_definitions_policies_or_organisations() {
        assert_eq!(
            find(&Method::GET, "apis", true),
            Err(NoEndpoint::UnknownPath)
        );
        assert_eq!(find(&Method::GET, "reload", true), Ok((E::Reload, None)));
        assert_eq!(
            find(&Method::GET, "certs", true),
            Ok((E::Certificates(CertificateCall::List), None))
        );
        assert_eq!(
            find(&Method::POST, "keys/create", true),
            Ok((E::Keys(KeyCall::Add), Some("create"))),
            "a key of that name"
        );
        for path in ["policies", "org/keys", "keys/policy/x"] {
            let found = find(&Method::POST, path, true);
            assert_eq!(found, Err(NoEndpoint::UnknownPath), "{path}");
        }
    }

    #[test]
    fn paths_are_cleaned_and_decoded() {
        assert_eq!(readable("/tyk/apis").as_deref(), Some("/tyk/apis"));
        assert_eq!(readable("//tyk/x/../apis").as_deref(), Some("/tyk/apis"));
        assert_eq!(readable("/%74yk/apis").as_deref(), Some("/tyk/apis"));
        assert_eq!(readable("tyk"), None);
        assert_eq!(cleaned("//tyk//apis/").as_deref(), Some("/tyk/apis/"));
        assert_eq!(cleaned("/tyk/apis/"), None);
    }
}
