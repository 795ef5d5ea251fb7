//! One look at a live server: a handshake that trusts nobody yet, and what it tells.
//!
//! Invariant: nothing is verified here and nothing secret is sent; whoever asks verifies the chain, and a
//! client's key only signs.

#![expect(
    unsafe_code,
    reason = "what a server asks of its clients is told by a callback, and sessions are set by hand"
)]

use std::{
    ffi::{c_int, c_void},
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use foreign_types::ForeignTypeRef;
use openssl::{
    error::ErrorStack,
    ex_data::Index,
    pkey::{PKey, Private},
    ssl::{
        HandshakeError, Ssl, SslContextBuilder, SslMethod, SslRef, SslSession, SslSessionCacheMode,
        SslVerifyMode, SslVersion,
    },
    stack::StackRef,
    x509::{X509, X509Name},
};
use openssl_sys as ffi;
use portcullis_pki::names::distinguished_name;

use crate::{cipher, failure::HandshakeFailure, sys};

/// How to look.
#[derive(Default)]
pub struct Look<'l> {
    /// The name to ask for; none for an address.
    pub server_name: Option<&'l str>,
    /// The one version to speak, as `TLSv1.2`; any when `None`.
    pub version: Option<&'l str>,
    /// The client's chain, leaf first, and its key.
    pub client: Option<(&'l [X509], &'l PKey<Private>)>,
    /// ALPN, in its form on the wire.
    pub protocols: &'l [u8],
    /// What to send once hands are shaken; tickets may come with the answer only.
    pub request: &'l str,
    /// A session to resume.
    pub session: Option<&'l SslSession>,
}

/// What was seen.
pub struct Seen {
    /// `TLSv1.3` or another.
    pub version: &'static str,
    /// The suite by its IANA name.
    pub cipher: String,
    /// The group keys were agreed with.
    pub group: Option<&'static str>,
    /// The protocol chosen by ALPN.
    pub protocol: Option<String>,
    /// What the server presented, leaf first.
    pub chain: Vec<X509>,
    /// A certificate was asked for, of one of these authorities if there are any.
    pub asked_of_client: Option<Vec<String>>,
    /// The session given was resumed.
    pub resumed: bool,
    /// A session that may be resumed.
    pub session: Option<SslSession>,
    /// The alert or the end that came instead of an answer to the request.
    pub refused: Option<String>,
}

/// Why nothing was seen.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The handshake failed.
    #[error("{0}")]
    Handshake(String),
    /// The library cannot look like this.
    #[error("the TLS library refused the settings")]
    Library(#[from] ErrorStack),
}

