//! The demo upstream: something to put a gateway before.
//!
//! | request | answer |
//! |--|--|
//! | `/stream` | ten lines of text, one every 200 ms |
//! | `/events` | server-sent events, one a second, until the client goes |
//! | `/ws` | a WebSocket that sends back what it receives |
//! | anything else | method, path, headers and body of the request, as JSON |
//!
//! It listens on two loopback ports, on a thread of its own, for as long as the process runs: one without TLS,
//! and one behind TLS that lets in nobody without a certificate of the development CA and tells, in its JSON,
//! whose it saw. It is no part of the gateway and shares nothing with it but the process.

mod answer;
mod door;
mod echo;
mod paced;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

pub use self::door::Door;
use self::door::Visitor;
use super::place::{self, Made, PlaceError};

/// Where ports are looked for, below the range the system gives to outgoing connections, so that
/// none of those has one at the next start.
const PORTS: std::ops::Range<u16> = 18_080..18_280;

/// Why there is no demo upstream.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No port of the range is free.
    #[error("no port from {} to {} is free for the demo upstream", PORTS.start, PORTS.end - 1)]
    NoPort,
    /// A recorded port is not to be had.
    #[error(
        "the demo upstream cannot listen on {address}, the port the definitions in `apps` name; \
         stop what has it (another quickstart of this directory?), or remove `{}` and the files in \
         `apps` to have them made again with another port",
        record.display()
    )]
    Taken {
        /// The address.
        address: SocketAddr,
        /// Where the port is recorded.
        record: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No thread, no runtime.
    #[error("the demo upstream cannot run")]
    System(#[from] io::Error),
}

/// Where the demo upstream listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// In clear text.
    pub plain: SocketAddr,
    /// Behind mutual TLS.
    pub secure: SocketAddr,
}

impl Addresses {
    /// The base URL behind mutual TLS, by a name that its certificate is for.
    pub fn secure_url(&self) -> String {
        format!("https://localhost:{}/", self.secure.port())
    }

    /// Both base URLs.
    pub fn urls(&self) -> [String; 2] {
        [format!("http://{}/", self.plain), self.secure_url()]
    }
}

/// The demo upstream with its ports held, not serving yet.
#[derive(Debug)]
pub struct Demo {
    plain: TcpListener,
    secure: TcpListener,
    addresses: Addresses,
}

impl Demo {
    /// Takes the ports recorded in a directory; free ones where there is no record, and records them.
    ///
    /// # Errors
    /// When a port is not to be had, or a record cannot be read or written.
    pub fn reserve(dir: &Path, made: &mut Made) -> Result<Self, super::QuickstartError> {
        let (plain, plain_at) = take(dir, "demo-port", "the demo upstream's port", made)?;
        let what = "the demo upstream's port behind mutual TLS";
        let (secure, secure_at) = take(dir, "demo-tls-port", what, made)?;
        Ok(Self {
            plain,
            secure,
            addresses: Addresses {
                plain: plain_at,
                secure: secure_at,
            },
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves on a thread of its own until the process ends; `door` is who is let in by TLS.
    ///
    /// # Errors
    /// When the system gives no thread or runtime.
    pub fn serve(self, door: Door) -> Result<Addresses, DemoError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        self.plain.set_nonblocking(true)?;
        self.secure.set_nonblocking(true)?;
        let addresses = self.addresses;
        let door = Arc::new(door);
        std::thread::Builder::new()
            .name("demo-upstream".to_owned())
            .spawn(move || {
                let both = async {
                    tokio::try_join!(accept(self.plain, None), accept(self.secure, Some(door)))
                };
                let Err(error) = runtime.block_on(both);
                tracing::error!(%error, "the demo upstream has stopped");
            })?;
        Ok(addresses)
    }
}

/// Takes the port recorded in a file; without the file, a free one, and records it.
fn take(
    dir: &Path,
    name: &str,
    what: &str,
    made: &mut Made,
) -> Result<(TcpListener, SocketAddr), super::QuickstartError> {
    let (record, title) = (dir.join(name), format!("{name}: {what}"));
    let listener = match place::read(&record)? {
        Some(text) => {
            let port = text.trim().parse().map_err(|_| PlaceError::Port {
                path: record.clone(),
            })?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let listener = TcpListener::bind(address).map_err(|source| DemoError::Taken {
                address,
                record,
                source,
            })?;
            made.keep(title);
            listener
        }
        None => {
            let listener = PORTS
                .into_iter()
                .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
                .ok_or(DemoError::NoPort)?;
            let port = listener.local_addr().map_err(DemoError::System)?.port();
            place::write_whole(&record, &format!("{port}\n"))?;
            made.add(title);
            listener
        }
    };
    let address = listener.local_addr().map_err(DemoError::System)?;
    Ok((listener, address))
}

async fn accept(listener: TcpListener, door: Option<Arc<Door>>) -> io::Result<Infallible> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: trying again at once would only spin.
                tracing::warn!(%error, "the demo upstream cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        tokio::spawn(receive(socket, door.clone()));
    }
}

async fn receive(socket: TcpStream, door: Option<Arc<Door>>) {
    let Some(door) = door else {
        return serve(socket, None).await;
    };
    match door.open(socket).await {
        Ok((stream, visitor)) => serve(stream, Some(Arc::new(visitor))).await,
        Err(reason) => tracing::info!("the demo upstream let somebody not in: {reason}"),
    }
}

async fn serve<S>(stream: S, visitor: Option<Arc<Visitor>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let visitor = visitor.clone();
        async move { Ok::<_, Infallible>(answer::to(request, visitor.as_deref()).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the demo upstream ended");
    }
}
