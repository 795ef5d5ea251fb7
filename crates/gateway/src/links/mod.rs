//! The outgoing links of the gateway, each with whom it was connected to last, or why not: upstreams and the proxies
//! before them, the store, and whatever else is called.
//!
//! ```text
//! contacts    the places that the control side calls; one call gives a new one
//! upstreams   links of APIs: what the snapshot names
//! services    links of services: whom APIs have the gateway call, and whom it called
//! link, row   a link, and how it is shown
//! ```
//!
//! Whoever makes a connection notes what came of it ([`Contact`](portcullis_tls::Contact)), a worker in a few atomic
//! steps. What is configured is looked up when somebody asks, so a link that was never used is shown as well.
//!
//! Invariants:
//! - Nothing is noted with a request: connections are counted where they are made.
//! - No name, password, path or query of a URL is shown, and no key.

mod contacts;
mod link;
mod row;
mod services;
mod upstreams;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use self::link::Link;
pub use self::{
    contacts::{Contacts, Place},
    link::{Verified, own},
    row::Row,
};
use crate::{
    live::Live,
    services::{Service, Services},
    stores::Stores,
};

/// What a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An upstream of APIs.
    Upstream,
    /// A forward proxy on the way to something else.
    Proxy,
    /// A Redis.
    Redis,
    /// A provider of identities.
    Oauth,
    /// A receiver of events.
    Webhooks,
    /// An upstream that is tested.
    Health,
    /// Whoever tells addresses of upstreams.
    Discovery,
    /// The Dashboard.
    Dashboard,
    /// The bridge to a control plane.
    Bridge,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Upstream,
        Self::Proxy,
        Self::Redis,
        Self::Oauth,
        Self::Webhooks,
        Self::Health,
        Self::Discovery,
        Self::Dashboard,
        Self::Bridge,
    ];

    /// What it is called.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
            Self::Redis => "redis",
            Self::Oauth => Service::Oauth.name(),
            Self::Webhooks => Service::Webhooks.name(),
            Self::Health => Service::Health.name(),
            Self::Discovery => Service::Discovery.name(),
            Self::Dashboard => "dashboard",
            Self::Bridge => "mdcb",
        }
    }

    /// The kind that is called so.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }

    /// What every kind is called.
    pub fn labels() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(Self::label)
    }

    /// The object of the configuration that says how it is called; `None` where definitions do.
    const fn settings(self) -> Option<&'static str> {
        match self {
            Self::Upstream | Self::Proxy | Self::Redis => None,
            Self::Oauth => Some("external_services.oauth"),
            Self::Webhooks => Some("external_services.webhooks"),
            Self::Health => Some("external_services.health"),
            Self::Discovery => Some("external_services.discovery"),
            Self::Dashboard => Some("db_app_conf_options"),
            Self::Bridge => Some("slave_options"),
        }
    }
}

impl From<Service> for Kind {
    fn from(service: Service) -> Self {
        match service {
            Service::Oauth => Self::Oauth,
            Service::Webhooks => Self::Webhooks,
            Service::Health => Self::Health,
            Service::Discovery => Self::Discovery,
        }
    }
}

/// Everything that links are known by.
pub struct Links {
    live: Arc<Live>,
    services: Services,
    stores: Stores,
}

impl Links {
    /// The links of a gateway.
    pub fn new(live: Arc<Live>, services: Services, stores: Stores) -> Self {
        Self {
            live,
            services,
            stores,
        }
    }

    /// The links of a gateway that serves nothing.
    #[cfg(test)]
    pub fn of_nothing(config: &portcullis_config::GatewayConfig, stores: &Stores) -> Self {
        let live = Arc::new(Live::new(crate::snapshot::Snapshot::default()));
        let services = Services::new(config, stores.certificates());
        Self::new(live, services, stores.clone())
    }

    /// Every link as it is now, by kind and address. It takes certificates apart, so it is for a thread that may
    /// take its time.
    pub fn rows(&self) -> Vec<Row> {
        let snapshot = self.live.load();
        let mut links = upstreams::of(&snapshot);
        links.extend(services::of(&self.services, &snapshot));
        links.extend(self.stores.outward().into_iter().map(Link::of_store));
        links.sort_by(|one, other| one.order().cmp(&other.order()));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs().cast_signed());
        links.into_iter().map(|link| link.row(now)).collect()
    }
}
