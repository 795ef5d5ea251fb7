//! What becomes of an upstream's wish for a second handshake on a connection (TLS 1.2 only; outbound
//! sheet 5, decision 8).
//!
//! A wish that is not granted is passed over in silence (RFC 5246, section 7.4.1.1, lets a client choose):
//! an OpenSSL server takes the warning `no_renegotiation` for the end of the connection, and the request
//! would be lost with it. One that wishes again and again is told `no_renegotiation`, fatally.

#![expect(unsafe_code, reason = "the library calls back for each message")]

use std::{
    ffi::{c_int, c_void},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use foreign_types::ForeignTypeRef;
use openssl::{
    error::ErrorStack,
    ex_data::Index,
    ssl::{Ssl, SslRef},
};
use openssl_sys as ffi;

use crate::sys;

/// What is done when an upstream asks for another handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Renegotiation {
    /// The first wish is passed over, a second ends the connection.
    #[default]
    Ignored,
    /// The first wish ends the connection.
    Refused,
    /// Granted once.
    Once,
    /// Granted whenever it comes.
    Freely,
}

/// A HelloRequest came before.
struct Asked(AtomicBool);

/// Makes a connection do what is to be done.
pub(super) fn prepare(ssl: &mut Ssl, renegotiation: Renegotiation) -> Result<(), ErrorStack> {
    sys::set_renegotiation(ssl, renegotiation);
    if renegotiation == Renegotiation::Ignored {
        ssl.set_ex_data(slot()?, Asked(AtomicBool::new(false)));
        // SAFETY: a valid connection, borrowed mutably, and a static function.
        unsafe { ffi::SSL_set_msg_callback(ssl.as_ptr(), Some(message)) };
    }
    Ok(())
}

/// Sees every message before the library acts on it.
unsafe extern "C" fn message(
    is_write: c_int,
    _version: c_int,
    content_type: c_int,
    bytes: *const c_void,
    length: usize,
    ssl: *mut ffi::SSL,
    _argument: *mut c_void,
) {
    if is_write != 0 || content_type != ffi::SSL3_RT_HANDSHAKE || length == 0 {
        return;
    }
    // SAFETY: the library gives as many bytes as it says, and there is one at least.
    if unsafe { *bytes.cast::<u8>() } != HELLO_REQUEST {
        return;
    }
    // SAFETY: the library calls with a connection that is in use by its caller alone.
    let ssl = unsafe { SslRef::from_ptr_mut(ssl) };
    let asked = slot().ok().and_then(|slot| ssl.ex_data(slot));
    let again = asked.is_none_or(|asked| asked.0.swap(true, Ordering::Relaxed));
    if again {
        sys::set_renegotiation(ssl, Renegotiation::Refused);
    } else {
        tracing::debug!("an upstream asked for renegotiation, which is not granted");
    }
}

/// `HandshakeType` of a HelloRequest (RFC 5246, section 7.4).
const HELLO_REQUEST: u8 = 0;

/// Where a connection keeps that it was asked.
fn slot() -> Result<Index<Ssl, Asked>, ErrorStack> {
    static SLOT: OnceLock<Index<Ssl, Asked>> = OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = Ssl::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}
