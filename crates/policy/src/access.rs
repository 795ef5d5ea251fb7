//! What a session opens, and within which limits.
//!
//! A session is prepared once, when it is loaded; asking costs a look into a map and, where its
//! rights speak of paths, regular expressions that are compiled already.
//!
//! Invariants:
//! - What cannot be read opens nothing: a broken expression among allowed URLs matches no path.
//! - A limit that cannot be read is applied to more requests rather than to fewer.
//! - Limits with the same counter name share one counter.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use portcullis_apidef::session::{AccessRight, AllowedUrl, EndpointLimit, Limit, Session};
use regex::Regex;

use crate::path::{is_plain, loose_reading, strict_reading};
use crate::pattern::path_pattern;

/// A session prepared for questions.
#[derive(Debug)]
pub struct Access {
    inactive: bool,
    expires: i64,
    rights: Rights,
    counters: Vec<Counter>,
    problems: Vec<String>,
}

/// A counter of rates: what its name is made of, and the longest time it counts for.
#[derive(Debug)]
struct Counter {
    scope: String,
    endpoint: String,
    longest: f64,
}

/// What is open.
#[derive(Debug)]
enum Rights {
    /// The APIs listed, by id.
    Listed(HashMap<String, Right>),
    /// Every API of an organisation.
    Everything { org_id: String, right: Box<Right> },
    /// Nothing at all.
    Nothing,
}

/// What a session may do on one API.
#[derive(Debug)]
pub struct Right {
    urls: Vec<UrlRule>,
    /// Some URL is listed, so those that are not are closed.
    by_url: bool,
    rate: Option<RateLimit>,
    endpoints: Vec<EndpointRule>,
    throttle: Option<Throttle>,
    quota: Option<QuotaLimit>,
}

#[derive(Debug)]
struct UrlRule {
    path: Regex,
    methods: Vec<String>,
}

#[derive(Debug)]
struct EndpointRule {
    /// `None` for an expression that cannot be read, which then stands for every path.
    path: Option<Regex>,
    method: String,
    rate: Option<RateLimit>,
}

/// So many requests in so much time.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimit {
    /// Requests; at least one gets through in each window.
    pub requests: f64,
    /// Seconds of a window.
    pub per: f64,
    /// Which of [`Access::counters`] counts.
    pub counter: usize,
}

/// A request over its rate waits and tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// How long it waits.
    pub interval: Duration,
    /// How often it tries again.
    pub tries: u32,
}

/// So many requests in a longer time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaLimit {
    /// Requests.
    pub most: i64,
    /// After what time it starts anew; `None` never.
    pub renewal: Option<Duration>,
    /// Whose counter: what stands before the key's name, with its hyphen.
    pub scope: String,
}

/// Why a session opens nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Somebody switched it off.
    Inactive,
    /// Its time is over.
    Expired,
    /// It does not open this API.
    Api,
}

impl Access {
    /// Prepares a session whose policies have been applied. With `master_keys`, a session without any
    /// right opens every API of its organisation; without, nothing.
    #[must_use]
    pub fn of(session: &Session, master_keys: bool) -> Self {
        let mut making = Making::default();
        let rights = if !session.access_rights.is_empty() {
            let listed = session.access_rights.iter();
            Rights::Listed(
                listed
                    .map(|(id, right)| (id.clone(), making.right(session, right)))
                    .collect(),
            )
        } else if master_keys {
            Rights::Everything {
                org_id: session.org_id.clone(),
                right: Box::new(making.right(session, &AccessRight::default())),
            }
        } else {
            Rights::Nothing
        };
        Self {
            inactive: session.is_inactive,
            expires: session.expires,
            rights,
            counters: making.counters,
            problems: making.problems,
        }
    }

    /// What it may do on an API at a time in Unix seconds.
    ///
    /// # Errors
    /// [`Denial`].
    pub fn right(&self, api_id: &str, org_id: &str, now: i64) -> Result<&Right, Denial> {
        if self.inactive {
            return Err(Denial::Inactive);
        }
        if self.expires > 0 && self.expires < now {
            return Err(Denial::Expired);
        }
        match &self.rights {
            Rights::Listed(listed) => listed.get(api_id).ok_or(Denial::Api),
            Rights::Everything { org_id: own, right } if own == org_id => Ok(right),
            Rights::Everything { .. } | Rights::Nothing => Err(Denial::Api),
        }
    }

