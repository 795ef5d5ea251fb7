//! Calls into the TLS library that its safe Rust face lacks, each wrapped so that the wrapper
//! cannot be misused from safe code. Everything `unsafe` that is not a callback stands here.

#![expect(unsafe_code, reason = "this module is the wall around the library")]

use std::{
    ffi::{CStr, CString},
    net::IpAddr,
    sync::Arc,
};

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::{
    error::ErrorStack,
    pkey::{PKeyRef, Private},
    ssl::{Ssl, SslContextBuilder, SslContextRef, SslRef, SslStream},
    x509::{X509Ref, X509VerifyResult, store::X509StoreRef},
};
use openssl_sys as ffi;

use crate::client::Renegotiation;

/// Whether the processor encrypts AES in hardware.
pub(crate) fn has_aes_instructions() -> bool {
    // SAFETY: no arguments, reads the library's table of processor features.
    unsafe { ffi::EVP_has_aes_hardware() == 1 }
}

/// A connection of `context`, without the bookkeeping the safe constructor adds (an allocation
/// that only its own callbacks need).
pub(crate) fn new_session(context: &SslContextRef) -> Result<Ssl, ErrorStack> {
    // SAFETY: the context is valid for the call, and the connection takes its own reference.
    let ssl = unsafe { ffi::SSL_new(context.as_ptr()) };
    if ssl.is_null() {
        return Err(ErrorStack::get());
    }
    // SAFETY: not null, and nobody else owns it.
    Ok(unsafe { Ssl::from_ptr(ssl) })
}

/// The connection of a stream, to be changed.
pub(crate) fn exclusive<S>(stream: &mut SslStream<S>) -> &mut SslRef {
    // SAFETY: the stream owns its connection and is borrowed mutably for as long as the result.
    unsafe { SslRef::from_ptr_mut(stream.ssl().as_ptr()) }
}

/// Frees what only a handshake needs once it is over.
pub(crate) fn shed_handshake_config(ssl: &mut SslRef) {
    // SAFETY: a valid connection, borrowed mutably; the call sets a flag.
    unsafe { ffi::SSL_set_shed_handshake_config(ssl.as_ptr(), 1) }
}

/// Sets the suites of TLS 1.2; an unknown name is an error.
pub(crate) fn set_strict_cipher_list(
    context: &mut SslContextBuilder,
    list: &str,
) -> Result<(), ErrorStack> {
    let list = CString::new(list).unwrap_or_default();
    // SAFETY: a valid context, borrowed mutably; the string ends with a zero and is copied.
    check(unsafe { ffi::SSL_CTX_set_strict_cipher_list(context.as_ptr(), list.as_ptr()) })
}

/// Sets the groups for key agreement by number (NID), most preferred first.
pub(crate) fn set_groups(
    context: &mut SslContextBuilder,
    groups: &[i32],
) -> Result<(), ErrorStack> {
    // SAFETY: a valid context, borrowed mutably; pointer and length are one slice, copied.
    check(unsafe { ffi::SSL_CTX_set1_groups(context.as_ptr(), groups.as_ptr(), groups.len()) })
}

/// Sets the signature algorithms accepted of a peer, most preferred first.
pub(crate) fn set_accepted_signatures(
    context: &mut SslContextBuilder,
    algorithms: &[u16],
) -> Result<(), ErrorStack> {
    // SAFETY: a valid context, borrowed mutably; pointer and length are one slice, copied.
    check(unsafe {
        ffi::SSL_CTX_set_verify_algorithm_prefs(
            context.as_ptr(),
            algorithms.as_ptr(),
            algorithms.len(),
        )
    })
}

/// Has a context verify with a store that others use as well.
pub(crate) fn share_cert_store(
    context: &mut SslContextBuilder,
    store: &X509StoreRef,
) -> Result<(), ErrorStack> {
    // SAFETY: context and store are valid; the context takes a reference of its own. A store may be read
    // by many at once, and nothing changes it any more.
    check(unsafe { ffi::SSL_CTX_set1_verify_cert_store(context.as_ptr(), store.as_ptr()) })
}

