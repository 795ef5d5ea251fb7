//! What is said of upstreams by host: client certificates, pins, authorities (outbound sheet 3.1).
//!
//! Of the patterns of one map the most specific one that fits counts:
//!
//! ```text
//! *                       any host
//! *:8443                  any host, at this port
//! api.*.example.com       one label in the middle or at the end
//! *.example.com           one leading label
//! api.example.com         this host
//! ```
//!
//! and of two of a kind the one with a port. Invariants:
//! - A `*` beside others stands for exactly one label, and for none of an IP address.
//! - Hosts are compared in lower case and without a trailing dot, addresses by what they mean
//!   (decision 17).
//! - A port counts only where the URL of the upstream states one.

use std::{collections::HashMap, net::IpAddr};

/// Values by pattern.
#[derive(Debug, Clone)]
pub struct DomainMap<T> {
    any: HashMap<Option<u16>, T>,
    inner: Vec<(Inner, T)>,
    /// What follows the leading label, and the port.
    below: HashMap<(String, Option<u16>), T>,
    exact: HashMap<(Host, Option<u16>), T>,
}

/// A pattern with its `*` behind other labels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    labels: Vec<String>,
    star: usize,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Address(IpAddr),
    Name(String),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pattern:?} fits no host: {reason}; accepted: a host, an IP address, `*`, or a host with one `*` as a whole label, each with `:port` or without"
)]
pub struct DomainError {
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl<T> Default for DomainMap<T> {
    fn default() -> Self {
        Self {
            any: HashMap::new(),
            inner: Vec::new(),
            below: HashMap::new(),
            exact: HashMap::new(),
        }
    }
}

impl<T> DomainMap<T> {
    /// Says `value` of a pattern; what was said of the same pattern before counts no more.
    ///
    /// # Errors
    /// [`DomainError`] when the text is no pattern.
    pub fn insert(&mut self, pattern: &str, value: T) -> Result<(), DomainError> {
        let wrong = |reason| DomainError {
            pattern: pattern.to_owned(),
            reason,
        };
        let text = pattern.trim();
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.contains("://") || text.contains('/') {
            return Err(wrong("it is a URL or a part of one"));
        }
        let (host, port) = split(text).ok_or_else(|| wrong("its port is none"))?;
        let labels: Vec<&str> = match &host {
            Host::Address(_) => Vec::new(),
            Host::Name(name) => name.split('.').collect(),
        };
        if labels.iter().any(|label| label.is_empty()) {
            return Err(wrong("one of its labels is empty"));
        }
        if labels
            .iter()
            .any(|label| *label != "*" && label.contains('*'))
        {
            return Err(wrong("its `*` is a part of a label"));
        }
        let stars: Vec<usize> = (0..labels.len()).filter(|at| labels[*at] == "*").collect();
        match *stars {
            [] => drop(self.exact.insert((host, port), value)),
            [0] if labels.len() == 1 => drop(self.any.insert(port, value)),
            [0] => drop(self.below.insert((labels[1..].join("."), port), value)),
            [star] => {
                let labels = labels.into_iter().map(str::to_owned).collect();
                let inner = Inner { labels, star, port };
                self.inner.retain(|(known, _)| *known != inner);
                self.inner.push((inner, value));
            }
            _ => return Err(wrong("it has more than one `*`")),
        }
        Ok(())
    }

    /// What is said of the host of a URL: `host` or `host:port`, as the URL has it.
    pub fn find(&self, authority: &str) -> Option<&T> {
        let (host, port) = split(authority.trim())?;
        let ports = || port.into_iter().map(Some).chain([None]);
        let exact = || ports().find_map(|port| self.exact.get(&(host.clone(), port)));
        let below = || {
            let Host::Name(name) = &host else { return None };
            let (_, rest) = name.split_once('.')?;
            ports().find_map(|port| self.below.get(&(rest.to_owned(), port)))
        };
        let inner = || {
            let Host::Name(name) = &host else { return None };
            let labels: Vec<&str> = name.split('.').collect();
            let fits = |inner: &&(Inner, T)| inner.0.fits(&labels, port);
            // With a port before without, then the `*` that stands further left.
            let fitting = self.inner.iter().filter(fits);
            let best = fitting.min_by_key(|(inner, _)| (inner.port.is_none(), inner.star));
            best.map(|(_, value)| value)
        };
        let any = || ports().find_map(|port| self.any.get(&port));
        exact().or_else(below).or_else(inner).or_else(any)
    }

    /// Everything that is said.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        let inner = self.inner.iter().map(|(_, value)| value);
        let maps = self.any.values().chain(self.below.values());
        maps.chain(self.exact.values()).chain(inner)
    }
}

impl Inner {
    fn fits(&self, labels: &[&str], port: Option<u16>) -> bool {
        let same = |(at, (ours, theirs)): (usize, (&String, &&str))| {
            at == self.star || ours.as_str() == *theirs
        };
        (self.port.is_none() || self.port == port)
            && self.labels.len() == labels.len()
            && self.labels.iter().zip(labels).enumerate().all(same)
    }
}

