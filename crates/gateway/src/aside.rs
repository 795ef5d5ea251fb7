//! The stores as somebody sees them who does not run the gateway: for `check` and `doctor`.
//!
//! Invariants: nothing is written, whoever has a store open is not disturbed, and what cannot be read is
//! never told to be absent.

use std::io;

use portcullis_config::GatewayConfig;
use portcullis_store::StoreError;
use tokio::runtime::{Builder, Runtime};

use crate::{certificates::StoreAccess, stores::Stores};

/// The stores of a configuration, or why they cannot be looked into.
pub struct Aside {
    stores: Result<Stores, StoreError>,
    runtime: Runtime,
}

impl Aside {
    /// Opens them.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn open(config: &GatewayConfig) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let stores = runtime.block_on(Stores::aside(config));
        Ok(Self { stores, runtime })
    }

    /// The stores.
    ///
    /// # Errors
    /// Why they cannot be looked into.
    pub fn stores(&self) -> Result<&Stores, &StoreError> {
        self.stores.as_ref()
    }

    /// The certificate store, for a builder.
    pub fn certificates(&self) -> Option<StoreAccess> {
        let stores = self.stores.as_ref().ok()?;
        let certificates = stores.certificates().clone();
        Some(StoreAccess::new(
            certificates,
            self.runtime.handle().clone(),
        ))
    }

    /// Waits for an answer of a store.
    pub fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }
}
