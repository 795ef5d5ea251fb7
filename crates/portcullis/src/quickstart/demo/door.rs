//! The door of the demo upstream behind mutual TLS.
//!
//! Invariant: nobody comes in without a certificate of the authority that the door was made with.

use std::{future::poll_fn, time::Duration};

use openssl::{
    error::ErrorStack,
    ssl::{Ssl, SslAcceptor, SslMethod, SslRef, SslVerifyMode},
};
use portcullis_pki::{Fingerprint, make::Pair, names::distinguished_name};
use portcullis_tls::stream::TlsStream;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// For a handshake.
const LIMIT: Duration = Duration::from_secs(10);

/// Who is let in.
pub struct Door(SslAcceptor);

/// Who came in, as it is told.
pub struct Visitor {
    /// The certificate.
    pub certificate: Value,
    /// The version of TLS.
    pub version: &'static str,
}

impl Door {
    /// A server with this pair that lets in whoever has a certificate of an authority.
    ///
    /// # Errors
    /// When the library refuses them.
    pub fn new(pair: &Pair, authority: &Pair) -> Result<Self, ErrorStack> {
        let mut server = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        server.set_certificate(&pair.certificate)?;
        server.set_private_key(&pair.key)?;
        server
            .cert_store_mut()
            .add_cert(authority.certificate.clone())?;
        server.add_client_ca(&authority.certificate)?;
        server.set_session_id_context(b"portcullis demo")?;
        server.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        Ok(Self(server.build()))
    }

    /// Runs the handshake.
    ///
    /// # Errors
    /// Why somebody is not let in.
    pub async fn open(&self, socket: TcpStream) -> Result<(TlsStream<TcpStream>, Visitor), String> {
        let mut session = Ssl::new(self.0.context()).map_err(|error| error.to_string())?;
        session.set_accept_state();
        let mut stream = TlsStream::new(session, socket).map_err(|error| error.to_string())?;
        let shaking = poll_fn(|cx| stream.poll_handshake(cx));
        match tokio::time::timeout(LIMIT, shaking).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(format!("{error:?}")),
            Err(_) => return Err(format!("no handshake within {} s", LIMIT.as_secs())),
        }
        let visitor = Visitor::of(stream.ssl());
        Ok((stream, visitor))
    }
}

impl Visitor {
    fn of(session: &SslRef) -> Self {
        let certificate = session.peer_certificate().map(|leaf| {
            json!({
                "subject": distinguished_name(leaf.subject_name()),
                "issuer": distinguished_name(leaf.issuer_name()),
                "sha256": Fingerprint::of(&leaf).ok().map(|print| print.to_string()),
            })
        });
        Self {
            certificate: certificate.unwrap_or_default(),
            version: session.version_str(),
        }
    }
}
