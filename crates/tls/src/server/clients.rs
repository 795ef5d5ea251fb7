//! Client certificates in a handshake: asked for, looked at, remembered.
//!
//! Invariants:
//! - What is not trusted where trust is required ends the handshake before a byte of a request is read.
//! - Of a certificate that is let in, its key has been proven: the library sees to that with every
//!   certificate, also where nobody asks who issued it.
//! - A resumed session counts as what it was: its chain came with the ticket, whose policy is this
//!   policy, and whatever it was judged by is still valid.

#![expect(unsafe_code, reason = "the library calls back for the judgement")]

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use foreign_types::ForeignTypeRef;
use openssl::{
    error::ErrorStack,
    ex_data::Index,
    ssl::{Ssl, SslContext, SslContextBuilder, SslRef},
    stack::Stack,
    x509::X509Name,
};
use openssl_sys as ffi;
use portcullis_pki::{PresentedChain, PresentedError, Refusal};

use crate::{
    policy::{ClientCertificate, Manner, Policy},
    sys,
    version::Version,
};

const HANDSHAKE_FAILURE: u8 = 40;
const BAD_CERTIFICATE: u8 = 42;
const CERTIFICATE_REVOKED: u8 = 44;
const CERTIFICATE_EXPIRED: u8 = 45;
const CERTIFICATE_UNKNOWN: u8 = 46;
const UNKNOWN_CA: u8 = 48;
const CERTIFICATE_REQUIRED: u8 = 116;

/// Why a handshake refused a client.
#[derive(Debug, Clone)]
pub struct ClientRefused {
    /// What it presented, when that could be read.
    pub chain: Option<Arc<PresentedChain>>,
    /// What is wrong.
    pub reason: RefusedFor,
}

/// What is wrong with a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusedFor {
    /// There is none, or it cannot be looked at.
    Presented(PresentedError),
    /// It is not trusted.
    Judged(Refusal),
}

impl ClientRefused {
    /// It presented none.
    #[must_use]
    pub fn missing() -> Self {
        Self {
            chain: None,
            reason: RefusedFor::Presented(PresentedError::Empty),
        }
    }

    /// A chain that is not trusted.
    #[must_use]
    pub fn judged(chain: Arc<PresentedChain>, refusal: Refusal) -> Self {
        Self {
            chain: Some(chain),
            reason: RefusedFor::Judged(refusal),
        }
    }

    /// The alert that tells a client of it.
    #[must_use]
    pub fn alert(&self, manner: Manner, version: Version) -> u8 {
        if manner == Manner::Uniform {
            return BAD_CERTIFICATE;
        }
        match &self.reason {
            RefusedFor::Presented(PresentedError::Empty) => match version {
                Version::Tls13 => CERTIFICATE_REQUIRED,
                _ => HANDSHAKE_FAILURE,
            },
            RefusedFor::Judged(Refusal::Expired { .. } | Refusal::NotYetValid { .. }) => {
                CERTIFICATE_EXPIRED
            }
            RefusedFor::Judged(Refusal::Untrusted { .. }) => UNKNOWN_CA,
            RefusedFor::Judged(Refusal::Revoked { .. }) => CERTIFICATE_REVOKED,
            RefusedFor::Judged(Refusal::RevocationUnknown { .. }) => CERTIFICATE_UNKNOWN,
            RefusedFor::Judged(_) | RefusedFor::Presented(_) => BAD_CERTIFICATE,
        }
    }
}

impl fmt::Display for ClientRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            RefusedFor::Presented(error) => error.fmt(f),
            RefusedFor::Judged(refusal) => refusal.fmt(f),
        }
    }
}

/// What a connection knows of its client.
pub(crate) struct Client {
    chain: Option<Arc<PresentedChain>>,
    /// Until when what it was judged by is valid, Unix seconds.
    until: i64,
}

/// Gives a context what its connections need to judge clients.
pub(super) fn install(context: &mut SslContextBuilder, policy: &Policy) -> Result<(), ErrorStack> {
    match &policy.client_certificate {
        ClientCertificate::NotAsked => {}
        ClientCertificate::Asked { announced } | ClientCertificate::Required { announced, .. } => {
            let mut names = Stack::new()?;
            for name in announced.iter() {
                names.push(X509Name::from_der(name)?)?;
            }
            context.set_client_ca_list(names);
        }
    }
    context.set_ex_data(policy_slot()?, policy.clone());
    Ok(())
}

/// Makes a connection ask for what its policy demands.
pub(super) fn ask(policy: &Policy, ssl: &mut SslRef) {
    let mode = match &policy.client_certificate {
        ClientCertificate::NotAsked => ffi::SSL_VERIFY_NONE,
        ClientCertificate::Asked { .. }
        | ClientCertificate::Required {
            manner: Manner::Uniform,
            ..
        } => ffi::SSL_VERIFY_PEER,
        ClientCertificate::Required {
            manner: Manner::Telling,
            ..
        } => ffi::SSL_VERIFY_PEER | ffi::SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    };
    // SAFETY: a valid connection, borrowed mutably, and a static function.
    unsafe { ffi::SSL_set_custom_verify(ssl.as_ptr(), mode, Some(verify)) };
}

