//! Requests of an HTTP/1 connection, one after another.
//!
//! Between requests the connection is parked: it holds its socket, its TLS state and one deadline,
//! no buffer and none of the state a request needs. That state lives in a box of its own and goes
//! with the request.

use std::{future::poll_fn, pin::pin, rc::Rc, time::Instant};

use portcullis_tls::buffer::Chunk;

use crate::{
    control::ControlRequest,
    http1::{
        Framing, HeadError,
        head::{self, HeadLimits, RequestHead},
        message::{Reader, Writer},
    },
    proxy::{
        self, Forwarded,
        answer::Answer,
        client::{ClientError, Http1Client},
        exchange::Client,
        plan::{self, Plan, Planned},
        record::Record,
        tunnel,
        upstream::Http1Upstream,
        view::{Peer, RequestView},
    },
    snapshot::Service,
    timers::Deadline,
    transport::Transport,
    watch::Admission,
    worker::Worker,
};

/// What becomes of the connection after a request.
enum After {
    /// Wait for another.
    KeepAlive,
    /// Say goodbye.
    Close,
    /// The client may still be sending what nobody reads; let it see the response first.
    Linger,
    /// Nobody is there any more.
    Drop,
}

/// Serves a connection to its end. `early` are bytes already read.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    mut transport: Transport,
    early: Chunk,
    peer: Rc<Peer>,
) {
    let mut chunk = early;
    // One for all there is to wait for: the next request, the rest of one, its response.
    let mut deadline = worker.timers.never();
    loop {
        if chunk.is_empty() {
            let first_byte = poll_fn(|cx| transport.poll_fill(cx, &mut chunk));
            match deadline
                .limit_idle(worker.settings.idle_timeout, first_byte)
                .await
            {
                Ok(Ok(n)) if n > 0 => {}
                Ok(Ok(_)) | Err(_) => break,
                Ok(Err(_)) => return,
            }
        }
        let (after, left) = Box::pin(request(
            worker,
            &mut transport,
            std::mem::take(&mut chunk),
            &peer,
            &mut deadline,
        ))
        .await;
        chunk = left;
        match after {
            After::KeepAlive => {}
            After::Close => break,
            After::Linger => {
                Box::pin(linger(worker, &mut transport)).await;
                return;
            }
            After::Drop => return,
        }
    }
    // Nothing waits to be sent but a goodbye; a peer that is gone does not miss it.
    transport.queue_goodbye();
    if transport.waiting() > 0 {
        let goodbye = poll_fn(|cx| transport.poll_flush(cx));
        let _ = worker
            .timers
            .within(worker.settings.handshake_timeout, goodbye)
            .await;
    }
}

/// Reads one request and answers it.
async fn request(
    worker: &Rc<Worker>,
    transport: &mut Transport,
    early: Chunk,
    peer: &Rc<Peer>,
    deadline: &mut Deadline,
) -> (After, Chunk) {
    let mut reader = Reader::default();
    reader.chunk = early;
    let mut writer = Writer::default();
    let mut record = Record::begin(worker, peer);
    let read = read_head(worker, transport, &mut reader, peer, &mut record, deadline).await;
    let after = match read {
        Ok(Some(read)) => {
            answer(
                worker,
                transport,
                &mut reader,
                &mut writer,
                &mut record,
                read,
                deadline,
            )
            .await
        }
        Ok(None) => After::Drop,
        Err(error) => {
            // The rest of what the client sends has no meaning any more.
            let answer = refusal(error);
            tracing::debug!(client = %peer.address, %error, "request refused");
            let mut client = client(worker, transport, &mut reader, &mut writer);
            client.keep_alive = false;
            client.answer(&answer);
            record.answered(answer.status, answer.body.len() as u64);
            finish(worker, transport, &mut writer, After::Linger, deadline).await
        }
    };
    record.end(worker);
    (after, reader.chunk)
}

/// What is kept of a head once its bytes are gone.
struct Read {
    peer: Rc<Peer>,
    plan: Planned,
    control: Option<ControlRequest>,
    framing: Framing,
    http10: bool,
    head_request: bool,
    keep_alive: bool,
    expects_continue: bool,
}

