//! The decision about a request, made at once where everything it needs is at hand.
//!
//! Nothing here waits. What has to be asked of the store becomes a [`Question`] that owns what it
//! speaks of, because the request's head is gone by the time it is answered.

use std::{borrow::Cow, sync::Arc};

use portcullis_apidef::{
    Authentication, Identity, Methods, policies::PolicySet, session::SecretText,
};
use portcullis_policy::{RateLimit, Right, Throttle};

use super::{
    AccessLink,
    bearer::{self, Bearer},
    certificate::{self, Came, Leaf, Wanted},
    count::{Counting, Quota, Rate},
    credentials::{self, User},
    live::LiveSession,
    memory::{Known, Presented},
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

impl Question {
    fn about<'p>(
        api: &Arc<RunningApi>,
        policies: &Arc<PolicySet>,
        view: &RequestView<'_>,
        path: impl Fn() -> Cow<'p, str>,
        open: Open,
    ) -> Checked {
        Checked::Ask(Box::new(Self {
            api: api.clone(),
            policies: policies.clone(),
            method: view.method.to_owned(),
            path: path().into_owned(),
            open,
        }))
    }
}

/// How far the decision is.
pub(super) enum Open {
    /// Who it is, is not known.
    Identity(Identifying),
    /// It is known, and it has to be counted in the store.
    Counting(Option<Arc<LiveSession>>, Counting),
    /// It is over its rate and waits.
    Throttled(Option<Arc<LiveSession>>, Throttle),
}

/// What a request says about its sender.
pub(super) struct Identifying {
    /// For basic authentication.
    pub(super) user: Option<(String, SecretText)>,
    /// For the method of tokens that somebody else has issued.
    pub(super) bearer: Option<Bearer>,
    /// For the token method, or why that fails.
    pub(super) wanted: Option<Result<Wanted<String>, Refused>>,
    /// The certificate it came with.
    pub(super) leaf: Option<Leaf>,
}

/// Sessions that were found for a request.
#[derive(Default)]
pub(super) struct Senders {
    pub(super) by_user: Option<Arc<LiveSession>>,
    pub(super) by_bearer: Option<Arc<LiveSession>>,
    pub(super) by_certificate: Option<Arc<LiveSession>>,
    pub(super) by_token: Option<Arc<LiveSession>>,
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
    came: Came,
    view: &RequestView<'_>,
    path: impl Fn() -> Cow<'p, str>,
) -> Checked {
    let methods = match &api.api.authentication {
        Authentication::Keyless if api.rate.is_none() => return Checked::Pass(None),
        Authentication::Keyless => None,
        Authentication::Required(methods) => Some(methods),
    };
    let session = match methods.map(|methods| identify(link, api, policies, methods, came, view)) {
        None => None,
        Some(Identified::Session(session)) => Some(session),
        Some(Identified::Denied(denied)) => return Checked::Denied(denied),
        Some(Identified::Ask(identifying)) => {
            return Question::about(api, policies, view, path, Open::Identity(identifying));
        }
    };
    limited(link, api, policies, session, view, path)
}

/// Holds a request to its limits.
fn limited<'p>(
    link: &AccessLink,
    api: &Arc<RunningApi>,
    policies: &Arc<PolicySet>,
    session: Option<Arc<LiveSession>>,
    view: &RequestView<'_>,
    path: impl Fn() -> Cow<'p, str>,
) -> Checked {
    match limits(link, api, session.as_ref(), view.method, &path()) {
        Limited::Pass => Checked::Pass(session),
        Limited::Refused(refused) => Checked::Denied(Denied {
            refused,
            session,
            presented: None,
        }),
        Limited::Throttled(throttle) => Question::about(
            api,
            policies,
            view,
            path,
            Open::Throttled(session, throttle),
        ),
        Limited::Count(counting) => {
            Question::about(api, policies, view, path, Open::Counting(session, counting))
        }
    }
}

/// Checks a request for a path of an API without authentication: all that is left is how often the API
/// as a whole may be called.
pub fn without_sender<'p>(
    link: &AccessLink,
    api: &Arc<RunningApi>,
    policies: &Arc<PolicySet>,
    view: &RequestView<'_>,
    path: impl Fn() -> Cow<'p, str>,
) -> Checked {
    if api.rate.is_none() {
        return Checked::Pass(None);
    }
    limited(link, api, policies, None, view, path)
}

enum Identified {
    Session(Arc<LiveSession>),
    Denied(Denied),
    Ask(Identifying),
}

/// What this worker knows of the session a token or a certificate stands for.
enum OfKey<'v> {
    /// All there is to know.
    Known(Senders),
    /// Whatever else comes out, nobody passes.
    Refused(Denied),
    /// To be asked.
    Unknown(Wanted<Cow<'v, str>>),
}

