//! One key with what is left of its quotas, or the names of all.

use http::StatusCode;
use portcullis_apidef::{policies::apply, session::Session};
use portcullis_store::{StoreError, sessions::Key, token};
use serde::Serialize;

use super::{Keys, Outcome, refusal, settle};
use crate::control::{
    answer::{self, Answer},
    parameter,
};

#[derive(Serialize)]
struct List {
    keys: Vec<String>,
}

impl Keys<'_> {
    /// `GET /tyk/keys/{name}`
    pub(super) async fn show(&self, name: &str) -> Outcome<Answer> {
        if self.is_hashed() && !self.sessions.identity().hash_keys {
            let message = "Key requested by hash but key hashing is not enabled";
            return Err(refusal(StatusCode::BAD_REQUEST, message));
        }
        let api = parameter(self.query, "api_id").and_then(|api| self.loaded.find(api));
        let org = api.map_or(self.org(), |(_, parsed)| parsed.api.org_id.as_str());
        let found = self.locate(org, name).await?;
        let (key, session) =
            found.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "Key not found"))?;
        // Whoever repairs its policies has to see it.
        let session = apply(&session, &self.loaded.policies).unwrap_or_else(|error| {
            tracing::warn!(
                key = token::masked(key.presented()),
                "a key opens nothing, its policies cannot be applied: {error}"
            );
            session
        });
        let session = self.with_quotas(&key, session).await?;
        Ok(answer::shown(&settle::without_password(session)))
    }

    /// What is left of the quota of the key and of each API.
    async fn with_quotas(&self, key: &Key, mut session: Session) -> Result<Session, StoreError> {
        let mut scopes = vec![String::new()];
        scopes.extend(
            session
                .access_rights
                .values()
                .map(|right| right.allowance_scope.clone()),
        );
        let names: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let mut used = self.sessions.used_quotas(key, &names).await?.into_iter();
        let left = |most: i64, used: i64| most.saturating_sub(used).max(0);
        if let Some(used) = used.next().flatten().filter(|_| session.quota_max != -1) {
            session.quota_remaining = left(session.quota_max, used);
        }
        for (right, used) in session.access_rights.values_mut().zip(used) {
            let limit = &mut right.limit;
            if limit.quota_max != -1 && limit.quota_max != 0 {
                limit.quota_remaining = left(limit.quota_max, used.unwrap_or(0));
            }
        }
        Ok(session)
    }

    /// `GET /tyk/keys`
    pub(super) async fn list(&self) -> Outcome<Answer> {
        let identity = self.sessions.identity();
        let api = parameter(self.query, "api_id").filter(|api| !api.is_empty());
        let filter = parameter(self.query, "filter").unwrap_or_default();
        let mut keys = if identity.hash_keys {
            if !identity.enable_hashed_keys_listing {
                let message =
                    "Hashed key listing is disabled in config (enable_hashed_keys_listing)";
                return Err(refusal(StatusCode::NOT_FOUND, message));
            }
            self.sessions.names("").await?
        } else {
            if api.is_some() && filter.is_empty() {
                let message = "The 'filter' parameter (Org ID) is required when filtering by 'api_id' in legacy mode";
                return Err(refusal(StatusCode::BAD_REQUEST, message));
            }
            let mut keys = self.sessions.names(filter).await?;
            if !filter.is_empty() {
                keys.extend(self.sessions.names(&token::base64_prefix(filter)).await?);
            }
            keys
        };
        if let Some(api) = api {
            keys = self.sessions.names_with_right(keys, api).await?;
        }
        Ok(answer::shown(&List { keys }))
    }
}
