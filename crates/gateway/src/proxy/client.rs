//! The two kinds of clients an exchange speaks to: one HTTP/1 connection, or one HTTP/2 stream.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::HeaderMap;
use portcullis_tls::buffer::CHUNK_SIZE;

use super::{
    answer::Answer,
    exchange::Client,
    forward::{ResponseHead, forwardable_trailers, to_http2_response, write_http1_response},
    view::ResponseView,
};
use crate::{
    access::count::QuotaLeft,
    http1::{
        Framing,
        body::BodyError,
        message::{ReadError, Reader, Writer},
    },
    transport::Transport,
    worker::Worker,
};

/// Why a client can no longer be served.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It left before it was answered.
    #[error("client closed the connection")]
    Gone,
    /// It does not take its response, or does not go on with its request while the response has begun.
    #[error("client does not go on")]
    Stalled,
    /// Its connection failed.
    #[error("client connection: {0}")]
    Transport(#[from] io::Error),
    /// Its request body is malformed or cut short.
    #[error("client request body: {0}")]
    Body(BodyError),
    /// Its HTTP/2 stream failed.
    #[error("client stream: {0}")]
    Stream(#[from] h2::Error),
    /// The response cannot be expressed in HTTP/2.
    #[error("response cannot be sent over HTTP/2: {0}")]
    Response(#[from] http::Error),
}

impl From<ReadError> for ClientError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Transport(error) => Self::Transport(error),
            ReadError::Body(BodyError::Cut) => Self::Gone,
            ReadError::Body(error) => Self::Body(error),
        }
    }
}

/// A client on an HTTP/1 connection.
pub struct Http1Client<'c> {
    /// Who serves it.
    pub worker: &'c Worker,
    /// Its connection.
    pub transport: &'c mut Transport,
    /// What it sends.
    pub reader: &'c mut Reader,
    /// What it is sent.
    pub writer: &'c mut Writer,
    /// It speaks HTTP/1.0.
    pub http10: bool,
    /// It asked with HEAD.
    pub head_request: bool,
    /// It waits for `100 Continue`.
    pub expects_continue: bool,
    /// Another request may follow on the connection.
    pub keep_alive: bool,
    /// What the response tells of a quota.
    pub quota: Option<QuotaLeft>,
}

impl Http1Client<'_> {
    /// Answers without an upstream.
    pub fn answer(&mut self, answer: &Answer) {
        self.keep_alive &= self.reader.is_ended() && !self.worker.is_draining();
        let out = self.writer.begin(Framing::Length(answer.body.len() as u64));
        let status = http::StatusCode::from_u16(answer.status)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        write_answer_head(out, answer, status, self.keep_alive, self.http10);
        if !self.head_request {
            out.extend_from_slice(answer.body.as_bytes());
        }
    }
}

