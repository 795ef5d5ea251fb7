//! What a finished handshake agreed on, for logs, metrics and the HTTP layer.

use openssl::ssl::{NameType, SslRef};

use crate::{cipher, sys};

/// The outcome of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The suite by its IANA name.
    pub cipher: &'static str,
    /// The host the client named, as it wrote it.
    pub server_name: Option<Box<str>>,
    /// Whether HTTP/2 was agreed on.
    pub http2: bool,
    /// Whether HTTP/2 was agreed on together with a suite it prohibits: the connection must
    /// be closed with `INADEQUATE_SECURITY`.
    pub http2_prohibited: bool,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// The group keys were agreed with, such as `X25519MLKEM768`.
    pub group: Option<&'static str>,
}

impl Negotiated {
    /// Reads a connection whose handshake is over.
    pub fn of(ssl: &SslRef) -> Negotiated {
        let suite = sys::cipher_id(ssl).and_then(cipher::by_id);
        let http2 = ssl.selected_alpn_protocol() == Some(b"h2");
        Negotiated {
            version: ssl.version_str(),
            // Only suites of the table are ever offered or accepted.
            cipher: suite.map_or("", |suite| suite.name),
            server_name: ssl.servername(NameType::HOST_NAME).map(Into::into),
            http2,
            http2_prohibited: http2 && suite.is_some_and(cipher::Suite::is_prohibited_in_http2),
            resumed: ssl.session_reused(),
            group: sys::group_name(ssl),
        }
    }
}
