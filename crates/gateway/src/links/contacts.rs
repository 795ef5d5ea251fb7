//! The places that the control side calls, and what became of it. Whoever calls a place asks for its contact and
//! notes there; nothing else is needed for it to be shown.
//!
//! Invariant: no more than [`MOST`] places are remembered; those that were called longest ago are forgotten first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use portcullis_tls::{Contact, contact::Seen};

use super::Kind;

/// Most places that are remembered.
const MOST: usize = 1000;

/// Somewhere that is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// What it is called for.
    pub kind: Kind,
    /// It is a proxy on the way there.
    pub is_proxy: bool,
    /// TLS is spoken to it.
    pub secure: bool,
    /// `host:port`.
    pub address: String,
}

/// The places. Cheap to clone.
#[derive(Clone, Default)]
pub struct Contacts(Arc<Mutex<HashMap<Place, Arc<Contact>>>>);

impl Contacts {
    /// The contact of a place, where whoever connects to it notes what came of it.
    pub fn at(&self, place: Place) -> Arc<Contact> {
        let mut known = self.known();
        if let Some(contact) = known.get(&place) {
            return contact.clone();
        }
        if known.len() >= MOST {
            let called = |(_, contact): &(&Place, &Arc<Contact>)| last_call(&contact.look());
            let oldest = known.iter().min_by_key(called);
            if let Some(place) = oldest.map(|(place, _)| place.clone()) {
                known.remove(&place);
            }
        }
        known.entry(place).or_default().clone()
    }

    /// Every place that was called.
    pub fn all(&self) -> Vec<(Place, Seen)> {
        let known = self.known();
        let seen = known
            .iter()
            .map(|(place, contact)| (place.clone(), contact.look()));
        seen.collect()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Place, Arc<Contact>>> {
        // Every change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last_call(seen: &Seen) -> Option<SystemTime> {
    let failed_at = seen.failure.as_ref().map(|failure| failure.at);
    seen.made_at.max(failed_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_remembered_up_to_a_bound_and_those_that_were_never_reached_go_first() {
        let contacts = Contacts::default();
        let place = |number: usize| Place {
            kind: Kind::Webhooks,
            is_proxy: false,
            secure: true,
            address: format!("hook-{number}.test:443"),
        };
        for number in 0..MOST {
            let contact = contacts.at(place(number));
            if number != 7 {
                contact.made();
            }
        }
        contacts.at(place(3)).failed(&"refused");
        assert_eq!(contacts.at(place(3)).look().made, 1, "it is the same");
        contacts.at(place(MOST)).made();
        let all = contacts.all();
        assert_eq!(all.len(), MOST);
        let is_there = |number| all.iter().any(|(known, _)| *known == place(number));
        assert!(is_there(3) && is_there(MOST) && !is_there(7));
    }
}
