//! The gateway: listeners, routing, proxying, Control API.
//!
//! [`run`] runs one from start to stop; [`check`] looks at a configuration the way a start would.
//! ARCHITECTURE.md tells the life of a connection and of a request.

mod access;
mod aside;
mod build;
mod certificate_watch;
mod certificates;
mod clients;
mod connection;
pub mod control;
mod control_link;
mod definitions;
mod diagnosis;
mod engine;
mod events;
mod flight;
mod health;
pub mod http1;
mod inventory;
mod links;
mod listen;
mod live;
mod loader_thread;
mod nodes;
pub mod observe;
mod outward;
mod overrides;
mod policies;
mod proxy;
pub mod proxy_protocol;
mod run;
pub mod services;
mod settings;
mod shared_tickets;
mod snapshot;
mod stores;
mod timers;
mod transport;
mod upstream_tokens;
mod watch;
mod whole_file;
mod worker;

pub use access::jwt::signed_claims;
pub use build::{BuildError, CrlInUse, ExplainedPort, Finding};
pub use diagnosis::{Diagnosis, Outcome, Question, Step, diagnose};
pub use engine::ReloadError;
pub use listen::BindError;
pub use outward::{Destination, reach};
pub use run::{LookIntoStore, Ready, Report, RunOptions, StartError, Stopped, check, run};
