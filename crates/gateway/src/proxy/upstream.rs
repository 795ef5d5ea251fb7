//! The two kinds of upstreams an exchange speaks to: one HTTP/1 connection, or one HTTP/2 stream.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::HeaderMap;

use super::{exchange::Upstream, forward::forwardable_trailers, view::ResponseView};
use crate::{
    http1::{
        Framing, HeadError,
        body::BodyError,
        head::{self, HeadLimits},
        message::{ReadError, Reader, Writer},
    },
    transport::Transport,
};

/// Bounds of a response head.
const LIMITS: HeadLimits = HeadLimits {
    bytes: portcullis_tls::buffer::CHUNK_SIZE,
    fields: head::MAX_FIELDS,
};

/// Why an upstream failed once it was connected.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It closed before it said anything: on a reused connection, most likely it had closed already.
    #[error("upstream closed the connection before it answered")]
    Silent,
    /// The connection failed.
    #[error("upstream connection: {0}")]
    Transport(#[from] io::Error),
    /// Its response head is malformed.
    #[error("upstream response: {0}")]
    Head(#[from] HeadError),
    /// Its response body is malformed or cut short.
    #[error("upstream response body: {0}")]
    Body(BodyError),
    /// It switched to another protocol without being asked.
    #[error("upstream switched protocols, which nobody asked for")]
    Switch,
    /// The proxy that forwards requests wants to be told who asks, or is not content with what it was told.
    #[error("Proxy Authentication Required (407 from the proxy)")]
    ByProxy,
    /// Its HTTP/2 stream failed.
    #[error("upstream stream: {0}")]
    Stream(#[from] h2::Error),
}

impl From<ReadError> for UpstreamError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Transport(error) => Self::Transport(error),
            ReadError::Body(error) => Self::Body(error),
        }
    }
}

/// An HTTP/1 connection to an upstream.
pub struct Http1Upstream {
    transport: Transport,
    reader: Reader,
    writer: Writer,
    head_request: bool,
    keep_alive: bool,
    /// The current request has been answered with at least a byte.
    answered: bool,
    /// The current request was sent to its end.
    request_ended: bool,
}

impl Http1Upstream {
    /// A connection that has carried nothing yet.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            reader: Reader::default(),
            writer: Writer::default(),
            head_request: false,
            keep_alive: true,
            answered: false,
            request_ended: false,
        }
    }

    /// Begins a request with its head as bytes.
    pub fn begin(&mut self, head: &[u8], framing: Framing, head_request: bool) {
        self.head_request = head_request;
        self.answered = false;
        self.request_ended = false;
        self.writer.begin(framing).extend_from_slice(head);
    }

    /// True when the connection may carry another request.
    pub fn is_reusable(&self) -> bool {
        self.keep_alive
            && self.request_ended
            && self.reader.is_ended()
            && self.reader.chunk.is_empty()
    }

    /// True when the peer has closed it while it was idle, or said something unasked.
    pub fn is_stale(&mut self) -> bool {
        self.transport.is_stale()
    }

    /// The transport and what was read beyond the response head, for a switched protocol.
    pub fn into_parts(self) -> (Transport, portcullis_tls::buffer::Chunk) {
        (self.transport, self.reader.chunk)
    }
}

impl Upstream for Http1Upstream {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<Result<usize, UpstreamError>> {
        self.writer
            .poll_content(&mut self.transport, cx, content)
            .map_err(UpstreamError::from)
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), UpstreamError> {
        self.writer.end(trailers.as_ref());
        self.request_ended = true;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        self.writer
            .poll_flush(&mut self.transport, cx)
            .map_err(UpstreamError::from)
    }

