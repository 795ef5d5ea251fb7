//! One request and its response, moved between a client and an upstream.
//!
//! Both directions advance in one task, so a response may begin before the request has ended and
//! neither side can fill the gateway's memory: a side is read only when the other can take more.
//! What is at hand goes out when a side has nothing more to read, so a server-sent event leaves
//! the moment it arrives and a download in large writes.
//!
//! Order of the checks while waiting for a response: progress of the upload, the response, the
//! client's departure, the deadline. A response that has arrived wins over a deadline that passed
//! at the same moment.
//!
//! Invariant: an exchange that stands still is the client's failure wherever it waits for the client; no client
//! can make an upstream look ill.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName};

use super::{forward::without_login_field, view::ResponseView};
use crate::{
    proxy::{client::ClientError, upstream::UpstreamError},
    timers::{Deadline, Elapsed},
};

/// The side that asks.
pub trait Client {
    /// Waits for content of the request: true when [`Client::content`] has some, false when the
    /// request is over.
    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ClientError>>;
    /// Content at hand.
    fn content(&self) -> &[u8];
    /// Records that `n` bytes of content were used.
    fn took(&mut self, n: usize);
    /// Trailers of a request that is over.
    fn take_trailers(&mut self) -> Option<Box<HeaderMap>>;
    /// Ready when the client has gone. Asked only once the request is over.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Begins the response.
    fn begin(&mut self, view: &ResponseView<'_>) -> Result<(), ClientError>;
    /// Takes content of the response; how much it took.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<Result<usize, ClientError>>;
    /// Ends the response.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientError>;
    /// Sends what was taken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>>;
}

/// The side that answers. Its request head has been given to it.
pub trait Upstream {
    /// Takes content of the request; how much it took.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<Result<usize, UpstreamError>>;
    /// Ends the request.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), UpstreamError>;
    /// Sends what was taken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>>;
    /// Waits for the final response head and shows it to `on_head`. Interim responses are passed over.
    fn poll_head<R>(
        &mut self,
        cx: &mut Context<'_>,
        on_head: impl FnOnce(&ResponseView<'_>) -> R,
    ) -> Poll<Result<R, UpstreamError>>;
    /// Waits for content of the response: true when there is some, false when it is over.
    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, UpstreamError>>;
    /// Content at hand.
    fn content(&self) -> &[u8];
    /// Records that `n` bytes of content were used.
    fn took(&mut self, n: usize);
    /// Trailers of a response that is over.
    fn take_trailers(&mut self) -> Option<HeaderMap>;
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the end of the request until the response head.
    pub head: Duration,
    /// From the request's start until everything is over, when the API asks for it.
    pub total: Option<Duration>,
    /// Without any progress of a body.
    pub stall: Duration,
}

impl Patience {
    /// What is left of `wait` for a request that has taken `so_far`.
    pub fn left(&self, wait: Duration, so_far: Duration) -> Duration {
        let total = self.total.map(|total| total.saturating_sub(so_far));
        total.map_or(wait, |total| total.min(wait))
    }
}

/// Bounds of a request.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Most bytes of a request body, 0 for no bound.
    pub request_body: u64,
    /// The request asked for another protocol, so 101 is an answer to it.
    pub switch: bool,
    /// A proxy forwards the request, so 407 is about the gateway and no answer to the client.
    pub forwarded: bool,
    /// The field in which the gateway proves itself: the request's trailers say nothing there.
    pub login_field: Option<HeaderName>,
}

/// What came of an exchange that ran to its end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    /// Status of the response.
    pub status: u16,
    /// The status that the client was told instead, where a rule replaced it.
    pub told: Option<u16>,
    /// Content bytes sent to the client.
    pub sent: u64,
    /// Content bytes received from the client.
    pub received: u64,
    /// The request had been read to its end.
    pub request_ended: bool,
    /// When the response head arrived.
    pub head_at: Option<Instant>,
    /// The upstream switches protocols: what follows is no longer HTTP.
    pub switched: bool,
}

/// Why an exchange ended early.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub cause: Cause,
    /// What had happened before.
    pub so_far: Done,
}

