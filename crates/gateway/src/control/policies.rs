//! `/tyk/policies`: policies are shown as they are in force, references as they are written, and
//! changed as they are on the disk. A reload puts a change in force.

use bytes::Bytes;
use http::{Method, StatusCode};
use portcullis_apidef::{
    control::Rejection,
    policies::{Policy, PolicySet},
};

use serde::Serialize;
use serde_json::Value;

use super::{
    answer::{self, Answer},
    endpoint::PolicyCall,
};
use crate::policies::{PolicyFiles, PolicyWriteError};

/// What calls about policies work with.
pub(super) struct Policies<'p> {
    /// What is in force.
    pub(super) loaded: &'p PolicySet,
    /// Where changes go.
    pub(super) files: &'p PolicyFiles,
    /// An id may hold any character (`allow_unsafe_policy_ids`).
    pub(super) any_id: bool,
}

/// A policy as it is shown: the values of references are not.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Written(&'a Value),
    InForce(&'a Policy),
}

impl Policies<'_> {
    /// Answers a call. `id` is empty where the path has none.
    pub(super) fn answer(
        &self,
        call: PolicyCall,
        id: &str,
        body: &Bytes,
    ) -> Result<Answer, Rejection> {
        match call {
            PolicyCall::List => Ok(self.list()),
            PolicyCall::Show => match self.loaded.get(id) {
                Some(policy) => Ok(answer::shown(&self.shown(id, policy))),
                None => Err(rejection(StatusCode::NOT_FOUND, "Policy not found")),
            },
            PolicyCall::Add => self.store(&Method::POST, id, body),
            PolicyCall::Replace if id.is_empty() => Err(rejection(
                StatusCode::BAD_REQUEST,
                "Must specify an apiID to update",
            )),
            PolicyCall::Replace => self.store(&Method::PUT, id, body),
            PolicyCall::Delete if id.is_empty() => Err(rejection(
                StatusCode::BAD_REQUEST,
                "Must specify an apiID to delete",
            )),
            PolicyCall::Delete => self.delete(id),
        }
    }

    fn shown<'a>(&'a self, id: &str, policy: &'a Policy) -> Shown<'a> {
        match self.loaded.written(id) {
            Some(written) => Shown::Written(written),
            None => Shown::InForce(policy),
        }
    }

    fn list(&self) -> Answer {
        let mut policies: Vec<_> = self.loaded.iter().collect();
        policies.sort_unstable_by_key(|(id, _)| *id);
        let policies: Vec<Shown<'_>> = policies
            .into_iter()
            .map(|(id, policy)| self.shown(id, policy))
            .collect();
        answer::shown(&policies)
    }

    fn store(&self, method: &Method, id: &str, body: &Bytes) -> Result<Answer, Rejection> {
        let bad = |message: &str| rejection(StatusCode::BAD_REQUEST, message);
        let (mut policy, warnings) = Policy::from_json(body).map_err(|error| {
            tracing::warn!("Control API: a policy was refused: {error}");
            bad("Request malformed")
        })?;
        let is_put = method == Method::PUT;
        if is_put && policy.id != id {
            return Err(bad(
                "Request ID does not match that in policy! For Update operations these must match.",
            ));
        }
        if policy.id.is_empty() {
            policy.id.clone_from(&policy.database_id);
        }
        if policy.id.is_empty() {
            return Err(bad("Unable to create policy without id."));
        }
        if !self.any_id && !policy.id.bytes().all(is_safe) {
            return Err(bad(
                "Invalid Policy ID: Allowed characters: a-z, A-Z, 0-9, ., _, -, ~",
            ));
        }
        let failed = |error: &PolicyWriteError, message: &str| {
            tracing::error!(policy = %policy.id, "policy not stored: {error}");
            rejection(StatusCode::INTERNAL_SERVER_ERROR, message)
        };
        self.files
            .check()
            .map_err(|error| failed(&error, "Unable to access policy storage."))?;
        for warning in warnings {
            tracing::warn!(policy = %policy.id, "{warning}");
        }
        self.files
            .write(&policy.id, &policy)
            .map_err(|error| failed(&error, "Failed to create file!"))?;
        tracing::info!(policy = %policy.id, "policy stored");
        Ok(answer::changed(
            &policy.id,
            if is_put { "modified" } else { "added" },
        ))
    }

    fn delete(&self, id: &str) -> Result<Answer, Rejection> {
        self.files.delete(id).map_err(|error| {
            tracing::error!(policy = id, "policy not deleted: {error}");
            rejection(StatusCode::INTERNAL_SERVER_ERROR, "Delete failed")
        })?;
        tracing::info!(policy = id, "policy deleted");
        Ok(answer::changed(id, "deleted"))
    }
}

fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-~".contains(&byte)
}

fn rejection(status: StatusCode, message: &str) -> Rejection {
    Rejection::new(status.as_u16(), message)
}
