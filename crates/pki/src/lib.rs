//! X.509 facts for Portcullis: reading certificates and keys as people store them, naming
//! them, and making development ones. No network, no policy, no `unsafe`.
//!
//! - [`pem`]: text to certificates and keys, tolerant of how PEM gets mangled.
//! - [`certificate`]: what a certificate says (names, validity, key), and its fingerprint.
//! - [`certified`]: a chain with its key, kept small.
//! - [`reference`](mod@reference): strings in configuration that name a certificate.
//! - [`upload`], [`entry`]: what the certificate store takes in, and what it holds.
//! - [`block`], [`legacy`]: the blocks of an upload; how the store encrypts private keys.
//! - [`name`]: the attributes of a distinguished name.
//! - [`names`], [`details`], [`chain`], [`verify`](mod@verify): what people ask about certificates, as text.
//! - [`presented`], [`trust`]: what a TLS peer showed, and whether it leads to a trust anchor.
//! - [`crl`]: which certificates their issuers have revoked.
//! - [`make`]: authorities, and pairs signed by them or by themselves.
//! - [`file`](mod@file): noticing that a file changed, writing a private file.

mod der;

pub mod block;
pub mod certificate;
pub mod certified;
pub mod chain;
pub mod crl;
pub mod details;
pub mod entry;
pub mod file;
pub mod legacy;
pub mod make;
pub mod name;
pub mod names;
pub mod pem;
pub mod presented;
pub mod reference;
pub mod trust;
pub mod upload;
pub mod verify;
pub mod wiped;

pub use certificate::{CertificateFacts, Fingerprint, KeyKind};
pub use certified::CertifiedKey;
pub use crl::{Crl, Revocation};
pub use entry::{Entry, EntryError};
pub use presented::{PresentedChain, PresentedError};
pub use reference::{Loaded, Place, Reference, ReferenceError, load, load_pair};
pub use trust::{Refusal, TrustAnchors, Usage};
pub use upload::{Upload, UploadError};
