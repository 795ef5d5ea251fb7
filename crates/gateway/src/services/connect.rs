//! The way to a server: TCP, TLS to a proxy, CONNECT, TLS to the server.
//!
//! Invariants:
//! - Each hop has a handshake and a failure of its own; what goes through a proxy to a TLS server is TLS from
//!   end to end.
//! - A proxy is shown no certificate of ours and, behind CONNECT, nothing but the server's name and port.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Uri, uri::Scheme};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use portcullis_config::{ProxyAddress, Secret};
use portcullis_tls::{
    ClientConfig, Contact, UpstreamTlsFailure,
    stream::{HandshakeError, TlsStream},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use super::{
    failure::{Hop, WayError},
    material::Material,
    proxies::Proxies,
    settings::Keys,
};
use crate::links::{Contacts, Kind, Place};

/// For one TCP connection.
const TCP_LIMIT: Duration = Duration::from_secs(10);

/// Longest head of a proxy's answer to CONNECT, in bytes.
const LONGEST_HEAD: usize = 8 * 1024;

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// TLS is spoken to it.
    pub secure: bool,
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Target {
    /// Reads it off an absolute address; `None` when it is none that can be called.
    pub fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme()?;
        let secure = *scheme == Scheme::HTTPS;
        if !secure && *scheme != Scheme::HTTP {
            return None;
        }
        let host = uri.host().filter(|host| !host.is_empty())?;
        Some(Self {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        })
    }

    /// Host and port, for messages and for CONNECT.
    pub fn place(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// `Basic`, for a `user:password`.
pub fn basic(login: &Secret) -> HeaderValue {
    let encoded = openssl::base64::encode_block(login.reveal().as_bytes());
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))
        .expect("base64 is made of letters that a field may have");
    value.set_sensitive(true);
    value
}

/// Makes connections for one client.
#[derive(Clone)]
pub struct Connector(pub Arc<Ways>);

/// What connections are made with.
pub struct Ways {
    /// What links are called.
    pub kind: Kind,
    /// Where it is noted what became of connections.
    pub contacts: Contacts,
    /// Which proxy leads where.
    pub proxies: Proxies,
    /// Certificate and authorities.
    pub material: Arc<Material>,
    /// For one TLS handshake.
    pub handshake: Duration,
    /// Names of keys, for messages.
    pub keys: Keys,
}

/// A byte stream of whatever kind.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

type Stream = Box<dyn Duplex>;

/// Where the connections of a way end: at a proxy, at the target, or at both.
pub struct Ends<T> {
    /// The proxy.
    pub proxy: Option<T>,
    /// The target; `None` where a proxy forwards what is asked of it.
    pub target: Option<T>,
}

impl Ends<Place> {
    /// Those of the way to a target, by a proxy where there is one.
    pub fn of(kind: Kind, proxy: Option<&ProxyAddress>, target: &Target) -> Self {
        let at_proxy = proxy.map(|proxy| Place {
            kind,
            is_proxy: true,
            secure: proxy.secure,
            address: proxy.place(),
        });
        let at_target = Place {
            kind,
            is_proxy: false,
            secure: target.secure,
            address: target.place(),
        };
        Self {
            target: (proxy.is_none() || target.secure).then_some(at_target),
            proxy: at_proxy,
        }
    }

    /// The contacts of these places.
    pub fn contacts(self, contacts: &Contacts) -> Ends<Arc<Contact>> {
        Ends {
            proxy: self.proxy.map(|place| contacts.at(place)),
            target: self.target.map(|place| contacts.at(place)),
        }
    }
}

impl Ends<Arc<Contact>> {
    fn at(&self, hop: Hop) -> Option<&Contact> {
        match hop {
            Hop::Proxy => self.proxy.as_deref(),
            Hop::Target => self.target.as_deref(),
        }
    }

    /// What is asked was not answered there.
    pub fn note_failure(&self, reason: &dyn std::fmt::Display) {
        let last = self.target.as_ref().or(self.proxy.as_ref());
        if let Some(contact) = last {
            contact.failed(reason);
        }
    }
}

impl Ways {
    /// The proxy that leads to a target.
    pub fn proxy_to(&self, target: &Target) -> Option<&ProxyAddress> {
        self.proxies
            .choose(target.secure, &target.host, target.port)
    }

    /// Makes a connection to a target and notes what came of it.
    ///
    /// # Errors
    /// The hop that failed.
    pub async fn open(&self, target: &Target) -> Result<Link, WayError> {
        let ends = Ends::of(self.kind, self.proxy_to(target), target).contacts(&self.contacts);
        self.reach(target, &ends).await.inspect_err(|error| {
            if let Some(contact) = ends.at(error.hop()) {
                contact.failed(error);
            }
        })
    }

    async fn reach(&self, target: &Target, ends: &Ends<Arc<Contact>>) -> Result<Link, WayError> {
        let place = target.place();
        let proxy = self.proxy_to(target);
        let stream = match proxy {
            None => tcp(Hop::Target, &place, &target.host, target.port).await?,
            Some(proxy) => self.through(proxy, target, ends).await?,
        };
        let stream = match target.secure {
            true => {
                let tls = &self.material.target;
                self.secure(stream, tls, Hop::Target, &target.host, &place, ends)
                    .await?
            }
            false => {
                if let Some(contact) = ends.at(Hop::Target) {
                    contact.made();
                }
                stream
            }
        };
        Ok(Link {
            stream,
            whole_address: proxy.is_some() && !target.secure,
        })
    }

