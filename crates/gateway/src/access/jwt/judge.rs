//! The control side's answer about a token: its key, its signature, its claims, and the session it stands
//! for.
//!
//! Invariants:
//! - No claim is looked at before the signature is known to be right, but to find the key of a person who has
//!   a secret of their own; what that key opens is decided by the signature all the same.
//! - A session that the store has for whoever the token belongs to counts: who is switched off there stays
//!   out, whatever the token says. A store that does not answer lets nobody in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use portcullis_apidef::{Bearer, Jwt, SigningMethod, policies::PolicySet, session::SecretText};
use portcullis_store::StoreError;

use super::{
    Keys, Verifier,
    claims::Claims,
    fetch::Fetcher,
    grant::{self, Grant, Opens},
    introspection::Issuers,
    jws::{Jws, JwsError},
    key::{KeyError, VerificationKey, from_base64},
    memory::Verified,
    published::{Found, Published},
    refusal::BearerProblem as Problem,
    ties::{Tie, Ties},
};
use crate::{
    access::{Access, Lookup, known::Claim, live::LiveSession},
    services::Client,
};

/// How long a key of the certificate store is used without asking again.
const STORED: Duration = Duration::from_secs(60);

/// What the control side knows for all tokens.
pub struct Judge {
    published: Arc<Published>,
    pub(super) issuers: Issuers,
    pub(super) ties: Arc<Ties>,
    stored: Mutex<HashMap<String, (Arc<VerificationKey>, Instant)>>,
}

/// What became of a token.
pub enum Judged {
    /// It is good.
    Good(Arc<Verified>),
    /// It is not.
    Refused(Problem),
    /// The store does not answer.
    Away,
}

/// Why a token is not good.
pub(super) enum Unfit {
    Refused(Problem),
    Away,
}

impl From<Problem> for Unfit {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl Judge {
    /// Nothing is known yet; published keys are fetched and issuers asked by the client of identity providers.
    pub fn new(providers: Client) -> Self {
        let ties = Arc::new(Ties::default());
        Self {
            published: Arc::new(Published::new(
                Fetcher::new(providers.clone()),
                ties.clone(),
            )),
            issuers: Issuers::new(providers),
            ties,
            stored: Mutex::default(),
        }
    }

    /// Keys have changed.
    pub fn keys_changed(&self, names: &[String]) {
        for name in names {
            self.ties.cut(&Tie::Key(name.clone()));
        }
    }

    /// A certificate came into the store or left it.
    pub fn certificate_changed(&self, id: &str) {
        self.stored().remove(id);
        self.ties.cut(&Tie::Certificate(id.to_owned()));
    }

    /// Changes may have been missed.
    pub fn anything_changed(&self) {
        self.stored().clear();
        self.ties.cut_all();
    }

    /// Published keys are to be fetched anew.
    pub fn forget_published(&self) {
        self.published.forget();
    }

