//! Messages between the nodes of a store.
//!
//! Invariant: a message that was lost is no danger. Whoever relies on messages also looks again
//! after a bounded time (decision 20), since Redis keeps none for a node that was away.

use tokio::sync::broadcast;

/// The channel a Tyk fleet talks on (store sheet 5).
pub const FLEET: &str = "tyk.cluster.notifications";

/// The channel of our own nodes, for what a Tyk node would not understand.
pub const OURS: &str = "portcullis.notifications";

/// Messages a slow reader may fall behind before it misses some.
const BACKLOG: usize = 1024;

/// A message, as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// [`FLEET`] or [`OURS`].
    pub channel: String,
    /// What was said; not verified.
    pub text: String,
}

/// Where received messages are handed out. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Inbox(broadcast::Sender<Message>);

impl Default for Inbox {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl Inbox {
    pub(crate) fn deliver(&self, channel: &str, text: &str) {
        // Nobody may be listening.
        let _ = self.0.send(Message {
            channel: channel.to_owned(),
            text: text.to_owned(),
        });
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Message> {
        self.0.subscribe()
    }
}