    /// A stream that ends at the target for TLS, at the proxy otherwise.
    async fn through(
        &self,
        proxy: &ProxyAddress,
        target: &Target,
        ends: &Ends<Arc<Contact>>,
    ) -> Result<Stream, WayError> {
        let place = proxy.place();
        let mut stream = tcp(Hop::Proxy, &place, &proxy.host, proxy.port).await?;
        if proxy.secure {
            let tls = &self.material.proxy;
            stream = self
                .secure(stream, tls, Hop::Proxy, &proxy.host, &place, ends)
                .await?;
        } else if let Some(contact) = ends.at(Hop::Proxy) {
            contact.made();
        }
        if target.secure {
            let asking = tunnel(&mut stream, target, proxy.login.as_ref());
            let asked = timeout(self.handshake, asking).await.unwrap_or_else(|_| {
                let limit = self.handshake.as_secs();
                let target = target.place();
                Err(format!("no answer to CONNECT {target} within {limit} s"))
            });
            asked.map_err(|reason| WayError::new(Hop::Proxy, &place, reason))?;
        }
        Ok(stream)
    }

    async fn secure(
        &self,
        stream: Stream,
        tls: &Result<ClientConfig, String>,
        hop: Hop,
        host: &str,
        place: &str,
        ends: &Ends<Arc<Contact>>,
    ) -> Result<Stream, WayError> {
        let failed = |reason: String| WayError::new(hop, place, format!("TLS failed: {reason}"));
        let session = tls
            .as_ref()
            .map_err(|reason| failed(reason.clone()))?
            .session(host)
            .map_err(|error| failed(error.to_string()))?;
        let mut stream =
            TlsStream::new(session, stream).map_err(|error| failed(error.to_string()))?;
        let shaking = poll_fn(|cx| stream.poll_handshake(cx));
        match timeout(self.handshake, shaking).await {
            Ok(Ok(())) => {
                if let Some(contact) = ends.at(hop) {
                    contact.made_by(stream.ssl());
                }
                Ok(Box::new(stream))
            }
            Ok(Err(HandshakeError::Tls(error))) => Err(
                match UpstreamTlsFailure::of(&error, stream.ssl(), host, SystemTime::now()) {
                    Some(failure) => WayError::tls(hop, place, &failure, &self.keys),
                    None => failed(error.to_string()),
                },
            ),
            Ok(Err(HandshakeError::Transport(error))) => Err(failed(match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                    "it closed the connection during the handshake; does the port speak TLS?"
                        .to_owned()
                }
                _ => error.to_string(),
            })),
            Ok(Err(HandshakeError::ClearText)) => Err(failed("it does not speak TLS".to_owned())),
            Err(_) => Err(failed(format!(
                "no handshake within {} s; does the port speak TLS?",
                self.handshake.as_secs()
            ))),
        }
    }
}

async fn tcp(hop: Hop, place: &str, host: &str, port: u16) -> Result<Stream, WayError> {
    let failed = |reason: String| WayError::new(hop, place, format!("cannot connect: {reason}"));
    match timeout(TCP_LIMIT, TcpStream::connect((host, port))).await {
        Ok(Ok(socket)) => {
            // Requests are small and sent whole; a socket that does not take it works all the same.
            let _ = socket.set_nodelay(true);
            Ok(Box::new(socket))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!(
            "no answer within {} s",
            TCP_LIMIT.as_secs()
        ))),
    }
}

/// Asks a proxy for a tunnel to a target.
async fn tunnel(
    stream: &mut Stream,
    target: &Target,
    login: Option<&Secret>,
) -> Result<(), String> {
    let place = target.place();
    let mut head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
    if let Some(login) = login {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(basic(login).as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let broken = |error: io::Error| format!("CONNECT {place} failed: {error}");
    stream.write_all(&head).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await.map_err(broken)?;
        if read == 0 {
            return Err(format!(
                "it closed the connection instead of answering CONNECT {place}"
            ));
        }
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&answer) {
            Ok(httparse::Status::Complete(length)) => {
                return match response.code {
                    Some(200) if length == answer.len() => Ok(()),
                    Some(200) => Err(format!("it speaks before {place} does")),
                    code => Err(refused(&place, code.unwrap_or_default(), response.reason)),
                };
            }
            Ok(httparse::Status::Partial) if answer.len() <= LONGEST_HEAD => {}
            Ok(httparse::Status::Partial) => {
                return Err(format!("its answer to CONNECT {place} has no end"));
            }
            Err(_) => return Err("it does not speak HTTP; is it a proxy?".to_owned()),
        }
    }
}

fn refused(place: &str, code: u16, reason: Option<&str>) -> String {
    let reason = reason.unwrap_or_default();
    let advice = match code {
        407 => "; it asks for a name and a password, or for others: write them before its host",
        403 => "; it does not let us there",
        _ => "",
    };
    format!("it refuses CONNECT {place}: {code} {reason}{advice}")
}

/// A connection to a server, or to the proxy that is asked for whole addresses.
pub struct Link {
    stream: Stream,
    whole_address: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.whole_address)
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = WayError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, WayError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), WayError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let ways = self.0.clone();
        Box::pin(async move {
            let target = Target::of(&uri)
                .ok_or_else(|| WayError::new(Hop::Target, "", "it is no address of a server"))?;
            ways.open(&target).await.map(TokioIo::new)
        })
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
