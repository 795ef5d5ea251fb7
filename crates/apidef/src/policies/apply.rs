//! A session and its policies become the session in force.
//!
//! A policy without partitions sets quota, rate limit, query depth and access rights; with them,
//! only the parts it names. What several policies set for one API becomes the highest of it. With
//! `per_api` each API has limits and counters of its own.
//!
//! Invariants:
//! - A session with a policy that cannot be applied is not in force at all: what the policy would
//!   have taken away is not known.
//! - A session without policies is in force as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Policy, PolicySet,
    merge::{add_missing, is_more, merge_endpoints, open, raise_rate, take_rate},
};
use crate::session::{AccessRight, Limit, Session};

/// Why the policies of a session cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Nobody knows one of them.
    #[error("policy not found: {0:?}")]
    Unknown(String),
    /// One belongs to somebody else.
    #[error("policy {policy:?} belongs to organisation {theirs:?}, the key to {ours:?}")]
    OtherOrganisation {
        /// The policy.
        policy: String,
        /// Its organisation.
        theirs: String,
        /// The session's.
        ours: String,
    },
    /// One has partitions and `per_api`, which exclude each other.
    #[error("policy {0:?} has `per_api` and another partition, which exclude each other")]
    PerApiWithPartitions(String),
    /// Some have partitions and others `per_api`.
    #[error("policies with `per_api` cannot be combined with policies that have other partitions")]
    Mixed,
    /// They open nothing.
    #[error("the policies of the key open no API")]
    NoRights,
}

/// Applies the policies of a session to it.
///
/// # Errors
/// [`ApplyError`]: the session opens nothing.
pub fn apply(session: &Session, policies: &PolicySet) -> Result<Session, ApplyError> {
    let mut result = session.clone();
    let ids = session.policy_ids();
    if ids.is_empty() {
        // Limits of one API have counters of their own.
        for (api, right) in &mut result.access_rights {
            if !right.limit.is_zero() {
                right.allowance_scope.clone_from(api);
            }
        }
        return Ok(result);
    }
    let mut found: Vec<(&str, &Policy)> = Vec::new();
    for id in ids {
        let policy = policies
            .get(id)
            .ok_or_else(|| ApplyError::Unknown(id.to_owned()))?;
        if policy.org_id != session.org_id {
            return Err(ApplyError::OtherOrganisation {
                policy: id.to_owned(),
                theirs: policy.org_id.clone(),
                ours: session.org_id.clone(),
            });
        }
        if policy.partitions.per_api && policy.partitions.are_used() {
            return Err(ApplyError::PerApiWithPartitions(id.to_owned()));
        }
        found.push((id, policy));
    }
    let any = |test: fn(&Policy) -> bool| found.iter().any(|(_, policy)| test(policy));
    if any(|policy| policy.partitions.per_api) && any(|policy| policy.partitions.are_used()) {
        return Err(ApplyError::Mixed);
    }
    let mut merging = Merging::default();
    for (_, policy) in &found {
        clear(&mut result, policy);
    }
    for (id, policy) in &found {
        if policy.partitions.per_api {
            merging.per_api(id, policy, session);
        } else {
            merging.parts(id, policy, session, &mut result);
        }
        result.is_inactive |= policy.is_inactive;
        add_missing(&mut result.tags, &policy.tags);
        for (name, value) in &policy.meta_data {
            result.meta_data.insert(name.clone(), value.clone());
        }
        if policy.last_updated > result.last_updated {
            result.last_updated.clone_from(&policy.last_updated);
        }
        if !policy.post_expiry_action.is_empty() {
            result
                .post_expiry_action
                .clone_from(&policy.post_expiry_action);
            result.post_expiry_grace_period = policy.post_expiry_grace_period;
        }
    }
    merging.finish(&mut result)?;
    Ok(result)
}

/// Parts of a policy as they count.
struct Parts {
    quota: bool,
    rate_limit: bool,
    complexity: bool,
    acl: bool,
}

impl Parts {
    fn of(policy: &Policy) -> Self {
        let partitions = policy.partitions;
        let all = !partitions.are_used();
        Self {
            quota: all || partitions.quota,
            rate_limit: all || partitions.rate_limit,
            complexity: all || partitions.complexity,
            acl: all || partitions.acl,
        }
    }
}

