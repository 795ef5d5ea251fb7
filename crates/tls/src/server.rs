//! The server side of TLS.
//!
//! A [`ServerConfig`] is built aside from [`ServerSettings`], checked, and swapped whole; a
//! connection keeps the one it started with. A handshake touches no lock, no disk and no
//! other connection.
//!
//! How a handshake goes: every connection starts on the *front* context, which has no
//! certificate. When the ClientHello is there, before the version is chosen and before a
//! ticket is looked at, [`decide`] picks policy and certificate and moves the connection to
//! the context of that pair. Those contexts are made when first needed, so that thousands of
//! certificates cost little until somebody asks for them; a configuration with some certificates
//! replaced keeps those of all others.
//!
//! Invariants:
//! - Without a certificate for it no handshake succeeds: the front context answers with
//!   `unrecognized_name`.
//! - Tickets are sealed with keys shared by all contexts, but carry the policy's session-id
//!   context; under another policy they are ignored and a full handshake follows.
//! - HTTP/2 is chosen together with a prohibited suite of TLS 1.2 only for a client that
//!   offers nothing else; [`Negotiated::http2_prohibited`](crate::negotiated::Negotiated)
//!   tells the HTTP/2 layer to close.

#![expect(
    unsafe_code,
    reason = "the library's ClientHello, name and ALPN callbacks are C functions"
)]

pub(crate) mod clients;
mod contexts;

use std::{
    ffi::{c_int, c_uint, c_void},
    fmt,
    sync::{Arc, OnceLock},
};

use foreign_types::ForeignTypeRef;
use openssl::{
    error::ErrorStack,
    ex_data::Index,
    ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslRef, SslSessionCacheMode},
};
use openssl_sys as ffi;
use portcullis_pki::{CertifiedKey, KeyKind};

pub use self::clients::{ClientRefused, RefusedFor};
use self::contexts::Contexts;
use crate::{
    cipher::{self, CipherList},
    hello::Hello,
    offer,
    policy::Policies,
    serving::{Replacement, ServingSet},
    signatures, sys,
    tickets::{self, TicketKeys},
    version::{Version, VersionRange},
};

/// Groups for key agreement, most preferred first: the number on the wire and the library's.
/// A key share the client already sent is taken before a better group without one.
const GROUPS: [(u16, i32); 4] = [
    (
        ffi::SSL_GROUP_X25519_MLKEM768 as u16,
        ffi::NID_X25519MLKEM768,
    ),
    (ffi::SSL_GROUP_X25519 as u16, ffi::NID_X25519),
    (ffi::SSL_GROUP_SECP256R1 as u16, ffi::NID_X9_62_prime256v1),
    (ffi::SSL_GROUP_SECP384R1 as u16, ffi::NID_secp384r1),
];

/// A suite no connection can use, for a server that has none for TLS 1.2: the handshake then
/// fails with `handshake_failure`. (It needs a pre-shared key, and there is none.)
const NO_SUITE: &str = "PSK-AES128-CBC-SHA";

/// Everything a server needs to know.
#[derive(Debug)]
pub struct ServerSettings {
    /// The versions spoken.
    pub versions: VersionRange,
    /// The suites of TLS 1.2.
    pub ciphers: CipherList,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// The certificates.
    pub serving: ServingSet,
    /// What is asked of clients.
    pub policies: Policies,
    /// The keys of session tickets; keep them over a reload.
    pub tickets: Arc<TicketKeys>,
}

/// Why a server configuration cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The library refused a setting.
    #[error("the TLS library refused the server's settings")]
    Library(#[from] ErrorStack),
    /// A certificate that TLS cannot use.
    #[error("the certificate of {subject:?} has {kind}, which TLS servers cannot use")]
    Key {
        /// Common name of the certificate.
        subject: String,
        /// The kind of its key.
        kind: KeyKind,
    },
}

/// The server side of TLS, immutable. Cheap to clone.
#[derive(Clone)]
pub struct ServerConfig {
    front: SslContext,
    inner: Arc<Inner>,
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("settings", &self.inner.settings)
            .finish()
    }
}

impl ServerConfig {
    /// Builds and checks a configuration. An empty serving set is fine; every handshake then
    /// fails with `unrecognized_name`.
    pub fn new(settings: ServerSettings) -> Result<ServerConfig, ServerError> {
        for key in settings.serving.certificates() {
            usable(key)?;
        }
        let contexts = Contexts::new(settings.policies.list().len(), settings.serving.slots());
        Ok(ServerConfig::around(Inner { settings, contexts })?)
    }

    /// The same configuration with other certificates in some slots of its serving set. Whatever
    /// was made for the others stays.
    ///
    /// # Errors
    /// As [`ServerConfig::new`].
    pub fn with_certificates(
        &self,
        replacements: &[Replacement],
    ) -> Result<ServerConfig, ServerError> {
        for key in replacements.iter().filter_map(|(_, key)| key.as_ref()) {
            usable(key)?;
        }
        let old = &self.inner.settings;
        let settings = ServerSettings {
            versions: old.versions,
            ciphers: old.ciphers.clone(),
            http2: old.http2,
            serving: old.serving.with(replacements),
            policies: old.policies.clone(),
            tickets: old.tickets.clone(),
        };
        let contexts = self.inner.contexts.without(replacements);
        Ok(ServerConfig::around(Inner { settings, contexts })?)
    }

