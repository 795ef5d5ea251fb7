//! How one worker reaches what all share: its own memory, and questions handed over to the control side.

use std::{sync::Arc, time::Duration};

use portcullis_apidef::{Basic, policies::PolicySet, session::SecretText};
use tokio::{runtime::Handle, task::AbortHandle};

use super::{
    Access, Lookup, PAUSE,
    count::{Counting, QuotaLeft},
    jwt::{self, Judged, Verified, Verifier},
    known::Claim,
    live::LiveSession,
    memory::{Known, Memory, Presented},
    refusal::{Messages, Refused},
    share::Counted,
    window::Millis,
};
use crate::watch::Reading;

/// A worker's side of [`Access`].
pub struct AccessLink {
    access: Arc<Access>,
    runtime: Handle,
    memory: Memory,
    tokens: jwt::Memory,
}

/// Ends a task with the request that waits for it.
struct EndsWithRequest(AbortHandle);

impl Drop for EndsWithRequest {
    fn drop(&mut self) {
        // One that is over does not notice.
        self.0.abort();
    }
}

impl AccessLink {
    /// A link of a worker that remembers nothing; what waits for the store runs on `runtime`.
    pub fn new(access: Arc<Access>, runtime: Handle) -> Self {
        Self {
            access,
            runtime,
            memory: Memory::default(),
            tokens: jwt::Memory::default(),
        }
    }

    /// What refused requests are answered.
    pub fn messages(&self) -> &Messages {
        &self.access.settings.messages
    }

    /// Forgets what is of no use any more.
    pub fn sweep(&self) {
        let (now, terms) = (self.now(), self.access.settings.terms);
        self.memory.sweep(now, terms);
        self.tokens.sweep(now, terms);
    }

    /// How often that is to be done.
    pub fn sweep_interval(&self) -> Duration {
        self.access.settings.sweep
    }

    /// Whether tokens take the place of certificates.
    pub(super) fn tokens_stand_in(&self) -> bool {
        self.access.settings.tokens_stand_in
    }

    pub(super) fn now(&self) -> Millis {
        self.access.clock.now()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.access.epoch()
    }

    pub(super) fn counted(&self, requests: f64, per: f64) -> Counted {
        if self.access.settings.count_together {
            Counted::Together
        } else {
            self.access.share.of(requests, per)
        }
    }

    pub(super) fn look(&self, org: &str, presented: Presented<'_>, now: Millis) -> Known {
        self.memory.look(
            org,
            presented,
            now,
            self.epoch(),
            self.access.settings.terms,
        )
    }

    /// True when a session is known and a newer reading of it is about to be asked for. Until it comes,
    /// requests of this worker go on with what is known, unless the store is to be asked every time.
    pub(super) fn begins_renewal(
        &self,
        org: &str,
        presented: Presented<'_>,
        policies: &Arc<PolicySet>,
    ) -> bool {
        let now = self.now();
        match self.look(org, presented, now) {
            Known::Old(session) if Arc::ptr_eq(&session.policies, policies) => {
                if !self.access.settings.terms.fresh.is_zero() {
                    session.not_before(now + PAUSE);
                }
                true
            }
            _ => false,
        }
    }

    /// A session that may be used because the store does not answer.
    pub(super) fn good_enough(
        &self,
        org: &str,
        presented: Presented<'_>,
        policies: &Arc<PolicySet>,
    ) -> Option<Arc<LiveSession>> {
        let now = self.now();
        match self.look(org, presented, now) {
            Known::Session(session) | Known::Old(session)
                if Arc::ptr_eq(&session.policies, policies) =>
            {
                session.not_before(now + PAUSE);
                Some(session)
            }
            _ => None,
        }
    }

    pub(super) fn keep(&self, org: &str, presented: Presented<'_>, session: Arc<LiveSession>) {
        let terms = self.access.settings.terms;
        self.memory.keep(org, presented, session, self.now(), terms);
    }

    pub(super) fn keep_nobody(&self, org: &str, presented: Presented<'_>, epoch: u64) {
        let terms = self.access.settings.terms;
        self.memory
            .keep_nobody(org, presented, self.now(), epoch, terms);
    }

