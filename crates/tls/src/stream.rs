//! A TLS connection over an asynchronous transport.
//!
//! The TLS engine reads and writes memory only: ciphertext arrives in a [`Chunk`] and leaves
//! through an [`Output`], both borrowed from the worker's pool while they hold bytes. One read
//! of the socket serves many records, and many records leave in one write: a 10 MiB download
//! costs a system call per 256 KiB, a handshake flight one, and what the engine has to say
//! after a handshake (session tickets) rides along with the first response.
//!
//! Invariants:
//! - Nothing reaches the peer before [`TlsStream::poll_flush`] or [`OUTPUT_TARGET`] waiting bytes.
//! - The end of the transport without the peer's close_notify is an error
//!   ([`io::ErrorKind::UnexpectedEof`]), never a clean end: a cut is not a goodbye.
//! - An idle stream holds no buffer.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use openssl::ssl::{ErrorCode, ShutdownState, Ssl, SslRef, SslStream, SslVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use portcullis_pki::PresentedChain;

use crate::{
    buffer::{Chunk, Output},
    client::Renegotiation,
    offer::{self, Offer},
    server::{ClientRefused, clients},
    sys,
};

/// Ciphertext waiting to be written beyond which a write waits for the transport, in bytes.
pub const OUTPUT_TARGET: usize = 256 * 1024;

/// Most plaintext encrypted by one call, so that the output overshoots its target only a little.
const WRITE_STEP: usize = 128 * 1024;

/// A TLS connection, after or during its handshake.
pub struct TlsStream<T> {
    engine: SslStream<Memory>,
    transport: T,
    /// The engine may hold plaintext, or whole records it has not looked at.
    may_have_plaintext: bool,
    /// Bytes of the peer have been looked at.
    spoken_to: bool,
}

/// Why a handshake did not finish.
#[derive(Debug)]
pub enum HandshakeError {
    /// The engine refused: bad message, no common version, alert received, untrusted peer.
    Tls(openssl::ssl::Error),
    /// The first byte is no TLS record but a letter: most likely a clear-text HTTP request.
    /// Nothing was sent; the transport can still carry a clear-text answer.
    ClearText,
    /// The transport failed or ended.
    Transport(io::Error),
}

/// What the engine reads from and writes to.
#[derive(Default)]
struct Memory {
    input: Chunk,
    output: Output,
}

