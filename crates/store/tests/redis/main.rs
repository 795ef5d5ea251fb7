//! The Redis engine against real servers.
//!
//! ```text
//! topologies  the rules of the store: alone, with TLS, behind a sentinel, in a cluster
//! security    passwords, certificates, versions: who gets in, and what is said about who does not
//! faults      killed, paused, slow, full, cut
//! renewal     certificates change while commands run
//! messages    what nodes tell each other
//! kit         settings, certificates, waiting, a proxy
//! servers     real servers, started and ended
//! ```

#[path = "../contract/mod.rs"]
mod contract;
mod faults;
mod kit;
mod messages;
mod renewal;
mod security;
mod servers;
mod topologies;
