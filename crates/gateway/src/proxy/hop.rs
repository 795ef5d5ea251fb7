//! A forward proxy on the way to upstreams: reached, spoken to, and what goes wrong with it.
//!
//! Invariants:
//! - The proxy's hop has settings of its own: whom to believe there, by which name, and what to show. What is
//!   meant for an upstream (its client certificate, its pins, its common name) is never used with a proxy,
//!   and no protocol is offered to it beside HTTP/1.1.
//! - A tunnel begins with the byte after the proxy's answer: nothing of the upstream is read before its
//!   turn, and nothing of a request is sent before the answer is 200.
//! - Name and password are sent to the proxy alone, and neither an error nor a `Debug` shows them.

use std::{fmt, io, rc::Rc, time::Duration};

use portcullis_config::{ProxyAddress, Secret};
use portcullis_tls::{Contact, buffer::Chunk, client::ClientConfig, stream::TlsStream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    dial::{self, ConnectError},
    pool::Endpoint,
};
use crate::{
    http1::head::{self, HeadError, HeadLimits},
    timers::Timers,
    transport::Transport,
};

/// How long a proxy may take to open a tunnel, which includes its own way to the upstream (outbound sheet 1,
/// fixed values).
const PATIENCE: Duration = Duration::from_secs(60);

/// Bounds of the answer to CONNECT.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 8 * 1024,
    fields: head::MAX_FIELDS,
};

/// A forward proxy.
pub struct Hop {
    shown: Box<str>,
    host: Box<str>,
    port: u16,
    authorization: Option<Secret>,
    tls: Option<HopTls>,
    patience: Duration,
    /// What became of connections to it, tunnels included.
    pub contact: Contact,
}

/// TLS with a proxy.
#[derive(Debug, Clone)]
pub struct HopTls {
    /// Versions, suites, whom to believe, what to show.
    pub client: ClientConfig,
    /// The name to ask for and to verify; `None` for the proxy's host.
    pub server_name: Option<Box<str>>,
}

/// A connection to a proxy that may become a tunnel.
enum Leg {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What went wrong at a proxy.
#[derive(Debug)]
pub struct HopError {
    /// `scheme://host:port`; nothing for a proxy that has none.
    proxy: Box<str>,
    /// What.
    pub cause: HopFailure,
}

/// The ways in which a proxy fails.
#[derive(Debug)]
pub enum HopFailure {
    /// What is configured is no proxy that can be used.
    Barred(Box<str>),
    /// There is no connection to the proxy itself.
    Reach(ConnectError),
    /// It did not answer in time.
    Silent,
    /// The connection broke before it had answered.
    Ended(io::Error),
    /// Its answer is malformed: it is hardly a proxy.
    Malformed(HeadError),
    /// It opens no tunnel.
    Refused {
        /// Its status.
        status: u16,
        /// What it says of it.
        reason: Box<str>,
        /// Where the tunnel should have led.
        target: Box<str>,
    },
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hop").field(&self.shown).finish()
    }
}

impl Hop {
    /// The proxy at an address; with TLS settings for one that speaks TLS.
    pub fn new(address: &ProxyAddress, tls: Option<HopTls>) -> Self {
        let scheme = if address.secure { "https" } else { "http" };
        let authorization = address.login.as_ref().map(|login| {
            let coded = openssl::base64::encode_block(login.reveal().as_bytes());
            Secret::new(format!("Basic {coded}"))
        });
        Self {
            shown: format!("{scheme}://{}", address.place()).into(),
            host: address.host.as_str().into(),
            port: address.port,
            authorization,
            tls,
            patience: PATIENCE,
            contact: Contact::default(),
        }
    }

    /// `scheme://host:port`, without name and password.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// `host:port`.
    pub fn place(&self) -> String {
        authority(&self.host, self.port)
    }

    /// How TLS is spoken to it, where it is.
    pub fn tls(&self) -> Option<&HopTls> {
        self.tls.as_ref()
    }