impl Read for Memory {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = into.len().min(self.input.len());
        into[..n].copy_from_slice(&self.input.data()[..n]);
        self.input.consume(n);
        Ok(n)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> TlsStream<T> {
    /// A stream whose handshake has not begun. `ssl` says which side it plays.
    ///
    /// # Errors
    /// When the engine is out of memory.
    pub fn new(ssl: Ssl, transport: T) -> Result<Self, openssl::error::ErrorStack> {
        let engine = SslStream::new(ssl, Memory::default())?;
        Ok(Self {
            engine,
            transport,
            may_have_plaintext: false,
            spoken_to: false,
        })
    }

    /// Ciphertext that was read before the handshake began, by whoever looked at the first bytes.
    /// Returns false when it is more than a [`Chunk`] holds.
    pub fn prefill(&mut self, bytes: &[u8]) -> bool {
        self.engine.get_mut().input.prefill(bytes)
    }

    /// Runs the handshake of the side that the session was made for.
    ///
    /// On failure what the engine had to say (an alert) has been sent as far as the transport
    /// took it. After success a TLS 1.3 server's tickets wait for the first flush.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        loop {
            if !self.spoken_to
                && let Some(first) = self.engine.get_ref().input.data().first()
            {
                if first.is_ascii_uppercase() && self.ssl().is_server() {
                    return Poll::Ready(Err(HandshakeError::ClearText));
                }
                self.spoken_to = true;
            }
            match self.engine.do_handshake() {
                Ok(()) => {
                    self.may_have_plaintext = true;
                    let ssl = self.ssl();
                    if !ssl.is_server() && ssl.selected_alpn_protocol() == Some(b"h2") {
                        // RFC 9113, section 9.2.1.
                        let ssl = sys::exclusive(&mut self.engine);
                        sys::set_renegotiation(ssl, Renegotiation::Refused);
                    }
                    let server_tls13 =
                        self.ssl().is_server() && self.ssl().version2() == Some(SslVersion::TLS1_3);
                    if !server_tls13 {
                        ready!(self.poll_send(cx)).map_err(HandshakeError::Transport)?;
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.code() == ErrorCode::WANT_READ => {
                    ready!(self.poll_send(cx)).map_err(HandshakeError::Transport)?;
                    if ready!(self.poll_receive(cx)).map_err(HandshakeError::Transport)? == 0 {
                        let eof = io::ErrorKind::UnexpectedEof.into();
                        return Poll::Ready(Err(HandshakeError::Transport(eof)));
                    }
                }
                Err(error) => {
                    // The alert; a transport that cannot take it now will not get it.
                    let _ = self.poll_send(cx);
                    return Poll::Ready(Err(HandshakeError::Tls(error)));
                }
            }
        }
    }

    /// Who a server's handshake that is over has let in: the client's chain, if it presented one. Nothing
    /// may be read from the client before.
    ///
    /// # Errors
    /// The client has to be refused; the alert waits for the next flush.
    pub fn admit(&mut self) -> Result<Option<Arc<PresentedChain>>, ClientRefused> {
        let client = clients::admitted(self.engine.ssl())?;
        drop(self.take_offer());
        Ok(client)
    }

    /// What the client of a server's handshake that failed had offered, once; nothing when its ClientHello
    /// could not be read, or once it is admitted.
    pub fn take_offer(&mut self) -> Option<Box<Offer>> {
        offer::take(sys::exclusive(&mut self.engine))
    }

    /// Why the handshake refused the client, where its certificate was the reason.
    pub fn refused(&self) -> Option<&ClientRefused> {
        clients::refused(self.engine.ssl())
    }

    /// Plaintext of the peer into `into`; zero after the peer's goodbye.
    ///
    /// # Errors
    /// What the transport says, `UnexpectedEof` for an end without goodbye, `InvalidData` for
    /// what the engine refuses.
    pub fn poll_read_plain(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.may_have_plaintext || !self.engine.get_ref().input.is_empty() {
                match self.engine.ssl_read(into) {
                    Ok(n) => {
                        self.may_have_plaintext = n == into.len();
                        return Poll::Ready(Ok(n));
                    }
                    Err(error) => match error.code() {
                        ErrorCode::ZERO_RETURN => return Poll::Ready(Ok(0)),
                        ErrorCode::WANT_READ => {
                            self.may_have_plaintext = false;
                            if sys::in_handshake(self.ssl()) {
                                // Our part of another handshake.
                                ready!(self.poll_send(cx))?;
                            }
                        }
                        _ => {
                            let _ = self.poll_send(cx);
                            return Poll::Ready(Err(into_io(error)));
                        }
                    },
                }
            }
            if ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Encrypts `bytes`, or the first part of them, into the output.
    ///
    /// # Errors
    /// What the transport says when the output had to be written first.
    pub fn poll_write_plain(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.engine.get_ref().output.len() >= OUTPUT_TARGET {
            ready!(self.poll_send(cx))?;
        }
        let step = &bytes[..bytes.len().min(WRITE_STEP)];
        loop {
            match self.engine.ssl_write(step) {
                Ok(n) => return Poll::Ready(Ok(n)),
                // Another handshake comes first.
                Err(error) if error.code() == ErrorCode::WANT_READ => {
                    ready!(self.poll_send(cx))?;
                    if ready!(self.poll_receive(cx))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
                Err(error) => return Poll::Ready(Err(into_io(error))),
            }
        }
    }

    /// Encrypts all of a small piece (a head, a chunk size), however much waits already.
    ///
    /// # Errors
    /// `InvalidData` when the engine cannot encrypt.
    pub fn push_small(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.engine.ssl_write(bytes).map(drop).map_err(into_io)
    }

    /// Writes everything encrypted so far to the transport.
    ///
    /// # Errors
    /// What the transport says.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            engine, transport, ..
        } = self;
        let output = &mut engine.get_mut().output;
        while !output.is_empty() {
            match ready!(Pin::new(&mut *transport).poll_write(cx, output.data()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => output.sent(n),
            }
        }
        // A socket keeps nothing back; a TLS connection that carries this one does.
        Pin::new(transport).poll_flush(cx)
    }

    /// Queues close_notify behind what was written; the next flush sends both in one write.
    pub fn queue_goodbye(&mut self) {
        if !self.engine.get_shutdown().contains(ShutdownState::SENT) {
            // An error here means the connection is already broken; there is nobody to tell.
            let _ = self.engine.shutdown();
        }
    }

    /// Encrypted bytes waiting to be written.
    pub fn waiting(&self) -> usize {
        self.engine.get_ref().output.len()
    }

    /// The engine's session: version, cipher, SNI, certificates.
    pub fn ssl(&self) -> &SslRef {
        self.engine.ssl()
    }

    /// The transport below.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The transport below. Reading or writing it directly breaks the TLS stream.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// One read of the transport into the input; holds no memory while it waits.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self {
            engine, transport, ..
        } = self;
        let input = &mut engine.get_mut().input;
        let mut space = ReadBuf::new(input.space());
        let result = Pin::new(transport).poll_read(cx, &mut space);
        let n = space.filled().len();
        input.filled(n);
        input.release_if_empty();
        result.map_ok(|()| n)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = ready!(
            self.get_mut()
                .poll_read_plain(cx, into.initialize_unfilled())
        )?;
        into.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_plain(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let total: usize = slices.iter().map(|s| s.len()).sum();
        let first = slices.iter().find(|s| !s.is_empty());
        match first {
            None => Poll::Ready(Ok(0)),
            // Small pieces travel in one record: one seal, one record header.
            Some(first) if total <= COALESCE && first.len() < total => {
                let mut record = Output::new();
                slices.iter().for_each(|s| record.push(s));
                this.poll_write_plain(cx, record.data())
            }
            Some(first) => this.poll_write_plain(cx, first),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.queue_goodbye();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.transport).poll_shutdown(cx)
    }
}

/// Most bytes of a vectored write that are copied together into one record: a full record.
const COALESCE: usize = 16 * 1024;

fn into_io(error: openssl::ssl::Error) -> io::Error {
    match error.into_io_error() {
        Ok(io) => io,
        Err(tls) => io::Error::new(io::ErrorKind::InvalidData, tls),
    }
}
