//! What the end-to-end tests share: the real program, real clients, certificates, upstreams.
//!
//! Invariants: everything happens on loopback addresses; a test waits for conditions, never for
//! time to pass; what a test started is gone when it ends.

pub mod certs;
pub mod curl;
pub mod doctor;
pub mod echo;
pub mod forward;
pub mod gateway;
pub mod jwt;
pub mod keys;
pub mod log;
pub mod memory;
pub mod mtls;
pub mod oauth;
pub mod openssl;
pub mod ports;
pub mod program;
pub mod raw;
pub mod receiver;
pub mod redis;
pub mod revoker;
pub mod squid;
pub mod store_steps;
pub mod tls;
pub mod upstream;
pub mod wait;
pub mod wire;
