//! What is looked at of a server besides what the library looks at: pins, then the common name
//! (outbound sheet 3.2 and 4).
//!
//! Invariants:
//! - It happens inside the handshake: a server that is refused gets the alert `bad_certificate`.
//! - Where the chain is verified, that comes first, by the library's own rules.

#![expect(unsafe_code, reason = "the library calls back for the judgement")]

use std::{
    ffi::{c_int, c_void},
    sync::{Arc, OnceLock},
};

use foreign_types::ForeignTypeRef;
use openssl::{
    error::ErrorStack,
    ex_data::Index,
    nid::Nid,
    ssl::{Ssl, SslContextBuilder, SslRef},
    x509::{X509Ref, X509StoreContext, X509StoreContextRef, X509VerifyResult},
};
use openssl_sys as ffi;
use portcullis_pki::{PresentedChain, PresentedError};

use super::{ClientSettings, Verification, pins};
use crate::sys;

/// Why a server was refused that the library had nothing against.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerRefused {
    /// None of the pinned keys is its, or an issuer's of its certificate.
    #[error("https://{host} certificate public key pinning error. Public keys do not match.")]
    Pins {
        /// The host that was meant.
        host: Box<str>,
    },
    /// Its certificate's common name is another.
    #[error("certificate had CN {found}expected {host}")]
    CommonName {
        /// The common name; empty when there is none.
        found: Box<str>,
        /// The host that was meant.
        host: Box<str>,
    },
    /// What it presents cannot be looked at.
    #[error("what the upstream presents cannot be looked at: {0}")]
    Presented(PresentedError),
}

/// What a connection expects of its server.
struct Expected {
    host: Box<str>,
    settings: Arc<ClientSettings>,
    refused: OnceLock<ServerRefused>,
}

/// Has a context's connections look closer.
pub(super) fn install(context: &mut SslContextBuilder) {
    // SAFETY: a valid context, borrowed mutably; a static function that needs no argument.
    unsafe {
        ffi::SSL_CTX_set_cert_verify_callback(context.as_ptr(), Some(look), std::ptr::null_mut());
    }
}

/// Tells a connection what to expect of `host`.
pub(super) fn expect(
    ssl: &mut Ssl,
    settings: &Arc<ClientSettings>,
    host: &str,
) -> Result<(), ErrorStack> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let expected = Expected {
        host: bare.strip_suffix('.').unwrap_or(bare).into(),
        settings: settings.clone(),
        refused: OnceLock::new(),
    };
    ssl.set_ex_data(slot()?, expected);
    Ok(())
}

/// Why a connection refused its server, where the library alone had not.
pub(crate) fn refused(ssl: &SslRef) -> Option<&ServerRefused> {
    ssl.ex_data(slot().ok()?)?.refused.get()
}

/// Whether the names in a server's certificate count on a connection.
pub(crate) fn counts_names(ssl: &SslRef) -> bool {
    let expected = slot().ok().and_then(|slot| ssl.ex_data(slot));
    expected.is_none_or(|expected| matches!(expected.settings.verification, Verification::Full(_)))
}

unsafe extern "C" fn look(context: *mut ffi::X509_STORE_CTX, _: *mut c_void) -> c_int {
    // SAFETY: the library calls with a context that is in use by its caller alone.
    let context = unsafe { X509StoreContextRef::from_ptr_mut(context) };
    c_int::from(is_expected(context))
}

/// Looks at everything; the reason for a refusal is left in the context.
fn is_expected(context: &mut X509StoreContextRef) -> bool {
    let chain_counts = |expected: &Expected| {
        !matches!(expected.settings.verification, Verification::DangerousNone)
    };
    let verified = match expected(context).map(chain_counts) {
        Some(false) => false,
        // With nothing known of what is expected, the strictest.
        Some(true) | None => match context.verify_cert() {
            Ok(true) => true,
            // The context says why.
            Ok(false) | Err(_) => return false,
        },
    };
    let Some((ssl, expected)) = connection(context).zip(expected(context)) else {
        context.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
        return false;
    };
    let judged = match context.chain().filter(|_| verified) {
        Some(chain) => expected.judge(chain.iter()),
        None => match sys::with_peer_certificates(ssl, PresentedChain::of_der) {
            Ok(presented) => expected.judge(pins::signers(&presented).into_iter()),
            Err(error) => Err(ServerRefused::Presented(error)),
        },
    };
    let Err(refusal) = judged else { return true };
    // Nobody else sets it.
    let _ = expected.refused.set(refusal);
    // Its alert is `bad_certificate`.
    context.set_error(sys::certificate_rejected());
    false
}

impl Expected {
    /// Judges the certificates that a server's proof rests on, leaf first.
    fn judge<'a>(&self, mut way: impl Iterator<Item = &'a X509Ref>) -> Result<(), ServerRefused> {
        let leaf = way.next();
        if let Some(pins) = &self.settings.pins
            && !pins.allow(leaf.into_iter().chain(way))
        {
            let host = self.host.clone();
            return Err(ServerRefused::Pins { host });
        }
        if self.settings.common_name {
            let found = leaf.and_then(common_name).unwrap_or_default();
            if found.is_empty() || !found.eq_ignore_ascii_case(&self.host) {
                return Err(ServerRefused::CommonName {
                    found: found.into(),
                    host: self.host.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The last of a subject's common names, as Go has it.
fn common_name(certificate: &X509Ref) -> Option<String> {
    let subject = certificate.subject_name();
    let last = subject.entries_by_nid(Nid::COMMONNAME).last()?;
    last.data().to_string().ok()
}

/// What the connection of a verification expects.
fn expected(context: &X509StoreContextRef) -> Option<&Expected> {
    connection(context)?.ex_data(slot().ok()?)
}

/// The connection of a verification.
fn connection(context: &X509StoreContextRef) -> Option<&SslRef> {
    context.ex_data(X509StoreContext::ssl_idx().ok()?)
}

/// Where a connection keeps what it expects.
fn slot() -> Result<Index<Ssl, Expected>, ErrorStack> {
    static SLOT: OnceLock<Index<Ssl, Expected>> = OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = Ssl::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}
