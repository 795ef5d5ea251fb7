//! Reading and writing one HTTP/1 message at a time over a transport.
//!
//! Client and upstream connections both read bodies with a [`Reader`] and write messages with a
//! [`Writer`]; only their heads differ.

use std::{
    io,
    io::Write as _,
    task::{Context, Poll, ready},
};

use http::HeaderMap;
use portcullis_tls::buffer::{Chunk, Output};

use super::body::{BodyDecoder, BodyError, Decoded, Framing};
use crate::transport::Transport;

/// Largest piece put together before it is handed to the transport: one full TLS record.
const RECORD: usize = 16 * 1024;

/// Room for a chunk's size line and the line ends around its content.
const CHUNK_OVERHEAD: usize = 16;

/// Content at least this large goes to the transport as it is, uncopied.
const DIRECT: usize = 8 * 1024;

/// Why reading a message failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] io::Error),
    /// The body is malformed or cut short.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// The receiving side: bytes at hand and where the body in them ends.
pub struct Reader {
    /// Bytes received and not yet understood.
    pub chunk: Chunk,
    decoder: BodyDecoder,
    /// Content at the front of `chunk`.
    content: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            chunk: Chunk::new(),
            decoder: BodyDecoder::new(Framing::Length(0)),
            content: 0,
        }
    }
}

impl Reader {
    /// Starts the body of a message whose head has been consumed.
    pub fn begin(&mut self, framing: Framing) {
        self.decoder = BodyDecoder::new(framing);
        self.content = 0;
    }

    /// True when the body is over.
    pub fn is_ended(&self) -> bool {
        self.decoder.is_ended()
    }

    /// Waits for content: true when [`Reader::content`] has some, false when the body is over.
    ///
    /// # Errors
    /// [`ReadError`]; the connection must be closed.
    pub fn poll_content(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, ReadError>> {
        if self.content > 0 {
            return Poll::Ready(Ok(true));
        }
        loop {
            match self.decoder.decode(self.chunk.data())? {
                Decoded::Content { skip, length } => {
                    self.chunk.consume(skip);
                    self.content = length;
                    return Poll::Ready(Ok(true));
                }
                Decoded::End { skip } => {
                    self.chunk.consume(skip);
                    return Poll::Ready(Ok(false));
                }
                Decoded::More { skip } => self.chunk.consume(skip),
            }
            match ready!(transport.poll_fill(cx, &mut self.chunk)) {
                Ok(0) => {
                    self.decoder.connection_ended()?;
                    return Poll::Ready(Ok(false));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// The content at hand.
    pub fn content(&self) -> &[u8] {
        &self.chunk.data()[..self.content]
    }

    /// Records that `n` bytes of content were used.
    pub fn took(&mut self, n: usize) {
        self.content -= n;
        self.decoder.took(n);
        self.chunk.consume(n);
    }

    /// Trailers of a body that is over.
    pub fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.decoder.take_trailers()
    }
}

/// The sending side: a head and body put together so that they leave in few records.
pub struct Writer {
    stage: Output,
    framing: Framing,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            stage: Output::new(),
            framing: Framing::Length(0),
        }
    }
}

impl Writer {
    /// Starts a message: the vector takes its head.
    pub fn begin(&mut self, framing: Framing) -> &mut Vec<u8> {
        self.framing = framing;
        self.stage.writer()
    }

    /// Says how the body of the message begun is framed.
    pub fn frame(&mut self, framing: Framing) {
        self.framing = framing;
    }

    /// True when nothing is put together.
    pub fn is_empty(&self) -> bool {
        self.stage.is_empty()
    }

    /// Takes content; how much it took.
    ///
    /// # Errors
    /// What the transport says.
    pub fn poll_content(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<io::Result<usize>> {
        if content.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(transport.poll_ready(cx))?;
        if self.framing == Framing::Chunked {
            if self.stage.len() + CHUNK_OVERHEAD >= RECORD {
                self.hand_over(transport)?;
            }
            let n = content
                .len()
                .min(RECORD - CHUNK_OVERHEAD - self.stage.len());
            let stage = self.stage.writer();
            write!(stage, "{n:x}\r\n").expect("writing to memory cannot fail");
            stage.extend_from_slice(&content[..n]);
            stage.extend_from_slice(b"\r\n");
            return Poll::Ready(Ok(n));
        }
        if self.stage.is_empty() && content.len() >= DIRECT {
            return transport.poll_push(cx, content);
        }
        if self.stage.len() >= RECORD {
            self.hand_over(transport)?;
        }
        let n = content.len().min(RECORD - self.stage.len());
        self.stage.push(&content[..n]);
        Poll::Ready(Ok(n))
    }

    /// Ends the message; trailers are sent where the framing has room for them.
    ///
    /// # Errors
    /// What the transport says.
    pub fn end(&mut self, trailers: Option<&HeaderMap>) {
        if self.framing != Framing::Chunked {
            return;
        }
        let stage = self.stage.writer();
        stage.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            stage.extend_from_slice(name.as_str().as_bytes());
            stage.extend_from_slice(b": ");
            stage.extend_from_slice(value.as_bytes());
            stage.extend_from_slice(b"\r\n");
        }
        stage.extend_from_slice(b"\r\n");
    }

    /// Hands everything to the transport and sends it.
    ///
    /// # Errors
    /// What the transport says.
    pub fn poll_flush(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.stage.is_empty() {
            self.hand_over(transport)?;
        }
        transport.poll_flush(cx)
    }

    /// Hands everything to the transport without sending it.
    ///
    /// # Errors
    /// When the TLS engine cannot encrypt.
    pub fn hand_over(&mut self, transport: &mut Transport) -> io::Result<()> {
        transport.push_small(self.stage.data())?;
        self.stage.clear();
        Ok(())
    }
}