    /// True when a password is known to be right without hashing it.
    pub(super) fn knows(
        &self,
        session: &LiveSession,
        password: &SecretText,
        basic: &Basic,
    ) -> bool {
        basic.memory.is_some() && session.knows(&self.access.key, password, self.now())
    }

    /// What this worker knows of a JSON Web Token.
    pub(super) fn look_at(
        &self,
        verifier: &Verifier,
        token: &str,
        policies: &Arc<PolicySet>,
    ) -> jwt::Remembered {
        let terms = self.access.settings.terms;
        self.tokens
            .look(verifier, token, policies, self.now(), terms)
    }

    /// Remembers a JSON Web Token.
    pub(super) fn keep_verified(&self, verifier: &Verifier, token: &str, verified: &Arc<Verified>) {
        let terms = self.access.settings.terms;
        self.tokens
            .keep(verifier, token, verified.clone(), self.now(), terms);
    }

    /// A token that is known is about to be judged again. Until that is done, requests of this worker go on
    /// with what is known, unless the store is to be asked every time.
    pub(super) fn begins_again(&self, verified: &Verified) {
        if !self.access.settings.terms.fresh.is_zero() {
            verified.session.not_before(self.now() + PAUSE);
        }
    }

    /// A token is used a while longer because nobody can say more of it.
    pub(super) fn is_good_enough(&self, verified: &Verified) {
        verified.session.not_before(self.now() + PAUSE);
    }

    /// Whether a token is good, which only the control side can tell. An issuer is asked no longer than the
    /// request waits; what is fetched for many goes on without it.
    pub(super) async fn judge(
        &self,
        verifier: &Arc<Verifier>,
        token: &str,
        policies: &Arc<PolicySet>,
    ) -> Judged {
        let for_one = verifier.asks_issuer();
        let (access, verifier) = (self.access.clone(), verifier.clone());
        let (token, policies) = (token.to_owned(), policies.clone());
        let work = async move { access.judge(&verifier, &token, &policies).await };
        let judging = self.runtime.spawn(work);
        let _ends = for_one.then(|| EndsWithRequest(judging.abort_handle()));
        // A defect there must not let anybody in.
        judging.await.unwrap_or(Judged::Away)
    }

    pub(super) async fn find(
        &self,
        org: &str,
        presented: Presented<'_>,
        policies: &Arc<PolicySet>,
    ) -> Lookup {
        let (access, policies) = (self.access.clone(), policies.clone());
        let (org, presented) = (org.to_owned(), Claim::of(org, presented));
        let work = async move { access.find(&org, &presented, &policies).await };
        // A defect there must not let anybody in.
        self.runtime.spawn(work).await.unwrap_or(Lookup::Away)
    }

    /// What the store says now of a session in use.
    pub async fn read_again(
        &self,
        session: &Arc<LiveSession>,
        policies: &Arc<PolicySet>,
    ) -> Reading {
        let (access, session) = (self.access.clone(), session.clone());
        let policies = policies.clone();
        let work = async move { access.read_again(&session, &policies).await };
        self.runtime.spawn(work).await.unwrap_or(Reading::Unknown)
    }

    pub(super) async fn verify(
        &self,
        session: &Arc<LiveSession>,
        password: SecretText,
        memory: Option<Duration>,
    ) -> bool {
        let (access, session) = (self.access.clone(), session.clone());
        let work = async move { access.verify(&session, password, memory).await };
        self.runtime.spawn(work).await.unwrap_or(false)
    }

    /// Takes as long as [`AccessLink::verify`] does for a wrong password.
    pub(super) async fn verify_nobody(&self, password: SecretText) {
        let access = self.access.clone();
        let work = async move { access.verify_nobody(password).await };
        // A defect there changes nothing: the request is refused.
        let _ = self.runtime.spawn(work).await;
    }

    pub(super) async fn count(&self, counting: Counting) -> Result<Option<QuotaLeft>, Refused> {
        let access = self.access.clone();
        let work = async move { access.count(counting).await };
        self.runtime
            .spawn(work)
            .await
            .unwrap_or(Err(Refused::StoreAway))
    }
}
