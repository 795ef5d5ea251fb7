//! What this node does because there are others: it reloads when one asks for it, or when signals may
//! have been missed, and tells how busy it is.
//!
//! Invariant: a node says that it is busy only where somebody shares its store.

use std::{sync::Arc, time::Duration};

use portcullis_config::GatewayConfig;
use portcullis_store::{Engine, Health, Signal, signals::NodeLoad};
use tokio::sync::broadcast::error::RecvError;

use crate::{control::Runtime, observe::Registry, stores::Stores};

/// How often nodes say how busy they are; a fleet expects it.
const EVERY: Duration = Duration::from_secs(2);

/// Reloads when a signal or a connection to the store that was lost asks for it. Runs until the runtime
/// it is called on ends.
pub(crate) fn obey(stores: &Stores, runtime: Arc<impl Runtime + 'static>) {
    let mut signals = stores.signals().subscribe();
    let reloads = runtime.clone();
    tokio::spawn(async move {
        loop {
            match signals.recv().await {
                Ok(Signal::Reload) => {
                    tracing::info!("a node asks all for a reload");
                    reloads.request_reload();
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => reloads.request_reload(),
                Err(RecvError::Closed) => return,
            }
        }
    });
    let mut health = stores.engine().health();
    tokio::spawn(async move {
        health.mark_unchanged();
        // Up again, or up after a connection was lost: somebody may have asked in between.
        while health.changed().await.is_ok() {
            if *health.borrow_and_update() == Health::Up {
                tracing::info!("the store is connected again: reloading");
                runtime.request_reload();
            }
        }
    });
}

/// Tells the other nodes how busy this one is. Runs until the runtime it is called on ends.
pub(crate) fn announce(stores: &Stores, config: &GatewayConfig, registry: Arc<Registry>) {
    if config.signals.management_node || matches!(stores.engine(), Engine::Embedded(_)) {
        return;
    }
    let (signals, health) = (stores.signals().clone(), stores.engine().health());
    let mut load = NodeLoad {
        host_name: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        id: stores.node_id().to_owned(),
        tag_hash: config.dashboard.tags.concat(),
        ..NodeLoad::default()
    };
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before = registry.finished();
        loop {
            ticks.tick().await;
            let finished = registry.finished();
            let each_second = (finished - before) / EVERY.as_secs();
            before = finished;
            load.load_per_sec = i64::try_from(each_second).unwrap_or(i64::MAX).max(1);
            if *health.borrow() != Health::Up {
                continue;
            }
            if let Err(error) = signals.send(&Signal::Load(load.clone())).await {
                tracing::debug!(%error, "the load of this node could not be told");
            }
        }
    });
}
