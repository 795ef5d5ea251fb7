//! A request's way through the gateway.
//!
//! ```text
//! view     what the client sent, whichever protocol carried it
//! plan     what to do with it: answer, Control API, or a Job for an upstream
//! login    what the gateway proves itself with to the upstream in a header field
//! pool     a connection to the upstream, kept or new (dial), by way of a proxy (hop)
//! exchange both bodies moved at the pace of the slower side
//! record   what is counted and logged, written once at the end
//! ```

pub mod answer;
pub mod client;
pub mod dial;
pub mod exchange;
pub mod failure;
pub mod forward;
pub mod hop;
pub mod identity;
pub mod login;
pub mod plan;
pub mod pool;
pub mod record;
pub mod tunnel;
pub mod upstream;
pub mod view;

use std::{future::poll_fn, rc::Rc, time::Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use self::{
    answer::Answer,
    client::ClientError,
    exchange::{Bounds, Cause, Client, Done, Failure},
    failure::Outage,
    plan::Job,
    pool::{Connection, Pool},
    record::Record,
    upstream::{Http1Upstream, Http2Upstream, UpstreamError},
    view::{Peer, RequestView, ResponseView},
};
use crate::{
    clients, control::ControlRequest, control_link::MAX_CONTROL_BODY, http1::Framing,
    observe::ResponseFlag, overrides, snapshot::Snapshot, timers::Deadline, worker::Worker,
};

/// What came of forwarding a request.
pub enum Forwarded {
    /// The client has its response, unless part of it waits to be flushed.
    Answered,
    /// The upstream gave none: this is to be answered instead.
    Refused(Answer),
    /// Both sides now speak another protocol.
    Switched(Box<Http1Upstream>),
    /// The response broke off, or the client is gone: the connection (or stream) must end.
    Broken,
}

/// Sends a request to its upstream and the response to the client, where nothing keeps it from there.
pub async fn forward<C: Client>(
    worker: &Rc<Worker>,
    job: &mut Job,
    client: &mut C,
    record: &mut Record,
    deadline: &mut Deadline,
) -> Forwarded {
    record.forwarding(job);
    if job.nowhere {
        let answer = Answer::text(503, "all hosts are down\n");
        return Forwarded::Refused(record.kept(job, answer, ResponseFlag::NoHealthyUpstreams));
    }
    let Some(breaker) = job.breaker.clone() else {
        return send(worker, job, client, record, deadline).await;
    };
    let Some(pass) = breaker.admit() else {
        let answer = job.style.error(503, "Service temporarily unavailable.");
        return Forwarded::Refused(record.kept(job, answer, ResponseFlag::CircuitBreakerOpen));
    };
    let forwarded = send(worker, job, client, record, deadline).await;
    if let Some(failed) = record.upstream_failed() {
        breaker.note(pass, failed);
    }
    forwarded
}

async fn send<C: Client>(
    worker: &Rc<Worker>,
    job: &mut Job,
    client: &mut C,
    record: &mut Record,
    deadline: &mut Deadline,
) -> Forwarded {
    if let Some(shown) = &job.api.shown {
        shown.note_use();
    }
    let start = record.start();
    let shown = match login::log_in(worker, job, start).await {
        Ok(shown) => shown,
        Err(outage) => return Forwarded::Refused(record.outage(job, outage)),
    };
    let job = &*job;
    let pool = worker.pool(job.endpoint.id);
    let mut kept = pool.take(&job.endpoint);
    loop {
        let reused = kept.is_some();
        let connection = match kept.take() {
            Some(connection) => connection,
            // Boxed, like what follows for HTTP/2: most requests meet neither, and all would carry
            // their size.
            None => match Box::pin(connect(worker, &pool, job, start)).await {
                Ok(connection) => connection,
                Err(outage) => return Forwarded::Refused(record.outage(job, outage)),
            },
        };
        let outcome = match connection {
            Connection::Http1(mut upstream, made) => {
                upstream.begin(job.head.data(), job.framing, job.head_request);
                let outcome =
                    exchanged(job, client, &mut *upstream, &job.bounds, start, deadline).await;
                match &outcome {
                    Ok(done) if done.switched => {
                        record.done(done);
                        return Forwarded::Switched(upstream);
                    }
                    Ok(_) if upstream.is_reusable() && !job.close => {
                        pool.keep(&job.endpoint, upstream, made, Instant::now());
                    }
                    Ok(_) | Err(_) => {}
                }
                outcome
            }
            Connection::Http2(place) => {
                match Box::pin(over_http2(&pool, job, place, client, start, deadline)).await {
                    Ok(outcome) => outcome,
                    // The connection takes no more requests: this one has not been sent.
                    Err(_) if reused => continue,
                    Err(error) => {
                        return Forwarded::Refused(
                            record.outage(job, Outage::Failed(UpstreamError::Stream(error))),
                        );
                    }
                }
            }
        };
        let failure = match outcome {
            Ok(done) => {
                if let Some(shown) = shown {
                    shown.answered(done.status);
                }
                record.done(&done);
                return Forwarded::Answered;
            }
            Err(failure) => failure,
        };
        if reused && job.repeatable && was_stale(&failure) {
            // The upstream closed the kept connection just as we used it. Once more, on a new one.
            pool.forget_http2();
            continue;
        }
        record.done(&failure.so_far);
        return end(job, failure, record);
    }
}

/// A new connection, within the time that the request may take as a whole.
async fn connect(
    worker: &Rc<Worker>,
    pool: &Pool,
    job: &Job,
    start: Instant,
) -> Result<Connection, Outage> {
    let connecting = pool.connect(&job.endpoint, &worker.timers);
    let connected = match job.patience.total {
        None => connecting.await,
        Some(total) => {
            let left = total.saturating_sub(start.elapsed());
            let in_time = worker.timers.within(left, connecting).await;
            in_time.map_err(|_| Outage::Timeout)?
        }
    };
    connected.map_err(Outage::Connect)
}

/// One exchange on an HTTP/2 connection. The outer error means that nothing was sent.
async fn over_http2<C: Client>(
    pool: &Pool,
    job: &Job,
    place: h2::client::SendRequest<Bytes>,
    client: &mut C,
    start: Instant,
    deadline: &mut Deadline,
) -> Result<Result<Done, Failure>, h2::Error> {
    let mut place = place.ready().await.inspect_err(|_| pool.forget_http2())?;
    let head = job
        .head2
        .as_ref()
        .expect("a head for every protocol the endpoint may speak");
    let mut request = http::Request::new(());
    *request.method_mut() = head.method().clone();
    *request.uri_mut() = head.uri().clone();
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = head.headers().clone();
    let ended = job.framing == Framing::Length(0);
    let (response, stream) = place
        .send_request(request, ended)
        .inspect_err(|_| pool.forget_http2())?;
    let mut upstream = Http2Upstream::new(response, stream, ended);
    // HTTP/2 knows no such switch.
    let bounds = Bounds {
        switch: false,
        ..job.bounds.clone()
    };
    Ok(exchanged(job, client, &mut upstream, &bounds, start, deadline).await)
}

/// One exchange, its errors judged where there are rules for them.
async fn exchanged<C: Client, U: exchange::Upstream>(
    job: &Job,
    client: &mut C,
    upstream: &mut U,
    bounds: &Bounds,
    start: Instant,
    deadline: &mut Deadline,
) -> Result<Done, Failure> {
    let Some(rules) = &job.api.overrides else {
        return exchange::run(client, upstream, job.patience, bounds, start, deadline).await;
    };
    let judge = overrides::Judge {
        rules,
        style: job.style,
        head_request: job.head_request,
    };
    let judged = overrides::run(
        judge,
        client,
        upstream,
        job.patience,
        bounds,
        start,
        deadline,
    );
    Box::pin(judged).await
}

/// True when the upstream cannot have seen the request.
fn was_stale(failure: &Failure) -> bool {
    let nothing_moved = failure.so_far.status == 0 && failure.so_far.received == 0;
    nothing_moved
        && match &failure.cause {
            Cause::Upstream(UpstreamError::Silent | UpstreamError::Transport(_)) => true,
            Cause::Upstream(UpstreamError::Stream(error)) => {
                error.is_io()
                    || error.is_go_away()
                    || error.reason() == Some(h2::Reason::REFUSED_STREAM)
            }
            _ => false,
        }
}

/// What a failed exchange means for the client.
fn end(job: &Job, failure: Failure, record: &mut Record) -> Forwarded {
    let unanswered = failure.so_far.status == 0;
    match failure.cause {
        Cause::Client(error) => {
            record.client_failed(&error);
            match error {
                // The client's own framing was wrong; it may still be listening.
                ClientError::Body(_) if unanswered => {
                    Forwarded::Refused(job.told(Answer::text(400, "Bad Request"), None))
                }
                _ => Forwarded::Broken,
            }
        }
        Cause::RequestTooLarge if unanswered => {
            let answer = job.told(plan::request_too_large(), Some("BTL"));
            record.answered(answer.status, answer.body.len() as u64);
            Forwarded::Refused(answer)
        }
        Cause::RequestStalled if unanswered => {
            let answer = job.told(Answer::text(408, "Request Timeout"), None);
            record.answered(answer.status, answer.body.len() as u64);
            Forwarded::Refused(answer)
        }
        Cause::RequestTooLarge | Cause::RequestStalled => Forwarded::Broken,
        Cause::Upstream(error) => answer_outage(job, Outage::Failed(error), unanswered, record),
        Cause::Timeout => answer_outage(job, Outage::Timeout, unanswered, record),
    }
}

fn answer_outage(job: &Job, outage: Outage, unanswered: bool, record: &mut Record) -> Forwarded {
    let answer = record.outage(job, outage);
    if unanswered {
        Forwarded::Refused(answer)
    } else {
        Forwarded::Broken
    }
}

/// A request for the Control API, without its body.
pub fn control_request(snapshot: &Snapshot, view: &RequestView<'_>, peer: &Peer) -> ControlRequest {
    let list = snapshot.control_list.as_ref();
    let admitted = list.map(|list| clients::admit(list, peer.tls.is_some(), peer.client.as_ref()));
    let barred = matches!(admitted, Some(Err(_)));
    let mut headers = HeaderMap::new();
    view.fields.visit(&mut |name, value| {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value),
        ) {
            headers.append(name, value);
        }
    });
    ControlRequest {
        method: Method::from_bytes(view.method.as_bytes()).unwrap_or_default(),
        path: view.path.to_owned(),
        query: view.query.map(str::to_owned),
        headers,
        body: Bytes::new(),
        peer: peer.address,
        tls: peer.tls.is_some(),
        admitted,
        barred_leaf: barred.then(|| plan::presented(peer)).flatten(),
    }
}

