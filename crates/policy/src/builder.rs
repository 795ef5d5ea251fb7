//! Turns candidates into a [`RouteTable`]: settles who keeps which path, quarantines what
//! cannot be routed as written, and orders the rest.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::hash_map::{self, HashMap};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use portcullis_apidef::Protocol;

use crate::candidate::{Candidate, Quarantined, port_protocols};
use crate::explain::Unrouted;
use crate::host::HostRule;
use crate::index::{PathIndex, Shape};
use crate::path::{loose_reading, strict_reading};
use crate::problem::RouteProblem;
use crate::route::{Answer, Route};
use crate::table::{AnywhereHost, HostPatterns, PatternGroup, RouteOptions, RouteTable};
use crate::template::{Piece, Template};
use crate::version::VersionSelector;

/// Builds one table: `admit` every candidate, `settle_paths`, `finish`.
pub(crate) struct Builder<'a> {
    options: &'a RouteOptions,
    protocol: Protocol,
    entries: Vec<Entry>,
    unrouted: Vec<Unrouted>,
    anywhere_host: AnywhereHost,
    problems: Vec<RouteProblem>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(candidates: &[Candidate], options: &'a RouteOptions) -> Self {
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
    pub(crate) fn admit(&mut self, candidate: &Candidate) {
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
    pub(crate) fn settle_paths(&mut self) {
        let mut taken: HashMap<(String, Vec<u8>), String> = HashMap::new();
        let mut later = HashSet::new();
        for (at, entry) in self.entries.iter().enumerate() {
            match taken.entry(entry.key()) {
                hash_map::Entry::Vacant(free) => {
                    free.insert(entry.candidate.id().to_owned());
                }
                hash_map::Entry::Occupied(_) => {
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

    pub(crate) fn finish(mut self) -> (RouteTable, Vec<RouteProblem>) {
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
