//! The load generator's building blocks: a way to connect, HTTP/1.1 and HTTP/2.
//!
//! One generator for every peer, so that a difference between two peers is never a
//! difference between two clients. Every response is checked; nothing that went
//! wrong is ever counted as done.

pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod light;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion,
};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

/// The groups every connection offers, in the order `openssl s_client` does; the key share
/// is for the first. All peers know it, so all of them do the same key exchange.
const GROUPS: &str = "X25519:P-256:P-521:P-384";

/// The name the server certificate carries.
pub(crate) const SERVER_NAME: &str = "localhost";

/// An established connection: TLS or plain.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What went wrong with one request.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    #[error("connecting failed: {0}")]
    Connect(String),
    #[error("the handshake failed: {0}")]
    Handshake(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the server closed the connection before the response was complete")]
    Closed,
    #[error("the server kept open a connection it was asked to close")]
    NotClosed,
    #[error("the response head is not HTTP/1.1 as expected: {0}")]
    Head(String),
    #[error("the status is {0}")]
    Status(u16),
    #[error("the body has {got} bytes instead of {expected}")]
    Length { got: u64, expected: u64 },
    #[error("the body is not what the upstream sent")]
    Body,
    #[error("HTTP/2: {0}")]
    Http2(String),
    #[error("no answer within {0} s")]
    Late(u64),
}

impl Failure {
    fn broken(error: &io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What the client offers as application protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Http1,
    Http2,
}

impl Offer {
    /// The protocol's name in ALPN.
    pub(crate) fn protocol(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// Files with a client's certificate and key, where it is to present one.
pub(crate) type Identity<'a> = Option<(&'a Path, &'a Path)>;

/// How to reach a peer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dial {
    address: SocketAddr,
    tls: Option<SslContext>,
    server_name: Arc<str>,
    read_buffer: usize,
}

impl Dial {
    /// Plain bytes, for the bare relay.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            server_name: SERVER_NAME.into(),
            read_buffer: 8 * 1024,
        }
    }

    /// TLS 1.3 with a full handshake each time: no session is kept, none is offered.
    ///
    /// The generator does not verify the certificate: that is its own work, on its own core, and
    /// [`Dial::verifying`] has done it before the load starts.
    pub(crate) fn tls(
        address: SocketAddr,
        offer: Offer,
        client: Identity<'_>,
    ) -> Result<Self, ErrorStack> {
        Self::with(address, offer, SslVersion::TLS1_3, None, client)
    }

    /// Like [`Dial::tls`], in exactly `version`, verifying the chain against `authority`.
    pub(crate) fn verifying(
        address: SocketAddr,
        offer: Offer,
        version: SslVersion,
        authority: &Path,
        client: Identity<'_>,
    ) -> Result<Self, ErrorStack> {
        Self::with(address, offer, version, Some(authority), client)
    }

    /// Reads up to `bytes` from the socket at a time.
    pub(crate) fn reading(mut self, bytes: usize) -> Self {
        self.read_buffer = bytes;
        self
    }

    /// Names another host to the server.
    pub(crate) fn named(mut self, server_name: &str) -> Self {
        self.server_name = server_name.into();
        self
    }

    /// Connects and, when the peer speaks TLS, completes the handshake.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Wire>, Failure> {
        if self.tls.is_some() {
            return Ok(Box::new(self.connect_tls().await?));
        }
        Ok(Box::new(self.connect_tcp().await?))
    }

    /// Connects and completes the handshake; the stream tells what was agreed on.
    ///
    /// # Panics
    /// When this dials plain bytes.
    pub(crate) async fn connect_tls(&self) -> Result<SslStream<BufReader<TcpStream>>, Failure> {
        let context = self.tls.as_ref().expect("dials TLS");
        let socket = self.connect_tcp().await?;
        let handshake = |error: ErrorStack| Failure::Handshake(error.to_string());
        let mut ssl = Ssl::new(context).map_err(handshake)?;
        ssl.set_hostname(&self.server_name).map_err(handshake)?;
        let mut stream = SslStream::new(ssl, socket).map_err(handshake)?;
        Pin::new(&mut stream)
            .connect()
            .await
            .map_err(|error| Failure::Handshake(error.to_string()))?;
        Ok(stream)
    }

    async fn connect_tcp(&self) -> Result<BufReader<TcpStream>, Failure> {
        let connect = |error: io::Error| Failure::Connect(error.to_string());
        let socket = TcpStream::connect(self.address).await.map_err(connect)?;
        socket.set_nodelay(true).map_err(connect)?;
        Ok(BufReader::with_capacity(self.read_buffer, socket))
    }

    fn with(
        address: SocketAddr,
        offer: Offer,
        version: SslVersion,
        authority: Option<&Path>,
        client: Identity<'_>,
    ) -> Result<Self, ErrorStack> {
        let mut context = SslContextBuilder::new(SslMethod::tls_client())?;
        context.set_min_proto_version(Some(version))?;
        context.set_max_proto_version(Some(version))?;
        context.set_groups_list(GROUPS)?;
        if let Some((certificate, key)) = client {
            context.set_certificate_file(certificate, SslFiletype::PEM)?;
            context.set_private_key_file(key, SslFiletype::PEM)?;
        }
        let protocol = offer.protocol();
        let mut wire_format = vec![u8::try_from(protocol.len()).expect("a short name")];
        wire_format.extend_from_slice(protocol);
        context.set_alpn_protos(&wire_format)?;
        match authority {
            Some(authority) => {
                context.set_ca_file(authority)?;
                context.verify_param_mut().set_host(SERVER_NAME)?;
                context.set_verify(SslVerifyMode::PEER);
            }
            None => context.set_verify(SslVerifyMode::NONE),
        }
        Ok(Self {
            address,
            tls: Some(context.build()),
            server_name: SERVER_NAME.into(),
            read_buffer: 8 * 1024,
        })
    }
}
