//! The decision about a request, made at once where everything it needs is at hand.
//!
//! Nothing here waits. What has to be asked of the store becomes a [`Question`] that owns what it
//! speaks of, because the request's head is gone by the time it is answered.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use portcullis_apidef::{
    Authentication, Identity, Methods, policies::PolicySet, session::SecretText,
};
use portcullis_policy::{RateLimit, Right, Throttle};

use super::{
    AccessLink,
    count::{Counting, Quota, Rate},
    credentials::{self, User},
    live::LiveSession,
    memory::Known,
    refusal::{Denied, Refused},
    share::Counted,
    window::{Millis, whole},
};
use crate::{proxy::view::RequestView, snapshot::RunningApi};

/// What became of a request.
pub enum Checked {
    /// It may pass, as this session.
    Pass(Option<Arc<LiveSession>>),
    /// It may not.
    Denied(Denied),
    /// The store has to be asked.
    Ask(Box<Question>),
}

/// What has to be asked, with all it takes to decide afterwards.
pub struct Question {
    pub(super) api: Arc<RunningApi>,
    pub(super) policies: Arc<PolicySet>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) open: Open,
}

/// How far the decision is.
pub(super) enum Open {
    /// Who it is, is not known.
    Identity {
        user: Option<(String, SecretText)>,
        token: Option<String>,
    },
    /// It is known, and it has to be counted in the store.
    Counting(Option<Arc<LiveSession>>, Counting),
    /// It is over its rate and waits.
    Throttled(Option<Arc<LiveSession>>, Throttle),
}

/// What limits say.
pub(super) enum Limited {
    Pass,
    Refused(Refused),
    Throttled(Throttle),
    Count(Counting),
}

/// Checks a request for an API. `path` is what stands behind the listen path.
pub fn check<'p>(
    link: &AccessLink,
    api: &Arc<RunningApi>,
    policies: &Arc<PolicySet>,
    view: &RequestView<'_>,
    path: impl Fn() -> Cow<'p, str>,
) -> Checked {
    let methods = match &api.api.authentication {
        Authentication::Keyless if api.rate.is_none() => return Checked::Pass(None),
        Authentication::Keyless => None,
        Authentication::Required(methods) => Some(methods),
    };
    let ask = |open| {
        Checked::Ask(Box::new(Question {
            api: api.clone(),
            policies: policies.clone(),
            method: view.method.to_owned(),
            path: path().into_owned(),
            open,
        }))
    };
    let session = match methods.map(|methods| identify(link, api, policies, methods, view)) {
        None => None,
        Some(Identified::Session(session)) => Some(session),
        Some(Identified::Denied(denied)) => return Checked::Denied(denied),
        Some(Identified::Ask { user, token }) => return ask(Open::Identity { user, token }),
    };
    match limits(link, api, session.as_ref(), view.method, &path()) {
        Limited::Pass => Checked::Pass(session),
        Limited::Refused(refused) => Checked::Denied(Denied {
            refused,
            session,
            presented: None,
        }),
        Limited::Throttled(throttle) => ask(Open::Throttled(session, throttle)),
        Limited::Count(counting) => ask(Open::Counting(session, counting)),
    }
}

enum Identified {
    Session(Arc<LiveSession>),
    Denied(Denied),
    Ask {
        user: Option<(String, SecretText)>,
        token: Option<String>,
    },
}

/// Who sends a request, as far as this worker knows. Basic authentication comes first, and every
/// method must succeed.
fn identify(
    link: &AccessLink,
    api: &RunningApi,
    policies: &Arc<PolicySet>,
    methods: &Methods,
    view: &RequestView<'_>,
) -> Identified {
    let org = &api.api.org_id;
    let stranger = |refused| Identified::Denied(Denied::stranger(refused));
    let mut user = None;
    let mut by_user = None;
    if let Some(basic) = &methods.basic {
        match credentials::user(basic, view) {
            User::Missing => return stranger(Refused::UserMissing),
            User::Malformed(what) => return stranger(Refused::UserMalformed(what)),
            User::Named { name, password } => {
                // Of somebody who is known to be nobody too, the password is judged as any other is.
                if let Remembered::Session(session) = remembered(link, org, &name, policies)
                    && link.knows(&session, &password, basic)
                {
                    by_user = Some(session);
                }
                user = Some((name, password));
            }
        }
    }
    let mut token = None;
    let mut by_token = None;
    if let Some(places) = &methods.token {
        match credentials::token(places, view) {
            // Whether the user is right is answered first.
            None if methods.basic.is_some() && by_user.is_none() => {}
            None => return stranger(Refused::TokenMissing),
            Some(presented) => {
                match remembered(link, org, &presented, policies) {
                    Remembered::Nobody if methods.basic.is_none() || by_user.is_some() => {
                        let denied = Denied::presenting(Refused::TokenUnknown, &presented);
                        return Identified::Denied(denied);
                    }
                    Remembered::Session(session) => by_token = Some(session),
                    Remembered::Nobody | Remembered::Nothing => {}
                }
                if by_token.is_none() || user.is_some() {
                    token = Some(presented.into_owned());
                }
            }
        }
    }
    let known = (methods.basic.is_none() || by_user.is_some())
        && (methods.token.is_none() || by_token.is_some());
    if !known {
        return Identified::Ask { user, token };
    }
    match chosen(methods.identity, by_user, by_token) {
        Some(session) => Identified::Session(session),
        None => stranger(Refused::NoSession),
    }
}

