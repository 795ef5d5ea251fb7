//! Targets that are reached without a proxy.
//!
//! An entry is `*`, a name, `.suffix` or `*.suffix` (names below), an address or a network; each may have a
//! port, and then means that port alone. Addresses are those written in URLs: no name is resolved for it.

use std::net::IpAddr;

use ipnet::IpNet;

/// Targets that are reached without a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bypass(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    Every,
    /// This one.
    Name(String),
    /// Those below; with the dot that is before it.
    Below(String),
    Network(IpNet),
}

/// What a name without a leading dot stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// That host alone, as in the configuration.
    Alone,
    /// That host and those below, as in `NO_PROXY`.
    WithThoseBelow,
}

impl Bypass {
    /// Reads a list separated by commas.
    pub fn read(text: &str, names: Names) -> Self {
        let mut entries = Vec::new();
        for entry in text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let (host, port) = split(entry);
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            let mut add = |hosts| entries.push(Entry { hosts, port });
            if host == "*" {
                add(Hosts::Every);
            } else if let Some(network) = network(&host) {
                add(Hosts::Network(network));
            } else if let Some(suffix) = host.strip_prefix("*.").or(host.strip_prefix('.')) {
                add(Hosts::Below(format!(".{suffix}")));
            } else {
                if names == Names::WithThoseBelow {
                    add(Hosts::Below(format!(".{host}")));
                } else if host == "localhost" {
                    // The one name that the reference takes for an address, too.
                    add(Hosts::Network(IpAddr::from([127, 0, 0, 1]).into()));
                }
                add(Hosts::Name(host));
            }
        }
        Self(entries)
    }

    /// This list and another.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether a target, its host without brackets, is reached without a proxy.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        self.0.iter().any(|entry| {
            entry.port.is_none_or(|only| only == port)
                && match (&entry.hosts, address) {
                    (Hosts::Every, _) => true,
                    (Hosts::Name(name), _) => *name == host,
                    (Hosts::Below(suffix), None) => host.ends_with(suffix),
                    (Hosts::Network(network), Some(address)) => network.contains(&address),
                    (Hosts::Below(_), Some(_)) | (Hosts::Network(_), None) => false,
                }
        })
    }
}

/// An entry's host without brackets, and its port.
fn split(entry: &str) -> (&str, Option<u16>) {
    if entry.parse::<IpAddr>().is_ok() || entry.parse::<IpNet>().is_ok() {
        return (entry, None);
    }
    let with_port = entry
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = match with_port {
        Some((host, port)) => (host, Some(port)),
        None => (entry, None),
    };
    (host.trim_matches(['[', ']']), port)
}

fn network(host: &str) -> Option<IpNet> {
    let address = host.parse::<IpAddr>().map(IpNet::from);
    address.ok().or_else(|| host.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(list: &str, target: (&str, u16)) -> bool {
        Bypass::read(list, Names::Alone).covers(target.0, target.1)
    }

    /// OUT-119: as the client chooses; the connection itself is told of with the proxies.
    #[test]
    fn suffixes_wildcards_networks_and_ports_are_understood() {
        let list = ".internal, 10.0.0.0/8,*.corp.test,one.test:8443,fd00::/8,[::1]:80,Exact.test";
        for (target, covered) in [
            (("idp.internal", 443), true),
            (("internal", 443), false),
            (("notinternal", 443), false),
            (("10.1.2.3", 443), true),
            (("11.1.2.3", 443), false),
            (("a.b.corp.test", 80), true),
            (("corp.test", 80), false),
            (("one.test", 8443), true),
            (("one.test", 443), false),
            (("fd00::7", 443), true),
            (("::1", 80), true),
            (("::1", 81), false),
            (("EXACT.test.", 443), true),
            (("below.exact.test", 443), false),
        ] {
            assert_eq!(configured(list, target), covered, "{target:?}");
        }
        assert!(configured("*", ("any.test", 1)));
        assert!(configured("localhost", ("127.0.0.1", 8080)));
        assert!(!configured("", ("any.test", 1)));
    }

    #[test]
    fn in_the_environment_a_name_stands_for_those_below_too() {
        let list = Bypass::read("corp.test,.below.test", Names::WithThoseBelow);
        for (host, covered) in [
            ("corp.test", true),
            ("a.corp.test", true),
            ("acorp.test", false),
            ("below.test", false),
            ("a.below.test", true),
        ] {
            assert_eq!(list.covers(host, 443), covered, "{host}");
        }
    }
}
