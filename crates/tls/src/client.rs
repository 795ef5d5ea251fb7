//! The client side of TLS, towards upstreams.
//!
//! Invariants:
//! - The peer's chain, validity, usage and name are verified, against its subject alternative
//!   names only, never the common name. The one way around says
//!   [`Verification::DangerousNone`].
//! - Pins and the common name are looked at inside the handshake, besides whatever else is verified: a
//!   server that fails them gets an alert and no byte of a request.
//! - A connection is a full handshake: sessions are not resumed.
//! - A certificate is shown only to a server that asks for one ([`Identity`]).
//! - No second handshake on a connection unless [`Renegotiation`] says so.

mod pins;
mod renegotiation;
mod verify;

use std::{fmt, net::IpAddr, sync::Arc};

use openssl::{
    error::ErrorStack,
    sha::Sha256,
    ssl::{
        Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode,
        SslVerifyMode,
    },
    x509::{X509Ref, verify::X509CheckFlags},
};
use openssl_sys as ffi;
use portcullis_pki::CertifiedKey;

pub(crate) use self::verify::{counts_names, refused};
pub use self::{pins::Pins, renegotiation::Renegotiation, verify::ServerRefused};
use crate::{
    cipher::CipherList,
    identity::Identity,
    roots::Roots,
    signatures, sys,
    version::{DEFAULT_UPSTREAM, Version, VersionRange},
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

/// Whom to believe.
#[derive(Clone, Debug)]
pub enum Verification {
    /// Chain to one of these authorities, and the host's name.
    Full(Arc<Roots>),
    /// Chain to one of these authorities, whatever names the certificate carries; for a server that
    /// is told by its common name or its pin.
    Chain(Arc<Roots>),
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
    /// Shown, its whole chain, whenever a server asks, whatever authorities the server names.
    pub identity: Option<Arc<CertifiedKey>>,
    /// Keys of which the server must have one.
    pub pins: Option<Pins>,
    /// The certificate's common name must be the host.
    pub common_name: bool,
    /// What is done when the server wants another handshake.
    pub renegotiation: Renegotiation,
}

impl ClientSettings {
    /// The default versions and suites, HTTP/1, no certificate of one's own, nothing looked at but what
    /// `verification` says.
    pub fn new(verification: Verification) -> ClientSettings {
        ClientSettings {
            versions: DEFAULT_UPSTREAM,
            ciphers: CipherList::default(),
            verification,
            http2: false,
            identity: None,
            pins: None,
            common_name: false,
            renegotiation: Renegotiation::Ignored,
        }
    }

    /// A digest of everything it says: connections of settings with the same digest are
    /// interchangeable, and those of others are not.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            digest.update(&bytes.len().to_be_bytes());
            digest.update(bytes);
        };
        part(b"portcullis client 1");
        let range = [self.versions.min() as u8, self.versions.max() as u8];
        part(&range);
        part(self.ciphers.library_notation().as_bytes());
        match &self.verification {
            Verification::Full(roots) => part(&[b"full", &roots.digest()[..]].concat()),
            Verification::Chain(roots) => part(&[b"chain", &roots.digest()[..]].concat()),
            Verification::DangerousNone => part(b"none"),
        }
        part(&[
            u8::from(self.http2),
            u8::from(self.common_name),
            self.renegotiation as u8,
        ]);
        let chain = self.identity.iter().flat_map(|identity| identity.chain());
        chain.for_each(|certificate| part(certificate));
        part(b"pins");
        let pins = self.pins.iter().flat_map(Pins::digests);
        pins.for_each(|pin| part(pin));
        part(&[u8::from(self.pins.is_some())]);
        digest.finish()
    }

    /// More is looked at than the library looks at by itself.
    fn looks_closer(&self) -> bool {
        let only_chain = matches!(self.verification, Verification::Chain(_));
        self.pins.is_some() || self.common_name || only_chain
    }
}

/// Why a client configuration cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing to verify against.
    #[error(
        "no trusted certificate authorities to verify it with; install ca-certificates, set SSL_CERT_FILE or name some in portcullis.upstream_ca"
    )]
    NoRoots,
    /// No suite can be offered.
    #[error("no cipher suite is left for TLS 1.2, and TLS 1.3 is off")]
    NoCiphers,
    /// The certificate to be shown, or its key, is not sound.
    #[error("the client certificate of {subject:?} cannot be used: {source}")]
    Identity {
        /// Its common name.
        subject: String,
        /// What the library said.
        source: ErrorStack,
    },
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

    /// Builds and checks the configuration of a client that may show a certificate; the settings' own comes
    /// before `identity`.
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
        sys::set_accepted_signatures(&mut context, &signatures::OF_SERVERS)?;
        if settings.http2 {
            context.set_alpn_protos(b"\x02h2\x08http/1.1")?;
        }
        match &settings.verification {
            Verification::Full(roots) | Verification::Chain(roots) => {
                if roots.is_empty() {
                    return Err(ClientError::NoRoots);
                }
                sys::share_cert_store(&mut context, roots.store()?)?;
                context.set_verify(SslVerifyMode::PEER);
            }
            // What is looked at all the same must be able to refuse.
            Verification::DangerousNone if settings.looks_closer() => {
                context.set_verify(SslVerifyMode::PEER);
            }
            Verification::DangerousNone => context.set_verify(SslVerifyMode::NONE),
        }
        if settings.looks_closer() {
            verify::install(&mut context);
        }
        let identity = match &settings.identity {
            Some(pair) => Identity::One(pair.clone()),
            None => identity,
        };
        identity
            .prepare(&mut context)
            .map_err(|source| match &identity {
                Identity::One(pair) => ClientError::Identity {
                    subject: pair.facts().subject_cn.clone(),
                    source,
                },
                Identity::None | Identity::FirstFitting(_) => source.into(),
            })?;
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
        renegotiation::prepare(&mut ssl, self.settings.renegotiation)?;
        if self.settings.looks_closer() {
            verify::expect(&mut ssl, &self.settings, host)?;
        }
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

    /// Who it is towards servers that ask.
    pub fn identity(&self) -> &Identity {
        &self.identity
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
