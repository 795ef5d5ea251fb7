//! What outlives the process, opened once at start and shared by everything that reads or writes it.
//!
//! Nothing here is on a request's way: workers keep what they were told, and ask the control side for
//! what they do not know.

use std::sync::Arc;

use portcullis_config::GatewayConfig;
use portcullis_store::{
    Certificates, Embedded, Engine, Health, Inspection, Outward, Redis, Sessions, Signals,
    StoreError, StoredMaterial,
    signals::{Rules, RulesError},
};

/// The stores of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct Stores(Arc<Parts>);

struct Parts {
    engine: Engine,
    limiter: Engine,
    certificates: Certificates,
    signals: Signals,
    sessions: Sessions,
    node_id: String,
}

impl Stores {
    /// Opens what a configuration asks for. A Redis that is away and an embedded store that cannot be
    /// opened are no failures: they are waited for.
    ///
    /// # Errors
    /// [`StoreError`] for settings that cannot be right and for an embedded store that another process has.
    pub async fn open(config: &GatewayConfig) -> Result<Self, StoreError> {
        let rules = rules(config).map_err(|error| settings(&error))?;
        if config.key_passphrase_is_default() {
            tracing::warn!(
                key = "security.private_certificate_encoding_secret",
                "PRIVATE KEYS IN THE CERTIFICATE STORE ARE ENCRYPTED WITH THE SHIPPED DEFAULT SECRET, WHICH \
                 EVERYBODY KNOWS: set a long random text, the same on every node; keys that are stored by \
                 then must be deleted and uploaded again"
            );
        }
        let engine = match &config.storage {
            Some(redis) => Engine::Redis(Redis::open(redis.clone(), "storage").await?),
            None => Engine::Embedded(Embedded::open_when_mended(&config.definitions.data_dir)?),
        };
        let mut signals = Signals::new(engine.clone(), rules);
        if config.signals.management_node {
            signals = signals.without_loads();
        }
        if !config.signals.suppress_reload {
            signals.listen();
        }
        let limiter = match limiter_settings(config) {
            Some(redis) => {
                // Certificates of that connection come by the connection of the store, which is open.
                let mtls = &config.external_services.storage.mtls;
                let passphrase = config.key_passphrase().clone();
                let stored = StoredMaterial::of(
                    Certificates::new(engine.clone(), passphrase, signals.clone()),
                    mtls.cert_id.clone(),
                    mtls.ca_cert_ids.clone(),
                );
                let block = "external_services.storage.mtls";
                Engine::Redis(Redis::open_with(redis, block, stored).await?)
            }
            None => engine.clone(),
        };
        Ok(Self::of(engine, limiter, config, signals))
    }

    /// Opens what a configuration asks for to be read, by somebody who does not run the gateway: a copy
    /// of the embedded store, whoever has it open, or a connection to Redis. No signals are listened to.
    ///
    /// # Errors
    /// [`StoreError`] for what cannot be read now.
    pub async fn aside(config: &GatewayConfig) -> Result<Self, StoreError> {
        let engine = match &config.storage {
            Some(redis) => {
                let engine = Engine::Redis(Redis::open(redis.clone(), "storage").await?);
                // Opening waits a while for an answer, good or bad.
                if let Health::Down { reason } = &*engine.health().borrow() {
                    return Err(StoreError::Away {
                        address: redis.addresses.join(", "),
                        reason: reason.clone(),
                    });
                }
                engine
            }
            None => Engine::Embedded(Embedded::aside(&config.definitions.data_dir)?),
        };
        let rules = rules(config).map_err(|error| settings(&error))?;
        let signals = Signals::new(engine.clone(), rules).without_loads();
        Ok(Self::of(engine.clone(), engine, config, signals))
    }

    /// Looks at the embedded store without opening it; `None` when a Redis takes its place.
    ///
    /// # Errors
    /// [`StoreError`] for a store that cannot be used by anybody.
    pub fn inspect(config: &GatewayConfig) -> Result<Option<Inspection>, StoreError> {
        match config.storage {
            Some(_) => Ok(None),
            None => Embedded::inspect(&config.definitions.data_dir).map(Some),
        }
    }

    /// The stores on an engine that is open. Signals are believed without a signature.
    #[cfg(test)]
    pub fn on(engine: Engine, config: &GatewayConfig) -> Self {
        let signals = Signals::unsigned(engine.clone());
        Self::of(engine.clone(), engine, config, signals)
    }

    fn of(engine: Engine, limiter: Engine, config: &GatewayConfig, signals: Signals) -> Self {
        let passphrase = config.key_passphrase().clone();
        Self(Arc::new(Parts {
            certificates: Certificates::new(engine.clone(), passphrase, signals.clone()),
            sessions: Sessions::new(engine.clone(), config.identity.clone(), signals.clone()),
            engine,
            limiter,
            signals,
            node_id: node_id(),
        }))
    }

    /// The key-value store under all of them.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Where requests are counted for rate limits: the same store, by a connection of its own when it
    /// has certificates of its own.
    pub fn limiter(&self) -> &Engine {
        &self.0.limiter
    }

    /// How the stores elsewhere are connected to, each once.
    pub fn outward(&self) -> Vec<Outward> {
        let engines = [&self.0.engine, &self.0.limiter];
        let mut links: Vec<Outward> = engines.into_iter().filter_map(Engine::outward).collect();
        links.dedup_by_key(|link| link.settings);
        links
    }

    /// Certificates and their keys.
    pub fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    /// Keys and what they may do.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// What this node calls itself among others; another with each start.
    pub fn node_id(&self) -> &str {
        &self.0.node_id
    }

    /// What nodes tell each other.
    pub fn signals(&self) -> &Signals {
        &self.0.signals
    }
}

/// The connection that counts requests, when it is another than the store's.
fn limiter_settings(config: &GatewayConfig) -> Option<portcullis_config::Redis> {
    let mtls = &config.external_services.storage.mtls;
    let storage = config.storage.as_ref();
    let limiter = storage.and_then(|storage| storage.with_certificates_of(mtls));
    if limiter.is_none() && mtls.enabled {
        tracing::warn!(
            key = "external_services.storage.mtls.enabled",
            "has no effect: the store is not a Redis reached by TLS (`storage.use_ssl`)"
        );
    }
    limiter
}

fn node_id() -> String {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes).expect("the library has a source of random numbers");
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("portcullis-{digits}")
}

fn settings(error: &RulesError) -> StoreError {
    StoreError::Settings {
        key: "public_key_path".to_owned(),
        reason: error.to_string(),
    }
}

/// Whom signals are believed of.
fn rules(config: &GatewayConfig) -> Result<Rules, RulesError> {
    let signals = &config.signals;
    let mut rules = Rules::with_secret(signals.node_secret.clone());
    if let Some(path) = &signals.public_key_path {
        rules = rules.and_public_key(path)?;
    }
    if signals.allow_insecure_configs {
        tracing::warn!(
            key = "allow_insecure_configs",
            "SIGNALS OF OTHER NODES ARE BELIEVED WITHOUT A SIGNATURE: whoever can write to the store \
             can reload this gateway"
        );
        rules = rules.dangerous_unsigned();
    }
    Ok(rules)
}
