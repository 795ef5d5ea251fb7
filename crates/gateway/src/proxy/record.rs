//! What is counted and logged of one request: facts gathered on the way, written once at the end.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use portcullis_tls::UpstreamTlsFailure;

use super::{
    answer::Answer,
    client::ClientError,
    exchange::Done,
    failure::Outage,
    hop::Hop,
    plan::{Job, Refusal},
    view::{Peer, RequestView},
};
use crate::{
    access::live::LiveSession,
    observe::{AccessRecord, RecordApi, RecordError, RecordKey, RecordTls, ResponseFlag, trace_id},
    snapshot::RunningApi,
    worker::Worker,
};

/// The facts of one request.
pub struct Record {
    start: Instant,
    peer: Rc<Peer>,
    api: Option<Arc<RunningApi>>,
    status: u16,
    /// The upstream's, where it answered.
    upstream_status: u16,
    flag: Option<ResponseFlag>,
    head_at: Option<Instant>,
    sent: u64,
    received: u64,
    /// Only when the access log is on.
    texts: Option<Box<Texts>>,
    ended: bool,
}

/// What the access log says in words.
#[derive(Default)]
struct Texts {
    method: String,
    path: String,
    host: String,
    protocol: &'static str,
    user_agent: Vec<u8>,
    trace_id: Option<String>,
    upstream: Option<String>,
    failure: Option<UpstreamTlsFailure>,
    session: Option<Arc<LiveSession>>,
}

impl Record {
    /// A request begins.
    pub fn begin(worker: &Rc<Worker>, peer: &Rc<Peer>) -> Self {
        Self {
            start: Instant::now(),
            peer: peer.clone(),
            api: None,
            status: 0,
            upstream_status: 0,
            flag: None,
            head_at: None,
            sent: 0,
            received: 0,
            texts: worker.access_log.is_enabled().then(Box::default),
            ended: false,
        }
    }

    /// When the request began.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Its head has been read.
    pub fn request(&mut self, view: &RequestView<'_>) {
        let Some(texts) = &mut self.texts else { return };
        texts.method = view.method.to_owned();
        texts.path = view.path.to_owned();
        texts.host = view.host.to_owned();
        texts.protocol = view.protocol;
        texts.user_agent = view
            .fields
            .first("user-agent")
            .unwrap_or_default()
            .to_owned();
        texts.trace_id = view
            .fields
            .first("traceparent")
            .and_then(trace_id)
            .map(str::to_owned);
    }

    /// The gateway answers it itself.
    pub fn refused(&mut self, refusal: &Refusal) {
        self.api.clone_from(&refusal.api);
        self.session(refusal.session.as_ref());
        self.answered(refusal.answer.status, refusal.answer.body.len() as u64);
    }

    /// It goes to an upstream.
    pub fn forwarding(&mut self, job: &Job) {
        self.api = Some(job.api.clone());
        self.session(job.session.as_ref());
        if let Some(texts) = &mut self.texts {
            let scheme = if job.endpoint.tls.is_encrypted() {
                "https"
            } else {
                "http"
            };
            texts.upstream = Some(format!("{scheme}://{}", job.endpoint.authority));
        }
    }

    fn session(&mut self, session: Option<&Arc<LiveSession>>) {
        if let Some(texts) = &mut self.texts {
            texts.session = session.cloned();
        }
    }

    /// A response was made here.
    pub fn answered(&mut self, status: u16, sent: u64) {
        self.status = status;
        self.sent = sent;
    }

    /// An exchange with an upstream ran as far as this.
    pub fn done(&mut self, done: &Done) {
        self.status = done.told.unwrap_or(done.status);
        self.upstream_status = done.status;
        self.head_at = done.head_at;
        self.sent = done.sent;
        self.received = done.received;
        if done.status >= 500 {
            self.flag = Some(ResponseFlag::UpstreamStatus);
        }
    }

    /// The client failed.
    pub fn client_failed(&mut self, error: &ClientError) {
        self.flag = Some(ResponseFlag::ClientDisconnected);
        if self.status == 0 {
            self.status = 499;
        }
        tracing::debug!(client = %self.peer.address, "request ended early: {error}");
    }

