//! Which API answers a host and a path on one HTTP port.
//!
//! Order of precedence: APIs bound to a domain the host matches, then APIs without a
//! domain; within each the longest listen path. Length counts characters, a segment with
//! `{…}` only its slash. Equal lengths: a literal domain before a pattern, then load order.
//!
//! Invariants:
//! - A request is routed only if every reading of its path leads to the same route (see
//!   [`clean_path`](crate::clean_path)).
//! - A quarantined API keeps its place: none of its requests falls through to another API.
//! - With strict routes the longest matching prefix still decides; when it does not end at
//!   a segment's end the answer is none, never a shorter listen path.
//! - Cost grows with the length of the path and the depth to which listen paths nest, and
//!   with the logarithm of their number. Custom expressions behind the same literal text
//!   are the exception: they are tried one by one.

use std::collections::{BTreeMap, HashMap};

use portcullis_apidef::Protocol;
use regex::bytes::Regex;

use crate::builder::Builder;
use crate::candidate::Candidate;
use crate::explain::Unrouted;
use crate::host::{HostRule, RequestHost};
use crate::index::{Hit, PathIndex, Shape};
use crate::path::{is_plain, loose_reading, raw_len, strict_reading};
use crate::prefix_map::PrefixMap;
use crate::problem::RouteProblem;
use crate::route::{Match, Route};

/// What a table is built under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteOptions {
    /// The port this table is for.
    pub port: u16,
    /// Port of APIs that name none.
    pub main_port: u16,
    /// Protocol of APIs that name none: `Https` with `use_ssl`, else `Http`.
    pub default_protocol: Protocol,
    /// `enable_custom_domains`: off, domains neither bind nor give precedence.
    pub custom_domains: bool,
    /// `hostname`: APIs without a usable domain are routed only for this host.
    pub hostname: Option<String>,
    /// `enable_strict_routes`: `/foo` does not take `/foobar`.
    pub strict_routes: bool,
    /// `portcullis.api_id_paths`: a second mount at `/<api_id>/`.
    pub api_id_paths: bool,
}

impl RouteOptions {
    /// The main port's table with every option at its default.
    #[must_use]
    pub fn main(port: u16, default_protocol: Protocol) -> Self {
        Self {
            port,
            main_port: port,
            default_protocol,
            custom_domains: false,
            hostname: None,
            strict_routes: false,
            api_id_paths: false,
        }
    }
}

/// The routes of one HTTP port. Built once, asked on every request, never changed.
#[derive(Debug)]
pub struct RouteTable {
    /// By precedence: a route's index is its rank.
    pub(crate) routes: Vec<Route>,
    pub(crate) exact: HashMap<Box<str>, PathIndex>,
    /// Some exact host names a port.
    pub(crate) exact_ports: bool,
    pub(crate) patterns: HostPatterns,
    pub(crate) patterns_with_port: HostPatterns,
    pub(crate) anywhere: PathIndex,
    pub(crate) anywhere_host: AnywhereHost,
    pub(crate) strict: bool,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) unrouted: Vec<Unrouted>,
}

impl RouteTable {
    /// A table of those `candidates`, in load order, that belong on `options.port`, and
    /// every problem with them. A candidate that cannot be routed as written is quarantined
    /// here; the table always stands.
    #[must_use]
    pub fn build(candidates: &[Candidate], options: &RouteOptions) -> (Self, Vec<RouteProblem>) {
        let mut builder = Builder::new(candidates, options);
        for candidate in candidates {
            if candidate.port(options.main_port) == options.port {
                builder.admit(candidate);
            }
        }
        builder.settle_paths();
        builder.finish()
    }

    /// The route that answers `path` on `host`. `host` is the request's `Host` or
    /// `:authority` as sent, `path` what [`clean_path`](crate::clean_path) returned: a raw
    /// path that is not clean finds nothing. None: 404 `Not Found`.
    #[must_use]
    pub fn route(&self, host: &str, path: &str) -> Option<Match<'_>> {
        let host = if self.is_one_host() { "" } else { host };
        let host = RequestHost::parse(host);
        let (hit, matched_len) = if is_plain(path.as_bytes()) {
            let hit = self.lookup(&host, path.as_bytes())?;
            (hit, hit.len)
        } else {
            let loose = loose_reading(path)?;
            let strict = strict_reading(path);
            let hit = self.lookup(&host, &strict)?;
            if loose != *strict && self.lookup(&host, &loose)?.rank != hit.rank {
                return None;
            }
            (hit, raw_len(path, hit.len))
        };
        let index = hit.rank as usize;
        Some(Match {
            route: &self.routes[index],
            index,
            matched_len,
        })
    }

    /// All routes by precedence; [`Match::index`] counts in this order.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Number of routes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// True when no API is routed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// True when the host of a request makes no difference.
    fn is_one_host(&self) -> bool {
        self.exact.is_empty()
            && self.patterns.is_empty()
            && self.patterns_with_port.is_empty()
            && matches!(self.anywhere_host, AnywhereHost::Any)
    }

    fn lookup(&self, host: &RequestHost<'_>, path: &[u8]) -> Option<Hit> {
        let mut best = None;
        if let Some(index) = self.exact.get(&*host.name) {
            index.search(path, &mut best);
        }
        if self.exact_ports
            && host.port.is_some()
            && let Some(index) = self.exact.get(&*host.with_port())
        {
            index.search(path, &mut best);
        }
        self.patterns.search(&host.name, path, &mut best);
        if !self.patterns_with_port.is_empty() {
            self.patterns_with_port
                .search(&host.with_port(), path, &mut best);
        }
        if best.is_none() && self.anywhere_host.accepts(host) {
            self.anywhere.search(path, &mut best);
        }
        best.filter(|hit| !self.strict || ends_segment(path, hit.len))
    }
}

/// Which hosts reach APIs without a domain.
#[derive(Debug)]
pub(crate) enum AnywhereHost {
    Any,
    Only(HostRule),
    /// `hostname` is set but unusable.
    Nobody,
}

impl AnywhereHost {
    fn accepts(&self, host: &RequestHost<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(rule) => rule.accepts(host),
            Self::Nobody => false,
        }
    }
}

/// Listen paths by host expression, found by the literal text their hosts end with.
#[derive(Debug)]
pub(crate) struct HostPatterns {
    /// By reversed tail.
    tails: PrefixMap<Vec<(Regex, PathIndex)>>,
}

/// Listen paths that share a host expression.
pub(crate) struct PatternGroup {
    pub(crate) regex: Regex,
    pub(crate) tail: String,
    pub(crate) shapes: Vec<(u32, Shape)>,
}

impl HostPatterns {
    pub(crate) fn build(groups: BTreeMap<String, PatternGroup>) -> Self {
        let items = groups.into_values().map(|group| {
            let tail = group.tail.bytes().rev().collect();
            (tail, (group.regex, PathIndex::build(group.shapes)))
        });
        Self {
            tails: PrefixMap::build(items.collect(), Vec::push),
        }
    }

    fn is_empty(&self) -> bool {
        self.tails.is_empty()
    }

    fn search(&self, host: &str, path: &[u8], best: &mut Option<Hit>) {
        if self.is_empty() {
            return;
        }
        let reversed: Vec<u8> = host.bytes().rev().collect();
        for (regex, paths) in self.tails.prefixes(&reversed).flat_map(|(_, group)| group) {
            if regex.is_match(host.as_bytes()) {
                paths.search(path, best);
            }
        }
    }
}

fn ends_segment(path: &[u8], len: usize) -> bool {
    len == path.len() || path[len] == b'/' || path[..len].ends_with(b"/")
}
