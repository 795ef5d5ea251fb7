//! A byte stream to a client or an upstream: a TCP socket, bare or under TLS, or under TLS twice where the
//! way to an upstream leads through a proxy that speaks TLS itself.
//!
//! Everything above speaks to this one type, so the HTTP engines do not care whether a hop is
//! encrypted. All kinds collect what is written until somebody flushes, which is how a response
//! head, its body and a closing TLS record leave in one system call.
//!
//! Invariants:
//! - Written bytes reach the peer in order, and only by [`Transport::poll_flush`] or when more
//!   than [`OUTPUT_TARGET`] bytes wait.
//! - An idle transport holds no buffer.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use openssl::ssl::SslRef;
use portcullis_tls::{
    buffer::{Chunk, Output},
    stream::{OUTPUT_TARGET, TlsStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A TCP socket, bare or under TLS.
pub enum Transport {
    /// Clear text.
    Plain(Plain),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// Encrypted for an upstream, inside what is encrypted for a proxy.
    Nested(Box<TlsStream<TlsStream<TcpStream>>>),
}

/// A bare socket that collects what is written.
pub struct Plain {
    socket: TcpStream,
    /// Bytes read by whoever looked at the start of the connection.
    early: Chunk,
    output: Output,
}

/// Slices at least this large bypass the output when nothing waits before them.
const DIRECT: usize = 16 * 1024;

impl Transport {
    /// A bare socket; `early` are bytes already read from it.
    pub fn plain(socket: TcpStream, early: Chunk) -> Self {
        Self::Plain(Plain {
            socket,
            early,
            output: Output::new(),
        })
    }

    /// Reads into the free space of `chunk`; zero means the peer ended its side.
    ///
    /// # Errors
    /// What the socket or the TLS engine says; under TLS an end without goodbye is
    /// `UnexpectedEof`.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Chunk,
    ) -> Poll<io::Result<usize>> {
        let result = match self {
            Self::Tls(tls) => {
                let space = chunk.space();
                tls.poll_read_plain(cx, space)
            }
            Self::Nested(tls) => {
                let space = chunk.space();
                tls.poll_read_plain(cx, space)
            }
            Self::Plain(plain) if !plain.early.is_empty() => {
                let space = chunk.space();
                let n = space.len().min(plain.early.len());
                space[..n].copy_from_slice(&plain.early.data()[..n]);
                plain.early.consume(n);
                Poll::Ready(Ok(n))
            }
            Self::Plain(plain) => {
                let mut space = ReadBuf::new(chunk.space());
                match Pin::new(&mut plain.socket).poll_read(cx, &mut space) {
                    Poll::Ready(Ok(())) => Poll::Ready(Ok(space.filled().len())),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            }
        };
        if let Poll::Ready(Ok(n)) = &result {
            chunk.filled(*n);
        }
        chunk.release_if_empty();
        result
    }

    /// Takes bytes to be sent; how many it took. Waits only while too much is waiting already.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_push(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tls(tls) => tls.poll_write_plain(cx, bytes),
            Self::Nested(tls) => tls.poll_write_plain(cx, bytes),
            Self::Plain(plain) => plain.poll_push(cx, bytes),
        }
    }

    /// Puts bytes back that were read by [`Transport::poll_fill`] and turned out to be for somebody
    /// else. Only for clear text, right after it was opened.
    pub fn give_back(&mut self, bytes: Chunk) {
        if let Self::Plain(plain) = self {
            debug_assert!(plain.early.is_empty(), "early bytes were all read before");
            plain.early = bytes;
        }
    }

    /// Waits until so little is waiting to be sent that more may be taken.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting() < OUTPUT_TARGET {
            Poll::Ready(Ok(()))
        } else {
            self.poll_flush(cx)
        }
    }

    /// Takes all of a small piece (a head, a chunk size) without waiting.
    ///
    /// # Errors
    /// When the TLS engine cannot encrypt.
    pub fn push_small(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.push_small(bytes),
            Self::Nested(tls) => tls.push_small(bytes),
            Self::Plain(plain) => {
                plain.output.push(bytes);
                Ok(())
            }
        }
    }

    /// Sends everything taken so far.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(tls) => tls.poll_send(cx),
            Self::Nested(tls) => tls.poll_send(cx),
            Self::Plain(plain) => plain.poll_send(cx),
        }
    }

    /// Bytes waiting to be sent.
    pub fn waiting(&self) -> usize {
        match self {
            Self::Tls(tls) => tls.waiting(),
            Self::Nested(tls) => tls.waiting() + tls.transport().waiting(),
            Self::Plain(plain) => plain.output.len(),
        }
    }

    /// Queues the end of our side where the protocol has a message for it (close_notify), so
    /// that it leaves with the last bytes.
    pub fn queue_goodbye(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(tls) => tls.queue_goodbye(),
            Self::Nested(tls) => tls.queue_goodbye(),
        }
    }

    /// Ends our side: goodbye, flush, FIN.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queue_goodbye();
        ready!(self.poll_flush(cx))?;
        match self {
            Self::Plain(plain) => Pin::new(&mut plain.socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.transport_mut()).poll_shutdown(cx),
            Self::Nested(tls) => Pin::new(tls.transport_mut()).poll_shutdown(cx),
        }
    }

    /// True when the peer has closed, or sent something while nothing was expected.
    /// Costs no system call while the socket is quiet; TLS housekeeping is not data.
    pub fn is_stale(&mut self) -> bool {
        let mut unexpected = Chunk::new();
        let mut nobody = Context::from_waker(Waker::noop());
        self.poll_fill(&mut nobody, &mut unexpected).is_ready()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// When the socket is no longer connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tls(tls) => tls.transport().peer_addr(),
            Self::Nested(tls) => tls.transport().transport().peer_addr(),
            Self::Plain(plain) => plain.socket.peer_addr(),
        }
    }

    /// The TLS session of what is written here, `None` on clear text.
    pub fn session(&self) -> Option<&SslRef> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls.ssl()),
            Self::Nested(tls) => Some(tls.ssl()),
        }
    }
}

impl Plain {
    fn poll_push(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.output.is_empty() && bytes.len() >= DIRECT {
            return Pin::new(&mut self.socket).poll_write(cx, bytes);
        }
        if self.output.len() >= OUTPUT_TARGET {
            ready!(self.poll_send(cx))?;
        }
        let n = bytes.len().min(OUTPUT_TARGET);
        self.output.push(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, self.output.data()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.output.sent(n),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// For the HTTP/2 engine, which does its own framing and flushing.
impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, into),
            Self::Nested(tls) => Pin::new(tls.as_mut()).poll_read(cx, into),
            Self::Plain(plain) if !plain.early.is_empty() => {
                let n = into.remaining().min(plain.early.len());
                into.put_slice(&plain.early.data()[..n]);
                plain.early.consume(n);
                Poll::Ready(Ok(()))
            }
            Self::Plain(plain) => Pin::new(&mut plain.socket).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_push(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
            Self::Nested(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
            Self::Plain(plain) => {
                if plain.output.len() >= OUTPUT_TARGET {
                    ready!(plain.poll_send(cx))?;
                }
                slices.iter().for_each(|slice| plain.output.push(slice));
                Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Transport::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_finish(cx)
    }
}