    /// The value of `Proxy-Authorization`, where the proxy asks for a name.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_ref().map(Secret::reveal)
    }

    /// A connection to the proxy itself, for requests that it forwards.
    ///
    /// # Errors
    /// [`ConnectError::Proxy`].
    pub async fn reach(
        &self,
        dial: Duration,
        timers: &Rc<Timers>,
    ) -> Result<Transport, ConnectError> {
        Ok(match self.leg(dial, timers).await? {
            Leg::Plain(socket) => Transport::plain(socket, Chunk::new()),
            Leg::Tls(stream) => Transport::Tls(stream),
        })
    }

    /// A connection to an endpoint, through the proxy, with the endpoint's own TLS where it has some.
    ///
    /// # Errors
    /// [`ConnectError::Proxy`] for what the proxy does, the others for what the endpoint does.
    pub async fn tunnel(
        &self,
        endpoint: &Endpoint,
        timers: &Rc<Timers>,
    ) -> Result<Transport, ConnectError> {
        let mut leg = self.leg(endpoint.dial, timers).await?;
        let target = authority(&endpoint.host, endpoint.port);
        timers
            .within(self.patience, self.open(&mut leg, &target))
            .await
            .unwrap_or(Err(HopFailure::Silent))
            .map_err(|cause| self.failed(cause))?;
        let host = &endpoint.host;
        Ok(match (leg, endpoint.tls.client()) {
            (Leg::Plain(socket), None) => Transport::plain(socket, Chunk::new()),
            (Leg::Tls(stream), None) => Transport::Tls(stream),
            (Leg::Plain(socket), Some(tls)) => {
                Transport::Tls(dial::secure(tls, host, socket, timers).await?)
            }
            (Leg::Tls(stream), Some(tls)) => {
                Transport::Nested(dial::secure(tls, host, *stream, timers).await?)
            }
        })
    }

    async fn leg(&self, dial: Duration, timers: &Rc<Timers>) -> Result<Leg, ConnectError> {
        let reached = async {
            let socket = dial::connect(&self.host, self.port, dial, timers).await?;
            let Some(tls) = &self.tls else {
                self.contact.made();
                return Ok(Leg::Plain(socket));
            };
            let name = tls.server_name.as_ref().unwrap_or(&self.host);
            let stream = dial::secure(&tls.client, name, socket, timers).await?;
            self.contact.made_by(stream.ssl());
            Ok(Leg::Tls(stream))
        };
        reached
            .await
            .map_err(|error| self.failed(HopFailure::Reach(error)))
    }

    /// Asks for a tunnel.
    async fn open(&self, leg: &mut Leg, target: &str) -> Result<(), HopFailure> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = self.authorization() {
            request.push_str("Proxy-Authorization: ");
            request.push_str(authorization);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let answer = async {
            leg.write(request.as_bytes()).await?;
            leg.read_head().await
        };
        let answer = answer.await.map_err(HopFailure::Ended)?;
        let mut space = head::field_space();
        let answer = head::response(&answer, LIMITS, true, &mut space)
            .and_then(|head| head.ok_or(HeadError::TooLarge))
            .map_err(HopFailure::Malformed)?;
        if answer.status == 200 {
            return Ok(());
        }
        Err(HopFailure::Refused {
            status: answer.status,
            reason: reason(answer.status, answer.reason),
            target: target.into(),
        })
    }

    fn failed(&self, cause: HopFailure) -> ConnectError {
        let proxy = self.shown.clone();
        HopError { proxy, cause }.into()
    }
}

impl Leg {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Reads a head to its end and not a byte more, for what follows is not the proxy's. What is longer than
    /// the bounds allow is cut.
    async fn read_head(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        while head.len() < LIMITS.bytes && !head.ends_with(b"\r\n\r\n") {
            match self {
                Self::Plain(socket) => read_some(socket, &mut head).await?,
                // Records are decrypted already: asking for single bytes costs no system call.
                Self::Tls(stream) => head.push(stream.read_u8().await?),
            }
        }
        Ok(head)
    }
}

/// Takes from a socket what belongs to a head, of what is there.
async fn read_some(socket: &mut TcpStream, head: &mut Vec<u8>) -> io::Result<()> {
    let mut there = [0; 1024];
    let known = head.len();
    let n = socket.peek(&mut there).await?;
    head.extend_from_slice(&there[..n]);
    let from = known.saturating_sub(3);
    if let Some(end) = memchr::memmem::find(&head[from..], b"\r\n\r\n") {
        head.truncate(from + end + 4);
    }
    let taken = head.len() - known;
    if taken == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    socket.read_exact(&mut there[..taken]).await.map(drop)
}