    fn around(inner: Inner) -> Result<ServerConfig, ErrorStack> {
        let mut front = context(&inner.settings)?;
        // SAFETY: valid contexts and static functions.
        unsafe {
            ffi::SSL_CTX_set_select_certificate_cb(front.as_ptr(), Some(select));
            ffi::SSL_CTX_set_tlsext_servername_callback(front.as_ptr(), Some(refuse_name));
        }
        let inner = Arc::new(inner);
        front.set_ex_data(slot()?, inner.clone());
        Ok(ServerConfig {
            front: front.build(),
            inner,
        })
    }

    /// A connection about to accept a handshake.
    pub fn session(&self) -> Result<Ssl, ErrorStack> {
        let mut ssl = sys::new_session(&self.front)?;
        sys::shed_handshake_config(&mut ssl);
        ssl.set_accept_state();
        Ok(ssl)
    }

    /// The same configuration with other policies. Certificates keep their slots.
    ///
    /// # Errors
    /// As [`ServerConfig::new`].
    pub fn with_policies(&self, policies: Policies) -> Result<ServerConfig, ServerError> {
        let old = &self.inner.settings;
        let settings = ServerSettings {
            versions: old.versions,
            ciphers: old.ciphers.clone(),
            http2: old.http2,
            serving: old.serving.clone(),
            policies,
            tickets: old.tickets.clone(),
        };
        let contexts = Contexts::new(settings.policies.list().len(), settings.serving.slots());
        Ok(ServerConfig::around(Inner { settings, contexts })?)
    }

    /// What it was built from.
    pub fn settings(&self) -> &ServerSettings {
        &self.inner.settings
    }
}

/// Refuses a certificate whose key no handshake can use.
fn usable(key: &CertifiedKey) -> Result<(), ServerError> {
    let facts = key.facts();
    match facts.key {
        KeyKind::Other => Err(ServerError::Key {
            subject: facts.subject_cn.clone(),
            kind: facts.key,
        }),
        _ => Ok(()),
    }
}

/// What the callbacks need.
struct Inner {
    settings: ServerSettings,
    contexts: Contexts,
}

impl Inner {
    /// The context of a policy and a certificate.
    fn context(&self, policy: usize, certificate: u32) -> Option<&SslContext> {
        let make = || self.make_context(policy, certificate).ok();
        self.contexts.get(policy, certificate, make)
    }

    fn make_context(&self, policy: usize, certificate: u32) -> Result<SslContext, ErrorStack> {
        let mut context = context(&self.settings)?;
        if let Some(policy) = self.settings.policies.list().get(policy) {
            context.set_session_id_context(&policy.context())?;
            clients::install(&mut context, policy)?;
        }
        if let Some(key) = self.settings.serving.slot(certificate) {
            sys::set_chain_and_key(&mut context, key.chain(), &*key.key()?)?;
        }
        // SAFETY: a valid context and a static function.
        unsafe { ffi::SSL_CTX_set_tlsext_servername_callback(context.as_ptr(), Some(accept_name)) };
        Ok(context.build())
    }
}

/// A context with everything that does not depend on policy and certificate.
fn context(settings: &ServerSettings) -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls())?;
    context.set_min_proto_version(Some(settings.versions.min().ssl()))?;
    context.set_max_proto_version(Some(settings.versions.max().ssl()))?;
    context.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
    // Sessions travel in tickets; a cache would be memory and a lock.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    let list = settings.ciphers.library_notation();
    sys::set_strict_cipher_list(&mut context, if list.is_empty() { NO_SUITE } else { &list })?;
    sys::set_groups(&mut context, &GROUPS.map(|(_, nid)| nid))?;
    sys::set_accepted_signatures(&mut context, &signatures::OF_CLIENTS)?;
    match settings.tickets.lifetime() {
        Some(lifetime) => {
            sys::set_tickets(&mut context, 1, lifetime);
            tickets::install(&mut context, &settings.tickets)?;
        }
        None => {
            context.set_options(SslOptions::NO_TICKET);
        }
    }
    if settings.http2 {
        // SAFETY: a valid context and a static function without argument.
        unsafe {
            ffi::SSL_CTX_set_alpn_select_cb(
                context.as_ptr(),
                Some(select_protocol),
                std::ptr::null_mut(),
            );
        }
    }
    Ok(context)
}

