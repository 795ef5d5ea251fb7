//! `tyk.conf` and its environment as checked types.
//!
//! One table ([`table`]) names every key with its type, default, effect and status. [`load`]
//! reads file and environment by that table and either hands out a [`GatewayConfig`] whose
//! values have all been judged, or every [`Problem`] there is, at once.
//!
//! Invariants:
//! - Nothing written is silently ignored: unknown keys, keys of features that are not here
//!   and values that cannot be right are all reported.
//! - A protection that is asked for and not built yet keeps the gateway from starting.
//! - No secret appears in a problem, a `Debug` or a `Display`.
//!
//! This crate knows no TLS: version numbers, cipher names and certificate references leave
//! it as they were written.

mod causes;
mod checked;
mod compound;
mod document;
mod environment;
mod file_keys;
mod foreign;
pub mod key;
mod load;
mod nearest;
mod page;
mod paths;
mod ports;
mod problem;
mod proxy;
pub mod references;
mod schema;
mod secret;
mod settings;
mod shown;
pub mod table;
mod together;
mod value;

pub use causes::causes;
pub use checked::{
    Bridge, Control, CrlMode, Dashboard, Definitions, DnsMonitor, ExpiryMonitor, ExternalProxies,
    ExternalService, ExternalServices, GatewayConfig, Identity, Listen, LogFormat, LogLevel, Logs,
    MutualTls, PolicySource, ProxyTls, Redis, Renegotiation, Security, Server, Signals, TlsKeys,
    TrafficLimits, Upstream, UptimeTests,
};
pub use compound::{CertificatePair, MessageOverride, ProxyProtocol};
pub use load::{Loaded, load, load_text};
pub use page::reference_page;
pub use paths::BasePaths;
pub use ports::{PortNotAllowed, PortRules, PortWhitelist};
pub use problem::{Origin, Problem, Problems, Severity};
pub use proxy::{ProxyAddress, ProxyAddressError};
pub use references::{References, Resolver};
pub use schema::json_schema;
pub use secret::Secret;

#[cfg(test)]
mod tests;
