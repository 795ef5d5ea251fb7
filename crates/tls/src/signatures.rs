//! Signatures that are accepted of a peer in its handshake, most preferred first: the library's own list and
//! Ed25519. Who may still sign with SHA-1 is an old server in TLS 1.2; of clients nothing of it is taken.

use openssl_sys as ffi;

/// Of clients.
pub(crate) const OF_CLIENTS: [u16; 10] = [
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
];

/// Of servers.
pub(crate) const OF_SERVERS: [u16; 11] = {
    let mut all = [ffi::SSL_SIGN_RSA_PKCS1_SHA1 as u16; 11];
    let (first, _) = all.split_at_mut(OF_CLIENTS.len());
    first.copy_from_slice(&OF_CLIENTS);
    all
};
