//! What to do with a request, decided before anything is sent anywhere.
//!
//! Order (inbound sheet 1.3 and 5.1, store sheet 2.1): the Control API's own paths, a host that fits the
//! handshake, the size the request announces, a path that has one reading, the route, quarantine, the
//! version, the client's certificate, who may call and how often. Everything in [`plan`] reads the snapshot and the request, does no I/O and cannot wait;
//! [`settle`] waits where a key is not known yet.

use std::{borrow::Cow, net::IpAddr, rc::Rc, sync::Arc};

use http::HeaderName;
use portcullis_apidef::{Authentication, Bearer, ClientIdentity, Places};
use portcullis_policy::{
    Answer as RouteAnswer, Cleaning, VersionDecision, VersionFacts, VersionStrip, clean_path,
    normalize_host,
};
use portcullis_tls::buffer::Output;

use super::{
    answer::{Answer, ErrorStyle},
    exchange::{Bounds, Patience},
    forward::UpstreamRequest,
    login::Login,
    pool::{Endpoint, Http2Use},
    view::{Peer, RequestView},
};
use crate::{
    access::{
        self,
        certificate::Came,
        check::{Checked, Question, check},
        count::QuotaLeft,
        credentials::without_parameter,
        live::LiveSession,
        refusal::Denied,
        settle::Settled,
    },
    clients::{self, Barred},
    flight::{Check, Entry, Leaf, Stage},
    health::Breaker,
    http1::Framing,
    snapshot::{HttpService, Port, RunningApi, Snapshot},
    watch::Admission,
    worker::Worker,
};

/// What can be said of a request at once.
pub enum Planned {
    /// What to do with it.
    Decided(Plan),
    /// Its sender has to be asked for first.
    Asking(Box<Asking>),
}

/// A request whose sender is not known yet.
pub struct Asking {
    question: Question,
    job: Box<Job>,
}

/// What to do with a request.
pub enum Plan {
    /// Answer it here.
    Answer(Refusal),
    /// Hand it to the Control API.
    Control,
    /// Send it to an upstream.
    Forward(Box<Job>),
}

/// An answer of the gateway's own, and why.
pub struct Refusal {
    /// What the client is told.
    pub answer: Answer,
    /// The API that refused, if it came that far.
    pub api: Option<Arc<RunningApi>>,
    /// Who sent it, as far as it is known.
    pub session: Option<Arc<LiveSession>>,
}

/// A request ready for its upstream.
pub struct Job {
    /// The API.
    pub api: Arc<RunningApi>,
    /// Where it goes.
    pub endpoint: Arc<Endpoint>,
    /// Its head for HTTP/1, unless the endpoint never speaks it.
    pub head: Output,
    /// Its head for HTTP/2, where the endpoint may speak it.
    pub head2: Option<http::Request<()>>,
    /// How its body arrives.
    pub framing: Framing,
    /// It asks with HEAD.
    pub head_request: bool,
    /// Sending it twice does no harm, and it has no body to send twice (RFC 9110, section 9.2.2).
    pub repeatable: bool,
    /// The upstream connection is not kept.
    pub close: bool,
    /// How long it may take.
    pub patience: Patience,
    /// How large it may be.
    pub bounds: Bounds,
    /// How its errors are written.
    pub style: ErrorStyle,
    /// All hosts it could go to are down.
    pub nowhere: bool,
    /// What has to let it pass, on its path.
    pub breaker: Option<Arc<Breaker>>,
    /// Nobody had to prove anything for it.
    pub open: bool,
    /// Who sent it, where that was asked.
    pub session: Option<Arc<LiveSession>>,
    /// What the response tells of the sender's quota.
    pub quota: Option<QuotaLeft>,
}

impl Job {
    /// What its client is told instead of an error, where a rule says so.
    pub fn told(&self, answer: Answer, flag: Option<&str>) -> Answer {
        match &self.api.overrides {
            Some(rules) => rules.replace(answer, flag, self.style),
            None => answer,
        }
    }

    /// What let its sender in and may be taken away while it is under way.
    pub fn admission(&self, peer: &Rc<Peer>) -> Option<Admission> {
        if self.open {
            return None;
        }
        Admission::of(peer, &self.api, self.session.as_ref())
    }
}