/// Who sends a request, as far as this worker knows. Basic authentication comes first, and every
/// method must succeed.
fn identify(
    link: &AccessLink,
    api: &RunningApi,
    policies: &Arc<PolicySet>,
    methods: &Methods,
    came: Came,
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
                if let Remembered::Session(session) =
                    remembered(link, org, Presented::Token(&name), policies)
                    && link.knows(&session, &password, basic)
                {
                    by_user = Some(session);
                }
                user = Some((name, password));
            }
        }
    }
    let leaf = came.leaf();
    let mut all_known = methods.basic.is_none() || by_user.is_some();
    let mut bearer = None;
    if let Some(method) = &methods.bearer {
        match bearer::at_once(link, api, method, policies, leaf, view) {
            // Whoever comes first in line is answered first.
            Bearer::Refused(refused) if all_known => return stranger(refused),
            found => {
                all_known &= matches!(found, Bearer::Known(_));
                bearer = Some(found);
            }
        }
    }
    let mut senders = Senders::default();
    let mut wanted = None;
    if let Some(places) = &methods.token {
        let token = || credentials::token(places, view);
        match needed(methods, came, link.tokens_stand_in(), token) {
            needed if !all_known => wanted = Some(needed.map(Wanted::owned)),
            Err(refused) => return stranger(refused),
            Ok(needed) => match of_key(link, org, needed, policies) {
                OfKey::Known(found) => senders = found,
                OfKey::Refused(denied) => return Identified::Denied(denied),
                OfKey::Unknown(needed) => wanted = Some(Ok(needed.owned())),
            },
        }
    }
    if !all_known || wanted.is_some() {
        return Identified::Ask(Identifying {
            user,
            bearer,
            wanted,
            leaf,
        });
    }
    senders.by_user = by_user;
    senders.by_bearer = match bearer {
        Some(Bearer::Known(session)) => Some(session),
        _ => None,
    };
    match senders.decided(api, methods, leaf) {
        Ok(session) => Identified::Session(session),
        Err(denied) => Identified::Denied(denied),
    }
}

/// Whose sessions the token method needs.
fn needed<'v>(
    methods: &Methods,
    came: Came,
    stand_in: bool,
    token: impl FnOnce() -> Option<Cow<'v, str>>,
) -> Result<Wanted<Cow<'v, str>>, Refused> {
    if methods.certificate {
        return certificate::wanted(came, stand_in, token);
    }
    Ok(Wanted {
        certificate: None,
        token: Some(token().ok_or(Refused::TokenMissing)?),
    })
}

/// The sessions the token method needs, as far as this worker remembers them.
fn of_key<'v>(
    link: &AccessLink,
    org: &str,
    wanted: Wanted<Cow<'v, str>>,
    policies: &Arc<PolicySet>,
) -> OfKey<'v> {
    let mut senders = Senders::default();
    if let Some(fingerprint) = wanted.certificate {
        match remembered(link, org, Presented::Certificate(fingerprint), policies) {
            Remembered::Session(session) => senders.by_certificate = Some(session),
            Remembered::Nobody => {
                let refused = Refused::CertificateUnknown;
                return OfKey::Refused(Denied::with_certificate(refused, fingerprint));
            }
            Remembered::Nothing => return OfKey::Unknown(wanted),
        }
    }
    if let Some(token) = &wanted.token {
        match remembered(link, org, Presented::Token(token), policies) {
            Remembered::Session(session) => senders.by_token = Some(session),
            Remembered::Nobody => {
                return OfKey::Refused(Denied::presenting(Refused::TokenUnknown, token));
            }
            Remembered::Nothing => return OfKey::Unknown(wanted),
        }
    }
    OfKey::Known(senders)
}

impl Senders {
    /// Whose session counts when every method has succeeded, and its certificates are in order.
    pub(super) fn decided(
        self,
        api: &RunningApi,
        methods: &Methods,
        leaf: Option<Leaf>,
    ) -> Result<Arc<LiveSession>, Denied> {
        let Self {
            by_user,
            by_bearer,
            by_certificate,
            by_token,
        } = self;
        let by_key = by_token.as_ref().or(by_certificate.as_ref());
        let all = [by_user.as_ref(), by_bearer.as_ref(), by_key];
        for session in all.into_iter().flatten() {
            certificate::in_order(api, session, leaf)
                .map_err(|refused| Denied::known(refused, session.clone()))?;
        }
        // A token that came along with a certificate counts, and the certificate has to be in order too.
        if let (Some(token), Some(certificate)) = (&by_token, &by_certificate)
            && !certificate::is_bound(api, token)
        {
            certificate::stored(certificate)
                .map_err(|refused| Denied::known(refused, certificate.clone()))?;
        }
        let by_key = by_token.or(by_certificate);
        let chosen = match methods.identity {
            Identity::Last => by_key.or(by_bearer).or(by_user),
            Identity::Token => by_key,
            Identity::Basic => by_user,
            Identity::Bearer => by_bearer,
            Identity::Nobody => None,
        };
        chosen.ok_or_else(|| Denied::stranger(Refused::NoSession))
    }
}

/// What this worker knows of a token or a certificate without asking.
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
    presented: Presented<'_>,
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
        let right =
            match session
                .access
                .right(&api.api.id, &api.api.org_id, crate::clients::unix_now())
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
