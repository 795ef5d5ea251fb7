//! The decision about a request after the store has been asked.
//!
//! The worker that serves the request waits here without being held up: what touches the store or
//! hashes a password runs on the control side.

use std::{rc::Rc, sync::Arc, time::Duration};

use portcullis_apidef::{Authentication, Basic, policies::PolicySet, session::SecretText};
use portcullis_policy::Throttle;

use super::{
    Lookup,
    bearer::{self, Bearer},
    certificate::Wanted,
    check::{Identifying, Limited, Open, Question, Remembered, Senders, limits, remembered},
    count::{Counting, QuotaLeft},
    live::LiveSession,
    memory::Presented,
    refusal::{Denied, Refused},
};
use crate::{snapshot::RunningApi, worker::Worker};

/// How long a request waits for a session.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it waits for a newer reading of one it knows.
const RENEWAL: Duration = Duration::from_millis(500);

/// A request that may pass.
pub struct Settled {
    /// What is left of its sender's quota.
    pub quota: Option<QuotaLeft>,
    /// Who sends it.
    pub session: Option<Arc<LiveSession>>,
}

/// Asks what has to be asked and decides.
///
/// # Errors
/// [`Denied`].
pub async fn settle(worker: &Rc<Worker>, question: Question) -> Result<Settled, Denied> {
    let Question {
        api,
        policies,
        method,
        path,
        open,
    } = question;
    let (session, first) = match open {
        Open::Identity(identifying) => {
            let session = identify(worker, &api, &policies, identifying).await?;
            (Some(session), None)
        }
        Open::Counting(session, counting) => (session, Some(Limited::Count(counting))),
        Open::Throttled(session, throttle) => (session, Some(Limited::Throttled(throttle))),
    };
    match limited(worker, &api, session.as_ref(), first, &method, &path).await {
        Ok(quota) => Ok(Settled { quota, session }),
        Err(refused) => Err(Denied {
            refused,
            session,
            presented: None,
        }),
    }
}

/// Applies the limits, waiting and trying again where the key says so.
async fn limited(
    worker: &Rc<Worker>,
    api: &Arc<RunningApi>,
    session: Option<&Arc<LiveSession>>,
    first: Option<Limited>,
    method: &str,
    path: &str,
) -> Result<Option<QuotaLeft>, Refused> {
    let decide = || limits(&worker.access, api, session, method, path);
    let mut next = first.unwrap_or_else(decide);
    let mut tries = 0;
    loop {
        let throttle = match next {
            Limited::Pass => return Ok(None),
            Limited::Refused(refused) => return Err(refused),
            Limited::Throttled(throttle) => throttle,
            Limited::Count(counting) => {
                let throttle = counting.throttle;
                match (count(worker, api, counting).await, throttle) {
                    (Err(Refused::Rate), Some(throttle)) => throttle,
                    (counted, _) => return counted,
                }
            }
        };
        if tries >= throttle.tries {
            return Err(Refused::Rate);
        }
        tries += 1;
        pause(worker, throttle).await;
        next = decide();
    }
}

async fn pause(worker: &Rc<Worker>, throttle: Throttle) {
    // Nothing happens in the meantime, so the time is always over first.
    let _ = worker
        .timers
        .within(throttle.interval, std::future::pending::<()>())
        .await;
}

async fn count(
    worker: &Rc<Worker>,
    api: &RunningApi,
    counting: Counting,
) -> Result<Option<QuotaLeft>, Refused> {
    let here = counting.api_rate_here;
    let left = worker.access.count(counting).await?;
    if let (Some(most), Some(limit)) = (here, &api.rate)
        && !limit.window.take(worker.access.now(), limit.rate.per, most)
    {
        return Err(Refused::ApiRate);
    }
    Ok(left)
}

