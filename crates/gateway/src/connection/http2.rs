//! Requests of an HTTP/2 connection, side by side.
//!
//! The connection task reads frames and starts a task for each stream. What a client can make the
//! gateway hold or do without limit is bounded here: streams, header lists, resets (CVE-2023-44487),
//! and, in the `h2` engine, CONTINUATION, SETTINGS and PING.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};

use crate::{
    http1::Framing,
    proxy::{
        self, Forwarded,
        client::Http2Client,
        exchange::Client,
        plan::{self, Plan},
        record::Record,
        view::{Peer, RequestView},
    },
    snapshot::Service,
    transport::Transport,
    watch::Revoked,
    worker::Worker,
};

/// Streams a client may reset while we still work on them before the connection ends.
const MAX_RESETS: usize = 50;

/// Bytes a client may send on a stream before we read them.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes a client may send on a connection before we read them.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of a response that wait in the engine for the client's window.
const SEND_BUFFER: usize = 256 * 1024;

/// How long the SETTINGS exchange may take.
const PREFACE: Duration = Duration::from_secs(10);

/// Serves a connection to its end.
pub(super) async fn serve(worker: &Rc<Worker>, transport: Transport, peer: Rc<Peer>) {
    let inadequate = peer.tls.as_ref().is_some_and(|tls| tls.http2_prohibited);
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(worker.settings.http2_streams)
        .max_header_list_size(u32::try_from(worker.settings.head_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(MAX_RESETS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(Some(MAX_RESETS))
        .handshake::<_, Bytes>(transport);
    let Ok(Ok(mut connection)) = worker.timers.within(PREFACE, handshake).await else {
        return;
    };
    if inadequate {
        // RFC 9113, section 9.2.2: a suite it prohibits.
        connection.abrupt_shutdown(Reason::INADEQUATE_SECURITY);
    }
    let open = Rc::new(Cell::new(0usize));
    let mut idle = worker.timers.never();
    idle.set_idle(Instant::now(), worker.settings.idle_timeout);
    let mut leaving = false;
    loop {
        let accepted = poll_fn(|cx| {
            if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                return Poll::Ready(Some(accepted));
            }
            idle.poll(cx).map(|_| None)
        })
        .await;
        match accepted {
            Some(Some(Ok((request, respond)))) => {
                idle.set_idle(Instant::now(), worker.settings.idle_timeout);
                open.set(open.get() + 1);
                let (worker, peer, open) = (worker.clone(), peer.clone(), open.clone());
                // Boxed first: a task moves its future several times, and this one is large.
                tokio::task::spawn_local(Box::pin(async move {
                    stream(&worker, &peer, request, respond).await;
                    open.set(open.get() - 1);
                }));
            }
            Some(Some(Err(error))) => {
                tracing::debug!(client = %peer.address, %error, "HTTP/2 connection failed");
                // The engine has its say (GOAWAY) in the polls that are left.
                let rest = poll_fn(|cx| connection.poll_closed(cx));
                let _ = worker.timers.within(worker.settings.linger, rest).await;
                return;
            }
            Some(None) => return,
            None if leaving && open.get() == 0 => return,
            None if leaving => idle.set(Instant::now(), worker.settings.linger),
            // Idle too long, or the worker drains: GOAWAY, then what is open is served to its end.
            None if open.get() == 0 || worker.is_draining() => {
                leaving = true;
                connection.graceful_shutdown();
                idle.set(Instant::now(), worker.settings.linger);
            }
            None => idle.set_idle(Instant::now(), worker.settings.idle_timeout),
        }
    }
}

/// Answers one request.
async fn stream(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (parts, body) = request.into_parts();
    let mut record = Record::begin(worker, peer);
    let head_request = parts.method == http::Method::HEAD;
    let host = parts
        .uri
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| {
            parts
                .headers
                .get("host")
                .and_then(|host| host.to_str().ok())
        })
        .unwrap_or("");
    let declared = parts
        .headers
        .get("content-length")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let framing = match declared {
        _ if body.is_end_stream() => Framing::Length(0),
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    let view = RequestView {
        method: parts.method.as_str(),
        host,
        path: parts.uri.path(),
        query: parts.uri.query(),
        fields: &parts.headers,
        framing,
        upgrade: None,
        protocol: "HTTP/2.0",
    };
    record.request(&view);
    let plan = if parts.method == http::Method::CONNECT || !proxy::hosts_agree(&parts) {
        plan::bad_request()
    } else {
        let held = worker.snapshot();
        match held
            .snapshot
            .ports
            .get(&peer.listener)
            .map(|port| (port, &*port.service))
        {
            Some((port, Service::Http(service))) => {
                plan::plan(worker, &held.snapshot, port, service, peer, &view)
            }
            _ => plan::gone(),
        }
    };
    let mut client = Http2Client::new(body, respond, head_request);
    let result = match plan::settle(worker, plan, peer).await {
        Plan::Answer(refusal) => {
            record.refused(&refusal);
            client.answer(&refusal.answer)
        }
        Plan::Control => ask_control(worker, &mut client, &view, peer, &mut record).await,
        Plan::Forward(mut job) => {
            client.quota = job.quota;
            let deadline = &mut worker.timers.never();
            let admission = job.admission(peer);
            let forwarded = {
                let forward = pin!(proxy::forward(
                    worker,
                    &mut job,
                    &mut client,
                    &mut record,
                    deadline
                ));
                worker.watch.until_revoked(admission, forward).await
            };
            match forwarded {
                Err(Revoked) => {
                    client.reset(Reason::CANCEL);
                    Ok(())
                }
                Ok(Forwarded::Answered) => Ok(()),
                Ok(Forwarded::Refused(answer)) => client.answer(&answer),
                Ok(Forwarded::Switched(_) | Forwarded::Broken) => {
                    client.reset(Reason::INTERNAL_ERROR);
                    Ok(())
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(client = %peer.address, %error, "HTTP/2 stream failed");
    }
    record.end(worker);
}

/// Reads the whole request and sends the Control API's answer.
async fn ask_control(
    worker: &Rc<Worker>,
    client: &mut Http2Client,
    view: &RequestView<'_>,
    peer: &Rc<Peer>,
    record: &mut Record,
) -> Result<(), proxy::client::ClientError> {
    let held = worker.snapshot();
    let mut request = proxy::control_request(&held.snapshot, view, peer);
    drop(held);
    let Some(body) = proxy::read_whole(worker, client, view.framing).await? else {
        let answer = plan::request_too_large();
        record.answered(answer.status, answer.body.len() as u64);
        return client.answer(&answer);
    };
    request.body = body;
    let (parts, body) = proxy::control_answer(worker, request).await;
    record.answered(parts.status.as_u16(), body.len() as u64);
    client.begin(&proxy::control_view(&parts, &body))?;
    let mut rest = &body[..];
    while !rest.is_empty() {
        let n = poll_fn(|cx| client.poll_send(cx, rest)).await?;
        rest = &rest[n..];
    }
    client.end(None)
}
