//! The JWT method at a request: at once where this worker knows the token, else after asking the control
//! side.
//!
//! Invariant: whichever way, the times of the token and the certificate it is bound to are checked now.

use std::{rc::Rc, sync::Arc, time::Duration};

use portcullis_apidef::{Jwt, policies::PolicySet};

use super::{
    AccessLink,
    certificate::Leaf,
    credentials,
    jwt::{Judged, Remembered, Verified, Verifier},
    live::LiveSession,
    refusal::Refused,
};
use crate::{clients::unix_now, proxy::view::RequestView, snapshot::RunningApi, worker::Worker};

/// How long a request waits for its token to be judged: a key may have to be fetched, and that has its own
/// limit.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it waits for one that was good a moment ago.
const RENEWAL: Duration = Duration::from_millis(500);

/// How far the JWT method is.
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
    jwt: &Jwt,
    policies: &Arc<PolicySet>,
    leaf: Option<Leaf>,
    view: &RequestView<'_>,
) -> Bearer {
    let Some(token) = credentials::token(&jwt.places, view) else {
        return Bearer::Refused(Refused::TokenMissing);
    };
    let Some(verifier) = &api.tokens else {
        return Bearer::Refused(Refused::NoSession);
    };
    match link.look_at(verifier, &token, policies) {
        Remembered::Good(verified) => match session(&verified, leaf) {
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
        Remembered::Good(verified) => return session(&verified, leaf),
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
            session(&verified, leaf)
        }
        (Judged::Refused(problem), _) => Err(Refused::Bearer(problem)),
        // It was good a moment ago, and nobody can say that it is not.
        (Judged::Away, Some(verified)) => {
            access.is_good_enough(&verified);
            session(&verified, leaf)
        }
        (Judged::Away, None) => Err(Refused::StoreAway),
    }
}

fn session(verified: &Verified, leaf: Option<Leaf>) -> Result<Arc<LiveSession>, Refused> {
    match verified.holds(unix_now(), leaf) {
        Ok(()) => Ok(verified.session.clone()),
        Err(problem) => Err(Refused::Bearer(problem)),
    }
}
