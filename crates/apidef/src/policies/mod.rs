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

use serde_json::Value;

#[cfg(test)]
pub(crate) use self::document::POLICY;
pub use self::{
    apply::{ApplyError, apply},
    document::{Partitions, Policy, PolicyError},
};

/// The policies in force, by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicySet {
    policies: HashMap<String, Arc<Policy>>,
    /// Those with references to values kept elsewhere, as they are written.
    written: HashMap<String, Value>,
}

impl PolicySet {
    /// The policy of an id.
    pub fn get(&self, id: &str) -> Option<&Arc<Policy>> {
        self.policies.get(id)
    }

    /// Adds a policy under its id; the one that had it before.
    pub fn insert(&mut self, id: impl Into<String>, policy: Policy) -> Option<Arc<Policy>> {
        self.policies.insert(id.into(), Arc::new(policy))
    }

    /// Says how a policy is written whose references have been replaced.
    pub fn set_written(&mut self, id: impl Into<String>, written: Value) {
        self.written.insert(id.into(), written);
    }

    /// How a policy is written, when that is not how it is in force: it has references.
    pub fn written(&self, id: &str) -> Option<&Value> {
        self.written.get(id)
    }

    /// Every policy, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Policy>)> {
        self.policies
            .iter()
            .map(|(id, policy)| (id.as_str(), policy))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }
}

impl FromIterator<(String, Policy)> for PolicySet {
    fn from_iter<I: IntoIterator<Item = (String, Policy)>>(policies: I) -> Self {
        let policies = policies.into_iter();
        Self {
            policies: policies
                .map(|(id, policy)| (id, Arc::new(policy)))
                .collect(),
            written: HashMap::new(),
        }
    }
}
