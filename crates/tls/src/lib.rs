//! The TLS engine of Portcullis, in front and towards upstreams.
//!
//! This is the only crate with `unsafe`: what the library's safe face lacks is reached in
//! `sys`, `tickets` and the callbacks of [`server`], block by block.
//!
//! - [`version`], [`cipher`]: configuration values to what a side speaks.
//! - [`serving`], [`policy`], [`client_trust`]: which certificate a client sees, what is asked of it, who is
//!   let in.
//! - [`server`], [`tickets`]: accepting handshakes, resuming sessions.
//! - [`client`], [`roots`], [`identity`]: handshakes with upstreams, whom to trust, whom to be.
//! - [`probe`]: one look at a live server.
//! - [`stream`](mod@stream), [`buffer`]: TLS over an asynchronous transport, without memory while idle.
//! - [`offer`], [`negotiated`], [`failure`]: what a client offers, what a handshake agreed on, or why it
//!   failed.
//! - [`contact`]: what became of the connections to one place elsewhere.

mod hello;
mod signatures;
mod sys;

pub mod buffer;
pub mod cipher;
pub mod client;
pub mod client_trust;
pub mod contact;
pub mod failure;
pub mod identity;
pub mod negotiated;
pub mod offer;
pub mod policy;
pub mod probe;
pub mod roots;
pub mod server;
pub mod serving;
pub mod stream;
pub mod tickets;
pub mod version;

pub use cipher::CipherList;
pub use client::{ClientConfig, ClientSettings, Pins, Renegotiation, Verification};
pub use client_trust::ClientTrust;
pub use contact::Contact;
pub use failure::{HandshakeFailure, UpstreamCheck, UpstreamTlsFailure};
pub use identity::Identity;
pub use negotiated::Negotiated;
pub use offer::Offer;
pub use policy::{ClientCertificate, Manner, Policies, Policy};
pub use roots::Roots;
pub use server::{ServerConfig, ServerSettings};
pub use serving::{Replacement, ServingSet};
pub use tickets::TicketKeys;
pub use version::{Side, VersionRange};
