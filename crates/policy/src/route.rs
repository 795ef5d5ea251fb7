//! An API's place in a table, and what a request that reaches it looks like upstream.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_apidef::Api;

use crate::candidate::Quarantined;
use crate::version::{VersionDecision, VersionFacts, VersionSelector, VersionStrip};

/// A host and listen path and who answers there.
#[derive(Debug)]
pub struct Route {
    /// Who answers.
    pub answer: Answer,
    /// Custom domain it is bound to, as the definition writes it; `None` when the table
    /// does not look at it.
    pub host: Option<Box<str>>,
    /// The listen path in force, which differs from the definition's when two wanted the
    /// same, or for the second mount.
    pub listen_path: Box<str>,
    pub(crate) versions: Option<Box<VersionSelector>>,
}

/// Who answers on a route.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The API.
    Serve(Arc<Api>),
    /// 503 `API is not available`.
    Quarantined(Arc<Quarantined>),
}

impl Route {
    /// `api_id`.
    #[must_use]
    pub fn api_id(&self) -> &str {
        match &self.answer {
            Answer::Serve(api) => &api.id,
            Answer::Quarantined(api) => &api.id,
        }
    }

    /// The human name of the API.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.answer {
            Answer::Serve(api) => &api.name,
            Answer::Quarantined(api) => &api.name,
        }
    }

    /// Which version the request asks for; the base itself when the API has no versions.
    #[must_use]
    pub fn resolve_version(&self, facts: &VersionFacts<'_>) -> VersionDecision<'_> {
        match &self.versions {
            Some(versions) => versions.resolve(facts),
            None => VersionDecision::Base(VersionStrip::Nothing),
        }
    }

    /// Whether requests have to be asked for their version.
    #[must_use]
    pub fn has_versions(&self) -> bool {
        self.versions.is_some()
    }
}

/// A route that a request reached.
#[derive(Debug, Clone, Copy)]
pub struct Match<'t> {
    pub(crate) route: &'t Route,
    pub(crate) index: usize,
    pub(crate) matched_len: usize,
}

impl<'t> Match<'t> {
    /// The route.
    #[must_use]
    pub fn route(&self) -> &'t Route {
        self.route
    }

    /// Number of the route in its table, from 0, below [`RouteTable::len`](crate::RouteTable::len).
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Bytes of the raw path that the listen path took.
    #[must_use]
    pub fn matched_len(&self) -> usize {
        self.matched_len
    }

    /// The raw path behind the listen path, `/`-led. `raw_path` is the path that was routed.
    #[must_use]
    pub fn path_after_listen<'p>(&self, raw_path: &'p str) -> Cow<'p, str> {
        let (before, rest) = raw_path.split_at(self.matched_len);
        if rest.starts_with('/') {
            Cow::Borrowed(rest)
        } else if before.ends_with('/') {
            Cow::Borrowed(&raw_path[self.matched_len - 1..])
        } else {
            Cow::Owned(format!("/{rest}"))
        }
    }

    /// The path that goes upstream. `raw_path` is the path that was routed, `target_path`
    /// the path of the upstream's URL ([`Target::path`](portcullis_apidef::Target::path)).
    /// `api` is the API that answers: the route's own, or the version it led to.
    ///
    /// With `strip_listen_path` the listen path is taken off first. Both parts are joined
    /// with exactly one slash. When nothing is left to append, a final slash stays only
    /// with `disable_strip_slash`.
    #[must_use]
    pub fn upstream_path<'p>(
        &self,
        api: &Api,
        raw_path: &'p str,
        target_path: &'p str,
    ) -> Cow<'p, str> {
        let keep_final_slash = api.upstream.keep_final_slash;
        if !api.strip_listen_path {
            return join(target_path, raw_path, keep_final_slash);
        }
        match self.path_after_listen(raw_path) {
            Cow::Borrowed(rest) => join(target_path, rest, keep_final_slash),
            Cow::Owned(rest) => Cow::Owned(join(target_path, &rest, keep_final_slash).into_owned()),
        }
    }

    /// `raw_path` without the first segment after the listen path, `segment_len` raw bytes
    /// long: what [`VersionStrip::Segment`] asks for. The match holds for the result too.
    #[must_use]
    pub fn path_without_version(&self, raw_path: &str, segment_len: usize) -> String {
        let (before, rest) = raw_path.split_at(self.matched_len);
        let segment = rest.strip_prefix('/').unwrap_or(rest);
        let after = segment.get(segment_len..).unwrap_or("");
        match after.strip_prefix('/') {
            Some(tail) if before.ends_with('/') => format!("{before}{tail}"),
            _ => format!("{before}{after}"),
        }
    }
}

fn join<'p>(target: &'p str, rest: &'p str, keep_final_slash: bool) -> Cow<'p, str> {
    let target = target.trim_end_matches('/');
    let tail = rest.trim_start_matches('/');
    match (target.is_empty(), tail.is_empty()) {
        (true, true) => Cow::Borrowed("/"),
        (true, false) if tail.len() < rest.len() => {
            Cow::Borrowed(&rest[rest.len() - tail.len() - 1..])
        }
        (false, true) if !keep_final_slash => Cow::Borrowed(target),
        _ => Cow::Owned(format!("{target}/{tail}")),
    }
}
