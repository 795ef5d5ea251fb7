//! The Redis engine against real servers.
//!
//! ```text
//! contract  the rules of the store: alone, with TLS, behind a sentinel, in a cluster
//! security  passwords, certificates, versions: who gets in, and what is said to who does not
//! faults    killed, paused, slow, full, cut
//! renewal   certificates change while commands run
//! messages  what nodes tell each other
//! ```

#[path = "../contract/mod.rs"]
mod contract;
mod faults;
mod kit;
mod messages;
#[path = "../../../../tests/src/redis.rs"]
#[allow(
    dead_code,
    reason = "shared with the end-to-end tests, each of which uses a part"
)]
mod redis;
mod renewal;
mod security;
mod topologies;
