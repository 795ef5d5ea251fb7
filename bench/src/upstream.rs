//! The one upstream behind every peer: HTTP/1.1, keep-alive, two pages, nothing else.
//!
//! It runs on the generator's core and in its thread, so that it is cheap, the same for all,
//! and never on the proxy's core.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::error::Error;

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

/// Starts the upstream on this runtime and returns its address.
pub(crate) async fn start() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(Error::io("bind the upstream"))?;
    let address = listener
        .local_addr()
        .map_err(Error::io("read the upstream's address"))?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // A connection that ends badly is the proxy's to report.
            tokio::spawn(async move { drop(serve(socket).await) });
        }
    });
    Ok(address)
}

async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
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
