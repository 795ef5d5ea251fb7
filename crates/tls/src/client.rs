//! The client side of TLS, towards upstreams.
//!
//! Invariants:
//! - The peer's chain, validity, usage and name are verified, against its subject alternative
//!   names only, never the common name. The one way around says
//!   [`Verification::DangerousNone`].
//! - A connection is a full handshake: sessions are not resumed.
//! - A certificate is shown only to a server that asks for one ([`Identity`]).
//! - Renegotiation is refused.

use std::{fmt, net::IpAddr, sync::Arc};

use openssl::{
    error::ErrorStack,
    ssl::{
        Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode,
        SslVerifyMode,
    },
    x509::{
        X509Ref,
        store::X509StoreBuilder,
        verify::{X509CheckFlags, X509VerifyFlags},
    },
};
use openssl_sys as ffi;

use crate::{
    cipher::CipherList,
    identity::Identity,
    roots::Roots,
    sys,
    version::{Version, VersionRange},
};

/// How host names are compared: `*` stands for a whole label, and the common name never
/// counts (the safe constants have no name for that flag here).
const HOST_FLAGS: X509CheckFlags = X509CheckFlags::NO_PARTIAL_WILDCARDS.union(
    X509CheckFlags::from_bits_retain(ffi::X509_CHECK_FLAG_NEVER_CHECK_SUBJECT as u32),
);

/// Groups for key agreement, most preferred first.
const GROUPS: [i32; 4] = [
    ffi::NID_X25519MLKEM768,
    ffi::NID_X25519,
    ffi::NID_X9_62_prime256v1,
    ffi::NID_secp384r1,
];

/// Signatures accepted of a server: the library's own list and Ed25519.
const SIGNATURES: [u16; 11] = [
    ffi::SSL_SIGN_ECDSA_SECP256R1_SHA256 as u16,
    ffi::SSL_SIGN_RSA_PSS_RSAE_SHA256 as u16,
    ffi::SSL_SIGN_RSA_PKCS1_SHA256 as u16,
    ffi::SSL_SIGN_ECDSA_SECP384R1_SHA384 as u16,
    ffi::SSL_SIGN_RSA_PSS_RSAE_SHA384 as u16,
    ffi::SSL_SIGN_RSA_PKCS1_SHA384 as u16,
    ffi::SSL_SIGN_ECDSA_SECP521R1_SHA512 as u16,
    ffi::SSL_SIGN_RSA_PSS_RSAE_SHA512 as u16,
    ffi::SSL_SIGN_RSA_PKCS1_SHA512 as u16,
    ffi::SSL_SIGN_ED25519 as u16,
    ffi::SSL_SIGN_RSA_PKCS1_SHA1 as u16,
];

/// Whom to believe.
#[derive(Clone, Debug)]
pub enum Verification {
    /// Chain to one of these authorities, and the host's name.
    Full(Arc<Roots>),
    /// Anybody. Whoever sits between us and the upstream can read and change everything
    /// (`proxy_ssl_insecure_skip_verify`).
    DangerousNone,
}

/// Everything a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The versions spoken.
    pub versions: VersionRange,
    /// The suites of TLS 1.2.
    pub ciphers: CipherList,
    /// Whom to believe.
    pub verification: Verification,
    /// Whether to offer `h2` and `http/1.1`; otherwise ALPN is left out.
    pub http2: bool,
}

/// Why a client configuration cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing to verify against.
    #[error(
        "no trusted certificate authorities found on this system; install ca-certificates or set SSL_CERT_FILE"
    )]
    NoRoots,
    /// No suite can be offered.
    #[error("no cipher suite is left for TLS 1.2, and TLS 1.3 is off")]
    NoCiphers,
    /// The library refused a setting.
    #[error("the TLS library refused the client's settings")]
    Library(#[from] ErrorStack),
}

