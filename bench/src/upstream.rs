//! The one upstream behind every peer: HTTP/1.1, keep-alive, two pages, nothing else; in the clear, over
//! TLS, and over TLS for clients of the run's CA.
//!
//! It runs on the generator's core and in its thread, so that it is cheap, the same for all,
//! and never on the proxy's core. Over TLS every peer meets the same: version 1.3, one suite, one group,
//! and a full handshake for each connection, since no session is ever resumed.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use memchr::memmem;
use openssl::error::ErrorStack;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslOptions, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

use crate::certificate::Pair;
use crate::error::Error;
use crate::peer::SUITE;

/// 128 bytes: small enough that moving them costs nothing.
const SMALL: &[u8; 128] = b"The quick brown fox jumps over the lazy dog while the gateway passes \
this line along, unchanged, as often as it is asked to do.\n";

const LARGE_LENGTH: u64 = 10 * 1024 * 1024;
const CHUNK: usize = 256 * 1024;

/// What the upstream has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// 128 bytes.
    Small,
    /// 10 MiB.
    Large,
}

impl Page {
    /// Where it is, with a leading slash.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Small => "/small",
            Self::Large => "/large",
        }
    }

    /// The body's length in bytes.
    pub(crate) fn length(self) -> u64 {
        match self {
            Self::Small => SMALL.len() as u64,
            Self::Large => LARGE_LENGTH,
        }
    }

    /// Whether `body` is this page's. The large page is known by its length only.
    pub(crate) fn matches(self, body: &[u8]) -> bool {
        match self {
            Self::Small => body == SMALL,
            Self::Large => body.len() as u64 == LARGE_LENGTH,
        }
    }
}

/// The upstream, at its three addresses.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// In the clear.
    pub(crate) plain: SocketAddr,
    /// Over TLS.
    pub(crate) tls: SocketAddr,
    /// Over TLS, for whoever has a certificate of the run's CA.
    pub(crate) mutual: SocketAddr,
    accepted: Arc<AtomicU64>,
}

impl Upstream {
    /// Starts it on this runtime.
    pub(crate) async fn start(pair: &Pair) -> Result<Self, Error> {
        let accepted = Arc::new(AtomicU64::new(0));
        Ok(Self {
            plain: listen(None, &accepted).await?,
            tls: listen(Some(context(pair, false)?), &accepted).await?,
            mutual: listen(Some(context(pair, true)?), &accepted).await?,
            accepted,
        })
    }

    /// How many connections it has accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

fn context(pair: &Pair, mutual: bool) -> Result<SslContext, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls_server())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    context.set_groups_list("X25519")?;
    context.set_options(SslOptions::NO_TICKET);
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_certificate_chain_file(&pair.certificate)?;
    context.set_private_key_file(&pair.key, SslFiletype::PEM)?;
    if mutual {
        context.set_ca_file(&pair.authority)?;
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    Ok(context.build())
}

async fn listen(tls: Option<SslContext>, accepted: &Arc<AtomicU64>) -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(Error::io("bind the upstream"))?;
    let address = listener
        .local_addr()
        .map_err(Error::io("read the upstream's address"))?;
    let accepted = accepted.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            accepted.fetch_add(1, Ordering::Relaxed);
            let tls = tls.clone();
            // A connection that ends badly is the proxy's to report.
            tokio::spawn(async move { drop(greet(socket, tls).await) });
        }
    });
    Ok(address)
}

async fn greet(socket: TcpStream, tls: Option<SslContext>) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let Some(context) = tls else {
        return serve(socket).await;
    };
    let mut stream = SslStream::new(Ssl::new(&context)?, socket)?;
    Pin::new(&mut stream)
        .accept()
        .await
        .map_err(std::io::Error::other)?;
    // The same cipher for all, or no answer.
    let suite = stream.ssl().current_cipher();
    match suite.is_some_and(|suite| suite.name() == SUITE) {
        true => serve(stream).await,
        false => Ok(()),
    }
}

async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; 8 * 1024];
    let mut filled = 0;
    loop {
        let Some(end) = memmem::find(&buffer[..filled], b"\r\n\r\n") else {
            let read = socket.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Ok(()); // closed, or a head longer than any proxy here sends
            }
            filled += read;
            continue;
        };
        let page = [Page::Small, Page::Large]
            .into_iter()
            .find(|page| asks_for(&buffer[..end], *page));
        buffer.copy_within(end + 4..filled, 0);
        filled -= end + 4;
        match page {
            Some(Page::Small) => socket.write_all(small_response()).await?,
            Some(Page::Large) => {
                socket.write_all(&head(LARGE_LENGTH)).await?;
                let chunk = large_chunk();
                for _ in 0..LARGE_LENGTH / CHUNK as u64 {
                    socket.write_all(chunk).await?;
                }
            }
            None => {
                socket
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    .await?;
            }
        }
    }
}

fn asks_for(head: &[u8], page: Page) -> bool {
    head.strip_prefix(b"GET ")
        .and_then(|rest| rest.strip_prefix(page.path().as_bytes()))
        .is_some_and(|rest| rest.starts_with(b" "))
}

fn small_response() -> &'static [u8] {
    static RESPONSE: OnceLock<Vec<u8>> = OnceLock::new();
    RESPONSE.get_or_init(|| [&head(SMALL.len() as u64)[..], SMALL].concat())
}

fn large_chunk() -> &'static [u8] {
    static CHUNK_BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    CHUNK_BYTES.get_or_init(|| vec![b'x'; CHUNK])
}

fn head(length: u64) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}
