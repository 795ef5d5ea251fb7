//! Policies: what many keys may do, written once and applied to each of them.
//!
//! ```text
//! document  one policy as JSON
//! apply     a session and its policies become the session in force
//! merge     rights to the same API from several policies become one
//! ```
//!
//! Applying is pure: the same session and policies give the same result, on any node.

mod apply;
mod document;
mod merge;

use std::{collections::HashMap, sync::Arc};

#[cfg(test)]
pub(crate) use self::document::POLICY;
pub use self::{
    apply::{ApplyError, apply},
    document::{Partitions, Policy, PolicyError},
};

/// The policies in force, by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicySet(HashMap<String, Arc<Policy>>);

impl PolicySet {
    /// The policy of an id.
    pub fn get(&self, id: &str) -> Option<&Arc<Policy>> {
        self.0.get(id)
    }

    /// Adds a policy under its id; the one that had it before.
    pub fn insert(&mut self, id: impl Into<String>, policy: Policy) -> Option<Arc<Policy>> {
        self.0.insert(id.into(), Arc::new(policy))
    }

    /// Every policy, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Policy>)> {
        self.0.iter().map(|(id, policy)| (id.as_str(), policy))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Policy)> for PolicySet {
    fn from_iter<I: IntoIterator<Item = (String, Policy)>>(policies: I) -> Self {
        let policies = policies.into_iter();
        Self(
            policies
                .map(|(id, policy)| (id, Arc::new(policy)))
                .collect(),
        )
    }
}
