//! The demo upstream: something to put a gateway before.
//!
//! | request | answer |
//! |--|--|
//! | `/stream` | ten lines of text, one every 200 ms |
//! | `/events` | server-sent events, one a second, until the client goes |
//! | `/ws` | a WebSocket that sends back what it receives |
//! | anything else | method, path, headers and body of the request, as JSON |
//!
//! It listens on a loopback port without TLS, on a thread of its own, for as long as the process
//! runs. It is no part of the gateway and shares nothing with it but the process.

mod answer;
mod echo;
mod paced;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::place::{self, Made, PlaceError};

/// Where a port is looked for, below the range the system gives to outgoing connections, so that
/// none of those has it at the next start.
const PORTS: std::ops::Range<u16> = 18_080..18_280;

/// Why there is no demo upstream.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No port of the range is free.
    #[error("no port from {} to {} is free for the demo upstream", PORTS.start, PORTS.end - 1)]
    NoPort,
    /// The recorded port is not to be had.
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

/// The demo upstream with its port held, not serving yet.
#[derive(Debug)]
pub struct Demo {
    listener: TcpListener,
    address: SocketAddr,
}

impl Demo {
    /// Takes the port recorded in a file; without the file, a free one, and records it.
    ///
    /// # Errors
    /// When the port is not to be had, or the record cannot be read or written.
    pub fn reserve(record: &Path, made: &mut Made) -> Result<Self, super::QuickstartError> {
        let title = "demo-port: the demo upstream's port";
        let listener = match place::read(record)? {
            Some(text) => {
                let port = text.trim().parse().map_err(|_| PlaceError::Port {
                    path: record.to_owned(),
                })?;
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let listener = TcpListener::bind(address).map_err(|source| DemoError::Taken {
                    address,
                    record: record.to_owned(),
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
                place::write_whole(record, &format!("{port}\n"))?;
                made.add(title);
                listener
            }
        };
        let address = listener.local_addr().map_err(DemoError::System)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on a thread of its own until the process ends.
    ///
    /// # Errors
    /// When the system gives no thread or runtime.
    pub fn serve(self) -> Result<SocketAddr, DemoError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        self.listener.set_nonblocking(true)?;
        let address = self.address;
        std::thread::Builder::new()
            .name("demo-upstream".to_owned())
            .spawn(move || {
                let Err(error) = runtime.block_on(accept(self.listener));
                tracing::error!(%error, "the demo upstream has stopped");
            })?;
        Ok(address)
    }
}

async fn accept(listener: TcpListener) -> io::Result<Infallible> {
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
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| async {
                Ok::<_, Infallible>(answer::to(request).await)
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service)
                .with_upgrades()
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection to the demo upstream ended");
            }
        });
    }
}
