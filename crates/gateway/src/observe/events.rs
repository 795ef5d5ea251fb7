//! Events and what became of telling them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use portcullis_apidef::EventKind;

use super::text::Page;

/// What became of calling a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It took the event.
    Delivered,
    /// It did not, however often it was called.
    Failed,
    /// It was told within its cool-down.
    Suppressed,
    /// Too many calls were waiting.
    Dropped,
}

const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Delivered, "delivered"),
    (Outcome::Failed, "failed"),
    (Outcome::Suppressed, "suppressed"),
    (Outcome::Dropped, "dropped"),
];

/// Counts events.
#[derive(Debug, Default)]
pub struct EventCounters {
    fired: [AtomicU64; EventKind::ALL.len()],
    logged: AtomicU64,
    webhooks: [AtomicU64; 4],
}

impl EventCounters {
    /// One more event.
    pub fn fired(&self, kind: EventKind) {
        self.fired[kind as usize].fetch_add(1, Relaxed);
    }

    /// One more line in the log for a handler.
    pub fn logged(&self) {
        self.logged.fetch_add(1, Relaxed);
    }

    /// One more call that came to its end.
    pub fn webhook(&self, outcome: Outcome) {
        self.webhooks[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn write(&self, page: &mut Page) {
        let name = "portcullis_events_total";
        page.family(name, "counter", "Events that happened to APIs.");
        for kind in EventKind::ALL {
            let count = self.fired[kind as usize].load(Relaxed);
            page.sample(name, &[("event", kind.name())], count);
        }
        let name = "portcullis_event_deliveries_total";
        page.family(
            name,
            "counter",
            "What became of telling handlers of events.",
        );
        let log = [("handler", "log"), ("outcome", "delivered")];
        page.sample(name, &log, self.logged.load(Relaxed));
        for (outcome, label) in OUTCOMES {
            let labels = [("handler", "webhook"), ("outcome", label)];
            page.sample(name, &labels, self.webhooks[outcome as usize].load(Relaxed));
        }
    }
}
