//! What a routing table is built from.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_apidef::{Api, ApiListener, Place, Protocol};

/// An API that wants a place in a routing table. Their order is the order their files load
/// in; it decides who keeps a path that two want.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// Can be served.
    Ready(Arc<Api>),
    /// Keeps its place and answers 503.
    Quarantined(Arc<Quarantined>),
}

/// An API that cannot be enforced as written. Its place stays taken, so that none of its
/// requests falls through to another API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// `api_id`.
    pub id: String,
    /// The human name; empty when unknown.
    pub name: String,
    /// `false` takes no place.
    pub active: bool,
    /// `true` takes no place.
    pub internal: bool,
    /// Port and protocol.
    pub listener: ApiListener,
    /// Custom domain, `None` when absent or disabled.
    pub domain: Option<String>,
    /// Listen path, as in [`Api::listen_path`].
    pub listen_path: String,
    /// Why, for the operator.
    pub reason: String,
}

impl Quarantined {
    /// `api`, quarantined because of `reason`.
    #[must_use]
    pub fn of(api: &Api, reason: impl Into<String>) -> Self {
        Self {
            id: api.id.clone(),
            name: api.name.clone(),
            active: api.active,
            internal: api.internal,
            listener: api.listener.clone(),
            domain: api.domain.clone(),
            listen_path: api.listen_path.clone(),
            reason: reason.into(),
        }
    }

    /// An API that could not be read, in the place it asks for, quarantined because of `reason`.
    #[must_use]
    pub fn at(place: &Place, reason: impl Into<String>) -> Self {
        Self {
            id: place.id.clone(),
            name: place.name.clone(),
            active: place.active,
            internal: place.internal,
            listener: place.listener.clone(),
            domain: place.domain.clone(),
            listen_path: place.listen_path.clone(),
            reason: reason.into(),
        }
    }
}

impl Candidate {
    /// `api_id`.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Ready(api) => &api.id,
            Self::Quarantined(api) => &api.id,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Ready(api) => &api.name,
            Self::Quarantined(api) => &api.name,
        }
    }

    pub(crate) fn domain(&self) -> Option<&str> {
        let domain = match self {
            Self::Ready(api) => api.domain.as_deref(),
            Self::Quarantined(api) => api.domain.as_deref(),
        };
        domain.filter(|domain| !domain.is_empty())
    }

    pub(crate) fn listen_path(&self) -> &str {
        match self {
            Self::Ready(api) => &api.listen_path,
            Self::Quarantined(api) => &api.listen_path,
        }
    }

    pub(crate) fn is_inactive(&self) -> bool {
        match self {
            Self::Ready(api) => !api.active,
            Self::Quarantined(api) => !api.active,
        }
    }

    pub(crate) fn is_internal(&self) -> bool {
        match self {
            Self::Ready(api) => api.internal,
            Self::Quarantined(api) => api.internal,
        }
    }

    pub(crate) fn port(&self, main_port: u16) -> u16 {
        self.listener().port.unwrap_or(main_port)
    }

    pub(crate) fn protocol(&self, default: Protocol) -> Protocol {
        self.listener().protocol.unwrap_or(default)
    }

    fn listener(&self) -> &ApiListener {
        match self {
            Self::Ready(api) => &api.listener,
            Self::Quarantined(api) => &api.listener,
        }
    }
}

impl From<Arc<Api>> for Candidate {
    fn from(api: Arc<Api>) -> Self {
        Self::Ready(api)
    }
}

impl From<Quarantined> for Candidate {
    fn from(api: Quarantined) -> Self {
        Self::Quarantined(Arc::new(api))
    }
}

/// What is spoken on each port that some API wants. The main port always speaks `default`
/// (`https` with `use_ssl`, else `http`); on any other port the first API decides, and those
/// that want another protocol are not reachable.
#[must_use]
pub fn port_protocols(
    candidates: &[Candidate],
    main_port: u16,
    default: Protocol,
) -> BTreeMap<u16, Protocol> {
    let mut protocols = BTreeMap::from([(main_port, default)]);
    for candidate in candidates {
        if !candidate.is_inactive() && !candidate.is_internal() {
            protocols
                .entry(candidate.port(main_port))
                .or_insert(candidate.protocol(default));
        }
    }
    protocols
}
