//! A key with a token of its own.

use http::StatusCode;
use portcullis_apidef::session::{SecretText, Session};
use portcullis_store::{
    sessions::{Key, Write},
    token,
};

use super::{Changed, Keys, Outcome, read, refusal, settle};
use crate::control::answer::{self, Answer};

impl Keys<'_> {
    /// `/tyk/keys/create`
    pub(super) async fn create(&self) -> Outcome<Answer> {
        let mut session = self.unmarshalled()?;
        let key = self.new_key(&mut session).await?;
        self.check_bindings(&session, &[]).await?;
        settle::made_now(&mut session);
        let mut session = self.applied(&session)?;
        if session.access_rights.is_empty() && !self.sessions.identity().allow_master_keys {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "Failed to create key, keys must have at least one Access Rights record set.",
            ));
        }
        self.limit_trial(&mut session);
        self.hash_password(&mut session).await?;
        self.begin_quota(&mut session);
        self.sessions.reset_quota(&key, &session).await?;
        let api = self.api_lifetime(&session);
        self.sessions.save(&key, &session, api, Write::New).await?;
        tracing::info!(key = token::masked(key.presented()), org = %session.org_id, "key added");
        Ok(self.added(&key, &session))
    }

    /// `/tyk/keys/preview`: what would be stored.
    pub(super) async fn preview(&self) -> Outcome<Answer> {
        let mut session = self.unmarshalled()?;
        settle::made_now(&mut session);
        let session = self.applied(&session)?;
        Ok(answer::shown(&settle::without_password(session)))
    }

    /// The answer that names a new key. The token of somebody who signs in with a name and a
    /// password is not told where only its hash is stored.
    pub(super) fn added(&self, key: &Key, session: &Session) -> Answer {
        let hashed = self.sessions.identity().hash_keys;
        answer::shown(&Changed {
            key: match hashed && session.has_password() {
                true => "",
                false => key.presented(),
            },
            status: "ok",
            action: "added",
            key_hash: hashed.then_some(key.name()),
        })
    }

    fn unmarshalled(&self) -> Outcome<Session> {
        read(
            self.body,
            StatusCode::INTERNAL_SERVER_ERROR,
            "Unmarshalling failed",
        )
    }

    async fn new_key(&self, session: &mut Session) -> Outcome<Key> {
        let random = || {
            token::random_key().map_err(|error| {
                tracing::error!("no key was made: {error}");
                refusal(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Failed to create key - no random numbers",
                )
            })
        };
        if session.hmac_enabled {
            let secret = openssl::base64::encode_block(random()?.as_bytes());
            session.hmac_string = SecretText::new(secret);
        }
        if session.certificate.is_empty() {
            let token = self.sessions.compose(&session.org_id, &random()?);
            return Ok(self.sessions.key(token));
        }
        let token = self.sessions.compose(&session.org_id, &session.certificate);
        if self
            .sessions
            .look_up(&session.org_id, &token)
            .await?
            .is_some()
        {
            let message =
                format!("Failed to create key - Key with given certificate already found:{token}");
            return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, message));
        }
        Ok(self.sessions.key(token))
    }
}