fn write_answer_head(
    out: &mut Vec<u8>,
    answer: &Answer,
    status: http::StatusCode,
    keep_alive: bool,
    http10: bool,
) {
    use std::io::Write as _;
    let reason = match status.as_u16() {
        499 => "Client Closed Request",
        _ => status.canonical_reason().unwrap_or(""),
    };
    write!(
        out,
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nDate: {}\r\n",
        status.as_u16(),
        answer.content_type,
        answer.body.len(),
        httpdate::HttpDate::from(std::time::SystemTime::now()),
    )
    .expect("writing to memory cannot fail");
    if answer.generator {
        out.extend_from_slice(b"X-Generator: portcullis\r\n");
    }
    if let Some(challenge) = &answer.authenticate {
        for part in ["WWW-Authenticate: ", challenge, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    for (name, value) in &answer.fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

impl Client for Http1Client<'_> {
    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ClientError>> {
        if self.expects_continue && !self.reader.is_ended() {
            if self.reader.chunk.is_empty() {
                self.transport
                    .push_small(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            self.expects_continue = false;
        }
        if !self.reader.is_ended() && self.transport.waiting() > 0 && self.writer.is_empty() {
            // The client waits for the interim response before it sends anything. That it cannot
            // be sent at once is no reason to stop reading.
            if let Poll::Ready(Err(error)) = self.transport.poll_flush(cx) {
                return Poll::Ready(Err(error.into()));
            }
        }
        self.reader
            .poll_content(self.transport, cx)
            .map_err(ClientError::from)
    }

    fn content(&self) -> &[u8] {
        self.reader.content()
    }

    fn took(&mut self, n: usize) {
        self.reader.took(n);
    }

    fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.reader
            .take_trailers()
            .map(|trailers| Box::new(forwardable_trailers(*trailers)))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What arrives now is the next request; it waits in the chunk, and no more than fits.
        while self.reader.chunk.len() < CHUNK_SIZE {
            match ready!(self.transport.poll_fill(cx, &mut self.reader.chunk)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    fn begin(&mut self, view: &ResponseView<'_>) -> Result<(), ClientError> {
        // A request that is still arriving cannot be followed by another, nor can any when the
        // worker was told to stop meanwhile.
        self.keep_alive &= self.reader.is_ended() && !self.worker.is_draining();
        let bodiless = self.head_request || view.status == 204 || view.status == 304;
        let unframed = matches!(view.framing, Framing::Chunked | Framing::UntilEnd);
        self.keep_alive &= !(self.http10 && unframed && !bodiless);
        let out = self.writer.begin(Framing::Length(0));
        if view.status == 101 {
            self.keep_alive = false;
            write_switch(out, view);
            return Ok(());
        }
        let head = ResponseHead {
            view,
            quota: self.quota,
        };
        let framing = write_http1_response(out, &head, self.http10, !self.keep_alive, !bodiless);
        self.writer.frame(framing);
        Ok(())
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<Result<usize, ClientError>> {
        self.writer
            .poll_content(self.transport, cx, content)
            .map_err(ClientError::from)
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientError> {
        self.writer.end(trailers.as_ref());
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        self.writer
            .poll_flush(self.transport, cx)
            .map_err(ClientError::from)
    }
}

/// The head of a 101, whose hop-by-hop fields are the point of it.
fn write_switch(out: &mut Vec<u8>, view: &ResponseView<'_>) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    view.fields.visit(&mut |name, value| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    });
    out.extend_from_slice(b"\r\n");
}

/// A client on an HTTP/2 stream.
pub struct Http2Client {
    request: RecvStream,
    respond: SendResponse<Bytes>,
    response: Option<SendStream<Bytes>>,
    /// Content of the request at hand.
    held: Bytes,
    trailers: Option<Box<HeaderMap>>,
    head_request: bool,
    /// Content bytes the response still owes, where its head said how many.
    owed: Option<u64>,
    ended: bool,
    /// What the response tells of a quota.
    pub quota: Option<QuotaLeft>,
}

impl Http2Client {
    /// A stream whose request head has been taken.
    pub fn new(request: RecvStream, respond: SendResponse<Bytes>, head_request: bool) -> Self {
        Self {
            request,
            respond,
            response: None,
            held: Bytes::new(),
            trailers: None,
            head_request,
            owed: None,
            ended: false,
            quota: None,
        }
    }

    /// Answers without an upstream.
    ///
    /// # Errors
    /// When the stream is gone.
    pub fn answer(&mut self, answer: &Answer) -> Result<(), ClientError> {
        let mut response = http::Response::builder()
            .status(answer.status)
            .header("content-type", &*answer.content_type)
            .header("content-length", answer.body.len())
            .header(
                "date",
                httpdate::fmt_http_date(std::time::SystemTime::now()),
            );
        if answer.generator {
            response = response.header("x-generator", "portcullis");
        }
        if let Some(challenge) = &answer.authenticate {
            response = response.header("www-authenticate", &**challenge);
        }
        for (name, value) in &answer.fields {
            response = response.header(name, value);
        }
        let bodiless = self.head_request || answer.body.is_empty();
        let mut stream = self.respond.send_response(response.body(())?, bodiless)?;
        if !bodiless {
            stream.send_data(Bytes::copy_from_slice(answer.body.as_bytes()), true)?;
        }
        self.ended = true;
        self.response = Some(stream);
        Ok(())
    }

    /// Waits until what was sent is on its way and the stream may be dropped.
    pub fn reset(&mut self, reason: h2::Reason) {
        match &mut self.response {
            Some(stream) => stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }
}

impl Client for Http2Client {
    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ClientError>> {
        while self.held.is_empty() {
            match ready!(self.request.poll_data(cx)) {
                Some(data) => self.held = data?,
                None => {
                    self.trailers = ready!(self.request.poll_trailers(cx))?
                        .map(forwardable_trailers)
                        .map(Box::new);
                    return Poll::Ready(Ok(false));
                }
            }
        }
        Poll::Ready(Ok(true))
    }

    fn content(&self) -> &[u8] {
        &self.held
    }

    fn took(&mut self, n: usize) {
        let _ = self.held.split_to(n);
        // Fails only when the stream is gone, which the next poll says.
        let _ = self.request.flow_control().release_capacity(n);
    }

    fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.trailers.take()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(drop)
    }

    fn begin(&mut self, view: &ResponseView<'_>) -> Result<(), ClientError> {
        let response = to_http2_response(&ResponseHead {
            view,
            quota: self.quota,
        })?;
        let bodiless = self.head_request || view.status == 204 || view.status == 304;
        self.ended = bodiless || view.framing == Framing::Length(0);
        self.owed = match view.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        self.response = Some(self.respond.send_response(response, self.ended)?);
        Ok(())
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<Result<usize, ClientError>> {
        let Some(stream) = self.response.as_mut().filter(|_| !self.ended) else {
            return Poll::Ready(Ok(content.len()));
        };
        if stream.capacity() == 0 {
            stream.reserve_capacity(content.len());
            match ready!(stream.poll_capacity(cx)) {
                Some(capacity) => drop(capacity?),
                None => return Poll::Ready(Err(ClientError::Gone)),
            }
        } else if stream.capacity() < content.len() {
            stream.reserve_capacity(content.len());
        }
        let n = stream.capacity().min(content.len());
        if n == 0 {
            // Capacity was taken back between two looks; the connection task wakes us again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(owed) = &mut self.owed {
            *owed = owed.saturating_sub(n as u64);
            self.ended = *owed == 0;
        }
        stream.send_data(Bytes::copy_from_slice(&content[..n]), self.ended)?;
        Poll::Ready(Ok(n))
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        if let Some(stream) = &mut self.response {
            match trailers {
                Some(trailers) => stream.send_trailers(trailers)?,
                None => stream.send_data(Bytes::new(), true)?,
            }
        }
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        // The connection's own task sends.
        Poll::Ready(Ok(()))
    }
}
