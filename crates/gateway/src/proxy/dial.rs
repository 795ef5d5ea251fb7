//! New connections to upstreams: straight, or by way of a forward proxy.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use portcullis_tls::{
    buffer::Chunk,
    client::ClientConfig,
    failure::UpstreamTlsFailure,
    stream::{HandshakeError, TlsStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    hop::{Hop, HopError},
    pool::{Endpoint, EndpointTls},
};
use crate::{timers::Timers, transport::Transport};

/// A TLS handshake with an upstream may take this long.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// The way to an endpoint.
#[derive(Debug, Clone)]
pub enum Way {
    /// Straight.
    Direct,
    /// A proxy reads each request and forwards it; connections end there and carry requests for many
    /// places (RFC 9112, section 3.2.2).
    Forwarded(Arc<Hop>),
    /// A tunnel through a proxy, with the place named once at its beginning (RFC 9110, section 9.3.6).
    Tunnelled(Arc<Hop>),
    /// There is to be a proxy and it cannot be used, for this reason; no other way is taken instead.
    Barred(Arc<str>),
}

impl Way {
    /// The proxy, if the way leads through one.
    pub fn hop(&self) -> Option<&Hop> {
        match self {
            Self::Forwarded(hop) | Self::Tunnelled(hop) => Some(hop),
            Self::Direct | Self::Barred(_) => None,
        }
    }

    /// The proxy that forwards each request.
    pub fn forwarder(&self) -> Option<&Hop> {
        match self {
            Self::Forwarded(hop) => Some(hop),
            Self::Direct | Self::Tunnelled(_) | Self::Barred(_) => None,
        }
    }
}

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot resolve `{host}`: {source}")]
    Lookup {
        /// The name.
        host: Box<str>,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address could be connected to.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Connecting took too long.
    #[error("connecting to `{0}` took too long (i/o timeout)")]
    DialTimeout(Box<str>),
    /// The TLS handshake took too long.
    #[error("TLS handshake with `{0}` timed out")]
    HandshakeTimeout(Box<str>),
    /// The TLS handshake failed.
    #[error("TLS handshake with upstream: {0}")]
    Tls(UpstreamTlsFailure),
    /// There can be no TLS handshake, because of our own side.
    #[error("no connection to upstream: {0}")]
    Unready(UpstreamTlsFailure),
    /// The connection ended in the handshake.
    #[error("connection ended during the handshake: {0}")]
    Ended(io::Error),
    /// The TLS library cannot begin a session.
    #[error("cannot begin a TLS session: {0}")]
    Setup(openssl::error::ErrorStack),
    /// HTTP/2 could not be started.
    #[error("HTTP/2 with upstream: {0}")]
    Http2(h2::Error),
    /// The way through a forward proxy ends at it; the upstream has seen nothing.
    #[error(transparent)]
    Proxy(Box<HopError>),
}

/// Connects by the endpoint's way and, where the endpoint asks for it, runs the TLS handshake with it; what
/// came of it is noted.
///
/// # Errors
/// [`ConnectError`].
pub async fn dial(endpoint: &Endpoint, timers: &Rc<Timers>) -> Result<Transport, ConnectError> {
    let dialled = reach(endpoint, timers).await;
    match (&dialled, endpoint.way.hop()) {
        // Noted by the hop, where it ends.
        (Ok(_), _) if endpoint.way.forwarder().is_some() => {}
        (Ok(transport), _) => match endpoint.tls.client().and(transport.session()) {
            Some(session) => endpoint.contact.made_by(session),
            None => endpoint.contact.made(),
        },
        (Err(error @ ConnectError::Proxy(_)), Some(hop)) => hop.contact.failed(error),
        (Err(error), _) => endpoint.contact.failed(error),
    }
    dialled
}

async fn reach(endpoint: &Endpoint, timers: &Rc<Timers>) -> Result<Transport, ConnectError> {
    if let EndpointTls::Unready(failure) = &endpoint.tls {
        return Err(ConnectError::Unready(failure.clone()));
    }
    match &endpoint.way {
        Way::Direct => {
            let socket = connect(&endpoint.host, endpoint.port, endpoint.dial, timers).await?;
            match endpoint.tls.client() {
                None => Ok(Transport::plain(socket, Chunk::new())),
                Some(tls) => secure(tls, &endpoint.host, socket, timers)
                    .await
                    .map(Transport::Tls),
            }
        }
        // Boxed: most endpoints are reached straight, and all would carry the size.
        Way::Forwarded(hop) => Box::pin(hop.reach(endpoint.dial, timers)).await,
        Way::Tunnelled(hop) => Box::pin(hop.tunnel(endpoint, timers)).await,
        Way::Barred(reason) => Err(HopError::barred(reason).into()),
    }
}

/// Runs the TLS handshake with `host` on a connection that leads to it.
///
/// # Errors
/// [`ConnectError`].
pub(super) async fn secure<T: AsyncRead + AsyncWrite + Unpin>(
    tls: &ClientConfig,
    host: &str,
    transport: T,
    timers: &Rc<Timers>,
) -> Result<Box<TlsStream<T>>, ConnectError> {
    let session = tls.session(host).map_err(ConnectError::Setup)?;
    let mut stream = TlsStream::new(session, transport).map_err(ConnectError::Setup)?;
    let handshake = std::future::poll_fn(|cx| stream.poll_handshake(cx));
    match timers.within(HANDSHAKE, handshake).await {
        Ok(Ok(())) => Ok(Box::new(stream)),
        Ok(Err(HandshakeError::Tls(error))) => {
            match UpstreamTlsFailure::of(&error, stream.ssl(), host, SystemTime::now()) {
                Some(failure) => Err(ConnectError::Tls(failure)),
                None => Err(ConnectError::Ended(io::Error::other(error.to_string()))),
            }
        }
        Ok(Err(HandshakeError::Transport(error))) => Err(ConnectError::Ended(error)),
        Ok(Err(HandshakeError::ClearText)) => {
            Err(ConnectError::Ended(io::ErrorKind::InvalidData.into()))
        }
        Err(_) => Err(ConnectError::HandshakeTimeout(host.into())),
    }
}

/// Tries the addresses of a host in order, for `patience` in all.
///
/// # Errors
/// [`ConnectError`].
pub(super) async fn connect(
    host: &str,
    port: u16,
    patience: Duration,
    timers: &Rc<Timers>,
) -> Result<TcpStream, ConnectError> {
    let socket = timers
        .within(patience, try_each(host, port))
        .await
        .map_err(|_| ConnectError::DialTimeout(host.into()))??;
    // Fails only on a socket that is gone, which the first write says.
    let _ = socket.set_nodelay(true);
    Ok(socket)
}

async fn try_each(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = SocketAddr::new(address, port);
        return TcpStream::connect(address)
            .await
            .map_err(|source| ConnectError::Connect { address, source });
    }
    let lookup = |source| ConnectError::Lookup {
        host: host.into(),
        source,
    };
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(lookup)?;
    let mut last = lookup(io::Error::new(io::ErrorKind::NotFound, "no such host"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(source) => last = ConnectError::Connect { address, source },
        }
    }
    Err(last)
}