/// What becomes of a HelloRequest on a connection.
pub(crate) fn set_renegotiation(ssl: &mut SslRef, renegotiation: Renegotiation) {
    let mode = match renegotiation {
        Renegotiation::Ignored => ffi::ssl_renegotiate_mode_t_ssl_renegotiate_ignore,
        Renegotiation::Refused => ffi::ssl_renegotiate_mode_t_ssl_renegotiate_never,
        Renegotiation::Once => ffi::ssl_renegotiate_mode_t_ssl_renegotiate_once,
        Renegotiation::Freely => ffi::ssl_renegotiate_mode_t_ssl_renegotiate_freely,
    };
    // SAFETY: a valid connection, borrowed mutably; the call sets a number, and lets go of what only
    // handshakes need once there can be none.
    unsafe { ffi::SSL_set_renegotiate_mode(ssl.as_ptr(), mode) };
}

/// Whether a handshake is under way.
pub(crate) fn in_handshake(ssl: &SslRef) -> bool {
    // SAFETY: a valid connection; the call reads its state.
    unsafe { ffi::SSL_in_init(ssl.as_ptr()) == 1 }
}

/// The verdict on a certificate that its verifier, though nothing is wrong with it, will not have.
pub(crate) fn certificate_rejected() -> X509VerifyResult {
    // SAFETY: one of the library's own numbers.
    unsafe { X509VerifyResult::from_raw(ffi::X509_V_ERR_CERT_REJECTED) }
}

/// How many tickets follow a handshake of TLS 1.3, and how long any ticket may be used
/// (seconds).
pub(crate) fn set_tickets(context: &mut SslContextBuilder, count: usize, lifetime: u32) {
    // SAFETY: a valid context, borrowed mutably; the calls set numbers and cannot fail.
    unsafe {
        ffi::SSL_CTX_set_num_tickets(context.as_ptr(), count);
        ffi::SSL_CTX_set_timeout(context.as_ptr(), lifetime);
        ffi::SSL_CTX_set_session_psk_dhe_timeout(context.as_ptr(), lifetime);
    }
}

/// Gives a context its certificate chain (DER, leaf first) and the leaf's key.
pub(crate) fn set_chain_and_key(
    context: &mut SslContextBuilder,
    chain: &[Arc<[u8]>],
    key: &PKeyRef<Private>,
) -> Result<(), ErrorStack> {
    let buffers = Buffers::of(chain)?;
    // SAFETY: context and key are valid; the array holds as many buffers as said. The context
    // takes references of its own to buffers and key.
    check(unsafe {
        ffi::SSL_CTX_set_chain_and_key(
            context.as_ptr(),
            buffers.0.as_ptr(),
            buffers.0.len(),
            key.as_ptr(),
            std::ptr::null(),
        )
    })
}

/// Gives one connection its certificate chain (DER, leaf first) and the leaf's key.
pub(crate) fn show_chain_and_key(
    ssl: &mut SslRef,
    chain: &[Arc<[u8]>],
    key: &PKeyRef<Private>,
) -> Result<(), ErrorStack> {
    let buffers = Buffers::of(chain)?;
    // SAFETY: connection and key are valid; the array holds as many buffers as said. The connection
    // takes references of its own to buffers and key.
    check(unsafe {
        ffi::SSL_set_chain_and_key(
            ssl.as_ptr(),
            buffers.0.as_ptr(),
            buffers.0.len(),
            key.as_ptr(),
            std::ptr::null(),
        )
    })
}

/// Certificates as the library's buffers, for the time of a call.
struct Buffers(Vec<*mut ffi::CRYPTO_BUFFER>);

impl Buffers {
    fn of(chain: &[Arc<[u8]>]) -> Result<Buffers, ErrorStack> {
        let mut buffers = Buffers(Vec::with_capacity(chain.len()));
        for der in chain {
            // SAFETY: pointer and length are one slice, which is copied; no pool.
            let buffer =
                unsafe { ffi::CRYPTO_BUFFER_new(der.as_ptr(), der.len(), std::ptr::null_mut()) };
            if buffer.is_null() {
                return Err(ErrorStack::get());
            }
            buffers.0.push(buffer);
        }
        Ok(buffers)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        for buffer in &self.0 {
            // SAFETY: made by `of`, and this is the one reference of ours.
            unsafe { ffi::CRYPTO_BUFFER_free(*buffer) };
        }
    }
}

