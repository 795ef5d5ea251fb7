//! What outlives the process, opened once at start and shared by everything that reads or writes it.
//!
//! Nothing here is on a request's way: workers keep what they were told, and ask the control side for
//! what they do not know.

use std::sync::Arc;

use portcullis_config::{GatewayConfig, Secret};
use portcullis_store::{Certificates, Embedded, Engine, StoreError};

/// The stores of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct Stores(Arc<Parts>);

struct Parts {
    engine: Engine,
    certificates: Certificates,
}

impl Stores {
    /// Opens what a configuration asks for. A Redis that is away is no failure: it is waited for.
    ///
    /// # Errors
    /// [`StoreError`] for settings that cannot be right and for an embedded store that cannot be opened.
    pub async fn open(config: &GatewayConfig) -> Result<Self, StoreError> {
        let engine = Engine::Embedded(Embedded::open(&config.definitions.data_dir)?);
        Ok(Self::on(engine, config.key_passphrase().clone()))
    }

    /// The stores on an engine that is open; `passphrase` encrypts private keys.
    pub fn on(engine: Engine, passphrase: Secret) -> Self {
        Self(Arc::new(Parts {
            certificates: Certificates::new(engine.clone(), passphrase),
            engine,
        }))
    }

    /// The key-value store under all of them.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Certificates and their keys.
    pub fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }
}