    fn poll_head<R>(
        &mut self,
        cx: &mut Context<'_>,
        on_head: impl FnOnce(&ResponseView<'_>) -> R,
    ) -> Poll<Result<R, UpstreamError>> {
        loop {
            if !self.reader.chunk.is_empty() {
                let mut space = head::field_space();
                match head::response(
                    self.reader.chunk.data(),
                    LIMITS,
                    self.head_request,
                    &mut space,
                )? {
                    Some(head) if head.status < 200 && head.status != 101 => {
                        let length = head.length;
                        self.reader.chunk.consume(length);
                        continue;
                    }
                    Some(head) => {
                        let view = ResponseView {
                            status: head.status,
                            reason: head.reason,
                            fields: &head.fields,
                            framing: head.framing,
                        };
                        let seen = on_head(&view);
                        let (length, framing) = (head.length, head.framing);
                        self.keep_alive = head.keep_alive;
                        self.reader.chunk.consume(length);
                        self.reader.begin(framing);
                        return Poll::Ready(Ok(seen));
                    }
                    None => {}
                }
            }
            match ready!(self.transport.poll_fill(cx, &mut self.reader.chunk)) {
                Ok(0) if !self.answered => return Poll::Ready(Err(UpstreamError::Silent)),
                Ok(0) => return Poll::Ready(Err(UpstreamError::Body(BodyError::Cut))),
                Ok(_) => self.answered = true,
                Err(error) if !self.answered && ended(&error) => {
                    return Poll::Ready(Err(UpstreamError::Silent));
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, UpstreamError>> {
        self.reader
            .poll_content(&mut self.transport, cx)
            .map_err(UpstreamError::from)
    }

    fn content(&self) -> &[u8] {
        self.reader.content()
    }

    fn took(&mut self, n: usize) {
        self.reader.took(n);
    }

    fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.reader
            .take_trailers()
            .map(|trailers| forwardable_trailers(*trailers))
    }
}

/// Ways in which a connection that the peer had closed already says so.
fn ended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}

/// An HTTP/2 stream to an upstream.
pub struct Http2Upstream {
    response: ResponseFuture,
    request: SendStream<Bytes>,
    body: Option<RecvStream>,
    held: Bytes,
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl Http2Upstream {
    /// A stream whose request head has been sent; `ended` when the request has no body.
    pub fn new(response: ResponseFuture, request: SendStream<Bytes>, ended: bool) -> Self {
        Self {
            response,
            request,
            body: None,
            held: Bytes::new(),
            trailers: None,
            ended,
        }
    }
}

impl Upstream for Http2Upstream {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<Result<usize, UpstreamError>> {
        if self.request.capacity() < content.len() {
            self.request.reserve_capacity(content.len());
        }
        if self.request.capacity() == 0 {
            match ready!(self.request.poll_capacity(cx)) {
                Some(capacity) => drop(capacity?),
                None => return Poll::Ready(Err(UpstreamError::Silent)),
            }
        }
        let n = self.request.capacity().min(content.len());
        if n == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.request
            .send_data(Bytes::copy_from_slice(&content[..n]), false)?;
        Poll::Ready(Ok(n))
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), UpstreamError> {
        if !std::mem::replace(&mut self.ended, true) {
            match trailers {
                Some(trailers) => self.request.send_trailers(trailers)?,
                None => self.request.send_data(Bytes::new(), true)?,
            }
        }
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        // The connection's own task sends.
        Poll::Ready(Ok(()))
    }

    fn poll_head<R>(
        &mut self,
        cx: &mut Context<'_>,
        on_head: impl FnOnce(&ResponseView<'_>) -> R,
    ) -> Poll<Result<R, UpstreamError>> {
        let response = ready!(Pin::new(&mut self.response).poll(cx))?;
        let (parts, body) = response.into_parts();
        let length = parts
            .headers
            .get("content-length")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let framing = match length {
            _ if body.is_end_stream() => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        let view = ResponseView {
            status: parts.status.as_u16(),
            reason: "",
            fields: &parts.headers,
            framing,
        };
        let seen = on_head(&view);
        self.body = Some(body);
        Poll::Ready(Ok(seen))
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, UpstreamError>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Ok(false));
        };
        while self.held.is_empty() {
            match ready!(body.poll_data(cx)) {
                Some(data) => self.held = data?,
                None => {
                    self.trailers = ready!(body.poll_trailers(cx))?.map(forwardable_trailers);
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
        if let Some(body) = &mut self.body {
            // Fails only when the stream is gone, which the next poll says.
            let _ = body.flow_control().release_capacity(n);
        }
    }

    fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }
}