/// Forgets what the policy sets: a higher value of the session would win over it otherwise.
fn clear(session: &mut Session, policy: &Policy) {
    let parts = Parts::of(policy);
    if parts.quota {
        (session.quota_max, session.quota_remaining) = (0, 0);
    }
    if parts.rate_limit {
        (session.rate, session.per, session.smoothing) = (0.0, 0.0, None);
        (session.throttle_interval, session.throttle_retry_limit) = (0.0, 0);
    }
    if parts.complexity {
        session.max_query_depth = 0;
    }
}

/// Access rights while they are put together.
#[derive(Default)]
struct Merging {
    rights: BTreeMap<String, Merged>,
    quota: BTreeSet<String>,
    rate_limit: BTreeSet<String>,
    complexity: BTreeSet<String>,
}

/// The right to one API.
#[derive(Default)]
struct Merged {
    right: AccessRight,
    /// A policy opens the API, rather than only limiting it.
    opened: bool,
    /// The policy or API that set its limits last.
    set_by: String,
}

impl Merging {
    fn per_api(&mut self, id: &str, policy: &Policy, session: &Session) {
        for (api, right) in &policy.access_rights {
            let mut right = right.clone();
            let mut set_by = api.clone();
            if right.limit.is_zero() {
                set_by = id.to_owned();
                right.limit = policy.limit();
            }
            right.allowance_scope.clone_from(&set_by);
            keep_renewal(&mut right.limit, session, api);
            if let Some(before) = session.access_rights.get(api) {
                right.disable_introspection |= before.disable_introspection;
            }
            if let Some(known) = self.rights.get(api)
                && keep_highest(&mut right, &known.right)
            {
                set_by.clone_from(&known.set_by);
                right
                    .allowance_scope
                    .clone_from(&known.right.allowance_scope);
            }
            let merged = Merged {
                right,
                opened: true,
                set_by,
            };
            self.rights.insert(api.clone(), merged);
            for part in [&mut self.quota, &mut self.rate_limit, &mut self.complexity] {
                part.insert(api.clone());
            }
        }
    }

    fn parts(&mut self, id: &str, policy: &Policy, session: &Session, result: &mut Session) {
        let parts = Parts::of(policy);
        let limit = policy.limit();
        for (api, right) in &policy.access_rights {
            let merged = self.rights.entry(api.clone()).or_default();
            if parts.acl {
                open(&mut merged.right, right);
                merged.opened = true;
                id.clone_into(&mut merged.set_by);
            }
            let own = &mut merged.right.limit;
            if parts.quota {
                self.quota.insert(api.clone());
                raise(&mut own.quota_max, limit.quota_max, &mut result.quota_max);
                if limit.quota_renewal_rate > own.quota_renewal_rate {
                    own.quota_renewal_rate = limit.quota_renewal_rate;
                    result.quota_renewal_rate =
                        result.quota_renewal_rate.max(limit.quota_renewal_rate);
                }
            }
            if parts.rate_limit {
                self.rate_limit.insert(api.clone());
                raise_rate(own, &limit);
                let mut whole = result.limit();
                raise_rate(&mut whole, &limit);
                (result.rate, result.per, result.smoothing) =
                    (whole.rate, whole.per, whole.smoothing);
                if limit.throttle_retry_limit > own.throttle_retry_limit {
                    own.throttle_retry_limit = limit.throttle_retry_limit;
                    result.throttle_retry_limit =
                        result.throttle_retry_limit.max(limit.throttle_retry_limit);
                }
                if limit.throttle_interval > own.throttle_interval {
                    own.throttle_interval = limit.throttle_interval;
                    result.throttle_interval =
                        result.throttle_interval.max(limit.throttle_interval);
                }
                merged.right.endpoints = merge_endpoints(&right.endpoints, &merged.right.endpoints);
            }
            let own = &mut merged.right.limit;
            if parts.complexity {
                self.complexity.insert(api.clone());
                raise(
                    &mut own.max_query_depth,
                    limit.max_query_depth,
                    &mut result.max_query_depth,
                );
            }
            keep_renewal(own, session, api);
        }
        if policy.access_rights.is_empty() {
            set_whole(&parts, &limit, result);
        }
        result.hmac_enabled |= policy.hmac_enabled;
        result.enable_http_signature_validation |= policy.enable_http_signature_validation;
    }