/// Calls `look` with the certificates a peer presented in the handshake of a session, in DER.
pub(crate) fn with_peer_certificates<T>(ssl: &SslRef, look: impl FnOnce(&[&[u8]]) -> T) -> T {
    // SAFETY: a valid connection; the list and what is in it belong to the connection's session,
    // which nothing changes while the connection is borrowed.
    let ders: Vec<&[u8]> = unsafe {
        let list = ffi::SSL_get0_peer_certificates(ssl.as_ptr());
        // A missing list counts as an empty one.
        let list = list.cast::<ffi::OPENSSL_STACK>();
        (0..ffi::OPENSSL_sk_num(list))
            .filter_map(|place| {
                let buffer = ffi::OPENSSL_sk_value(list, place).cast::<ffi::CRYPTO_BUFFER>();
                let bytes = ffi::CRYPTO_BUFFER_data(buffer);
                (!bytes.is_null())
                    .then(|| std::slice::from_raw_parts(bytes, ffi::CRYPTO_BUFFER_len(buffer)))
            })
            .collect()
    };
    look(&ders)
}

/// Queues a fatal alert; nothing can be written after it.
pub(crate) fn send_fatal_alert(ssl: &SslRef, alert: u8) {
    // SAFETY: a valid connection whose owner calls no other function of it meanwhile; what is
    // written goes to its own output.
    unsafe { ffi::SSL_send_fatal_alert(ssl.as_ptr(), alert) };
    // That it was sent is reported as an error of the connection.
    let _ = ErrorStack::get();
}

/// The group keys were agreed with; `None` when none was (TLS 1.2 without ephemeral keys, or
/// resumed).
pub(crate) fn group_name(ssl: &SslRef) -> Option<&'static str> {
    // SAFETY: a valid connection; the name is a static string of the library or null.
    let name = unsafe {
        let group = ffi::SSL_get_group_id(ssl.as_ptr());
        if group == 0 {
            return None;
        }
        ffi::SSL_get_group_name(group)
    };
    if name.is_null() {
        return None;
    }
    // SAFETY: not null, ends with a zero, lives as long as the program.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}

/// The number of the suite in use.
pub(crate) fn cipher_id(ssl: &SslRef) -> Option<u16> {
    // SAFETY: a valid connection; the suite is static or null.
    unsafe { id_of(ffi::SSL_get_current_cipher(ssl.as_ptr())) }
}

/// The number of the suite a handshake under way has settled on.
pub(crate) fn pending_cipher_id(ssl: &SslRef) -> Option<u16> {
    // SAFETY: a valid connection; the suite is static or null.
    unsafe { id_of(ffi::SSL_get_pending_cipher(ssl.as_ptr())) }
}

/// # Safety
/// `cipher` is null or a suite of the library.
unsafe fn id_of(cipher: *const ffi::SSL_CIPHER) -> Option<u16> {
    // SAFETY: by the caller's promise; null is handled here.
    (!cipher.is_null()).then(|| unsafe { ffi::SSL_CIPHER_get_protocol_id(cipher) })
}

/// Whether a certificate is for the host `name`.
pub(crate) fn certificate_names_host(certificate: &X509Ref, name: &str, flags: u32) -> bool {
    // SAFETY: a valid certificate; pointer and length are one string; the name found is not
    // asked for.
    let result = unsafe {
        ffi::X509_check_host(
            certificate.as_ptr(),
            name.as_ptr().cast(),
            name.len(),
            flags,
            std::ptr::null_mut(),
        )
    };
    result == 1
}

/// Whether a certificate is for the IP address.
pub(crate) fn certificate_names_address(certificate: &X509Ref, address: IpAddr) -> bool {
    let text = CString::new(address.to_string()).unwrap_or_default();
    // SAFETY: a valid certificate; the string ends with a zero.
    unsafe { ffi::X509_check_ip_asc(certificate.as_ptr(), text.as_ptr(), 0) == 1 }
}

fn check(result: std::ffi::c_int) -> Result<(), ErrorStack> {
    if result == 1 {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}
