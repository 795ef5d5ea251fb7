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
//!   with the logarithm of their number.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use portcullis_apidef::Protocol;
use regex::bytes::Regex;

use crate::candidate::{Candidate, Quarantined, port_protocols};
use crate::explain::Unrouted;
use crate::host::{HostRule, RequestHost};
use crate::index::{Hit, PathIndex, Shape};
use crate::path::{is_plain, loose_reading, raw_len, strict_reading};
use crate::prefix_map::PrefixMap;
use crate::problem::RouteProblem;
use crate::route::{Answer, Match, Route};
use crate::template::{Piece, Template};
use crate::version::VersionSelector;

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
    routes: Vec<Route>,
    exact: HashMap<Box<str>, PathIndex>,
    /// Some exact host names a port.
    exact_ports: bool,
    patterns: HostPatterns,
    patterns_with_port: HostPatterns,
    anywhere: PathIndex,
    anywhere_host: AnywhereHost,
    strict: bool,
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
enum AnywhereHost {
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
struct HostPatterns {
    /// By reversed tail.
    tails: PrefixMap<Vec<(Regex, PathIndex)>>,
}

/// Listen paths that share a host expression.
struct PatternGroup {
    regex: Regex,
    tail: String,
    shapes: Vec<(u32, Shape)>,
}

impl HostPatterns {
    fn build(groups: BTreeMap<String, PatternGroup>) -> Self {
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

/// A place in the table while its listen path is still being settled.
struct Entry {
    candidate: Candidate,
    versions: Option<Box<VersionSelector>>,
    host: Option<HostRule>,
    listen_path: String,
    shape: Shape,
    length: usize,
    /// The listen path did not compile; the API holds what is literal of it.
    broken: bool,
    second_mount: bool,
}

struct Builder<'a> {
    options: &'a RouteOptions,
    protocol: Protocol,
    entries: Vec<Entry>,
    unrouted: Vec<Unrouted>,
    anywhere_host: AnywhereHost,
    problems: Vec<RouteProblem>,
}

impl<'a> Builder<'a> {
    fn new(candidates: &[Candidate], options: &'a RouteOptions) -> Self {
        let mut problems = Vec::new();
        let hostname = options
            .hostname
            .as_deref()
            .filter(|hostname| !hostname.is_empty());
        let anywhere_host = match hostname.map(|hostname| (hostname, HostRule::parse(hostname))) {
            None => AnywhereHost::Any,
            Some((_, Ok(rule))) => AnywhereHost::Only(rule),
            Some((hostname, Err(source))) => {
                let hostname = hostname.to_owned();
                problems.push(RouteProblem::Hostname { hostname, source });
                AnywhereHost::Nobody
            }
        };
        let protocols = port_protocols(candidates, options.main_port, options.default_protocol);
        let protocol = protocols
            .get(&options.port)
            .copied()
            .unwrap_or(options.default_protocol);
        Self {
            options,
            protocol,
            entries: Vec::new(),
            unrouted: Vec::new(),
            anywhere_host,
            problems,
        }
    }

    /// Takes a candidate in, or says why it has no place.
    fn admit(&mut self, candidate: &Candidate) {
        if candidate.is_inactive() {
            return self.unrouted.push(Unrouted::inactive(candidate));
        }
        if candidate.is_internal() {
            return self.unrouted.push(Unrouted::internal(candidate));
        }
        let wanted = candidate.protocol(self.options.default_protocol);
        if matches!(self.protocol, Protocol::Tcp | Protocol::Tls) && wanted == self.protocol {
            return; // A service of the port's `TcpTable`.
        }
        if wanted != self.protocol {
            self.unrouted
                .push(Unrouted::wrong_protocol(candidate, wanted));
            let (port, spoken) = (self.options.port, self.protocol);
            let api_id = candidate.id().to_owned();
            let problem = RouteProblem::ProtocolConflict {
                api_id,
                port,
                wanted,
                spoken,
            };
            return self.problems.push(problem);
        }
        let mut candidate = candidate.clone();
        let Some(host) = self.host(&mut candidate) else {
            return;
        };
        let versions = self.versions(&mut candidate);
        let listen_path = candidate.listen_path().to_owned();
        self.place(candidate, versions, host, listen_path);
    }

    /// The host rule of a candidate; the outer `None` when it can have no place.
    fn host(&mut self, candidate: &mut Candidate) -> Option<Option<HostRule>> {
        let Some(domain) = candidate.domain().filter(|_| self.options.custom_domains) else {
            return Some(None);
        };
        let (api_id, domain) = (candidate.id().to_owned(), domain.to_owned());
        match HostRule::parse(&domain) {
            Ok(rule) => {
                if matches!(
                    rule,
                    HostRule::Pattern {
                        with_port: true,
                        ..
                    }
                ) {
                    self.problems
                        .push(RouteProblem::DomainSeesPort { api_id, domain });
                }
                Some(Some(rule))
            }
            Err(source) => {
                let problem = RouteProblem::Domain {
                    api_id,
                    domain,
                    source,
                };
                quarantine(candidate, &problem);
                self.unrouted.push(Unrouted::quarantined(candidate));
                self.problems.push(problem);
                None
            }
        }
    }