/// What ended an exchange early.
#[derive(Debug)]
pub enum Cause {
    /// The client went away, broke its own framing, or does not take the response.
    Client(ClientError),
    /// The upstream failed.
    Upstream(UpstreamError),
    /// No response head in time, a body that stood still, or the exchange as a whole too long, and it was the
    /// upstream that was waited for.
    Timeout,
    /// The client stopped sending its request.
    RequestStalled,
    /// The request's body is larger than allowed.
    RequestTooLarge,
}

/// Moves one request and its response.
///
/// # Errors
/// [`Failure`]; when `so_far.status` is 0 the client has not been answered.
pub async fn run<C: Client, U: Upstream>(
    client: &mut C,
    upstream: &mut U,
    patience: Patience,
    bounds: &Bounds,
    start: Instant,
    deadline: &mut Deadline,
) -> Result<Done, Failure> {
    let mut exchange = Exchange {
        client,
        upstream,
        patience,
        bounds,
        start,
        done: Done::default(),
        phase: None,
        awaits_client: false,
        stalled_by_client: false,
    };
    let outcome = poll_fn(|cx| exchange.poll_head(cx, deadline)).await;
    if let Err(cause) = outcome {
        return Err(Failure {
            cause,
            so_far: exchange.done,
        });
    }
    if exchange.done.switched {
        return Ok(exchange.done);
    }
    let outcome = poll_fn(|cx| exchange.poll_bodies(cx, deadline)).await;
    match outcome {
        Ok(()) => Ok(exchange.done),
        Err(cause) => Err(Failure {
            cause,
            so_far: exchange.done,
        }),
    }
}

struct Exchange<'e, C, U> {
    client: &'e mut C,
    upstream: &'e mut U,
    patience: Patience,
    bounds: &'e Bounds,
    start: Instant,
    done: Done,
    /// What the deadline stands for, once it stands for anything.
    phase: Option<Phase>,
    /// The request is waiting for the client, not for the upstream.
    awaits_client: bool,
    /// The response is: what came of it has not been taken.
    stalled_by_client: bool,
}

/// What is being waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The rest of the request.
    Request,
    /// The response head.
    Head,
    /// Bodies.
    Bodies,
}