/// What a handshake that is over has let in: the client's chain, if it presented one.
///
/// # Errors
/// The client has to be refused; the alert has been queued.
pub(crate) fn admitted(ssl: &SslRef) -> Result<Option<Arc<PresentedChain>>, ClientRefused> {
    let known = client_slot().ok().and_then(|slot| ssl.ex_data(slot));
    let chain = match known.and_then(|client| client.chain.clone()) {
        Some(chain) => Some(chain),
        // Resumed: the chain came with the ticket.
        None => match sys::with_peer_certificates(ssl, PresentedChain::of_der) {
            Ok(chain) => Some(Arc::new(chain)),
            Err(PresentedError::Empty) => None,
            Err(error) => return Err(refuse(ssl, RefusedFor::Presented(error))),
        },
    };
    if chain.is_some() {
        return Ok(chain);
    }
    match policy_of(ssl).map(|policy| &policy.client_certificate) {
        Some(ClientCertificate::NotAsked | ClientCertificate::Asked { .. }) => Ok(None),
        Some(ClientCertificate::Required { .. }) | None => {
            Err(refuse(ssl, RefusedFor::Presented(PresentedError::Empty)))
        }
    }
}

fn refuse(ssl: &SslRef, reason: RefusedFor) -> ClientRefused {
    sys::send_fatal_alert(ssl, BAD_CERTIFICATE);
    ClientRefused {
        chain: None,
        reason,
    }
}

/// Why the handshake of a connection refused its client.
pub(crate) fn refused(ssl: &SslRef) -> Option<&ClientRefused> {
    ssl.ex_data(refused_slot().ok()?)
}

/// The last second at which a session of this connection may be resumed, Unix time.
pub(crate) fn resumable_until(ssl: &SslRef) -> i64 {
    let client = client_slot().ok().and_then(|slot| ssl.ex_data(slot));
    client.map_or(i64::MAX, |client| client.until)
}

/// Remembers what a ticket says about the session it resumes.
pub(crate) fn resume(ssl: &mut SslRef, until: i64) -> Option<()> {
    let client = Client { chain: None, until };
    ssl.set_ex_data(client_slot().ok()?, client);
    Some(())
}

/// Now, in Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

unsafe extern "C" fn verify(ssl: *mut ffi::SSL, alert: *mut u8) -> ffi::ssl_verify_result_t {
    // SAFETY: the library calls with a connection in its handshake that nobody else uses.
    let ssl = unsafe { SslRef::from_ptr_mut(ssl) };
    let (refused, told) = match judge(ssl) {
        Ok(client) => {
            if let Ok(slot) = client_slot() {
                ssl.set_ex_data(slot, client);
                return ffi::ssl_verify_result_t_ssl_verify_ok;
            }
            (ClientRefused::missing(), BAD_CERTIFICATE)
        }
        Err((refused, manner)) => {
            // Whether a certificate is missing is seen elsewhere; here no alert depends on the version.
            let told = refused.alert(manner, Version::Tls13);
            (refused, told)
        }
    };
    // SAFETY: the library gives a place for the alert.
    unsafe { *alert = told };
    if let Ok(slot) = refused_slot() {
        ssl.set_ex_data(slot, refused);
    }
    ffi::ssl_verify_result_t_ssl_verify_invalid
}

/// Judges what a client presented by the policy of its connection.
fn judge(ssl: &SslRef) -> Result<Client, (ClientRefused, Manner)> {
    let demand = policy_of(ssl).map(|policy| &policy.client_certificate);
    let manner = match demand {
        Some(ClientCertificate::Required { manner, .. }) => *manner,
        _ => Manner::Telling,
    };
    let chain = sys::with_peer_certificates(ssl, PresentedChain::of_der).map_err(|error| {
        let reason = RefusedFor::Presented(error);
        (
            ClientRefused {
                chain: None,
                reason,
            },
            manner,
        )
    })?;
    let chain = Arc::new(chain);
    let until = match demand {
        Some(ClientCertificate::Required { trust, .. }) => {
            let judged = trust.judge(&chain, now());
            judged.map_err(|refusal| (ClientRefused::judged(chain.clone(), refusal), manner))?
        }
        _ => chain.not_after(),
    };
    Ok(Client {
        chain: Some(chain),
        until,
    })
}

fn policy_of(ssl: &SslRef) -> Option<&Policy> {
    ssl.ssl_context().ex_data(policy_slot().ok()?)
}

/// Where a context keeps its policy.
fn policy_slot() -> Result<Index<SslContext, Policy>, ErrorStack> {
    static SLOT: OnceLock<Index<SslContext, Policy>> = OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = SslContext::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}

/// Where a connection keeps what it knows of its client.
fn client_slot() -> Result<Index<Ssl, Client>, ErrorStack> {
    static SLOT: OnceLock<Index<Ssl, Client>> = OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = Ssl::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}

/// Where a connection keeps why its client was refused.
fn refused_slot() -> Result<Index<Ssl, ClientRefused>, ErrorStack> {
    static SLOT: OnceLock<Index<Ssl, ClientRefused>> = OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = Ssl::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}
