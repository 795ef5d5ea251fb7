//! Sessions read from the store and made ready, with the certificates they belong to.
//!
//! Invariants:
//! - A session whose policies cannot be applied is nobody's.
//! - Whether its certificate is stored is asked whenever the session is read, and as long as that answer
//!   holds the session holds; a change of the certificate makes both void.
//! - A session that is asked for by a certificate belongs to that one. Where its entry says otherwise the
//!   entry is mended, and nobody waits for that.

use std::sync::Arc;

use portcullis_apidef::{
    policies::{PolicySet, apply},
    session::Session,
};
use portcullis_policy::Access as Rights;
use portcullis_store::{
    StoreError,
    hash::HashFunction,
    sessions::{Found, Sessions},
    token,
};

use super::{
    Access, Lookup, PAUSE,
    known::{Claim, Names},
    live::{LiveSession, Marks, OwnCertificate},
    under_way::Sought,
    window::Millis,
};
use crate::watch::Reading;

/// A session as it was read.
struct Read {
    found: Found,
    certificate: Option<OwnCertificate>,
}

impl Access {
    /// The session of what was presented, as far as it can be known. Requests that ask at the same time
    /// share what is found, unless every one of them is to see the store as it is when it comes.
    pub(super) async fn find(
        &self,
        org: &str,
        presented: &Claim,
        policies: &Arc<PolicySet>,
    ) -> Lookup {
        let look_up = self.look_up(org, presented, policies);
        if self.settings.terms.fresh.is_zero() {
            return look_up.await;
        }
        let sought = Sought {
            org: org.to_owned(),
            presented: presented.clone(),
            epoch: self.epoch(),
            policies: Arc::as_ptr(policies).addr(),
        };
        self.under_way.share(sought, look_up).await
    }

    async fn look_up(&self, org: &str, presented: &Claim, policies: &Arc<PolicySet>) -> Lookup {
        // Never closed.
        let _place = self.lookups.acquire().await;
        let terms = self.settings.terms;
        let before = self
            .known
            .find(org, presented)
            .filter(|known| !known.is_stale() && belongs(known, presented));
        if let Some(known) = &before
            && self.clock.now().since(known.loaded) < terms.fresh(known)
            && Arc::ptr_eq(&known.policies, policies)
        {
            return Lookup::Found(known.clone());
        }
        let epoch = self.epoch();
        match self.read(org, presented).await {
            Ok(None) => Lookup::Nobody,
            Ok(Some(read)) => self.take_in(org, presented, read, policies, epoch),
            Err(error) => match before {
                Some(known)
                    if !matches!(error, StoreError::Entry { .. })
                        && self.clock.now().since(known.loaded)
                            < terms.fresh(&known) + terms.grace =>
                {
                    self.still(known, policies, &error)
                }
                _ => {
                    tracing::error!(%error, "a key could not be looked up");
                    Lookup::Away
                }
            },
        }
    }

    async fn read(&self, org: &str, presented: &Claim) -> Result<Option<Read>, StoreError> {
        let found = match presented {
            Claim::Token(token) => self.sessions.find(org, token).await?,
            Claim::Certificate(id) => self.sessions.find_certificate(org, id).await?,
        };
        let Some(mut found) = found else {
            return Ok(None);
        };
        let id = match presented {
            Claim::Certificate(id) => id.clone(),
            Claim::Token(_) => found.session.certificate.clone(),
        };
        if id.is_empty() {
            let certificate = None;
            return Ok(Some(Read { found, certificate }));
        }
        let stored = self.certificates.contains(&id).await?;
        if stored && found.session.certificate != id {
            tokio::spawn(mend(self.sessions.clone(), found.clone(), id.clone()));
            found.session.certificate.clone_from(&id);
        }
        let certificate = Some(OwnCertificate { id, stored });
        Ok(Some(Read { found, certificate }))
    }

    fn take_in(
        &self,
        org: &str,
        presented: &Claim,
        read: Read,
        policies: &Arc<PolicySet>,
        epoch: u64,
    ) -> Lookup {
        let Read { found, certificate } = read;
        let now = self.clock.now();
        let before = self.known.named(&found.name);
        let Some(mut session) = self.prepare(
            &found.name,
            found.session,
            &found.token,
            policies,
            now,
            before.as_deref(),
        ) else {
            return Lookup::Nobody;
        };
        session.certificate = certificate;
        let session = Arc::new(session);
        let terms = self.settings.terms;
        let names = Names {
            org,
            presented,
            others: [
                self.sessions.cached_name(presented.text()),
                self.sessions.cached_name(&found.token),
                presented.text().to_owned(),
                found.token,
            ],
        };
        self.known
            .keep(names, &session, now, terms.fresh + terms.grace);
        if self.epoch() != epoch {
            // A key or a certificate changed while this one was read; perhaps it was this one.
            session.mark_stale();
        }
        Lookup::Found(session)
    }

    /// A session that was read before and is good for a while longer.
    fn still(
        &self,
        known: Arc<LiveSession>,
        policies: &Arc<PolicySet>,
        error: &StoreError,
    ) -> Lookup {
        tracing::debug!(%error, key = known.masked, "the store is away, a known key goes on");
        let session = if Arc::ptr_eq(&known.policies, policies) {
            known
        } else {
            let renewed = self.renew(&known, policies);
            match renewed {
                Some(session) => Arc::new(session),
                None => return Lookup::Nobody,
            }
        };
        session.not_before(self.clock.now() + PAUSE);
        Lookup::Found(session)
    }