/// `host:port` with the brackets that an IPv6 address needs.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// What a proxy says of its status, or what the status means.
fn reason(status: u16, said: &str) -> Box<str> {
    let usual = || http::StatusCode::from_u16(status).ok()?.canonical_reason();
    match said.trim() {
        "" => usual().unwrap_or("no reason given").into(),
        said => said.into(),
    }
}

impl HopError {
    /// There is to be a proxy, and it cannot be used.
    pub fn barred(reason: &str) -> Self {
        Self {
            proxy: Box::default(),
            cause: HopFailure::Barred(reason.into()),
        }
    }
}

impl From<HopError> for ConnectError {
    fn from(error: HopError) -> Self {
        Self::Proxy(Box::new(error))
    }
}

impl std::error::Error for HopError {}

/// Tyk's words come first, where it has some.
impl fmt::Display for HopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = &self.proxy;
        match &self.cause {
            HopFailure::Barred(reason) => write!(f, "the proxy cannot be used: {reason}"),
            HopFailure::Reach(ConnectError::Tls(failure)) => {
                // The failure speaks of whom a handshake was with.
                let said = failure.message.replace("the upstream", "the proxy");
                write!(
                    f,
                    "proxyconnect tcp: TLS handshake with proxy {proxy}: {said}"
                )
            }
            HopFailure::Reach(error) => write!(f, "proxyconnect tcp: {error} (proxy {proxy})"),
            HopFailure::Silent => {
                write!(
                    f,
                    "proxyconnect tcp: proxy {proxy} did not answer CONNECT in time"
                )
            }
            HopFailure::Ended(error) => {
                write!(
                    f,
                    "proxyconnect tcp: proxy {proxy} closed before it answered CONNECT: {error}"
                )
            }
            HopFailure::Malformed(error) => {
                write!(
                    f,
                    "proxyconnect tcp: proxy {proxy} does not answer CONNECT like a proxy: {error}"
                )
            }
            HopFailure::Refused {
                status,
                reason,
                target,
            } => write!(
                f,
                "{reason} ({status} from proxy {proxy} to CONNECT {target})"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener},
        sync::Arc,
    };

    use super::*;
    use crate::proxy::{
        dial::Way,
        failure::Outage,
        pool::{EndpointTls, Http2Use},
    };

    fn on_worker<T>(work: impl AsyncFnOnce(Rc<Timers>) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let timers = Timers::new();
            let sweeper = timers.clone();
            tokio::task::spawn_local(async move { sweeper.sweep().await });
            work(timers).await
        })
    }

    fn target() -> Endpoint {
        Endpoint {
            id: 0,
            host: "::1".into(),
            port: 443,
            authority: "[::1]".into(),
            tls: EndpointTls::Clear,
            http2: Http2Use::Never,
            way: Way::Direct,
            switching: None,
            dial: Duration::from_secs(9),
            keep: 0,
            max_age: None,
            contact: Arc::default(),
        }
    }

    /// Outbound sheet 6: no answer to CONNECT is a 504.
    #[test]
    fn a_proxy_that_does_not_answer_is_waited_for_no_longer_than_its_time() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let address =
            ProxyAddress::parse(&format!("http://u:secret@127.0.0.1:{port}")).expect("one");
        let hop = Hop {
            patience: Duration::from_millis(1),
            ..Hop::new(&address, None)
        };
        let result = on_worker(async |timers| hop.tunnel(&target(), &timers).await.map(drop));
        let outage = Outage::Connect(result.expect_err("nobody answers"));
        let verdict = outage.verdict();
        assert_eq!((verdict.status, verdict.flag.flag()), (504, "URT"));
        assert_eq!(outage.hop(), "proxy");
        let said = format!("{outage} {outage:?} {hop:?}");
        assert!(
            said.contains(&format!("proxy http://127.0.0.1:{port} did not answer")),
            "{said}"
        );
        assert!(!said.contains("secret"), "{said}");
    }

    #[test]
    fn a_target_is_named_as_a_proxy_reads_it() {
        assert_eq!(authority("up.test", 443), "up.test:443");
        assert_eq!(authority("::1", 8443), "[::1]:8443");
    }

    #[test]
    fn a_status_without_a_reason_is_told_by_its_meaning() {
        assert_eq!(&*reason(407, ""), "Proxy Authentication Required");
        assert_eq!(&*reason(403, " no way "), "no way");
        assert_eq!(&*reason(599, ""), "no reason given");
    }
}
