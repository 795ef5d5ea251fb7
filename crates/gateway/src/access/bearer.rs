//! A token that somebody else has issued at a request: at once where this worker knows it, else after asking the
//! control side.
//!
//! Invariant: whichever way, the times of the token and the certificate it is bound to are checked now.

use std::{rc::Rc, sync::Arc, time::Duration};

use portcullis_apidef::{self as apidef, policies::PolicySet};

use super::{
    AccessLink,
    certificate::Leaf,
    credentials,
    jwt::{BearerProblem, Judged, Remembered, Verified, Verifier},
    live::LiveSession,
    refusal::Refused,
    window::Millis,
};
use crate::{clients::unix_now, proxy::view::RequestView, snapshot::RunningApi, worker::Worker};

/// How long a request waits for its token to be judged: a key may have to be fetched or its issuer to be asked,
/// and that has its own limit.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it waits for one that was good a moment ago.
const RENEWAL: Duration = Duration::from_millis(500);

/// How far the method is.
pub(super) enum Bearer {
    /// Whose the token is, is known.
    Known(Arc<LiveSession>),
    /// It has to be asked whose this token is.
    Token(String),
    /// It is not good, or there is none.
    Refused(Refused),
}

/// What this worker knows of the token of a request.
pub(super) fn at_once(
    link: &AccessLink,
    api: &RunningApi,
    method: &apidef::Bearer,
    policies: &Arc<PolicySet>,
    leaf: Option<Leaf>,
    view: &RequestView<'_>,
) -> Bearer {
    let Some(token) = credentials::token(method.places(), view) else {
        return Bearer::Refused(match method {
            apidef::Bearer::Jwt(_) => Refused::TokenMissing,
            apidef::Bearer::Oauth(_) => Refused::AccessTokenMissing,
        });
    };
    let Some(verifier) = &api.tokens else {
        return Bearer::Refused(Refused::NoSession);
    };
    match link.look_at(verifier, &token, policies) {
        Remembered::Good(verified) => match session(verifier, &verified, leaf) {
            Ok(session) => Bearer::Known(session),
            Err(refused) => Bearer::Refused(refused),
        },
        Remembered::Old(_) | Remembered::Nothing => Bearer::Token(token.into_owned()),
    }
}

/// Whose a token is that this worker did not know.
pub(super) async fn asked(
    worker: &Rc<Worker>,
    verifier: &Arc<Verifier>,
    token: &str,
    policies: &Arc<PolicySet>,
    leaf: Option<Leaf>,
) -> Result<Arc<LiveSession>, Refused> {
    let access = &worker.access;
    let before = match access.look_at(verifier, token, policies) {
        // Another request has asked meanwhile.
        Remembered::Good(verified) => return session(verifier, &verified, leaf),
        Remembered::Old(verified) => Some(verified),
        Remembered::Nothing => None,
    };
    let patience = match &before {
        // Until it is judged again, other requests of this worker go on with what is known.
        Some(verified) => {
            access.begins_again(verified);
            RENEWAL
        }
        None => PATIENCE,
    };
    let judging = access.judge(verifier, token, policies);
    let judged = worker.timers.within(patience, judging).await;
    match (judged.unwrap_or(Judged::Away), before) {
        (Judged::Good(verified), _) => {
            access.keep_verified(verifier, token, &verified);
            session(verifier, &verified, leaf)
        }
        (Judged::Refused(problem), _) => Err(refused(verifier, problem)),
        (Judged::Away, before) => match meanwhile(before, access.now()) {
            Some(verified) => {
                access.is_good_enough(&verified);
                session(verifier, &verified, leaf)
            }
            None => Err(Refused::StoreAway),
        },
    }
}

/// What was good a moment ago, when nobody can say that it is not. What an issuer said may be over by now.
pub(super) fn meanwhile(before: Option<Arc<Verified>>, now: Millis) -> Option<Arc<Verified>> {
    before.filter(|verified| !verified.is_over(now))
}

fn session(
    verifier: &Verifier,
    verified: &Verified,
    leaf: Option<Leaf>,
) -> Result<Arc<LiveSession>, Refused> {
    match verified.holds(unix_now(), leaf) {
        Ok(()) => Ok(verified.session.clone()),
        Err(problem) => Err(refused(verifier, problem)),
    }
}

/// A refusal, in the words of the method.
fn refused(verifier: &Verifier, problem: BearerProblem) -> Refused {
    match verifier.is_of_oauth() {
        true => Refused::AccessToken(problem),
        false => Refused::Bearer(problem),
    }
}
