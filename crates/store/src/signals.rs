//! What nodes tell each other: reload, this key changed, this certificate changed (store sheet 5).
//!
//! The form is that of a Tyk fleet, so our nodes obey Tyk's and Tyk's obey ours. What only our nodes
//! understand goes over a channel of our own, signed the same way.
//!
//! Invariants:
//! - A message whose signature is wrong, missing or of an unknown kind is dropped, unless
//!   `allow_insecure_configs` says otherwise.
//! - A sender hears itself: what it asks of others it does too, by the same path where there is one.

mod text;
mod verify;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use portcullis_config::Secret;
use tokio::sync::broadcast;

use self::verify::Refused;
pub use self::{
    text::{NodeLoad, Signal},
    verify::{Rules, RulesError},
};
use crate::{
    StoreError,
    engine::{Engine, Message, messages},
};

/// Signals a slow reader may fall behind before it misses some.
const BACKLOG: usize = 1024;

/// Sends signals and hands out those of every node. Cheap to clone.
#[derive(Clone)]
pub struct Signals(Arc<Parts>);

/// Does at once what this node tells others.
type Obey = Box<dyn Fn(&Signal) + Send + Sync>;

struct Parts {
    engine: Engine,
    rules: Rules,
    heard: broadcast::Sender<Signal>,
    own: OnceLock<Obey>,
    listening: AtomicBool,
    /// How busy nodes are concerns this one.
    loads: AtomicBool,
}

impl Signals {
    /// Signals over `engine`, believed by `rules`. Nothing of others is heard before [`Signals::listen`].
    pub fn new(engine: Engine, rules: Rules) -> Self {
        let heard = broadcast::Sender::new(BACKLOG);
        Self(Arc::new(Parts {
            engine,
            rules,
            heard,
            own: OnceLock::new(),
            listening: AtomicBool::new(false),
            loads: AtomicBool::new(true),
        }))
    }

    /// Signals of one process alone, for the embedded store in tests and tools.
    pub fn unsigned(engine: Engine) -> Self {
        Self::new(engine, Rules::with_secret(Secret::default()))
    }

    /// Tells every node, this one included.
    ///
    /// # Errors
    /// When the store cannot be reached: this node knows then, and no other.
    pub async fn send(&self, signal: &Signal) -> Result<(), StoreError> {
        let Parts { engine, rules, .. } = &*self.0;
        if let Some(obey) = self.0.own.get() {
            obey(signal);
        }
        let (command, payload) = signal.written();
        let text = rules.signed(command, &payload);
        let sent = engine.publish(signal.channel(), &text).await;
        if sent.is_err() || !self.0.listening.load(Ordering::Relaxed) {
            // It will not come back to us; that nobody may be reading is no failure.
            let _ = self.0.heard.send(signal.clone());
        }
        sent
    }

    /// Has `obey` do what this node says before [`Signals::send`] returns, so that whoever changed
    /// something finds it changed here. It is heard again like everybody's. Only the first call counts.
    pub fn obey_at_once(&self, obey: impl Fn(&Signal) + Send + Sync + 'static) {
        // Somebody obeys already.
        let _ = self.0.own.set(Box::new(obey));
    }

    /// Every signal from now on. A reader that falls far behind misses the oldest and is told so.
    pub fn subscribe(&self) -> broadcast::Receiver<Signal> {
        self.0.heard.subscribe()
    }

    /// Hears nothing of how busy nodes are (`management_node`).
    #[must_use]
    pub fn without_loads(self) -> Self {
        self.0.loads.store(false, Ordering::Relaxed);
        self
    }

    /// Begins to hear. Runs until the runtime it is called on ends.
    pub fn listen(&self) -> tokio::task::JoinHandle<()> {
        let parts = self.0.clone();
        parts.listening.store(true, Ordering::Relaxed);
        let mut messages = parts.engine.messages();
        tokio::spawn(async move {
            loop {
                match messages.recv().await {
                    Ok(message) => parts.hear(&message),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        // What was in them is not known, so everything is looked at again.
                        tracing::warn!(missed, "signals of other nodes were missed; reloading");
                        let _ = parts.heard.send(Signal::Reload);
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        })
    }
}

impl Parts {
    fn hear(&self, message: &Message) {
        let (command, payload) = match self.rules.believed(&message.text) {
            Ok(believed) => believed,
            Err(refused @ Refused::Malformed(_)) => {
                return tracing::warn!(channel = message.channel, "a signal is dropped: {refused}");
            }
            Err(refused) => {
                return tracing::error!(
                    channel = message.channel,
                    "a signal is dropped: {refused}; node_secret and public_key_path must be the same on all nodes"
                );
            }
        };
        match Signal::read(&command, &payload, message.channel == messages::OURS) {
            Ok(Some(Signal::Load(_))) if !self.loads.load(Ordering::Relaxed) => {}
            Ok(Some(signal)) => {
                // Nobody may be listening.
                let _ = self.heard.send(signal);
            }
            Ok(None) => tracing::debug!(command, "a signal about what this node does not do"),
            Err(reason) => tracing::warn!(command, "a signal is dropped: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