    /// The upstream gave no response: logs why and says what the client is told.
    pub fn outage(&mut self, job: &Job, outage: Outage) -> Answer {
        let verdict = outage.verdict();
        let answer = job.style.error(verdict.status, verdict.message);
        let answer = job.told(answer, Some(verdict.flag.flag()));
        let api = &job.api.api;
        tracing::error!(
            prefix = "proxy",
            user_ip = %self.peer.address,
            server_name = %job.endpoint.authority,
            api_id = %api.id,
            api_name = %api.name,
            org_id = %api.org_id,
            response_flag = verdict.flag.flag(),
            response_code_details = verdict.flag.detail(),
            hop = outage.hop(),
            proxy = job.endpoint.way.hop().map(Hop::shown),
            "http: proxy error: {outage}"
        );
        // With TLS 1.3 a client certificate is refused only then.
        if outage.ended_connection() {
            match job.endpoint.way.forwarder() {
                Some(hop) => hop.contact.failed(&outage),
                None => job.endpoint.contact.failed(&outage),
            }
        }
        self.flag = Some(verdict.flag);
        if self.status == 0 {
            self.answered(answer.status, answer.body.len() as u64);
        }
        if let Some(texts) = &mut self.texts {
            texts.failure = outage.into_tls_failure();
        }
        answer
    }

    /// It is kept from its upstream: what the client is told.
    pub fn kept(&mut self, job: &Job, answer: Answer, flag: ResponseFlag) -> Answer {
        let answer = job.told(answer, Some(flag.flag()));
        self.flag = Some(flag);
        self.answered(answer.status, answer.body.len() as u64);
        answer
    }

    /// Whether the upstream failed, as breakers see it: it could not be spoken to, or answered 5xx. None where
    /// nothing can be said, because the client was the one, or nothing was sent for want of a token. A breaker that
    /// let it through to see lets the next one through as soon as after a failure.
    pub fn upstream_failed(&self) -> Option<bool> {
        match self.flag {
            Some(ResponseFlag::ClientDisconnected | ResponseFlag::NoUpstreamToken) => None,
            Some(_) => Some(true),
            None => (self.upstream_status > 0).then_some(false),
        }
    }

    /// The request is over. Only the first call counts it.
    pub fn end(&mut self, worker: &Rc<Worker>) {
        if std::mem::replace(&mut self.ended, true) || self.status == 0 {
            return;
        }
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let total = micros(self.start.elapsed());
        let upstream = self.head_at.map(|at| micros(at - self.start));
        let slot = self.api.as_ref().map(|api| api.slot);
        worker
            .counters
            .request(slot, self.status, self.flag, total, upstream);
        if let Some(texts) = self.texts.take() {
            self.log(worker, &texts, total, upstream);
        }
    }

    fn log(&self, worker: &Worker, texts: &Texts, total: u64, upstream: Option<u64>) {
        let api = self.api.as_ref().map(|api| &api.api);
        if api.is_some_and(|api| api.do_not_track) {
            return;
        }
        worker.access_log.log(&AccessRecord {
            at: SystemTime::now(),
            method: &texts.method,
            path: &texts.path,
            protocol: texts.protocol,
            host: &texts.host,
            status: self.status,
            request_bytes: self.received,
            response_bytes: self.sent,
            client: self.peer.address,
            remote: None,
            user_agent: &texts.user_agent,
            api: api.map(|api| RecordApi {
                id: &api.id,
                name: &api.name,
                org_id: &api.org_id,
            }),
            tls: self.peer.tls.as_ref().map(|tls| RecordTls {
                version: tls.version,
                cipher: tls.cipher,
                server_name: tls.server_name.as_deref(),
                resumed: tls.resumed,
            }),
            upstream_address: texts.upstream.as_deref(),
            upstream_micros: upstream,
            total_micros: total,
            trace_id: texts.trace_id.as_deref(),
            key: texts.session.as_ref().map(|session| RecordKey {
                masked: &session.masked,
                alias: &session.alias,
            }),
            error: self.flag.map(|flag| RecordError {
                flag,
                target: texts
                    .upstream
                    .as_deref()
                    .map(|text| text.split_once("://").map_or(text, |(_, rest)| rest)),
                upstream_status: (flag == ResponseFlag::UpstreamStatus)
                    .then_some(self.upstream_status),
                cert_expiry: texts
                    .failure
                    .as_ref()
                    .and_then(|failure| failure.cert_expiry),
                cert_subject: texts
                    .failure
                    .as_ref()
                    .and_then(|failure| failure.cert_subject.as_deref()),
            }),
        });
    }
}
