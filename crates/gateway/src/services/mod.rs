//! Calls that the gateway makes itself: to identity providers, receivers of webhooks, upstreams it tests, and
//! whoever tells it addresses (`external_services`, outbound sheet 8).
//!
//! ```text
//! Services     one Client for each Service, made once at start from the configuration
//! Client       call(request) -> Answer | CallError
//! settings     what a client is made of, and how long it waits
//! proxies      which proxy leads to a target; bypass the targets reached without
//! material     certificates and authorities, read from files or the store, noticed when they change
//! connect      TCP, TLS to a proxy, CONNECT, TLS to the target
//! failure      at which hop a call failed, at which check, and what to do
//! dashboard, bridge   the ways to a control plane, for the roles that have one
//! ```
//!
//! How to use it, on the control side's runtime:
//!
//! ```text
//! let client = services.client(Service::Oauth);                  // cheap to clone, keep it
//! let request = Request::get(url).body(Bytes::new())?;           // http::Request<Bytes>, an absolute URL
//! let answer = client.call(request).await?;                      // answer.status, .fields, .body
//! let answer = client.call_within(request, limit).await?;        // with a time limit of one's own
//! ```
//!
//! Name and password in the URL become `Authorization: Basic`. Redirections are answers like any other and
//! not followed: where a secret may go is for the caller to decide. Bodies are bounded
//! ([`CallError::TooLarge`]).
//!
//! What becomes of connections is noted by place ([`Contacts`]), for `GET /tyk/links`.
//!
//! Invariants:
//! - With `mtls.enabled` nothing is called without what it asks for: what cannot be used is
//!   [`CallError::Settings`], and a plain `http://` address is refused.
//! - Files and entries of the store that have changed act at the next call; a connection kept from before is
//!   not used any more.
//! - A call ends within its time limit, from the first look at the files to the last byte of the answer.
//! - Errors name hosts and keys, never paths, queries, passwords or bodies.
//! - Nothing here runs on a worker.

mod bridge;
mod bypass;
mod client;
mod connect;
mod dashboard;
mod failure;
mod material;
mod proxies;
mod settings;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub use tests::services_on;

use portcullis_config::GatewayConfig;
use portcullis_store::Certificates;

pub use bridge::{Bridge, BridgeStream};
pub use client::{Answer, Client};
pub(crate) use connect::Target;
pub use connect::basic;
pub use dashboard::Dashboard;
pub use failure::{CallError, WayError};

pub use self::proxies::{Environment, Proxies};
use self::settings::Settings;
pub use crate::links::Contacts;

/// Whom the gateway calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Identity providers: key sets, introspection, tokens (`external_services.oauth`).
    Oauth,
    /// Receivers of events (`external_services.webhooks`).
    Webhooks,
    /// Upstreams that are tested (`external_services.health`).
    Health,
    /// Whoever tells addresses of upstreams (`external_services.discovery`).
    Discovery,
}

impl Service {
    /// Each of them.
    pub(crate) const ALL: [Self; 4] = [Self::Oauth, Self::Webhooks, Self::Health, Self::Discovery];

    /// What its block is called in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oauth => "oauth",
            Self::Webhooks => "webhooks",
            Self::Health => "health",
            Self::Discovery => "discovery",
        }
    }
}

/// A client for each service. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    clients: [Client; 4],
    contacts: Contacts,
}

impl Services {
    /// The clients that a configuration describes. Nothing is read or connected to yet.
    pub fn new(config: &GatewayConfig, certificates: &Certificates) -> Self {
        let environment = Environment::of_process();
        let contacts = Contacts::default();
        let clients = Service::ALL.map(|service| {
            let settings = Settings::of(service, config, &environment);
            Client::new(
                settings,
                config.key_passphrase().clone(),
                certificates.clone(),
                contacts.clone(),
            )
        });
        Self { clients, contacts }
    }

    /// The places that were called, and what became of it.
    pub(crate) fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// The client of a service.
    pub fn client(&self, service: Service) -> &Client {
        let place = match service {
            Service::Oauth => 0,
            Service::Webhooks => 1,
            Service::Health => 2,
            Service::Discovery => 3,
        };
        &self.clients[place]
    }
}