/// The client side of TLS, immutable. Cheap to clone.
#[derive(Clone)]
pub struct ClientConfig {
    context: SslContext,
    settings: Arc<ClientSettings>,
    identity: Identity,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl ClientConfig {
    /// Builds and checks the configuration of a client without a certificate.
    pub fn new(settings: ClientSettings) -> Result<ClientConfig, ClientError> {
        ClientConfig::with_identity(settings, Identity::None)
    }

    /// Builds and checks the configuration of a client that may show a certificate.
    pub fn with_identity(
        settings: ClientSettings,
        identity: Identity,
    ) -> Result<ClientConfig, ClientError> {
        let mut context = SslContextBuilder::new(SslMethod::tls())?;
        // Without suites for TLS 1.2 only 1.3 can be offered.
        let tls12 = !settings.ciphers.suites().is_empty();
        if !tls12 && !settings.versions.contains(Version::Tls13) {
            return Err(ClientError::NoCiphers);
        }
        let min = if tls12 {
            settings.versions.min()
        } else {
            Version::Tls13
        };
        context.set_min_proto_version(Some(min.ssl()))?;
        context.set_max_proto_version(Some(settings.versions.max().ssl()))?;
        if tls12 {
            sys::set_strict_cipher_list(&mut context, &settings.ciphers.library_notation())?;
        }
        context.set_options(SslOptions::NO_TICKET);
        context.set_session_cache_mode(SslSessionCacheMode::OFF);
        sys::set_groups(&mut context, &GROUPS)?;
        sys::set_accepted_signatures(&mut context, &SIGNATURES)?;
        if settings.http2 {
            context.set_alpn_protos(b"\x02h2\x08http/1.1")?;
        }
        match &settings.verification {
            Verification::Full(roots) => {
                if roots.is_empty() {
                    return Err(ClientError::NoRoots);
                }
                let mut store = X509StoreBuilder::new()?;
                // Whoever is named is trusted, also one that somebody else has signed.
                store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
                for root in roots.certificates() {
                    store.add_cert(root.clone())?;
                }
                context.set_cert_store(store.build());
                context.set_verify(SslVerifyMode::PEER);
            }
            Verification::DangerousNone => context.set_verify(SslVerifyMode::NONE),
        }
        identity.prepare(&mut context)?;
        Ok(ClientConfig {
            context: context.build(),
            settings: Arc::new(settings),
            identity,
        })
    }

    /// A connection about to begin a handshake with `host`, a name or an IP address (in
    /// brackets or not). The name goes out as SNI; an address does not.
    pub fn session(&self, host: &str) -> Result<Ssl, ErrorStack> {
        let mut ssl = sys::new_session(&self.context)?;
        sys::shed_handshake_config(&mut ssl);
        let verified = matches!(self.settings.verification, Verification::Full(_));
        match Host::of(host) {
            Host::Address(address) if verified => ssl.param_mut().set_ip(address)?,
            Host::Address(_) => {}
            Host::Name(name) => {
                ssl.set_hostname(&name)?;
                if verified {
                    let param = ssl.param_mut();
                    param.set_hostflags(HOST_FLAGS);
                    param.set_host(&name)?;
                }
            }
        }
        self.identity.choose_on(&mut ssl)?;
        ssl.set_connect_state();
        Ok(ssl)
    }

    /// What it was built from.
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }
}

/// Whether a certificate names `host`, by the rules of a handshake.
pub(crate) fn names(certificate: &X509Ref, host: &str) -> bool {
    match Host::of(host) {
        Host::Name(name) => sys::certificate_names_host(certificate, &name, HOST_FLAGS.bits()),
        Host::Address(address) => sys::certificate_names_address(certificate, address),
    }
}

/// What a host in a URL is.
enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    fn of(text: &str) -> Host {
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        // A zone is for the operating system, no certificate names it.
        let address = bare.split('%').next().unwrap_or(bare);
        match address.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => {
                let name = text.to_ascii_lowercase();
                Host::Name(name.strip_suffix('.').unwrap_or(&name).to_owned())
            }
        }
    }
}