    /// What the store says of a session that is in use.
    pub(super) async fn read_again(
        &self,
        known: &LiveSession,
        policies: &Arc<PolicySet>,
    ) -> Reading {
        if let Some(grant) = &known.grant {
            return self.granted_again(grant, policies).await;
        }
        let current = |session: &Arc<LiveSession>| {
            !session.is_stale()
                && session.loaded > known.loaded
                && session.certificate == known.certificate
                && Arc::ptr_eq(&session.policies, policies)
        };
        if let Some(session) = self.known.named(&known.name).filter(current) {
            return Reading::Session(session);
        }
        let epoch = self.epoch();
        let read = async {
            let Some(stored) = self.sessions.stored(&known.name).await? else {
                return Ok(None);
            };
            let certificate = match &known.certificate {
                None => None,
                Some(OwnCertificate { id, .. }) => Some(OwnCertificate {
                    id: id.clone(),
                    stored: self.certificates.contains(id).await?,
                }),
            };
            Ok::<_, StoreError>(Some((stored, certificate)))
        };
        let (stored, certificate) = match read.await {
            Ok(Some(read)) => read,
            Ok(None) => return Reading::Gone,
            Err(error) => {
                tracing::debug!(%error, key = known.masked, "a key in use could not be read again");
                return Reading::Unknown;
            }
        };
        let (name, now) = (&known.name, self.clock.now());
        let session = self.prepare(name, stored, &known.masked, policies, now, Some(known));
        let Some(mut session) = session else {
            return Reading::Gone;
        };
        session.certificate = certificate;
        let session = Arc::new(session);
        let terms = self.settings.terms;
        self.known
            .keep_again(&session, now, terms.fresh + terms.grace);
        if self.epoch() != epoch {
            session.mark_stale();
        }
        Reading::Session(session)
    }

    fn renew(&self, known: &LiveSession, policies: &Arc<PolicySet>) -> Option<LiveSession> {
        let mut session = self.prepare(
            &known.name,
            known.stored.clone(),
            &known.masked,
            policies,
            known.loaded,
            Some(known),
        )?;
        session.certificate.clone_from(&known.certificate);
        Some(session)
    }

    /// Applies policies and makes a session ready; `None` when it cannot be used.
    pub(super) fn prepare(
        &self,
        name: &str,
        stored: Session,
        token: &str,
        policies: &Arc<PolicySet>,
        loaded: Millis,
        before: Option<&LiveSession>,
    ) -> Option<LiveSession> {
        let masked = before.map_or_else(|| token::masked(token), |before| before.masked.clone());
        let session = match apply(&stored, policies) {
            Ok(session) => session,
            Err(error) => {
                tracing::warn!(key = masked, "the key cannot be used: {error}");
                return None;
            }
        };
        let access = Rights::of(&session, self.settings.master_keys);
        for problem in access.problems() {
            tracing::warn!(key = masked, "{problem}");
        }
        // A developer with several keys has one set of counters.
        let counted_as = session
            .meta_data
            .get("tyk_developer_id")
            .and_then(|id| id.as_str())
            .unwrap_or(name)
            .to_owned();
        let now = self.clock.now();
        let rates = (0..access.counters())
            .map(|counter| {
                let name = access.counter_name(counter, &counted_as, short_hash);
                (self.known.window(&name, access.longest(counter), now), name)
            })
            .collect();
        Some(LiveSession {
            name: name.to_owned(),
            access,
            counted_as,
            rates,
            masked,
            marks: Marks::after(before, &session.basic_auth_data),
            alias: session.alias,
            password: session.basic_auth_data,
            stored,
            grant: None,
            certificate: None,
            policies: policies.clone(),
            loaded,
        })
    }
}

/// Whether a session that is known belongs to the certificate it is asked for by.
fn belongs(known: &LiveSession, presented: &Claim) -> bool {
    match (presented, &known.certificate) {
        (Claim::Token(_), _) => true,
        (Claim::Certificate(id), Some(own)) => own.id == *id,
        (Claim::Certificate(_), None) => false,
    }
}

/// Writes into the entry of a key which certificate it belongs to, unless somebody has changed the entry.
async fn mend(sessions: Sessions, found: Found, id: String) {
    let mut session = found.session.clone();
    session.certificate = id;
    match sessions.amend(&found, &session).await {
        Ok(true) => {
            let (key, id) = (token::masked(&found.token), session.certificate);
            tracing::info!(key, id, "the key names the certificate it belongs to again");
        }
        // Whoever changed it has the last word; it is looked at again.
        Ok(false) => {}
        Err(error) => {
            let key = token::masked(&found.token);
            tracing::warn!(
                key,
                "the key does not name the certificate it belongs to, and that cannot be written: {error}"
            );
        }
    }
}

/// Endpoints in names of counters.
fn short_hash(endpoint: &str) -> String {
    HashFunction::Murmur32.hex(endpoint)
}
