//! What a session needs before it is stored.

use std::time::Duration;

use http::StatusCode;
use portcullis_apidef::{
    policies::apply,
    session::{SecretText, Session},
};
use portcullis_store::{certificates::Stored, password, sessions::ApiLifetime};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Keys, Outcome, refusal};

impl Keys<'_> {
    /// The session with its policies applied.
    pub(super) fn applied(&self, session: &Session) -> Outcome<Session> {
        apply(session, &self.loaded.policies).map_err(|error| {
            tracing::warn!("policies of a key cannot be applied: {error}");
            let message = format!("Failed to create key - {error}");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, message)
        })
    }

    /// A new key ends when its policies say so.
    pub(super) fn limit_trial(&self, session: &mut Session) {
        let trial = session
            .policy_ids()
            .into_iter()
            .filter_map(|id| self.loaded.policies.get(id))
            .map(|policy| policy.key_expires_in)
            .rfind(|seconds| *seconds > 0);
        if let Some(seconds) = trial {
            session.expires = now().saturating_add(seconds);
        }
    }

    /// Lets the quota period begin, unless an API leaves it to the first request.
    pub(super) fn begin_quota(&self, session: &mut Session) {
        let left_alone = session.access_rights.keys().any(|api| {
            let found = self.loaded.find(api);
            found.is_some_and(|(_, parsed)| {
                parsed.document.value()["dont_set_quota_on_create"] == true
            })
        });
        if !left_alone {
            session.quota_renews = now().saturating_add(session.quota_renewal_rate);
        }
    }

    /// Replaces a password by its hash.
    pub(super) async fn hash_password(&self, session: &mut Session) -> Outcome<()> {
        if !session.has_password() {
            return Ok(());
        }
        let function = &self.sessions.identity().basic_auth_hash_key_function;
        let password = session.basic_auth_data.password.clone();
        session.basic_auth_data = password::hashed(function, password)
            .await
            .map_err(|error| {
                let message = format!("Failed to create key - {error}");
                refusal(StatusCode::BAD_REQUEST, message)
            })?;
        Ok(())
    }

    /// Certificates that a key is bound to are of its organisation and can be read. Those it was
    /// bound to `before` are not asked about.
    pub(super) async fn check_bindings(&self, session: &Session, before: &[String]) -> Outcome<()> {
        let bindings = session.mtls_static_certificate_bindings.iter();
        let new: Vec<String> = bindings
            .filter(|id| !before.contains(id))
            .cloned()
            .collect();
        if let Some(id) = new.iter().find(|id| !id.starts_with(&session.org_id)) {
            let message = format!("invalid certificate ID: {id}");
            return Err(refusal(StatusCode::BAD_REQUEST, message));
        }
        let usable = |_: &str, stored: Stored| matches!(stored, Stored::Entry(_));
        let usable = self.certificates.read(&new, usable).await?;
        if let Some((id, _)) = new.iter().zip(usable).find(|(_, usable)| !usable) {
            let message = format!("certificate not found: {id}");
            return Err(refusal(StatusCode::BAD_REQUEST, message));
        }
        Ok(())
    }

    /// What the APIs of a key say about its entry: the longest of their lifetimes, none when one of
    /// them has none.
    pub(super) fn api_lifetime(&self, session: &Session) -> ApiLifetime {
        let apis = session.access_rights.keys();
        let loaded = apis.filter_map(|api| self.loaded.find(api));
        let lifetimes: Vec<_> = loaded
            .map(|(_, parsed)| parsed.api.session_lifetime)
            .collect();
        let shortest = lifetimes.iter().map(|api| api.seconds).min().unwrap_or(0);
        let longest = lifetimes.iter().map(|api| api.seconds).max().unwrap_or(0);
        ApiLifetime {
            lifetime: u64::try_from(longest)
                .ok()
                .filter(|_| shortest > 0)
                .map(Duration::from_secs),
            respects_expiration: lifetimes.iter().any(|api| api.respects_key_expiration),
        }
    }
}

/// A session that begins to exist.
pub(super) fn made_now(session: &mut Session) {
    let now = OffsetDateTime::now_utc();
    session.date_created = now.format(&Rfc3339).unwrap_or_default();
    changed_now(session);
}

/// A session that has been changed: its rate limit starts anew.
pub(super) fn changed_now(session: &mut Session) {
    session.last_updated = now().to_string();
}

/// Running quota periods and rate limits go on.
pub(super) fn keep_counters(session: &mut Session, original: &Session) {
    session.quota_renews = original.quota_renews;
    session.last_updated.clone_from(&original.last_updated);
    for (api, before) in &original.access_rights {
        if before.limit.is_zero() {
            continue;
        }
        if let Some(right) = session.access_rights.get_mut(api)
            && !right.limit.is_zero()
        {
            right.limit.quota_renews = before.limit.quota_renews;
        }
    }
}

/// An end that was reached before the change.
pub(super) fn is_past(expires: i64) -> bool {
    expires > 1 && expires < now()
}

/// The session as it is shown.
pub(super) fn without_password(mut session: Session) -> Session {
    session.basic_auth_data.password = SecretText::default();
    session
}

pub(super) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}
