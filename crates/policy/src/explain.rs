//! What each host and listen path of a port would do, for `portcullis check`.

use std::fmt;

use portcullis_apidef::{Api, Protocol};

use crate::candidate::Candidate;
use crate::route::{Answer, Route};
use crate::table::RouteTable;

/// One line of [`RouteTable::explain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedRoute {
    /// Port of the table.
    pub port: u16,
    /// What the port speaks, or, when that is not what the API wants, what it wants.
    pub protocol: Protocol,
    /// Custom domain; `None` for any host, or the gateway's `hostname`.
    pub host: Option<String>,
    /// Listen path in force.
    pub path: String,
    /// `api_id`.
    pub api_id: String,
    /// The human name.
    pub name: String,
    /// What a request gets.
    pub answer: ExplainedAnswer,
    /// Where requests go, `scheme://host[:port]/path`; empty unless served.
    pub upstream: String,
}

/// What a request to a listed path gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExplainedAnswer {
    /// The API answers.
    Served,
    /// 503, and why.
    Quarantined {
        /// The reason.
        reason: String,
        /// False: no host or path leads to the API, so its requests get what others answer.
        mounted: bool,
    },
    /// Not routed: `active: false`.
    Inactive,
    /// Not routed: `internal: true`.
    Internal,
    /// Not routed: the port speaks another protocol.
    WrongProtocol,
}

impl fmt::Display for ExplainedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served => f.write_str("served"),
            Self::Quarantined {
                reason,
                mounted: true,
            } => write!(f, "quarantined: {reason}"),
            Self::Quarantined {
                reason,
                mounted: false,
            } => {
                write!(f, "quarantined, not mounted: {reason}")
            }
            Self::Inactive => f.write_str("inactive"),
            Self::Internal => f.write_str("internal"),
            Self::WrongProtocol => f.write_str("not reachable: the port speaks another protocol"),
        }
    }
}

impl RouteTable {
    /// One line for every route by precedence, then one for every API of the port that is
    /// not routed, in load order.
    #[must_use]
    pub fn explain(&self) -> Vec<ExplainedRoute> {
        let routed = self.routes().iter().map(|route| self.explain_route(route));
        let unrouted = self.unrouted.iter().map(|unrouted| unrouted.explain(self));
        routed.chain(unrouted).collect()
    }

    fn explain_route(&self, route: &Route) -> ExplainedRoute {
        let (answer, upstream) = match &route.answer {
            Answer::Serve(api) => (ExplainedAnswer::Served, upstreams(api)),
            Answer::Quarantined(api) => {
                let reason = api.reason.clone();
                (
                    ExplainedAnswer::Quarantined {
                        reason,
                        mounted: true,
                    },
                    String::new(),
                )
            }
        };
        ExplainedRoute {
            port: self.port,
            protocol: self.protocol,
            host: route.host.as_deref().map(str::to_owned),
            path: route.listen_path.to_string(),
            api_id: route.api_id().to_owned(),
            name: route.name().to_owned(),
            answer,
            upstream,
        }
    }
}

/// An API of the port that has no place in the table.
#[derive(Debug)]
pub(crate) struct Unrouted {
    candidate: Candidate,
    protocol: Option<Protocol>,
    answer: ExplainedAnswer,
}

impl Unrouted {
    pub(crate) fn inactive(candidate: &Candidate) -> Self {
        Self::new(candidate, ExplainedAnswer::Inactive)
    }

    pub(crate) fn internal(candidate: &Candidate) -> Self {
        Self::new(candidate, ExplainedAnswer::Internal)
    }

    pub(crate) fn quarantined(candidate: &Candidate) -> Self {
        let reason = match candidate {
            Candidate::Quarantined(api) => api.reason.clone(),
            Candidate::Ready(_) => String::new(),
        };
        Self::new(
            candidate,
            ExplainedAnswer::Quarantined {
                reason,
                mounted: false,
            },
        )
    }

    pub(crate) fn wrong_protocol(candidate: &Candidate, wanted: Protocol) -> Self {
        let unrouted = Self::new(candidate, ExplainedAnswer::WrongProtocol);
        Self {
            protocol: Some(wanted),
            ..unrouted
        }
    }

    fn new(candidate: &Candidate, answer: ExplainedAnswer) -> Self {
        Self {
            candidate: candidate.clone(),
            protocol: None,
            answer,
        }
    }

    fn explain(&self, table: &RouteTable) -> ExplainedRoute {
        ExplainedRoute {
            port: table.port,
            protocol: self.protocol.unwrap_or(table.protocol),
            host: self.candidate.domain().map(str::to_owned),
            path: self.candidate.listen_path().to_owned(),
            api_id: self.candidate.id().to_owned(),
            name: self.candidate.name().to_owned(),
            answer: self.answer.clone(),
            upstream: String::new(),
        }
    }
}

fn upstreams(api: &Api) -> String {
    let urls = api.upstream.targets.iter().map(|target| {
        let scheme = format!("{:?}", target.scheme).to_ascii_lowercase();
        format!("{scheme}://{}{}", target.authority, target.path)
    });
    let mut urls: Vec<String> = urls.collect();
    urls.dedup();
    urls.join(", ")
}
