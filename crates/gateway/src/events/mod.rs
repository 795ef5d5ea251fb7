//! Events: what happens to an API and is told to whom its definition names.
//!
//! ```text
//! a request meets an allow list ── a flag of the list
//! ExpiryMonitor   looks at the lists whose flag is set ──> Event
//! health::watch   looks at what happened to breakers ────> Event
//! health::Tester  tests hosts of upstreams ──────────────> Event
//! Handlers        who an API's events are told to, prepared with the snapshot
//! Deliveries      log lines at once, webhooks by a bounded queue and a task of their own
//! ```
//!
//! Invariant: nothing here is on a request's way but setting a flag; a receiver that is slow or away costs
//! deliveries, never traffic.

mod certificate;
mod cooldown;
mod delivery;
mod event;
mod handlers;
mod monitor;
mod template;
mod webhook;

pub use certificate::CertificateFacts;
pub use delivery::Deliveries;
pub use event::Event;
pub use handlers::Handlers;
pub use monitor::ExpiryMonitor;
