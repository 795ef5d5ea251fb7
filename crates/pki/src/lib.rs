//! X.509 facts for Portcullis: reading certificates and keys as people store them, naming
//! them, and making development ones. No network, no policy, no `unsafe`.
//!
//! - [`pem`]: text to certificates and keys, tolerant of how PEM gets mangled.
//! - [`certificate`]: what a certificate says (names, validity, key), and its fingerprint.
//! - [`reference`](mod@reference): strings in configuration that name a certificate.
//! - [`make`]: a development CA and pairs signed by it.
//! - [`file`](mod@file): noticing that a file changed, writing a private file.

mod der;

pub mod certificate;
pub mod file;
pub mod make;
pub mod pem;
pub mod reference;

pub use certificate::{CertificateFacts, Fingerprint, KeyKind};
pub use reference::{CertifiedKey, Loaded, Reference, ReferenceError, load, load_pair};