    fn stored(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<String, (Arc<VerificationKey>, Instant)>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    /// Judges a token for an API.
    pub(in crate::access) async fn judge(
        &self,
        verifier: &Verifier,
        token: &str,
        policies: &Arc<PolicySet>,
    ) -> Judged {
        let verified = match &verifier.bearer {
            Bearer::Jwt(jwt) => self.verified(verifier, jwt, token, policies).await,
            Bearer::Oauth(oauth) => self.granted(verifier, oauth, token, policies).await,
        };
        match verified {
            Ok(verified) => Judged::Good(Arc::new(verified)),
            Err(Unfit::Refused(problem)) => Judged::Refused(problem),
            Err(Unfit::Away) => Judged::Away,
        }
    }

    async fn verified(
        &self,
        verifier: &Verifier,
        jwt: &Jwt,
        token: &str,
        policies: &Arc<PolicySet>,
    ) -> Result<Verified, Unfit> {
        let jws = verifier.parsed(token, jwt.method)?;
        let now = self.clock.now();
        let (claims, own, tie) = match &verifier.keys {
            Keys::OfEachKey => {
                let (claims, session) = self.by_own_secret(verifier, jwt, &jws, policies).await?;
                (claims, Some(session), None)
            }
            _ => {
                let (claims, tie) = self.by_shared_key(verifier, &jws).await?;
                (claims, None, tie)
            }
        };
        let validity = claims.validity(&jwt.clock)?;
        validity.at(crate::clients::unix_now())?;
        let subject = grant::identity_by_key(jwt, jws.key_id.as_deref(), &claims);
        claims.meet(&jwt.demands, subject.ok())?;
        let certificate = claims.certificate()?;
        let session = match own {
            Some(session) => session,
            None => {
                let grant = self
                    .grant(verifier, jwt, &claims, validity.until, policies)
                    .await?;
                self.session_of(Arc::new(grant), policies).await?
            }
        };
        self.tokens.ties.tie(&session, tie);
        Ok(Verified {
            session,
            at: now,
            validity,
            certificate,
            ask_at: None,
        })
    }

    /// The claims of a token that the secret of the key it names has signed, and that key's session.
    async fn by_own_secret(
        &self,
        verifier: &Verifier,
        jwt: &Jwt,
        jws: &Jws<'_>,
        policies: &Arc<PolicySet>,
    ) -> Result<(Claims, Arc<LiveSession>), Unfit> {
        let claims = Claims::parse(&jws.payload)?;
        let named = grant::identity_by_key(jwt, jws.key_id.as_deref(), &claims)
            .map_err(|_| Problem::Invalid)?;
        let named = Claim::Token(named.to_owned());
        let session = match self.find(&verifier.org, &named, policies).await {
            Lookup::Found(session) => session,
            Lookup::Nobody => return Err(Problem::Invalid.into()),
            Lookup::Away => return Err(Unfit::Away),
        };
        let key = own_key(jwt.method, &session.stored.jwt_data.secret);
        match key {
            Ok(key) if key.verifies(jws.algorithm, jws.signed, &jws.signature) => {
                Ok((claims, session))
            }
            Ok(_) => Err(Problem::Invalid.into()),
            Err(why) => {
                tracing::warn!(
                    key = session.masked,
                    "tokens of this key cannot be verified with its jwt_data.secret: {why}"
                );
                Err(Problem::Invalid.into())
            }
        }
    }

    /// The claims of a token that a key of the API has signed, and what it hangs on.
    pub(super) async fn by_shared_key(
        &self,
        verifier: &Verifier,
        jws: &Jws<'_>,
    ) -> Result<(Claims, Option<Tie>), Unfit> {
        let right = |key: &VerificationKey| key.verifies(jws.algorithm, jws.signed, &jws.signature);
        let (verified, tie) = match &verifier.keys {
            Keys::Fixed(key) => (right(key), None),
            Keys::Stored(id) => {
                let method = jws.algorithm.method();
                let key = self.stored_key(verifier, method, id).await?;
                (right(&key), Some(Tie::Certificate(id.clone())))
            }
            Keys::Published(places) => {
                // Which of the keys it is, the token has to say.
                let id = jws.key_id.as_deref().ok_or(Problem::Invalid)?;
                match self.tokens.published.find(places, id, jws.algorithm).await {
                    Found::In(set, url) => {
                        (set.of(id, jws.algorithm).any(right), Some(Tie::KeySet(url)))
                    }
                    Found::Nowhere => (false, None),
                    Found::Away => return Err(Problem::KeysAway.into()),
                }
            }
            Keys::OfEachKey | Keys::AtIssuer => (false, None),
        };
        match verified {
            true => Ok((Claims::parse(&jws.payload)?, tie)),
            false => Err(Problem::Invalid.into()),
        }
    }

    /// The key of an entry of the certificate store.
    async fn stored_key(
        &self,
        verifier: &Verifier,
        method: SigningMethod,
        id: &str,
    ) -> Result<Arc<VerificationKey>, Unfit> {
        let known = self.tokens.stored().get(id).cloned();
        if let Some((key, read)) = &known
            && read.elapsed() < STORED
        {
            return Ok(key.clone());
        }
        let raw = self.certificates.raw(&[id.to_owned()]).await;
        let key = match raw {
            Ok(mut texts) => match texts.pop().flatten() {
                Some(text) => VerificationKey::public(&text).map_err(|why| why.to_string()),
                None => Err("the certificate store has no entry of this id".to_owned()),
            },
            Err(error) => {
                tracing::error!(%error, "the key of tokens could not be read from the certificate store");
                // It was there a minute ago; how long it stays good is bounded by the keys' grace.
                return match known {
                    Some((key, read)) if read.elapsed() < STORED + self.settings.terms.grace => {
                        Ok(key)
                    }
                    _ => Err(Unfit::Away),
                };
            }
        };
        match key {
            Ok(key) if key.method() == method => {
                let key = Arc::new(key);
                let entry = (key.clone(), Instant::now());
                self.tokens.stored().insert(id.to_owned(), entry);
                Ok(key)
            }
            unusable => {
                let why = unusable
                    .err()
                    .unwrap_or_else(|| format!("its key is not for {}", super::name(method)));
                tracing::error!(
                    api_id = verifier.api,
                    id,
                    "tokens cannot be verified with the certificate that their source names: {why}"
                );
                self.tokens.stored().remove(id);
                Err(Problem::KeysAway.into())
            }
        }
    }

    /// What a token's claims open.
    async fn grant(
        &self,
        verifier: &Verifier,
        jwt: &Jwt,
        claims: &Claims,
        until: Option<i64>,
        policies: &Arc<PolicySet>,
    ) -> Result<Grant, Unfit> {
        let rules = &jwt.policies;
        let identity = grant::identity(jwt, claims)?.to_owned();
        let base = match (&rules.client, rules.named.is_empty()) {
            (Some(claim), true) => self.policy_of_client(verifier, claims.text(claim)).await?,
            _ => grant::base(rules, claims),
        };
        let brought = grant::policies(rules, base, claims, &verifier.org, policies)?;
        Ok(Grant {
            opens: Opens::Policies(brought),
            org: verifier.org.clone(),
            client: grant::client(jwt, claims),
            identity,
            until,
        })
    }

    /// The first policy of a key.
    async fn policy_of_client(
        &self,
        verifier: &Verifier,
        client: Option<&str>,
    ) -> Result<Option<String>, Unfit> {
        let Some(client) = client else {
            return Ok(None);
        };
        let found = self.sessions.find(&verifier.org, client).await;
        let found = found.map_err(|error| away(&error))?;
        Ok(found.and_then(|found| {
            let session = found.session;
            session.policy_ids().first().map(|id| (*id).to_owned())
        }))
    }

    /// The session in force of whoever was granted something.
    pub(super) async fn session_of(
        &self,
        grant: Arc<Grant>,
        policies: &Arc<PolicySet>,
    ) -> Result<Arc<LiveSession>, Unfit> {
        let epoch = self.epoch();
        let key = self
            .sessions
            .compose(&grant.org, &grant::key_of(&grant.identity));
        let entry = self.sessions.key(key.as_str());
        let stored = {
            // Never closed.
            let _place = self.lookups.acquire().await;
            self.sessions.get(&entry).await
        };
        let stored = stored.map_err(|error| away(&error))?;
        let session = grant.session(stored, &key, policies);
        let now = self.clock.now();
        let session = self.prepare(entry.name(), session, &key, policies, now, None);
        let mut session = session.ok_or(Problem::Unappliable)?;
        session.grant = Some(grant);
        let session = Arc::new(session);
        let mut names = vec![
            entry.name().to_owned(),
            self.sessions.cached_name(&key),
            key,
        ];
        names.dedup();
        self.tokens
            .ties
            .tie(&session, names.into_iter().map(Tie::Key));
        if self.epoch() != epoch {
            // A key changed while this one was read; perhaps it was this one.
            session.mark_stale();
        }
        Ok(session)
    }

    /// What the store and the policies make now of what was granted to somebody.
    pub(in crate::access) async fn granted_again(
        &self,
        grant: &Arc<Grant>,
        policies: &Arc<PolicySet>,
    ) -> crate::watch::Reading {
        use crate::watch::Reading;
        match self.session_of(grant.clone(), policies).await {
            Ok(session) => Reading::Session(session),
            Err(Unfit::Refused(_)) => Reading::Gone,
            Err(Unfit::Away) => Reading::Unknown,
        }
    }
}

impl Verifier {
    /// A token taken apart that is signed by an algorithm of this family.
    pub(super) fn parsed<'t>(
        &self,
        token: &'t str,
        method: SigningMethod,
    ) -> Result<Jws<'t>, Problem> {
        let jws = Jws::parse(token).map_err(|error| match error {
            JwsError::Algorithm => Problem::Method,
            error => {
                tracing::debug!(api_id = self.api, "a token is refused: {error}");
                Problem::Invalid
            }
        })?;
        match jws.algorithm.method() == method {
            true => Ok(jws),
            false => Err(Problem::Method),
        }
    }
}

/// The key in the secret of a key of the store: a secret for HMAC, PEM for the others, in Base64 or not.
fn own_key(method: SigningMethod, secret: &SecretText) -> Result<VerificationKey, KeyError> {
    let text = secret.reveal();
    if method == SigningMethod::Hmac {
        return VerificationKey::secret(text.as_bytes().to_vec());
    }
    match text.contains("-----BEGIN ") {
        true => VerificationKey::public(text.as_bytes()),
        false => VerificationKey::public(&from_base64(text).ok_or(KeyError::Form)?),
    }
}

fn away(error: &StoreError) -> Unfit {
    tracing::error!(%error, "whoever a token belongs to could not be looked up");
    Unfit::Away
}
