//! Links of services: whom APIs have the gateway call, and whom it has called.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_tls::contact::Seen;

use super::{Kind, Place, link::Link, upstreams::apis};
use crate::{
    health::Health,
    services::{Service, Services, Target},
    snapshot::{RunningApi, Snapshot},
};

/// Whom the gateway calls for an API. A new kind of call has its line here, so that it is shown before it is made.
fn calls(api: &RunningApi) -> Vec<(Service, Target)> {
    let hooks = api.events.webhooks();
    let hooks = hooks.filter_map(|hook| Some((Service::Webhooks, Target::of(&hook.address)?)));
    let judging = api.tokens.iter().flat_map(|tokens| tokens.calls());
    let providers = judging.chain(api.login.iter().filter_map(|login| login.calls()));
    let providers =
        providers.filter_map(|url| Some((Service::Oauth, Target::of(&url.parse().ok()?)?)));
    hooks.chain(providers).collect()
}

/// Whom it tests by HTTP, and for which API.
fn tests(health: &Health) -> impl Iterator<Item = (&str, Target)> {
    health.tests.iter().filter_map(|test| {
        let target = Target::of(&test.asked.url().parse().ok()?)?;
        Some((&*test.api_id, target))
    })
}

/// The links of services, used or not.
pub(super) fn of(services: &Services, snapshot: &Snapshot) -> Vec<Link> {
    let mut places: BTreeMap<Place, (Seen, BTreeSet<String>)> = services
        .contacts()
        .all()
        .into_iter()
        .map(|(place, seen)| (place, (seen, BTreeSet::new())))
        .collect();
    let called = apis(snapshot)
        .into_iter()
        .flat_map(|(id, api)| calls(api).into_iter().map(move |call| (id, call)))
        .chain(tests(&snapshot.health).map(|(id, target)| (id, (Service::Health, target))));
    for (id, (service, target)) in called {
        for place in services.client(service).places_to(&target) {
            places.entry(place).or_default().1.insert(id.to_owned());
        }
    }
    let shown = |(place, (seen, apis)): (Place, (Seen, BTreeSet<String>))| {
        let bearing = Service::ALL
            .into_iter()
            .find(|service| Kind::from(*service) == place.kind)
            .map(|service| services.client(service).bearing())
            .filter(|_| place.secure);
        let kind = match place.is_proxy {
            true => Kind::Proxy,
            false => place.kind,
        };
        Link {
            apis,
            settings: place.kind.settings(),
            tls: place.secure,
            verified: bearing.as_ref().map(|bearing| bearing.verified),
            // A proxy is shown nothing.
            own: bearing
                .and_then(|bearing| bearing.own)
                .filter(|_| !place.is_proxy),
            ..Link::new(kind, place.address, seen)
        }
    };
    places.into_iter().map(shown).collect()
}