/// Versions that can be looked for.
pub const VERSIONS: [&str; 4] = ["TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

/// Looks at the server behind a connection.
///
/// # Errors
/// [`ProbeError`].
pub fn look(transport: TcpStream, look: &Look<'_>) -> Result<Seen, ProbeError> {
    let mut context = SslContextBuilder::new(SslMethod::tls())?;
    let version = look.version.map(|version| match version {
        "TLSv1.0" => SslVersion::TLS1,
        "TLSv1.1" => SslVersion::TLS1_1,
        "TLSv1.2" => SslVersion::TLS1_2,
        _ => SslVersion::TLS1_3,
    });
    context.set_min_proto_version(version.or(Some(SslVersion::TLS1)))?;
    context.set_max_proto_version(version.or(Some(SslVersion::TLS1_3)))?;
    context.set_verify(SslVerifyMode::NONE);
    context.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    let sessions: Arc<Mutex<Option<SslSession>>> = Arc::default();
    let kept = sessions.clone();
    context.set_new_session_callback(move |_, session| {
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    });
    if !look.protocols.is_empty() {
        context.set_alpn_protos(look.protocols)?;
    }
    if let Some((chain, key)) = look.client
        && let Some((leaf, along)) = chain.split_first()
    {
        context.set_certificate(leaf)?;
        context.set_private_key(key)?;
        for certificate in along {
            context.add_extra_chain_cert(certificate.clone())?;
        }
    }
    let context = context.build();
    let mut ssl = Ssl::new(&context)?;
    if let Some(name) = look.server_name {
        ssl.set_hostname(name)?;
    }
    if let Some(session) = look.session {
        // SAFETY: the session was made by a context with the same settings.
        unsafe { ssl.set_session(session)? };
    }
    // SAFETY: a valid connection and a static function without argument.
    unsafe { ffi::SSL_set_cert_cb(ssl.as_ptr(), Some(asked), std::ptr::null_mut()) };
    let mut stream = match ssl.connect(transport) {
        Ok(stream) => stream,
        Err(HandshakeError::SetupFailure(error)) => return Err(error.into()),
        Err(HandshakeError::Failure(stream) | HandshakeError::WouldBlock(stream)) => {
            return Err(ProbeError::Handshake(told(stream.error())));
        }
    };
    let mut refused = None;
    if !look.request.is_empty() {
        let sent = stream.write_all(look.request.as_bytes());
        let mut first = [0; 1];
        match sent.and_then(|()| stream.read(&mut first)) {
            Ok(0) => refused = Some("it closed the connection without an answer".to_owned()),
            Ok(_) => {}
            Err(error) => {
                let inner = error.get_ref();
                let tls = inner.and_then(|inner| inner.downcast_ref::<openssl::ssl::Error>());
                refused = Some(tls.map_or_else(|| error.to_string(), told));
            }
        }
    }
    let ssl = stream.ssl();
    let suite = sys::cipher_id(ssl).and_then(cipher::by_id);
    let cipher = match (suite, ssl.current_cipher()) {
        (Some(suite), _) => suite.name.to_owned(),
        (None, Some(other)) => other.name().to_owned(),
        (None, None) => String::new(),
    };
    let protocol = ssl.selected_alpn_protocol();
    let chain = ssl.peer_cert_chain();
    Ok(Seen {
        version: ssl.version_str(),
        cipher,
        group: sys::group_name(ssl),
        protocol: protocol.map(|name| String::from_utf8_lossy(name).into_owned()),
        chain: chain.map_or_else(Vec::new, |chain| {
            chain.iter().map(ToOwned::to_owned).collect()
        }),
        asked_of_client: slot().ok().and_then(|slot| ssl.ex_data(slot).cloned()),
        resumed: ssl.session_reused(),
        session: sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
        refused,
    })
}

/// A failure in the words that servers use of their clients, turned round.
fn told(error: &openssl::ssl::Error) -> String {
    use crate::failure::Reason;
    match HandshakeFailure::of(error) {
        HandshakeFailure {
            reason: Reason::ClientAlert(alert),
            ..
        } => format!(
            "the server refused with alert {} ({alert})",
            crate::failure::alert_name(alert)
        ),
        HandshakeFailure {
            reason: Reason::Eof,
            ..
        } => "the server closed the connection".to_owned(),
        HandshakeFailure { detail, .. } if !detail.is_empty() => detail,
        _ => error.to_string(),
    }
}

/// Where a connection keeps what the server asked for.
fn slot() -> Result<Index<Ssl, Vec<String>>, ErrorStack> {
    static SLOT: OnceLock<Index<Ssl, Vec<String>>> = OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = Ssl::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}

/// The server asks for a certificate.
unsafe extern "C" fn asked(ssl: *mut ffi::SSL, _arg: *mut c_void) -> c_int {
    // SAFETY: the library calls with a connection in its handshake that nobody else uses.
    let ssl = unsafe { SslRef::from_ptr_mut(ssl) };
    // SAFETY: a valid connection; the list, if any, lives as long as the handshake.
    let list = unsafe { ffi::SSL_get_client_CA_list(ssl.as_ptr()) };
    let names = if list.is_null() {
        Vec::new()
    } else {
        // SAFETY: not null, and a stack of names.
        let list = unsafe { StackRef::<X509Name>::from_ptr(list.cast()) };
        list.iter().map(distinguished_name).collect()
    };
    if let Ok(slot) = slot() {
        ssl.set_ex_data(slot, names);
    }
    1
}