    fn versions(&mut self, candidate: &mut Candidate) -> Option<Box<VersionSelector>> {
        let Candidate::Ready(api) = &*candidate else {
            return None;
        };
        match VersionSelector::new(api.versioning.as_ref()?) {
            Ok(versions) => Some(Box::new(versions)),
            Err(source) => {
                let api_id = api.id.clone();
                let problem = RouteProblem::VersionPattern { api_id, source };
                quarantine(candidate, &problem);
                self.problems.push(problem);
                None
            }
        }
    }

    fn place(
        &mut self,
        mut candidate: Candidate,
        versions: Option<Box<VersionSelector>>,
        host: Option<HostRule>,
        listen_path: String,
    ) {
        let parsed = Template::parse(&listen_path)
            .and_then(|template| Shape::of(&template).map(|shape| (template, shape)));
        let (shape, length, broken) = match parsed {
            Ok((template, shape)) => {
                if !is_reachable(&template) {
                    let api_id = candidate.id().to_owned();
                    let listen_path = listen_path.clone();
                    self.problems.push(RouteProblem::UnreachablePath {
                        api_id,
                        listen_path,
                    });
                }
                (shape, length(&template), false)
            }
            Err(source) => {
                let api_id = candidate.id().to_owned();
                let problem = RouteProblem::ListenPath {
                    api_id,
                    listen_path: listen_path.clone(),
                    source,
                };
                quarantine(&mut candidate, &problem);
                self.problems.push(problem);
                let head = listen_path.split(['{', '}']).next().unwrap_or_default();
                if head.len() <= 1 {
                    // Holding `/` would take every other API down.
                    return self.unrouted.push(Unrouted::quarantined(&candidate));
                }
                (Shape::literal(head), head.chars().count(), true)
            }
        };
        self.entries.push(Entry {
            candidate,
            versions,
            host,
            listen_path,
            shape,
            length,
            broken,
            second_mount: false,
        });
    }

    /// Gives every entry a listen path of its own, then adds the second mounts.
    fn settle_paths(&mut self) {
        let mut taken: HashMap<(String, Vec<u8>), String> = HashMap::new();
        let mut later = HashSet::new();
        for (at, entry) in self.entries.iter().enumerate() {
            match taken.entry(entry.key()) {
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(entry.candidate.id().to_owned());
                }
                std::collections::hash_map::Entry::Occupied(_) => {
                    later.insert(at);
                }
            }
        }
        let all = std::mem::take(&mut self.entries);
        let mut moving = Vec::with_capacity(later.len());
        for (at, entry) in all.into_iter().enumerate() {
            if later.contains(&at) {
                moving.push(entry);
            } else {
                self.entries.push(entry);
            }
        }
        for entry in moving {
            self.move_aside(entry, &mut taken);
        }
        if self.options.api_id_paths {
            self.add_second_mounts(&mut taken);
        }
    }

    /// Mounts an entry whose listen path is taken at that path with its id appended.
    fn move_aside(&mut self, entry: Entry, taken: &mut HashMap<(String, Vec<u8>), String>) {
        let (host_key, path_key) = entry.key();
        let mut moved_to = format!("{}-{}", entry.listen_path, entry.candidate.id());
        while taken.contains_key(&(host_key.clone(), path_key_of(&moved_to))) {
            moved_to.push('_');
        }
        let api_id = entry.candidate.id().to_owned();
        taken.insert((host_key.clone(), path_key_of(&moved_to)), api_id.clone());
        self.problems.push(RouteProblem::DuplicatePath {
            api_id,
            listen_path: entry.listen_path.clone(),
            host: entry.host_text(),
            kept_by: taken[&(host_key, path_key)].clone(),
            moved_to: moved_to.clone(),
        });
        self.place(entry.candidate, entry.versions, entry.host, moved_to);
    }

    fn add_second_mounts(&mut self, taken: &mut HashMap<(String, Vec<u8>), String>) {
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            let (api_id, path) = (
                entry.candidate.id().to_owned(),
                format!("/{}/", entry.candidate.id()),
            );
            let key = (entry.host_key(), strict_reading(&path).into_owned());
            if let Some(kept_by) = taken.get(&key) {
                if *kept_by != api_id {
                    let kept_by = kept_by.clone();
                    self.problems.push(RouteProblem::ApiIdPathTaken {
                        api_id,
                        path,
                        kept_by,
                    });
                }
                continue;
            }
            taken.insert(key, api_id);
            let mut mount = Entry {
                candidate: entry.candidate.clone(),
                versions: None,
                host: entry.host.clone(),
                shape: Shape::literal(&path),
                length: path.chars().count(),
                listen_path: path,
                broken: false,
                second_mount: true,
            };
            mount.versions = self.versions(&mut mount.candidate);
            self.entries.push(mount);
        }
    }