    /// Puts the rights into the session.
    fn finish(self, session: &mut Session) -> Result<(), ApplyError> {
        let scopes: BTreeSet<&str> = self
            .rights
            .values()
            .map(|merged| merged.set_by.as_str())
            .filter(|set_by| !set_by.is_empty())
            .collect();
        let several = scopes.len() > 1;
        let mut rights = BTreeMap::new();
        for (api, merged) in &self.rights {
            if !merged.opened {
                continue;
            }
            let mut right = merged.right.clone();
            // What no policy sets for this API is what the session has.
            if !self.rate_limit.contains(api) {
                let whole = session.limit();
                take_rate(&mut right.limit, &whole);
                right.limit.throttle_interval = whole.throttle_interval;
                right.limit.throttle_retry_limit = whole.throttle_retry_limit;
                right.endpoints.clear();
            }
            if !self.complexity.contains(api) {
                right.limit.max_query_depth = session.max_query_depth;
            }
            if !self.quota.contains(api) {
                right.limit.quota_max = session.quota_max;
                right.limit.quota_renewal_rate = session.quota_renewal_rate;
                right.limit.quota_renews = session.quota_renews;
            }
            if several && right.allowance_scope.is_empty() {
                right.allowance_scope.clone_from(&merged.set_by);
            }
            rights.insert(api.clone(), right);
        }
        // Limits of the only API are those of the session, for readers that look there.
        let single = [&self.quota, &self.rate_limit, &self.complexity]
            .iter()
            .all(|part| part.len() == 1);
        if let Some(right) = rights.values().next_back().filter(|_| single) {
            let limit = &right.limit;
            (session.rate, session.per) = (limit.rate, limit.per);
            session.smoothing.clone_from(&limit.smoothing);
            session.quota_max = limit.quota_max;
            session.quota_renews = limit.quota_renews;
            session.quota_renewal_rate = limit.quota_renewal_rate;
            session.max_query_depth = limit.max_query_depth;
        }
        if rights.is_empty() {
            return Err(ApplyError::NoRights);
        }
        session.access_rights = rights;
        Ok(())
    }
}

/// Raises a limit of one API, and that of the session with it.
fn raise(own: &mut i64, new: i64, whole: &mut i64) {
    if is_more(new, *own) {
        *own = new;
        if is_more(new, *whole) {
            *whole = new;
        }
    }
}

/// A policy without access rights limits the session as a whole.
fn set_whole(parts: &Parts, limit: &Limit, session: &mut Session) {
    if parts.rate_limit {
        (session.rate, session.per) = (limit.rate, limit.per);
        session.smoothing.clone_from(&limit.smoothing);
        session.throttle_interval = limit.throttle_interval;
        session.throttle_retry_limit = limit.throttle_retry_limit;
    }
    if parts.complexity {
        session.max_query_depth = limit.max_query_depth;
    }
    if parts.quota {
        session.quota_max = limit.quota_max;
        session.quota_renewal_rate = limit.quota_renewal_rate;
    }
}

/// A quota period that runs goes on.
fn keep_renewal(limit: &mut Limit, session: &Session, api: &str) {
    if let Some(right) = session.access_rights.get(api)
        && !right.limit.is_zero()
    {
        limit.quota_renews = right.limit.quota_renews;
    }
}

/// Keeps the higher limits of the right an earlier policy gave; whether any of them was.
fn keep_highest(right: &mut AccessRight, known: &AccessRight) -> bool {
    let (limit, before) = (&mut right.limit, &known.limit);
    let mut kept = false;
    if limit.interval() > before.interval() {
        take_rate(limit, before);
        kept = true;
    }
    if limit.quota_max != before.quota_max && is_more(before.quota_max, limit.quota_max) {
        limit.quota_max = before.quota_max;
        kept = true;
    }
    if is_more(before.quota_renewal_rate, limit.quota_renewal_rate) {
        limit.quota_renewal_rate = before.quota_renewal_rate;
    }
    if limit.quota_max == -1 {
        limit.quota_renewal_rate = 0;
    }
    right.endpoints = merge_endpoints(&right.endpoints, &known.endpoints);
    kept
}

#[cfg(test)]
mod tests;
