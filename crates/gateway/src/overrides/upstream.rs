//! Errors of upstreams on their way to a client, where rules may replace them.
//!
//! [`run`] is an exchange whose client looks at the head of an error first. Where a rule depends on the body, its
//! first 4 KiB are held back until it is decided; everything else passes as it comes. A response that is
//! replaced is read to its end, so that the connection can be kept, unless that is far away.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, header};

use super::{OnHead, Overrides, Rule};
use crate::{
    http1::Framing,
    proxy::{
        answer::ErrorStyle,
        client::ClientError,
        exchange::{self, Bounds, Cause, Client, Done, Failure, Patience, Upstream},
        view::ResponseView,
    },
    timers::Deadline,
};

/// How much of a body rules look at.
const LOOKED_AT: usize = 4096;
/// How much of a body that nobody gets is read for the sake of the connection.
const DRAINED: usize = 256 * 1024;
/// How long a client may take what is owed to it when the time of its request is over.
const LAST: Duration = Duration::from_secs(2);

/// By what errors are judged.
#[derive(Clone, Copy)]
pub struct Judge<'j> {
    /// The rules.
    pub rules: &'j Overrides,
    /// How errors are written for this client.
    pub style: ErrorStyle,
    /// It asks with HEAD.
    pub head_request: bool,
}

/// As [`exchange::run`], errors judged.
///
/// # Errors
/// [`Failure`]; when `so_far.status` is 0 the client has not been answered.
pub async fn run<C: Client, U: Upstream>(
    judge: Judge<'_>,
    client: &mut C,
    upstream: &mut U,
    patience: Patience,
    bounds: &Bounds,
    start: Instant,
    deadline: &mut Deadline,
) -> Result<Done, Failure> {
    let mut judged = Judged {
        client,
        judge,
        state: State::Passing,
        ended: None,
        told: None,
    };
    let outcome = exchange::run(&mut judged, upstream, patience, bounds, start, deadline).await;
    let client_failed =
        matches!(&outcome, Err(failure) if matches!(failure.cause, Cause::Client(_)));
    let finished = if client_failed && !matches!(judged.state, State::Answered(_)) {
        // Nobody takes what is owed.
        Err(ClientError::Gone)
    } else {
        let left = patience.left(patience.stall, start.elapsed());
        let left = left.max(LAST.min(patience.stall));
        let finished = deadline.limit(left, poll_fn(|cx| judged.poll_finish(cx)));
        finished.await.unwrap_or(Err(ClientError::Stalled))
    };
    let told = judged.told;
    let tell = |mut done: Done| {
        if let Some(told) = told {
            done.told = Some(told.status);
            done.sent = told.length.unwrap_or(done.sent);
        }
        done
    };
    match (outcome, finished) {
        (Ok(done), Ok(())) => Ok(tell(done)),
        (Ok(done), Err(error)) => Err(Failure {
            cause: Cause::Client(error),
            so_far: tell(done),
        }),
        // The client has its whole answer; what failed is the rest that nobody gets.
        (Err(failure), Ok(())) if told.is_some_and(|told| told.length.is_some()) => {
            Ok(tell(failure.so_far))
        }
        (Err(failure), _) => Err(Failure {
            so_far: tell(failure.so_far),
            ..failure
        }),
    }
}

/// What a client was told instead.
#[derive(Clone, Copy)]
struct Instead {
    status: u16,
    /// Length of the body, where it was replaced as well.
    length: Option<u64>,
}

/// A client whose errors are judged.
struct Judged<'c, C> {
    client: &'c mut C,
    judge: Judge<'c>,
    state: State,
    /// The upstream's response is over, with these trailers.
    ended: Option<Option<HeaderMap>>,
    told: Option<Instead>,
}

enum State {
    /// What comes goes on.
    Passing,
    /// Nothing has been sent: the body decides.
    Holding(Box<Head>, Vec<u8>),
    /// This much is owed to the client before what follows, or in its place.
    Owing(Bytes, Then),
    /// The client has its answer; so much has come since and was left out.
    Answered(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    PassOn,
    LeaveOut,
}

/// A response head that outlives its bytes.
struct Head {
    status: u16,
    reason: String,
    fields: HeaderMap,
    framing: Framing,
}

impl Head {
    fn of(view: &ResponseView<'_>) -> Self {
        let mut fields = HeaderMap::new();
        view.fields.visit(&mut |name, value| {
            if let (Ok(name), Ok(value)) = (
                http::HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value),
            ) {
                fields.append(name, value);
            }
        });
        Self {
            status: view.status,
            reason: view.reason.to_owned(),
            fields,
            framing: view.framing,
        }
    }

    fn view(&self) -> ResponseView<'_> {
        ResponseView {
            status: self.status,
            reason: &self.reason,
            fields: &self.fields,
            framing: self.framing,
        }
    }
}

/// Fields about a body that is no longer there.
const OF_THE_BODY: [&str; 8] = [
    "accept-ranges",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-range",
    "etag",
    "last-modified",
    "trailer",
];

