//! Links of APIs: their upstreams, and the forward proxies on the way.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use portcullis_tls::{Contact, contact::Seen};

use super::{
    Kind,
    link::{Link, Verified, own},
};
use crate::{
    proxy::{
        dial::Way,
        hop::{Hop, authority},
        pool::{Endpoint, EndpointTls},
    },
    snapshot::{RunningApi, Service, Snapshot},
};

/// Every API that is served, by its id.
pub(super) fn apis(snapshot: &Snapshot) -> BTreeMap<&str, &Arc<RunningApi>> {
    let mut apis = BTreeMap::new();
    for port in snapshot.ports.values() {
        let running = match &*port.service {
            Service::Http(http) => &*http.versions,
            Service::Tcp { apis, .. } => apis,
        };
        apis.extend(running.iter().map(|(id, api)| (id.as_str(), api)));
    }
    apis
}

/// The links of a snapshot's APIs.
pub(super) fn of(snapshot: &Snapshot) -> Vec<Link> {
    // Several APIs share an endpoint, and several endpoints a proxy.
    let mut links: HashMap<*const Contact, Link> = HashMap::new();
    let mut add = |id: &str, contact: &Contact, link: &dyn Fn(Seen) -> Link| {
        let link = links
            .entry(std::ptr::from_ref(contact))
            .or_insert_with(|| link(contact.look()));
        link.apis.insert(id.to_owned());
    };
    for (id, api) in apis(snapshot) {
        for endpoint in &api.endpoints {
            if let Some(hop) = endpoint.way.hop() {
                add(id, &hop.contact, &|seen| of_hop(hop, seen));
            }
            // What a proxy forwards has no connection of its own, but what is switched has.
            let forwarded = endpoint.way.forwarder().is_some();
            if !forwarded || !endpoint.contact.look().is_nothing() {
                add(id, &endpoint.contact, &|seen| of_endpoint(endpoint, seen));
            }
        }
    }
    links.into_values().collect()
}

fn of_hop(hop: &Hop, seen: Seen) -> Link {
    let client = hop.tls().map(|tls| &tls.client);
    Link {
        tls: client.is_some(),
        verified: client.map(Verified::by),
        own: client.and_then(own),
        ..Link::new(Kind::Proxy, hop.place(), seen)
    }
}

fn of_endpoint(endpoint: &Endpoint, seen: Seen) -> Link {
    let client = endpoint.tls.client();
    let problem = match (&endpoint.way, &endpoint.tls) {
        (Way::Barred(reason), _) => Some(format!("the proxy cannot be used: {reason}")),
        (_, EndpointTls::Unready(failure)) => Some(failure.to_string()),
        _ => None,
    };
    Link {
        through: endpoint.way.hop().map(|hop| hop.shown().to_owned()),
        tls: endpoint.tls.is_encrypted(),
        verified: client.map(Verified::by),
        own: client.and_then(own),
        problem,
        ..Link::new(
            Kind::Upstream,
            authority(&endpoint.host, endpoint.port),
            seen,
        )
    }
}