    /// How many counters its rates have.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.counters.len()
    }

    /// The whole name of a counter for the key stored as `key`; `hash` shortens the name of an
    /// endpoint.
    #[must_use]
    pub fn counter_name(&self, counter: usize, key: &str, hash: impl Fn(&str) -> String) -> String {
        let Counter {
            scope, endpoint, ..
        } = &self.counters[counter];
        match endpoint.as_str() {
            "" => format!("rate-limit-{scope}{key}"),
            endpoint => format!("rate-limit-{scope}{key}-{}", hash(endpoint)),
        }
    }

    /// The longest time in seconds that a counter counts for.
    #[must_use]
    pub fn longest(&self, counter: usize) -> f64 {
        self.counters[counter].longest
    }

    /// What could not be read, for the log.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl Right {
    /// Whether it opens a path, given as it stands behind the listen path, for a method. Of a path that
    /// can be read in two ways both must be open.
    #[must_use]
    pub fn opens(&self, method: &str, path: &str) -> bool {
        if !self.by_url {
            return true;
        }
        let Some((strict, loose)) = readings(path) else {
            return false;
        };
        self.lists(method, &strict) && (strict == loose || self.lists(method, &loose))
    }

    fn lists(&self, method: &str, path: &str) -> bool {
        self.urls.iter().any(|rule| {
            rule.methods.iter().any(|allowed| allowed == method) && rule.path.is_match(path)
        })
    }

    /// The rate of a request: its endpoint's, else the key's.
    #[must_use]
    pub fn rate(&self, method: &str, path: &str) -> Option<&RateLimit> {
        if !self.endpoints.is_empty() {
            let read = readings(path);
            let found = self.endpoints.iter().find(|rule| {
                let applies = match (&rule.path, &read) {
                    (Some(path), Some((_, loose))) => path.is_match(loose),
                    _ => true,
                };
                rule.method == method && applies
            });
            if let Some(rule) = found {
                return rule.rate.as_ref();
            }
        }
        self.rate.as_ref()
    }

    /// What a request over its rate does.
    #[must_use]
    pub fn throttle(&self) -> Option<Throttle> {
        self.throttle
    }

    /// Its quota.
    #[must_use]
    pub fn quota(&self) -> Option<&QuotaLimit> {
        self.quota.as_ref()
    }
}

/// A path in its strictest and its loosest reading; `None` for one that has no loose reading.
fn readings(path: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if is_plain(path.as_bytes()) {
        return Some((Cow::Borrowed(path), Cow::Borrowed(path)));
    }
    let loose = loose_reading(path)?;
    let text = |bytes: &[u8]| Cow::Owned(String::from_utf8_lossy(bytes).into_owned());
    Some((text(&strict_reading(path)), text(&loose)))
}

#[derive(Default)]
struct Making {
    counters: Vec<Counter>,
    problems: Vec<String>,
}

impl Making {
    fn right(&mut self, session: &Session, right: &AccessRight) -> Right {
        let limit = if right.limit.is_zero() {
            key_limit(session)
        } else {
            right.limit.clone()
        };
        let scope = match right.allowance_scope.as_str() {
            "" => String::new(),
            scope => format!("{scope}-"),
        };
        Right {
            urls: right
                .allowed_urls
                .iter()
                .filter_map(|allowed| self.url(allowed))
                .collect(),
            by_url: !right.allowed_urls.is_empty(),
            rate: self.rate(&limit, &scope, String::new()),
            endpoints: right
                .endpoints
                .iter()
                .flat_map(|endpoint| self.endpoint(endpoint, &scope))
                .collect(),
            throttle: throttle(&limit),
            quota: (limit.quota_max > 0).then(|| QuotaLimit {
                most: limit.quota_max,
                renewal: u64::try_from(limit.quota_renewal_rate)
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs),
                scope,
            }),
        }
    }

    fn url(&mut self, allowed: &AllowedUrl) -> Option<UrlRule> {
        match Regex::new(&path_pattern(&allowed.url)) {
            Ok(path) => Some(UrlRule {
                path,
                methods: allowed.methods.clone(),
            }),
            Err(error) => {
                self.problems.push(format!(
                    "the allowed URL {:?} opens nothing: {error}",
                    allowed.url
                ));
                None
            }
        }
    }

    fn endpoint(&mut self, endpoint: &EndpointLimit, scope: &str) -> Vec<EndpointRule> {
        let path = Regex::new(&path_pattern(&endpoint.path)).map_err(|error| {
            self.problems.push(format!(
                "the limit of endpoint {:?} applies to every path: {error}",
                endpoint.path
            ));
        });
        let rules = endpoint.methods.iter().map(|method| {
            let counter = format!("{}:{}", method.name, endpoint.path);
            EndpointRule {
                path: path.clone().ok(),
                method: method.name.clone(),
                rate: self.rate(&method.limit, scope, counter),
            }
        });
        rules.collect()
    }

    fn rate(&mut self, limit: &Limit, scope: &str, endpoint: String) -> Option<RateLimit> {
        if limit.rate <= 0.0 || limit.per <= 0.0 {
            return None;
        }
        let known = self
            .counters
            .iter()
            .position(|known| known.scope == scope && known.endpoint == endpoint);
        let counter = known.unwrap_or_else(|| {
            self.counters.push(Counter {
                scope: scope.to_owned(),
                endpoint,
                longest: 0.0,
            });
            self.counters.len() - 1
        });
        let longest = &mut self.counters[counter].longest;
        *longest = longest.max(limit.per);
        Some(RateLimit {
            requests: limit.rate,
            per: limit.per,
            counter,
        })
    }
}

fn throttle(limit: &Limit) -> Option<Throttle> {
    let tries = u32::try_from(limit.throttle_retry_limit).unwrap_or(0);
    let interval = Duration::try_from_secs_f64(limit.throttle_interval).unwrap_or_default();
    (tries > 0 && !interval.is_zero()).then_some(Throttle { interval, tries })
}

