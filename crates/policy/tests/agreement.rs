//! The table answers as a naive one does that tries every listen path in order.
//!
//! The naive one is written from the rules alone: it shares no code with the table. It
//! turns each listen path into one expression and tries them all.

mod support;

use std::cmp::Reverse;
use std::collections::HashSet;

use portcullis_apidef::Api;
use portcullis_policy::{Cleaning, RouteOptions, clean_path};
use proptest::prelude::*;
use regex::Regex;
use support::{api, options, ready, table_and_problems};

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_table_agrees_with_trying_every_listen_path(
        apis in prop::collection::vec((domain(), listen_path()), 0..24),
        custom_domains: bool,
        strict_routes: bool,
        hostname in prop::option::of(Just("gw.local".to_owned())),
        requests in prop::collection::vec((host(), request_path(), any::<bool>()), 1..12),
    ) {
        let options = RouteOptions { custom_domains, strict_routes, hostname, ..options() };
        let apis: Vec<Api> = apis
            .into_iter()
            .enumerate()
            .map(|(n, (domain, path))| Api { domain, ..api(&n.to_string(), &path) })
            .collect();
        let naive = Naive::new(&apis, &options);
        let (table, _) = table_and_problems(&ready(apis), &options);
        for (host, path, keep) in requests {
            let cleaning = if keep { Cleaning::KeepDoubleSlashes } else { Cleaning::Full };
            let Ok(path) = clean_path(&path, cleaning) else { continue };
            let found = table.route(&host, &path);
            prop_assert_eq!(
                found.map(|found| (found.route().api_id().to_owned(), found.matched_len())),
                naive.route(&host, &path),
                "host {} path {}", host, path
            );
        }
    }

    #[test]
    fn a_path_in_any_state_is_cleaned_refused_or_left_but_never_upsets_the_table(
        path in "[/.%2eEfF5cC;\\\\aö]{0,12}",
        apis in prop::collection::vec(listen_path(), 0..6),
    ) {
        let apis: Vec<Api> = apis.iter().map(|path| api(path, path)).collect();
        let (table, _) = table_and_problems(&ready(apis), &options());
        let _ = table.route("h", &path);
        if let Ok(clean) = clean_path(&path, Cleaning::Full) {
            prop_assert!(clean.starts_with('/') && !clean.contains("//"));
            prop_assert!(!clean.split('/').any(|segment| segment == "." || segment == ".."));
            prop_assert!(clean_path(&clean, Cleaning::Full).is_ok_and(|again| again == clean));
            if let Some(found) = table.route("h", &clean) {
                prop_assert!(found.path_after_listen(&clean).starts_with('/'));
            }
        }
    }
}

fn domain() -> impl Strategy<Value = Option<String>> {
    let domains = [
        "a.local",
        "A.Local.",
        "b.local",
        "{s}.local",
        "{s:[ab]+}.local",
        "{s}.LOCAL.",
        "a.local:80",
    ];
    prop::option::of(prop::sample::select(domains.to_vec()).prop_map(str::to_owned))
}

fn host() -> impl Strategy<Value = String> {
    let hosts = [
        "a.local",
        "A.LOCAL.",
        "a.local:80",
        "b.local:81",
        "ab.local",
        "x.local",
        "gw.local",
        "",
    ];
    prop::sample::select(hosts.to_vec()).prop_map(str::to_owned)
}

fn listen_path() -> impl Strategy<Value = String> {
    let segments = [
        "a",
        "b",
        "ab",
        "abc",
        "ö",
        "@",
        "1",
        "{x}",
        "{y}",
        "{n:[0-9]+}",
        "v{n}",
        "{n}v",
        "{w:a|ab}",
    ];
    path_of(&segments, 4)
}

fn request_path() -> impl Strategy<Value = String> {
    let segments = [
        "a", "b", "ab", "abc", "%61", "%C3%B6", "ö", "%40", "1", "12", "v1", "1v", "a%2Fb", "%2fa",
        "a\\b", "", "..", ".", "%2e%2e", "..%2f", "%25", "%FF", "a%2520",
    ];
    path_of(&segments, 5)
}