impl<C: Client, U: Upstream> Exchange<'_, C, U> {
    /// Sends the request until the response head is here, and begins the response with it.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        deadline: &mut Deadline,
    ) -> Poll<Result<(), Cause>> {
        let before = self.done.received;
        let upload = self.poll_upload(cx);
        if let Poll::Ready(Err(cause @ (Cause::Client(_) | Cause::RequestTooLarge))) = upload {
            return Poll::Ready(Err(cause));
        }
        let Self {
            client,
            upstream,
            done,
            bounds,
            ..
        } = self;
        let head = upstream.poll_head(cx, |view| {
            let switched = view.status == 101;
            if switched && !bounds.switch {
                return Err(UpstreamError::Switch);
            }
            if view.status == 407 && bounds.forwarded {
                return Err(UpstreamError::ByProxy);
            }
            done.status = view.status;
            done.switched = switched;
            Ok(client.begin(view))
        });
        match head.map(|head| head.flatten()) {
            Poll::Ready(Ok(Ok(()))) => {
                self.done.head_at = Some(Instant::now());
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(Err(error))) => return Poll::Ready(Err(Cause::Client(error))),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Cause::Upstream(error))),
            Poll::Pending => {}
        }
        // An upstream that stopped reading may still have answered; it has not, so this counts.
        if let Poll::Ready(Err(cause)) = upload {
            return Poll::Ready(Err(cause));
        }
        if self.done.request_ended && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Cause::Client(ClientError::Gone)));
        }
        let phase = if self.done.request_ended {
            Phase::Head
        } else {
            Phase::Request
        };
        self.rearm(deadline, phase, self.done.received != before);
        match deadline.poll(cx) {
            Poll::Ready(Elapsed) if phase == Phase::Request && self.awaits_client => {
                Poll::Ready(Err(Cause::RequestStalled))
            }
            Poll::Ready(Elapsed) => Poll::Ready(Err(Cause::Timeout)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Moves both bodies to their ends.
    fn poll_bodies(
        &mut self,
        cx: &mut Context<'_>,
        deadline: &mut Deadline,
    ) -> Poll<Result<(), Cause>> {
        let before = (self.done.sent, self.done.received);
        // The upload no longer matters for the outcome: the response decides.
        let upload = self.poll_upload(cx);
        if let Poll::Ready(Err(cause @ (Cause::Client(_) | Cause::RequestTooLarge))) = upload {
            return Poll::Ready(Err(cause));
        }
        if let Poll::Ready(result) = self.poll_download(cx) {
            return Poll::Ready(result);
        }
        self.rearm(
            deadline,
            Phase::Bodies,
            (self.done.sent, self.done.received) != before,
        );
        // A client that has not sent all of its request may be what the upstream waits for.
        let by_client = self.stalled_by_client || (!self.done.request_ended && self.awaits_client);
        match deadline.poll(cx) {
            Poll::Ready(Elapsed) if by_client => {
                Poll::Ready(Err(Cause::Client(ClientError::Stalled)))
            }
            Poll::Ready(Elapsed) => Poll::Ready(Err(Cause::Timeout)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Moves the deadline when what is waited for changed, or a body moved.
    fn rearm(&mut self, deadline: &mut Deadline, phase: Phase, moved: bool) {
        let changed = self.phase.replace(phase) != Some(phase);
        if !changed && (!moved || phase == Phase::Head) {
            return;
        }
        let now = Instant::now();
        let wait = match phase {
            Phase::Head => self.patience.head,
            Phase::Request | Phase::Bodies => self.patience.stall,
        };
        deadline.set(now, self.patience.left(wait, now - self.start));
    }

    /// Moves the request to the upstream. Ready when it is over.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        if self.done.request_ended {
            return self.upstream.poll_flush(cx).map_err(Cause::Upstream);
        }
        self.awaits_client = false;
        loop {
            match self.client.poll_content(cx).map_err(Cause::Client)? {
                Poll::Ready(true) => {
                    let n = ready!(self.upstream.poll_send(cx, self.client.content()))
                        .map_err(Cause::Upstream)?;
                    self.client.took(n);
                    self.done.received += n as u64;
                    if self.bounds.request_body > 0 && self.done.received > self.bounds.request_body
                    {
                        return Poll::Ready(Err(Cause::RequestTooLarge));
                    }
                }
                Poll::Ready(false) => {
                    let mut trailers = self.client.take_trailers().map(|trailers| *trailers);
                    if let (Some(trailers), Some(own)) = (&mut trailers, &self.bounds.login_field) {
                        without_login_field(trailers, own);
                    }
                    self.upstream.end(trailers).map_err(Cause::Upstream)?;
                    self.done.request_ended = true;
                    return self.upstream.poll_flush(cx).map_err(Cause::Upstream);
                }
                Poll::Pending => {
                    self.awaits_client = true;
                    ready!(self.upstream.poll_flush(cx)).map_err(Cause::Upstream)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Moves the response to the client. Ready when all of it has been sent.
    fn poll_download(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        loop {
            match self.upstream.poll_content(cx).map_err(Cause::Upstream)? {
                Poll::Ready(true) => {
                    let sent = self.client.poll_send(cx, self.upstream.content());
                    self.stalled_by_client = sent.is_pending();
                    let n = ready!(sent).map_err(Cause::Client)?;
                    self.upstream.took(n);
                    self.done.sent += n as u64;
                }
                Poll::Ready(false) => {
                    let trailers = self.upstream.take_trailers();
                    self.client.end(trailers).map_err(Cause::Client)?;
                    // What is left in the output is the caller's to send: it may have more to add.
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    let flushed = self.client.poll_flush(cx);
                    self.stalled_by_client = flushed.is_pending();
                    ready!(flushed).map_err(Cause::Client)?;
                    return Poll::Pending;
                }
            }
        }
    }
}

#[cfg(test)]
pub mod doubles;
#[cfg(test)]
mod tests;
