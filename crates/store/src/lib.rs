//! What outlives a process: certificates, keys and sessions, in an embedded file or in one Redis
//! that many nodes share with a Tyk fleet.
//!
//! ```text
//! engine        key-value contract; embedded file or Redis behind it
//! error         why the store did not do what was asked
//! certificates  the certificate store: ids, upload rules, keys at rest
//! hash          hashes of names and passwords, as a Tyk fleet computes them
//! token         names of keys: tokens, their hashes, their Redis names
//! now           the time, as certificates and sessions have it
//! password      passwords of basic authentication
//! sessions      keys and organisation sessions: found, written, removed
//! signals       what nodes tell each other
//! ```
//!
//! Names and values are those of a Tyk fleet (store sheet 1 and 4.6), whichever engine holds them.

pub mod certificates;
pub mod engine;
mod error;
pub mod hash;
mod now;
pub mod password;
pub mod sessions;
pub mod signals;
pub mod token;

pub use certificates::Certificates;
pub use engine::{
    Condition, Count, Embedded, Engine, Health, Inspection, Lifetime, Message, Outward, Redis,
    Slide, StoredMaterial, Window,
};
pub use error::StoreError;
pub use sessions::Sessions;
pub use signals::{Signal, Signals};