/// Waits for a head and decides what to do with it; `None` when the client left.
async fn read_head(
    worker: &Rc<Worker>,
    transport: &mut Transport,
    reader: &mut Reader,
    peer: &Rc<Peer>,
    record: &mut Record,
    deadline: &mut Deadline,
) -> Result<Option<Read>, HeadError> {
    let limits = HeadLimits {
        bytes: worker.settings.head_bytes,
        fields: worker.settings.head_fields,
    };
    // The common case: the whole head came with the first bytes, and no deadline is needed.
    if let Some(read) = try_head(worker, reader, limits, peer, record)? {
        return Ok(Some(read));
    }
    let mut seen = reader.chunk.len();
    deadline.set(Instant::now(), worker.settings.head_timeout);
    loop {
        let more = poll_fn(|cx| transport.poll_fill(cx, &mut reader.chunk));
        match deadline.guard(more).await {
            Ok(Ok(n)) if n > 0 => {}
            Ok(_) | Err(_) => return Ok(None),
        }
        let bytes = reader.chunk.data();
        if (head::may_be_complete(bytes, seen) || bytes.len() >= limits.bytes)
            && let Some(read) = try_head(worker, reader, limits, peer, record)?
        {
            return Ok(Some(read));
        }
        seen = reader.chunk.len();
    }
}

fn try_head(
    worker: &Rc<Worker>,
    reader: &mut Reader,
    limits: HeadLimits,
    peer: &Rc<Peer>,
    record: &mut Record,
) -> Result<Option<Read>, HeadError> {
    let mut space = head::field_space();
    let Some(head) = head::request(reader.chunk.data(), limits, &mut space)? else {
        return Ok(None);
    };
    let (length, framing) = (head.length, head.framing);
    let read = decide(worker, &head, peer, record);
    reader.chunk.consume(length);
    reader.begin(framing);
    Ok(Some(read))
}

fn decide(
    worker: &Rc<Worker>,
    head: &RequestHead<'_, '_>,
    peer: &Rc<Peer>,
    record: &mut Record,
) -> Read {
    let view = RequestView {
        method: head.method,
        host: head.host,
        path: head.path,
        query: head.query,
        fields: &head.fields,
        framing: head.framing,
        upgrade: head.upgrade,
        protocol: if head.http10 { "HTTP/1.0" } else { "HTTP/1.1" },
    };
    record.request(&view);
    let held = worker.snapshot();
    let plan = match held.snapshot.ports.get(&peer.listener) {
        Some(port) => match &*port.service {
            Service::Http(service) => {
                plan::plan(worker, &held.snapshot, port, service, peer, &view)
            }
            Service::Tcp { .. } => plan::gone(),
        },
        None => plan::gone(),
    };
    let control = matches!(plan, Planned::Decided(Plan::Control))
        .then(|| proxy::control_request(&held.snapshot, &view, peer));
    Read {
        peer: peer.clone(),
        plan,
        control,
        framing: head.framing,
        http10: head.http10,
        head_request: head.method == "HEAD",
        keep_alive: head.keep_alive && !worker.settings.close_connections,
        expects_continue: head.expects_continue,
    }
}

/// Answers a request whose head has been read.
async fn answer(
    worker: &Rc<Worker>,
    transport: &mut Transport,
    reader: &mut Reader,
    writer: &mut Writer,
    record: &mut Record,
    read: Read,
    deadline: &mut Deadline,
) -> After {
    let mut client = client(worker, transport, reader, writer);
    client.http10 = read.http10;
    client.head_request = read.head_request;
    client.keep_alive = read.keep_alive;
    client.expects_continue = read.expects_continue;
    let switched = match plan::settle(worker, read.plan, &read.peer).await {
        Plan::Answer(refusal) => {
            record.refused(&refusal);
            client.answer(&refusal.answer);
            None
        }
        Plan::Control => {
            let request = read.control.expect("a control plan comes with its request");
            match Box::pin(ask_control(
                worker,
                &mut client,
                request,
                read.framing,
                record,
            ))
            .await
            {
                Ok(()) => None,
                Err(_) => return After::Drop,
            }
        }
        Plan::Forward(mut job) => {
            client.quota = job.quota;
            let admission = job.admission(&read.peer);
            let forwarded = {
                let forward = pin!(proxy::forward(
                    worker,
                    &mut job,
                    &mut client,
                    record,
                    deadline
                ));
                worker.watch.until_revoked(admission, forward).await
            };
            let Ok(forwarded) = forwarded else {
                return After::Drop;
            };
            match forwarded {
                Forwarded::Answered => None,
                Forwarded::Refused(answer) => {
                    client.answer(&answer);
                    None
                }
                Forwarded::Switched(upstream) => {
                    let admission = job.admission(&read.peer);
                    Some((upstream, admission))
                }
                Forwarded::Broken => {
                    give_up(worker, transport, writer).await;
                    return After::Drop;
                }
            }
        }
    };
    let keep_alive = client.keep_alive;
    let request_ended = reader.is_ended();
    let after = match (keep_alive, request_ended) {
        (true, true) => After::KeepAlive,
        (_, true) => After::Close,
        (_, false) => After::Linger,
    };
    match switched {
        None => finish(worker, transport, writer, after, deadline).await,
        Some((upstream, admission)) => {
            if poll_fn(|cx| writer.poll_flush(transport, cx))
                .await
                .is_err()
            {
                return After::Drop;
            }
            Box::pin(switch(
                worker,
                transport,
                std::mem::take(&mut reader.chunk),
                upstream,
                admission,
                record,
            ))
            .await
        }
    }
}

