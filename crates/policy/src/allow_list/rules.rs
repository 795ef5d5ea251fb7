//! What typed entries of an allow list are looked up by: the claims a leaf makes, and when an entry
//! counts.
//!
//! Invariants:
//! - A leaf is looked up by what it claims, a handful of hash lookups, however many entries there are.
//! - A name with a wildcard in a certificate claims nothing: it would stand for clients without end.
//! - A claim below a URI is made only for a URI whose path means what it says.

use std::collections::HashMap;

use portcullis_apidef::{ClientMatch, ClientRule};
use portcullis_pki::{
    PresentedChain,
    names::{AlternativeName, distinguished_name},
};

/// Longest URI that claims to be below others; SPIFFE ids end here.
const LONGEST_URI: usize = 2048;

/// Most places a URI claims to be below.
const DEEPEST_URI: usize = 64;

/// When an entry counts, in Unix seconds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Window {
    from: i64,
    until: i64,
}

/// An entry is there and does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    Ahead,
    Over,
}

/// When the entries of one and the same client count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Windows(Vec<Window>);

impl Window {
    pub(super) const ALWAYS: Self = Self {
        from: i64::MIN,
        until: i64::MAX,
    };

    pub(super) fn of(rule: &ClientRule) -> Self {
        Self {
            from: rule.not_before.unwrap_or(i64::MIN),
            until: rule.not_after.unwrap_or(i64::MAX),
        }
    }

    /// For a digest: the same text for the same window.
    pub(super) fn text(self) -> String {
        format!("{} {}", self.from, self.until)
    }
}

impl Windows {
    pub(super) fn add(&mut self, window: Window) {
        // Kept in order and once, so that a digest does not depend on the order of a definition.
        if let Err(place) = self.0.binary_search(&window) {
            self.0.insert(place, window);
        }
    }

    pub(super) fn all(&self) -> &[Window] {
        &self.0
    }

    /// Until when one counts that counts at a time.
    pub(super) fn at(&self, at: i64) -> Result<i64, Closed> {
        let open = self.0.iter().filter(|w| (w.from..=w.until).contains(&at));
        open.map(|window| window.until).max().ok_or_else(|| {
            match self.0.iter().any(|window| window.from > at) {
                true => Closed::Ahead,
                false => Closed::Over,
            }
        })
    }
}

/// Entries by name.
pub(super) type Names = HashMap<ClientMatch, Windows>;

/// Until when a name of a leaf counts; `None` when no entry has one of its names.
pub(super) fn named(names: &Names, shown: &PresentedChain, at: i64) -> Option<Result<i64, Closed>> {
    let mut closed = None;
    let mut open = None;
    claims(
        shown,
        &mut |claim| match names.get(&claim).map(|windows| windows.at(at)) {
            Some(Ok(until)) => open = open.max(Some(until)),
            Some(Err(why)) => closed = Some(why),
            None => {}
        },
    );
    open.map(Ok).or(closed.map(Err))
}

/// Everything a leaf claims to be by its names.
fn claims(shown: &PresentedChain, each: &mut dyn FnMut(ClientMatch)) {
    for name in shown.names() {
        match name {
            AlternativeName::Dns(host) if !host.contains('*') => {
                let host = host.to_ascii_lowercase();
                if let Some((label, _)) = host.split_once('.')
                    && is_label(label)
                {
                    each(ClientMatch::DnsBelow(host[label.len()..].to_owned()));
                }
                each(ClientMatch::Dns(host));
            }
            AlternativeName::Uri(uri) => {
                above(uri, each);
                each(ClientMatch::Uri(uri.clone()));
            }
            AlternativeName::Email(address) => {
                if let Some((local, host)) = address.rsplit_once('@') {
                    let host = host.to_ascii_lowercase();
                    each(ClientMatch::Email(format!("{local}@{host}")));
                }
            }
            _ => {}
        }
    }
    let subject = distinguished_name(shown.leaf().subject_name());
    if !subject.is_empty() {
        each(ClientMatch::Subject(subject));
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What a URI is below, segment by segment of its path.
fn above(uri: &str, each: &mut dyn FnMut(ClientMatch)) {
    let Some((_, rest)) = uri.split_once("://") else {
        return;
    };
    let segments = rest.split('/');
    // Escapes and dots could mean another path than is written, a query is no path.
    let plain = uri.len() <= LONGEST_URI
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
        && !rest.contains(['*', '?', '#', '%', '\\', '@'])
        && segments
            .clone()
            .all(|segment| !matches!(segment, "" | "." | ".."));
    if !plain || segments.count() > DEEPEST_URI {
        return;
    }
    let start = uri.len() - rest.len();
    for (place, _) in rest.match_indices('/') {
        each(ClientMatch::UriBelow(uri[..=start + place].to_owned()));
    }
}