/// Decides what to do with a request.
pub fn plan(
    worker: &Worker,
    snapshot: &Snapshot,
    port: &Port,
    service: &HttpService,
    peer: &Peer,
    view: &RequestView<'_>,
) -> Planned {
    let settings = &worker.settings;
    if port.control && worker.control.owns(view.path) {
        return Planned::Decided(Plan::Control);
    }
    let style = ErrorStyle::of(view, settings.hide_generator);
    if is_misdirected(port, peer, view.host) {
        let (check, detail) = (
            Check::Misdirected,
            "host and server name lead to different demands",
        );
        worker.refused(check, peer.address, peer.listener, &detail, |entry| {
            about(entry, peer, view)
        });
        return refuse(Answer::text(421, "Misdirected Request"));
    }
    if let Framing::Length(length) = view.framing
        && settings.max_request_body > 0
        && length > settings.max_request_body
    {
        return refuse(request_too_large());
    }
    let cleaning = if settings.skip_url_cleaning {
        Cleaning::KeepDoubleSlashes
    } else {
        Cleaning::Full
    };
    let path = match clean_path(view.path, cleaning) {
        Ok(path) => path,
        // `OPTIONS *` is about the server as a whole, which has nothing to say.
        Err(_) if view.path == "*" => return refuse(not_found()),
        Err(_) => return refuse(Answer::text(400, "Bad Request")),
    };
    let Some(found) = service.table.route(view.host, &path) else {
        return refuse(not_found());
    };
    let (RouteAnswer::Serve(_), Some(base)) = (&found.route().answer, &service.apis[found.index()])
    else {
        return quarantined(style);
    };

    let mut api = base;
    let mut path = path;
    let mut query = view.query.map(Cow::Borrowed);
    let mut drop_field = None;
    if found.route().has_versions() {
        let after_listen = found.path_after_listen(&path).into_owned();
        let header = |name: &str| {
            view.fields
                .first(name)
                .and_then(|value| std::str::from_utf8(value).ok())
        };
        let facts = VersionFacts {
            header: &header,
            query: view.query,
            path: &after_listen,
        };
        let strip = match found.route().resolve_version(&facts) {
            VersionDecision::Base(strip) => strip,
            VersionDecision::Api { id, strip } => match service.versions.get(id) {
                Some(version) => {
                    api = version;
                    strip
                }
                None => return quarantined(style),
            },
            VersionDecision::Missing => {
                return refuse_for(
                    base,
                    style.error(403, "Version information not found"),
                    style,
                );
            }
            VersionDecision::Unknown => {
                let answer = style.error(404, "This API version does not seem to exist");
                return refuse_for(base, answer, style);
            }
        };
        match strip {
            VersionStrip::Nothing => {}
            VersionStrip::Header(name) => drop_field = Some(name.to_owned()),
            VersionStrip::Query(_) => {
                query = view
                    .query
                    .map(|raw| strip.query(raw))
                    .filter(|kept| !kept.is_empty());
            }
            VersionStrip::Segment(length) => {
                path = Cow::Owned(found.path_without_version(&path, length));
            }
        }
    }

    let after_listen = || found.path_after_listen(&path);
    let open = api.is_open(view.method, after_listen);
    if !open && let Err(barred) = clients::admit_to(api, peer) {
        return Planned::Decided(bar(worker, api, &barred, style, peer, view));
    }
    let (link, policies) = (&worker.access, &snapshot.policies);
    let checked = match open {
        true => access::check::without_sender(link, api, policies, view, after_listen),
        false => check(link, api, policies, Came::by(peer), view, after_listen),
    };
    let (session, question) = match checked {
        Checked::Pass(session) => (session, None),
        Checked::Denied(denied) => {
            note_denied(worker, api, &denied, peer, |entry| about(entry, peer, view));
            return Planned::Decided(deny(worker, api, denied, style, peer.address));
        }
        Checked::Ask(question) => (None, Some(question)),
    };
    let strip = Strip::of(&api.api.authentication);
    for name in strip.queries.into_iter().flatten() {
        if let Some(raw) = &query {
            query = without_parameter(raw, name).map(Cow::Owned);
        }
    }

    let place = api.target(|| worker.next_turn());
    let turn = place.unwrap_or(0);
    let (target, endpoint) = (&api.api.upstream.targets[turn], &api.endpoints[turn]);
    let upstream_path = found.upstream_path(&api.api, &path, &target.path);
    let query = match (&target.query, query) {
        (None, query) => query,
        (Some(own), None) => Some(Cow::Borrowed(own.as_str())),
        (Some(own), Some(query)) => Some(Cow::Owned(format!("{own}&{query}"))),
    };
    let switch = settings.websockets
        && endpoint.http2 != Http2Use::Always
        && view
            .upgrade
            .is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    let endpoint = match &endpoint.switching {
        Some(switching) if switch => switching,
        _ => endpoint,
    };
    let login_field = api.login.as_deref().map(Login::header);
    let request = UpstreamRequest {
        view,
        peer,
        // An upstream is told of certificates that were looked at, and of no others.
        identity: if !open && (api.clients.is_some() || api.api.authentication.takes_certificates())
        {
            api.api.client_identity
        } else {
            ClientIdentity::default()
        },
        scheme: if endpoint.tls.is_encrypted() {
            "https"
        } else {
            "http"
        },
        // A proxy goes where the request's target says; another host beside it would only mislead
        // (RFC 9112, section 3.2.2).
        host: if api.api.upstream.preserve_host_header
            && !view.host.is_empty()
            && endpoint.way.forwarder().is_none()
        {
            view.host
        } else {
            &endpoint.authority
        },
        forwarder: endpoint.way.forwarder(),
        path: &upstream_path,
        query: query.as_deref(),
        drop_fields: [
            drop_field.as_deref(),
            strip.fields[0],
            strip.fields[1],
            strip.fields[2],
        ],
        login_field: login_field.map(HeaderName::as_str),
        drop_cookies: strip.cookies,
        upgrade: view.upgrade.filter(|_| switch),
        close: settings.upstream_close,
    };
    let mut head = Output::new();
    if endpoint.http2 != Http2Use::Always {
        request.write_http1(head.writer());
    }
    let head2 = match endpoint.http2 {
        Http2Use::Never => None,
        Http2Use::Negotiated | Http2Use::Always => match request.to_http2() {
            Ok(head2) => Some(head2),
            Err(_) => return refuse_for(api, Answer::text(400, "Bad Request"), style),
        },
    };
    let on_path = path_for_rules(&found, &path);
    let total = api.timeout(view.method, &on_path);
    let breaker = api.breaker(view.method, &on_path).cloned();
    let job = Box::new(Job {
        api: api.clone(),
        endpoint: endpoint.clone(),
        head,
        head2,
        framing: view.framing,
        head_request: view.method == "HEAD",
        repeatable: view.framing == Framing::Length(0)
            && matches!(
                view.method,
                "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
            ),
        close: settings.upstream_close,
        patience: Patience {
            head: settings.upstream_patience,
            total,
            stall: settings.write_timeout,
        },
        bounds: Bounds {
            switch,
            forwarded: endpoint.way.forwarder().is_some(),
            login_field: login_field.cloned(),
            request_body: settings.max_request_body,
        },
        style,
        nowhere: place.is_none(),
        breaker,
        open,
        session,
        quota: None,
    });
    match question {
        None => Planned::Decided(Plan::Forward(job)),
        Some(question) => Planned::Asking(Box::new(Asking {
            question: *question,
            job,
        })),
    }
}