    fn finish(mut self) -> (RouteTable, Vec<RouteProblem>) {
        self.entries.sort_by_key(Entry::precedence);
        let mut routes = Vec::with_capacity(self.entries.len());
        let mut exact: HashMap<Box<str>, Vec<(u32, Shape)>> = HashMap::new();
        let mut exact_ports = false;
        let mut patterns: [BTreeMap<String, PatternGroup>; 2] = Default::default();
        let mut anywhere = Vec::new();
        for (rank, entry) in (0..).zip(self.entries) {
            let shape = (rank, entry.shape);
            match &entry.host {
                None => anywhere.push(shape),
                Some(HostRule::Exact { host, with_port }) => {
                    exact_ports |= with_port;
                    exact.entry(host.as_str().into()).or_default().push(shape);
                }
                Some(HostRule::Pattern {
                    expression,
                    regex,
                    tail,
                    with_port,
                }) => {
                    let group = || PatternGroup {
                        regex: regex.clone(),
                        tail: tail.clone(),
                        shapes: Vec::new(),
                    };
                    patterns[usize::from(*with_port)]
                        .entry(expression.clone())
                        .or_insert_with(group)
                        .shapes
                        .push(shape);
                }
            }
            routes.push(Route {
                host: entry
                    .host
                    .and_then(|_| entry.candidate.domain().map(Into::into)),
                answer: match entry.candidate {
                    Candidate::Ready(api) => Answer::Serve(api),
                    Candidate::Quarantined(api) => Answer::Quarantined(api),
                },
                listen_path: entry.listen_path.into(),
                versions: entry.versions,
            });
        }
        let [patterns, patterns_with_port] = patterns.map(HostPatterns::build);
        let table = RouteTable {
            routes,
            exact: exact
                .into_iter()
                .map(|(host, shapes)| (host, PathIndex::build(shapes)))
                .collect(),
            exact_ports,
            patterns,
            patterns_with_port,
            anywhere: PathIndex::build(anywhere),
            anywhere_host: self.anywhere_host,
            strict: self.options.strict_routes,
            port: self.options.port,
            protocol: self.protocol,
            unrouted: self.unrouted,
        };
        (table, self.problems)
    }
}

impl Entry {
    /// Orders entries; a stable sort keeps load order among equals.
    fn precedence(&self) -> (bool, Reverse<usize>, bool, bool, bool) {
        (
            self.host.is_none(),
            Reverse(self.length),
            self.broken,
            self.host.as_ref().is_some_and(HostRule::is_pattern),
            self.second_mount,
        )
    }

    fn key(&self) -> (String, Vec<u8>) {
        (self.host_key(), path_key_of(&self.listen_path))
    }

    fn host_key(&self) -> String {
        match &self.host {
            None => String::new(),
            Some(HostRule::Exact { host, .. }) => host.clone(),
            Some(HostRule::Pattern { expression, .. }) => format!("{{{expression}}}"),
        }
    }

    fn host_text(&self) -> String {
        match (&self.host, self.candidate.domain()) {
            (Some(_), Some(domain)) => format!("`{domain}`"),
            _ => "any host".to_owned(),
        }
    }
}

/// Two listen paths are the same when this is equal.
fn path_key_of(listen_path: &str) -> Vec<u8> {
    let same: Cow<'_, [u8]> = if listen_path.contains('{') {
        Cow::Borrowed(listen_path.as_bytes())
    } else {
        strict_reading(listen_path)
    };
    same.into_owned()
}

fn quarantine(candidate: &mut Candidate, problem: &RouteProblem) {
    if let Candidate::Ready(api) = &*candidate {
        *candidate = Candidate::Quarantined(Arc::new(Quarantined::of(api, problem.chain())));
    }
}

/// The length that orders listen paths: characters, but of a segment with a parameter only
/// its slash.
fn length(template: &Template) -> usize {
    let (mut total, mut segment, mut has_parameter) = (0, 0, false);
    for piece in &template.pieces {
        let Piece::Literal(text) = piece else {
            has_parameter = true;
            continue;
        };
        for char in String::from_utf8_lossy(&strict_reading(text)).chars() {
            if char == '/' {
                total += 1 + if has_parameter { 0 } else { segment };
                (segment, has_parameter) = (0, false);
            } else {
                segment += 1;
            }
        }
    }
    total + if has_parameter { 0 } else { segment }
}

/// Whether a clean request path can hold the template's literal parts.
fn is_reachable(template: &Template) -> bool {
    template.pieces.iter().all(|piece| match piece {
        Piece::Literal(text) => {
            loose_reading(text).is_some_and(|loose| *loose == *strict_reading(text))
        }
        Piece::Parameter(_) => true,
    })
}

fn ends_segment(path: &[u8], len: usize) -> bool {
    len == path.len() || path[len] == b'/' || path[..len].ends_with(b"/")
}
