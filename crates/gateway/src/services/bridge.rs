//! The way to a control plane's bridge (`slave_options`, `security.certificates.mdcb_api`, outbound sheet 10).
//!
//! Invariants:
//! - Nothing is said on a connection before TLS, where it is asked for, has verified the bridge.
//! - Of the listed pairs the bridge sees the first that is valid and that an authority it announced has
//!   issued; none when none fits.

use std::{sync::Arc, time::Duration};

use portcullis_config::GatewayConfig;
use portcullis_store::Certificates;

use super::{
    connect::{Link, Target, Ways},
    dashboard::{VERSIONS, resolved, versions},
    failure::CallError,
    material::{Access, Material},
    proxies::Proxies,
    settings::{IdentitySource, Keys, Tls, TrustSource},
};
use crate::links::{Contacts, Kind};

/// For TCP and TLS together.
const DIAL_LIMIT: Duration = Duration::from_secs(10);

/// Makes connections to the bridge. Cheap to clone.
#[derive(Clone)]
pub struct Bridge {
    address: Option<Target>,
    tls: Arc<Tls>,
    access: Arc<Access>,
    contacts: Contacts,
}

/// A connection to the bridge.
pub type BridgeStream = Link;

impl Bridge {
    /// The connector that a configuration describes. Nothing is read or connected to yet.
    pub fn new(config: &GatewayConfig, certificates: &Certificates, contacts: Contacts) -> Self {
        let bridge = &config.bridge;
        let address = bridge.connection_string.rsplit_once(':');
        let pairs = resolved(&config.security.mdcb_certificates, &config.base);
        if bridge.use_ssl && bridge.ssl_insecure_skip_verify {
            tracing::warn!(
                key = "slave_options.ssl_insecure_skip_verify",
                "THE CERTIFICATE OF THE CONTROL PLANE IS NOT VERIFIED: whoever is in between reads and changes \
                 definitions, keys and certificates"
            );
        }
        Self {
            contacts,
            address: address.and_then(|(host, port)| {
                Some(Target {
                    secure: bridge.use_ssl,
                    host: Some(host.trim_matches(['[', ']']))
                        .filter(|host| !host.is_empty())?
                        .to_owned(),
                    port: port.parse().ok()?,
                })
            }),
            tls: Arc::new(Tls {
                required: bridge.use_ssl,
                identity: match pairs.is_empty() {
                    true => IdentitySource::None,
                    false => IdentitySource::Any(pairs),
                },
                trust: TrustSource::System,
                skip_verify: bridge.ssl_insecure_skip_verify,
                versions: versions(config),
                keys: Keys {
                    block: "security.certificates.mdcb_api".to_owned(),
                    certificate: "an entry of security.certificates.mdcb_api".to_owned(),
                    authorities: "the operating system's list of authorities, or SSL_CERT_FILE"
                        .to_owned(),
                    versions: VERSIONS.to_owned(),
                    skip_verify: "slave_options.ssl_insecure_skip_verify".to_owned(),
                },
            }),
            access: Arc::new(Access {
                store: certificates.clone(),
                passphrase: config.key_passphrase().clone(),
            }),
        }
    }

    /// Connects, with TLS where it is asked for; certificates are read anew each time.
    ///
    /// # Errors
    /// [`CallError::Settings`] for what cannot be used, [`CallError::Way`] and [`CallError::Slow`] for a
    /// bridge that is not reached or not believed.
    pub async fn connect(&self) -> Result<BridgeStream, CallError> {
        let target = self.address.clone().ok_or_else(|| {
            CallError::Settings(
                "slave_options.connection_string is no address; `HOST:PORT` is accepted".to_owned(),
            )
        })?;
        let place = target.place();
        let connecting = Box::pin(self.dial(target));
        tokio::time::timeout(DIAL_LIMIT, connecting)
            .await
            .unwrap_or(Err(CallError::Slow {
                place,
                limit: DIAL_LIMIT,
            }))
    }

    async fn dial(&self, target: Target) -> Result<Link, CallError> {
        let material = Material::load(&self.tls, &self.access, None)
            .await
            .map_err(|said| CallError::Settings(format!("failed to configure TLS: {said}")))?;
        let ways = Ways {
            kind: Kind::Bridge,
            contacts: self.contacts.clone(),
            proxies: Proxies::none(),
            material: Arc::new(material),
            handshake: DIAL_LIMIT,
            keys: self.tls.keys.clone(),
        };
        Ok(ways.open(&target).await?)
    }
}