/// The limits of the key as a whole.
fn key_limit(session: &Session) -> Limit {
    Limit {
        rate: session.rate,
        per: session.per,
        throttle_interval: session.throttle_interval,
        throttle_retry_limit: session.throttle_retry_limit,
        quota_max: session.quota_max,
        quota_renewal_rate: session.quota_renewal_rate,
        ..Limit::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_apidef::session::MethodLimit;

    fn session(json: &str) -> Session {
        serde_json::from_str(json).expect("a session")
    }

    #[test]
    fn a_session_opens_the_apis_it_lists_while_it_is_active_and_not_expired() {
        let open = session(r#"{"access_rights": {"a": {}}, "expires": 100}"#);
        let access = Access::of(&open, true);
        assert!(access.right("a", "o", 100).is_ok());
        assert_eq!(access.right("a", "o", 101).err(), Some(Denial::Expired));
        assert_eq!(access.right("b", "o", 0).err(), Some(Denial::Api));
        let asleep = Session {
            is_inactive: true,
            ..open
        };
        let access = Access::of(&asleep, true);
        assert_eq!(access.right("a", "o", 101).err(), Some(Denial::Inactive));
    }

    #[test]
    fn a_session_without_rights_opens_its_organisation_only_where_master_keys_are_allowed() {
        let master = session(r#"{"org_id": "o"}"#);
        assert!(Access::of(&master, true).right("a", "o", 0).is_ok());
        assert_eq!(
            Access::of(&master, true).right("a", "p", 0).err(),
            Some(Denial::Api)
        );
        assert_eq!(
            Access::of(&master, false).right("a", "o", 0).err(),
            Some(Denial::Api)
        );
    }

    fn by_url(urls: &str) -> Access {
        let text = format!(r#"{{"access_rights": {{"a": {{"allowed_urls": {urls}}}}}}}"#);
        Access::of(&session(&text), false)
    }

    #[test]
    fn listed_urls_close_every_other_path_and_method() {
        let access = by_url(r#"[{"url": "^/pets/{id}$", "methods": ["GET"]}]"#);
        let right = access.right("a", "", 0).expect("a right");
        assert!(right.opens("GET", "/pets/7"));
        assert!(!right.opens("POST", "/pets/7"));
        assert!(!right.opens("GET", "/pets/7/toys"));
    }

    #[test]
    fn a_path_with_two_readings_must_be_open_in_both() {
        let access = by_url(r#"[{"url": "^/public/", "methods": ["GET"]}]"#);
        let right = access.right("a", "", 0).expect("a right");
        assert!(right.opens("GET", "/public/a%20b"));
        assert!(right.opens("GET", "/p%75blic/a"));
        assert!(!right.opens("GET", "/public%2fa"));
    }

    #[test]
    fn a_broken_expression_opens_nothing_and_is_told() {
        let access = by_url(r#"[{"url": "(", "methods": ["GET"]}]"#);
        assert!(!access.right("a", "", 0).expect("a right").opens("GET", "/"));
        assert_eq!(access.problems().len(), 1);
    }

    #[test]
    fn the_limit_of_an_api_replaces_the_keys_and_endpoints_replace_both() {
        let mut session = session(
            r#"{"rate": 5, "per": 1, "quota_max": 7, "quota_renewal_rate": 60, "access_rights": {
                "a": {},
                "b": {"allowance_scope": "b", "limit": {"rate": 2, "per": 3, "quota_max": -1}}}}"#,
        );
        let limited = |rate, per| Limit {
            rate,
            per,
            ..Limit::default()
        };
        session.access_rights.get_mut("b").expect("b").endpoints = vec![EndpointLimit {
            path: "^/slow".into(),
            methods: vec![
                MethodLimit {
                    name: "GET".into(),
                    limit: limited(1.0, 60.0),
                },
                MethodLimit {
                    name: "POST".into(),
                    limit: limited(-1.0, 1.0),
                },
            ],
        }];
        let access = Access::of(&session, false);
        let name = |rate: &RateLimit| access.counter_name(rate.counter, "K", |e| format!("#{e}"));
        let (a, b) = (
            access.right("a", "", 0).expect("a"),
            access.right("b", "", 0).expect("b"),
        );
        let rate = a.rate("GET", "/slow").expect("a rate");
        assert_eq!((rate.requests, rate.per), (5.0, 1.0));
        assert_eq!(name(rate), "rate-limit-K");
        assert_eq!(a.quota().expect("a quota").most, 7);
        let rate = b.rate("GET", "/fast").expect("a rate");
        assert_eq!((rate.requests, rate.per), (2.0, 3.0));
        assert_eq!(name(rate), "rate-limit-b-K");
        assert_eq!(b.quota(), None);
        let rate = b.rate("GET", "/slow").expect("a rate");
        assert_eq!((rate.requests, rate.per), (1.0, 60.0));
        assert_eq!(name(rate), "rate-limit-b-K-#GET:^/slow");
        assert_eq!(b.rate("POST", "/slow"), None);
    }
}