/// The Control API's answer, its length stated.
pub async fn control_answer(
    worker: &Rc<Worker>,
    request: ControlRequest,
) -> (http::response::Parts, Bytes) {
    let (mut parts, body) = worker.control.ask(request).await.into_parts();
    parts
        .headers
        .insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(std::time::SystemTime::now()))
    {
        parts.headers.insert(http::header::DATE, date);
    }
    (parts, body)
}

/// True unless an HTTP/2 request names two different hosts (RFC 9113, section 8.3.1).
pub fn hosts_agree(parts: &http::request::Parts) -> bool {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    match (parts.uri.authority(), hosts.next()) {
        (_, Some(_)) if hosts.next().is_some() => false,
        (Some(authority), Some(host)) => authority
            .as_str()
            .as_bytes()
            .eq_ignore_ascii_case(host.as_bytes()),
        (Some(authority), None) => crate::http1::head::is_authority(authority.as_str()),
        (None, Some(host)) => host.to_str().is_ok_and(crate::http1::head::is_authority),
        (None, None) => false,
    }
}

/// A response of the Control API as the clients' engines take it.
pub fn control_view<'r>(parts: &'r http::response::Parts, body: &Bytes) -> ResponseView<'r> {
    ResponseView {
        status: parts.status.as_u16(),
        reason: "",
        fields: &parts.headers,
        framing: Framing::Length(body.len() as u64),
    }
}

/// Reads a whole request body; `None` when it is larger than the Control API takes.
///
/// # Errors
/// When the client fails or stalls.
pub async fn read_whole<C: Client>(
    worker: &Rc<Worker>,
    client: &mut C,
    framing: Framing,
) -> Result<Option<Bytes>, ClientError> {
    if matches!(framing, Framing::Length(length) if length > MAX_CONTROL_BODY) {
        return Ok(None);
    }
    let mut body = BytesMut::new();
    let read = async {
        while poll_fn(|cx| client.poll_content(cx)).await? {
            let content = client.content();
            let n = content.len();
            body.extend_from_slice(content);
            client.took(n);
            if body.len() as u64 > MAX_CONTROL_BODY {
                return Ok(None);
            }
        }
        Ok(Some(()))
    };
    match worker
        .timers
        .within(worker.settings.read_timeout, read)
        .await
    {
        Ok(Ok(Some(()))) => Ok(Some(body.freeze())),
        Ok(Ok(None)) => Ok(None),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ClientError::Gone),
    }
}
