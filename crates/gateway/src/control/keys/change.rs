//! A key of a given name is made or changed.

use http::StatusCode;
use portcullis_apidef::session::Session;
use portcullis_store::{
    sessions::{Key, Write},
    token,
};
use serde::Deserialize;

use super::{Keys, Outcome, Refusal, changed, read, refusal, settle};
use crate::control::{answer::Answer, parameter};

/// What a client is told of a key that is not stored.
const INSECURE: &str = "Failed to create key, ensure security settings are correct.";

/// The body of `/tyk/keys/policy/{hash}`.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct PolicyOrder {
    policy: String,
    apply_policies: Vec<String>,
}

impl Keys<'_> {
    /// `POST /tyk/keys` and `POST /tyk/keys/{name}`: whoever had the name before is replaced.
    pub(super) async fn add(&self, name: &str) -> Outcome<Answer> {
        let session = self.malformed_or()?;
        self.check_length(name)?;
        self.check_bindings(&session, &[]).await?;
        let key = match (self.is_hashed(), name) {
            (true, name) if !name.is_empty() => self.sessions.key_by_name(name),
            (_, "") => self.sessions.key(self.sessions.compose(
                &session.org_id,
                &token::random_key().map_err(|_| insecure())?,
            )),
            (_, name) => self
                .sessions
                .key(self.sessions.compose(&session.org_id, name)),
        };
        let mut session = self.permitted(&session)?;
        settle::made_now(&mut session);
        if self.sessions.get(&key).await?.is_none() {
            self.limit_trial(&mut session);
        }
        self.hash_password(&mut session).await?;
        self.begin_quota(&mut session);
        self.sessions.reset_quota(&key, &session).await?;
        self.write(&key, &session, Write::New).await?;
        tracing::info!(key = token::masked(key.presented()), org = %session.org_id, "key added");
        Ok(self.added(&key, &session))
    }

    /// `PUT /tyk/keys/{name}`
    pub(super) async fn update(&self, name: &str) -> Outcome<Answer> {
        let given = self.malformed_or()?;
        let found = self.locate(&given.org_id, name).await?;
        let (key, original) =
            found.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "Key is not found"))?;
        self.check_certificate(&given, &original).await?;
        let before = &original.mtls_static_certificate_bindings;
        self.check_bindings(&given, before).await?;
        let mut session = self.permitted(&given)?;
        session.date_created.clone_from(&original.date_created);
        let keeps_counters = parameter(self.query, "suppress_reset") == Some("1");
        if keeps_counters {
            settle::keep_counters(&mut session, &original);
        } else {
            settle::changed_now(&mut session);
        }
        if settle::is_past(session.expires) {
            session.expires = original.expires;
        }
        if session.basic_auth_data.password.is_empty() {
            session.basic_auth_data = original.basic_auth_data.clone();
        } else if session.basic_auth_data.password != original.basic_auth_data.password {
            self.hash_password(&mut session).await?;
        } else {
            session.basic_auth_data = original.basic_auth_data.clone();
        }
        if !keeps_counters {
            self.begin_quota(&mut session);
            self.sessions.reset_quota(&key, &session).await?;
        }
        if !self.write(&key, &session, Write::Known).await? {
            return Err(refusal(StatusCode::NOT_FOUND, "Key is not found"));
        }
        tracing::info!(key = token::masked(key.presented()), org = %session.org_id, "key modified");
        Ok(changed(key.presented(), "modified"))
    }

    /// `/tyk/keys/policy/{hash}`: the key gets these policies instead of those it has.
    pub(super) async fn apply_policies(&self, hash: &str) -> Outcome<Answer> {
        let order: PolicyOrder = serde_json::from_slice(self.body)
            .map_err(|_| refusal(StatusCode::BAD_REQUEST, "Couldn't decode instruction"))?;
        let key = self.sessions.key_by_name(hash);
        let found = self.sessions.get(&key).await?;
        let mut session = found.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "Key not found"))?;
        session.apply_policies = order.apply_policies;
        if !order.policy.is_empty() {
            session.apply_policies.push(order.policy);
        }
        session.apply_policy_id.clear();
        settle::changed_now(&mut session);
        let failed = || {
            refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Could not write key data",
            )
        };
        let api = self.api_lifetime(&session);
        match self.sessions.save(&key, &session, api, Write::Known).await {
            Ok(true) => {}
            Ok(false) => return Err(refusal(StatusCode::NOT_FOUND, "Key not found")),
            Err(error) => {
                tracing::error!(key = token::masked(hash), "key not changed: {error}");
                return Err(failed());
            }
        }
        tracing::info!(key = token::masked(hash), policies = ?session.apply_policies, "key updated");
        Ok(changed(hash, "updated"))
    }

    fn malformed_or(&self) -> Outcome<Session> {
        read(self.body, StatusCode::BAD_REQUEST, "Request malformed")
    }

    /// The session with its policies, when it may be stored at all.
    fn permitted(&self, session: &Session) -> Outcome<Session> {
        let session = self.applied(session).map_err(|_| insecure())?;
        if session.access_rights.is_empty() && !self.sessions.identity().allow_master_keys {
            tracing::warn!(
                key = "allow_master_keys",
                "a key without access rights would open every API and was refused"
            );
            return Err(insecure());
        }
        Ok(session)
    }

    async fn write(&self, key: &Key, session: &Session, write: Write) -> Outcome<bool> {
        let api = self.api_lifetime(session);
        let saved = self.sessions.save(key, session, api, write).await;
        saved.map_err(|error| {
            tracing::error!(
                key = token::masked(key.presented()),
                "key not stored: {error}"
            );
            insecure()
        })
    }

    fn check_length(&self, name: &str) -> Outcome<()> {
        let (length, least) = (name.len(), self.sessions.identity().min_token_length);
        if name.is_empty() || length >= least {
            return Ok(());
        }
        let message = format!(
            "custom key ID length {length} is less than min_token_length ({least}); the key would be \
             unreachable at auth time. Use an ID of at least min_token_length characters, or lower \
             min_token_length in the gateway configuration."
        );
        Err(refusal(StatusCode::BAD_REQUEST, message))
    }

    /// A key that belongs to a certificate goes on belonging to one.
    async fn check_certificate(&self, session: &Session, original: &Session) -> Outcome<()> {
        if session.certificate == original.certificate {
            return Ok(());
        }
        if session.certificate.is_empty() {
            let message = "Key cannot be used without a certificate";
            return Err(refusal(StatusCode::BAD_REQUEST, message));
        }
        let id = session.certificate.clone();
        let stored = self.certificates.raw(&[id]).await?;
        match stored.into_iter().flatten().next() {
            Some(_) => Ok(()),
            None => {
                let message = "Key must be used with an existent certificate";
                Err(refusal(StatusCode::BAD_REQUEST, message))
            }
        }
    }
}

fn insecure() -> Refusal {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, INSECURE)
}
