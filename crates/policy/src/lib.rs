//! Every decision about a request, as a pure function of a snapshot.
//!
//! The gateway asks and acts; `portcullis check` asks and prints. Both call the same
//! functions, so what `check` says is what happens. Nothing here does I/O, reads a clock
//! or keeps state between calls.
//!
//! - [`RouteTable`]: which API answers a host and a path on one HTTP port.
//! - [`TcpTable`]: which service a raw TCP or TLS connection reaches on one port.
//! - [`clean_path`]: the path a request is routed by, or why it must be refused.
//! - [`Access`]: what a session opens, and within which limits.
//! - [`AllowList`]: which client certificates pass.
//! - [`Handshakes`]: what a handshake asks of clients, host by host.
//! - [`DomainMap`]: what is said of upstreams by host.
//! - [`VersionSelector`]: which version of a base API a request asks for.

mod access;
mod allow_list;
mod builder;
mod candidate;
mod domain_map;
mod explain;
mod handshake;
mod host;
mod index;
mod path;
mod pattern;
mod prefix_map;
mod problem;
mod route;
mod table;
mod tcp;
mod template;
mod version;

pub use access::{Access, Denial, QuotaLimit, RateLimit, Right, Throttle};
pub use allow_list::{AllowList, AllowListBuilder, Allowed, NotAllowed};
pub use candidate::{Candidate, Quarantined, port_protocols};
pub use domain_map::{DomainError, DomainMap};
pub use explain::{ExplainedAnswer, ExplainedRoute};
pub use handshake::{Deciding, Demand, Domain, Handshakes, Treatment};
pub use host::normalize_host;
pub use path::{Cleaning, PathError, clean_path};
pub use pattern::path_pattern;
pub use problem::RouteProblem;
pub use route::{Answer, Match, Route};
pub use table::{RouteOptions, RouteTable};
pub use tcp::TcpTable;
pub use template::PatternError;
pub use version::{VersionDecision, VersionFacts, VersionSelector, VersionStrip};