/// Who sends a request: basic authentication first, and every method must succeed.
async fn identify(
    worker: &Rc<Worker>,
    api: &RunningApi,
    policies: &Arc<PolicySet>,
    identifying: Identifying,
) -> Result<Arc<LiveSession>, Denied> {
    let Authentication::Required(methods) = &api.api.authentication else {
        return Err(Denied::stranger(Refused::NoSession));
    };
    let Identifying {
        user,
        bearer,
        wanted,
        leaf,
    } = identifying;
    let org = &api.api.org_id;
    let by_user = match (&methods.basic, user) {
        (None, _) => None,
        (Some(_), None) => return Err(Denied::stranger(Refused::UserMissing)),
        (Some(basic), Some((name, password))) => {
            let session = user_session(worker, org, &name, password, basic, policies).await;
            Some(session.map_err(|refused| Denied::presenting(refused, &name))?)
        }
    };
    let by_bearer = match (&api.tokens, bearer) {
        _ if methods.bearer.is_none() => None,
        (None, _) => return Err(Denied::stranger(Refused::NoSession)),
        (Some(_), None) => return Err(Denied::stranger(Refused::TokenMissing)),
        (Some(_), Some(Bearer::Refused(refused))) => return Err(Denied::stranger(refused)),
        (Some(_), Some(Bearer::Known(session))) => Some(session),
        (Some(verifier), Some(Bearer::Token(token))) => {
            let session = bearer::asked(worker, verifier, &token, policies, leaf).await;
            Some(session.map_err(Denied::stranger)?)
        }
    };
    let mut senders = match (&methods.token, wanted) {
        (None, _) => Senders::default(),
        (Some(_), None) => return Err(Denied::stranger(Refused::TokenMissing)),
        (Some(_), Some(Err(refused))) => return Err(Denied::stranger(refused)),
        (Some(_), Some(Ok(wanted))) => of_key(worker, org, wanted, policies).await?,
    };
    senders.by_user = by_user;
    senders.by_bearer = by_bearer;
    senders.decided(api, methods, leaf)
}

/// The sessions the token method needs: the certificate's comes first.
async fn of_key(
    worker: &Rc<Worker>,
    org: &str,
    wanted: Wanted<String>,
    policies: &Arc<PolicySet>,
) -> Result<Senders, Denied> {
    let mut senders = Senders::default();
    if let Some(fingerprint) = wanted.certificate {
        let session = session(worker, org, Presented::Certificate(fingerprint), policies).await;
        let session = session.and_then(|session| session.ok_or(Refused::CertificateUnknown));
        let denied = |refused| Denied::with_certificate(refused, fingerprint);
        senders.by_certificate = Some(session.map_err(denied)?);
    }
    if let Some(token) = wanted.token {
        let session = session(worker, org, Presented::Token(&token), policies).await;
        let session = session.and_then(|session| session.ok_or(Refused::TokenUnknown));
        senders.by_token = Some(session.map_err(|refused| Denied::presenting(refused, &token))?);
    }
    Ok(senders)
}

async fn user_session(
    worker: &Rc<Worker>,
    org: &str,
    name: &str,
    password: SecretText,
    basic: &Basic,
    policies: &Arc<PolicySet>,
) -> Result<Arc<LiveSession>, Refused> {
    let user = Presented::Token(name);
    let Some(session) = session(worker, org, user, policies).await? else {
        worker.access.verify_nobody(password).await;
        return Err(Refused::UserUnknown);
    };
    if worker.access.verify(&session, password, basic.memory).await {
        Ok(session)
    } else {
        Err(Refused::UserUnknown)
    }
}

/// The session of a token or a certificate; `None` when there is none.
async fn session(
    worker: &Rc<Worker>,
    org: &str,
    presented: Presented<'_>,
    policies: &Arc<PolicySet>,
) -> Result<Option<Arc<LiveSession>>, Refused> {
    let access = &worker.access;
    match remembered(access, org, presented, policies) {
        Remembered::Session(session) => return Ok(Some(session)),
        Remembered::Nobody => return Ok(None),
        Remembered::Nothing => {}
    }
    let epoch = access.epoch();
    let patience = match access.begins_renewal(org, presented, policies) {
        true => RENEWAL,
        false => PATIENCE,
    };
    let found = worker
        .timers
        .within(patience, access.find(org, presented, policies))
        .await;
    match found.unwrap_or(Lookup::Away) {
        Lookup::Found(session) => {
            access.keep(org, presented, session.clone());
            Ok(Some(session))
        }
        Lookup::Nobody => {
            access.keep_nobody(org, presented, epoch);
            Ok(None)
        }
        // The line of questions may be long, and this one is known.
        Lookup::Away => access
            .good_enough(org, presented, policies)
            .map(Some)
            .ok_or(Refused::StoreAway),
    }
}
