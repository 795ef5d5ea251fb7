//! What concerns keys, their certificates and limits in what nodes tell each other.
//!
//! Invariant: where a signal may have been missed, every session is read again before it is used again.

use std::{sync::Arc, time::Instant};

use portcullis_config::GatewayConfig;
use portcullis_store::{Health, signals::Signal};
use tokio::sync::broadcast::error::RecvError;

use super::{Access, share::Others};
use crate::stores::Stores;

impl Access {
    /// Obeys signals until the runtime it is called on ends.
    pub fn obey(self: &Arc<Self>, stores: &Stores, config: &GatewayConfig) {
        let access = self.clone();
        stores.signals().obey_at_once(move |signal| match signal {
            Signal::KeysChanged(names) => access.keys_changed(names),
            Signal::CertificateChanged { id } => access.certificate_changed(id),
            Signal::JwksDropped(_) => access.tokens.forget_published(),
            _ => {}
        });
        let mut signals = stores.signals().subscribe();
        let access = self.clone();
        let own = stores.node_id().to_owned();
        let tags = config.dashboard.tags.concat();
        let shares = !config.signals.management_node;
        tokio::spawn(async move {
            let mut others = Others::default();
            let mut load = 1;
            loop {
                match signals.recv().await {
                    Ok(Signal::KeysChanged(names)) => access.keys_changed(&names),
                    Ok(Signal::CertificateChanged { id }) => access.certificate_changed(&id),
                    Ok(Signal::JwksDropped(_)) => access.tokens.forget_published(),
                    // Also sent where messages were missed.
                    Ok(Signal::Reload) | Err(RecvError::Lagged(_)) => access.anything_changed(),
                    // Only nodes with the same tags share limits.
                    Ok(Signal::Load(node)) if shares && node.tag_hash == tags => {
                        let now = Instant::now();
                        let said = u64::try_from(node.load_per_sec).unwrap_or(1);
                        if node.id == own {
                            load = said;
                        } else {
                            others.heard(node.id, said, now);
                        }
                        access.share.update(load, &mut others, now);
                    }
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        let mut health = stores.engine().health();
        let access = self.clone();
        tokio::spawn(async move {
            let mut was_up = *health.borrow_and_update() == Health::Up;
            while health.changed().await.is_ok() {
                let up = *health.borrow_and_update() == Health::Up;
                if up && !was_up {
                    // Nobody heard what was said meanwhile.
                    access.anything_changed();
                }
                was_up = up;
            }
        });
    }
}