/// Sends what is left of the response, with the goodbye in the same write when it is the last.
async fn finish(
    worker: &Rc<Worker>,
    transport: &mut Transport,
    writer: &mut Writer,
    after: After,
    deadline: &mut Deadline,
) -> After {
    if writer.hand_over(transport).is_err() {
        return After::Drop;
    }
    if matches!(after, After::Close) {
        transport.queue_goodbye();
    }
    let flush = poll_fn(|cx| transport.poll_flush(cx));
    match deadline.limit(worker.settings.write_timeout, flush).await {
        Ok(Ok(())) => after,
        Ok(Err(_)) | Err(_) => After::Drop,
    }
}

/// Sends what came before a response broke off. That its end never comes tells the client that
/// the rest is missing; nothing at all would look like a request that may be sent again.
async fn give_up(worker: &Rc<Worker>, transport: &mut Transport, writer: &mut Writer) {
    if writer.hand_over(transport).is_ok() {
        let flush = poll_fn(|cx| transport.poll_flush(cx));
        let _ = worker.timers.within(worker.settings.linger, flush).await;
    }
}

/// Bytes instead of requests, until one side has had enough.
async fn switch(
    worker: &Rc<Worker>,
    client: &mut Transport,
    early: Chunk,
    upstream: Box<Http1Upstream>,
    admission: Option<Admission>,
    record: &mut Record,
) -> After {
    let (mut upstream, upstream_early) = upstream.into_parts();
    record.end(worker);
    // How such a connection ends is between the two sides; there is nobody left to tell.
    let relay = pin!(tunnel::relay(client, early, &mut upstream, upstream_early));
    let _ = worker.watch.until_revoked(admission, relay).await;
    After::Drop
}

/// Lets a client that is still sending see the response: end our side, read on for a moment.
async fn linger(worker: &Rc<Worker>, transport: &mut Transport) {
    let rest = async {
        poll_fn(|cx| transport.poll_finish(cx)).await?;
        let mut ignored = Chunk::new();
        while poll_fn(|cx| transport.poll_fill(cx, &mut ignored)).await? > 0 {
            ignored.consume(ignored.len());
        }
        std::io::Result::Ok(())
    };
    let _ = worker.timers.within(worker.settings.linger, rest).await;
}

/// Reads the whole request, lets the Control API answer it, and begins the response.
async fn ask_control(
    worker: &Rc<Worker>,
    client: &mut Http1Client<'_>,
    mut request: ControlRequest,
    framing: Framing,
    record: &mut Record,
) -> Result<(), ClientError> {
    request.body = match proxy::read_whole(worker, client, framing).await {
        Ok(Some(body)) => body,
        Ok(None) => {
            let answer = plan::request_too_large();
            client.keep_alive = false;
            client.answer(&answer);
            record.answered(answer.status, answer.body.len() as u64);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let (parts, body) = proxy::control_answer(worker, request).await;
    record.answered(parts.status.as_u16(), body.len() as u64);
    let view = proxy::control_view(&parts, &body);
    client.begin(&view)?;
    let mut rest = &body[..];
    if client.head_request {
        rest = &[];
    }
    while !rest.is_empty() {
        let n = poll_fn(|cx| client.poll_send(cx, rest)).await?;
        rest = &rest[n..];
    }
    client.end(None)
}

fn client<'c>(
    worker: &'c Worker,
    transport: &'c mut Transport,
    reader: &'c mut Reader,
    writer: &'c mut Writer,
) -> Http1Client<'c> {
    Http1Client {
        worker,
        transport,
        reader,
        writer,
        http10: false,
        head_request: false,
        expects_continue: false,
        keep_alive: true,
        quota: None,
    }
}

/// What a client is told whose head cannot be read.
fn refusal(error: HeadError) -> Answer {
    Answer::text(
        error.status(),
        match error.status() {
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        },
    )
}