/// Waits until it is known what to do with a request.
pub async fn settle(worker: &Rc<Worker>, planned: Planned, peer: &Peer) -> Plan {
    match planned {
        Planned::Decided(plan) => plan,
        // Boxed: most requests meet nothing of it.
        Planned::Asking(asking) => Box::pin(answered(worker, *asking, peer)).await,
    }
}

async fn answered(worker: &Rc<Worker>, asking: Asking, peer: &Peer) -> Plan {
    let Asking { question, mut job } = asking;
    match access::settle::settle(worker, question).await {
        Ok(Settled { quota, session }) => {
            job.session = session;
            job.quota = quota;
            Plan::Forward(job)
        }
        Err(denied) => {
            // The request's head is gone by now; the API says where it went.
            let listen_path = &job.api.api.listen_path;
            note_denied(worker, &job.api, &denied, peer, |entry| {
                entry
                    .after(peer.tls.as_ref())
                    .of_request("", listen_path)
                    .presenting(presented(peer))
            });
            deny(worker, &job.api, denied, job.style, peer.address)
        }
    }
}

/// Credentials that do not travel on.
#[derive(Default)]
struct Strip<'a> {
    fields: [Option<&'a str>; 3],
    queries: [Option<&'a str>; 2],
    cookies: [Option<&'a str>; 2],
}

impl<'a> Strip<'a> {
    fn of(authentication: &'a Authentication) -> Self {
        let Authentication::Required(methods) = authentication else {
            return Self::default();
        };
        if !methods.strip {
            return Self::default();
        }
        let places = [
            methods.token.as_ref(),
            methods.bearer.as_ref().map(Bearer::places),
        ];
        let of = |name: fn(&Places) -> Option<&str>| places.map(|places| places.and_then(name));
        let [token, bearer] = of(|places| places.header.as_deref());
        let basic = methods.basic.as_ref().map(|basic| basic.header.as_str());
        Self {
            fields: [token, bearer, basic],
            queries: of(|places| places.query.as_deref()),
            cookies: of(|places| places.cookie.as_deref()),
        }
    }
}

/// A refusal for want of a listed certificate, and what the log says of it.
fn bar(
    worker: &Worker,
    api: &Arc<RunningApi>,
    barred: &Barred,
    style: ErrorStyle,
    peer: &Peer,
    view: &RequestView<'_>,
) -> Plan {
    let check = Check::barred(Stage::Request, barred);
    let detail = barred.detail();
    worker.refused(check, peer.address, peer.listener, &detail, |entry| {
        about(entry, peer, view).by_api(&api.api.id)
    });
    let answer = style.error(403, &barred.to_string());
    tracing::info!(
        prefix = "access",
        client = %peer.address,
        api_id = %api.api.id,
        org_id = %api.api.org_id,
        status = answer.status,
        "request refused: {detail}"
    );
    Plan::Answer(Refusal {
        answer: told(api, answer, barred.flag(), style),
        api: Some(api.clone()),
        session: None,
    })
}

/// What is noted of a request that is refused.
fn about(entry: Entry, peer: &Peer, view: &RequestView<'_>) -> Entry {
    entry
        .after(peer.tls.as_ref())
        .of_request(view.host, view.path)
        .presenting(presented(peer))
}

/// What the recorder keeps of a client's certificate.
pub(super) fn presented(peer: &Peer) -> Option<Leaf> {
    peer.client.as_ref().map(|client| Leaf::of(client.chain()))
}

/// Notes a refusal that is about a certificate.
fn note_denied(
    worker: &Worker,
    api: &RunningApi,
    denied: &Denied,
    peer: &Peer,
    more: impl FnOnce(Entry) -> Entry,
) {
    if let Some(check) = Check::denied(denied.refused) {
        let (from, port) = (peer.address, peer.listener);
        worker.refused(check, from, port, &denied.refused, |entry| {
            more(entry).by_api(&api.api.id)
        });
    }
}

/// Whether the host of a request leads to a stricter demand than its connection's server name did: a
/// certificate that was not asked for there cannot be missed here (RFC 9110, section 15.5.20).
fn is_misdirected(port: &Port, peer: &Peer, host: &str) -> bool {
    let (Some(tls), Some(negotiated)) = (&port.tls, &peer.tls) else {
        return false;
    };
    let policies = &tls.settings().policies;
    if policies.list().len() < 2 {
        return false;
    }
    let named = normalize_host(negotiated.server_name.as_deref().unwrap_or_default());
    let wanted = normalize_host(host);
    if named == wanted {
        return false;
    }
    let strictness = |host: &str| policies.list()[policies.select(host)].strictness();
    strictness(&wanted) > strictness(&named)
}

/// A refusal for want of a right, and what the log says of it.
fn deny(
    worker: &Worker,
    api: &Arc<RunningApi>,
    denied: Denied,
    style: ErrorStyle,
    client: IpAddr,
) -> Plan {
    let refused = denied.refused;
    let answer = worker
        .access
        .messages()
        .answer(refused, style, &api.api.name);
    tracing::info!(
        prefix = "access",
        %client,
        api_id = %api.api.id,
        org_id = %api.api.org_id,
        key = denied.key(),
        status = answer.status,
        "request refused: {refused}"
    );
    Plan::Answer(Refusal {
        answer: told(api, answer, refused.flag(), style),
        api: Some(api.clone()),
        session: denied.session,
    })
}

/// What a client is told instead of a refusal, where a rule of the API says so.
fn told(api: &RunningApi, answer: Answer, flag: Option<&str>, style: ErrorStyle) -> Answer {
    match &api.overrides {
        Some(rules) => rules.replace(answer, flag, style),
        None => answer,
    }
}

/// The path that deadlines and breakers are looked up by.
fn path_for_rules<'p>(found: &portcullis_policy::Match<'_>, path: &'p str) -> Cow<'p, str> {
    found.path_after_listen(path)
}

/// The plan for a request whose port has just left the snapshot.
pub fn gone() -> Planned {
    refuse(not_found())
}

/// The plan for a request that contradicts itself.
pub fn bad_request() -> Planned {
    refuse(Answer::text(400, "Bad Request"))
}

/// The answer to a request that is larger than `max_request_body_size`.
pub fn request_too_large() -> Answer {
    Answer::text(413, "Request Entity Too Large\n")
}

fn quarantined(style: ErrorStyle) -> Planned {
    refuse(style.error(503, "API is not available"))
}

fn not_found() -> Answer {
    Answer::text(404, "Not Found")
}

fn refuse(answer: Answer) -> Planned {
    Planned::Decided(Plan::Answer(Refusal {
        answer,
        api: None,
        session: None,
    }))
}

fn refuse_for(api: &Arc<RunningApi>, answer: Answer, style: ErrorStyle) -> Planned {
    Planned::Decided(Plan::Answer(Refusal {
        answer: told(api, answer, None, style),
        api: Some(api.clone()),
        session: None,
    }))
}