/// Host and port of a text; `None` when what follows the host is no port.
fn split(text: &str) -> Option<(Host, Option<u16>)> {
    if let Ok(address) = text.parse() {
        return Some((Host::Address(address), None));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, "")) => (inside, None),
        Some((inside, rest)) => (inside, Some(rest.strip_prefix(':')?)),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    let host = match host.parse() {
        Ok(address) => Host::Address(address),
        Err(_) => {
            let name = host.to_ascii_lowercase();
            Host::Name(name.strip_suffix('.').unwrap_or(&name).to_owned())
        }
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &'static str)]) -> DomainMap<&'static str> {
        let mut map = DomainMap::default();
        for (pattern, value) in entries {
            map.insert(pattern, *value).unwrap();
        }
        map
    }

    fn found(entries: &[(&str, &'static str)], authority: &str) -> Option<&'static str> {
        // Whatever the order.
        let reversed: Vec<_> = entries.iter().rev().copied().collect();
        let found = map(entries).find(authority).copied();
        assert_eq!(
            map(&reversed).find(authority).copied(),
            found,
            "{authority}"
        );
        found
    }

    /// OUT-45, OUT-46, OUT-47, OUT-50, OUT-51, OUT-52, OUT-53, OUT-58, OUT-59, OUT-60 for the choice alone.
    #[test]
    fn the_most_specific_pattern_counts() {
        let api = "api.example.com:8443";
        let ranks = [
            ("*", "any"),
            ("*:8443", "any at the port"),
            ("api.example.*", "last label"),
            ("api.*.com", "inner label"),
            ("api.*.com:8443", "inner label at the port"),
            ("*.example.com", "leading label"),
            ("*.example.com:8443", "leading label at the port"),
            ("api.example.com", "exact"),
            ("api.example.com:8443", "exact at the port"),
        ];
        for (last, (_, value)) in ranks.iter().enumerate() {
            assert_eq!(found(&ranks[..=last], api), Some(*value));
        }
        assert_eq!(found(&ranks, "api.example.com"), Some("exact"));
        assert_eq!(found(&ranks, "other.example.com:1"), Some("leading label"));
        assert_eq!(
            found(&ranks, "api.other.com:8443"),
            Some("inner label at the port")
        );
        assert_eq!(found(&ranks, "localhost:1"), Some("any"));
    }

    /// OUT-57
    #[test]
    fn a_star_stands_for_exactly_one_label() {
        let leading = [("*.example.com", "A")];
        assert_eq!(found(&leading, "a.b.example.com"), None);
        assert_eq!(found(&leading, "example.com"), None);
        let inner = [("api.*.myservice.com:8443", "A")];
        assert_eq!(
            found(&inner, "api.production.myservice.com:8443"),
            Some("A")
        );
        assert_eq!(found(&inner, "api.production.myservice.com"), None);
        assert_eq!(found(&inner, "api.a.b.myservice.com:8443"), None);
    }

    #[test]
    fn addresses_are_compared_by_what_they_mean_and_have_no_labels() {
        assert_eq!(
            found(&[("*.168.1.1", "A"), ("192.*.1.1", "A")], "192.168.1.1"),
            None
        );
        assert_eq!(
            found(&[("192.168.1.1", "A")], "192.168.1.1:8443"),
            Some("A")
        );
        for written in ["::1", "[::1]", "0:0:0:0:0:0:0:1"] {
            assert_eq!(
                found(&[(written, "A")], "[::1]:8443"),
                Some("A"),
                "{written}"
            );
            assert_eq!(found(&[(written, "A")], "[::1]"), Some("A"), "{written}");
        }
        assert_eq!(found(&[("[::1]:8443", "A")], "[::1]:8443"), Some("A"));
        assert_eq!(found(&[("[::1]:8443", "A")], "[::1]"), None);
    }

    #[test]
    fn ports_count_as_written_and_names_whatever_their_case() {
        assert_eq!(found(&[("up.test:443", "A")], "up.test"), None);
        assert_eq!(found(&[("up.test", "A")], "up.test:443"), Some("A"));
        assert_eq!(found(&[("UP.Test.", "A")], "up.test"), Some("A"));
        assert_eq!(found(&[("up.test", "A")], "Up.TEST.:8443"), Some("A"));
        // The last of the same counts.
        assert_eq!(
            map(&[("up.test", "A"), ("UP.test", "B")]).find("up.test"),
            Some(&"B")
        );
    }

    #[test]
    fn what_fits_no_host_is_refused() {
        for text in [
            "",
            " ",
            "https://up.test",
            "up.test/path",
            "up.test:https",
            "up.test:99999",
            "*.*.test",
            "api*.test",
            "a..test",
            ".test",
        ] {
            assert!(DomainMap::default().insert(text, ()).is_err(), "{text:?}");
        }
    }
}