/// Picks policy and certificate for a ClientHello and moves the connection to their context.
/// `None` leaves it on the front context, which refuses every name.
fn decide(inner: &Inner, ssl: &mut SslRef, hello: &Hello<'_>) -> Option<()> {
    let ServerSettings {
        versions,
        ciphers,
        serving,
        policies,
        ..
    } = &inner.settings;
    let mut buffer = [0; 255];
    let host = hello.host(&mut buffer);
    let certificate = serving.select(host, hello, *versions, ciphers)?;
    let policy = policies.select(host);
    ssl.set_ssl_context(inner.context(policy, certificate)?)
        .ok()?;
    clients::ask(policies.list().get(policy)?, ssl);
    if let Some(group) = hello.shared_group_at_hand(&GROUPS.map(|(id, _)| id), *versions) {
        let mut order = GROUPS;
        order.sort_by_key(|(id, _)| *id != group);
        let nids = order.map(|(_, nid)| nid);
        // SAFETY: a valid connection; pointer and length are one array, copied.
        unsafe { ffi::SSL_set1_groups(ssl.as_ptr(), nids.as_ptr(), nids.len()) };
    }
    Some(())
}

/// Where the front context keeps what the callbacks need.
fn slot() -> Result<Index<SslContext, Arc<Inner>>, ErrorStack> {
    static SLOT: OnceLock<Index<SslContext, Arc<Inner>>> = OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = SslContext::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}

unsafe extern "C" fn select(hello: *const ffi::SSL_CLIENT_HELLO) -> ffi::ssl_select_cert_result_t {
    // SAFETY: the library calls with a parsed ClientHello whose pointers and lengths describe
    // bytes that live during the call, and with a connection nobody else uses meanwhile.
    let (hello, ssl) = unsafe {
        let hello = &*hello;
        let parsed = Hello::parse(
            hello.version,
            slice(hello.cipher_suites, hello.cipher_suites_len),
            slice(hello.extensions, hello.extensions_len),
        );
        (parsed, SslRef::from_ptr_mut(hello.ssl))
    };
    offer::keep(ssl, &hello);
    // The front context lives as long as the connection that started on it, but borrowing it
    // through the connection would forbid changing the connection: hold it by a reference.
    let front = ssl.ssl_context().to_owned();
    if let Some(inner) = slot().ok().and_then(|slot| front.ex_data(slot)) {
        let _ = decide(inner, ssl, &hello);
    }
    ffi::ssl_select_cert_result_t_ssl_select_cert_success
}

/// # Safety
/// `pointer` leads to `length` bytes that outlive the result, unless `length` is zero.
unsafe fn slice<'a>(pointer: *const u8, length: usize) -> &'a [u8] {
    if pointer.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: by the caller's promise.
    unsafe { std::slice::from_raw_parts(pointer, length) }
}

/// The front context's answer to every name, also to none: the connection was not moved, so
/// there is no certificate for it.
unsafe extern "C" fn refuse_name(
    _ssl: *mut ffi::SSL,
    alert: *mut c_int,
    _arg: *mut c_void,
) -> c_int {
    const UNRECOGNIZED_NAME: c_int = 112;
    // SAFETY: the library gives a place for the alert.
    unsafe { *alert = UNRECOGNIZED_NAME };
    ffi::SSL_TLSEXT_ERR_ALERT_FATAL
}

unsafe extern "C" fn accept_name(
    _ssl: *mut ffi::SSL,
    _alert: *mut c_int,
    _arg: *mut c_void,
) -> c_int {
    ffi::SSL_TLSEXT_ERR_OK
}

/// ALPN: `h2` when offered; nothing when only `http/1.1` is; otherwise the handshake ends
/// with `no_application_protocol`.
unsafe extern "C" fn select_protocol(
    ssl: *mut ffi::SSL,
    out: *mut *const u8,
    out_len: *mut u8,
    offered: *const u8,
    offered_len: c_uint,
    _arg: *mut c_void,
) -> c_int {
    static H2: [u8; 2] = *b"h2";
    // SAFETY: the library gives the client's list, already checked for form.
    let offered = unsafe { slice(offered, offered_len as usize) };
    // SAFETY: a valid connection in its handshake.
    let suite = sys::pending_cipher_id(unsafe { SslRef::from_ptr(ssl) }).and_then(cipher::by_id);
    let offers = |protocol: &[u8]| Protocols(offered).any(|name| name == protocol);
    let prohibited = suite.is_some_and(cipher::Suite::is_prohibited_in_http2);
    if offers(&H2) && !(prohibited && offers(b"http/1.1")) {
        // SAFETY: places for pointer and length; the bytes are static.
        unsafe {
            *out = H2.as_ptr();
            *out_len = H2.len() as u8;
        }
        ffi::SSL_TLSEXT_ERR_OK
    } else if offers(b"http/1.1") {
        ffi::SSL_TLSEXT_ERR_NOACK
    } else {
        ffi::SSL_TLSEXT_ERR_ALERT_FATAL
    }
}

/// The names of an ALPN list, each behind its length.
struct Protocols<'a>(&'a [u8]);

impl<'a> Iterator for Protocols<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        Some(name)
    }
}

impl ServerConfig {
    /// Whether TLS 1.3 is off; worth a hint at start.
    pub fn lacks_tls13(&self) -> bool {
        !self.inner.settings.versions.contains(Version::Tls13)
    }
}