fn path_of(segments: &[&'static str], most: usize) -> impl Strategy<Value = String> + use<> {
    let segment = prop::sample::select(segments.to_vec());
    (prop::collection::vec(segment, 0..most), any::<bool>()).prop_map(|(segments, slash)| {
        let path: String = segments
            .iter()
            .map(|segment| format!("/{segment}"))
            .collect();
        if slash || path.is_empty() {
            path + "/"
        } else {
            path
        }
    })
}

/// Rules, in the order they are tried.
struct Naive {
    rules: Vec<Rule>,
    hostname: Option<String>,
    strict: bool,
}

struct Rule {
    id: String,
    /// An expression over `name` or `name:port`.
    host: Option<(Regex, bool)>,
    path: Regex,
    length: usize,
    pattern_host: bool,
}

impl Naive {
    fn new(apis: &[Api], options: &RouteOptions) -> Self {
        let host_key = |api: &Api| match &api.domain {
            Some(domain) if options.custom_domains => {
                domain.to_lowercase().trim_end_matches('.').to_owned()
            }
            _ => String::new(),
        };
        let mut taken = HashSet::new();
        let (first, later): (Vec<&Api>, Vec<&Api>) = apis
            .iter()
            .partition(|api| taken.insert((host_key(api), api.listen_path.clone())));
        let mut rules: Vec<Rule> = first
            .iter()
            .map(|api| Rule::new(api, &api.listen_path, &host_key(api)))
            .collect();
        for api in later {
            let mut path = format!("{}-{}", api.listen_path, api.id);
            while !taken.insert((host_key(api), path.clone())) {
                path.push('_');
            }
            rules.push(Rule::new(api, &path, &host_key(api)));
        }
        rules.sort_by_key(|rule| (rule.host.is_none(), Reverse(rule.length), rule.pattern_host));
        Self {
            rules,
            hostname: options.hostname.clone(),
            strict: options.strict_routes,
        }
    }

    /// The api that answers and how much of the raw path its listen path takes.
    fn route(&self, host: &str, path: &str) -> Option<(String, usize)> {
        let readable = read(path, false)?;
        let loose = read(path, true)?;
        let (id, taken) = self.first(host, &readable)?;
        if self.first(host, &loose)?.0 != id {
            return None;
        }
        // The raw path's shortest start whose reading is what was taken.
        let raw = (0..=path.len())
            .filter(|end| path.is_char_boundary(*end))
            .find(|end| read(&path[..*end], false).as_deref() == Some(&taken))?;
        Some((id, raw))
    }

    fn first(&self, host: &str, path: &str) -> Option<(String, String)> {
        let host = host.to_lowercase();
        let (name, _) = host.split_once(':').unwrap_or((&host, ""));
        let name = name.trim_end_matches('.');
        let full = match host.split_once(':') {
            Some((_, port)) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        let bound = |rule: &&Rule| {
            rule.host
                .as_ref()
                .is_some_and(|(regex, port)| regex.is_match(if *port { &full } else { name }))
        };
        let free = self
            .hostname
            .as_deref()
            .is_none_or(|hostname| hostname == name);
        let rule = self
            .rules
            .iter()
            .filter(|rule| {
                if rule.host.is_some() {
                    bound(rule)
                } else {
                    free
                }
            })
            .find(|rule| rule.path.is_match(path))?;
        let taken = rule.path.find(path)?.as_str().to_owned();
        let rest = &path[taken.len()..];
        let at_end = rest.is_empty() || rest.starts_with('/') || taken.ends_with('/');
        (at_end || !self.strict).then(|| (rule.id.clone(), taken))
    }
}

impl Rule {
    fn new(api: &Api, path: &str, host: &str) -> Self {
        let segments: Vec<&str> = path[1..].split('/').collect();
        let counted = |segment: &&str| {
            if segment.contains('{') {
                0
            } else {
                segment.chars().count()
            }
        };
        Self {
            id: api.id.clone(),
            host: (!host.is_empty()).then(|| {
                (
                    Regex::new(&format!("^{}$", expression(host, "[^.]+"))).unwrap(),
                    host.ends_with("80"),
                )
            }),
            path: Regex::new(&format!("^{}", expression(path, "[^/]+"))).unwrap(),
            length: segments.len() + segments.iter().map(counted).sum::<usize>(),
            pattern_host: host.contains('{'),
        }
    }
}

/// A `{…}` text as an expression; the generators nest no braces.
fn expression(text: &str, bare: &str) -> String {
    let mut parts = text.split('{');
    let mut expression = regex::escape(parts.next().unwrap_or_default());
    for part in parts {
        let (parameter, literal) = part.split_once('}').expect("braces pair up");
        match parameter.split_once(':') {
            Some((_, custom)) => expression.push_str(&format!("(?:{custom})")),
            None => expression.push_str(bare),
        }
        expression.push_str(&regex::escape(literal));
    }
    expression
}

/// A reading of a path: slash and percent escapes stay unless `loose`, which takes every
/// kind of slash for one and refuses dot segments.
fn read(path: &str, loose: bool) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let escape = std::str::from_utf8(after.get(..2)?).ok()?;
        rest = &after[2..];
        match u8::from_str_radix(escape, 16).ok()? {
            b'%' => bytes.extend_from_slice(b"%25"),
            b'/' if !loose => bytes.extend_from_slice(b"%2F"),
            byte => bytes.push(byte),
        }
    }
    // `ÿ` stands for a byte that is no text; no generated listen path holds it.
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| 'ÿ'));
    }
    if loose {
        text = text.replace('\\', "/");
        while text.contains("//") {
            text = text.replace("//", "/");
        }
        if text.split('/').any(|segment| matches!(segment, "." | "..")) {
            return None;
        }
    }
    Some(text)
}