/// Whose session counts when every method has succeeded.
pub(super) fn chosen(
    identity: Identity,
    by_user: Option<Arc<LiveSession>>,
    by_token: Option<Arc<LiveSession>>,
) -> Option<Arc<LiveSession>> {
    match identity {
        Identity::Last => by_token.or(by_user),
        Identity::Token => by_token,
        Identity::Basic => by_user,
        Identity::Nobody => None,
    }
}

/// What this worker knows of a token without asking.
pub(super) enum Remembered {
    /// Good to use.
    Session(Arc<LiveSession>),
    /// Nobody has it.
    Nobody,
    /// To be asked.
    Nothing,
}

pub(super) fn remembered(
    link: &AccessLink,
    org: &str,
    presented: &str,
    policies: &Arc<PolicySet>,
) -> Remembered {
    let now = link.now();
    let current = |session: &LiveSession| Arc::ptr_eq(&session.policies, policies);
    match link.look(org, presented, now) {
        Known::Session(session) if current(&session) => Remembered::Session(session),
        Known::Old(session) if current(&session) && session.waits(now) => {
            Remembered::Session(session)
        }
        Known::Nobody => Remembered::Nobody,
        Known::Session(_) | Known::Old(_) | Known::Nothing => Remembered::Nothing,
    }
}

/// Rights and limits of a request whose sender is known.
pub(super) fn limits(
    link: &AccessLink,
    api: &RunningApi,
    session: Option<&Arc<LiveSession>>,
    method: &str,
    path: &str,
) -> Limited {
    let mut counting = Counting::default();
    let now = link.now();
    if let Some(session) = session {
        let right = match session
            .access
            .right(&api.api.id, &api.api.org_id, unix_now())
        {
            Ok(right) => right,
            Err(denial) => return Limited::Refused(denial.into()),
        };
        if !right.opens(method, path) {
            return Limited::Refused(Refused::Url);
        }
        if !api.api.limits.ignore_key_rates
            && let Some(rate) = right.rate(method, path)
            && let Some(over) = key_rate(link, session, right, rate, now, &mut counting)
        {
            return over;
        }
        if !api.api.limits.ignore_key_quotas
            && let Some(quota) = right.quota()
        {
            counting.quota = Some(Quota {
                name: format!("quota-{}{}", quota.scope, session.counted_as),
                most: quota.most,
                renewal: quota.renewal,
            });
        }
    }
    if let Some(limit) = &api.rate {
        match link.counted(limit.rate.requests, limit.rate.per) {
            Counted::Here(part) if !counting.is_empty() => {
                counting.api_rate_here = Some(whole(part));
            }
            Counted::Here(part) => {
                if !limit.window.take(now, limit.rate.per, whole(part)) {
                    return Limited::Refused(Refused::ApiRate);
                }
            }
            Counted::Together => {
                counting.api_rate = Some(Rate {
                    name: limit.name.clone(),
                    per: limit.rate.per,
                    most: whole(limit.rate.requests),
                });
            }
        }
    }
    if counting.is_empty() {
        Limited::Pass
    } else {
        Limited::Count(counting)
    }
}

/// Counts a request here, or writes down what is to be counted in the store; what stands in its way.
fn key_rate(
    link: &AccessLink,
    session: &LiveSession,
    right: &Right,
    rate: &RateLimit,
    now: Millis,
    counting: &mut Counting,
) -> Option<Limited> {
    let (window, name) = &session.rates[rate.counter];
    match link.counted(rate.requests, rate.per) {
        Counted::Here(part) if window.take(now, rate.per, whole(part)) => None,
        Counted::Here(_) => Some(match right.throttle() {
            Some(throttle) => Limited::Throttled(throttle),
            None => Limited::Refused(Refused::Rate),
        }),
        Counted::Together => {
            counting.rate = Some(Rate {
                name: name.clone(),
                per: rate.per,
                most: whole(rate.requests),
            });
            counting.throttle = right.throttle();
            None
        }
    }
}

fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}
