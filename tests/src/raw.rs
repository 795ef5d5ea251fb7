//! Clients that say exactly what a test wants said, right or wrong.

use std::{fmt::Write as _, pin::Pin};

use bytes::Bytes;
use h2::client::SendRequest;
use openssl::ssl::{SslConnector, SslMethod, SslVersion};
use portcullis_pki::make::Pair;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    certs,
    gateway::Gateway,
    tls::Client,
    wire::{Message, Wire},
};

/// What an asynchronous client speaks over.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A connection to the gateway's main port in clear text.
pub fn plain(gateway: &Gateway) -> Wire {
    Wire::new(gateway.connect())
}

/// A connection to the gateway's main port by TLS, HTTP/1.1.
///
/// # Panics
/// When the handshake fails.
pub fn secure(gateway: &Gateway) -> Wire {
    Wire::new(
        Client::new()
            .alpn(&["http/1.1"])
            .connect(gateway.address())
            .expect("the handshake succeeds"),
    )
}

/// A GET for a path with more fields, each on a line of its own.
pub fn get(path: &str, fields: &[&str]) -> String {
    request("GET", path, fields, "")
}

/// A request with a body of known length.
pub fn request(method: &str, path: &str, fields: &[&str], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: gateway.test\r\n");
    for field in fields {
        write!(text, "{field}\r\n").expect("writing to memory cannot fail");
    }
    if !body.is_empty() {
        write!(text, "Content-Length: {}\r\n", body.len()).expect("writing to memory cannot fail");
    }
    text + "\r\n" + body
}

/// Sends one request on a connection of its own and reads the response.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn ask(gateway: &Gateway, request: impl AsRef<[u8]>) -> Message {
    let mut wire = plain(gateway);
    wire.send(request);
    wire.message().expect("a response")
}

/// An asynchronous TLS connection that offers these protocols; a server that chooses none of them
/// is as good as one that does.
///
/// # Panics
/// When the handshake fails.
pub async fn secure_async(
    gateway: &Gateway,
    alpn: &'static [u8],
) -> tokio_openssl::SslStream<TcpStream> {
    secure_async_as(gateway, alpn, None).await
}

/// The same by a client that may have a certificate.
async fn secure_async_as(
    gateway: &Gateway,
    alpn: &'static [u8],
    client: Option<&Pair>,
) -> tokio_openssl::SslStream<TcpStream> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("settings");
    connector
        .set_max_proto_version(Some(SslVersion::TLS1_3))
        .expect("a version");
    connector
        .set_alpn_protos(alpn)
        .expect("a list of protocols");
    connector
        .cert_store_mut()
        .add_cert(certs::ca().certificate.clone())
        .expect("a certificate");
    if let Some(pair) = client {
        connector
            .set_certificate(&pair.certificate)
            .expect("a certificate");
        connector.set_private_key(&pair.key).expect("its key");
    }
    let session = connector
        .build()
        .configure()
        .and_then(|session| session.into_ssl("localhost"))
        .expect("a session");
    let socket = TcpStream::connect(gateway.address())
        .await
        .expect("the gateway accepts");
    let mut stream = tokio_openssl::SslStream::new(session, socket).expect("a stream");
    Pin::new(&mut stream)
        .connect()
        .await
        .expect("the handshake succeeds");
    stream
}

/// An HTTP/2 client of the gateway, by TLS where that is what the gateway speaks.
///
/// # Panics
/// When it cannot connect.
pub async fn http2(gateway: &Gateway) -> SendRequest<Bytes> {
    if gateway.url("").starts_with("https") {
        return secure_http2(gateway, None).await;
    }
    let socket = TcpStream::connect(gateway.address())
        .await
        .expect("the gateway accepts");
    speak_http2(socket).await
}

/// An HTTP/2 client of the gateway by TLS, with a certificate.
///
/// # Panics
/// When it cannot connect.
pub async fn http2_as(gateway: &Gateway, client: &Pair) -> SendRequest<Bytes> {
    secure_http2(gateway, Some(client)).await
}

async fn secure_http2(gateway: &Gateway, client: Option<&Pair>) -> SendRequest<Bytes> {
    let stream = secure_async_as(gateway, b"\x02h2", client).await;
    assert_eq!(
        stream.ssl().selected_alpn_protocol(),
        Some(&b"h2"[..]),
        "HTTP/2 was chosen"
    );
    speak_http2(stream).await
}

async fn speak_http2(stream: impl Connection + 'static) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(stream)
        .await
        .expect("the connection begins");
    // How it ends is told by the requests on it.
    tokio::spawn(async move { drop(connection.await) });
    client.ready().await.expect("a place for a request")
}

/// An HTTP/2 client of a gateway that speaks TLS, with settings of its own.
///
/// # Panics
/// When it cannot connect.
pub async fn http2_with(gateway: &Gateway, settings: &h2::client::Builder) -> SendRequest<Bytes> {
    let stream = secure_async(gateway, b"\x02h2").await;
    let (client, connection) = settings
        .handshake(stream)
        .await
        .expect("the connection begins");
    tokio::spawn(async move { drop(connection.await) });
    client.ready().await.expect("a place for a request")
}

/// HTTP/2 frames by hand (RFC 9113, section 4), for what no proper client sends.
pub mod frame {
    /// What a client says first: the preface and empty SETTINGS.
    pub fn opening() -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(any(4, 0, 0, b""));
        bytes
    }

    /// A frame of any type.
    ///
    /// # Panics
    /// When the payload is longer than 16 KiB.
    pub fn any(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("a frame is short");
        let [high, low] = length.to_be_bytes();
        let mut bytes = vec![0, high, low, kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// HEADERS of a whole `GET` for a path shorter than 127 bytes.
    ///
    /// # Panics
    /// When the path is longer.
    pub fn get(stream: u32, path: &str) -> Vec<u8> {
        any(1, 0x5, stream, &fields(path))
    }

    /// The fields of a `GET` as HPACK without Huffman coding or table entries of its own.
    ///
    /// # Panics
    /// When the path is longer than 126 bytes.
    pub fn fields(path: &str) -> Vec<u8> {
        // :method GET, :scheme http, then :path and :authority as literals.
        let mut fields = vec![
            0x82,
            0x86,
            0x04,
            u8::try_from(path.len()).expect("a short path"),
        ];
        assert!(
            path.len() < 127,
            "lengths from 127 on take more than a byte"
        );
        fields.extend_from_slice(path.as_bytes());
        fields.extend_from_slice(b"\x01\x01a");
        fields
    }

    /// RST_STREAM with CANCEL.
    pub fn reset(stream: u32) -> Vec<u8> {
        any(3, 0, stream, &8u32.to_be_bytes())
    }

    /// PING.
    pub fn ping() -> Vec<u8> {
        any(6, 0, 0, b"12345678")
    }

    /// Empty SETTINGS.
    pub fn settings() -> Vec<u8> {
        any(4, 0, 0, b"")
    }
}
