//! What handshakes on a port ask of clients, host by host (inbound sheet 4, its recommendations 16 to
//! 19).
//!
//! Every API contributes to the demand of its domain: one whose APIs all have an allow list requires a
//! certificate; one with anything else beside asks for it, so that the others stay reachable, and the
//! list is enforced with each request; one without either asks for nothing. A host is looked up among
//! the domains without patterns, then among patterns, then the APIs without a domain answer.
//!
//! Invariant: what is looked up here is never weaker than what the sheet has.

use std::collections::BTreeMap;

use crate::{
    host::{HostRule, RequestHost, normalize_host},
    template::PatternError,
};

/// How an API treats client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It does not look at them.
    Open,
    /// It wants one, and whose it is decides a session (Certificate Auth).
    Session,
    /// It has an allow list.
    AllowList,
}

/// What a handshake asks of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// Nothing.
    Nothing,
    /// A certificate, if it has one.
    Ask,
    /// A trusted certificate.
    Require,
}

/// What the APIs of one domain come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// As it is written; empty for APIs without one.
    pub name: String,
    /// What is asked.
    pub demand: Demand,
    /// Places of its APIs among those that were given, in their order.
    pub apis: Vec<usize>,
}

/// The domains of one port.
#[derive(Debug, Default)]
pub struct Handshakes {
    domains: Vec<Domain>,
    exact: BTreeMap<String, usize>,
    patterns: Vec<(HostRule, usize)>,
    without: Option<usize>,
}

/// Which domains decide about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deciding {
    /// One.
    Domain(usize),
    /// Patterns that match alike; the strictest counts, and all of them vouch.
    Patterns(Vec<usize>),
    /// None: there is no API for it.
    Nobody,
}

impl Handshakes {
    /// The domains of APIs on a port. A pattern that cannot be read makes no domain; its API is not
    /// served either.
    pub fn of<'a>(apis: impl IntoIterator<Item = (Option<&'a str>, Treatment)>) -> Self {
        let mut found = Self::default();
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut seen: Vec<(bool, bool)> = Vec::new();
        for (place, (domain, treatment)) in apis.into_iter().enumerate() {
            let name = domain.unwrap_or_default();
            let Ok(rule) = rule(name) else { continue };
            let key = match &rule {
                Some(HostRule::Exact { host, .. }) => normalize_host(host).into_owned(),
                Some(HostRule::Pattern { .. }) => name.to_owned(),
                None => String::new(),
            };
            let number = *names.entry(key.clone()).or_insert_with(|| {
                let number = found.domains.len();
                found.domains.push(Domain {
                    name: key.clone(),
                    demand: Demand::Nothing,
                    apis: Vec::new(),
                });
                seen.push((false, false));
                match rule {
                    Some(rule @ HostRule::Pattern { .. }) => found.patterns.push((rule, number)),
                    Some(HostRule::Exact { .. }) => {
                        found.exact.insert(key, number);
                    }
                    None => found.without = Some(number),
                }
                number
            });
            found.domains[number].apis.push(place);
            let (lists, others) = &mut seen[number];
            *lists |= treatment == Treatment::AllowList;
            *others |= treatment != Treatment::AllowList;
            let demand = &mut found.domains[number].demand;
            *demand = match (*lists, *others) {
                (true, false) => Demand::Require,
                (true, true) => Demand::Ask,
                _ if treatment == Treatment::Session => Demand::Ask,
                _ => *demand,
            };
        }
        found
    }

    /// The domains, in the order in which they were first named.
    #[must_use]
    pub fn domains(&self) -> &[Domain] {
        &self.domains
    }

    /// Domains that are one host, with their places among [`Handshakes::domains`].
    pub fn hosts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.exact
            .iter()
            .map(|(host, number)| (host.as_str(), *number))
    }

    /// The domain of APIs without one.
    #[must_use]
    pub fn without_domain(&self) -> Option<usize> {
        self.without
    }

    /// Domains that are patterns: their places among [`Handshakes::domains`].
    pub fn patterns(&self) -> impl Iterator<Item = usize> {
        self.patterns.iter().map(|(_, number)| *number)
    }

    /// Which domains decide about a host; an empty one is a client that names none.
    #[must_use]
    pub fn decide(&self, host: &str) -> Deciding {
        let host = normalize_host(host);
        if let Some(number) = self.exact.get(&*host) {
            return Deciding::Domain(*number);
        }
        if !host.is_empty() {
            let request = RequestHost::parse(&host);
            let mut matching: Vec<usize> = self
                .patterns
                .iter()
                .filter(|(rule, _)| rule.accepts(&request))
                .map(|(_, number)| *number)
                .collect();
            matching.sort_unstable();
            match *matching {
                [] => {}
                [only] => return Deciding::Domain(only),
                _ => return Deciding::Patterns(matching),
            }
        }
        self.without.map_or(Deciding::Nobody, Deciding::Domain)
    }
}

fn rule(domain: &str) -> Result<Option<HostRule>, PatternError> {
    if domain.is_empty() {
        return Ok(None);
    }
    HostRule::parse(domain).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Treatment::{AllowList, Open, Session};

    fn demand(apis: &[(Option<&str>, Treatment)], host: &str) -> Demand {
        let handshakes = Handshakes::of(apis.iter().copied());
        let of = |number: usize| handshakes.domains()[number].demand;
        match handshakes.decide(host) {
            Deciding::Domain(number) => of(number),
            Deciding::Patterns(numbers) => numbers.into_iter().map(of).max().unwrap(),
            Deciding::Nobody => Demand::Nothing,
        }
    }

    #[test]
    fn a_domain_requires_only_what_all_its_apis_need() {
        let on = |treatments: &[Treatment]| {
            let apis: Vec<_> = treatments.iter().map(|t| (Some("a.test"), *t)).collect();
            demand(&apis, "a.test")
        };
        assert_eq!(on(&[Open, Open]), Demand::Nothing);
        assert_eq!(on(&[AllowList, AllowList]), Demand::Require);
        // In any order.
        for pair in [
            [AllowList, Open],
            [Open, AllowList],
            [AllowList, Session],
            [Session, AllowList],
        ] {
            assert_eq!(on(&pair), Demand::Ask, "{pair:?}");
        }
        assert_eq!(on(&[Session, Open]), Demand::Ask);
        assert_eq!(on(&[Open, Session]), Demand::Ask);
        assert_eq!(on(&[Open, AllowList, AllowList]), Demand::Ask);
    }

    #[test]
    fn a_host_is_looked_up_exactly_then_by_pattern_then_without_a_domain() {
        let apis = [
            (Some("Open.test"), Open),
            (Some("{sub}.test"), AllowList),
            (None, Session),
        ];
        assert_eq!(demand(&apis, "open.test"), Demand::Nothing);
        assert_eq!(demand(&apis, "OPEN.test."), Demand::Nothing);
        assert_eq!(demand(&apis, "other.test"), Demand::Require);
        assert_eq!(demand(&apis, "a.b.test"), Demand::Ask);
        assert_eq!(demand(&apis, ""), Demand::Ask);
        assert_eq!(demand(&apis[..2], "elsewhere"), Demand::Nothing);
    }

    #[test]
    fn patterns_that_match_alike_decide_together() {
        let apis = [(Some("{a}.test"), Open), (Some("{b:x.*}.test"), AllowList)];
        let handshakes = Handshakes::of(apis);
        assert_eq!(handshakes.decide("xy.test"), Deciding::Patterns(vec![0, 1]));
        assert_eq!(demand(&apis, "xy.test"), Demand::Require);
        assert_eq!(demand(&apis, "y.test"), Demand::Nothing);
    }
}