impl<C: Client> Judged<'_, C> {
    /// Begins the response that a rule asks for; `held` came of the body it replaces or goes on with.
    fn replace(&mut self, rule: &Rule, mut head: Head, held: Vec<u8>) -> Result<(), ClientError> {
        head.status = rule.told.status.unwrap_or(head.status);
        head.reason.clear();
        let body = rule.told.body(head.status, self.judge.style);
        let mut length = None;
        self.state = State::Owing(held.into(), Then::PassOn);
        if let Some((body, content_type)) = body {
            for name in OF_THE_BODY {
                head.fields.remove(name);
            }
            let content_type = content_type.and_then(|text| HeaderValue::from_str(&text).ok());
            if let Some(content_type) = content_type {
                head.fields.insert(header::CONTENT_TYPE, content_type);
            }
            let size = body.len() as u64;
            head.fields.insert(header::CONTENT_LENGTH, size.into());
            head.framing = Framing::Length(size);
            length = Some(size);
            let sent = if self.judge.head_request {
                Bytes::new()
            } else {
                Bytes::from(body.into_owned())
            };
            self.state = State::Owing(sent, Then::LeaveOut);
        }
        rule.told.change(&mut head.fields);
        self.told = Some(Instead {
            status: head.status,
            length,
        });
        self.client.begin(&head.view())
    }

    /// Decides about a response by what has come of its body.
    fn decide(&mut self) -> Result<(), ClientError> {
        let (head, held) = match std::mem::replace(&mut self.state, State::Passing) {
            State::Holding(head, held) => (head, held),
            // It is decided.
            other => {
                self.state = other;
                return Ok(());
            }
        };
        match self.judge.rules.on_body(head.status, &held) {
            Some(rule) => self.replace(&rule, *head, held),
            None => {
                self.state = State::Owing(held.into(), Then::PassOn);
                self.client.begin(&head.view())
            }
        }
    }

    /// Sends what is owed. Ready when nothing is.
    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let State::Owing(rest, then) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        while !rest.is_empty() {
            let n = ready!(self.client.poll_send(cx, rest))?;
            rest.advance(n);
        }
        self.state = match *then {
            Then::PassOn => State::Passing,
            Then::LeaveOut => {
                self.client.end(None)?;
                State::Answered(0)
            }
        };
        Poll::Ready(Ok(()))
    }

    /// Gives the client all there is, once nothing more comes from the upstream.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        self.decide()?;
        ready!(self.poll_owed(cx))?;
        if let (State::Passing, Some(trailers)) = (&self.state, self.ended.take()) {
            self.client.end(trailers)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: Client> Client for Judged<'_, C> {
    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ClientError>> {
        self.client.poll_content(cx)
    }

    fn content(&self) -> &[u8] {
        self.client.content()
    }

    fn took(&mut self, n: usize) {
        self.client.took(n);
    }

    fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.client.take_trailers()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.poll_gone(cx)
    }

    fn begin(&mut self, view: &ResponseView<'_>) -> Result<(), ClientError> {
        if view.status < 400 {
            return self.client.begin(view);
        }
        match self.judge.rules.on_head(view.status) {
            OnHead::Passes => self.client.begin(view),
            OnHead::Replaced(rule) => self.replace(&rule, Head::of(view), Vec::new()),
            OnHead::Depends => {
                self.state = State::Holding(Box::new(Head::of(view)), Vec::new());
                Ok(())
            }
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<Result<usize, ClientError>> {
        if let State::Holding(_, held) = &mut self.state {
            let n = content.len().min(LOOKED_AT - held.len());
            held.extend_from_slice(&content[..n]);
            if held.len() == LOOKED_AT {
                self.decide()?;
            }
            return Poll::Ready(Ok(n));
        }
        ready!(self.poll_owed(cx))?;
        match &mut self.state {
            State::Answered(left_out) => {
                *left_out += content.len();
                if *left_out > DRAINED {
                    return Poll::Ready(Err(ClientError::Gone));
                }
                Poll::Ready(Ok(content.len()))
            }
            _ => self.client.poll_send(cx, content),
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientError> {
        if matches!(self.state, State::Passing) {
            return self.client.end(trailers);
        }
        self.ended = Some(trailers);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        ready!(self.poll_owed(cx))?;
        self.client.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_apidef::gateway_error_overrides;
    use serde_json::json;

    use super::*;
    use crate::proxy::exchange::doubles::{BRIEF, FREE, TestClient, TestUpstream, timed};

    const STYLE: ErrorStyle = ErrorStyle {
        xml_type: None,
        hide_generator: false,
    };

    /// What becomes of a 503 whose rule looks at its body.
    fn judged(client: &mut TestClient, body: &'static [u8], ends: bool) -> Result<Done, Failure> {
        let rules = json!({"503": [
            {"match": {"message_pattern": "sorry"}, "response": {"status_code": 502, "body": "instead"}},
        ]});
        let rules = Overrides::of(&gateway_error_overrides(&rules).expect("good rules").0);
        let judge = Judge {
            rules: &rules,
            style: STYLE,
            head_request: false,
        };
        let mut upstream = TestUpstream {
            status: 503,
            body,
            ends,
        };
        timed(|start, mut deadline| async move {
            let deadline = &mut deadline;
            run(judge, client, &mut upstream, BRIEF, &FREE, start, deadline).await
        })
    }

    #[test]
    fn what_was_held_back_waits_no_longer_for_a_client_than_anything_else() {
        for (body, told) in [(&b"sorry"[..], 502), (b"other", 503)] {
            let mut client = TestClient::taking(0);
            let failure = judged(&mut client, body, true).expect_err("the client takes nothing");
            assert!(
                matches!(failure.cause, Cause::Client(ClientError::Stalled)),
                "{failure:?}"
            );
            assert_eq!((client.status, failure.so_far.status), (told, 503));
        }
        let mut client = TestClient::taking(100);
        let done = judged(&mut client, b"sorry", true).expect("it takes all");
        assert_eq!((done.told, done.sent), (Some(502), 7));
        assert_eq!((client.status, &*client.got), (502, &b"instead"[..]));
    }

    #[test]
    fn an_upstream_that_stands_still_is_to_blame_whatever_its_client_does() {
        for takes in [0, 100] {
            let failure = judged(&mut TestClient::taking(takes), b"oth", false)
                .expect_err("the upstream does not end");
            assert!(matches!(failure.cause, Cause::Timeout), "{failure:?}");
        }
    }
}
