//! Gathers what a definition asks for beyond routing: protections and extras.

use std::collections::BTreeSet;

use crate::api::{AuthMethod, Protection};

/// Protections and unsupported extras of one definition, each once.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    protections: BTreeSet<Protection>,
    unsupported: BTreeSet<&'static str>,
}

impl Facts {
    /// The API must not be served by a build that lacks `protection`.
    pub(crate) fn protect(&mut self, wanted: bool, protection: Protection) {
        if wanted {
            self.protections.insert(protection);
        }
    }

    pub(crate) fn authenticate(&mut self, wanted: bool, method: AuthMethod) {
        self.protect(wanted, Protection::Authentication(method));
    }

    /// The API is served without `feature`, and that is said.
    pub(crate) fn extra(&mut self, wanted: bool, feature: &'static str) {
        if wanted {
            self.unsupported.insert(feature);
        }
    }

    pub(crate) fn into_lists(self) -> (Vec<Protection>, Vec<String>) {
        (
            self.protections.into_iter().collect(),
            self.unsupported.into_iter().map(str::to_owned).collect(),
        )
    }
}
